"""Compact containers by hand, from docs/COMPACT.md alone: a slow second reader, and a writer that lies on request.

Shares no code with the library, so that the description and the library check each other.
"""

import hashlib
import json
import struct
from typing import Any

import zstandard

MAGIC = bytes.fromhex("8946535043 0D0A1A")
SPAN = 16_777_216
WIDTHS = {"F64": 8, "I64": 8, "U64": 8, "C64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}


def read(container: bytes) -> dict[str, bytes]:
    """Restore every file of a sound container, one element at a time; asserts what a reader must check."""
    assert container[:8] == MAGIC
    version, size = struct.unpack("<II", container[8:16])
    assert version == 1
    text = container[48 : 48 + size]
    assert hashlib.sha256(container[:16] + text).digest() == container[16:48]
    rest = container[48 + size :]
    files = {}
    for entry in json.loads(text)["files"]:
        data = b""
        if entry["head"]:
            data, rest = _span(rest, entry["head"], 1)
            tensors = json.loads(data[8:])
            tensors.pop("__metadata__", None)
            for tensor in sorted(tensors.values(), key=lambda t: t["data_offsets"]):
                begin, end = tensor["data_offsets"]
                more, rest = _span(rest, end - begin, WIDTHS.get(tensor["dtype"], 1))
                data += more
        else:
            data, rest = _span(rest, entry["size"], 1)
        assert len(data) == entry["size"]
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
        files[entry["name"]] = data
    assert rest == b""
    return files


def _span(rest: bytes, size: int, width: int) -> tuple[bytes, bytes]:
    data = b""
    while size:
        n = min(size, SPAN) // width
        kept, keep_size, value_size = struct.unpack("<III", rest[:12])
        payload = rest[44 : 44 + keep_size + value_size]
        assert hashlib.sha256(rest[:12] + payload).digest() == rest[12:44]
        rest = rest[44 + len(payload) :]
        keep = payload[:keep_size]
        if 0 < keep_size < -(-n // 8):
            keep = zstandard.ZstdDecompressor().decompress(keep)
        values = payload[keep_size:]
        if value_size < kept * width:
            planes = zstandard.ZstdDecompressor().decompress(values)
            values = b"".join(bytes([planes[i + k * kept] for k in range(width)]) for i in range(kept))
        taken = 0
        for element in range(n):
            stays = kept == n or (kept > 0 and keep[element // 8] >> (element % 8) & 1)
            data += values[taken * width : (taken + 1) * width] if stays else bytes(width)
            taken += bool(stays)
        assert taken == kept
        size -= n * width
    return data, rest


def opening(files: Any, *, magic: bytes = MAGIC, version: int = 1, text: bytes | None = None) -> bytes:
    """Everything before the first chunk; text: stands in for the header's own JSON."""
    if text is None:
        text = json.dumps({"files": files}, sort_keys=True, separators=(",", ":")).encode()
    prefix = magic + struct.pack("<II", version, len(text))
    return prefix + hashlib.sha256(prefix + text).digest() + text


def chunk(kept: int, keep: bytes, values: bytes) -> bytes:
    """A chunk with a digest that holds, whatever its parts say."""
    sizes = struct.pack("<III", kept, len(keep), len(values))
    return sizes + hashlib.sha256(sizes + keep + values).digest() + keep + values


def entry(name: str, data: bytes, head: int = 0) -> dict[str, Any]:
    """A file's line in the header."""
    return {"name": name, "size": len(data), "head": head, "sha256": hashlib.sha256(data).hexdigest()}


def shard(tensors: dict[str, Any], data: bytes, padding: int = 0) -> tuple[bytes, int]:
    """A safetensors file with this header and these bytes, and the size of its head."""
    text = json.dumps(tensors).encode() + b" " * padding
    return struct.pack("<Q", len(text)) + text + data, 8 + len(text)


CONFIG = b'{"model_type":"llama"}'


def container(data: bytes = bytes(16), tensors: Any = None, chunks: bytes | None = None, **changed: Any) -> bytes:
    """A model with one F32 tensor `w` of four elements; what is given replaces its parts, sound or not.

    chunks: stands in for the chunk of the tensor; changed: fields of the shard's line in the header.
    """
    tensors = {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}} if tensors is None else tensors
    file, head = shard(tensors, data)
    files = [entry("config.json", CONFIG), {**entry("model.safetensors", file, head), **changed}]
    if chunks is None:
        chunks = chunk(0, b"", b"") if data == bytes(len(data)) else chunk(len(data) // 4, b"", data)
    return opening(files) + chunk(len(CONFIG), b"", CONFIG) + chunk(head, b"", file[:head]) + chunks
