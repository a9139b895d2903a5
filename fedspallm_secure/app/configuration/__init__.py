"""What a federation and a member are told by their operators: `federation.toml` and `member.toml`."""
