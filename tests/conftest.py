"""Shared settings and fixtures."""

import os

import hypothesis

# Set before torch is imported anywhere: with pytest-xdist every worker would otherwise start a thread per core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

hypothesis.settings.register_profile("fast", max_examples=40, deadline=None)
hypothesis.settings.load_profile("fast")
