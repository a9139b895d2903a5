"""Model folders and layer records: read with suspicion, written complete or not at all."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from fedspallm_secure.errors import (
    FedSpaError,
    ForeignFile,
    LimitExceeded,
    MissingInput,
    OutputExists,
    RecordDamaged,
    UnsupportedModel,
)
from fedspallm_secure.pruning.keepmasks import pack_bits
from fedspallm_secure.storage import files
from fedspallm_secure.storage.checkpoints import layers, pieces, reader, stored_layers, writer
from fedspallm_secure.storage.checkpoints.layers import LayerMatrix, load_layer, load_matrix, save_layer
from fedspallm_secure.storage.checkpoints.pieces import stored_tensors
from fedspallm_secure.storage.checkpoints.reader import INDEX, SINGLE, Checkpoint
from fedspallm_secure.storage.checkpoints.stored_layers import stored_layer
from fedspallm_secure.storage.checkpoints.writer import plan_shards, write_model

CONFIG = {"model_type": "llama", "hidden_size": 4}
FLOATS = [torch.float32, torch.float16, torch.bfloat16, torch.float64]


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def some_tensors() -> dict[str, Tensor]:
    """Every float type, an odd shape, a scalar, nothing at all, and a buffer of integers."""
    generator = torch.Generator().manual_seed(0)
    found = {
        f"blocks.{number}.weight": torch.randn(4, 6, generator=generator).to(dtype)
        for number, dtype in enumerate(FLOATS)
    }
    return found | {
        "norm": torch.randn(5, generator=generator),
        "scalar": torch.tensor(2.5),
        "none": torch.zeros(0, 3),
        "flags": torch.tensor([True, False]),
    }


def model(folder: Path, shards: dict[str, dict[str, Tensor]] | None = None, **config: object) -> Path:
    """A model folder: one file, or the named shards with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    if shards is None:
        save_file(some_tensors(), folder / SINGLE)
        return folder
    for shard, tensors in shards.items():
        save_file(tensors, folder / shard)
    names = {name: shard for shard, tensors in shards.items() for name in tensors}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return folder


def with_index(folder: Path, weight_map: object) -> Path:
    model(folder)
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    return folder


# Reading a model


def test_a_single_file_is_read_tensor_by_tensor(tmp_path):
    checkpoint = Checkpoint.open(model(tmp_path))
    expected = some_tensors()
    assert checkpoint.config == CONFIG
    assert checkpoint.tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        found = checkpoint.read(name)
        assert found.dtype == tensor.dtype
        assert torch.equal(found, tensor)
        assert checkpoint.tensors[name].shape == tuple(tensor.shape)
        assert checkpoint.tensors[name].parameters == tensor.numel()
        assert checkpoint.tensors[name].nbytes == tensor.nbytes


def test_shards_are_read_as_one_model_and_only_those_the_index_names(tmp_path):
    folder = model(tmp_path, {"b.safetensors": {"x": torch.ones(2)}, "a.safetensors": {"y": torch.zeros(3)}})
    save_file({"stale": torch.ones(1)}, folder / "old.safetensors")
    save_file({"x": torch.zeros(2)}, folder / SINGLE)
    checkpoint = Checkpoint.open(folder)
    assert {name: info.shard for name, info in checkpoint.tensors.items()} == {
        "x": "b.safetensors",
        "y": "a.safetensors",
    }
    assert checkpoint.read("x").tolist() == [1, 1]
    assert [file.name for file in checkpoint.files()] == ["a.safetensors", "b.safetensors", "config.json"]


def test_digests_are_those_of_every_file_that_counts(tmp_path):
    folder = model(tmp_path)
    (folder / "README.md").write_text("x")
    found = Checkpoint.open(folder).digests()
    assert found == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("config.json", SINGLE)}


def test_a_missing_folder_is_missing_input(tmp_path):
    with pytest.raises(MissingInput, match="not a model folder") as caught:
        Checkpoint.open(tmp_path / "nowhere")
    assert "config.json" in caught.value.hint
    with pytest.raises(MissingInput, match="not a model folder"):
        Checkpoint.open(model(tmp_path) / SINGLE)


def test_a_folder_without_a_config_is_missing_input(tmp_path):
    (model(tmp_path) / "config.json").unlink()
    with pytest.raises(MissingInput, match=r"config\.json"):
        Checkpoint.open(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "hello", "[]", "null", "{}", '{"model_type": 5}', '{"model_type": null}', "[" * 99_999]
)
def test_a_config_of_something_else_is_a_foreign_file(tmp_path, content):
    (model(tmp_path) / "config.json").write_text(content)
    with pytest.raises(ForeignFile, match=r"config\.json"):
        Checkpoint.open(tmp_path)


def test_a_huge_config_is_not_read(tmp_path):
    with (model(tmp_path) / "config.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(LimitExceeded, match=r"config\.json"):
        Checkpoint.open(tmp_path)


def test_a_quantised_model_is_refused_before_its_weights_are_read(tmp_path):
    (model(tmp_path, quantization_config={"bits": 4}) / SINGLE).write_bytes(b"garbage")
    with pytest.raises(UnsupportedModel, match="quantised"):
        Checkpoint.open(tmp_path)


class Trap:
    """Unpickling this leaves a file behind."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickled_weights_are_refused_and_never_unpickled(tmp_path, name):
    folder, marker = model(tmp_path / "model"), tmp_path / "marker"
    (folder / SINGLE).unlink()
    (folder / name).write_bytes(pickle.dumps(Trap(marker)))
    with pytest.raises(ForeignFile, match="nothing is ever unpickled") as caught:
        Checkpoint.open(folder)
    assert "safetensors" in caught.value.hint
    assert not marker.exists()


def test_a_folder_without_weights_is_missing_input(tmp_path):
    (model(tmp_path) / SINGLE).unlink()
    with pytest.raises(MissingInput, match=SINGLE):
        Checkpoint.open(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "../x.safetensors",
        "/etc/x.safetensors",
        "sub/x.safetensors",
        "./x.safetensors",
        "x.safetensors/",
        "..",
        ".",
        "",
        "x.bin",
        "x.safetensors.bin",
        5,
        None,
        ["x.safetensors"],
        {"x.safetensors": 1},
    ],
)
def test_an_index_that_points_elsewhere_is_refused(tmp_path, name):
    secret = tmp_path / "x.safetensors"
    save_file({"secret": torch.ones(1)}, secret)
    folder = with_index(tmp_path / "model", {"w": name})
    with pytest.raises(ForeignFile, match="not a plain safetensors file"):
        Checkpoint.open(folder)


@pytest.mark.parametrize("index", [[], {}, "x", None, {"weight_map": []}, {"weight_map": {}}, {"weight_map": "x"}])
def test_an_index_without_a_weight_map_is_refused(tmp_path, index):
    (model(tmp_path) / INDEX).write_text(json.dumps(index))
    with pytest.raises(ForeignFile, match="no weight_map"):
        Checkpoint.open(tmp_path)


def test_a_missing_shard_is_missing_input_by_name(tmp_path):
    folder = with_index(tmp_path, {"w": "gone.safetensors"})
    with pytest.raises(MissingInput, match=r"gone\.safetensors"):
        Checkpoint.open(folder)


def test_a_tensor_in_two_shards_is_refused_by_name(tmp_path):
    shards = {"a.safetensors": {"w": torch.ones(2)}, "b.safetensors": {"w": torch.zeros(2)}}
    with pytest.raises(ForeignFile, match="tensor w stands in two shards"):
        model(tmp_path, shards)
        (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"w": "a.safetensors", "v": "b.safetensors"}}))
        Checkpoint.open(tmp_path)


def test_a_shard_name_that_is_no_text_is_a_foreign_file(tmp_path):
    with pytest.raises((ForeignFile, MissingInput)):
        Checkpoint.open(with_index(tmp_path, {"w": "\ud800.safetensors"}))


def test_a_tensor_that_the_index_promises_and_no_shard_holds_is_a_foreign_file(tmp_path):
    """Shards of two downloads mixed up: found out here, by name, and not in the middle of a run."""
    folder = model(tmp_path, {"a.safetensors": {"w": torch.ones(2)}})
    (folder / INDEX).write_text(json.dumps({"weight_map": {"w": "a.safetensors", "v": "a.safetensors"}}))
    with pytest.raises(ForeignFile, match="v"):
        Checkpoint.open(folder)


def test_a_model_name_that_the_file_system_refuses_is_missing_input(tmp_path):
    with pytest.raises(MissingInput):
        Checkpoint.open(tmp_path / ("x" * 300))


def read_all(folder: Path) -> dict[str, Tensor]:
    checkpoint = Checkpoint.open(folder)
    return {name: checkpoint.read(name) for name in checkpoint.tensors}


def test_a_truncated_shard_is_a_foreign_file_wherever_it_ends(tmp_path):
    file = model(tmp_path) / SINGLE
    whole = file.read_bytes()
    for position in sorted({*range(0, 16), *range(0, len(whole), len(whole) // 40), len(whole) - 1}):
        file.write_bytes(whole[:position])
        with pytest.raises(ForeignFile, match=SINGLE):
            read_all(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"hello",
        b"\0" * 100,
        b"\xff" * 100,
        b"PK\3\4" + b"\0" * 60,
        b"\x08" + b"\0" * 7 + b"{}      ",
        b"\x02" + b"\0" * 7 + b"[]",
    ],
)
def test_garbage_instead_of_a_shard_is_a_foreign_file_or_an_empty_one(tmp_path, content):
    (model(tmp_path) / SINGLE).write_bytes(content)
    try:
        found = read_all(tmp_path)
    except ForeignFile as error:
        assert SINGLE in str(error)
    else:
        assert found == {}


@given(st.data())
def test_a_flipped_bit_gives_tensors_or_one_of_our_errors(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("model")
    whole = bytearray((model(folder) / SINGLE).read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=3)):
        whole[position] ^= 1 << data.draw(st.integers(0, 7))
    (folder / SINGLE).write_bytes(whole)
    try:
        read_all(folder)
    except FedSpaError as error:
        assert SINGLE in str(error)


def test_a_model_that_changes_while_it_is_read_is_noticed(tmp_path):
    checkpoint = Checkpoint.open(model(tmp_path))
    save_file({**some_tensors(), "norm": torch.ones(7)}, tmp_path / SINGLE)
    with pytest.raises(ForeignFile, match="changed while it was in use"):
        checkpoint.read("norm")
    save_file({"other": torch.ones(1)}, tmp_path / SINGLE)
    with pytest.raises(ForeignFile):
        checkpoint.read("norm")
    (tmp_path / SINGLE).unlink()
    with pytest.raises(ForeignFile):
        checkpoint.read("norm")


# Writing a model


def whole(checkpoint: Checkpoint) -> Callable[[str], list[Tensor]]:
    """Tensors in one piece each."""
    return lambda name: [checkpoint.read(name)]


def written(tmp_path: Path, shard_bytes: int = 1 << 30) -> Path:
    source = Checkpoint.open(model(tmp_path / "source"))
    write_model(source, whole(source), tmp_path / "out", shard_bytes)
    return tmp_path / "out"


@pytest.mark.parametrize("shard_bytes", [1, 50, 100, 250, 1 << 30])
def test_names_types_and_values_are_kept_whatever_the_shards(tmp_path, shard_bytes):
    found = Checkpoint.open(written(tmp_path, shard_bytes))
    assert found.config == CONFIG
    assert found.tensors.keys() == some_tensors().keys()
    for name, tensor in some_tensors().items():
        assert found.read(name).dtype == tensor.dtype
        assert torch.equal(found.read(name), tensor)


@pytest.mark.parametrize("shard_bytes", [1, 50, 100, 250])
def test_no_shard_is_larger_than_the_bound_unless_one_tensor_is(tmp_path, shard_bytes):
    out = written(tmp_path, shard_bytes)
    shards = sorted(out.glob("model-*.safetensors"))
    assert [file.name for file in shards] == [
        f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)
    ]
    assert len(shards) > 1
    for file in shards:
        tensors = load_file(file)
        assert tensors
        assert len(tensors) == 1 or sum(tensor.nbytes for tensor in tensors.values()) <= shard_bytes


def test_the_index_names_every_tensor_and_the_total(tmp_path):
    out = written(tmp_path, 100)
    index = json.loads((out / INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in some_tensors().values())
    for name, shard in index["weight_map"].items():
        assert name in load_file(out / shard)
    assert not (out / SINGLE).exists()


def test_one_shard_needs_no_index(tmp_path):
    out = written(tmp_path)
    assert listing(out) == ["config.json", SINGLE]
    with safe_open(out / SINGLE, framework="pt") as file:
        assert file.metadata()["format"] == "pt"


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8])
def test_sizes_of_integer_buffers_are_their_bytes(tmp_path, dtype):
    folder = model(tmp_path / "source", {"a.safetensors": {"w": torch.ones(4), "ids": torch.arange(10).to(dtype)}})
    source = Checkpoint.open(folder)
    assert source.tensors["ids"].nbytes == 10 * dtype.itemsize
    assert len(plan_shards(source, source.tensors["ids"].nbytes + 15)) == 2
    assert len(plan_shards(source, source.tensors["ids"].nbytes + 16)) == 1


def test_values_are_cast_to_the_type_on_file(tmp_path):
    source = Checkpoint.open(model(tmp_path / "source"))

    def read(name: str) -> list[Tensor]:
        tensor = source.read(name)
        if not tensor.is_floating_point():
            return [tensor]
        return [tensor.double().T.contiguous().T if tensor.dim() == 2 else tensor.double()]

    write_model(source, read, tmp_path / "out")
    found = Checkpoint.open(tmp_path / "out")
    for name, tensor in some_tensors().items():
        if tensor.is_floating_point():
            assert found.read(name).dtype == tensor.dtype
            assert torch.equal(found.read(name), tensor)


@pytest.mark.parametrize("piece", [1, 7, 1 << 19])
def test_tensors_of_any_kind_are_copied_piece_by_piece(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(pieces, "_PIECE", piece)
    odd = {
        "none": torch.ones(0, 3),
        "one": torch.tensor(2.5),
        "wide": torch.tensor([1 + 2j, 3j], dtype=torch.complex64),
        "yes": torch.tensor([True, False, True]),
        "tiny": torch.tensor([0.5, -1.0, 3.0]).to(torch.float8_e4m3fn),
        "ids": torch.arange(5, dtype=torch.int16),
        **some_tensors(),
    }
    source = Checkpoint.open(model(tmp_path / "source", {SINGLE: odd}))
    write_model(source, lambda name: source.stored(name).pieces(), tmp_path / "out", 100)
    found = Checkpoint.open(tmp_path / "out")
    for name, tensor in odd.items():
        copy = found.read(name)
        assert copy.dtype == tensor.dtype and copy.shape == tensor.shape
        assert torch.equal(copy.reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8)), name


def test_every_shard_is_on_the_disk_before_the_folder_has_its_name(tmp_path, monkeypatch):
    flushed = set()
    monkeypatch.setattr(os, "fsync", lambda file: flushed.add(os.fstat(file).st_ino))
    publish = files.publish

    def published(work: Path, path: Path) -> None:
        if path.name == "out":
            shards = list(work.glob("*.safetensors"))
            assert len(shards) > 1 and {shard.stat().st_ino for shard in shards} <= flushed
        publish(work, path)

    monkeypatch.setattr(files, "publish", published)
    assert (written(tmp_path, 100) / INDEX).exists()


def test_a_dtype_that_nobody_knows_the_width_of_is_refused(tmp_path, monkeypatch):
    monkeypatch.delitem(reader.BITS, "F32")
    with pytest.raises(ForeignFile, match="has an unknown dtype, F32"):
        Checkpoint.open(model(tmp_path))


@pytest.mark.parametrize("more", [-1, 1])
def test_too_few_or_too_many_values_are_no_tensor(tmp_path, more):
    source = Checkpoint.open(model(tmp_path / "source"))

    def read(name: str) -> list[Tensor]:
        values = source.read(name).reshape(-1)
        return [values[:-1] if more < 0 else torch.cat([values, values[:1]])]

    with pytest.raises(RecordDamaged, match="not as many values of"):
        write_model(source, read, tmp_path / "out")
    assert listing(tmp_path) == ["source", "source/config.json", f"source/{SINGLE}"]


COMPANIONS = [
    "LICENSE",
    "LICENSE.md",
    "LICENSE.txt",
    "NOTICE",
    "added_tokens.json",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "spiece.model",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
]


def test_companions_are_copied_byte_for_byte_and_nothing_else(tmp_path):
    source = model(tmp_path / "source")
    for name in {*COMPANIONS} - {"config.json"}:
        (source / name).write_bytes(b"content of " + name.encode() + b"\r\n\0")
    for name in ("modeling_evil.py", "pytorch_model.bin", "README.md", "optimizer.pt"):
        (source / name).write_text("x")
    checkpoint = Checkpoint.open(source)
    write_model(checkpoint, whole(checkpoint), tmp_path / "out")
    assert listing(tmp_path / "out") == sorted([*COMPANIONS, SINGLE])
    for name in COMPANIONS:
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()


def test_an_absurdly_large_companion_is_refused_and_leaves_nothing(tmp_path):
    source = model(tmp_path / "source")
    with (source / "vocab.json").open("wb") as file:
        file.truncate(writer.COMPANION_LIMIT + 1)
    checkpoint = Checkpoint.open(source)
    with pytest.raises(ForeignFile, match=r"vocab\.json is larger than 64 MiB"):
        write_model(checkpoint, whole(checkpoint), tmp_path / "out")
    assert listing(tmp_path) == ["source", "source/config.json", f"source/{SINGLE}", "source/vocab.json"]


def test_an_existing_folder_is_refused_and_left_alone(tmp_path):
    source = Checkpoint.open(model(tmp_path / "source"))
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputExists):
        write_model(source, lambda name: pytest.fail("nothing must be read"), tmp_path / "out")
    with pytest.raises(OutputExists):
        write_model(source, whole(source), tmp_path / "source")
    assert listing(tmp_path / "out") == []


@pytest.mark.parametrize("failure", [RecordDamaged("bad"), RuntimeError("stop"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("shard_bytes", [1, 1 << 30])
def test_a_failing_read_leaves_nothing(tmp_path, failure, shard_bytes):
    source = Checkpoint.open(model(tmp_path / "source"))
    last = list(source.tensors)[-1]

    def read(name: str) -> list[Tensor]:
        if name == last:
            raise failure
        return [source.read(name)]

    with pytest.raises(type(failure)):
        write_model(source, read, tmp_path / "out", shard_bytes)
    assert listing(tmp_path) == ["source", "source/config.json", f"source/{SINGLE}"]


def test_whoever_may_read_one_file_of_a_written_model_may_read_all(tmp_path):
    """Colleagues who can enter the folder and read config.json must not fail on the weights, or the other way round."""
    out = written(tmp_path, 100)
    assert len({file.stat().st_mode & 0o777 for file in out.iterdir()}) == 1


# One layer


def matrix(rows: int = 5, columns: int = 7, dtype: torch.dtype = torch.float32, seed: int = 0, share: float = 0.5):
    generator = torch.Generator().manual_seed(seed)
    keep = torch.rand(rows, columns, generator=generator) < share
    return LayerMatrix(torch.randn(rows, columns, generator=generator).to(dtype).masked_fill(~keep, 0.0), keep)


def same(one: dict[str, LayerMatrix], other: dict[str, LayerMatrix]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[name].keep, other[name].keep)
        and one[name].weight.dtype == other[name].weight.dtype
        and torch.equal(one[name].weight, other[name].weight)
        for name in one
    )


def loaded(path: Path) -> tuple[dict[str, LayerMatrix], dict[str, str]]:
    """What a layer file holds.  Read at once or piece by piece it is the same, or damaged."""
    try:
        found, metadata = load_layer(path)
    except RecordDamaged as error:
        with pytest.raises(RecordDamaged, match="does not read back as it was written"):
            stored_layer(path)
        raise error
    stored = stored_layer(path)
    assert stored.keys() == found.keys()
    for name, matrix in found.items():
        one, alone = stored[name], load_matrix(path, name)
        assert one.shape == matrix.shape and torch.equal(torch.from_numpy(one.bits()), pack_bits(matrix.keep))
        tiles = list(one.tiles())
        for ours, theirs in zip(tiles, matrix.tiles(), strict=True):
            assert [one.tobytes() for one in ours] == [one.tobytes() for one in theirs]  # NaN, too
        for span in [slice(start, stop) for stop in range(matrix.shape[0] + 1) for start in range(stop)]:
            assert one.weights(span).tobytes() == matrix.weight[span].float().numpy().tobytes()
            assert np.array_equal(one.kept(span), matrix.keep[span].numpy())
        assert torch.equal(alone.keep, matrix.keep) and torch.equal(
            alone.weight.view(torch.uint8), matrix.weight.view(torch.uint8)
        )
    return found, metadata


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from(FLOATS),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    st.integers(0, 99),
)
def test_a_layer_comes_back_as_it_was(tmp_path_factory, rows, columns, dtype, share, seed):
    folder = tmp_path_factory.mktemp("layer")
    layer = {
        "model.layers.0.q_proj.weight": matrix(rows, columns, dtype, seed, share),
        "up": matrix(columns, rows, seed=seed),
    }
    save_layer(folder / "new" / "a.safetensors", layer, {"member": "north", "round": "1"})
    found, metadata = loaded(folder / "new" / "a.safetensors")
    assert same(found, layer)
    assert metadata.items() >= {"member": "north", "round": "1"}.items()
    assert listing(folder) == ["new", "new/a.safetensors"]


def test_a_kept_zero_is_still_kept_and_what_was_dropped_is_not_stored(tmp_path):
    keep = torch.tensor([[True, True, False, False]])
    save_layer(tmp_path / "a", {"w": LayerMatrix(torch.tensor([[0.0, 2.0, 0.0, 123.0]]), keep)}, {})
    found = loaded(tmp_path / "a")[0]["w"]
    assert found.keep.tolist() == keep.tolist()
    assert found.weight.tolist() == [[0.0, 2.0, 0.0, 0.0]]
    assert load_file(tmp_path / "a")["w.kept"].tolist() == [0.0, 2.0]


@pytest.mark.parametrize("tile", [8, 16])
def test_a_layer_is_written_and_read_in_pieces(tmp_path, monkeypatch, tile):
    layer = {"w": matrix(9, 7), "v": matrix(3, 8, torch.bfloat16, share=0.9), "none": matrix(5, 5, share=0.0)}
    save_layer(tmp_path / "whole", layer, {"member": "north"})
    monkeypatch.setattr(layers, "TILE", tile)
    monkeypatch.setattr(stored_layers, "TILE", tile)
    save_layer(tmp_path / "pieces", layer, {"member": "north"})
    assert (tmp_path / "pieces").read_bytes() == (tmp_path / "whole").read_bytes()
    assert same(loaded(tmp_path / "pieces")[0], layer)


@pytest.mark.parametrize("kept", [2, 4])
def test_a_part_brings_the_values_that_it_says(tmp_path, kept):
    tile = np.array([True, False, True, True]), np.ones(3, np.float32)
    with pytest.raises(RecordDamaged, match=f"w does not keep the {kept} weights that were counted"):
        layers.write_layer(tmp_path / "a", [layers.LayerPart("w", (2, 2), kept, lambda: [tile])], {})
    assert listing(tmp_path) == []


def test_the_system_begins_to_write_values_before_the_last_are_there(tmp_path, monkeypatch):
    begun, layer = [], {"w": matrix(9, 8), "v": matrix(3, 8)}
    monkeypatch.setattr(layers, "TILE", 24)
    monkeypatch.setattr(layers, "begin_flush", lambda file, start: begun.append((start, file.tell())))
    save_layer(tmp_path / "a", layer, {})
    stored = stored_tensors(tmp_path / "a")
    first, last = stored["w.kept"], stored["v.kept"]
    assert [start for start, _ in begun] == [first.begin, *(end for _, end in begun[:-1])]  # all of them, in order
    assert len(begun) == 4 and begun[-1][1] == last.begin + 4 * last.shape[0]


def test_each_tensor_of_a_layer_begins_at_a_multiple_of_its_width(tmp_path):
    layer = {"a": matrix(3, 3, torch.bfloat16, share=0.4), "b": matrix(5, 5), "c": matrix(7, 3, torch.float64)}
    save_layer(tmp_path / "a", layer, {"some": "text"})
    for tensor in stored_tensors(tmp_path / "a").values():
        assert tensor.begin % tensor.dtype.itemsize == 0
    assert same(loaded(tmp_path / "a")[0], layer)


def test_a_file_that_became_shorter_while_it_was_read(tmp_path):
    path = tmp_path / "a"
    save_layer(path, {"w": matrix()}, {})
    stored = stored_layer(path)["w"]
    os.truncate(path, path.stat().st_size - 20)
    for read in (stored.bits, lambda: list(stored.tiles()), lambda: stored.weights(slice(0, 5))):
        with pytest.raises(ForeignFile, match="changed while it was in use"):
            read()
    path.unlink()
    with pytest.raises(ForeignFile, match="cannot read"):
        stored.bits()


def test_matrices_that_are_stored_transposed_in_memory_come_back_upright(tmp_path):
    layer = matrix(5, 7)
    turned = LayerMatrix(layer.weight.T.contiguous().T, layer.keep.T.contiguous().T)
    save_layer(tmp_path / "a", {"w": turned}, {})
    assert same(loaded(tmp_path / "a")[0], {"w": layer})


def test_names_that_end_like_the_parts_of_a_record_are_kept_apart(tmp_path):
    layer = {name: matrix(seed=seed) for seed, name in enumerate(["w", "w.keep", "w.kept", "w.shape", "a.keep.keep"])}
    save_layer(tmp_path / "a", layer, {})
    assert same(loaded(tmp_path / "a")[0], layer)


def test_saving_again_replaces_the_record(tmp_path):
    save_layer(tmp_path / "a", {"w": matrix(seed=1)}, {})
    save_layer(tmp_path / "a", {"w": matrix(seed=2)}, {})
    assert same(loaded(tmp_path / "a")[0], {"w": matrix(seed=2)})
    assert listing(tmp_path) == ["a"]


def test_a_truncated_record_is_damaged_wherever_it_ends(tmp_path):
    path = tmp_path / "a"
    save_layer(path, {"w": matrix(), "v": matrix(seed=1)}, {"member": "north"})
    whole = path.read_bytes()
    for position in sorted({*range(0, 12), *range(0, len(whole), len(whole) // 50), len(whole) - 1}):
        path.write_bytes(whole[:position])
        with pytest.raises(RecordDamaged, match="does not read back as it was written") as caught:
            loaded(path)
        assert str(path) in str(caught.value)
    path.write_bytes(whole + b"\0")
    with pytest.raises(RecordDamaged):
        loaded(path)


def test_a_missing_record_is_damaged(tmp_path):
    with pytest.raises(RecordDamaged):
        loaded(tmp_path / "a")
    with pytest.raises(RecordDamaged):
        loaded(tmp_path)


@given(st.data())
def test_a_flipped_bit_gives_a_layer_or_a_damaged_record(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("layer") / "a"
    save_layer(path, {"w": matrix()}, {"member": "north"})
    whole = bytearray(path.read_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(whole)
    try:
        found, _ = loaded(path)
    except RecordDamaged:
        return
    for layer in found.values():
        assert layer.keep.shape == layer.weight.shape
        assert not layer.weight[~layer.keep].any()


def record(path: Path, **parts: Tensor | None) -> Path:
    """A record of one 2 x 2 matrix with three weights kept, with `parts` in place of the right ones."""
    right = {
        "keep": pack_bits(torch.tensor([[True, True], [False, True]])),
        "kept": torch.ones(3),
        "shape": torch.tensor([2, 2]),
    }
    save_file({f"w.{part}": tensor for part, tensor in (right | parts).items() if tensor is not None}, path)
    return path


DAMAGED: dict[str, dict[str, Tensor | None]] = {
    "no values": {"kept": None},
    "no shape": {"shape": None},
    "values missing": {"kept": torch.ones(2)},
    "values too many": {"kept": torch.ones(4)},
    "no value at all": {"kept": torch.ones(0)},
    "bytes missing": {"keep": torch.zeros(0, dtype=torch.uint8)},
    "bytes too many": {"keep": torch.zeros(2, dtype=torch.uint8)},
    "bits of another type": {"keep": torch.zeros(1, dtype=torch.int64)},
    "another shape": {"shape": torch.tensor([3, 3])},
    "a negative shape": {"shape": torch.tensor([-2, -2])},
    "a huge shape": {"shape": torch.tensor([1 << 32, 1 << 32])},
    "three dimensions": {"shape": torch.tensor([1, 2, 2])},
    "one dimension": {"shape": torch.tensor([4])},
}
FOREIGN: dict[str, dict[str, Tensor | None]] = {
    "one value for all": {"kept": torch.ones(1)},
    "values as a matrix": {"kept": torch.ones(1, 3)},
    "values of another kind": {"kept": torch.ones(3, dtype=torch.int64)},
    "a shape of floats": {"shape": torch.tensor([2.0, 2.0])},
    "a shape that is one number": {"shape": torch.tensor(4)},
    "bits beyond the last weight": {"keep": torch.tensor([0b1111_1011], dtype=torch.uint8)},
    "no keep-mask": {"keep": None},
}


def test_the_record_that_the_damaged_ones_derive_from_is_sound(tmp_path):
    assert loaded(record(tmp_path / "a"))[0]["w"].weight.tolist() == [[1.0, 1.0], [0.0, 1.0]]


@pytest.mark.parametrize("parts", DAMAGED.values(), ids=DAMAGED)
def test_parts_that_do_not_fit_together_are_damaged(tmp_path, parts):
    with pytest.raises(RecordDamaged):
        loaded(record(tmp_path / "a", **parts))


@pytest.mark.parametrize("parts", FOREIGN.values(), ids=FOREIGN)
def test_parts_that_save_layer_never_writes_are_damaged(tmp_path, parts):
    with pytest.raises(RecordDamaged):
        loaded(record(tmp_path / "a", **parts))


def test_a_safetensors_file_of_something_else_is_damaged(tmp_path):
    with pytest.raises(RecordDamaged):
        loaded(model(tmp_path) / SINGLE)


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 64, b"\x02" + b"\0" * 7 + b"[]", b"PK\3\4" + b"\0" * 40])
def test_files_of_other_formats_are_damaged(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(RecordDamaged, match="does not read back"):
        loaded(tmp_path / "a")


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), RuntimeError("stop")])
def test_an_interrupted_save_leaves_the_record_that_was_there(tmp_path, monkeypatch, failure):
    save_layer(tmp_path / "a", {"w": matrix(seed=1)}, {})

    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr("fedspallm_secure.storage.checkpoints.layers.publish", fail)
    with pytest.raises(type(failure)):
        save_layer(tmp_path / "a", {"w": matrix(seed=2)}, {})
    assert same(loaded(tmp_path / "a")[0], {"w": matrix(seed=1)})
    assert listing(tmp_path) == ["a"]


CHILD = """
import os, resource, signal, sys
from pathlib import Path
import torch
from fedspallm_secure.errors import DiskFull
from fedspallm_secure.storage.checkpoints import layers
from fedspallm_secure.storage.checkpoints.reader import Checkpoint
from fedspallm_secure.storage.checkpoints.writer import write_model
folder = Path(sys.argv[1])
layer = {"w": layers.LayerMatrix(torch.ones(64, 64), torch.ones(64, 64, dtype=torch.bool))}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
source = Checkpoint.open(folder / "source")
for name, write in (
    ("layer", lambda: layers.save_layer(folder / "full", layer, {})),
    ("model", lambda: write_model(source, lambda name: [source.read(name)], folder / "out")),
):
    try:
        write()
    except DiskFull as error:
        print(name, error, flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
layers.publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
layers.save_layer(folder / "killed", layer, {})
"""


def test_a_process_that_meets_a_full_disk_or_is_killed_leaves_no_final_name(tmp_path):
    """In a real process, with a real limit and a real SIGKILL just before the record would get its name."""
    model(tmp_path / "source")
    before = listing(tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == -9, result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["layer", "model"], result.stdout
    left = [name for name in listing(tmp_path) if name not in before]
    assert left == [".killed.part"], "what a kill leaves is hidden, and the next attempt writes over it"
    save_layer(tmp_path / "killed", {"w": matrix()}, {})
    assert listing(tmp_path) == sorted([*before, "killed"])


def test_limits_of_json_hold_for_the_index_too(tmp_path, monkeypatch):
    folder = with_index(tmp_path, {f"w{number}": SINGLE for number in range(100)})
    monkeypatch.setattr(reader, "read_json", lambda path: files.read_json(path, 200))
    with pytest.raises(LimitExceeded, match="index"):
        Checkpoint.open(folder)
