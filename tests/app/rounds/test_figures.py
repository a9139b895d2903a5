"""Figures of a round against the obvious way to compute them."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.app.rounds import figures as module
from fedspallm_secure.app.rounds.figures import Exactness, _as_bf16, wire_figures
from fedspallm_secure.app.rounds.playing import Played
from fedspallm_secure.errors import SumOutOfRange
from fedspallm_secure.pruning.aggregation import MatrixSums, l0_average
from fedspallm_secure.pruning.strategies import Strategy
from tests.app.rounds.groups import NAMES, SHAPES, group, word

SHAPE = (SHAPES[0].rows, SHAPES[0].columns)


def sums(seed: int, change: float) -> tuple[torch.Tensor, torch.Tensor, MatrixSums, MatrixSums]:
    """A base, sums in steps, and the secure and plain sums of one matrix; both are the same but for `change`."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(SHAPE, generator=generator)
    count = torch.randint(0, len(NAMES) + 1, SHAPE, generator=generator, dtype=torch.int32)
    totals = torch.randint(-(1 << 20), 1 << 20, SHAPE, generator=generator, dtype=torch.int32) * (count > 0)
    step = torch.exp2(torch.frexp(base.abs().amax(dim=1))[1].double() - word(group().sums).fraction)[:, None]
    mean = (base.double() + totals * step / count.clamp(min=1)).float()
    secure = MatrixSums(count, mean.double() * count, len(NAMES))
    moved = base.double() * count + totals * step + change * step * count
    plain = MatrixSums(count.clone(), torch.where(count > 0, moved, -0.0), len(NAMES))
    return base, totals.int(), secure, plain


def obvious(base: torch.Tensor, totals: torch.Tensor, secure: MatrixSums, plain: MatrixSums) -> Exactness:
    """The same without tiles, in torch."""
    assert secure.kept is not None and plain.kept is not None
    kept, counts = plain.count > 0, plain.count.clamp(min=1)
    step = torch.exp2(torch.frexp(base.abs().amax(dim=1))[1].double() - word(group().sums).fraction)[:, None]
    apart = ((base.double() - plain.kept / counts) / step + totals.double() / counts).abs()
    ours, theirs = l0_average(secure.count, secure.kept), l0_average(plain.count, plain.kept)
    differ = int(((ours.bfloat16() != theirs.bfloat16()) & kept).sum())
    return Exactness(kept.numel(), int(kept.sum()), differ, float(apart[kept].max()) if bool(kept.any()) else 0.0)


@pytest.mark.parametrize("tile", [1, 7, 1 << 17])
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.5, -3.0, 1e6]))
def test_exactness_is_the_same_without_tiles(tile, seed, change):
    base, totals, secure, plain = sums(seed, change)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_TILE", tile)
        found = Exactness.of(secure, plain, base, totals, group())
    told = obvious(base, totals, secure, plain)
    assert (found.weights, found.kept, found.bf16) == (told.weights, told.kept, told.bf16)
    assert found.worst == pytest.approx(told.worst, rel=1e-9, abs=1e-9)
    assert found.worst == pytest.approx(abs(change) if found.kept else 0, rel=1e-6, abs=1e-3)


def test_one_other_count_is_an_error_and_no_figure():
    base, totals, secure, plain = sums(1, 0.0)
    plain.count[2, 3] += 1
    with pytest.raises(SumOutOfRange, match="not the plain one"):
        Exactness.of(secure, plain, base, totals, group())


def test_votes_have_nothing_but_counts():
    base, _, secure, plain = sums(1, 0.0)
    ours, theirs = replace(secure, kept=None), replace(plain, kept=None)
    found = Exactness.of(ours, theirs, base, None, group(strategy=Strategy.VOTES))
    assert found == Exactness(base.numel(), int((plain.count > 0).sum()))


def test_figures_of_matrices_add_up_and_the_worst_counts():
    one, two = Exactness(10, 5, 1, 0.25), Exactness(20, 3, 1, 0.5)
    assert one + two == Exactness(30, 8, 2, 0.5)
    assert (one + two).to_dict() == {"weights": 30, "kept": 8, "bf16_differs": 0.25, "worst_steps": 0.5}
    assert Exactness().to_dict()["bf16_differs"] == 0.0


@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=50))
def test_bf16_is_that_of_torch(values):
    told = torch.tensor(values, dtype=torch.float64)
    assert _as_bf16(told.numpy()).tolist() == told.float().bfloat16().float().tolist()


def test_bytes_are_counted_by_type_and_by_silo_and_servers_are_no_silos():
    played = Played(
        sent={
            ("member/m-1", "contribution"): (2, 300),
            ("member/m-2", "contribution"): (1, 100),
            ("member/m-1", "unmask-response"): (1, 7),
            ("server/m-1", "plan"): (2, 50),  # a server under the name of a member
            ("witness/m-2", "endorsement"): (1, 5),
        }
    )
    found = wire_figures(played, {"m-1": "North", "m-2": "South", "m-3": "Late"}, [])
    assert found["by_type"]["contribution"] == {"packages": 3, "bytes": 400}
    assert found["by_type"]["plan"] == {"packages": 2, "bytes": 50}
    assert found["sent_by_silo"] == {"North": 307, "South": 100, "Late": 0}
