"""What each party is told by its operator: `federation.toml`, `member.toml`, `witness.toml` and `key-holder.toml`."""
