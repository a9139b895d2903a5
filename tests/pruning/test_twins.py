"""Every kernel against its slow, obvious twin, over shapes, ties, dead inputs and frozen weights."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedspallm_secure.pruning.aggregation import Group, MatrixSums, Strategy, aggregate, expand
from fedspallm_secure.pruning.keepmasks import keep_n_of_m, keep_per_matrix, keep_per_row
from fedspallm_secure.pruning.patterns import NofM, Unstructured
from fedspallm_secure.pruning.pruners import LocalSpec, Matrix, Pruner, prune_together
from fedspallm_secure.pruning.scores import magnitude_scores, wanda_scores
from fedspallm_secure.pruning.sparsegpt import factorise, sparsegpt
from fedspallm_secure.pruning.statistics import Gram, InputNorms
from tests import reference

SPARSITIES = st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(1, 2), Fraction(7, 10), Fraction(1)])


@st.composite
def problems(draw: st.DrawFn, multiple: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Weight (out, in), inputs (tokens, in) and perhaps frozen weights; small integers, so ties abound."""
    rows = draw(st.integers(1, 6))
    columns = multiple * draw(st.integers(1, 12 // multiple + 1))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    span = draw(st.sampled_from([1, 3, 50]))
    weight = generator.integers(-span, span + 1, (rows, columns)).astype(np.float64)
    x = generator.integers(-3, 4, (draw(st.integers(1, 30)), columns)).astype(np.float64)
    x[:, generator.random(columns) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = 0.0
    frozen = generator.random((rows, columns)) < 0.3 if draw(st.booleans()) else None
    if frozen is not None:
        weight[frozen] = 0.0
    return weight, x, frozen


def tensor(array: np.ndarray | None, dtype: torch.dtype | None = torch.float32) -> torch.Tensor | None:
    return None if array is None else torch.from_numpy(array).to(dtype)


@given(problems(), SPARSITIES)
def test_rank_keep_masks_match(problem, sparsity):
    weight, _, frozen = problem
    scores, pattern, holes = tensor(np.abs(weight)), Unstructured(sparsity), tensor(frozen, torch.bool)
    per_matrix = keep_per_matrix(scores, pattern.drop_count(weight.size), holes)
    per_row = keep_per_row(scores, pattern.drop_count(weight.shape[1]), holes)
    assert np.array_equal(per_matrix, reference.keep_per_matrix(np.abs(weight), sparsity, frozen))
    assert np.array_equal(per_row, reference.keep_per_row(np.abs(weight), sparsity, frozen))


@given(problems(multiple=4), st.sampled_from([(2, 4), (1, 4), (3, 4), (1, 2)]))
def test_n_of_m_keep_masks_match(problem, shape):
    weight, _, frozen = problem
    keep = keep_n_of_m(tensor(np.abs(weight)), *shape, tensor(frozen, torch.bool))
    assert np.array_equal(keep, reference.keep_n_of_m(np.abs(weight), *shape, frozen))


@given(problems())
def test_scores_and_statistics_match(problem):
    weight, x, _ = problem
    norms, gram = InputNorms.empty(x.shape[1]), Gram.empty(x.shape[1])
    for part in np.array_split(x, 3):
        norms.update(tensor(part))
        gram.update(tensor(part))
    assert norms.tokens == gram.tokens == len(x)
    assert np.array_equal(norms.sum_squares, reference.sum_squares(x))
    assert np.array_equal(gram.matrix, reference.gram(x))
    assert np.array_equal(magnitude_scores(tensor(weight)), reference.magnitude_scores(weight))
    assert np.allclose(
        wanda_scores(tensor(weight), norms.sum_squares),
        reference.wanda_scores(weight, reference.sum_squares(x)),
        rtol=1e-6,
    )


@settings(deadline=None)
@given(problems(multiple=4), SPARSITIES, st.sampled_from([4, 8, 128]), st.sampled_from([None, (2, 4)]))
def test_sparsegpt_matches(problem, sparsity, block_size, shape):
    """In float64 throughout, so that rank decisions cannot hang on rounding."""
    weight, x, frozen = problem
    x = x + np.random.default_rng(0).normal(size=x.shape) * (x.any(axis=0))  # no ties between live inputs
    weight = weight + np.random.default_rng(1).normal(size=weight.shape) * (weight != 0)
    gram = x.T @ x
    pattern = NofM(*shape) if shape else Unstructured(sparsity)
    arguments = {"n": shape[0], "m": shape[1]} if shape else {"sparsity": sparsity}
    expected, keep = reference.sparsegpt(weight, gram, len(x), block_size=block_size, frozen=frozen, **arguments)
    factor = factorise(Gram(torch.from_numpy(gram), len(x)), "test")
    solved = sparsegpt([torch.from_numpy(weight)], factor, pattern, [tensor(frozen, torch.bool)], block_size)
    new, kept = solved[0]
    assert np.array_equal(kept, keep)
    assert np.allclose(new, expected, rtol=1e-9, atol=1e-9)


@given(problems(), SPARSITIES)
def test_stacked_matrices_are_solved_as_if_alone(problem, sparsity):
    weight, x, _ = problem
    other = np.flip(weight, axis=0).copy() * 2 + 1
    gram = Gram(tensor(x.T @ x), len(x))
    factor, pattern = factorise(gram, "test"), Unstructured(sparsity)
    together = sparsegpt([tensor(weight), tensor(other)], factor, pattern)
    for matrix, (new, keep) in zip((weight, other), together, strict=True):
        alone, alone_keep = sparsegpt([tensor(matrix)], factor, pattern)[0]
        assert torch.equal(keep, alone_keep)
        assert torch.allclose(new, alone, rtol=1e-5, atol=1e-5)


@st.composite
def votes(draw: st.DrawFn) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, np.ndarray | None]:
    """Keep-masks and weights of 1..6 members, the dense matrix, perhaps frozen weights."""
    rows, columns = draw(st.integers(1, 5)), 4 * draw(st.integers(1, 3))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    dense = generator.integers(-3, 4, (rows, columns)).astype(np.float64)
    frozen = generator.random((rows, columns)) < 0.2 if draw(st.booleans()) else np.zeros_like(dense, dtype=bool)
    keeps, values = [], []
    for _ in range(draw(st.integers(1, 6))):
        keep = (generator.random((rows, columns)) < draw(st.sampled_from([0.1, 0.5, 0.9]))) & ~frozen
        keeps.append(keep)
        values.append(np.where(keep, dense + generator.integers(-1, 2, dense.shape) / 4, 0.0))
    return keeps, values, np.where(frozen, 0.0, dense), frozen if frozen.any() else None


@given(votes(), SPARSITIES, st.sampled_from(["matrix", "row", "2:4"]))
def test_server_step_matches(case, sparsity, mode):
    keeps, values, dense, frozen = case
    sums = MatrixSums.empty(dense.shape, Strategy.FEDSPALLM)
    for keep, value in zip(keeps, values, strict=True):
        sums.add(torch.from_numpy(keep), tensor(value))
    count, kept = reference.aggregate(keeps, values)
    average = reference.l0_average(count, kept)
    rule = (count, np.abs(average), np.abs(dense), frozen)
    if mode == "2:4":
        pattern, expected = NofM(2, 4), reference.expand_n_of_m(*rule, 2, 4)
    else:
        pattern = Unstructured(sparsity)
        size = dense.size if mode == "matrix" else dense.shape[1]
        twin = reference.expand if mode == "matrix" else reference.expand_per_row
        expected = twin(*rule, pattern.drop_count(size))
    group = Group.ROW if mode == "row" else Group.MATRIX
    result = aggregate(sums, tensor(dense), pattern, group, tensor(frozen, torch.bool))
    # l0 averages of thirds round in float32: compare the keep-mask where the twin's ranks are as coarse.
    exact = expand(
        torch.from_numpy(count),
        tensor(np.where(count > 0, np.abs(average), np.abs(dense))),
        pattern,
        group,
        tensor(frozen, torch.bool),
    )
    assert torch.equal(result.keep, exact)
    if len(keeps) in (1, 2, 4):
        assert np.array_equal(result.keep, expected)
    assert np.array_equal(sums.count, count)
    assert np.allclose(result.weight, np.where(result.keep, np.where(count > 0, average, dense), 0.0))
    assert sum(result.histogram) == dense.size


@pytest.mark.parametrize("pruner", list(Pruner))
def test_one_call_prunes_like_its_parts(pruner):
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(6, 8, generator=generator), torch.randn(40, 8, generator=generator)
    statistics = pruner.empty_statistics(8, "cpu")
    if statistics is not None:
        statistics.update(x)
    spec = LocalSpec(pruner, Unstructured(Fraction(1, 2)))
    pruned = prune_together([Matrix("block 0, w", weight)], statistics, spec)[0]
    assert int((~pruned.keep).sum()) == 24
    assert not pruned.weight[~pruned.keep].any()
    assert torch.equal(pruned.weight[pruned.keep], weight[pruned.keep]) is not pruner.updates_survivors
