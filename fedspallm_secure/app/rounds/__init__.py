"""Rounds of secure aggregation, played by parties with real keys and packages; here within one process."""
