"""Encrypted vectors as they travel: places, what is added up and looked at, and what comes out of a sum."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.app.rounds.ciphers import (
    added,
    check_sums,
    check_vector,
    chunk_in,
    chunks_in,
    decrypted,
    encrypted,
    joined,
    parameters_of,
    place_of,
)
from fedspallm_secure.errors import (
    CiphertextRefused,
    ContributionRefused,
    FormatError,
    SumOutOfRange,
    UnmaskingDeclined,
)
from fedspallm_secure.he import bfv
from fedspallm_secure.he.keys import SecretKey
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.secagg.thresholds import Profile
from tests.clear_cipher import clear, slots_in
from tests.federation import TinyWork, plain_sum
from tests.protocol.rounds.member_stage import MEMBERS, group

WEIGHTS = 4096 * 2 + 77


def made(sums: bool = True, weights: int = WEIGHTS) -> GroupPlan:
    found = group(0, MEMBERS, Profile.ONE_TRIP, sums)
    per_chunk = parameters_of(found).per_slot
    return replace(found, matrices=(MatrixShape("up", 1, (weights - 77) * per_chunk + 77),))


GROUP, VOTES = made(), made(False)
TILE = GROUP.upload_tile


def key_of(member: str) -> bytes:
    """Of the member's keystream."""
    return sha256(member.encode()).digest()


KEYS = [key_of(member) for member in MEMBERS[:4]]


def streams(found: GroupPlan, member: str):
    return TinyWork(1, member, {}).streams(found)[0]


def vector(found: GroupPlan, member: str, public: bytes = b"") -> bytes:
    return joined(encrypted(found, streams(found, member), public, key_of(member)), found).tobytes()


@pytest.fixture
def cleared() -> Iterator[None]:
    with clear():
        yield


def split(whole: bytes) -> list[bytes]:
    return [whole[start : start + TILE] for start in range(0, len(whole), TILE)]


# Places


def test_a_place_is_its_length_its_chunk_and_zeros():
    place = place_of(GROUP, b"chunk")
    assert place == b"\x05\x00\x00\x00chunk" + bytes(TILE - 9) and chunk_in(GROUP, place) == b"chunk"
    assert TILE == 66_564, "as SPEC section 24.3 has it"


@pytest.mark.parametrize(
    "place",
    [
        b"",
        bytes(TILE - 1),
        place_of(GROUP, b"chunk")[:-1],
        place_of(GROUP, b"chunk") + b"\x00",
        place_of(GROUP, b"chunk")[:-1] + b"\x01",
        b"\x04\x00\x00\x00chunk" + bytes(TILE - 9),
        (TILE - 3).to_bytes(4, "little") + bytes(TILE - 4),
        b"\xff" * TILE,
    ],
    ids=range(8),
)
def test_places_that_nobody_writes(place):
    with pytest.raises(FormatError):
        chunk_in(GROUP, place)


@given(st.binary(max_size=40), st.integers(0, 60), st.integers(0, 255))
def test_whatever_is_read_from_a_place_is_written_as_it_was(chunk, at, value):
    data = bytearray(place_of(GROUP, chunk))
    data[at] = value
    try:
        found = chunk_in(GROUP, bytes(data))
    except FormatError:
        return
    assert place_of(GROUP, found) == data


def test_vectors_are_whole():
    whole = b"".join(place_of(GROUP, bytes([number])) for number in range(3))
    assert list(chunks_in(GROUP, BytesIO(whole))) == [b"\x00", b"\x01", b"\x02"]
    for bad in (whole[:-1], whole[:-TILE], whole + b"\x00", b""):
        with pytest.raises(FormatError):
            list(chunks_in(GROUP, BytesIO(bad)))


# Sums


@pytest.mark.parametrize("found", [GROUP, VOTES], ids=["sums", "votes"])
def test_what_comes_out_is_the_plain_sum(cleared, found):
    sources = {member: BytesIO(vector(found, member)) for member in MEMBERS[:4]}
    places = list(added(found, b"", sources))
    assert len(b"".join(places)) == found.upload_size
    out = decrypted(found, SecretKey(b"key"), places, KEYS)
    expected = plain_sum(found, (streams(found, member) for member in MEMBERS[:4]))
    assert out.tile_hashes == expected.tile_hashes


def test_a_sum_of_more_than_is_said_is_out_of_range(cleared):
    places = list(added(VOTES, b"", {member: BytesIO(vector(VOTES, member)) for member in MEMBERS}))
    with pytest.raises(SumOutOfRange):
        decrypted(VOTES, SecretKey(b"key"), places, KEYS[:1])


@pytest.mark.parametrize("found", [GROUP, VOTES], ids=["sums", "votes"])
def test_of_anything_but_the_sum_of_their_vectors_nothing_comes_out(cleared, found):
    """One vector alone, one left out, one twice; and the right sum with the keystreams of others."""
    vectors = {member: vector(found, member) for member in MEMBERS[:4]}
    whole = list(added(found, b"", {member: BytesIO(data) for member, data in vectors.items()}))
    for members in (MEMBERS[:1], MEMBERS[:3], (*MEMBERS[:3], MEMBERS[0])):
        sources = {str(number): BytesIO(vectors[member]) for number, member in enumerate(members)}
        with pytest.raises(SumOutOfRange):
            decrypted(found, SecretKey(b"key"), list(added(found, b"", sources)), KEYS)
    for keys in (KEYS[::-1][:3], [*KEYS[:3], key_of("west")], [*KEYS[:3], KEYS[0]]):
        with pytest.raises(SumOutOfRange):
            decrypted(found, SecretKey(b"key"), whole, keys)


def test_what_does_come_out_of_something_else_is_the_sum_and_what_was_known_before(cleared):
    """Votes of a cohort that fills n_max: nearly every number is one that members can have made.

    The victim's vector is shown as the sum.  What comes out, with all that the server has, gives the sum and no more.
    """
    parameters = parameters_of(VOTES)
    found = replace(VOTES, matrices=(MatrixShape("up", 1, parameters.per_slot * 50),))
    vectors = {member: vector(found, member) for member in MEMBERS}
    keys = [key_of(member) for member in MEMBERS]
    known = {member: covered(parameters, vectors[member])[:50] for member in MEMBERS}
    shown = decrypted(found, SecretKey(b"key"), [vectors["mid"]], keys)
    digits = np.array([parameters.base**digit for digit in range(parameters.per_slot)])
    keep = found.counts.unpack(shown.count, found.weights).astype(int)
    slots = keep.reshape(50, -1) @ digits
    rest = (slots - known["mid"] + sum(known.values())) % parameters.plain_modulus
    honest = plain_sum(found, (streams(found, member) for member in MEMBERS))
    truth = found.counts.unpack(honest.count, found.weights).astype(int)
    assert keep.tolist() != truth.tolist()
    assert rest.tolist() == (truth.reshape(50, -1) @ digits).tolist()


def covered(parameters, places: bytes):
    """The slots that somebody with the secret BFV key sees in a vector of one chunk."""
    return slots_in(parameters, chunk_in(VOTES, places))


def test_who_sent_what_cannot_be_added_is_named(cleared):
    good = vector(GROUP, "mid")
    bad = place_of(GROUP, b"no ciphertext") + good[TILE:]
    with pytest.raises(CiphertextRefused, match="group 0, of east, mid in this order"):
        list(added(GROUP, b"", {"east": BytesIO(good), "mid": BytesIO(bad)}))


def test_chunks_that_add_up_pass_and_their_twins_do_not(cleared):
    vectors = [split(vector(GROUP, member)) for member in MEMBERS]
    total = list(added(GROUP, b"", {member: BytesIO(vector(GROUP, member)) for member in MEMBERS}))
    for chunks in ((0,), (1, 2), (0, 1, 2)):
        opened = [[places[chunk] for chunk in chunks] for places in vectors]
        shown = [total[chunk] for chunk in chunks]
        check_sums(GROUP, b"", opened, shown)
        for bad_opened, bad_shown in (
            (opened[1:], shown),
            ([*opened[1:], opened[1]], shown),
            (opened, [vectors[0][chunks[0]], *shown[1:]]),
            ([[places[(chunk + 1) % 3] for chunk in chunks] for places in vectors], shown),
        ):
            with pytest.raises(UnmaskingDeclined, match="does not add up") as found:
                check_sums(GROUP, b"", bad_opened, bad_shown)
            assert found.value.check == "K8"


def test_s9_looks_at_every_place_and_names_the_member(cleared):
    good = vector(GROUP, "mid")
    check_vector(GROUP, b"", BytesIO(good), "mid")
    for bad in (good[:-1], good + b"\x00", good[:TILE], place_of(GROUP, b"x") + good[TILE:], good[:-1] + b"\x01"):
        with pytest.raises(ContributionRefused) as found:
            check_vector(GROUP, b"", BytesIO(bad), "mid")
        assert found.value.check == "S9" and found.value.named == ("mid",)


# With TenSEAL


def test_real_ciphertexts_go_the_same_way():
    """Keys, places, S9, sums, K8 and what comes out; and another key's ciphertext is refused or out of range."""
    pytest.importorskip("_tenseal_cpp")
    small = replace(GROUP, matrices=(MatrixShape("up", 1, 100),))
    pair = bfv.generate(parameters_of(small))
    vectors = {member: vector(small, member, pair.public) for member in MEMBERS[:4]}
    check_vector(small, pair.public, BytesIO(vectors["mid"]), "mid")
    places = list(added(small, pair.public, {member: BytesIO(data) for member, data in vectors.items()}))
    check_sums(small, pair.public, [[data] for data in vectors.values()], places)
    out = decrypted(small, pair.secret, places, KEYS)
    assert out.tile_hashes == plain_sum(small, (streams(small, member) for member in vectors)).tile_hashes
    with pytest.raises(UnmaskingDeclined):
        check_sums(small, pair.public, [[data] for data in list(vectors.values())[1:]], places)
    with pytest.raises((SumOutOfRange, CiphertextRefused)):
        decrypted(small, pair.secret, [place_of(small, bytes(50_000))], KEYS)
    pair.secret.wipe()
    with pytest.raises(ValueError, match="wiped"):
        decrypted(small, pair.secret, places, KEYS)
