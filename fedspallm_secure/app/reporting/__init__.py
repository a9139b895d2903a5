"""The report of a run: one self-contained HTML page, drawn from the result alone.  Nothing here needs torch."""
