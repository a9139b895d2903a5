"""Reading and checking a server's log without taking part: opening, showing, comparing, reporting.  Needs no torch."""
