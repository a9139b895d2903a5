"""The one source of secret randomness: the operating system's.

Everything secret (keys, salts, file keys) takes its bytes from `random_bytes`.  It has no argument to choose another
source, so no caller can supply a weak one; only tests that have to reproduce exact bytes replace it.
"""

import secrets


def random_bytes(size: int) -> bytes:
    """Return `size` bytes from the operating system's generator."""
    return secrets.token_bytes(size)
