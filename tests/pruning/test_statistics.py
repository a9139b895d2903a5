"""Calibration statistics: sums that merge by +, in float32 or better whatever the activations are."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.pruning.sparsegpt import factorise
from fedspallm_secure.pruning.statistics import Gram, InputNorms

FEATURES = 6


def values(statistics: Gram | InputNorms) -> torch.Tensor:
    return statistics.matrix if isinstance(statistics, Gram) else statistics.sum_squares


def collect(kind: type[Gram] | type[InputNorms], *batches: torch.Tensor) -> Gram | InputNorms:
    found = kind.empty(batches[0].shape[1])
    for batch in batches:
        found.update(batch)
    return found


def inputs(tokens: int, seed: int = 0, features: int = FEATURES) -> torch.Tensor:
    return torch.randn(tokens, features, generator=torch.Generator().manual_seed(seed))


kinds = pytest.mark.parametrize("kind", [Gram, InputNorms])


@kinds
def test_nothing_seen_is_zero(kind):
    empty = kind.empty(FEATURES)
    assert empty.tokens == 0
    assert not values(empty).any()
    assert values(empty).dtype == torch.float32


@kinds
@given(cuts=st.lists(st.integers(0, 24), max_size=4), seed=st.integers(0, 2**31))
def test_any_cut_into_batches_and_members_equals_one_pass(kind, cuts, seed):
    """Small integers, so that every sum is exact and equality means equality."""
    x = (inputs(24, seed) * 4).round()
    edges = [0, *sorted(cuts), 24]
    parts = [x[a:b] for a, b in pairwise(edges)]
    whole = collect(kind, x)
    in_batches = collect(kind, *parts)
    merged = kind.empty(FEATURES)
    for part in parts:
        merged = merged + collect(kind, part)
    for other in (in_batches, merged):
        assert torch.equal(values(other), values(whole))
        assert other.tokens == whole.tokens == 24


@kinds
def test_order_matters_no_more_than_rounding(kind):
    batches = [inputs(50, seed) * 10**seed for seed in range(-2, 3)]
    forwards, backwards = collect(kind, *batches), collect(kind, *reversed(batches))
    assert torch.allclose(values(forwards), values(backwards), rtol=1e-5, atol=1e-4)
    assert forwards.tokens == backwards.tokens == 250


@kinds
def test_adding_leaves_both_operands_alone(kind):
    one, other = collect(kind, inputs(5, 1)), collect(kind, inputs(7, 2))
    before = values(one).clone(), values(other).clone()
    merged = one + other
    values(merged).add_(1.0)
    assert torch.equal(values(one), before[0])
    assert torch.equal(values(other), before[1])
    assert (one.tokens, other.tokens, merged.tokens) == (5, 7, 12)


@kinds
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_floats_accumulate_in_float32(kind, dtype):
    """In bfloat16 a running sum of ones stops at 256; float16 squares overflow above 255."""
    ones = collect(kind, *[torch.ones(100, FEATURES, dtype=dtype)] * 20)
    assert (values(ones) == 2000).all()
    large = collect(kind, torch.full((3, FEATURES), 300.0, dtype=dtype))
    expected = 3 * float(torch.tensor(300.0, dtype=dtype)) ** 2
    assert (values(large) == expected).all()
    assert values(large).dtype == torch.float32


@kinds
def test_short_floats_give_what_their_float32_copies_give(kind):
    x = inputs(200).bfloat16()
    assert torch.equal(values(collect(kind, x)), values(collect(kind, x.float())))


def test_the_sums_are_those_of_the_definition():
    x = inputs(300)
    exact = x.double().numpy()
    assert np.allclose(collect(InputNorms, x).sum_squares, (exact**2).sum(axis=0), rtol=1e-5)
    gram = collect(Gram, x).matrix
    assert np.allclose(gram, exact.T @ exact, rtol=1e-5, atol=1e-3)
    assert torch.allclose(gram.diagonal(), collect(InputNorms, x).sum_squares, rtol=1e-5)


@kinds
def test_an_empty_batch_changes_nothing(kind):
    found = collect(kind, inputs(5), torch.empty(0, FEATURES))
    assert found.tokens == 5
    assert torch.equal(values(found), values(collect(kind, inputs(5))))


@kinds
def test_the_inputs_are_not_changed(kind):
    x = inputs(5)
    before = x.clone()
    collect(kind, x, x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("features", [127, 128, 129, 300, 1100])
def test_a_wide_gram_matrix_is_right_where_it_counts(features):
    """On and below the diagonal, whatever the tiles; the factorisation reads nothing else."""
    x = torch.randn(40, features, generator=torch.Generator().manual_seed(features))
    gram = Gram.empty(features)
    gram.update(x[:13])
    gram.update(x[13:])
    assert torch.allclose(gram.matrix.tril(), (x.T @ x).tril(), rtol=1e-4, atol=1e-4)
    garbage = Gram(gram.matrix.tril() + torch.full((features, features), 7.0).triu(1), gram.tokens)
    whole = Gram(gram.matrix.tril() + gram.matrix.tril(-1).T, gram.tokens)
    assert torch.equal(factorise(garbage, "a").upper, factorise(whole, "b").upper)
