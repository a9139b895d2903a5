"""Disk: whole files or none, bounded reads, checkpoints tensor by tensor."""
