"""The arithmetic of secure aggregation: vectors, masking, shares, thresholds, and what sums disclose.  Pure."""
