"""Where the tensors of a safetensors file lie: its head, read strictly and without reading any weight, or made.

The head is the eight bytes of its own length and the JSON that follows.  Tensors must tile the rest of the file, as
the format demands; here that also fixes the order in which they are streamed.
"""

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fedspallm_secure.errors import LimitExceeded
from fedspallm_secure.storage.checkpoints.chunks import CHUNK_BYTES, WIDTHS, damaged

LENGTH = struct.Struct("<Q")
HEAD_LIMIT = CHUNK_BYTES  # 100,000 tensors in one file take about 10 MiB; the head is stored as one chunk
_SIZE_LIMIT = 1 << 62  # bytes or elements; beyond any disk, and safe to multiply
_RANK_LIMIT = 64
BITS = {
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
    """A tensor in a file: bytes per element, bytes in all, its first byte after the head, dtype and shape as said."""

    name: str
    width: int
    nbytes: int
    begin: int
    dtype: str
    shape: tuple[int, ...]

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
    spans = sorted((_span(name, entry) for name, entry in entries.items()), key=lambda span: (span.begin, span.nbytes))
    end = 0
    for span in spans:
        if span.begin != end:
            raise damaged(f"tensor {span.name!r} starts at byte {span.begin}, where {end} was expected")
        end += span.nbytes
    if len(head) + end != file_size:
        raise damaged(f"the tensors end at byte {len(head) + end} of a file of {file_size}")
    return tuple(spans)


def build_head(tensors: Iterable[tuple[str, str, tuple[int, ...]]], metadata: Mapping[str, str]) -> bytes:
    """The head of a safetensors file whose tensors lie behind each other.

    tensors: name, dtype and shape of each, in the order of their bytes; it is the caller's to have each begin at a
    multiple of its width, for which wider ones stand first.
    """
    entries: dict[str, Any] = {"__metadata__": {"format": "pt", **metadata}}
    end = 0
    for name, dtype, shape in tensors:
        begin, end = end, end + math.prod(shape) * BITS[dtype] // 8
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH.size)
    return LENGTH.pack(len(text)) + text


def _distinct(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that stands twice: two readers could choose differently."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name {name!r} stands twice")
        found[name] = value
    return found


def _span(name: str, entry: Any) -> Span:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise damaged(f"tensor {name!r} is not described by dtype, shape and data_offsets")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _are_sizes(shape) or len(shape) > _RANK_LIMIT or not _are_sizes(offsets) or len(offsets) != 2:
        raise damaged(f"tensor {name!r} has no usable shape or data_offsets")
    dtype = entry["dtype"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise damaged(f"tensor {name!r} has an unknown dtype")
    bits = BITS[dtype]
    for extent in shape:
        bits *= extent
        if bits > 8 * _SIZE_LIMIT:
            raise damaged(f"tensor {name!r} has an impossible shape")
    begin, end = offsets
    if bits % 8 or end - begin != bits // 8:
        raise damaged(f"tensor {name!r} takes {end - begin} bytes, its shape and dtype ask for {bits / 8:g}")
    return Span(name, max(1, BITS[dtype] // 8), end - begin, begin, dtype, tuple(shape))


def _are_sizes(value: Any) -> bool:
    # type() rather than isinstance(), which would take True for 1
    return isinstance(value, list) and all(type(item) is int and 0 <= item <= _SIZE_LIMIT for item in value)
