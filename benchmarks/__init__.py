"""Benchmarks: ratios measured in one run against a peer or a physical limit.  No part of the tests."""
