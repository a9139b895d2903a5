"""Proofs against the holder of a log's key, kept in the home of whoever found them (SPEC section 22.6)."""

from contextlib import suppress
from pathlib import Path

from fedspallm_secure.errors import OutputExists
from fedspallm_secure.protocol.audit.split_view import SplitViewProof
from fedspallm_secure.storage.files import create_private, disk_errors
from fedspallm_secure.storage.home import Home


def keep_split_view(home: Home, proof: SplitViewProof) -> Path:
    """Write down a proof, once; its file.  Raises BadSignature or FormatError if it is none; DiskFull, StorageError."""
    _, larger = proof.check()
    path = home.evidence / f"split-view-{larger.size}-{larger.root.hex()[:16]}.json"
    with disk_errors(home.evidence):
        home.evidence.mkdir(mode=0o700, exist_ok=True)
    with suppress(OutputExists):
        create_private(path, proof.encode())
    return path
