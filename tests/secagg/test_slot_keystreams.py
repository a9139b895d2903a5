"""Numbers below a modulus from a keystream: equal to their twin, uniform, and different wherever anything differs."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.he.parameters import DEGREE, choose
from fedspallm_secure.secagg import slot_keystreams
from fedspallm_secure.secagg.fields import SumWord
from fedspallm_secure.secagg.slot_keystreams import CHUNK_BYTES, slot_keystream

KEY = bytes(range(32))
MODULI = [
    choose(5).plain_modulus,
    choose(15, SumWord.default(32, 15).bound).plain_modulus,
    2,
    3,
    2**40,
    2**40 + 1,
    2**62,
]


def twin(key: bytes, chunk: int, slots: int, modulus: int) -> list[int]:
    """SPEC section 24.3 in Python's integers, a word at a time."""
    encryptor = Cipher(algorithms.AES(key), modes.CTR((chunk * 2**16).to_bytes(16, "big"))).encryptor()
    found: list[int] = []
    while len(found) < slots:
        word = int.from_bytes(encryptor.update(bytes(8)), "little") % 2 ** (modulus - 1).bit_length()
        found += [word] if word < modulus else []
    return found


@pytest.mark.parametrize("modulus", MODULI)
@pytest.mark.parametrize("chunk", [0, 1, 65_535])
def test_it_is_what_the_specification_says(modulus, chunk):
    found = slot_keystream(KEY, chunk, 700, modulus)
    assert found.dtype == np.int64 and found.tolist() == twin(KEY, chunk, 700, modulus)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**16 - 1), st.integers(0, 300), st.integers(2, 2**62))
def test_it_is_its_twin_everywhere_and_fewer_slots_are_a_prefix(key, chunk, slots, modulus):
    found = slot_keystream(key, chunk, slots, modulus)
    assert found.tolist() == twin(key, chunk, slots, modulus)
    assert found[: slots // 2].tolist() == slot_keystream(key, chunk, slots // 2, modulus).tolist()


def test_one_piece_may_not_be_enough(monkeypatch):
    """Where few words count it reads on, and what it reads on is new."""
    modulus, pieces = 2**40 + 1, []  # every second word is skipped
    write = slot_keystreams.write_keystream
    monkeypatch.setattr(slot_keystreams, "write_keystream", lambda *given: pieces.append(given[1]) or write(*given))
    slots = CHUNK_BYTES // 32
    assert slot_keystream(KEY, 0, slots, modulus).tolist() == twin(KEY, 0, slots, modulus)
    assert len(pieces) == 2


@pytest.mark.parametrize("modulus", [3, 5, 12, 31])
def test_every_number_is_as_likely_as_any_other(modulus):
    """Chi-squared, within six standard deviations; words that were only reduced would be far outside for most."""
    total = 40 * 30_000
    counts = sum(np.bincount(slot_keystream(KEY, chunk, 30_000, modulus), minlength=modulus) for chunk in range(40))
    expected = total / modulus
    chi = float(((counts - expected) ** 2 / expected).sum())
    assert counts.size == modulus and abs(chi - (modulus - 1)) < 6 * (2 * (modulus - 1)) ** 0.5


def test_other_keys_and_chunks_give_other_numbers():
    first = slot_keystream(KEY, 0, DEGREE, MODULI[0])
    for other in (slot_keystream(bytes(32), 0, DEGREE, MODULI[0]), slot_keystream(KEY, 1, DEGREE, MODULI[0])):
        assert np.count_nonzero(first == other) < 3


@pytest.mark.parametrize(
    ("key", "slots", "modulus"),
    [(KEY[1:], 5, 7), (KEY, -1, 7), (KEY, CHUNK_BYTES // 32 + 1, 7), (KEY, 5, 1), (KEY, 5, 2**62 + 1)],
    ids=str,
)
def test_what_there_is_no_keystream_for(key, slots, modulus):
    with pytest.raises(ValueError, match=r"keystream|32 bytes"):
        slot_keystream(key, 0, slots, modulus)
