"""Packages carried by hand: bundles on a medium, from one party's outbox to another's inbox."""
