"""What the parties agree on and tell each other.  No I/O: time, randomness and bytes come in from outside."""
