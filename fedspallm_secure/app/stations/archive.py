"""What a server keeps of a round for those who recompute it: packages, and the tile hashes of its sums (SPEC 23)."""

from pathlib import Path

from fedspallm_secure.app.rounds.streams import TileHashes
from fedspallm_secure.storage.files import disk_errors, write_json


def tiles_file(folder: Path, gid: int) -> Path:
    """Where the tile hashes of one group lie.  folder: of the round."""
    return folder / "tiles" / f"{gid:04d}.json"


def keep_tile_hashes(folder: Path, gid: int, hashes: TileHashes) -> None:
    """Write the leaf hashes of unmasked sums, durably.  folder: of the round.  Raises StorageError."""
    path = tiles_file(folder, gid)
    with disk_errors(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(path, {"counts": [one.hex() for one in hashes.counts], "sums": [one.hex() for one in hashes.sums]})
