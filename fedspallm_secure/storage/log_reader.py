"""Reading a published log (SPEC section 22.3), whatever its files lie in: a folder, or one file.

Who published them is not trusted.  Every name is derived here, every read is bounded, and what is not of the right size
and form is refused.  Whether entries, hashes and checkpoint belong together is for whoever relies on them to check;
`check_whole` does it where nobody asks for signatures.
"""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Final

from fedspallm_secure.crypto.merkle import HASH_SIZE, Tree, leaf_hash, root
from fedspallm_secure.crypto.notes import NOTE_LIMIT, Checkpoint
from fedspallm_secure.errors import FormatError, MissingInput
from fedspallm_secure.protocol.audit.tiles import (
    ENTRY_LIMIT,
    TILE_WIDTH,
    Bundle,
    Tile,
    bundle_paths,
    entries_path,
    parse_bundle,
    tile_path,
    tile_paths,
)

CHECKPOINT: Final = "checkpoint"
COSIGNED: Final = "checkpoint.cosigned"
DOCUMENTS: Final = "documents"
DOCUMENT_LIMIT: Final = 1 << 28  # bytes: a plan
_FRAMED_LIMIT: Final = 2 + ENTRY_LIMIT  # bytes of an entry and its length
_DIGEST: Final = re.compile("[0-9a-f]{64}")


class LogReader(ABC):
    """A published log: a `LogSource` of `protocol.audit`."""

    @abstractmethod
    def read(self, name: str, limit: int) -> bytes:
        """A file of the log.  name: relative to the log's folder, derived by the caller; limit: bytes.

        Raises MissingInput, LimitExceeded or HostileFile.
        """

    def note(self) -> bytes:
        """The newest checkpoint.  Raises as `read` does."""
        return self.read(CHECKPOINT, NOTE_LIMIT)

    def cosigned(self) -> bytes | None:
        """The newest checkpoint with cosignatures, None if there is none.  Raises LimitExceeded or HostileFile."""
        try:
            return self.read(COSIGNED, NOTE_LIMIT)
        except MissingInput:
            return None

    def entries(self, size: int) -> Iterator[bytes]:
        """The first `size` entries, in order, as they are found.

        Raises FormatError where a file does not hold as many as it has to, and as `read` does.
        """
        for bundle in bundle_paths(size):
            yield from self.bundle(bundle)

    def leaves(self, size: int) -> Iterator[bytes]:
        """The hashes of the first `size` entries, in order, as they are found.

        Raises FormatError at the end where tiles of higher levels are not made of them, and as `entries` does.
        """
        above: list[bytes] = []  # hashes of the tiles of one level, of which the next one is made
        expected: list[bytes] = []
        level = 0
        for tile in tile_paths(size):
            if tile.level > level:
                level, expected, above = tile.level, above, []
            hashes = self.tile(tile)
            first = tile.index * TILE_WIDTH
            if level == 0:
                yield from hashes
            elif hashes != expected[first : first + tile.width]:
                raise FormatError(f"{tile.path} of the log does not hold the roots of the tiles below it")
            if tile.width == TILE_WIDTH:
                above.append(root(hashes))

    def document(self, sha256: str, limit: int = DOCUMENT_LIMIT) -> bytes:
        """The document with this SHA-256, in hex.  limit: bytes.

        Raises FormatError where it is another one, or the digest is none; and as `read` does.
        """
        data = self.read(document_path(sha256), limit)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise FormatError(f"document {sha256} of the log is not what it is named after")
        return data

    def tile(self, tile: Tile) -> list[bytes]:
        """The hashes of a tile.  Raises as `entries` does."""
        data, width = self._full_or_partial(tile.path, tile_path(tile.level, tile.index), tile.width, HASH_SIZE)
        if len(data) != width * HASH_SIZE:
            raise FormatError(f"{tile.path} of the log does not hold {width} hashes and nothing else")
        return [data[at : at + HASH_SIZE] for at in range(0, tile.width * HASH_SIZE, HASH_SIZE)]

    def bundle(self, bundle: Bundle) -> list[bytes]:
        """The entries of a bundle.  Raises as `entries` does."""
        data, width = self._full_or_partial(bundle.path, entries_path(bundle.index), bundle.width, _FRAMED_LIMIT)
        try:
            return parse_bundle(data, width)[: bundle.width]
        except FormatError as error:
            raise FormatError(f"{bundle.path} of the log: {error}") from None

    def _full_or_partial(self, path: str, full: str, width: int, each: int) -> tuple[bytes, int]:
        """A file and how much it has to hold; a partial one may be gone where there is a full one.  each: bytes."""
        try:
            return self.read(path, width * each), width
        except MissingInput:
            if width == TILE_WIDTH:
                raise
        try:
            return self.read(full, TILE_WIDTH * each), TILE_WIDTH
        except MissingInput:
            raise MissingInput(f"neither {path} nor {full} of the log is there") from None


def is_digest(name: str) -> bool:
    """Whether `name` is a SHA-256 in lower-case hex."""
    return _DIGEST.fullmatch(name) is not None


def document_path(digest: str) -> str:
    """Name of a document.  digest: SHA-256 in hex.  Raises FormatError for what is none: entries name documents."""
    if not is_digest(digest):
        raise FormatError("a document of a log is named by 64 lower-case hex digits")
    return f"{DOCUMENTS}/{digest}"


def files_of(sizes: Iterable[int]) -> list[Tile | Bundle]:
    """The tiles and bundles that a log has for checkpoints of these sizes; no partial one beside its full one."""
    found: dict[str, Tile | Bundle] = {}
    for size in sorted(sizes, reverse=True):
        files: list[Tile | Bundle] = [*tile_paths(size), *bundle_paths(size)]
        for file in files:
            if file.path.partition(".p/")[0] not in found:
                found[file.path] = file
    return list(found.values())


def limit_of(file: Tile | Bundle) -> int:
    """How many bytes a tile or a bundle has at most."""
    return file.width * (HASH_SIZE if isinstance(file, Tile) else _FRAMED_LIMIT)


def size_of(note: bytes) -> int:
    """Of how many entries a note is the checkpoint.  Checks no signature.  Raises FormatError or LimitExceeded."""
    return Checkpoint.of_note(note).size


def check_whole(source: LogReader) -> Checkpoint:
    """The newest checkpoint, if the log holds exactly what it and the cosigned one stand for.  Checks no signature.

    Raises FormatError where something was changed or torn, and as the methods of `LogReader` do.
    """
    cosigned = source.cosigned()
    notes = [source.note(), *([] if cosigned is None else [cosigned])]
    checkpoints = [Checkpoint.of_note(note) for note in notes]
    tree = Tree(source.leaves(max(checkpoint.size for checkpoint in checkpoints)))
    for checkpoint in checkpoints:
        if tree.root(checkpoint.size) != checkpoint.root:
            raise FormatError(f"the first {checkpoint.size} entries of the log are not those of its checkpoint")
    for file in files_of(checkpoint.size for checkpoint in checkpoints):
        if isinstance(file, Tile):
            right = b"".join(source.tile(file)) == file.hashes(tree)
        else:
            right = all(
                tree.leaf(index) == leaf_hash(entry) for index, entry in enumerate(source.bundle(file), file.start)
            )
        if not right:
            raise FormatError(f"{file.path} of the log does not hold what its checkpoint stands for")
    return checkpoints[0]
