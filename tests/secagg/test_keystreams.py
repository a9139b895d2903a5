"""Keystreams: published answers through our own function, any piece alone, and a key of its own for every purpose."""

from itertools import pairwise
from pathlib import Path

import cryptography_vectors
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.keystreams import Kind, Stream, check_offset, stream_key, write_keystream
from fedspallm_secure.secagg.seeds import PRIME
from tests.secagg import reference

CONTEXT = GroupContext("lungs.example", 7, bytes(range(32)), 3)
KEY = bytes(range(32))
KEYS = st.binary(min_size=32, max_size=32)


def keystream(key: bytes, size: int, offset: int = 0) -> bytes:
    buffer = bytearray(b"\xa5" * size)  # whatever was there is overwritten
    write_keystream(key, offset, buffer)
    return bytes(buffer)


# --- published answers ------------------------------------------------------------------------------------------------

NIST_KEY = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
NIST_FIRST = 0xF0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF  # counter block
NIST_BLOCKS = [  # "Output Block" of each of the four
    "0bdf7df1591716335e9a8b15c860c502",
    "5a6e699d536119065433863c8f657b94",
    "1bc12c9c01610d5d0d8bd6a3378eca62",
    "2956e1c8693536b1bee99c73a31576b6",
]


def test_the_answers_of_sp_800_38a():
    """Appendix F.5.5, CTR-AES256.Encrypt."""
    assert keystream(NIST_KEY, 64, 16 * NIST_FIRST).hex() == "".join(NIST_BLOCKS)
    assert reference.keystream(NIST_KEY, 64, 16 * NIST_FIRST).hex() == "".join(NIST_BLOCKS)


@pytest.mark.parametrize("block", range(4))
@pytest.mark.parametrize("size", [1, 15, 16])
def test_every_block_of_sp_800_38a_alone(block, size):
    assert keystream(NIST_KEY, size, 16 * (NIST_FIRST + block)) == bytes.fromhex(NIST_BLOCKS[block])[:size]


def rfc_3686() -> list[dict[str, bytes]]:
    path = Path(cryptography_vectors.__file__).parent / "ciphers/AES/CTR/aes-256-ctr.txt"
    records: list[dict[str, bytes]] = []
    for line in path.read_text().splitlines():
        name, _, value = line.partition(" = ")
        if name == "COUNT":
            records.append({})
        elif value:
            records[-1][name] = bytes.fromhex(value)
    return records


def test_the_answers_of_rfc_3686():
    """Section 6, test vectors 7 to 9."""
    assert len(rfc_3686()) == 3
    for record in rfc_3686():
        stream = keystream(record["KEY"], len(record["PLAINTEXT"]), 16 * int.from_bytes(record["IV"], "big"))
        assert bytes(a ^ b for a, b in zip(stream, record["PLAINTEXT"], strict=True)) == record["CIPHERTEXT"]


# --- pieces -----------------------------------------------------------------------------------------------------------


@given(KEYS, st.integers(0, 70), st.integers(0, 2**44))
def test_keystreams_equal_their_twins(key, size, block):
    assert keystream(key, size, 16 * block) == reference.keystream(key, size, 16 * block)


def test_a_keystream_begins_at_counter_block_0():
    assert keystream(KEY, 16) == reference.aes256(reference._round_keys(KEY), bytes(16))


@given(st.lists(st.integers(0, 40), max_size=6).map(sorted), st.integers(0, 15))
def test_any_piece_can_be_made_alone(blocks, rest):
    whole = keystream(KEY, 16 * 40 + rest)
    cuts = [0, *(16 * block for block in blocks), len(whole)]
    assert b"".join(keystream(KEY, stop - start, start) for start, stop in pairwise(cuts)) == whole


@pytest.mark.parametrize("size", [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, (5 << 19) + 7])
def test_long_pieces_go_on_where_they_should(size):
    """Zeros are encrypted a mebibyte at a time."""
    stream = keystream(KEY, size)
    for start in {0, (1 << 20) - 32, 1 << 20, 1 << 21, size // 16 * 16}:
        assert stream[start : start + 32] == keystream(KEY, 48, start)[: len(stream[start : start + 32])]


@pytest.mark.parametrize("make", [bytearray, lambda size: memoryview(bytearray(size)), lambda n: np.zeros(n, np.uint8)])
def test_buffers_of_every_kind(make):
    buffer = make(50)
    write_keystream(KEY, 32, buffer)
    assert bytes(buffer) == keystream(KEY, 50, 32)


def test_nothing_beside_the_buffer_is_touched():
    room = bytearray(b"\xa5" * 100)
    write_keystream(KEY, 0, memoryview(room)[20:57])
    assert room[:20] == b"\xa5" * 20
    assert room[57:] == b"\xa5" * 43
    assert room[20:57] == keystream(KEY, 37)


@pytest.mark.parametrize("offset", [-16, -1, 1, 8, 15, 17])
def test_pieces_begin_with_a_block(offset):
    with pytest.raises(ValueError, match="a multiple of 16"):
        write_keystream(KEY, offset, bytearray(32))
    with pytest.raises(ValueError, match="a multiple of 16"):
        check_offset(offset)


@pytest.mark.parametrize("size", [0, 16, 24, 31, 33])
def test_keys_of_another_size_are_refused(size):
    """Of 16 and 24 bytes too, which AES would take."""
    with pytest.raises(ValueError, match="32 bytes"):
        write_keystream(bytes(size), 0, bytearray(32))


def test_what_cannot_be_written_to_is_refused():
    buffer = bytes(32)
    with pytest.raises((BufferError, TypeError, ValueError)):
        write_keystream(KEY, 0, memoryview(buffer))
    assert buffer == bytes(32)


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_key_as_it_was_once():
    """Made with tests/secagg/reference.py."""
    key = "ff3cf317d624608b98c21ffbaebe148f56ce8e43f22c6f134c7f7f45c6fc451b"
    assert stream_key(5, CONTEXT, Kind.SELF, Stream.COUNT).hex() == key


@given(
    st.integers(0, PRIME - 1),
    KEYS,
    st.integers(0, 2**32 - 1),
    st.sampled_from(list(Kind)),
    st.sampled_from(list(Stream)),
)
def test_keys_equal_their_twins(seed, plan_hash, group, kind, stream):
    key = stream_key(seed, GroupContext("lungs.example", 7, plan_hash, group), kind, stream)
    assert key == reference.stream_key(seed, plan_hash, group, kind.value, stream.value)


def test_every_bit_of_a_seed_and_its_context_gives_another_keystream():
    """Seeds of 256 bits, plan hashes of 256, groups of 32; each bit turned once, and both kinds and streams."""
    seed = int.from_bytes(bytes(range(1, 33)), "big")
    streams = [
        keystream(stream_key(seed, CONTEXT, kind, stream), 64)
        for kind in (Kind.SELF, Kind.PAIR)
        for stream in (Stream.COUNT, Stream.SUM)
    ]
    for bit in range(256):
        turned = int.from_bytes(CONTEXT.plan_hash, "big") ^ 1 << bit
        other = GroupContext("lungs.example", 7, turned.to_bytes(32, "big"), 3)
        streams.append(keystream(stream_key(seed, other, Kind.SELF, Stream.COUNT), 64))
        streams.append(keystream(stream_key(seed ^ 1 << bit, CONTEXT, Kind.SELF, Stream.COUNT), 64))
    for bit in range(32):
        other = GroupContext("lungs.example", 7, CONTEXT.plan_hash, 3 ^ 1 << bit)
        streams.append(keystream(stream_key(seed, other, Kind.SELF, Stream.COUNT), 64))
    blocks = {stream[start : start + 16] for stream in streams for start in range(0, 64, 16)}
    assert len(blocks) == 4 * len(streams) == 4 * (4 + 2 * 256 + 32)


@pytest.mark.parametrize("seed", [-1, PRIME, 2**256])
def test_what_is_no_seed_has_no_key(seed):
    with pytest.raises(ValueError, match="0 to p - 1"):
        stream_key(seed, CONTEXT, Kind.SELF, Stream.COUNT)
