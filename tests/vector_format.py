"""Reads and writes `.vec` files: `key: value` lines, an empty line, a dump that `xxd -r` turns back.

tests/vectors/README.md says what every key means.  Nothing here knows what a package looks like, except
`big_base`, which computes the few packages that are too big to be kept from a recipe.
"""

import hashlib
import itertools
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.vectorkit.sealing import seal_chunks

VECTORS = Path(__file__).parent / "vectors"
TILE = 2**20
AWAITED = ("type", "round", "plan_hash", "gid", "length")
EDITS = {"edit": 2, "insert": 2, "delete": 2, "swap": 3, "copy": 3, "cut": 1}
KEYS = ("expect", "step", "comment", "now", "recipient", *AWAITED, "seen", "file", "size", "base", *EDITS, "sha256")
BASE_KEYS = ("comment", "file_key", "salt", "context", "chunks")
_LINE = re.compile(r"([0-9a-f]{8}):((?: [0-9a-f]{2}(?:[0-9a-f]{2})?){1,8}) +\S?")


@dataclass(frozen=True, slots=True)
class Edit:
    """One change to the bytes of a base; numbers are counted in what the edits before it have left."""

    kind: str
    numbers: tuple[int, ...]
    data: bytes = b""

    def apply(self, package: bytes) -> bytes:
        first, *rest = self.numbers
        if self.kind == "cut":
            return package[:first]
        if self.kind == "edit":
            return package[:first] + self.data + package[first + len(self.data) :]
        if self.kind == "insert":
            return package[:first] + self.data + package[first:]
        if self.kind == "delete":
            return package[:first] + package[first + rest[0] :]
        second, length = rest
        if self.kind == "copy":
            return package[:second] + package[first : first + length] + package[second + length :]
        left, middle, right = package[first : first + length], package[first + length : second], package[second:]
        return package[:first] + right[:length] + middle + left + right[length:]

    def value(self) -> str:
        return " ".join([*map(str, self.numbers), *([self.data.hex()] if self.data else [])])


@dataclass(frozen=True, slots=True)
class Vector:
    """One `.vec` file.

    awaited: what the receiver awaits (keys AWAITED), empty where it awaits anything.
    seen: (name of the vector, package digest in hex) of what the register holds as received and published.
    file: what lies under the name instead of a plain file with the bytes; size: length of a sparse file.
    dump: the bytes, or empty where there is a base; `package` puts both together.
    """

    name: str
    expect: str
    step: int
    comment: str
    now: int
    recipient: str
    awaited: tuple[tuple[str, str], ...] = ()
    seen: tuple[tuple[str, str], ...] = ()
    file: str = ""
    size: int = 0
    base: str = ""
    edits: tuple[Edit, ...] = ()
    sha256: str = ""
    dump: bytes = b""

    def package(self, folder: Path = VECTORS) -> bytes:
        """The bytes that arrive."""
        if not self.base:
            return self.dump
        data = big_base(self.base, folder)
        for edit in self.edits:
            data = edit.apply(data)
        return data


def dump(data: bytes) -> str:
    """As `xxd` prints it."""
    lines = []
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        pairs = " ".join(row[i : i + 2].hex() for i in range(0, len(row), 2))
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        lines.append(f"{start:08x}: {pairs:<39}  {shown}\n")
    return "".join(lines)


def undump(text: str) -> bytes:
    """The bytes of a dump; refuses anything that `dump` would not print."""
    data = bytearray()
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            raise ValueError(f"not a line of a dump: {line!r}")
        data += bytes.fromhex(match[2])
    if dump(bytes(data)) != text:
        raise ValueError("the dump does not say the same in its offsets, its hex and its characters")
    return bytes(data)


def _split(text: str, keys: tuple[str, ...]) -> tuple[list[tuple[str, str]], bytes]:
    head, gap, rest = text.partition("\n\n")
    if not gap:
        raise ValueError("no empty line after the keys")
    lines = [tuple(line.split(": ", 1)) for line in head.split("\n")]
    for line in lines:
        if len(line) != 2 or line[0] not in keys:
            raise ValueError(f"not a known key with a value: {': '.join(line)!r}")
    return lines, undump(rest)


def _edit(kind: str, value: str) -> Edit:
    words = value.split(" ")
    if len(words) != EDITS[kind]:
        raise ValueError(f"{kind} takes {EDITS[kind]} values")
    if kind in ("edit", "insert"):
        return Edit(kind, (int(words[0]),), bytes.fromhex(words[1]))
    return Edit(kind, tuple(map(int, words)))


def parse(name: str, text: str) -> Vector:
    """The vector that a file holds; ValueError for a file that `render` would not have written."""
    lines, data = _split(text, KEYS)
    once = {key: value for key, value in lines if key not in EDITS and key != "seen"}
    seen = [value.partition(" ") for key, value in lines if key == "seen"]
    vector = Vector(
        name=name,
        expect=once["expect"],
        step=int(once["step"]),
        comment=once["comment"],
        now=int(once["now"]),
        recipient=once["recipient"],
        awaited=tuple((key, once[key]) for key in AWAITED if key in once),
        seen=tuple((vec, digest) for vec, _, digest in seen),
        file=once.get("file", ""),
        size=int(once.get("size", "0")),
        base=once.get("base", ""),
        edits=tuple(_edit(key, value) for key, value in lines if key in EDITS),
        sha256=once.get("sha256", ""),
        dump=data,
    )
    if render(vector) != text:
        raise ValueError("keys twice, in another order, or written in another way")
    return vector


def render(vector: Vector) -> str:
    """The text of a vector's file."""
    lines = [(key, str(getattr(vector, key))) for key in ("expect", "step", "comment", "now", "recipient")]
    lines += [*vector.awaited, *(("seen", f"{name} {digest}") for name, digest in vector.seen)]
    lines += [(key, str(getattr(vector, key))) for key in ("file", "size", "base") if getattr(vector, key)]
    lines += [(edit.kind, edit.value()) for edit in vector.edits]
    lines += [("sha256", vector.sha256)] if vector.sha256 else []
    return "".join(f"{key}: {value}\n" for key, value in lines) + "\n" + dump(vector.dump)


def load(path: Path) -> Vector:
    return parse(path.stem, path.read_text("utf-8"))


def load_all(folder: Path = VECTORS) -> list[Vector]:
    return [load(path) for path in sorted((folder / "package").glob("*.vec"))]


def header_and_signature(package: bytes) -> tuple[bytes, bytes]:
    """The header and the 64 bytes after it, of a package that is sound so far."""
    end = 12 + int.from_bytes(package[8:12], "little")
    return package[12:end], package[end : end + 64]


def stream(length: int) -> bytes:
    """SHA-256(u64(0)) ‖ SHA-256(u64(1)) ‖ …, as many bytes as wanted."""
    blocks = (hashlib.sha256(i.to_bytes(8, "little")).digest() for i in range(-(-length // 32)))
    return b"".join(blocks)[:length]


def render_base(comment: str, file_key: bytes, salt: bytes, context: bytes, chunks: str, head: bytes) -> str:
    """The recipe of a base; `head` is all of it before the tile hashes."""
    values = (comment, file_key.hex(), salt.hex(), context.hex(), chunks)
    return "".join(f"{key}: {value}\n" for key, value in zip(BASE_KEYS, values, strict=True)) + "\n" + dump(head)


def chunk_lengths(recipe: str) -> list[int]:
    """`16384*2 100` are two chunks of 16,384 bytes and one of 100."""
    words = [(word + "*1").split("*")[:2] for word in recipe.split(" ")]
    return [int(length) for length, times in words for _ in range(int(times))]


def big_body(file_key: bytes, salt: bytes, context: bytes, recipe: str) -> bytes:
    """Chunks as long as the recipe says, of the bytes of `stream` one after the other."""
    lengths = chunk_lengths(recipe)
    plaintext = stream(sum(lengths))
    starts = itertools.accumulate(lengths, initial=0)
    chunks = [plaintext[start : start + length] for start, length in zip(starts, lengths, strict=False)]
    return seal_chunks(file_key, salt, context, chunks)


@cache
def big_base(name: str, folder: Path = VECTORS) -> bytes:
    """A package that is computed, not kept: the head of base/NAME.vec, then tile hashes and body.

    The body is Cobblestone-256 under file_key, salt and context; a tile hash is SHA-256(0x00 ‖ tile) of every
    2^20 bytes of the body.
    """
    lines, head = _split((folder / "base" / f"{name}.vec").read_text("utf-8"), BASE_KEYS)
    values = dict(lines)
    file_key, salt, context = (bytes.fromhex(values[key]) for key in ("file_key", "salt", "context"))
    body = big_body(file_key, salt, context, values["chunks"])
    tiles = (body[i : i + TILE] for i in range(0, len(body), TILE))
    return head + b"".join(hashlib.sha256(b"\0" + tile).digest() for tile in tiles) + body
