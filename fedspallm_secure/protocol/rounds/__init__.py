"""What is said in a round of secure aggregation, and in which order (SPEC sections 16 and 17).  No I/O."""
