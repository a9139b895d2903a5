"""Containers made to harm: their digests hold, their claims do not.  And anything at all, thrown at every parser."""

import json
import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.errors import ForeignFile, LimitExceeded, MissingInput
from fedspallm_secure.storage.checkpoints.chunks import RECORD_BYTES, WIDTHS, Chunk
from fedspallm_secure.storage.checkpoints.compact import unpack
from fedspallm_secure.storage.checkpoints.contents import Contents, StoredFile
from fedspallm_secure.storage.checkpoints.layout import tensor_spans
from fedspallm_secure.storage.checkpoints.reader import Checkpoint
from tests.storage import fspc
from tests.storage.test_compact import REFUSED, assert_refused, ignore

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


def test_the_handmade_container_is_sound(tmp_path):
    (tmp_path / "m.fspc").write_bytes(fspc.container())
    unpack(tmp_path / "m.fspc", tmp_path / "back", ignore)
    assert torch.equal(Checkpoint.open(tmp_path / "back").read("w"), torch.zeros(4))


# Chunks


def frame(raw: bytes, **options: bool) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(raw)


def claiming(size: int) -> bytes:
    """A zstd frame of a few bytes that says it holds `size`."""
    return b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", size) + b"\x01\x00\x00"


def wide_window(count: int, window_log: int) -> bytes:
    """A sound frame of `count` ones that asks its reader for a window of 2**window_log bytes."""
    block = struct.pack("<I", count << 3 | 1 << 1 | 1)[:3] + b"\1"  # one byte, repeated
    return b"\x28\xb5\x2f\xfd\x80" + bytes([(window_log - 10) << 3]) + struct.pack("<I", count) + block


FOUR = struct.pack("<4I", 1, 0, 2, 3)  # one zero among four elements
THREE = FOUR[:4] + FOUR[8:]
LONG = b"\1" * 400
LONG_TENSOR = {"w": {"dtype": "F32", "shape": [100], "data_offsets": [0, 400]}}
BAD_CHUNKS = {  # kept, keep-mask, values: of FOUR, of four zeros or of LONG; and the reason
    "keeps more than there is": (FOUR, 5, b"", FOUR, "keeps 5"),
    "keep-mask where all stay": (FOUR, 4, b"\x0f", FOUR, "bytes of keep-mask"),
    "keep-mask where none stays": (bytes(16), 0, b"\0", b"", "bytes of keep-mask"),
    "no keep-mask where some stay": (FOUR, 3, b"", THREE, "bytes of keep-mask"),
    "keep-mask too large": (FOUR, 3, b"\x0d\0", THREE, "bytes of keep-mask"),
    "keep-mask with a spare bit": (FOUR, 3, b"\x15", THREE, "does not keep 3 of 4"),
    "keep-mask with a bit too many": (FOUR, 3, b"\x1d", THREE, "does not keep 3 of 4"),
    "keep-mask that keeps fewer": (FOUR, 3, b"\x05", THREE, "does not keep 3 of 4"),
    "keep-mask that keeps more": (FOUR, 3, b"\x0f", THREE, "does not keep 3 of 4"),
    "keep-mask that keeps none": (FOUR, 3, b"\0", THREE, "does not keep 3 of 4"),
    "values missing": (FOUR, 3, b"\x0d", b"", "stores 3 values"),
    "values where none stays": (bytes(16), 0, b"", b"\0", "stores 0 values"),
    "values too large": (FOUR, 3, b"\x0d", THREE + b"\0", "stores 3 values"),
    "values are no frame": (FOUR, 3, b"\x0d", b"\0" * 11, "cannot be read"),
    "frame of another size": (LONG, 100, b"", frame(LONG + b"\0"), "does not hold the 400"),
    "frame that claims a terabyte": (LONG, 100, b"", claiming(1 << 40), "does not hold the 400"),
    "frame that only claims the right size": (LONG, 100, b"", claiming(400), "cannot be read|ends before"),
    "frame without its size": (LONG, 100, b"", frame(LONG, write_content_size=False), "does not hold the 400"),
    "frame with something after it": (LONG, 100, b"", frame(LONG) + b"\0", "unused data"),
    "two frames": (LONG, 100, b"", frame(LONG[:200]) + frame(LONG[200:]), "does not hold the 400"),
    "skippable frame": (LONG, 100, b"", b"\x50\x2a\x4d\x18\x04\0\0\0abcd", "does not hold the 400"),
    "frame with a wide window": (LONG, 100, b"", wide_window(400, 25), "window larger"),
    "frame with a dictionary": (LONG, 100, b"", b"\x28\xb5\x2f\xfd\xa1\7\x90\1\0\0\1\0\0", "dictionary"),
    "frame cut short": (LONG, 100, b"", frame(LONG)[:-1], "cannot be read|ends before"),
    "right frame of wrong bytes": (LONG, 100, b"", frame(b"\2" * 400), "model.safetensors does not match"),
    "plain, of wrong bytes": (LONG, 100, b"", b"\2" * 400, "model.safetensors does not match"),
}


@pytest.mark.parametrize("what", BAD_CHUNKS)
def test_bad_chunks_are_refused(tmp_path, what):
    data, kept, keep, values, reason = BAD_CHUNKS[what]
    tensors = LONG_TENSOR if len(data) == 400 else None
    assert_refused(fspc.container(data, tensors, fspc.chunk(kept, keep, values)), tmp_path, ForeignFile, reason)


def test_a_frame_with_a_window_of_a_chunk_is_read(tmp_path):
    good = fspc.container(LONG, LONG_TENSOR, fspc.chunk(100, b"", wide_window(400, 24)))
    (tmp_path / "m.fspc").write_bytes(good)
    unpack(tmp_path / "m.fspc", tmp_path / "back", ignore)


# Tensor tables


def tensor(dtype: Any, shape: Any, offsets: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


BAD_TENSORS = {
    "unknown dtype": ("unknown dtype", {"w": tensor("F17", [4], [0, 16])}),
    "shape too large": ("takes 16 bytes", {"w": tensor("F32", [5], [0, 16])}),
    "shape too small": ("takes 16 bytes", {"w": tensor("F32", [3], [0, 16])}),
    "half a byte": ("takes 16 bytes", {"w": tensor("F4", [33], [0, 16])}),
    "shape beyond any disk": ("impossible shape", {"w": tensor("F32", [1 << 62, 1 << 62], [0, 16])}),
    "extent beyond any disk": ("no usable shape", {"w": tensor("F32", [0, 1 << 63], [0, 16])}),
    "negative shape": ("no usable shape", {"w": tensor("F32", [-2, -2], [0, 16])}),
    "true for one": ("no usable shape", {"w": tensor("F32", [4, True], [0, 16])}),
    "rank beyond reason": ("no usable shape", {"w": tensor("F32", [4, *[1] * 64], [0, 16])}),
    "overlap": ("starts at byte 8", {"u": tensor("F32", [3], [0, 12]), "w": tensor("F32", [2], [8, 16])}),
    "same place": ("starts at byte 0", {"u": tensor("F32", [4], [0, 16]), "w": tensor("F32", [4], [0, 16])}),
    "gap": ("starts at byte 4", {"w": tensor("F32", [3], [4, 16])}),
    "not to the end": ("tensors end at", {"w": tensor("F32", [3], [0, 12])}),
    "beyond the end": ("tensors end at", {"w": tensor("F32", [5], [0, 20])}),
    "backwards": ("takes -16 bytes", {"w": tensor("F32", [4], [16, 0])}),
    "one offset": ("no usable shape", {"w": tensor("F32", [4], [16])}),
    "another member": ("not described by", {"w": {**tensor("F32", [4], [0, 16]), "x": 1}}),
    "a member less": ("not described by", {"w": {"dtype": "F32", "shape": [4]}}),
    "not an object": ("not described by", {"w": 3}),
    "dtype is a list": ("unknown dtype", {"w": tensor([], [4], [0, 16])}),
    "a list": ("not an object", []),
}


@pytest.mark.parametrize("what", BAD_TENSORS)
def test_bad_tensor_tables_are_refused(tmp_path, what):
    reason, tensors = BAD_TENSORS[what]
    assert_refused(fspc.container(tensors=tensors), tmp_path, ForeignFile, reason)


def test_a_tensor_named_twice_is_refused():
    once = b'"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    text = b"{" + once + b"," + once + b"}"
    head = struct.pack("<Q", len(text)) + text
    with pytest.raises(ForeignFile, match="twice"):
        tensor_spans(head, len(head) + 4)


def test_a_head_that_is_not_as_long_as_it_says_is_refused(tmp_path):
    _, head = fspc.shard(LONG_TENSOR, b"")
    for size in (head - 1, head + 1, 8, head + 400):
        assert_refused(fspc.container(LONG, LONG_TENSOR, head=size), tmp_path, ForeignFile)


# Lists of files


def line(name: str, **changes: Any) -> dict[str, Any]:
    head = 20 if name.endswith("safetensors") else 0
    return {**fspc.entry(name, bytes(64), head), **changes}


def lines(*names: str) -> list[dict[str, Any]]:
    return [line(name) for name in names]


BAD_NAMES = (
    *("../model.safetensors", "x/model.safetensors", "x\\model.safetensors", "/model.safetensors", "..", "", "CON"),
    *(".model.safetensors", "model.safetensors\n", "model.safetensors\0", "mödel.safetensors", "model.py"),
    *("pytorch_model.bin", "adapter_config.json", "config.json ", "m" * 300 + ".safetensors"),
)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_no_model_file_has_are_refused(tmp_path, name):
    opening = fspc.opening([*lines("config.json"), line(name), *lines("model.safetensors")])
    assert_refused(opening + bytes(1000), tmp_path, ForeignFile, "is not the name of a model file")


BAD_FILES: dict[str, tuple[str, list[Any]]] = {
    "twice": ("twice or out of order", lines("config.json", "config.json", SINGLE)),
    "shard twice": ("twice or out of order", lines("config.json", INDEX, "a.safetensors", "a.safetensors")),
    "out of order": ("twice or out of order", lines(SINGLE, "config.json")),
    "case": ("upper and lower", lines("config.json", INDEX, "A.safetensors", "a.safetensors")),
    "no config": ("do not make a model", lines(SINGLE)),
    "no shard": ("do not make a model", lines("config.json")),
    "no index": ("do not make a model", lines("config.json", "model-00001-of-00001.safetensors")),
    "nothing": ("do not make a model", []),
    "not objects": ("not described by", [1, 2]),
    "another member": ("not described by", [line("config.json", mode=511), line(SINGLE)]),
    "companion with a head": ("head of 8", [line("config.json", head=8), line(SINGLE)]),
    "shard without a head": ("head of 0", [line("config.json"), line(SINGLE, head=0)]),
    "head beyond the file": ("no usable size", [line("config.json"), line(SINGLE, head=65)]),
    "head below zero": ("no usable size", [line("config.json", head=-1), line(SINGLE)]),
    "size is true": ("no usable size", [line("config.json", size=True), line(SINGLE)]),
    "size is a float": ("no usable size", [line("config.json", size=64.0), line(SINGLE)]),
    "size below zero": ("no usable size", [line("config.json", size=-1), line(SINGLE)]),
    "size beyond any disk": ("no usable size", [line("config.json"), line(SINGLE, size=1 << 63)]),
    "size beyond the container": ("too short", [line("config.json"), line(SINGLE, size=1 << 60)]),
    "digest in capitals": ("64 lower-case", [line("config.json", sha256="A" * 64), line(SINGLE)]),
    "digest is a number": ("64 lower-case", [line("config.json", sha256=0), line(SINGLE)]),
    "name is a list": ("not the name", [{**line("config.json"), "name": []}, line(SINGLE)]),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_bad_file_lists_are_refused(tmp_path, what):
    reason, files = BAD_FILES[what]
    assert_refused(fspc.opening(files) + bytes(1000), tmp_path, ForeignFile, reason)


BAD_TEXTS = (b"", b"[]", b"{}", b'{"files":{}}', b"[" * 100_000, b"9" * 5000, b"\xff", b'{"files":[NaN]}')


@pytest.mark.parametrize("text", BAD_TEXTS, ids=range(len(BAD_TEXTS)))
def test_headers_that_are_not_file_lists_are_refused(tmp_path, text):
    assert_refused(fspc.opening(None, text=text), tmp_path, ForeignFile)


def test_another_spelling_of_a_good_header_is_refused(tmp_path):
    good = fspc.container()
    size = struct.unpack("<I", good[12:16])[0]
    text, rest = good[48 : 48 + size], good[48 + size :]
    (tmp_path / "good.fspc").write_bytes(fspc.opening(None, text=text) + rest)
    unpack(tmp_path / "good.fspc", tmp_path / "good", ignore)
    doubled = text.replace(b'"head":0,', b'"head":0,"head":0,')
    for other in (text + b" ", text.replace(b":", b": "), text.replace(b"config", b"\\u0063onfig"), doubled):
        assert other != text
        assert_refused(fspc.opening(None, text=other) + rest, tmp_path, ForeignFile, "spelled")


def test_other_versions_and_kinds_are_refused(tmp_path):
    assert_refused(fspc.opening([], version=2), tmp_path, ForeignFile, "format 2 is not known")
    assert_refused(fspc.opening([], magic=b"PK\3\4\0\0\0\0"), tmp_path, ForeignFile, "not a compact model file")
    assert_refused(b"", tmp_path, ForeignFile)
    for missing in (tmp_path / "nothing", tmp_path):
        with pytest.raises(MissingInput):
            unpack(missing, tmp_path / "out", ignore)


def test_shards_and_index_must_agree(tmp_path):
    file, head = fspc.shard({"w": tensor("F32", [4], [0, 16])}, bytes(16))
    index = json.dumps({"weight_map": {"w": "a.safetensors"}}).encode()
    companions = {"config.json": fspc.CONFIG, INDEX: index}
    listed = [fspc.entry(name, data) for name, data in companions.items()]
    small = b"".join(fspc.chunk(len(data), b"", data) for data in companions.values())
    one = fspc.chunk(head, b"", file[:head]) + fspc.chunk(0, b"", b"")
    a, b = (fspc.entry(name, file, head) for name in ("a.safetensors", "b.safetensors"))
    (tmp_path / "good.fspc").write_bytes(fspc.opening([*listed, a]) + small + one)
    unpack(tmp_path / "good.fspc", tmp_path / "good", ignore)
    assert_refused(fspc.opening([*listed, a, b]) + small + one + one, tmp_path, ForeignFile, "does not use")
    assert_refused(fspc.opening([*listed, b]) + small + one, tmp_path, ForeignFile, "not a usable model")


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    config = b'{"model_type":"llama","quantization_config":{}}'
    file, head = fspc.shard({"w": tensor("F32", [4], [0, 16])}, bytes(16))
    files = [fspc.entry("config.json", config), fspc.entry(SINGLE, file, head)]
    chunks = fspc.chunk(len(config), b"", config) + fspc.chunk(head, b"", file[:head]) + fspc.chunk(0, b"", b"")
    assert_refused(fspc.opening(files) + chunks, tmp_path, ForeignFile, "quantised")


# Claims


@contextmanager
def little_memory() -> Iterator[None]:
    """Fail when more than a few MiB are allocated at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_claims_allocate_nothing(tmp_path: Path) -> None:
    with little_memory():
        longest = fspc.MAGIC + struct.pack("<II", 1, (1 << 32) - 1) + bytes(32)
        assert_refused(longest, tmp_path, LimitExceeded, "header takes")
        bomb = fspc.container(LONG, LONG_TENSOR, fspc.chunk(100, b"", claiming(1 << 50)))
        assert_refused(bomb, tmp_path, ForeignFile, "does not hold the 400")
        assert_refused(fspc.container(size=1 << 50), tmp_path, ForeignFile, "too short")
        head = fspc.opening([line("config.json"), line(SINGLE, size=1 << 30, head=(1 << 24) + 1)])
        assert_refused(head + bytes(9000), tmp_path, LimitExceeded, "head of model.safetensors")
        companion = fspc.opening([line("config.json", size=(64 << 20) + 1), line(SINGLE)])
        assert_refused(companion + bytes(9000), tmp_path, LimitExceeded, "config.json takes")
        with pytest.raises(LimitExceeded):
            tensor_spans(struct.pack("<Q", 1 << 40) + b"{}", 1 << 50)


# Anything at all


after_magic = st.binary(max_size=100).map(lambda tail: fspc.MAGIC + struct.pack("<I", 1) + tail)


@given(st.binary(max_size=200) | after_magic)
def test_any_bytes_are_refused_as_contents(data):
    rest = data

    def take(count: int) -> bytes:
        nonlocal rest
        if len(rest) < count:
            raise ForeignFile("ends early")
        part, rest = rest[:count], rest[count:]
        return part

    with pytest.raises(REFUSED):  # a digest that holds by chance does not happen
        Contents.decode(take)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
file_lines = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["config.json", SINGLE, "a.safetensors", "../x"]) | json_values,
        "size": st.integers(0, 100) | json_values,
        "head": st.sampled_from([0, 8]) | json_values,
        "sha256": st.just("0" * 64) | json_values,
    }
)


@given(file_lines | json_values)
def test_any_object_is_a_file_or_refused(fields):
    try:
        file = StoredFile.from_dict(fields)
    except REFUSED:
        return
    assert file.to_dict() == fields


tensor_lines = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F4", "F64"]) | json_values,
        "shape": st.lists(st.integers(0, 3), max_size=3) | json_values,
        "data_offsets": st.lists(st.integers(0, 24), min_size=2, max_size=2) | json_values,
    }
)
tables = st.dictionaries(st.text(max_size=3), tensor_lines | json_values, max_size=3) | json_values


@given(tables, st.integers(0, 50))
def test_any_tensor_table_tiles_the_file_or_is_refused(tensors, size):
    head = fspc.shard(tensors, b"")[0]
    try:
        spans = tensor_spans(head, len(head) + size)
    except REFUSED:
        return
    assert sum(span.nbytes for span in spans) == size


@given(st.integers(0, 40), st.binary(max_size=20), st.binary(max_size=60), st.sampled_from(WIDTHS))
def test_any_chunk_restores_to_its_size_or_is_refused(kept, keep, values, width):
    record = fspc.chunk(kept, keep, values)
    try:
        restored = Chunk.parse(record[:RECORD_BYTES], 30, width).restore(record[RECORD_BYTES:])
    except REFUSED:
        return
    assert len(restored) == 30 * width
