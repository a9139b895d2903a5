"""The peer of row P3 makes the very keystream that ours adds: otherwise the ratio would mean nothing."""

from benchmarks import p3_masking
from fedspallm_secure.secagg.masking import Term, add_keystreams

KEY = bytes(range(32))


def test_the_peer_makes_the_same_keystream():
    stream = bytearray(3 * p3_masking.MEBIBYTE)
    add_keystreams(stream, [Term(KEY, negative=False)], 1)
    for size in (1, 2, 3):
        last = stream[(size - 1) * p3_masking.MEBIBYTE : size * p3_masking.MEBIBYTE]
        assert p3_masking.keystream(KEY, size) == last


def test_both_sides_make_as_many_bytes(monkeypatch):
    made = {"peer": 0, "ours": 0}

    def keystream(key, size):
        made["peer"] += size * p3_masking.MEBIBYTE
        return bytearray()

    def add(stream, terms, word_size, workers):
        made["ours"] += len(stream) * len(terms)

    monkeypatch.setattr(p3_masking, "keystream", keystream)
    monkeypatch.setattr(p3_masking, "add_keystreams", add)
    for workers in (1, 2, 3):
        p3_masking._peer(5, 4, workers)()
        p3_masking._masking(5, 4, 4, workers)()
        assert made["peer"] == made["ours"] > 0


def test_the_rows_have_a_ratio_for_every_pair():
    rows = p3_masking.measure(2, size=2)
    assert [row.name for row in rows] == ["P3"] * len(rows)
    assert all(len(row.ratios) == 2 and row.median > 0 for row in rows)
    assert len({row.what for row in rows}) == len(rows)
