"""The OBS solver: laws that hold on every problem, dead inputs, damping, quotas, blocks and precision."""

import re
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedspallm_secure.errors import NumericalFailure
from fedspallm_secure.pruning import sparsegpt as solver
from fedspallm_secure.pruning.keepmasks import is_n_of_m
from fedspallm_secure.pruning.patterns import NofM, Pattern, Unstructured
from fedspallm_secure.pruning.sparsegpt import (
    DAMPING,
    DAMPING_TRIES,
    block_quotas,
    factorise,
    sparsegpt,
)
from fedspallm_secure.pruning.statistics import Gram
from tests import reference

HALF = Unstructured(Fraction(1, 2))
PATTERNS: list[Pattern] = [HALF, Unstructured(Fraction(1, 3)), Unstructured(Fraction(4, 5)), NofM(2, 4), NofM(1, 4)]


def problem(seed: int, rows: int = 3, columns: int = 8, tokens: int = 40) -> tuple[Tensor, Gram]:
    """A weight and the Gram matrix of correlated inputs, in float64."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=generator, dtype=torch.float64)
    x = torch.randn(tokens, columns, generator=generator, dtype=torch.float64) @ mixing
    weight = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    return weight, Gram(x.T @ x, tokens)


def damped(gram: Gram, damping: Fraction = DAMPING) -> Tensor:
    """The damped Hessian of the specification, from the twin."""
    return torch.from_numpy(reference.damped_hessian(gram.matrix.numpy(), gram.tokens, damping)[0])


def solve(weight: Tensor, gram: Gram, pattern: Pattern, frozen: Tensor | None = None, block_size: int = 128):
    return sparsegpt([weight], factorise(gram, "test"), pattern, [frozen], block_size)[0]


@given(st.integers(0, 2**31), st.sampled_from(PATTERNS), st.sampled_from([1, 3, 4, 8, 128]), st.booleans())
def test_the_accumulated_loss_is_the_measured_error(seed, pattern, block_size, with_frozen):
    """Law 1: the squares of the scaled errors that the sweep spreads add up to tr((W - W') H (W - W')^T)."""
    weight, gram = problem(seed)
    generator = torch.Generator().manual_seed(seed)
    frozen = torch.rand(weight.shape, generator=generator) < 0.2 if with_frozen else None
    losses = []
    eliminate = solver._eliminate
    with pytest.MonkeyPatch.context() as patch:

        def recording(*arguments):
            errors = eliminate(*arguments)
            losses.append(float(errors.square().sum()))
            return errors

        patch.setattr(solver, "_eliminate", recording)
        new, _ = solve(weight, gram, pattern, frozen, block_size)
    measured = reference.obs_error(weight.numpy(), new.numpy(), gram.matrix.numpy(), gram.tokens, DAMPING)
    assert sum(losses) == pytest.approx(measured, rel=1e-8)


@given(st.integers(0, 2**31), st.sampled_from(PATTERNS), st.sampled_from([4, 128]))
def test_uncorrelated_inputs_change_no_survivor(seed, pattern, block_size):
    """Law 2: with a diagonal H there is nothing to correct, and the ranking is that of w^2 H_jj."""
    weight, gram = problem(seed)
    gram = Gram(gram.matrix.diagonal().diag(), gram.tokens)
    new, keep = solve(weight, gram, pattern, block_size=block_size)
    assert torch.equal(new[keep], weight[keep])
    assert not new[~keep].any()
    scores = (weight.square() * damped(gram).diagonal()).numpy()
    if isinstance(pattern, NofM):
        assert np.array_equal(keep, reference.keep_n_of_m(scores, pattern.n, pattern.m))
    elif block_size == 128:
        assert np.array_equal(keep, reference.keep_per_matrix(scores, pattern.sparsity))


@given(st.integers(0, 2**31), st.integers(1, 7), st.sampled_from([1, 3, 4, 128]))
def test_dropping_a_prefix_of_columns_leaves_the_least_squares_solution(seed, prefix, block_size):
    """Law 3: when all that goes stands left of all that stays, the sweep is exact."""
    weight, gram = problem(seed)
    frozen = torch.zeros(weight.shape, dtype=torch.bool)
    frozen[:, :prefix] = True
    new, keep = solve(weight, gram, Unstructured(Fraction(prefix, 8)), frozen, block_size)
    hessian = damped(gram)
    rest = torch.linalg.solve(hessian[prefix:, prefix:], hessian[prefix:, :prefix] @ weight[:, :prefix].T).T
    assert torch.equal(keep, ~frozen)
    assert not new[:, :prefix].any()
    assert torch.allclose(new[:, prefix:], weight[:, prefix:] + rest, rtol=1e-7, atol=1e-9)


@given(st.integers(0, 2**31), st.sampled_from(PATTERNS), st.sampled_from([4, 128]))
def test_scaling_the_weights_by_a_power_of_two_scales_the_result(seed, pattern, block_size):
    weight, gram = problem(seed)
    new, keep = solve(weight, gram, pattern, block_size=block_size)
    scaled, scaled_keep = solve(weight * 0.25, gram, pattern, block_size=block_size)
    assert torch.equal(scaled, new * 0.25)
    assert torch.equal(scaled_keep, keep)


def test_rows_do_not_see_each_other_under_n_of_m():
    weight, gram = problem(0, rows=5)
    new, keep = solve(weight, gram, NofM(2, 4))
    for row in range(5):
        alone, alone_keep = solve(weight[row : row + 1], gram, NofM(2, 4))
        assert torch.equal(alone_keep[0], keep[row])
        assert torch.allclose(alone[0], new[row], rtol=1e-12)


@pytest.mark.parametrize("pattern", [Unstructured(Fraction(0)), Unstructured(Fraction(1))], ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (8, 1), (3, 8)])
def test_none_and_all(pattern, shape):
    weight, gram = problem(0, *shape)
    new, keep = solve(weight, gram, pattern, block_size=4)
    if pattern.sparsity == 0:
        assert keep.all()
        assert torch.equal(new, weight)
    else:
        assert not keep.any()
        assert not new.any()


def test_dead_inputs_go_first_and_nothing_is_divided_by_zero():
    weight, gram = problem(0, rows=4)
    weight[:, 5] = 1e6
    gram.matrix[5, :] = gram.matrix[:, 5] = 0.0
    factor = factorise(gram, "test")
    assert factor.dead.tolist() == [False] * 5 + [True] + [False] * 2
    new, keep = sparsegpt([weight], factor, Unstructured(Fraction(1, 8)))[0]
    assert not keep[:, 5].any()
    assert keep.sum() == 28
    alive = [0, 1, 2, 3, 4, 6, 7]
    assert torch.equal(new[:, alive], weight[:, alive]), "an input that was never active corrects nothing"
    pairs, _ = solve(weight, gram, NofM(3, 4))
    assert not pairs[:, 5].any()


def test_dead_inputs_that_the_quota_lets_stay_keep_their_value():
    weight, _ = problem(0)
    new, keep = solve(weight, Gram(torch.zeros(8, 8, dtype=torch.float64), 10), HALF)
    assert int(keep.sum()) == 12
    assert torch.equal(new[keep], weight[keep])


def test_factorising_leaves_the_statistics_alone():
    _, gram = problem(0)
    gram.matrix[2, :] = gram.matrix[:, 2] = 0.0
    before = gram.matrix.clone()
    factorise(gram, "test")
    assert torch.equal(gram.matrix, before)


def test_solving_leaves_weights_and_frozen_alone():
    weight, gram = problem(0)
    frozen = weight > 1
    copies = weight.clone(), frozen.clone()
    new, keep = solve(weight, gram, HALF, frozen)
    new.add_(1.0)
    keep.fill_(True)
    assert torch.equal(weight, copies[0])
    assert torch.equal(frozen, copies[1])


def test_the_factor_is_that_of_the_damped_inverse():
    _, gram = problem(0)
    upper = factorise(gram, "test", Fraction(1, 10)).upper
    assert torch.equal(upper, upper.triu())
    assert (upper.diagonal() > 0).all()
    assert torch.allclose(upper.T @ upper, torch.linalg.inv(damped(gram, Fraction(1, 10))), rtol=1e-8, atol=1e-12)


def indefinite(lowest: float, size: int = 8, dtype: torch.dtype = torch.float64) -> Gram:
    """A Gram matrix, as rounding could leave it, whose lowest eigenvalue is `lowest` times the mean diagonal."""
    generator = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    values = torch.full((size,), (size - lowest) / (size - 1), dtype=torch.float64)
    values[0] = lowest
    return Gram((basis * values @ basis.T).to(dtype) * 50, 100)


@pytest.mark.parametrize(("lowest", "tries"), [(0.0, 1), (-0.05, 2), (-0.5, 3), (-5.0, 4)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_damping_grows_ten_fold_until_the_factorisation_succeeds(lowest, tries, dtype):
    gram = indefinite(lowest, dtype=dtype)
    retried = factorise(gram, "test")
    enough = factorise(gram, "test", DAMPING * 10 ** (tries - 1))
    assert torch.allclose(retried.upper, enough.upper, rtol=1e-4 if dtype == torch.float32 else 1e-12)
    weight, _ = problem(0)
    new, keep = sparsegpt([weight], retried, HALF)[0]
    assert torch.isfinite(new).all()
    assert int(keep.sum()) == 12


def test_a_gram_matrix_of_fewer_tokens_than_features_is_factorised():
    weight, gram = problem(0, columns=16, tokens=3)
    new, _ = solve(weight, gram, HALF)
    assert torch.isfinite(new).all()


def test_a_hessian_that_no_damping_repairs_is_refused_with_name_numbers_and_remedy():
    with pytest.raises(NumericalFailure, match=re.escape("block 3, q_proj and k_proj")) as caught:
        factorise(indefinite(-20.0), "block 3, q_proj and k_proj")
    assert "100 tokens" in str(caught.value)
    assert f"damping {float(DAMPING * 10 ** (DAMPING_TRIES - 1)):g}" in str(caught.value)
    assert "(samples)" in caught.value.hint
    assert "higher damping" in caught.value.hint


def test_a_matrix_that_no_token_reached_is_refused_by_name():
    with pytest.raises(NumericalFailure, match="block 0, w: no calibration token"):
        factorise(Gram.empty(4), "block 0, w")


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -float("inf")])
@pytest.mark.parametrize("where", [(0, 0), (1, 2)])
def test_overflown_activations_are_refused_by_name_and_with_another_remedy(value, where):
    _, gram = problem(0)
    gram.matrix[where] = gram.matrix[where[::-1]] = value
    with pytest.raises(NumericalFailure, match="block 0, w: the calibration activations overflow") as caught:
        factorise(gram, "block 0, w")
    assert "--dtype" in caught.value.hint


def test_a_hessian_that_overflows_although_its_gram_matrix_does_not_is_refused():
    huge = torch.full((4, 4), 3e38) + torch.eye(4) * 1e37
    with pytest.raises(NumericalFailure, match="block 0, w"):
        factorise(Gram(huge, 1), "block 0, w")


def test_an_inverse_that_overflows_is_refused():
    """Inputs next to nothing.  Without damping the factorisation itself reports no failure, only infinities."""
    with pytest.raises(NumericalFailure, match="block 0, w"):
        factorise(Gram(torch.eye(4) * 1e-42, 10), "block 0, w")
    with pytest.raises(NumericalFailure, match="block 0, w"):
        factorise(Gram(torch.diag(torch.tensor([1.0, 1e-41])), 2), "block 0, w", Fraction(0))


@st.composite
def blocks(draw: st.DrawFn) -> tuple[int, list[int], list[int]]:
    sizes = draw(st.lists(st.integers(1, 50), min_size=1, max_size=8))
    frozen = [draw(st.integers(0, size)) for size in sizes]
    return draw(st.integers(0, sum(sizes))), sizes, frozen


@given(blocks())
def test_quotas_add_up_and_leave_room_for_what_is_frozen(case):
    drop, sizes, frozen = case
    quotas = block_quotas(drop, sizes, frozen)
    assert sum(quotas) == max(drop, sum(frozen))
    assert all(gone <= quota <= size for quota, size, gone in zip(quotas, sizes, frozen, strict=True))


@pytest.mark.parametrize(
    ("drop", "sizes", "frozen", "expected"),
    [
        (5, [4, 4, 4], [0, 0, 0], [2, 2, 1]),
        (5, [4, 4, 4], [0, 0, 4], [1, 0, 4]),
        (5, [4, 4, 4], [4, 0, 0], [4, 1, 0]),
        (3, [8, 8, 2], [0, 0, 0], [2, 1, 0]),
        (6, [4, 4, 4], [4, 4, 0], [4, 4, 0]),
        (12, [4, 4, 4], [0, 0, 0], [4, 4, 4]),
    ],
)
def test_shares_are_rounded_up_from_the_left(drop, sizes, frozen, expected):
    assert block_quotas(drop, sizes, frozen) == expected


@given(st.integers(0, 400), st.integers(1, 10), st.integers(1, 40))
def test_without_frozen_weights_blocks_share_evenly(drop, count, size):
    """Sparsegpt's paper drops the share s in every block: ours differs from it by rounding alone."""
    drop = min(drop, count * size)
    quotas = block_quotas(drop, [size] * count, [0] * count)
    assert sum(quotas) == drop
    assert max(quotas) - min(quotas) <= 1


@given(
    st.integers(0, 2**31),
    st.sampled_from([Fraction(1, 2), Fraction(1, 3), Fraction(7, 10), Fraction(0)]),
    st.sampled_from([1, 2, 3, 5, 128]),
    st.sampled_from([0.0, 0.2, 0.9]),
)
def test_exactly_the_target_or_what_is_frozen_goes(seed, sparsity, block_size, share):
    weight, gram = problem(seed, rows=3, columns=7)
    frozen = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)) < share
    new, keep = solve(weight, gram, Unstructured(sparsity), frozen, block_size)
    assert int((~keep).sum()) == max(reference.drop_count(sparsity, 21), int(frozen.sum()))
    assert not (keep & frozen).any()
    assert not new[~keep].any()


@pytest.mark.parametrize("pattern", [NofM(2, 4), NofM(4, 8), NofM(3, 5), NofM(1, 16)], ids=str)
@pytest.mark.parametrize("block_size", [1, 3, 6, 7, 10, 128])
def test_groups_are_never_cut_by_a_block(pattern, block_size):
    """A group must be chosen at once: so any block size gives what one large block gives."""
    weight, gram = problem(1, rows=4, columns=80, tokens=200)
    new, keep = solve(weight, gram, pattern, block_size=block_size)
    whole, whole_keep = solve(weight, gram, pattern, block_size=80)
    assert is_n_of_m(keep, pattern.n, pattern.m)
    assert int(keep.sum()) == 320 * pattern.n // pattern.m
    assert torch.equal(keep, whole_keep)
    assert torch.allclose(new, whole, rtol=1e-9, atol=1e-12)


def test_n_of_m_respects_frozen_weights_in_every_group():
    weight, gram = problem(2, rows=6, columns=16)
    frozen = torch.rand(6, 16, generator=torch.Generator().manual_seed(0)) < 0.4
    _, keep = solve(weight, gram, NofM(2, 4), frozen, 8)
    assert not (keep & frozen).any()
    left = (~frozen).view(6, 4, 4).sum(dim=2)
    assert torch.equal(keep.view(6, 4, 4).sum(dim=2), left.clamp(max=2))


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_float32_comes_close_to_float64(pattern, dtype):
    weight, gram = problem(0, rows=32, columns=64, tokens=256)
    weight = weight.to(dtype)
    exact, exact_keep = solve(weight, gram, pattern, block_size=16)
    new, keep = solve(weight, Gram(gram.matrix.float(), gram.tokens), pattern, block_size=16)
    assert new.dtype == torch.float32
    assert exact.dtype == torch.float64
    agree = (keep == exact_keep).all(dim=1)  # a near tie that falls the other way changes its whole row
    assert agree.float().mean() >= 0.9
    assert torch.allclose(new[agree].double(), exact[agree], rtol=1e-2, atol=1e-3)


def test_compensation_beats_dropping_the_same_weights():
    """No law, it can fail on odd problems; but on an ordinary one it must hold."""
    weight, gram = problem(0, rows=16, columns=32, tokens=200)
    new, keep = solve(weight, gram, HALF)
    arguments = gram.matrix.numpy(), gram.tokens, DAMPING
    with_updates = reference.obs_error(weight.numpy(), new.numpy(), *arguments)
    without = reference.obs_error(weight.numpy(), weight.masked_fill(~keep, 0.0).numpy(), *arguments)
    assert with_updates < 0.9 * without


def test_matrices_of_different_heights_keep_their_own_targets():
    first, gram = problem(0, rows=2)
    second, _ = problem(1, rows=7)
    frozen = [torch.zeros(2, 8, dtype=torch.bool), torch.ones(7, 8, dtype=torch.bool)]
    (a, keep_a), (b, keep_b) = sparsegpt([first, second], factorise(gram, "test"), HALF, frozen, block_size=4)
    assert (a.shape, b.shape) == (first.shape, second.shape)
    assert int(keep_a.sum()) == 8
    assert not keep_b.any()
    alone, alone_keep = solve(first, gram, HALF, block_size=4)
    assert torch.equal(keep_a, alone_keep)
    assert torch.allclose(a, alone, rtol=1e-12)


def test_frozen_for_some_of_the_matrices_only_is_refused():
    weight, gram = problem(0)
    with pytest.raises(ValueError, match="either all or none"):
        sparsegpt([weight, weight], factorise(gram, "test"), HALF, [torch.zeros(3, 8, dtype=torch.bool), None])


def test_a_second_round_keeps_zeros_and_prunes_on():
    """Section 5: round t starts from the model of round t - 1; zeros stay zero."""
    weight, gram = problem(0, rows=8)
    gone = torch.zeros(weight.shape, dtype=torch.bool)
    counts = []
    for step in (Fraction(1, 4), Fraction(1, 2), Fraction(3, 4)):
        weight, keep = solve(weight, gram, Unstructured(step), gone, block_size=4)
        assert not (keep & gone).any()
        gone = ~keep
        counts.append(int(gone.sum()))
    assert counts == [16, 32, 48]
    assert all(before < after for before, after in pairwise(counts))
