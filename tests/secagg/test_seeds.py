"""Field elements, seeds of edges and commitments: one spelling, both ends equal, and bound to all of their context."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.sealing import x25519
from fedspallm_secure.errors import FormatError, WeakKey
from fedspallm_secure.secagg import seeds
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.seeds import (
    PRIME,
    End,
    decode_element,
    draw_element,
    edge_commitment,
    edge_seed,
    encode_element,
    self_commitment,
)
from tests.secagg import reference

CONTEXT = GroupContext("lungs.example", 7, bytes(range(32)), 3)
NORTH, SOUTH = End("north", bytes([1]) * 32), End("south", bytes([2]) * 32)
DH = bytes(range(100, 132))
ELEMENTS = st.integers(0, PRIME - 1)


# --- field elements ---------------------------------------------------------------------------------------------------


def test_the_prime_is_that_of_the_specification_and_prime():
    assert PRIME == 2**256 - 189 == reference.P
    odd, twos = PRIME - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for witness in range(2, 60):  # Miller and Rabin: a composite passes one round with probability 1/4
        power = pow(witness, odd, PRIME)
        assert power == 1 or any(pow(power, 2**i, PRIME) == PRIME - 1 for i in range(twos))


@given(ELEMENTS)
def test_elements_have_one_spelling(value):
    raw = encode_element(value)
    assert raw == bytes.fromhex(f"{value:064x}")
    assert decode_element(raw) == value


@pytest.mark.parametrize("value", [0, 1, PRIME - 1])
def test_the_ends_of_the_field(value):
    assert decode_element(encode_element(value)) == value


@pytest.mark.parametrize("value", [-1, PRIME, PRIME + 1, 2**256 - 1, 2**256])
def test_other_numbers_are_not_encoded_and_not_shown(value):
    with pytest.raises(ValueError, match="0 to p - 1") as caught:
        encode_element(value)
    assert str(value) not in str(caught.value)


@pytest.mark.parametrize("raw", [b"", bytes(31), bytes(33), bytes(64)])
def test_elements_of_another_size_are_refused(raw):
    with pytest.raises(FormatError, match="32 bytes"):
        decode_element(raw)


@pytest.mark.parametrize("value", [PRIME, PRIME + 1, PRIME + 188])
def test_elements_that_are_not_reduced_are_refused(value):
    with pytest.raises(FormatError, match="not below the prime"):
        decode_element(value.to_bytes(32, "big"))


def test_a_draw_is_repeated_while_it_is_too_large(monkeypatch):
    given_out = iter([PRIME, 2**256 - 1, PRIME - 1, 5])
    sizes = []

    def fake(size):
        sizes.append(size)
        return next(given_out).to_bytes(size, "big")

    monkeypatch.setattr(seeds, "random_bytes", fake)
    assert draw_element() == PRIME - 1
    assert draw_element() == 5
    assert sizes == [32] * 4


def test_draws_differ():
    assert len({draw_element() for _ in range(100)}) == 100


# --- seeds of edges ---------------------------------------------------------------------------------------------------


def test_a_seed_as_it_was_once():
    """Made with tests/secagg/reference.py."""
    expected = 0xD83E5C19ED8C8C62D4E3EB733EAF53548C5B3DB4F64DC6DEF38F5E302B898050
    assert edge_seed(DH, CONTEXT, NORTH, SOUTH) == expected


@given(
    dh=st.binary(min_size=32, max_size=32),
    federation=st.text("abc.-", min_size=1, max_size=8),
    number=st.integers(0, 2**64 - 1),
    plan_hash=st.binary(min_size=32, max_size=32),
    group=st.integers(0, 2**32 - 1),
    ids=st.lists(st.text("abc-0", min_size=1, max_size=5), min_size=2, max_size=2, unique=True).map(sorted),
    keys=st.lists(st.binary(min_size=32, max_size=32), min_size=2, max_size=2),
)
def test_seeds_equal_their_twins(dh, federation, number, plan_hash, group, ids, keys):
    first, second = zip(ids, keys, strict=True)
    seed = edge_seed(dh, GroupContext(federation, number, plan_hash, group), End(*first), End(*second))
    assert 0 <= seed < PRIME
    assert seed == reference.edge_seed(dh, federation, number, plan_hash, group, first, second)


def test_both_ends_derive_the_same_seed():
    secrets = bytes([3]) * 32, bytes([4]) * 32
    base = (9).to_bytes(32, "little")
    north, south = (End(name, x25519(secret, base)) for name, secret in zip(("north", "south"), secrets, strict=True))
    one = edge_seed(x25519(secrets[0], south.public), CONTEXT, north, south)
    other = edge_seed(x25519(secrets[1], north.public), CONTEXT, north, south)
    assert one == other
    with pytest.raises(WeakKey):
        x25519(secrets[0], bytes(32))  # a peer whose key makes the secret all zero


def changed(raw: bytes) -> bytes:
    return bytes([raw[0] ^ 1]) + raw[1:]


CONTEXTS = [
    GroupContext("lungs.exampld", 7, bytes(range(32)), 3),
    GroupContext("lungs.example", 6, bytes(range(32)), 3),
    GroupContext("lungs.example", 7 + 2**32, bytes(range(32)), 3),
    GroupContext("lungs.example", 7, changed(bytes(range(32))), 3),
    GroupContext("lungs.example", 7, bytes(range(32)), 2),
]


def test_every_part_of_the_context_gives_another_seed():
    others = [edge_seed(DH, context, NORTH, SOUTH) for context in CONTEXTS]
    others += [
        edge_seed(DH, CONTEXT, NORTH, SOUTH),
        edge_seed(changed(DH), CONTEXT, NORTH, SOUTH),
        edge_seed(DH, CONTEXT, End("norti", NORTH.public), SOUTH),
        edge_seed(DH, CONTEXT, NORTH, End("soutg", SOUTH.public)),
        edge_seed(DH, CONTEXT, End("north", changed(NORTH.public)), SOUTH),
        edge_seed(DH, CONTEXT, NORTH, End("south", changed(SOUTH.public))),
        edge_seed(DH, CONTEXT, End("north", SOUTH.public), End("south", NORTH.public)),
    ]
    assert len(set(others)) == len(others)


@pytest.mark.parametrize(("first", "second"), [(SOUTH, NORTH), (NORTH, NORTH)])
def test_ends_out_of_order_are_refused(first, second):
    with pytest.raises(ValueError, match="in order of the cohort"):
        edge_seed(DH, CONTEXT, first, second)
    with pytest.raises(ValueError, match="in order of the cohort"):
        edge_commitment(CONTEXT, first.id, second.id, 5)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_keys_and_secrets_of_another_size_are_refused(size):
    with pytest.raises(ValueError, match="Diffie-Hellman secret has 32 bytes"):
        edge_seed(bytes(size), CONTEXT, NORTH, SOUTH)
    with pytest.raises(ValueError, match="X25519 key has 32 bytes"):
        End("north", bytes(size))


# --- commitments ------------------------------------------------------------------------------------------------------


def test_commitments_as_they_were_once():
    """Made with tests/secagg/reference.py."""
    own = "00522f3916225c54b3aac92d76ef7f0c11517c61c960f18d1f4d607a73c591e9"
    edge = "ff7977e95fdc2d5561c894614ea5878d2e20d85567537dc011d5f75038ce8009"
    assert self_commitment(CONTEXT, "north", 5).hex() == own
    assert edge_commitment(CONTEXT, "north", "south", 5).hex() == edge


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1), ELEMENTS)
def test_commitments_equal_their_twins(plan_hash, group, seed):
    context = GroupContext("lungs.example", 7, plan_hash, group)
    assert self_commitment(context, "north", seed) == reference.self_commitment(plan_hash, group, "north", seed)
    assert edge_commitment(context, "north", "south", seed) == reference.edge_commitment(
        plan_hash, group, "north", "south", seed
    )


def test_commitments_fit_one_seed_and_one_place():
    others = [
        self_commitment(CONTEXT, "north", 5),
        self_commitment(CONTEXT, "north", 4),
        self_commitment(CONTEXT, "south", 5),
        self_commitment(CONTEXTS[3], "north", 5),
        self_commitment(CONTEXTS[4], "north", 5),
        edge_commitment(CONTEXT, "north", "south", 5),
        edge_commitment(CONTEXT, "north", "south", 4),
        edge_commitment(CONTEXT, "norti", "south", 5),
        edge_commitment(CONTEXT, "north", "soutg", 5),
        edge_commitment(CONTEXT, "northsou", "th", 5),
        edge_commitment(CONTEXTS[3], "north", "south", 5),
        edge_commitment(CONTEXTS[4], "north", "south", 5),
    ]
    assert len(set(others)) == len(others)


@pytest.mark.parametrize("seed", [-1, PRIME, 2**256])
def test_what_is_no_seed_is_not_committed_to(seed):
    with pytest.raises(ValueError, match="0 to p - 1"):
        self_commitment(CONTEXT, "north", seed)
    with pytest.raises(ValueError, match="0 to p - 1"):
        edge_commitment(CONTEXT, "north", "south", seed)
