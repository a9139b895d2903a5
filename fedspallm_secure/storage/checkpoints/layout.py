"""Where the tensors of a safetensors file lie: its head, read strictly and without reading any weight.

The head is the eight bytes of its own length and the JSON that follows.  Tensors must tile the rest of the file, as
the format demands; here that also fixes the order in which they are streamed.
"""

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fedspallm_secure.errors import LimitExceeded
from fedspallm_secure.storage.checkpoints.chunks import CHUNK_BYTES, WIDTHS, damaged

LENGTH = struct.Struct("<Q")
HEAD_LIMIT = CHUNK_BYTES  # 100,000 tensors in one file take about 10 MiB; the head is stored as one chunk
_SIZE_LIMIT = 1 << 62  # bytes or elements; beyond any disk, and safe to multiply
_RANK_LIMIT = 64
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8"), 8),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


@dataclass(frozen=True, slots=True)
class Span:
    """A run of equal elements in a file: its size in bytes, and the bytes per element."""

    name: str
    width: int
    nbytes: int

    def __post_init__(self) -> None:
        if self.width not in WIDTHS or not 0 <= self.nbytes <= _SIZE_LIMIT or self.nbytes % self.width:
            raise damaged(f"{self.name!r} cannot take {self.nbytes} bytes in elements of {self.width}")


def head_size(start: bytes) -> int:
    """Bytes of the head of a safetensors file, from its first eight.  Raises ForeignFile or LimitExceeded."""
    if len(start) != LENGTH.size:
        raise damaged("not a safetensors file: it is shorter than eight bytes")
    size = LENGTH.size + int(LENGTH.unpack(start)[0])
    if size > HEAD_LIMIT:
        raise LimitExceeded(f"the safetensors header takes {size} bytes, more than {HEAD_LIMIT}")
    return size


def tensor_spans(head: bytes, file_size: int) -> tuple[Span, ...]:
    """The tensors of a safetensors file of `file_size` bytes, in the order in which their bytes lie there.

    head: the file's first bytes, up to the first tensor.  Raises ForeignFile or LimitExceeded.
    """
    if head_size(head[: LENGTH.size]) != len(head):
        raise damaged("the safetensors header is not as long as it says")
    try:
        entries = json.loads(head[LENGTH.size :], object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise damaged(f"the safetensors header is not valid JSON: {error}") from error
    if not isinstance(entries, dict):
        raise damaged("the safetensors header is not an object")
    entries.pop("__metadata__", None)
    placed = sorted((_place(name, entry) for name, entry in entries.items()), key=lambda item: item[:2])
    end = 0
    for begin, stop, span in placed:
        if begin != end:
            raise damaged(f"tensor {span.name!r} starts at byte {begin}, where {end} was expected")
        end = stop
    if len(head) + end != file_size:
        raise damaged(f"the tensors end at byte {len(head) + end} of a file of {file_size}")
    return tuple(span for _, _, span in placed)


def _distinct(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that stands twice: two readers could choose differently."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name {name!r} stands twice")
        found[name] = value
    return found


def _place(name: str, entry: Any) -> tuple[int, int, Span]:
    """Begin, end (in bytes after the head) and span of one tensor."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise damaged(f"tensor {name!r} is not described by dtype, shape and data_offsets")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _are_sizes(shape) or len(shape) > _RANK_LIMIT or not _are_sizes(offsets) or len(offsets) != 2:
        raise damaged(f"tensor {name!r} has no usable shape or data_offsets")
    dtype = entry["dtype"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise damaged(f"tensor {name!r} has an unknown dtype")
    bits = _BITS[dtype]
    for extent in shape:
        bits *= extent
        if bits > 8 * _SIZE_LIMIT:
            raise damaged(f"tensor {name!r} has an impossible shape")
    begin, end = offsets
    if bits % 8 or end - begin != bits // 8:
        raise damaged(f"tensor {name!r} takes {end - begin} bytes, its shape and dtype ask for {bits / 8:g}")
    return begin, end, Span(name, max(1, _BITS[dtype] // 8), end - begin)


def _are_sizes(value: Any) -> bool:
    # type() rather than isinstance(), which would take True for 1
    return isinstance(value, list) and all(type(item) is int and 0 <= item <= _SIZE_LIMIT for item in value)
