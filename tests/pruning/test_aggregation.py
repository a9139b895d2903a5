"""The server step: edge cases of votes and values, exact sparsity, and laws that any cohort must obey."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedspallm_secure.pruning import expansion
from fedspallm_secure.pruning.aggregation import (
    Aggregate,
    Group,
    MatrixSums,
    Strategy,
    SummedTensors,
    aggregate,
    expand,
    l0_average,
)
from fedspallm_secure.pruning.keepmasks import drop_lowest, is_n_of_m, keep_n_of_m
from fedspallm_secure.pruning.patterns import NofM, Pattern, Unstructured
from fedspallm_secure.pruning.pruners import LocalSpec, Matrix, Pruner, prune_together
from fedspallm_secure.pruning.statistics import InputNorms

HALF = Unstructured(Fraction(1, 2))
PATTERNS: list[Pattern] = [HALF, Unstructured(Fraction(1, 3)), Unstructured(Fraction(7, 10)), NofM(2, 4)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]

Member = tuple[Tensor, Tensor]  # keep-mask and weight


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dense_matrix(rows: int, columns: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(rows, columns, generator=generator(seed)).to(dtype)


def untouched(dense: Tensor, members: int, seed: int = 1, share: float = 0.5) -> list[Member]:
    """Members that keep at random and leave what they keep as it was, like Wanda."""
    keeps = torch.rand((members, *dense.shape), generator=generator(seed)) < share
    return [(keep, dense.masked_fill(~keep, 0.0)) for keep in keeps]


def updating(dense: Tensor, members: int, seed: int = 1, share: float = 0.5) -> list[Member]:
    """Members that also change what they keep, like SparseGPT."""
    return [
        (keep, (weight + torch.randn(weight.shape, generator=generator(seed + number)) / 8).masked_fill(~keep, 0.0))
        for number, (keep, weight) in enumerate(untouched(dense, members, seed, share))
    ]


def summed(members: Sequence[Member], shape: tuple[int, int], strategy: Strategy = Strategy.FEDSPALLM) -> MatrixSums:
    sums = MatrixSums.empty(shape, strategy)
    for keep, weight in members:
        sums.add(keep, weight if strategy is Strategy.FEDSPALLM else None)
    return sums


def server(
    members: Sequence[Member],
    dense: Tensor,
    pattern: Pattern = HALF,
    group: Group = Group.MATRIX,
    frozen: Tensor | None = None,
    strategy: Strategy = Strategy.FEDSPALLM,
) -> Aggregate:
    return aggregate(summed(members, tuple(dense.shape), strategy), dense.float(), pattern, group, frozen)


def bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(torch.int32)


def test_a_weight_kept_by_exactly_one_member_is_that_members_value():
    """The l0 average divides by who kept, not by who took part."""
    dense = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    nobody = torch.zeros(1, 4, dtype=torch.bool)
    one = torch.tensor([[False, True, False, True]])
    members = [(one, torch.tensor([[0.0, 5.0, 0.0, -8.0]])), (nobody, torch.zeros(1, 4)), (nobody, torch.zeros(1, 4))]
    found = server(members, dense)
    assert found.keep.tolist() == one.tolist()
    assert found.weight.tolist() == [[0.0, 5.0, 0.0, -8.0]]
    assert found.histogram == [2, 2, 0, 0]


def test_a_kept_weight_of_zero_counts_and_averages():
    """The keep-mask decides, not the value."""
    dense = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    keep = torch.tensor([[True, True, False, False]])
    members = [(keep, torch.tensor([[0.0, 4.0, 0.0, 0.0]])), (keep, torch.tensor([[0.0, 0.0, 0.0, 0.0]]))]
    sums = summed(members, (1, 4))
    assert sums.count.tolist() == [[2, 2, 0, 0]]
    found = aggregate(sums, dense, HALF)
    assert found.keep.tolist() == keep.tolist(), "a kept 0.0 outranks a large dense weight that nobody kept"
    assert found.weight.tolist() == [[0.0, 2.0, 0.0, 0.0]]
    assert found.restored == 0


@pytest.mark.parametrize("garbage", [1e30, float("nan"), float("inf")])
def test_what_stands_where_a_member_dropped_is_never_read(garbage):
    dense = dense_matrix(4, 8)
    members = updating(dense, 3)
    dirty = [(keep, weight.masked_fill(~keep, garbage)) for keep, weight in members]
    assert torch.equal(server(dirty, dense).weight, server(members, dense).weight)


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_a_member_that_pruned_nothing_votes_for_everything(pattern):
    dense = dense_matrix(4, 8)
    everything = (torch.ones(4, 8, dtype=torch.bool), dense)
    others = untouched(dense, 2)
    found = server([everything, *others], dense, pattern)
    assert int((~found.keep).sum()) == pattern.drop_count(32)
    assert found.histogram[0] == found.restored == 0
    if not isinstance(pattern, NofM):
        count = 1 + others[0][0].int() + others[1][0]
        assert count[found.keep].min() >= count[~found.keep].max()


def test_a_cohort_that_pruned_nothing_is_pruned_by_importance():
    dense = dense_matrix(4, 8)
    keep = torch.ones(4, 8, dtype=torch.bool)
    found = server([(keep, dense)] * 3, dense)
    smallest = dense.abs().view(-1).argsort(stable=True)[:16]
    assert not found.keep.view(-1)[smallest].any()
    assert int(found.keep.sum()) == 16


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("shares", [(0.9, 0.5, 0.1), (0.05, 0.05, 0.05), (0.0, 0.0, 0.0), (1.0, 1.0, 0.0)])
@pytest.mark.parametrize("group", list(Group))
def test_sparsity_is_exact_whatever_members_did(pattern, shares, group):
    """Corollary 4.1, also for members that are sparser than the target: then the largest dense weights return."""
    dense = dense_matrix(5, 8)
    members = [updating(dense, 1, seed, share)[0] for seed, share in enumerate(shares)]
    found = server(members, dense, pattern, group)
    dropped = (~found.keep).sum(dim=1)
    if isinstance(pattern, NofM):
        assert is_n_of_m(found.keep, pattern.n, pattern.m)
        assert int(dropped.sum()) == pattern.drop_count(40)
    elif group is Group.ROW:
        assert (dropped == pattern.drop_count(8)).all()
    else:
        assert int(dropped.sum()) == pattern.drop_count(40)
    assert not found.weight[~found.keep].any()
    nobody = summed(members, (5, 8)).count == 0
    back = found.keep & nobody
    assert found.restored == int(back.sum())
    assert torch.equal(found.weight[back], dense[back])


def test_the_largest_dense_weights_return_first():
    dense = torch.tensor([[1.0, -4.0, 2.0, -3.0, 0.5, 9.0]])
    keep = torch.tensor([[True, False, False, False, False, False]])
    found = server([(keep, dense.masked_fill(~keep, 0.0))], dense)
    assert found.weight.tolist() == [[1.0, -4.0, 0.0, 0.0, 0.0, 9.0]]
    assert found.restored == 2


@given(st.integers(0, 2**31), st.sampled_from(PATTERNS), st.sampled_from(list(Group)), st.sampled_from([0.1, 0.5, 0.9]))
def test_frozen_weights_never_return(seed, pattern, group, share):
    """Not even if members vote for them, and not even if more are frozen than the target drops."""
    dense = dense_matrix(4, 8, seed)
    frozen = torch.rand((4, 8), generator=generator(seed + 1)) < share
    members = updating(dense, 2, seed)
    found = server(members, dense, pattern, group, frozen)
    assert not (found.keep & frozen).any()
    assert not found.weight[frozen].any()
    if group is Group.MATRIX and not isinstance(pattern, NofM):
        assert int((~found.keep).sum()) == max(pattern.drop_count(32), int(frozen.sum()))
    elif not isinstance(pattern, NofM):
        expected = frozen.sum(dim=1).clamp(min=pattern.drop_count(8))
        assert torch.equal((~found.keep).sum(dim=1), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("members", [1, 2, 3, 7, 1000])
def test_untouched_survivors_are_the_dense_weight_bit_for_bit(members, dtype):
    """Sums of equal values in float32 would not give them back for n = 7."""
    dense = dense_matrix(6, 8, 3, dtype)
    dense[0, :4] = torch.tensor([0.1, 1e-7, 60_000.0, 1 / 3]).to(dtype)
    cohort = untouched(dense, members, share=0.6)
    found = server(cohort, dense)
    assert torch.equal(bits(found.weight[found.keep]), bits(dense.float()[found.keep]))
    assert found.weight.dtype == torch.float32


@pytest.mark.parametrize("extreme", [torch.finfo(torch.float32).max, torch.finfo(torch.float32).tiny, 2.0**-149])
def test_extreme_weights_come_back_too(extreme):
    dense = torch.full((1, 4), extreme)
    keep = torch.ones(1, 4, dtype=torch.bool)
    assert torch.equal(bits(server([(keep, dense)] * 1000, dense, Unstructured(Fraction(0))).weight), bits(dense))


def test_a_negative_zero_comes_back_too():
    dense = torch.full((1, 4), -0.0)
    keep = torch.ones(1, 4, dtype=torch.bool)
    assert torch.equal(bits(server([(keep, dense)] * 3, dense, Unstructured(Fraction(0))).weight), bits(dense))


@given(
    st.integers(0, 2**31),
    st.sampled_from([1, 2, 3, 7]),
    st.sampled_from(PATTERNS),
    st.sampled_from(list(Group)),
    st.booleans(),
)
def test_votes_alone_give_the_same_result_for_untouched_survivors(seed, members, pattern, group, with_frozen):
    dense = dense_matrix(4, 8, seed)
    frozen = torch.rand((4, 8), generator=generator(seed + 1)) < 0.2 if with_frozen else None
    if frozen is not None:
        dense.masked_fill_(frozen, 0.0)
    cohort = untouched(dense, members, seed)
    values = server(cohort, dense, pattern, group, frozen, Strategy.FEDSPALLM)
    counts = server(cohort, dense, pattern, group, frozen, Strategy.VOTES)
    assert torch.equal(values.keep, counts.keep)
    assert torch.equal(bits(values.weight), bits(counts.weight))
    assert (values.histogram, values.restored) == (counts.histogram, counts.restored)


def test_wanda_members_from_end_to_end():
    dense = dense_matrix(8, 16)
    cohort = []
    for seed in range(3):
        norms = InputNorms.empty(16)
        norms.update(torch.randn(64, 16, generator=generator(seed + 10)) * torch.linspace(0.5, 2, 16).roll(seed))
        pruned = prune_together([Matrix("w", dense)], norms, LocalSpec(Pruner.WANDA, HALF))[0]
        cohort.append((pruned.keep, pruned.weight))
    found = server(cohort, dense)
    assert torch.equal(bits(found.weight[found.keep]), bits(dense[found.keep]))
    assert int(found.keep.sum()) == 64
    assert torch.equal(found.keep, server(cohort, dense, strategy=Strategy.VOTES).keep)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_updated_survivors_average_in_full_precision(dtype):
    """Members may send bf16 or fp16; the average is that of their exact values, rounded once to float32."""
    dense = dense_matrix(4, 8)
    members = [(keep, weight.to(dtype)) for keep, weight in updating(dense, 3)]
    sums = summed(members, (4, 8))
    exact = sum(weight.double() for _, weight in members) / sums.count.clamp(min=1)
    assert torch.equal(l0_average(sums.count, sums.kept), exact.float())


def test_one_member_alone_gets_its_own_result_back():
    dense = dense_matrix(4, 8)
    keep, weight = updating(dense, 1)[0]
    target = Unstructured(Fraction(int((~keep).sum()), 32))
    found = server([(keep, weight)], dense, target)
    assert torch.equal(found.keep, keep)
    assert torch.equal(found.weight, weight)


def test_two_members_keep_what_both_kept_first():
    dense = dense_matrix(4, 8)
    (one, a), (other, b) = updating(dense, 2)
    both = one & other
    found = server([(one, a), (other, b)], dense, Unstructured(Fraction(32 - int(both.sum()), 32)))
    assert torch.equal(found.keep, both)
    assert torch.equal(found.weight[both], ((a.double() + b.double()) / 2).float()[both])


def test_a_thousand_members_are_counted_one_by_one():
    dense = dense_matrix(4, 8)
    cohort = updating(dense, 1000)
    sums = summed(cohort, (4, 8))
    assert sums.members == 1000
    assert torch.equal(sums.count, torch.stack([keep for keep, _ in cohort]).sum(dim=0))
    found = aggregate(sums, dense, HALF)
    assert len(found.histogram) == 1001
    assert sum(found.histogram) == 32
    assert sum(count * weights for count, weights in enumerate(found.histogram)) == int(sums.count.sum())


@pytest.mark.parametrize("strategy", list(Strategy))
def test_the_order_of_members_does_not_matter(strategy):
    dense = dense_matrix(4, 8)
    cohort = updating(dense, 4)
    first = server(cohort, dense, strategy=strategy)
    for order in permutations(cohort):
        other = server(order, dense, strategy=strategy)
        assert torch.equal(other.keep, first.keep)
        assert torch.allclose(other.weight, first.weight, rtol=1e-6)
        assert other.histogram == first.histogram


@given(st.integers(0, 2**31), st.sampled_from(list(Group)))
def test_relabelling_rows_and_columns_relabels_the_result(seed, group):
    """True where importances differ: the index decides ties only."""
    dense = dense_matrix(4, 8, seed)
    members = untouched(dense, 3, seed)
    rows, columns = torch.randperm(4, generator=generator(seed)), torch.randperm(8, generator=generator(seed))
    moved = [(keep[rows][:, columns], weight[rows][:, columns]) for keep, weight in members]
    straight = server(members, dense, group=group).keep
    assert torch.equal(server(moved, dense[rows][:, columns], group=group).keep, straight[rows][:, columns])


@given(st.integers(0, 2**31), st.sampled_from(PATTERNS), st.sampled_from(list(Group)))
def test_one_more_vote_never_drops_a_weight(seed, pattern, group):
    dense = dense_matrix(3, 8, seed).abs()
    count = torch.randint(0, 4, (3, 8), generator=generator(seed), dtype=torch.int32)
    keep = expand(count, dense, pattern, group)
    position = seed % 24
    count.view(-1)[position] += 1
    assert expand(count, dense, pattern, group).view(-1)[position] or not keep.view(-1)[position]


@given(st.integers(0, 2**31), st.sampled_from(PATTERNS), st.integers(-20, 20))
def test_only_the_order_of_importances_counts(seed, pattern, exponent):
    dense = dense_matrix(3, 8, seed).abs()
    count = torch.randint(0, 3, (3, 8), generator=generator(seed), dtype=torch.int32)
    scaled = dense * 2.0**exponent
    assert torch.equal(expand(count, dense, pattern, Group.MATRIX), expand(count, scaled, pattern, Group.MATRIX))


def test_counts_outrank_every_importance():
    count = torch.tensor([[1, 2, 1, 2]], dtype=torch.int32)
    importance = torch.tensor([[torch.finfo(torch.float32).max, 0.0, 1.0, 2.0**-149]])
    assert expand(count, importance, HALF, Group.MATRIX).tolist() == [[False, True, False, True]]


def test_neighbouring_floats_do_not_tie():
    """Every bit of the importance counts: the larger of two neighbours stays, although it stands first."""
    for value in (2.0**-149, 0.1, 1.0, 1e30):
        low = torch.tensor(value)
        high = torch.nextafter(low, torch.tensor(float("inf")))
        importance = torch.stack([high, low]).view(1, 2)
        assert expand(torch.ones(1, 2, dtype=torch.int32), importance, HALF, Group.ROW).tolist() == [[True, False]]


def test_all_ties_fall_to_the_smaller_index():
    count, importance = torch.full((2, 4), 3), torch.ones(2, 4)
    assert expand(count, importance, HALF, Group.MATRIX).tolist() == [[False] * 4, [True] * 4]
    assert expand(count, importance, HALF, Group.ROW).tolist() == [[False, False, True, True]] * 2
    assert expand(count, importance, NofM(1, 4), Group.MATRIX).tolist() == [[False, False, False, True]] * 2


def test_none_and_all():
    dense = dense_matrix(3, 4)
    members = untouched(dense, 3)
    assert server(members, dense, Unstructured(Fraction(0))).keep.all()
    assert torch.equal(server(members, dense, Unstructured(Fraction(0))).weight, dense)
    nothing = server(members, dense, Unstructured(Fraction(1)))
    assert not nothing.keep.any()
    assert not nothing.weight.any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (8, 1)])
def test_single_rows_and_columns(shape):
    dense = dense_matrix(*shape)
    for group in Group:
        found = server(untouched(dense, 3), dense, HALF, group)
        in_each = [shape[0] * shape[1]] if group is Group.MATRIX else [shape[1]] * shape[0]
        assert int((~found.keep).sum()) == sum(HALF.drop_count(size) for size in in_each)


def test_kept_sums_without_weights_are_refused():
    with pytest.raises(ValueError, match="kept weights"):
        MatrixSums.empty((1, 1), Strategy.FEDSPALLM).add(torch.ones(1, 1, dtype=torch.bool), None)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_the_inputs_are_left_alone(strategy):
    dense = dense_matrix(4, 8)
    members = updating(dense, 2)
    copies = dense.clone(), [(keep.clone(), weight.clone()) for keep, weight in members]
    sums = summed(members, (4, 8), strategy)
    count = sums.count.clone()
    found = aggregate(sums, dense, HALF)
    found.weight.add_(1.0)
    assert torch.equal(dense, copies[0])
    assert torch.equal(sums.count, count)
    for (keep, weight), (keep_before, weight_before) in zip(members, copies[1], strict=True):
        assert torch.equal(keep, keep_before)
        assert torch.equal(weight, weight_before)


@given(st.integers(0, 2**31))
def test_importance_orders_exactly_as_its_bits(seed):
    """The key of a position packs the float's bits: larger floats, subnormals included, must have larger bits."""
    exponents = torch.randint(-150, 127, (1, 16), generator=generator(seed))
    importance = torch.ldexp(torch.rand((1, 16), generator=generator(seed), dtype=torch.float64), exponents).float()
    keep = expand(torch.ones(1, 16, dtype=torch.int32), importance, HALF, Group.MATRIX)
    order = importance.view(-1).argsort(stable=True)
    assert not keep.view(-1)[order[:8]].any()
    assert keep.view(-1)[order[8:]].all()


IMPORTANCES = [0.0, -0.0, 2.0**-149, -(2.0**-149), 2.0**-126, 0.5, -0.5, 1.0, 1e30, float("inf")]


def by_one_key(count: Tensor, average: Tensor, pattern: Pattern, group: Group, frozen: Tensor | None = None) -> Tensor:
    """The rule in one number: every weight gets a key of frozen or not, C and importance, and all keys are ranked."""
    keys = (count.long() + 1) * 2**32 + average.abs().view(torch.int32)
    going = torch.zeros_like(keys, dtype=torch.bool) if frozen is None else frozen
    keys[going] = 0
    if isinstance(pattern, NofM):
        return keep_n_of_m(keys, pattern.n, pattern.m) & ~going
    if group is Group.ROW:
        return drop_lowest(keys, pattern.drop_count(keys.shape[1])) & ~going
    drop = max(pattern.drop_count(keys.numel()), int(going.sum()))
    return drop_lowest(keys.view(1, -1), drop).view(keys.shape)


@st.composite
def counted(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor | None]:
    """Count, average and perhaps frozen weights: few values or many, all counts equal or none there, ties abound."""
    shape = draw(st.integers(1, 7)), 8 * draw(st.integers(1, 4))
    random = generator(draw(st.integers(0, 2**31)))
    dtype = draw(st.sampled_from([torch.int32, torch.int64]))
    low, high = draw(st.sampled_from([(0, 1), (3, 4), (0, 2), (0, 9), (2, 4), (0, 1001)]))
    count = torch.randint(low, high, shape, generator=random).to(dtype)
    some = torch.tensor(draw(st.lists(st.sampled_from(IMPORTANCES), min_size=1, max_size=10)))
    average = some[torch.randint(0, len(some), shape, generator=random)]
    if draw(st.booleans()):
        average = torch.where(torch.rand(shape, generator=random) < 0.5, average, torch.randn(shape, generator=random))
    share = draw(st.sampled_from([None, 0.0, 0.2, 0.8, 1.0]))
    return count, average, None if share is None else torch.rand(shape, generator=random) < share


ANY_PATTERN = st.sampled_from([*PATTERNS, NofM(1, 4), NofM(4, 8), *map(Unstructured, (Fraction(0), Fraction(1)))])


@settings(max_examples=300)
@given(
    counted(), ANY_PATTERN, st.sampled_from(list(Group)), st.sampled_from([1, 20, 1 << 15]), st.sampled_from([0, 99])
)
def test_the_count_at_the_threshold_is_found_as_one_key_would(case, pattern, group, tile, few):
    count, average, frozen = case
    before = count.clone(), average.clone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expansion, "_TILE", tile)
        patch.setattr(expansion, "_EIGHT", 1)
        patch.setattr(expansion, "_FEW", few)
        keep = expand(count, average, pattern, group, frozen)
    assert torch.equal(keep, by_one_key(count, average, pattern, group, frozen))
    assert torch.equal(count, before[0]) and torch.equal(bits(average), bits(before[1]))


@given(counted(), ANY_PATTERN, st.sampled_from(list(Group)), st.booleans())
def test_the_server_step_is_its_parts(case, pattern, group, votes):
    """In one pass each over the whole matrix, without tiles and tricks with bits."""
    count, dense, frozen = case
    kept = None if votes else (dense.double() * 2).nan_to_num(posinf=1e30) * count
    average = dense if kept is None else torch.where(count > 0, l0_average(count, kept), dense)
    keep = by_one_key(count, average, pattern, group, frozen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expansion, "_TILE", 20)
        patch.setattr(expansion, "_EIGHT", 1)
        found = aggregate(MatrixSums(count, kept, 1001), dense, pattern, group, frozen)
    assert torch.equal(found.keep, keep)
    assert torch.equal(bits(found.weight), bits(average.masked_fill(~keep, 0.0)))
    assert found.histogram == [int((count == value).sum()) for value in range(1002)]
    assert found.restored == int((keep & (count == 0)).sum())


@given(counted(), ANY_PATTERN, st.sampled_from(list(Group)), st.booleans())
def test_counts_of_a_byte_are_as_good(case, pattern, group, votes):
    count, dense, frozen = case
    count = torch.where(count > 2, count.clamp(min=254, max=255), count)
    kept = None if votes else dense.double() * count
    found = [aggregate(MatrixSums(one, kept, 255), dense, pattern, group, frozen) for one in (count, count.byte())]
    assert torch.equal(found[0].keep, found[1].keep)
    assert torch.equal(bits(found[0].weight), bits(found[1].weight))
    assert (found[0].histogram, found[0].restored) == (found[1].histogram, found[1].restored)


@pytest.mark.parametrize("group", list(Group))
def test_memory_need_not_lie_in_rows(group):
    count = torch.randint(0, 4, (8, 12), generator=generator(0), dtype=torch.int32)
    average, frozen = dense_matrix(8, 12), torch.rand((8, 12), generator=generator(1)) < 0.2
    across = [tensor.T.contiguous().T for tensor in (count, average, frozen)]
    keep = expand(count, average, HALF, group, frozen)
    assert torch.equal(expand(across[0], across[1], HALF, group, across[2]), keep)
    found = aggregate(MatrixSums(across[0], None, 3), across[1], HALF, group, across[2])
    assert torch.equal(found.keep, keep) and torch.equal(found.weight, average.masked_fill(~keep, 0.0))


def test_a_matrix_of_a_real_model_is_expanded_as_one_key_would():
    dense = dense_matrix(512, 1024, dtype=torch.bfloat16).float()  # ties abound
    count = torch.randint(0, 25, (512, 1024), generator=generator(0), dtype=torch.int32)
    for group in Group:
        assert torch.equal(expand(count, dense, HALF, group), by_one_key(count, dense, HALF, group))


@pytest.mark.parametrize(("few", "reads"), [(96, 3), (95, 4)])
def test_weights_that_tie_are_read_again_only_where_they_are_many(monkeypatch, few, reads):
    """Once to see what is frozen, once or twice to find the boundary, once to decide."""
    read, rows = [], SummedTensors.rows
    monkeypatch.setattr(SummedTensors, "rows", lambda matrix, some: read.append(some) or rows(matrix, some))
    monkeypatch.setattr(expansion, "_FEW", few)
    dense = dense_matrix(8, 12)
    keep = expand(torch.ones(8, 12, dtype=torch.int32), dense, HALF, Group.MATRIX)
    assert read == [slice(0, 8)] * reads and int(keep.sum()) == 48


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("group", list(Group))
@pytest.mark.parametrize("with_frozen", [False, True])
def test_a_gpu_finds_the_same(pattern, group, with_frozen):
    dense = dense_matrix(64, 128)
    frozen = torch.rand((64, 128), generator=generator(1)) < 0.2 if with_frozen else None
    sums = summed(updating(dense, 5), (64, 128))
    here = aggregate(sums, dense, pattern, group, frozen)
    there = MatrixSums(sums.count.cuda(), sums.kept.cuda(), sums.members)
    found = aggregate(there, dense.cuda(), pattern, group, None if frozen is None else frozen.cuda())
    assert torch.equal(found.keep.cpu(), here.keep) and torch.equal(bits(found.weight.cpu()), bits(here.weight))
    assert (found.histogram, found.restored) == (here.histogram, here.restored)
