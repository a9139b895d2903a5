"""The arithmetic of secure aggregation: vectors, masking, shares, thresholds, and what a release may disclose (pure)."""
