"""The compact container: whole folders, bit for bit, or a refusal that leaves nothing behind."""

import json
import resource
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from fedspallm_secure.errors import (
    DiskFull,
    ForeignFile,
    LimitExceeded,
    OutputExists,
    RecordDamaged,
)
from fedspallm_secure.storage.checkpoints import compact
from fedspallm_secure.storage.checkpoints.chunks import CHUNK_BYTES, RECORD_BYTES, WIDTHS, Chunk, store
from fedspallm_secure.storage.checkpoints.compact import pack, unpack, verify
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
    container: bytes, work: Path, error: type[Exception] | tuple[type[Exception], ...], reason: str = "."
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


def test_a_damaged_header_is_not_even_parsed(tmp_path, sound):
    assert_refused(sound[:60] + b"\0" + sound[61:], tmp_path, ForeignFile, "header does not match its SHA-256")


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
