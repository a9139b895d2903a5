"""Attacks on a key holder, which decrypts one sum of each group and nothing else (SPEC section 24.4)."""
