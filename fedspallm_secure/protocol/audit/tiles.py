"""Names and bytes of the files that a log is published in: tiles of hashes and bundles of entries (C2SP tlog-tiles).

A reader derives every name from the size of a checkpoint that it verified, so there is nothing here that reads names.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fedspallm_secure.crypto.merkle import Tree
from fedspallm_secure.errors import FormatError

TILE_WIDTH: Final = 256  # hashes of a full tile, entries of a full bundle
TILE_HEIGHT: Final = 8  # levels of the tree from one level of tiles to the next
ENTRY_LIMIT: Final = 65_535  # bytes: what the length before an entry can say


@dataclass(frozen=True, slots=True)
class Tile:
    """A file of hashes.  width: how many hashes of 32 bytes."""

    path: str
    level: int
    index: int
    width: int

    def hashes(self, tree: Tree) -> bytes:
        """The bytes of the file.  Raises IndexError where the tree is too small for it."""
        first = self.index * TILE_WIDTH
        return b"".join(tree.node(self.level * TILE_HEIGHT, first + place) for place in range(self.width))


@dataclass(frozen=True, slots=True)
class Bundle:
    """A file of entries, from number `start` on.  width: how many."""

    path: str
    index: int
    width: int

    @property
    def start(self) -> int:
        """Index of its first entry in the log."""
        return self.index * TILE_WIDTH


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Name of a tile.  Raises ValueError for one that no log has."""
    if not 0 <= level < 64:
        raise ValueError(f"there is no level {level} of tiles")
    return f"tile/{level}/{_number(index, width)}"


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """Name of a bundle of entries.  Raises ValueError for one that no log has."""
    return f"tile/entries/{_number(index, width)}"


def tile_paths(size: int) -> Iterator[Tile]:
    """The tiles of a log of `size` entries, by level, then by index; at most one partial tile a level."""
    level, count = 0, size
    while count:
        for index, width in _widths(count):
            yield Tile(tile_path(level, index, width), level, index, width)
        level, count = level + 1, count // TILE_WIDTH


def bundle_paths(size: int) -> Iterator[Bundle]:
    """The bundles of a log of `size` entries, by index."""
    for index, width in _widths(size):
        yield Bundle(entries_path(index, width), index, width)


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """The entries one after another, each after its length in two bytes, big-endian.  Raises ValueError."""
    if not 1 <= len(entries) <= TILE_WIDTH or any(len(entry) > ENTRY_LIMIT for entry in entries):
        raise ValueError(f"a bundle has 1 to {TILE_WIDTH} entries of at most {ENTRY_LIMIT} bytes")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def parse_bundle(data: bytes, count: int) -> list[bytes]:
    """The `count` entries of a bundle that holds nothing else.  Raises FormatError."""
    entries: list[bytes] = []
    at = 0
    while at < len(data) and len(entries) < count:
        start = at + 2
        at = start + int.from_bytes(data[at:start], "big")
        entries.append(data[start:at])
    if at != len(data) or len(entries) != count:  # `at` is past the end too where the last length or entry is cut
        raise FormatError(f"a bundle does not hold {count} entries and nothing else")
    return entries


def _widths(count: int) -> Iterator[tuple[int, int]]:
    full, rest = divmod(count, TILE_WIDTH)
    for index in range(full):
        yield index, TILE_WIDTH
    if rest:
        yield full, rest


def _number(index: int, width: int) -> str:
    if index < 0 or not 1 <= width <= TILE_WIDTH:
        raise ValueError(f"there is no tile {index} of width {width}")
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03}")
    return "/".join(groups[::-1]) + (f".p/{width}" if width < TILE_WIDTH else "")
