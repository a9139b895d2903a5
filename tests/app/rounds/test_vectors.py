"""From a pruned layer to a vector and from sums back, against arithmetic written out weight by weight."""

import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedspallm_secure.app.rounds import streams as module
from fedspallm_secure.app.rounds.vectors import Released, Streams, base_of, layer_streams
from fedspallm_secure.crypto.labels import Label, digest
from fedspallm_secure.errors import CorruptWeights, RecordDamaged, SumOutOfRange
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.pruning.aggregation import MatrixSums, l0_average
from fedspallm_secure.pruning.expansion import BaseArrays
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.masking import add_into
from fedspallm_secure.storage.checkpoints.layers import LayerMatrix
from tests.app.rounds.groups import NAMES, SHAPES, group, read, word
from tests.vectorkit.primitives import TILE, tree_root

Layer = dict[str, LayerMatrix]
Base = dict[str, torch.Tensor]


def made_base(seed: int = 0) -> Base:
    generator = torch.Generator().manual_seed(seed)
    base = {shape.name: torch.randn(shape.rows, shape.columns, generator=generator) for shape in SHAPES}
    base["a"][1] = 0.0  # a row of zeros has an exponent of its own
    base["b"][0, 0] = -0.0
    return base


def made_layer(base: Base, seed: int, change: float) -> Layer:
    """change: how far kept weights move from the base; what stands at dropped places is rubbish on purpose."""
    generator = torch.Generator().manual_seed(seed)
    layer = {}
    for name, weight in base.items():
        keep = torch.rand(weight.shape, generator=generator) < 0.6
        moved = weight + change * torch.randn(weight.shape, generator=generator)
        layer[name] = LayerMatrix(torch.where(keep, moved, torch.nan), keep)
    return layer


def expected(plan: GroupPlan, layer: Layer, base: Base) -> tuple[list[int], list[int], int]:
    """Bits, words and clipped values of one member, by SPEC section 12 (32 bits, or nothing to round)."""
    bits, words, clipped = [], [], 0
    for shape in plan.matrices:
        for row in range(shape.rows):
            largest = float(base[shape.name][row].abs().max())
            exponent = math.frexp(largest)[1] if largest else 0
            for column in range(shape.columns):
                kept = bool(layer[shape.name].keep[row, column])
                bits.append(int(kept))
                if plan.sums is None:
                    continue
                value = 0
                if kept:
                    delta = float(layer[shape.name].weight[row, column]) - float(base[shape.name][row, column])
                    value = round(delta * 2.0 ** (plan.sums.fraction - exponent))
                    clipped += abs(value) > plan.sums.bound
                    value = max(-plan.sums.bound, min(plan.sums.bound, value))
                words.append(value)
    return bits, words, clipped


def add_up(plan: GroupPlan, layers: list[Layer], base: Base) -> Streams:
    total = Streams.empty(plan)
    for layer in layers:
        streams, _ = layer_streams(plan, layer, base)
        add_into(total.count, streams.count, plan.counts.word.itemsize)
        if total.total is not None and streams.total is not None:
            add_into(total.total, streams.total, word(plan.sums).bits // 8)
    return total


@pytest.mark.parametrize("count_bits", [4, 8, 16])
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.01, 1.0, 300.0]))
def test_a_vector_is_what_the_formulas_say(count_bits, seed, change):
    plan, base = group(count_bits=count_bits), made_base(seed)
    layer = made_layer(base, seed, change)
    streams, clipped = layer_streams(plan, layer, base)
    bits, words, cut = expected(plan, layer, base)
    assert (*read(plan, streams), clipped) == (bits, words, cut)
    if change == 300.0:
        assert clipped > 0


def test_votes_have_no_sums_and_weights_are_not_read():
    plan, base = group(strategy=Strategy.VOTES), made_base()
    layer = made_layer(base, 1, 0.1)
    streams, clipped = layer_streams(
        plan, {n: LayerMatrix(m.weight * torch.nan, m.keep) for n, m in layer.items()}, base
    )
    assert streams.total is None and clipped == 0
    assert read(plan, streams)[0] == expected(plan, layer, base)[0]


def test_a_layer_of_other_shapes_or_a_broken_weight_makes_no_vector():
    plan, base = group(), made_base()
    layer = made_layer(base, 1, 0.1)
    with pytest.raises(RecordDamaged, match="does not hold b in the shape"):
        layer_streams(plan, {name: matrix for name, matrix in layer.items() if name != "b"}, base)
    turned = {**layer, "b": LayerMatrix(layer["b"].weight.T, layer["b"].keep.T)}
    with pytest.raises(RecordDamaged, match="does not hold b in the shape"):
        layer_streams(plan, turned, base)
    layer["c"].keep[0, 0], layer["c"].weight[0, 0] = True, torch.inf
    with pytest.raises(CorruptWeights):
        layer_streams(plan, layer, base)


def test_the_base_has_the_digest_of_the_specification_and_every_bit_counts():
    base = made_base()
    parts: list[bytes] = []
    for shape in SHAPES:
        values = b"".join(np.float32(x).tobytes() for x in base[shape.name].reshape(-1).tolist())
        parts += [shape.name.encode(), shape.rows.to_bytes(8, "little"), shape.columns.to_bytes(8, "little")]
        parts.append(hashlib.sha256(values).digest())
    assert base_of((shape, base[shape.name].split(2)) for shape in SHAPES) == digest(Label.DIGEST_BASE, *parts).hex()
    before = base_of((shape, base[shape.name].split(2)) for shape in SHAPES)
    base["b"][0, 0] = 0.0  # it was -0.0
    assert base_of((shape, base[shape.name].split(2)) for shape in SHAPES) != before


def test_hashes_are_those_of_the_streams():
    plan, base = group(), made_base()
    streams, _ = layer_streams(plan, made_layer(base, 1, 0.1), base)
    assert streams.total is not None
    count, total = streams.count.tobytes(), streams.total.tobytes()
    leaves = tuple([hashlib.sha256(b"\0" + part).digest()] for part in (count, total))
    assert streams.tile_hashes == leaves, "one tile each"
    assert streams.tile_hashes.roots == tuple(leaf.hex() for (leaf,) in leaves)
    assert streams.hash == hashlib.sha256(count + total).digest()
    votes = Streams(streams.count, None)
    assert votes.tile_hashes.roots == (streams.tile_hashes.roots[0], "*")
    assert votes.tile_hashes == (streams.tile_hashes[0], [])


@pytest.mark.parametrize("size", [1, TILE - 1, TILE, TILE + 1, 2 * TILE, 3 * TILE + 5])
def test_streams_of_several_tiles_have_the_root_over_them(size):
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    streams = Streams(data, ~data)
    for part, leaves, root in zip(streams.parts, streams.tile_hashes, streams.tile_hashes.roots, strict=True):
        raw = part.tobytes()
        tiles = [hashlib.sha256(b"\0" + raw[start : start + TILE]).digest() for start in range(0, size, TILE)]
        assert leaves == tiles
        assert root == tree_root(tiles).hex()
        assert root != hashlib.sha256(raw).hexdigest()
    assert streams.tile_hashes.roots[0] != streams.tile_hashes.roots[1]


@given(st.integers(0, 1000))
def test_sums_give_the_plain_counts_and_means_within_half_a_step(seed):
    plan, base = group(), made_base(seed)
    layers = [made_layer(base, 100 * seed + number, 0.05) for number in range(len(NAMES))]
    released = Released.of(plan, add_up(plan, layers, base), len(layers))
    assert released.figures.violations == 0
    sums, totals = released.matrix_sums(base), released.totals()
    counts = []
    for shape in SHAPES:
        plain = MatrixSums.empty((shape.rows, shape.columns), Strategy.FEDSPALLM)
        for layer in layers:
            plain.add(layer[shape.name].keep, layer[shape.name].weight)
        ours = sums[shape.name]
        assert torch.equal(ours.count, plain.count) and ours.members == len(layers)
        assert ours.kept is not None and plain.kept is not None
        kept = plain.count > 0
        largest = base[shape.name].abs().amax(dim=1)
        exponents = torch.frexp(largest)[1].double()
        step = torch.exp2(exponents - word(plan.sums).fraction)[:, None].expand(kept.shape)
        apart = (l0_average(ours.count, ours.kept).double() - plain.kept / plain.count.clamp(min=1)).abs()
        rounding = base[shape.name].abs().max() * 2.0**-22
        assert bool((apart[kept] <= step[kept] / 2 + rounding).all())
        assert bool((totals[shape.name][~kept] == 0).all())
        counts += plain.count.reshape(-1).tolist()
    assert released.figures.unanimous == sum(c in (0, len(layers)) for c in counts)
    assert released.figures.single == counts.count(1)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_weights_that_nobody_changed_come_back_bit_for_bit(strategy):
    plan, base = group(strategy=strategy), made_base()
    layers = [made_layer(base, number, 0.0) for number in range(len(NAMES))]
    sums = Released.of(plan, add_up(plan, layers, base), len(layers)).matrix_sums(base)
    for name, found in sums.items():
        if found.kept is None:
            assert strategy is Strategy.VOTES
            continue
        mean, kept = l0_average(found.count, found.kept), found.count > 0
        assert torch.equal(mean[kept].view(torch.int32), base[name][kept].view(torch.int32)), "-0.0 stays -0.0"


def spoil(streams: Streams, plan: GroupPlan, where: str) -> None:
    """Change an unmasked sum where honest members could not have."""
    assert streams.total is not None
    counts, _ = read(plan, streams)
    nobody, words = counts.index(0), streams.total.view(word(plan.sums).signed)
    match where:
        case "a count above the survivors":
            streams.count[0] |= 15
        case "a sum where nobody kept the weight":
            words[nobody] = 1
        case "a sum beyond count times bound":
            words[counts.index(1)] = word(plan.sums).bound + 1
        case "the half byte after the last weight":
            streams.count[-1] |= 0x10


@pytest.mark.parametrize(
    "where",
    [
        "a count above the survivors",
        "a sum where nobody kept the weight",
        "a sum beyond count times bound",
        "the half byte after the last weight",
    ],
)
def test_what_honest_members_cannot_add_up_to_is_noticed(where):
    plan, base = group(), made_base()
    layers = [made_layer(base, number, 0.05) for number in (1, 2)]
    streams = add_up(plan, layers, base)
    assert Released.of(plan, streams, 2).figures.violations == 0
    spoil(streams, plan, where)
    released = Released.of(plan, streams, 2)
    assert released.figures.violations == 1
    with pytest.raises(SumOutOfRange, match="R6: group 0: 1 sums are out of range"):
        released.matrix_sums(base)


def test_a_change_within_the_range_is_not_noticed_here_and_changes_the_mean():
    """SPEC section 18: that the sums are right is not claimed."""
    plan, base = group(), made_base()
    layers = [made_layer(base, number, 0.05) for number in range(3)]
    streams = add_up(plan, layers, base)
    before = Released.of(plan, streams, 3).matrix_sums(base)
    counts, _ = read(plan, streams)
    assert streams.total is not None
    streams.total.view(word(plan.sums).signed)[counts.index(3)] += 1 << 20
    released = Released.of(plan, streams, 3)
    assert released.figures.violations == 0
    after = released.matrix_sums(base)
    assert any(not torch.equal(before[name].kept, after[name].kept) for name in before)  # type: ignore[arg-type]


@pytest.mark.parametrize("strategy", list(Strategy))
def test_tiles_change_nothing(monkeypatch, strategy):
    plan, base = group(strategy=strategy), made_base()
    layers = [made_layer(base, number, 0.05) for number in range(len(NAMES))]
    streams = add_up(plan, layers, base)
    whole = Released.of(plan, streams, len(layers)).figures
    monkeypatch.setattr(module, "_TILE", 2)
    tiled = Released.of(plan, streams, len(layers)).figures
    assert (tiled.violations, tiled.unanimous, tiled.single) == (0, whole.unanimous, whole.single)
    assert whole.unanimous > 0 and whole.single > 0
    counts, _ = read(plan, streams)
    for place in range(plan.weights):  # wherever it is, in whichever tile
        byte, shift = place // 2, 4 * (place % 2)
        old = int(streams.count[byte])
        streams.count[byte] = old & ~(15 << shift) & 255 | 15 << shift
        assert Released.of(plan, streams, len(layers)).figures.violations == 1, place
        streams.count[byte] = old
    assert counts == read(plan, streams)[0]


@pytest.mark.parametrize("strategy", list(Strategy))
def test_rows_are_what_the_sums_come_to_and_weights_are_read_when_asked_for(strategy):
    plan, base = group(strategy=strategy), made_base()
    layers = [made_layer(base, number, 0.05) for number in range(len(NAMES))]
    released, asked = Released.of(plan, add_up(plan, layers, base), len(layers)), []
    sums = released.matrix_sums(base)

    class Asked(BaseArrays):
        def weights(self, rows: slice) -> NDArray[np.float32]:
            asked.append(rows)
            return super().weights(rows)

    for name, made in released.matrices().items():
        matrix = made(Asked(base[name].numpy()))
        assert matrix.shape == tuple(base[name].shape) and np.array_equal(
            matrix.histogram, np.bincount(sums[name].count.reshape(-1), minlength=len(layers) + 1)
        )
        count = sums[name].count
        for span in [slice(start, start + 1) for start in range(matrix.shape[0])] + [slice(0, matrix.shape[0])]:
            asked.clear()
            rows = matrix.rows(span)
            assert np.array_equal(rows.count, count[span].numpy()) and rows.before is None and asked == []
            found, kept = rows.average(np.arange(rows.count.size)), sums[name].kept
            assert asked == [span]
            expected = base[name][span]
            if strategy is Strategy.FEDSPALLM:
                expected = torch.where(count[span] > 0, l0_average(count[span], kept[span]), expected)
            assert np.array_equal(found.view(np.int32), expected.reshape(-1).numpy().view(np.int32))
