"""Record-level differential privacy of what silos choose: settings, accounting, the records, the ledger (ADR 27)."""
