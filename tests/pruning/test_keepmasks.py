"""Keep-masks by exact rank: none, all, ties, single rows and columns, sizes real models have, and bits on disk."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedspallm_secure.pruning.keepmasks import (
    count_kept,
    drop_lowest,
    is_n_of_m,
    keep_n_of_m,
    keep_per_matrix,
    keep_per_row,
    pack_bits,
    unpack_bits,
    zero_dropped,
)

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32]


def by_sorting(scores: Tensor, drop: int) -> Tensor:
    """The rule in one line: a stable sort, so ties fall to the smaller index."""
    order = scores.argsort(dim=1, stable=True)
    return torch.ones_like(scores, dtype=torch.bool).scatter_(1, order[:, :drop], False)


def random_scores(rows: int, columns: int, seed: int, dtype: torch.dtype, levels: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, levels, (rows, columns), generator=generator).to(dtype)


@given(
    st.integers(1, 5),
    st.integers(1, 33),
    st.integers(0, 2**31),
    st.sampled_from(DTYPES),
    st.sampled_from([1, 2, 5, 200]),
    st.data(),
)
def test_exactly_the_lowest_go_in_every_type_of_score(rows, columns, seed, dtype, levels, data):
    scores = random_scores(rows, columns, seed, dtype, levels)
    drop = data.draw(st.integers(0, columns))
    before = scores.clone()
    keep = drop_lowest(scores, drop)
    assert torch.equal(keep, by_sorting(scores, drop))
    assert ((~keep).sum(dim=1) == drop).all()
    assert torch.equal(scores, before), "the scores are still needed by the caller"


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (4, 6)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_none_and_all(shape, dtype):
    scores = random_scores(*shape, 0, dtype, 3)
    size = shape[0] * shape[1]
    assert keep_per_matrix(scores, 0).all()
    assert not keep_per_matrix(scores, size).any()
    assert keep_per_row(scores, 0).all()
    assert not keep_per_row(scores, shape[1]).any()


@pytest.mark.parametrize("value", [0.0, 1.0, float("inf")])
def test_when_all_tie_the_first_in_row_major_order_go(value):
    scores = torch.full((3, 4), value)
    assert keep_per_matrix(scores, 5).view(-1).tolist() == [False] * 5 + [True] * 7
    assert keep_per_row(scores, 1).tolist() == [[False, True, True, True]] * 3
    assert keep_n_of_m(scores, 2, 4).tolist() == [[False, False, True, True]] * 3


def test_both_zeros_tie():
    assert drop_lowest(torch.tensor([[0.0, -0.0, 0.0]]), 1).tolist() == [[False, True, True]]


def test_integer_keys_beyond_the_precision_of_a_double_are_told_apart():
    """Aggregation ranks by 64-bit keys; rounding them to float64 would merge neighbours."""
    keys = torch.tensor([[(1 << 62) + 3, (1 << 62) + 1, (1 << 62) + 2, (1 << 62)]])
    assert drop_lowest(keys, 2).tolist() == [[True, False, True, False]]
    assert keep_n_of_m(keys, 2, 4).tolist() == [[True, False, True, False]]


def test_one_row_and_one_column_compare_as_their_group_says():
    scores = torch.tensor([[3.0, 1.0, 2.0]])
    assert torch.equal(keep_per_row(scores, 2), keep_per_matrix(scores, 2))
    assert keep_per_matrix(scores.T.contiguous(), 2).view(-1).tolist() == [True, False, False]
    assert keep_per_row(scores.T.contiguous(), 0).all()


def test_scores_need_not_be_contiguous():
    scores = torch.randn(16, 9, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float32, torch.float64):
        across = scores.to(dtype).T
        assert torch.equal(keep_per_matrix(across, 40), keep_per_matrix(across.contiguous(), 40))
        assert torch.equal(keep_per_row(across, 4), keep_per_row(across.contiguous(), 4))
        assert torch.equal(keep_n_of_m(across, 2, 4), keep_n_of_m(across.contiguous(), 2, 4))


@given(st.integers(0, 2**31), st.integers(0, 24), st.floats(0, 1))
def test_frozen_weights_go_first_and_are_counted(seed, drop, share):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-1, 3, (3, 8), generator=generator).float()  # -1 is a dead input
    frozen = torch.rand((3, 8), generator=generator) < share
    keep = keep_per_matrix(scores, drop, frozen)
    assert not (keep & frozen).any()
    assert int((~keep).sum()) == max(drop, int(frozen.sum()))
    rows = keep_per_row(scores, drop // 3, frozen)
    assert not (rows & frozen).any()
    assert torch.equal((~rows).sum(dim=1), frozen.sum(dim=1).clamp(min=drop // 3))
    groups = keep_n_of_m(scores, 2, 4, frozen)
    assert not (groups & frozen).any()
    kept = groups.view(3, 2, 4).sum(dim=2)
    assert torch.equal(kept, (~frozen).view(3, 2, 4).sum(dim=2).clamp(max=2))


@given(st.integers(0, 2**31), st.sampled_from([(1, 2), (2, 4), (4, 8), (1, 4), (3, 5), (1, 64), (63, 64)]))
def test_every_group_keeps_its_n_highest(seed, pattern):
    n, m = pattern
    scores = random_scores(3, 2 * m, seed, torch.float32, 4)
    keep = keep_n_of_m(scores, n, m)
    assert torch.equal(keep, by_sorting(scores.view(-1, m), m - n).view(keep.shape))
    assert is_n_of_m(keep, n, m)


def test_a_matrix_of_a_real_model_is_ranked_like_a_stable_sort():
    scores = torch.randn(512, 1024, generator=torch.Generator().manual_seed(0)).abs().bfloat16().float()  # ties abound
    flat = scores.view(1, -1)
    for drop in (1, flat.numel() // 2, flat.numel() - 1):
        assert torch.equal(keep_per_matrix(scores, drop), by_sorting(flat, drop).view(scores.shape))
    assert torch.equal(keep_per_row(scores, 512), by_sorting(scores, 512))


@given(st.integers(0, 5), st.integers(1, 40), st.integers(0, 2**31))
def test_packed_bits_come_back(rows, columns, seed):
    keep = torch.rand((rows, columns), generator=torch.Generator().manual_seed(seed)) < 0.5
    packed = pack_bits(keep)
    assert packed.dtype == torch.uint8
    assert packed.shape == (-(-rows * columns // 8),)
    assert torch.equal(unpack_bits(packed, (rows, columns)), keep)
    assert torch.equal(unpack_bits(pack_bits(keep.T), (columns, rows)), keep.T)


def test_the_first_weight_is_the_lowest_bit():
    assert pack_bits(torch.tensor([[True, False, True], [False, False, False]])).tolist() == [0b101]
    assert pack_bits(torch.tensor([False] * 8 + [True])).tolist() == [0, 1]


@pytest.mark.parametrize("size", [0, 1, 3, 4])
def test_the_wrong_number_of_bytes_is_refused(size):
    with pytest.raises(ValueError, match=f"{size} bytes do not hold a keep-mask of 9 weights"):
        unpack_bits(torch.zeros(size, dtype=torch.uint8), (3, 3))


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.float32, torch.int64])
def test_bits_of_another_type_are_refused(dtype):
    with pytest.raises(ValueError, match="keep-mask"):
        unpack_bits(torch.zeros(2, dtype=dtype), (3, 3))


def test_unpacking_does_not_share_memory_with_the_packed_bits():
    packed = pack_bits(torch.tensor([True, False]))
    keep = unpack_bits(packed, (2,))
    packed.zero_()
    assert keep.tolist() == [True, False]


def test_bits_beyond_the_last_weight_are_refused():
    """One spelling only: whatever is unpacked packs to the same bytes again."""
    with pytest.raises(ValueError, match="keep-mask"):
        unpack_bits(torch.tensor([0b1000_0001], dtype=torch.uint8), (3,))


def test_n_of_m_holds_when_every_group_keeps_at_most_n():
    keep = torch.tensor([[True, True, False, False, False, False, False, True]])
    assert is_n_of_m(keep, 2, 4)
    assert not is_n_of_m(keep, 1, 4)
    assert not is_n_of_m(torch.tensor([[False, True, True, True, False, False, False, False]]), 2, 4)
    assert is_n_of_m(torch.zeros(3, 8, dtype=torch.bool), 1, 4)
    assert is_n_of_m(torch.tensor([[False, False, True, True, True, True, False, False]]), 2, 4), "groups do not slide"


def test_packing_reads_masks_of_any_shape_in_row_major_order():
    keep = np.random.default_rng(0).random((2, 3, 5)) < 0.5
    assert pack_bits(torch.from_numpy(keep)).tolist() == np.packbits(keep.ravel(), bitorder="little").tolist()


@given(st.integers(0, 5), st.integers(1, 40), st.integers(0, 2**31))
def test_kept_entries_are_counted(rows, columns, seed):
    keep = torch.rand((rows, columns), generator=torch.Generator().manual_seed(seed)) < 0.5
    assert count_kept(keep) == count_kept(keep.T) == int(keep.sum())


def test_what_is_dropped_becomes_a_positive_zero_whatever_it_was():
    weight = torch.tensor([[float("nan"), float("-inf"), -0.0, -1.0], [float("inf"), 2.0**-149, -0.0, -1.0]])
    keep = torch.tensor([[False] * 4, [True] * 4])
    before = weight.clone()
    found = zero_dropped(weight, keep)
    assert torch.equal(found.view(torch.int32), weight.masked_fill(~keep, 0.0).view(torch.int32))
    assert torch.equal(zero_dropped(weight.T, keep.T), found.T)
    found.add_(1.0)
    assert torch.equal(weight.view(torch.int32), before.view(torch.int32)), "a copy"
