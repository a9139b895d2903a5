"""The compact container: whole folders, bit for bit, or a refusal that leaves nothing behind."""

import json
import resource
import shutil
import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from fedspallm_secure.errors import (
    DiskFull,
    ForeignFile,
    LimitExceeded,
    MissingInput,
    OutputExists,
    RecordDamaged,
)
from fedspallm_secure.storage.checkpoints import compact
from fedspallm_secure.storage.checkpoints.chunks import CHUNK_BYTES, RECORD_BYTES, WIDTHS, Chunk, store
from fedspallm_secure.storage.checkpoints.compact import pack, unpack, verify
from fedspallm_secure.storage.checkpoints.contents import Contents, StoredFile
from fedspallm_secure.storage.checkpoints.layout import tensor_spans
from fedspallm_secure.storage.checkpoints.reader import Checkpoint
from tests.storage import fspc

VECTORS = Path(__file__).parent / "vectors"
BITS = {torch.float64: torch.int64, torch.float32: torch.int32, torch.float16: torch.int16, torch.bfloat16: torch.int16}
REFUSED = (ForeignFile, LimitExceeded)


def ignore(done: int, total: int) -> None:
    """No progress wanted."""


def write_folder(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    folder.mkdir()
    (folder / "config.json").write_bytes(fspc.CONFIG)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def contents_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def packed(folder: Path, out: Path) -> bytes:
    pack(Checkpoint.open(folder), out, ignore)
    return out.read_bytes()


def assert_round_trip(folder: Path, work: Path) -> bytes:
    """The folder comes back byte for byte, by the library and by the second reader."""
    container = packed(folder, work / "m.fspc")
    verify(work / "m.fspc", ignore)
    unpack(work / "m.fspc", work / "back", ignore)
    assert contents_of(work / "back") == contents_of(folder)
    assert fspc.read(container) == contents_of(folder)
    return container


def assert_refused(
    container: bytes, work: Path, error: type[Exception] | tuple[type[Exception], ...], reason: str = ""
) -> None:
    """The container is refused, by that error and for that reason, and leaves nothing behind."""
    file = work / "bad.fspc"
    file.write_bytes(container)
    before = sorted(work.iterdir())
    with pytest.raises(error, match=reason):
        unpack(file, work / "bad", ignore)
    assert sorted(work.iterdir()) == before


def sparse(shape: tuple[int, ...], dtype: torch.dtype, zeros: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(shape, generator=generator, dtype=torch.float32)
    return dense.masked_fill_(torch.rand(shape, generator=generator) < zeros, 0).to(dtype)


# Round trips


@pytest.mark.parametrize("dtype", BITS)
@pytest.mark.parametrize("zeros", [0.0, 0.02, 0.5, 1.0])
def test_every_bit_survives(tmp_path, dtype, zeros):
    every = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan], dtype=dtype)
    width = dtype.itemsize * 8
    odd = torch.tensor([1, 3, -1, -2, 2 ** (width - 2) - 1, -(2 ** (width - 1)) + 1], dtype=BITS[dtype]).view(dtype)
    tensors = {
        "weight": sparse((33, 65), dtype, zeros),
        "odd": torch.cat([every, odd, torch.zeros(40, dtype=dtype)]),  # subnormals, and NaNs with payloads
        "scalar": torch.tensor(-0.0, dtype=dtype),
        "empty": torch.empty((3, 0), dtype=dtype),
    }
    assert_round_trip(write_folder(tmp_path / "m", tensors), tmp_path)


def test_negative_zeros_are_kept_where_a_keep_mask_drops_zeros(tmp_path):
    weight = torch.zeros(64)
    weight[10] = -0.0
    container = assert_round_trip(write_folder(tmp_path / "m", {"w": weight}), tmp_path)
    chunk = container[-(RECORD_BYTES + 8 + 4) :]
    assert struct.unpack("<III", chunk[:12]) == (1, 8, 4)  # one kept element of 64, by eight bytes of keep-mask


def test_other_dtypes_pass_through(tmp_path):
    bits = torch.arange(256, dtype=torch.int32).to(torch.uint8)
    names = ["bool", "int8", "uint8", "float8_e4m3fn", "float8_e5m2", "int16", "uint16", "int64", "complex64"]
    tensors = {name: (bits % 2).bool() if name == "bool" else bits.clone().view(getattr(torch, name)) for name in names}
    assert_round_trip(write_folder(tmp_path / "m", tensors), tmp_path)


def test_sizes_follow_the_zeros(tmp_path):
    dense = 4 * 256 * 256
    sizes = [len(store(sparse((256, 256), torch.float32, zeros).numpy().tobytes(), 4)) for zeros in (0, 0.5, 0.9, 1)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] < dense
    assert sizes[1] < 0.49 * dense
    assert sizes[3] == RECORD_BYTES


def test_two_of_four_has_a_keep_mask_that_compresses():
    weight = torch.randn(256, 64, 4)
    weight[:, :, :2] = 0
    record = store(weight.numpy().tobytes(), 4)
    kept, keep_bytes, _ = struct.unpack("<III", record[:12])
    assert kept == weight.numel() // 2
    assert keep_bytes < weight.numel() // 8


def test_shards_index_and_companions_come_back(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    names = {"b.weight": "model-00001-of-00002.safetensors", "a.weight": "model-00002-of-00002.safetensors"}
    for name, shard in names.items():
        save_file({name: sparse((40, 30), torch.bfloat16, 0.5)}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    (folder / "config.json").write_bytes(fspc.CONFIG + b"\n")
    (folder / "tokenizer.json").write_text('{"model": "ü"}' * 500)
    (folder / "vocab.txt").touch()
    (folder / "README.md").write_text("not carried")
    pack(Checkpoint.open(folder), tmp_path / "m.fspc", ignore)
    unpack(tmp_path / "m.fspc", tmp_path / "back", ignore)
    (folder / "README.md").unlink()
    assert contents_of(tmp_path / "back") == contents_of(folder)


def test_a_safetensors_file_of_another_writer_comes_back_byte_for_byte(tmp_path):
    tensors = {
        "__metadata__": {"made by": "someone"},
        "late": {"shape": [2], "data_offsets": [8, 12], "dtype": "F16"},
        "nothing": {"dtype": "F64", "shape": [0], "data_offsets": [8, 8]},
        "early": {"dtype": "F32", "data_offsets": [0, 8], "shape": [2, 1]},
    }
    file, _ = fspc.shard(tensors, b"\1\2\3\4\0\0\0\0\5\6\7\x08", padding=13)
    (tmp_path / "m").mkdir()
    (tmp_path / "m/config.json").write_bytes(fspc.CONFIG)
    (tmp_path / "m/model.safetensors").write_bytes(file)
    assert_round_trip(tmp_path / "m", tmp_path)


def test_a_tensor_larger_than_a_chunk(tmp_path):
    weight = torch.zeros(CHUNK_BYTES // 2 + 5, dtype=torch.bfloat16)
    weight[::1000] = 1
    weight[-1] = -0.0
    folder = write_folder(tmp_path / "m", {"w": weight})
    seen: list[tuple[int, int]] = []
    pack(Checkpoint.open(folder), tmp_path / "m.fspc", lambda *step: seen.append(step))
    unpack(tmp_path / "m.fspc", tmp_path / "back", ignore)
    assert contents_of(tmp_path / "back") == contents_of(folder)
    assert (tmp_path / "m.fspc").stat().st_size < 100_000
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (seen[-1][1],) * 2


def test_the_same_folder_gives_the_same_container(tmp_path):
    folder = write_folder(tmp_path / "m", {"w": sparse((50, 50), torch.float32, 0.5)})
    assert packed(folder, tmp_path / "1.fspc") == packed(folder, tmp_path / "2.fspc")


def test_a_container_of_version_1_reads_for_ever(tmp_path):
    unpack(VECTORS / "version1.fspc", tmp_path / "back", ignore)
    assert contents_of(tmp_path / "back") == fspc.read((VECTORS / "version1.fspc").read_bytes())
    restored = Checkpoint.open(tmp_path / "back").read("model.layers.0.mlp.up_proj.weight")
    assert torch.equal(restored, (torch.arange(96).reshape(8, 12) % 3 - 1).to(torch.bfloat16) / 8)


def elements(width: int) -> st.SearchStrategy[bytes]:
    one = st.just(bytes(width)) | st.binary(min_size=width, max_size=width)
    return st.lists(one, min_size=1, max_size=200).map(b"".join)


@given(st.sampled_from(WIDTHS).flatmap(lambda width: st.tuples(st.just(width), elements(width))))
def test_any_chunk_is_restored(drawn):
    width, data = drawn
    stored = store(data, width)
    chunk = Chunk.parse(stored[:RECORD_BYTES], len(data) // width, width)
    assert chunk.payload_bytes == len(stored) - RECORD_BYTES
    assert chunk.restore(stored[RECORD_BYTES:]) == data


# Damage


@pytest.fixture
def sound(tmp_path: Path) -> bytes:
    """A small container with a keep-mask, compressed values and plain ones."""
    tensors = {"a": sparse((16, 16), torch.float32, 0.5), "b": torch.ones(300), "c": torch.zeros(9)}
    container = packed(write_folder(tmp_path / "sound", tensors), tmp_path / "sound.fspc")
    shutil.rmtree(tmp_path / "sound")
    return container


def test_every_changed_byte_is_noticed(tmp_path, sound):
    for position in {*range(64), *range(64, len(sound), 11), len(sound) - 1}:
        changed = bytearray(sound)
        changed[position] ^= 1 << position % 8
        assert_refused(bytes(changed), tmp_path, REFUSED)


def test_every_truncation_is_noticed(tmp_path, sound):
    for size in {*range(0, 60, 3), *range(60, len(sound), 41), *boundaries(sound)}:
        assert_refused(sound[:size], tmp_path, ForeignFile)


def boundaries(container: bytes) -> Iterator[int]:
    """Where the header, every record and every payload end, the end of the file excepted."""
    place = 48 + struct.unpack("<I", container[12:16])[0]
    while place < len(container):
        yield from {place, min(place + RECORD_BYTES, len(container) - 1)}
        place += RECORD_BYTES + sum(struct.unpack("<II", container[place + 4 : place + 12]))


def test_bytes_after_the_end_are_noticed(tmp_path, sound):
    assert_refused(sound + b"\0", tmp_path, ForeignFile)
    assert_refused(sound + sound, tmp_path, ForeignFile)


def test_swapped_chunks_are_noticed(tmp_path):
    first, second = fspc.chunk(1, b"", b"\1\0\0\0"), fspc.chunk(1, b"", b"\2\0\0\0")
    tensors = {
        "u": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "v": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
    }
    data = b"\1\0\0\0\2\0\0\0"
    (tmp_path / "good.fspc").write_bytes(fspc.container(data, tensors, first + second))
    unpack(tmp_path / "good.fspc", tmp_path / "good", ignore)
    assert_refused(fspc.container(data, tensors, second + first), tmp_path, ForeignFile)


def test_verify_says_that_what_was_written_is_damaged(tmp_path, sound):
    (tmp_path / "m.fspc").write_bytes(sound[:-1] + b"\xff")
    with pytest.raises(RecordDamaged):
        verify(tmp_path / "m.fspc", ignore)


# Hostile containers, with digests that hold


def test_the_handmade_container_is_sound(tmp_path):
    (tmp_path / "m.fspc").write_bytes(fspc.container())
    unpack(tmp_path / "m.fspc", tmp_path / "back", ignore)
    assert torch.equal(Checkpoint.open(tmp_path / "back").read("w"), torch.zeros(4))


def frame(raw: bytes, **options: bool) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(raw)


def claiming(size: int) -> bytes:
    """A zstd frame of a few bytes that says it holds `size`."""
    return b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", size) + b"\x01\x00\x00"


def wide_window(count: int) -> bytes:
    """A sound frame of `count` ones that asks its reader for a window of 128 MiB."""
    block = struct.pack("<I", count << 3 | 1 << 1 | 1)[:3] + b"\1"  # one byte, repeated
    return b"\x28\xb5\x2f\xfd\x80\x88" + struct.pack("<I", count) + block


SAMPLE = struct.pack("<4I", 1, 0, 2, 3)  # one zero among four elements
LONG = b"\1\0\0\0" * 100
LONG_TENSOR = {"w": {"dtype": "F32", "shape": [100], "data_offsets": [0, 400]}}
VALUES = SAMPLE[:4] + SAMPLE[8:]
BAD_CHUNKS = {
    "keeps more than there is": (SAMPLE, fspc.chunk(5, b"", SAMPLE), "keeps 5"),
    "keep-mask where all stay": (SAMPLE, fspc.chunk(4, b"\x0f", SAMPLE), "bytes of keep-mask"),
    "keep-mask where none stays": (bytes(16), fspc.chunk(0, b"\0", b""), "bytes of keep-mask"),
    "no keep-mask where some stay": (SAMPLE, fspc.chunk(3, b"", VALUES), "bytes of keep-mask"),
    "keep-mask too large": (SAMPLE, fspc.chunk(3, b"\x0d\0", VALUES), "bytes of keep-mask"),
    "keep-mask with a spare bit": (SAMPLE, fspc.chunk(3, b"\x15", VALUES), "does not keep 3 of 4"),
    "keep-mask that keeps fewer": (SAMPLE, fspc.chunk(3, b"\x05", VALUES), "does not keep 3 of 4"),
    "keep-mask that keeps more": (SAMPLE, fspc.chunk(3, b"\x0f", VALUES), "does not keep 3 of 4"),
    "values missing": (SAMPLE, fspc.chunk(3, b"\x0d", b""), "stores 3 values"),
    "values where none stays": (bytes(16), fspc.chunk(0, b"", b"\0"), "stores 0 values"),
    "values too large": (SAMPLE, fspc.chunk(3, b"\x0d", VALUES + b"\0"), "stores 3 values"),
    "values are no frame": (SAMPLE, fspc.chunk(3, b"\x0d", b"\0" * 11), "cannot be read"),
    "frame of another size": (LONG, fspc.chunk(100, b"", frame(LONG + b"\0")), "does not hold the 400"),
    "frame that claims a terabyte": (LONG, fspc.chunk(100, b"", claiming(1 << 40)), "does not hold the 400"),
    "frame that claims the right size only": (LONG, fspc.chunk(100, b"", claiming(400)), "cannot be read|ends before"),
    "frame without its size": (
        LONG,
        fspc.chunk(100, b"", frame(LONG, write_content_size=False)),
        "does not hold the 400",
    ),
    "frame with something after it": (LONG, fspc.chunk(100, b"", frame(LONG) + b"\0"), "unused data"),
    "two frames": (LONG, fspc.chunk(100, b"", frame(LONG[:200]) + frame(LONG[200:])), "does not hold the 400"),
    "skippable frame": (LONG, fspc.chunk(100, b"", b"\x50\x2a\x4d\x18\x04\0\0\0abcd"), "does not hold the 400"),
    "frame with a wide window": (b"\1" * 400, fspc.chunk(100, b"", wide_window(400)), "too much memory"),
    "frame cut short": (LONG, fspc.chunk(100, b"", frame(LONG)[:-1]), "cannot be read|ends before"),
    "the right frame of the wrong bytes": (
        LONG,
        fspc.chunk(100, b"", frame(bytes(400))),
        "model.safetensors does not match",
    ),
}


@pytest.mark.parametrize("what", BAD_CHUNKS)
def test_bad_chunks_are_refused(tmp_path, what):
    data, chunk, reason = BAD_CHUNKS[what]
    assert_refused(
        fspc.container(data, LONG_TENSOR if len(data) == 400 else None, chunk), tmp_path, ForeignFile, reason
    )


BAD_TENSORS = {
    "unknown dtype": ("unknown dtype", {"w": {"dtype": "F17", "shape": [4], "data_offsets": [0, 16]}}),
    "shape too large": ("takes 16 bytes", {"w": {"dtype": "F32", "shape": [5], "data_offsets": [0, 16]}}),
    "shape too small": ("takes 16 bytes", {"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 16]}}),
    "half a byte": ("takes 16 bytes", {"w": {"dtype": "F4", "shape": [33], "data_offsets": [0, 16]}}),
    "shape beyond any disk": (
        "impossible shape",
        {"w": {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 16]}},
    ),
    "negative shape": ("no usable shape", {"w": {"dtype": "F32", "shape": [-2, -2], "data_offsets": [0, 16]}}),
    "true for one": ("no usable shape", {"w": {"dtype": "F32", "shape": [4, True], "data_offsets": [0, 16]}}),
    "rank beyond reason": (
        "no usable shape",
        {"w": {"dtype": "F32", "shape": [4, *[1] * 64], "data_offsets": [0, 16]}},
    ),
    "overlap": (
        "starts at byte 8",
        {
            "u": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]},
            "w": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]},
        },
    ),
    "same place": (
        "starts at byte 0",
        {
            "u": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
            "w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
        },
    ),
    "gap": ("takes 12 bytes|starts at byte 4", {"w": {"dtype": "F32", "shape": [3], "data_offsets": [4, 16]}}),
    "not to the end": ("tensors end at", {"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}),
    "beyond the end": ("tensors end at", {"w": {"dtype": "F32", "shape": [5], "data_offsets": [0, 20]}}),
    "one offset": ("no usable shape", {"w": {"dtype": "F32", "shape": [4], "data_offsets": [16]}}),
    "another member": ("not described by", {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], "x": 1}}),
    "a member less": ("not described by", {"w": {"dtype": "F32", "shape": [4]}}),
    "not an object": ("not described by", {"w": 3}),
    "dtype is a list": ("unknown dtype", {"w": {"dtype": [], "shape": [4], "data_offsets": [0, 16]}}),
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


def listed(*names: str) -> list[dict[str, object]]:
    return [fspc.entry(name, bytes(64), 20 if name.endswith("safetensors") else 0) for name in names]


BAD_FILES = {
    "climbs out": ("not the name", listed("config.json", "../model.safetensors")),
    "in a folder": ("not the name", listed("config.json", "x/model.safetensors")),
    "in a Windows folder": ("not the name", listed("config.json", "x\\model.safetensors")),
    "absolute": ("not the name", listed("config.json", "/model.safetensors")),
    "hidden": ("not the name", listed("config.json", ".model.safetensors")),
    "code": ("not the name", listed("config.json", "modeling.py", "model.safetensors")),
    "pickle": ("not the name", listed("config.json", "pytorch_model.bin", "model.safetensors")),
    "new line": ("not the name", listed("config.json", "model.safetensors\n")),
    "empty name": ("not the name", listed("", "config.json", "model.safetensors")),
    "name of 300": ("not the name", listed("config.json", "m" * 300 + ".safetensors")),
    "twice": ("twice or out of order", listed("config.json", "config.json", "model.safetensors")),
    "shard twice": (
        "twice or out of order",
        listed("config.json", "model.safetensors.index.json", "a.safetensors", "a.safetensors"),
    ),
    "case": (
        "upper and lower",
        listed("config.json", "model.safetensors.index.json", "A.safetensors", "a.safetensors"),
    ),
    "out of order": ("twice or out of order", listed("model.safetensors", "config.json")),
    "no config": ("do not make a model", listed("model.safetensors")),
    "no shard": ("do not make a model", listed("config.json")),
    "no index": ("do not make a model", listed("config.json", "model-00001-of-00001.safetensors")),
    "nothing": ("do not make a model", []),
    "not objects": ("not described by", [1, 2]),
    "companion with a head": ("head of 8", [fspc.entry("config.json", bytes(64), 8), *listed("model.safetensors")]),
    "shard without a head": ("head of 0", [*listed("config.json"), fspc.entry("model.safetensors", bytes(64), 0)]),
    "head beyond the file": (
        "no usable size",
        [*listed("config.json"), fspc.entry("model.safetensors", bytes(64), 65)],
    ),
    "size is true": (
        "no usable size",
        [{**listed("vocab.txt")[0], "size": True}, *listed("config.json", "model.safetensors")],
    ),
    "size is a float": ("no usable size", [{**listed("config.json")[0], "size": 64.0}, *listed("model.safetensors")]),
    "size below zero": ("no usable size", [{**listed("config.json")[0], "size": -1}, *listed("model.safetensors")]),
    "size beyond any disk": (
        "no usable size",
        [*listed("config.json"), {**listed("model.safetensors")[0], "size": 1 << 63}],
    ),
    "size beyond the container": (
        "too short",
        [*listed("config.json"), {**listed("model.safetensors")[0], "size": 1 << 60}],
    ),
    "digest in capitals": (
        "64 lower-case",
        [{**listed("config.json")[0], "sha256": "A" * 64}, *listed("model.safetensors")],
    ),
    "digest is a number": ("64 lower-case", [{**listed("config.json")[0], "sha256": 0}, *listed("model.safetensors")]),
    "name is a list": ("not the name", [{**listed("config.json")[0], "name": []}, *listed("model.safetensors")]),
    "another member": ("not described by", [{**listed("config.json")[0], "mode": 511}, *listed("model.safetensors")]),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_bad_file_lists_are_refused(tmp_path, what):
    reason, files = BAD_FILES[what]
    padded = fspc.opening(files) + fspc.chunk(64, b"", bytes(64)) * 4
    assert_refused(padded, tmp_path, ForeignFile, reason)


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{}", b'{"files":{}}', b"[" * 100_000, b"9" * 5000, b"\xff", b'{"files":[NaN]}'],
)
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
        assert_refused(fspc.opening(None, text=other) + rest, tmp_path, ForeignFile)


def test_other_versions_and_kinds_are_refused(tmp_path):
    assert_refused(fspc.opening([], version=2), tmp_path, ForeignFile)
    assert_refused(fspc.opening([], magic=b"PK\3\4\0\0\0\0"), tmp_path, ForeignFile)
    assert_refused(b"", tmp_path, ForeignFile)
    with pytest.raises(MissingInput):
        unpack(tmp_path / "nothing", tmp_path / "out", ignore)
    with pytest.raises(MissingInput):
        unpack(tmp_path, tmp_path / "out", ignore)


def test_a_shard_that_the_model_does_not_use_is_refused(tmp_path):
    file, head = fspc.shard({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, bytes(16))
    index = json.dumps({"weight_map": {"w": "a.safetensors"}}).encode()
    companions = {"config.json": fspc.CONFIG, "model.safetensors.index.json": index}
    lines = [fspc.entry(name, data) for name, data in companions.items()]
    small = b"".join(fspc.chunk(len(data), b"", data) for data in companions.values())
    one = fspc.chunk(head, b"", file[:head]) + fspc.chunk(0, b"", b"")
    shards = [fspc.entry(name, file, head) for name in ("a.safetensors", "b.safetensors")]
    (tmp_path / "good.fspc").write_bytes(fspc.opening([*lines, shards[0]]) + small + one)
    unpack(tmp_path / "good.fspc", tmp_path / "good", ignore)
    assert_refused(fspc.opening([*lines, *shards]) + small + one + one, tmp_path, ForeignFile)  # b is not in the index
    assert_refused(fspc.opening([*lines, shards[1]]) + small + one, tmp_path, ForeignFile)  # a is missing


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    config = b'{"model_type":"llama","quantization_config":{}}'
    assert_refused(fspc.container().replace(fspc.CONFIG, config), tmp_path, ForeignFile)
    file, head = fspc.shard({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, bytes(16))
    files = [fspc.entry("config.json", config), fspc.entry("model.safetensors", file, head)]
    chunks = fspc.chunk(len(config), b"", config) + fspc.chunk(head, b"", file[:head]) + fspc.chunk(0, b"", b"")
    assert_refused(fspc.opening(files) + chunks, tmp_path, ForeignFile)


@contextmanager
def little_memory() -> Iterator[None]:
    """Fail when more than a few MiB are allocated at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_claims_allocate_nothing(tmp_path):
    line = fspc.entry("config.json", fspc.CONFIG)
    whole = 16 << 20
    with little_memory():
        huge = fspc.MAGIC + struct.pack("<II", 1, (1 << 32) - 1) + bytes(32)
        assert_refused(huge, tmp_path, LimitExceeded)
        assert_refused(
            fspc.container(LONG, LONG_TENSOR, fspc.chunk(100, b"", claiming(1 << 50))), tmp_path, ForeignFile
        )
        assert_refused(fspc.container(size=1 << 50), tmp_path, ForeignFile, "too short")
        head = {**fspc.entry("model.safetensors", b""), "size": whole * 2, "head": whole + 1}
        assert_refused(fspc.opening([line, head]) + bytes(1000), tmp_path, LimitExceeded)
        companion = {**line, "size": (64 << 20) + 1}
        assert_refused(fspc.opening([companion]) + bytes(1000), tmp_path, LimitExceeded)
        with pytest.raises(LimitExceeded):
            tensor_spans(struct.pack("<Q", 1 << 40) + b"{}", 1 << 50)


# Anything at all


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: fspc.MAGIC + struct.pack("<I", 1) + tail))
def test_any_bytes_are_contents_or_refused(data):
    place = iter(range(0, len(data) + 1))

    def take(count: int) -> bytes:
        start = next(place)
        for _ in range(min(count, len(data) - start)):
            next(place)
        if len(data) - start < count:
            raise ForeignFile("ends early")
        return data[start : start + count]

    with pytest.raises(REFUSED):
        Contents.decode(take)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["config.json", "model.safetensors", "a.safetensors", "../x"])
file_lines = st.fixed_dictionaries(
    {
        "name": names | json_values,
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


@given(st.dictionaries(st.text(max_size=3), tensor_lines | json_values, max_size=3) | json_values, st.integers(0, 50))
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


# The disk


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes: the system then answers as it does when a quota is reached."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "m", {"w": torch.randn(20_000)})
    file = tmp_path / "m.fspc"
    pack(Checkpoint.open(folder), file, ignore)
    before = sorted(tmp_path.iterdir())
    with room_for(10_000):
        with pytest.raises(DiskFull):
            pack(Checkpoint.open(folder), tmp_path / "other.fspc", ignore)
        with pytest.raises(DiskFull):
            unpack(file, tmp_path / "out", ignore)
    assert sorted(tmp_path.iterdir()) == before
    monkeypatch.setattr(compact.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 1000))
    with pytest.raises(DiskFull, match="room for 1000"):
        unpack(file, tmp_path / "deep/er/out", ignore)
    assert sorted(tmp_path.iterdir()) == before


def test_nothing_is_overwritten(tmp_path):
    folder = write_folder(tmp_path / "m", {"w": torch.randn(4)})
    file = tmp_path / "m.fspc"
    pack(Checkpoint.open(folder), file, ignore)
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    for taken in (file, folder, dangling):
        with pytest.raises(OutputExists):
            pack(Checkpoint.open(folder), taken, ignore)
        with pytest.raises(OutputExists):
            unpack(file, taken, ignore)


def test_a_folder_the_format_cannot_hold_is_refused(tmp_path):
    folder = write_folder(tmp_path / "m", {"w": torch.randn(4)})
    checkpoint = Checkpoint.open(folder)
    (folder / "model.safetensors").rename(folder / "ü.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map":{"w":"ü.safetensors"}}')
    with pytest.raises(ForeignFile, match="not the name"):
        pack(Checkpoint.open(folder), tmp_path / "out", ignore)
    with pytest.raises(ForeignFile, match="without tensors"):  # the folder changed after it was opened
        pack(checkpoint, tmp_path / "out", ignore)
    assert not (tmp_path / "out").exists()
