"""The peer of row P7 adds the very bytes that ours adds, and row P8 stays below its target."""

import pytest

from benchmarks import p7_aggregation, p8_server_memory
from fedspallm_secure.app.rounds.vault import word_sizes
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.masking import add_keystreams
from fedspallm_secure.storage.checkpoints.layers import load_layer


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(p7_aggregation, "WIDTH", 16)
    monkeypatch.setattr(p7_aggregation, "INNER", 40)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_the_peer_adds_the_same_bytes(tmp_path, small, strategy):
    ground = p7_aggregation.Ground.make(tmp_path, 5, strategy)
    block = ground.blocks[0]
    sums, ours = ground.peer(block), ground.released(block)
    unmasking = ground.unmasking(block)
    terms = (unmasking.count_terms, unmasking.sum_terms)
    for part, size, these in zip(sums.parts, word_sizes(ours.group), terms, strict=False):
        add_keystreams(part, these, size)
    assert sums.tile_hashes == ours.streams.tile_hashes
    assert ours.figures.violations == 0 and ours.survivors == 5
    matrices, _ = load_layer(ground.write(block, ours))
    assert all(2 * int(matrix.keep.sum()) == matrix.keep.numel() for matrix in matrices.values())


def test_the_rows_say_how_far_ours_went(small, monkeypatch):
    monkeypatch.setattr(p7_aggregation, "CASES", [(5, Strategy.FEDSPALLM), (5, Strategy.VOTES)])
    rows = p7_aggregation.measure(2)
    assert [row.name for row in rows] == ["P7"] * 4 and len({row.what for row in rows}) == 4
    assert all(len(row.ratios) == 2 and row.median > 0 for row in rows)


def test_narrow_sums_are_uploads_of_fewer_bytes(tmp_path, small):
    ground = p8_server_memory.Narrow.make(tmp_path, 8, Strategy.FEDSPALLM)
    wide = p7_aggregation.Ground.group(ground, ground.blocks[0])
    group = ground.group(ground.blocks[0])
    assert (group.sum_size, group.count_size) == (wide.sum_size // 2, wide.count_size)
    ours = ground.released(ground.blocks[0])
    assert ours.figures.violations == 0 and ours.survivors == 8


@pytest.mark.slow
@pytest.mark.parametrize("strategy", list(Strategy))
def test_the_server_holds_few_uploads(strategy):
    """Votes are the smallest uploads, so that what else the server holds weighs most."""
    found = p8_server_memory.peak_of(4, 2, strategy)
    assert found.upload < found.peak and found.ratio <= 4
