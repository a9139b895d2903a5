"""Exports: the same model again, or nothing; and words about it that are true."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from fedspallm_secure.app import export
from fedspallm_secure.app.export import Form, Outcome, export_compact, export_hf, import_compact, speed_and_size
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.zeros import TWO_FOUR, Zeros, count_zeros, follows
from fedspallm_secure.errors import DiskFull, ForeignFile, MissingInput, OutputExists, RecordDamaged
from fedspallm_secure.pruning.patterns import NofM
from fedspallm_secure.storage.checkpoints.reader import Checkpoint
from tests.models import make_model
from tests.storage.test_compact import contents_of, room_for


def prune(folder: Path, n: int, m: int, transposed: bool = False) -> None:
    """Zero the smallest of every m inputs of the matrices in the blocks until n stay."""
    tensors = load_file(folder / "model.safetensors")
    for name, weight in tensors.items():
        if weight.dim() == 2 and re.search(r"\.\d\.", name):
            rows = weight.T.contiguous() if transposed else weight
            groups = rows.reshape(-1, m)
            drop = groups.abs().float().argsort(dim=1)[:, : m - n]
            rows = groups.scatter(1, drop, 0).view(rows.shape)
            tensors[name] = rows.T.contiguous() if transposed else rows
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama in bfloat16, 2:4 sparse.  Never written to."""
    folder = tmp_path_factory.mktemp("sparse") / "model"
    make_model(folder, "llama", torch.bfloat16)
    prune(folder, 2, 4)
    return folder


class Recorder:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.steps: dict[str, list[tuple[int, int]]] = {}

    def update(self, task: str, done: int, total: int, unit: str) -> None:
        self.steps.setdefault(task, []).append((done, total))

    def say(self, line: str) -> None:
        raise AssertionError(line)


def same_state(one: Path, other: Path) -> bool:
    models = [AutoModelForCausalLM.from_pretrained(folder, dtype="auto") for folder in (one, other)]
    first, second = (model.state_dict() for model in models)
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and torch.equal(first[name], second[name]) for name in first
    )


def test_a_compact_file_and_back_is_the_same_model(tmp_path, sparse):
    there, back = Recorder(), Recorder()
    exported = export_compact(sparse, tmp_path / "new/m.fspc", there)
    restored = import_compact(tmp_path / "new/m.fspc", tmp_path / "back", back)
    assert contents_of(tmp_path / "back") == contents_of(sparse)
    assert same_state(tmp_path / "back", sparse)
    assert exported.source_bytes == restored.output_bytes == sum(map(len, contents_of(sparse).values()))
    assert exported.output_bytes == restored.source_bytes == (tmp_path / "new/m.fspc").stat().st_size
    assert exported.ratio == pytest.approx(1 / restored.ratio)
    assert exported.ratio < 0.75
    assert exported.zeros == restored.zeros
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["m.fspc"]
    for steps in (*there.steps.values(), *back.steps.values()):
        assert steps == sorted(steps)
        assert steps[-1][0] == steps[-1][1]


def test_a_dense_folder_is_the_same_model(tmp_path, sparse):
    outcome = export_hf(sparse, tmp_path / "out")
    assert same_state(tmp_path / "out", sparse)
    assert contents_of(tmp_path / "out").keys() == contents_of(sparse).keys()
    assert outcome.form is Form.FOLDER
    assert outcome.output_bytes == sum(map(len, contents_of(tmp_path / "out").values()))
    assert json.loads(json.dumps(outcome.to_dict()))["zeros"]["patterns"] == ["2:4", "4:8"]


def test_zeros_are_counted_where_they_are(sparse):
    zeros = count_zeros(Checkpoint.open(sparse), Silent())
    tensors = load_file(sparse / "model.safetensors")
    assert zeros.weights == sum(t.numel() for t in tensors.values())
    assert zeros.zeros == sum(int((t == 0).sum()) for t in tensors.values())
    assert zeros.matrices == 3 * 7
    assert zeros.matrix_share == 0.5
    assert 0 < zeros.share < 0.5
    assert zeros.patterns == (TWO_FOUR, NofM(4, 8))
    assert zeros.unknown == ""


@pytest.mark.parametrize(("kind", "transposed"), [("llama", False), ("gpt2", True)])
def test_patterns_are_judged_along_the_inputs(tmp_path, kind, transposed):
    make_model(tmp_path / "m", kind)
    assert count_zeros(Checkpoint.open(tmp_path / "m"), Silent()).patterns == ()
    prune(tmp_path / "m", 4, 8, transposed)
    assert count_zeros(Checkpoint.open(tmp_path / "m"), Silent()).patterns == (NofM(4, 8),)
    prune(tmp_path / "m", 2, 4, transposed)
    assert TWO_FOUR in count_zeros(Checkpoint.open(tmp_path / "m"), Silent()).patterns


def test_one_matrix_without_the_pattern_is_enough(tmp_path):
    make_model(tmp_path / "m")
    prune(tmp_path / "m", 2, 4)
    tensors = load_file(tmp_path / "m/model.safetensors")
    tensors["model.layers.2.mlp.down_proj.weight"][-1, -4:] = 1
    save_file(tensors, tmp_path / "m/model.safetensors", metadata={"format": "pt"})
    assert count_zeros(Checkpoint.open(tmp_path / "m"), Silent()).patterns == ()


def test_follows_needs_whole_groups():
    keep = torch.zeros(600, 8, dtype=torch.bool)
    assert follows(keep, TWO_FOUR)
    assert not follows(keep[:, :6], TWO_FOUR)
    keep[599, 4:7] = True
    assert not follows(keep, TWO_FOUR)
    assert follows(keep, NofM(4, 8))


def test_a_model_that_cannot_be_pruned_is_exported_all_the_same(tmp_path):
    make_model(tmp_path / "m", "mixtral")
    outcome = export_compact(tmp_path / "m", tmp_path / "m.fspc")
    import_compact(tmp_path / "m.fspc", tmp_path / "back")
    assert contents_of(tmp_path / "back") == contents_of(tmp_path / "m")
    assert outcome.zeros.matrices == 0
    assert "fused" in outcome.zeros.unknown
    assert not outcome.zeros.patterns


def outcome(form: Form, zeros: int, patterns: tuple[NofM, ...], unknown: str = "") -> Outcome:
    matrices = 0 if unknown else 2
    return Outcome(form, Path("out"), 1000, 520, Zeros(200, zeros, matrices, 100, zeros, patterns, unknown))


def test_words_promise_nothing_that_zeros_do_not_give():
    unstructured = " ".join(speed_and_size(outcome(Form.COMPACT, 50, ())))
    assert "50.0% of the prunable weights and 25.0% of all weights" in unstructured
    assert "52.0% of the model" in unstructured
    assert "on disk and in transit only" in unstructured
    assert "neither faster nor in less memory" in unstructured
    assert "no 2:4 pattern" in unstructured
    two_four = " ".join(speed_and_size(outcome(Form.FOLDER, 50, (TWO_FOUR, NofM(4, 8)))))
    assert "compute capability 8.0" in two_four
    assert "measure it" in two_four
    assert "neither faster nor in less memory" in two_four
    assert "same room" in two_four
    four_eight = " ".join(speed_and_size(outcome(Form.FOLDER, 50, (NofM(4, 8),))))
    assert "4:8 sparse, which sparse tensor cores do not use" in four_eight
    assert "compute capability" not in four_eight
    unknown = " ".join(speed_and_size(outcome(Form.RESTORED, 50, (), "it has experts")))
    assert "not determined: it has experts" in unknown
    assert "prunable" not in unknown
    assert "not sparse" in " ".join(speed_and_size(outcome(Form.FOLDER, 0, ())))


def test_nothing_is_overwritten(tmp_path, sparse):
    (tmp_path / "taken").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("taken", "dangling"):
        for write in (export_hf, export_compact):
            with pytest.raises(OutputExists):
                write(sparse, tmp_path / name)
    export_compact(sparse, tmp_path / "m.fspc")
    with pytest.raises(OutputExists):
        import_compact(tmp_path / "m.fspc", tmp_path / "taken")
    assert list((tmp_path / "taken").iterdir()) == []


def test_an_output_that_appears_meanwhile_is_not_overwritten(tmp_path, sparse, monkeypatch):
    def late(*_: object) -> None:
        (tmp_path / "m.fspc").write_text("someone else's")

    monkeypatch.setattr(export, "verify", late)
    with pytest.raises(OutputExists):
        export_compact(sparse, tmp_path / "m.fspc")
    assert contents_of(tmp_path) == {"m.fspc": b"someone else's"}


@pytest.mark.parametrize("write", [export_hf, export_compact])
def test_a_full_disk_leaves_nothing(tmp_path, sparse, write):
    with room_for(20_000), pytest.raises(DiskFull):
        write(sparse, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_differs_is_not_released(tmp_path, sparse, monkeypatch):
    written = export.write_model

    def flip(source, read, out):
        written(source, lambda name: (-one if name == "model.norm.weight" else one for one in read(name)), out)

    monkeypatch.setattr(export, "write_model", flip)
    with pytest.raises(RecordDamaged, match=r"model\.norm\.weight"):
        export_hf(sparse, tmp_path / "out")

    def spoil(source, read, out):
        written(source, read, out)
        (out / "config.json").write_text('{"model_type": "llama"}')

    monkeypatch.setattr(export, "write_model", spoil)
    with pytest.raises(RecordDamaged, match=r"config\.json"):
        export_hf(sparse, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_negative_zero_is_another_bit_pattern():
    assert not export._same_bits(torch.tensor(0.0), torch.tensor(-0.0))
    assert export._same_bits(torch.tensor([torch.nan, -0.0]), torch.tensor([torch.nan, -0.0]))
    assert export._same_bits(torch.empty(3, 0), torch.empty(3, 0))
    assert not export._same_bits(torch.empty(3, 0), torch.empty(0, 3))
    assert not export._same_bits(torch.zeros(2), torch.zeros(2, dtype=torch.int32))


def test_what_is_not_there_or_not_compact_is_refused(tmp_path, sparse):
    with pytest.raises(MissingInput):
        export_compact(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(MissingInput):
        import_compact(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(ForeignFile, match=r"model.safetensors: this is not a compact model file"):
        import_compact(sparse / "model.safetensors", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
