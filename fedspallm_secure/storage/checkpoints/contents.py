"""What a compact container says it holds: the names, sizes and digests at its beginning, read strictly.

Types that cannot exist half-valid: whoever has a `Contents` may create its files in an empty folder.
"""

import hashlib
import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fedspallm_secure.errors import ForeignFile, LimitExceeded
from fedspallm_secure.storage.checkpoints.chunks import CHUNK_BYTES, RECORD_BYTES, damaged
from fedspallm_secure.storage.checkpoints.layout import HEAD_LIMIT, LENGTH
from fedspallm_secure.storage.checkpoints.reader import INDEX, SINGLE
from fedspallm_secure.storage.checkpoints.writer import COMPANION_LIMIT, COMPANIONS

MAGIC = b"\x89FSPC\r\n\x1a"  # not text, and damaged by every transfer that translates line ends
VERSION = 1
HEADER_LIMIT = 1 << 20  # bytes; some 7,000 files
SMALL = frozenset({*COMPANIONS, INDEX})  # files without tensors
PREFIX = struct.Struct("<8sII")  # magic, version, bytes of the header; a SHA-256 follows, then the header
_DIGEST_BYTES = 32
_FILE_LIMIT = 1 << 62  # bytes
_SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,239}\.safetensors")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of the model.  size: bytes; head: bytes before the first tensor, 0 for a companion; sha256: in hex."""

    name: str
    size: int
    head: int
    sha256: str

    def __post_init__(self) -> None:
        if type(self.name) is not str or not (self.name in SMALL or _SHARD.fullmatch(self.name)):
            raise damaged(f"{self.name!r} is not the name of a model file")
        # type() rather than isinstance(), which would take True for 1
        if type(self.size) is not int or type(self.head) is not int or not 0 <= self.head <= self.size <= _FILE_LIMIT:
            raise damaged(f"{self.name} has no usable size")
        if type(self.sha256) is not str or not _DIGEST.fullmatch(self.sha256):
            raise damaged(f"{self.name} has no SHA-256 of 64 lower-case hex digits")
        if not (self.head >= LENGTH.size if self.is_shard else self.head == 0):
            raise damaged(f"{self.name} cannot have a head of {self.head} bytes")
        if self.head > HEAD_LIMIT:
            raise LimitExceeded(f"the head of {self.name} takes {self.head} bytes, more than {HEAD_LIMIT}")
        if not self.is_shard and self.size > COMPANION_LIMIT:
            raise LimitExceeded(f"{self.name} takes {self.size} bytes, more than {COMPANION_LIMIT}")

    @property
    def is_shard(self) -> bool:
        """Whether the file holds tensors."""
        return self.name not in SMALL

    @property
    def least_bytes(self) -> int:
        """What the file takes in a container at the very least: one record a chunk."""
        return -(-self.size // CHUNK_BYTES) * RECORD_BYTES

    @classmethod
    def from_dict(cls, fields: Any) -> "StoredFile":
        """Read the four fields.  Raises ForeignFile or LimitExceeded."""
        if not isinstance(fields, dict) or set(fields) != {"name", "size", "head", "sha256"}:
            raise damaged("a file is not described by name, size, head and sha256")
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """The fields as they stand in the header."""
        return {"name": self.name, "size": self.size, "head": self.head, "sha256": self.sha256}


@dataclass(frozen=True, slots=True)
class Contents:
    """The files of a container in their order there: companions by name, then shards by name."""

    files: tuple[StoredFile, ...]

    def __post_init__(self) -> None:
        names = [file.name for file in self.files]
        if names != sorted(set(names), key=lambda name: (name not in SMALL, name)):
            raise damaged("a file stands twice or out of order")
        if len({name.lower() for name in names}) != len(names):
            raise damaged("two names differ in upper and lower case only, which some systems take for one")
        shards = {file.name for file in self.files if file.is_shard}
        if "config.json" not in names or not shards or (INDEX not in names and shards != {SINGLE}):
            raise damaged("the files do not make a model folder")

    @property
    def size(self) -> int:
        """Bytes of all files once restored."""
        return sum(file.size for file in self.files)

    @property
    def least_bytes(self) -> int:
        """Bytes that must follow the header at the very least."""
        return sum(file.least_bytes for file in self.files)

    def encode(self) -> bytes:
        """Everything before the first chunk.  Raises LimitExceeded."""
        fields = {"files": [file.to_dict() for file in self.files]}
        text = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
        if len(text) > HEADER_LIMIT:
            raise LimitExceeded(f"{len(self.files)} files are too many for one container")
        prefix = PREFIX.pack(MAGIC, VERSION, len(text))
        return prefix + hashlib.sha256(prefix + text).digest() + text

    @classmethod
    def decode(cls, take: Callable[[int], bytes]) -> "Contents":
        """Read everything before the first chunk.  take(n) returns exactly n bytes or raises.

        The numbers are those of docs/COMPACT.md, "Reading".  Raises ForeignFile or LimitExceeded.
        """
        prefix = take(PREFIX.size)
        magic, version, length = PREFIX.unpack(prefix)
        if magic != MAGIC:  # 1
            raise damaged("this is not a compact model file")
        if version != VERSION:  # 2
            raise ForeignFile(f"compact format {version} is not known here", hint="a newer release may read it")
        if length > HEADER_LIMIT:  # 3
            raise LimitExceeded(f"the header takes {length} bytes, more than {HEADER_LIMIT}")
        digest = take(_DIGEST_BYTES)
        text = take(length)
        if hashlib.sha256(prefix + text).digest() != digest:  # 4
            raise damaged("the header does not match its SHA-256")
        contents = cls(tuple(StoredFile.from_dict(file) for file in _listed(text)))  # 5
        if contents.encode() != prefix + digest + text:
            raise damaged("the header is spelled in another way than the one accepted")
        return contents


def _listed(text: bytes) -> list[Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(f"the header is not valid JSON: {error}") from error
    if not isinstance(fields, dict) or set(fields) != {"files"} or not isinstance(fields["files"], list):
        raise damaged("the header does not list files")
    return fields["files"]
