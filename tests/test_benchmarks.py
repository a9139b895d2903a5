"""The peers that benchmarks measure against compute the same thing: otherwise the ratio would mean nothing."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks import literal, p4_flower, p5_bytes, p10_secure_round, p12_scaling
from benchmarks.measure import Ground, Row, alternate
from benchmarks.memory import make_model as make_deep_model
from benchmarks.pruning import METHODS, prune
from fedspallm_secure.app.evaluation import perplexities
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.walking.workshop import ComputeSettings, open_workshop
from fedspallm_secure.pruning.pruners import Pruner
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.fields import SumWord
from fedspallm_secure.secagg.keystreams import Stream
from fedspallm_secure.secagg.masking import add_keystreams, unmask_terms
from fedspallm_secure.secagg.quantization import quantize
from tests.models import VOCABULARY, make_model


def make_ground(folder: Path) -> Ground:
    make_model(folder)
    shop = open_workshop(folder, ComputeSettings(device="cpu"))
    ids = torch.randint(2, VOCABULARY, (20, 48), generator=torch.Generator().manual_seed(0))
    return Ground(folder, shop, ids[:16], ids[16:])


@pytest.mark.parametrize("pruner", list(METHODS))
def test_the_literal_rendering_computes_the_same(tmp_path, pruner: Pruner):
    ground = make_ground(tmp_path / "model")
    peer = AutoModelForCausalLM.from_pretrained(ground.model, dtype=torch.float32).eval()
    literal.prune(peer, ground.calibration, METHODS[pruner], 0.5)
    revision = prune(ground, pruner, 3, tmp_path / "layers")
    agree = total = 0
    for block in ground.workshop.skeleton.blocks:
        for name, matrix in revision.matrices(block).items():
            agree += int(((peer.get_parameter(name) != 0) == matrix.keep).sum())
            total += matrix.keep.numel()
    assert agree / total > 0.99  # near-ties may fall differently
    ours = perplexities(ground.workshop, revision, {"test": ground.tests}, Silent(), "measure").mean
    assert ours == pytest.approx(literal.perplexity(peer, ground.tests), rel=0.02)


def test_rows_quote_the_median_and_runs_alternate():
    order: list[str] = []
    alternate(lambda: order.append("peer"), lambda: order.append("ours"), 2)
    assert order == ["peer", "ours"] * 3
    row = Row("P0", "what", "target", [3.0, 1.0, 2.0], {"figure": 1})
    assert row.median == 2.0
    assert row.markdown() == "| P0 | what | **2.00** | 1.00 to 3.00 | target | figure 1 |"


def test_the_deep_models_are_models(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.memory.WIDTH", 32)
    monkeypatch.setattr("benchmarks.memory.INNER", 48)
    size = make_deep_model(tmp_path / "deep", 3)
    shop = open_workshop(tmp_path / "deep", ComputeSettings(device="cpu"))
    assert len(shop.skeleton.blocks) == 3
    assert size == sum(info.nbytes for info in shop.skeleton.checkpoint.tensors.values())


def test_what_is_timed_against_flower_is_masking(monkeypatch):
    """Nine members of P4, unmasked with their own seeds, give nine times the quantised vector and nine votes each."""
    monkeypatch.setattr(p4_flower, "draw_element", lambda: 7)
    base = np.full((4, 25), 0.5, np.float32)
    weight = base + np.linspace(-0.3, 0.3, base.size, dtype=np.float32).reshape(base.shape)
    word, keys = SumWord.default(32, p4_flower.MEMBERS), p4_flower.draw_keys()
    plain = np.empty(base.size, word.signed)
    quantize(weight, base, np.ones(base.shape, np.bool_), word, plain)
    count, total = np.zeros(base.size // 2, np.uint8), np.zeros(base.size, word.word)
    for place in range(p4_flower.MEMBERS):
        masked_count, masked_total = p4_flower.Member(base, weight, 32, keys, place=place).run()
        assert not np.array_equal(masked_total.view(word.signed), plain)
        count += masked_count
        total += masked_total.view(word.word)
    context = GroupContext("bench", 1, bytes(32), 0)
    own = [7] * p4_flower.MEMBERS
    add_keystreams(count, unmask_terms(context, own, [], Stream.COUNT), 1)
    add_keystreams(total.view(np.uint8), unmask_terms(context, own, [], Stream.SUM), 4)
    assert (count == 0x99).all()
    assert np.array_equal(total.view(word.signed), plain * p4_flower.MEMBERS)


def test_without_flower_the_row_says_so(monkeypatch):
    def fail() -> Path:
        raise subprocess.CalledProcessError(1, "pip", stderr="no network")

    monkeypatch.setattr(p4_flower, "install", fail)
    (row,) = p4_flower.measure(1)
    assert row.to_dict()["not_run"] is True
    assert "flwr could not be installed" in row.to_dict()["what"]
    assert "| not run |" in row.markdown()


def test_flower_runs_once_for_every_call(monkeypatch, tmp_path):
    child = tmp_path / "child.py"
    child.write_text("import sys\nprint('{}', flush=True)\nfor n, _ in enumerate(sys.stdin): print(n, flush=True)")
    monkeypatch.setattr(p4_flower, "CHILD", child)
    with p4_flower.flower(Path(sys.executable), tmp_path, 9) as run:
        assert [run(), run()] == [0, 1]


def test_bytes_are_those_of_packages(monkeypatch):
    monkeypatch.setattr(p5_bytes, "WEIGHTS", (20_000,))
    rows = {row.what: row.median for row in p5_bytes.measure()}
    assert len(rows) == 6
    for what, ratio in rows.items():
        assert ratio > 1, what  # a header comes on top, and the deal
    against_payload = [ratio for what, ratio in rows.items() if "B per weight" in what]
    assert against_payload[0] > against_payload[2] > against_payload[1], "the same overhead over 0.5, 2.5 and 4.5 B"


def run_of(prune: float, aggregate: float, stages: float = 0.0) -> dict:
    return {"seconds": {"prune": prune, "aggregate": aggregate}, "secagg": [{"seconds": {"sum": stages}}]}


def test_a_round_is_pruning_and_aggregating():
    plain, secure = [run_of(10, 1), run_of(8, 2)], [run_of(9, 2.2, 1), run_of(9, 3, 1)]
    whole, phase = p10_secure_round.compare("what", plain, secure)
    assert whole.ratios == pytest.approx([11.2 / 11, 1.2])
    assert whole.figures["of the fastest phases"] == f"{(8 + 2.2) / (8 + 1):.3f}"
    assert phase.ratios == pytest.approx([2.2, 1.5])


def test_no_two_silos_see_the_same_text(tmp_path):
    text = tmp_path / "text.jsonl"
    text.write_text("".join(f"{number}\n" for number in range(15)))
    parts = [[int(line) for line in part.read_text().split()] for part in p10_secure_round.deal(text, tmp_path)]
    assert [len(part) for part in parts] == [12] * 5
    assert sorted(number for part in parts for number in part) == sorted([*range(15)] * 4)
    assert len(set(map(tuple, parts))) == 5


def test_exponents_are_slopes(monkeypatch):
    def play(members: int) -> dict:
        costs = dict.fromkeys(p12_scaling.COSTS.values(), 3 * members**2 if members <= 20 else 1200)
        rest = {
            "whole_seconds": 9,
            "cpu_seconds": 8,
            "server_seconds": 1,
            "degree": 4,
            "shares": 3,
            "peak_rss_bytes": 0,
            "seconds": {},
        }
        return {**costs, **rest}

    monkeypatch.setattr(p12_scaling, "play", play)
    rows = p12_scaling.measure((5, 10, 20), (40, 80))
    assert [row.median for row in rows[:-1]] == pytest.approx([2.0] * 3 + [0.0] * 3)
    assert rows[-1].median == 9
    assert math.isclose(p12_scaling.exponent([1, 10, 100], [5, 50, 500]), 1)
