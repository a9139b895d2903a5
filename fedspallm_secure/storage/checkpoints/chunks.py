"""One chunk of a file as it lies in a compact container: a keep-mask as bits, and the kept values packed.

An element counts as zero only when all its bits are zero, so -0.0 and every NaN payload survive.  Pure: bytes in,
bytes out; where chunks lie in a file is not known here.  docs/COMPACT.md is the description of the format.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import zstandard

from fedspallm_secure.errors import ForeignFile

CHUNK_BYTES = 1 << 24  # bytes of a span per chunk; a multiple of every element width
WIDTHS = (1, 2, 4, 8)  # bytes per element
_SIZES = struct.Struct("<III")  # kept elements, bytes of the keep-mask, bytes of the values
_DIGEST_BYTES = 32
RECORD_BYTES = _SIZES.size + _DIGEST_BYTES
_LEVEL = 1  # on byte-split weights level 3 is no smaller (within a percent either way) and takes twice as long

Bytes = npt.NDArray[np.uint8]


def damaged(message: str) -> ForeignFile:
    """The error for a container that does not say what it should."""
    return ForeignFile(message, hint="check that this is the file you meant; fetch it again and compare its SHA-256")


def cuts(size: int) -> Iterator[int]:
    """Cut a span of `size` bytes into the sizes of its chunks."""
    for start in range(0, size, CHUNK_BYTES):
        yield min(CHUNK_BYTES, size - start)


@dataclass(frozen=True, slots=True)
class Chunk:
    """The sizes of one stored chunk, and the digest over them and its payload.

    elements, width: what it restores to, in elements of `width` bytes; kept: how many of them are stored; keep_bytes,
    value_bytes: bytes of the two parts of the payload.  A keep-mask is stored only where some elements are kept and
    some are not.  A part as long as what it restores to is stored as it is, a shorter one is a zstd frame.
    """

    elements: int
    width: int
    kept: int
    keep_bytes: int
    value_bytes: int
    sha256: bytes

    def __post_init__(self) -> None:
        if self.width not in WIDTHS or not 0 < self.elements * self.width <= CHUNK_BYTES:
            raise damaged(f"a chunk cannot hold {self.elements} elements of {self.width} bytes")
        if not 0 <= self.kept <= self.elements:
            raise damaged(f"a chunk of {self.elements} elements says it keeps {self.kept}")
        partly = 0 < self.kept < self.elements
        if not (1 <= self.keep_bytes <= self.packed_bytes if partly else self.keep_bytes == 0):
            raise damaged(f"a chunk that keeps {self.kept} of {self.elements} has {self.keep_bytes} bytes of keep-mask")
        if not (1 <= self.value_bytes <= self.kept * self.width if self.kept else self.value_bytes == 0):
            raise damaged(f"a chunk stores {self.kept} values of {self.width} bytes in {self.value_bytes} bytes")
        if len(self.sha256) != _DIGEST_BYTES:
            raise damaged("a chunk has no SHA-256")

    @property
    def packed_bytes(self) -> int:
        """Bytes of the keep-mask before compression, eight elements a byte."""
        return -(-self.elements // 8)

    @property
    def payload_bytes(self) -> int:
        """Bytes that follow the record: at most CHUNK_BYTES and an eighth."""
        return self.keep_bytes + self.value_bytes

    @classmethod
    def parse(cls, record: bytes, elements: int, width: int) -> "Chunk":
        """Read a record of RECORD_BYTES.  Raises ForeignFile when its sizes cannot be."""
        if len(record) != RECORD_BYTES:
            raise damaged("a chunk ends inside its record")
        kept, keep_bytes, value_bytes = _SIZES.unpack_from(record)
        return cls(elements, width, kept, keep_bytes, value_bytes, record[_SIZES.size :])

    def restore(self, payload: bytes) -> bytes:
        """The bytes this chunk was made from.  Raises ForeignFile; nothing larger than a chunk is ever allocated."""
        if len(payload) != self.payload_bytes:
            raise damaged("a chunk ends inside its payload")
        sizes = _SIZES.pack(self.kept, self.keep_bytes, self.value_bytes)
        if hashlib.sha256(sizes + payload).digest() != self.sha256:
            raise damaged("a chunk does not match its SHA-256")
        values = _join(payload[self.keep_bytes :], self.kept, self.width)
        if self.kept == self.elements:
            return values.tobytes()
        restored = np.zeros((self.elements, self.width), dtype=np.uint8)
        if self.kept:
            _elements(restored)[self._kept_at(payload[: self.keep_bytes])] = _elements(values)
        return restored.tobytes()

    def _kept_at(self, stored: bytes) -> npt.NDArray[np.intp]:
        """Positions of the kept elements, ascending: indexing by position is several times faster than by bool."""
        packed = np.frombuffer(_inflate(stored, self.packed_bytes), dtype=np.uint8)
        positions = np.flatnonzero(np.unpackbits(packed, bitorder="little").view(np.bool_))
        if len(positions) != self.kept or positions[-1] >= self.elements:
            raise damaged(f"a keep-mask does not keep {self.kept} of {self.elements} elements")
        return positions


def store(data: bytes, width: int) -> bytes:
    """Record and payload of one chunk.  data: elements of `width` bytes, at least one and at most CHUNK_BYTES."""
    elements = np.frombuffer(data, dtype=np.uint8).reshape(-1, width)
    keep = _elements(elements) != 0
    kept = int(np.count_nonzero(keep))
    stored_keep = b""
    if kept == 0:
        elements = elements[:0]
    elif (len(elements) - kept) * width * 4 >= len(elements):  # the zeros take at least twice the room of the bits
        elements = _elements(elements).take(np.flatnonzero(keep)).view(np.uint8).reshape(-1, width)
        stored_keep = _deflate(np.packbits(keep, bitorder="little").tobytes())
    else:
        kept = len(elements)
    payload = stored_keep + _split(elements)
    sizes = _SIZES.pack(kept, len(stored_keep), len(payload) - len(stored_keep))
    return sizes + hashlib.sha256(sizes + payload).digest() + payload


def _elements(rows: Bytes) -> npt.NDArray[np.unsignedinteger]:
    """(n, width) bytes seen as n unsigned integers; only ever compared with zero, so byte order does not matter."""
    return rows.reshape(-1).view(f"u{rows.shape[1]}")


def _split(elements: Bytes) -> bytes:
    """All first bytes, all second bytes, ... as one zstd frame, or the elements as they are where that is no larger.

    Sign and exponent of neighbouring weights resemble each other, the low bits of the fraction are noise: apart, the
    former compress well.
    """
    raw = elements.tobytes()
    frame = _deflate(*(plane.tobytes() for plane in elements.T))
    return frame if len(frame) < len(raw) else raw


def _join(stored: bytes, count: int, width: int) -> Bytes:
    """The inverse of `_split`: (count, width) bytes."""
    if len(stored) == count * width:
        return np.frombuffer(stored, dtype=np.uint8).reshape(count, width)
    planes = np.frombuffer(_inflate(stored, count * width), dtype=np.uint8).reshape(width, count)
    elements = np.empty((count, width), dtype=np.uint8)
    for column, plane in enumerate(planes):  # several times faster than transposing
        elements[:, column] = plane
    return elements


def _deflate(*parts: bytes) -> bytes:
    """The parts in one zstd frame that states its content size, or as they are where that is no larger.

    Every part starts a block, and so gets its own code: sharing one makes small matrices several percent larger.
    """
    raw = b"".join(parts)
    compressor = zstandard.ZstdCompressor(level=_LEVEL).compressobj(size=len(raw))
    frame = b""
    for part in parts:
        frame += compressor.compress(part) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    frame += compressor.flush()
    return frame if len(frame) < len(raw) else raw


def _inflate(stored: bytes, size: int) -> bytes:
    """Undo `_deflate`, where exactly `size` bytes are expected."""
    if len(stored) == size:
        return stored
    try:
        # The library allocates whatever the frame says it holds, so the frame is asked first.
        says = zstandard.get_frame_parameters(stored)
        if says.content_size != size:
            raise damaged(f"a zstd frame does not hold the {size} bytes it should")
        if says.window_size > CHUNK_BYTES or says.dict_id:
            raise damaged("a zstd frame asks for a dictionary or for a window larger than a chunk")
        raw: bytes = zstandard.ZstdDecompressor().decompress(stored, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise damaged(f"a zstd frame cannot be read: {error}") from error
    if len(raw) != size:
        raise damaged(f"a zstd frame ends before the {size} bytes it should hold")
    return raw
