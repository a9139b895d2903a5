"""Step 10 with several tiles: changes to packages that are computed from a base."""

import hashlib

from tests.vector_format import Edit, Vector
from tests.vectorkit.bases import BASES, Base, edits_to
from tests.vectorkit.cases import fault, with_fields
from tests.vectorkit.primitives import TILE, leaf_hash, tiles_of, tree_root

MISMATCH = "TileMismatch"
TWO, THREE, CHUNKS = BASES["big-two-tiles"], BASES["big-three-tiles"], BASES["three-chunks"]
START = TWO.body_start
HASHES = START - 64
END = START + 2 * TILE


def altered(name: str, expect: str, comment: str, base: Base, *edits: Edit) -> Vector:
    return fault(f"10-{name}", expect, comment, b"", base=base.name, edits=edits)


def swap(first: int, second: int, length: int) -> Edit:
    return Edit("swap", (first, second, length))


def cut(length: int) -> Edit:
    return Edit("cut", (length,))


def delete(start: int, length: int) -> Edit:
    return Edit("delete", (start, length))


def edit(start: int, data: bytes) -> Edit:
    return Edit("edit", (start,), data)


def insert(start: int, data: bytes) -> Edit:
    return Edit("insert", (start,), data)


def exchanged() -> list[Vector]:
    """The file has its length, and bytes are others or elsewhere."""
    body = TWO.draft.sealed_body()
    left, right = TWO.draft.hashes()
    swapped = b"".join(leaf_hash(tile) for tile in tiles_of(body[TILE:] + body[:TILE]))
    chunk = CHUNKS.body_start + 56
    table: dict[str, tuple[str, Base, list[Edit]]] = {
        "tiles-swapped": ("Two tiles have changed places.", TWO, [swap(START, START + TILE, TILE)]),
        "tiles-and-hashes-swapped": (
            "Two tiles have changed places and their hashes too.",
            TWO,
            [swap(START, START + TILE, TILE), edit(HASHES, swapped)],
        ),
        "hashes-swapped": ("Two tile hashes have changed places.", TWO, [swap(HASHES, HASHES + 32, 32)]),
        "hash-repeated": ("The first tile hash stands for the second.", TWO, [edit(HASHES + 32, left)]),
        "first-tile-edited": ("Bytes of the first tile are others.", TWO, [edit(START + 99, bytes(8))]),
        "last-tile-edited": ("The last bytes of the last tile are others.", TWO, [edit(END - 8, bytes(8))]),
        "tile-across-boundary": (
            "Bytes on both sides of a tile's end are others.",
            TWO,
            [edit(START + TILE - 4, bytes(8))],
        ),
        "hash-missing-and-padded": (
            "The second tile hash is missing, and 32 bytes follow the body.",
            TWO,
            [insert(END, right), delete(HASHES + 32, 32)],
        ),
        "chunks-swapped-only": (
            "Two chunks have changed places, and nothing was hashed again.",
            CHUNKS,
            [swap(chunk, chunk + 16_400, 16_400)],
        ),
    }
    return [altered(name, MISMATCH, comment, base, *edits) for name, (comment, base, edits) in table.items()]


def wrong_ends() -> list[Vector]:
    """The file is too short or too long."""
    right = TWO.draft.hashes()[1]
    chunk = CHUNKS.body_start + 56
    end_of_three = THREE.body_start + len(THREE.draft.sealed_body())
    short: dict[str, tuple[str, Base, Edit]] = {
        "cut-last-tile": ("The last tile is missing.", TWO, cut(START + TILE)),
        "cut-first-tile": ("The file ends in the first tile.", TWO, cut(START + 1_000)),
        "cut-second-tile": ("The file ends after a byte of the second tile.", TWO, cut(START + TILE + 1)),
        "cut-last-byte-of-tile": ("The last byte of a full last tile is missing.", TWO, cut(END - 1)),
        "cut-between-hashes": ("The file ends after the first tile hash.", TWO, cut(HASHES + 32)),
        "cut-at-chunk": ("The file ends where a chunk ends.", CHUNKS, cut(chunk + 16_400)),
        "cut-in-second-chunk": ("The file ends in the second chunk.", CHUNKS, cut(chunk + 20_000)),
        "cut-last-short-tile": ("The last of three tiles is missing.", THREE, cut(THREE.body_start + 2 * TILE)),
        "first-tile-missing": ("The first tile is missing.", TWO, delete(START, TILE)),
        "hash-missing": ("The second tile hash is missing.", TWO, delete(HASHES + 32, 32)),
    }
    long: dict[str, tuple[str, Base, Edit]] = {
        "hash-too-many": ("There is a third tile hash.", TWO, insert(START, right)),
        "trailing-after-full-tile": ("A byte follows a full last tile.", TWO, insert(END, b"\0")),
        "trailing-after-short-tile": ("A byte follows a short last tile.", THREE, insert(end_of_three, b"\0")),
    }
    found = [altered(name, "Truncated", comment, base, change) for name, (comment, base, change) in short.items()]
    return found + [
        altered(name, "TrailingBytes", comment, base, change) for name, (comment, base, change) in long.items()
    ]


def rooted(name: str, comment: str, base: Base, root: bytes, hashes: list[bytes] | None = None) -> Vector:
    """Another body_root, properly signed, and perhaps other hashes."""
    draft = with_fields(base.draft, body_root=root.hex())
    target = draft.pack(hashes=None if hashes is None else b"".join(hashes))
    return altered(name, MISMATCH, comment, base, *edits_to(base.draft.pack(), target))


def wrong_roots() -> list[Vector]:
    """The tree is another one than that of RFC 6962."""

    def node(*parts: bytes) -> bytes:
        return hashlib.sha256(b"".join(parts)).digest()

    left, right = TWO.draft.hashes()
    a, b, c = THREE.draft.hashes()
    two = {
        "no-node-prefix": ("The root of two was hashed without a prefix.", node(left, right)),
        "leaf-prefix": ("The root of two was hashed with the prefix of a leaf.", node(b"\0", left, right)),
        "reversed": ("The root of two has left and right exchanged.", node(b"\1", right, left)),
        "is-first-hash": ("The root of two is the first leaf.", left),
    }
    three = {
        "last-doubled": ("In the root of three the last leaf counts twice.", tree_root([a, b, c, c])),
        "short-left": ("In the root of three the left part is the smaller one.", node(b"\1", a, tree_root([b, c]))),
        "all-at-once": ("The root of three is one hash over all leaves.", node(b"\1", a, b, c)),
        "without-last": ("The root of three leaves the last tile out.", tree_root([a, b])),
    }
    return [
        *(rooted(f"root-{name}", comment, TWO, root) for name, (comment, root) in two.items()),
        *(rooted(f"root-{name}", comment, THREE, root) for name, (comment, root) in three.items()),
        rooted(
            "root-of-other-tile",
            "Root and signature cover a wrong hash of the last tile.",
            THREE,
            tree_root([a, b, a]),
            [a, b, a],
        ),
    ]


def vectors() -> list[Vector]:
    return [*exchanged(), *wrong_ends(), *wrong_roots()]
