"""P14: both sides do the same work, and its rows say what they are of."""

import numpy as np

from benchmarks import p14_he
from fedspallm_secure.he import bfv
from fedspallm_secure.he.parameters import choose


def test_both_sides_encrypt_the_same_slots():
    ground = p14_he.Ground(choose(15), 2)
    assert [len(slots) for slots in ground.slots] == [4096, 4096]
    opened = [ground.library.bfv_vector_from(ground.secret, chunk).decrypt() for chunk in ground.sent]
    modulus = ground.parameters.plain_modulus
    ours = [(np.array(numbers) - added) % modulus for numbers, added in zip(opened, ground.keystream(), strict=True)]
    assert [numbers.tolist() for numbers in ours] == [slots.tolist() for slots in ground.slots]


def test_both_sides_add_as_many(monkeypatch):
    ground, added = p14_he.Ground(choose(15), 1), []
    monkeypatch.setattr(bfv, "add", lambda *arguments: added.append(len(arguments[2])) or iter(()))
    ground.add()
    assert added == [p14_he.ADDED]


def test_the_rows_have_a_ratio_for_every_pair():
    rows = p14_he.measure(2, chunks=2)
    assert [row.name for row in rows] == ["P14"] * 4
    assert all(len(row.ratios) == 2 and row.median > 0 for row in rows)
    assert len({row.what for row in rows}) == len(rows)
    assert all(float(row.figures["bytes per slot"]) < 17 for row in rows)
