"""What server and key holder say to each other: forms, sizes, and which chunks are drawn."""

from collections import Counter
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.encoding import canonical_json, parse_canonical_json
from fedspallm_secure.crypto.merkle import Tree, leaf_hash
from fedspallm_secure.errors import FedSpaError, FormatError
from fedspallm_secure.he.parameters import CHUNKS_LIMIT
from fedspallm_secure.protocol.rounds.decrypting import (
    HEADER_LIMIT,
    Challenge,
    DecryptRequest,
    OpenedChunk,
    draw_chunks,
    encode_opened,
    header_length,
    opened_sizes,
    opening_size,
    parse_opened,
    path_length,
    sample_size,
)
from tests.protocol.rounds.altering import HEX, faults, near
from tests.protocol.rounds.holder_stage import CHUNKS, deal, group_of, list_of, opened
from tests.protocol.rounds.member_stage import MEMBERS

REQUEST = DecryptRequest(list_of(), tuple(deal(0, one) for one in MEMBERS))
HEADER = REQUEST.encode()[4:]
VALUE = parse_canonical_json(HEADER, "it")
CHALLENGE = {"root": HEX, "chunks": "0540"}  # 0, 2 and 14

# Requests


def test_a_request_reads_back():
    assert header_length(REQUEST.encode()[:4]) == len(HEADER)
    assert DecryptRequest.parse(HEADER) == REQUEST
    assert list(VALUE) == ["deals", "survivors"] and [one["id"] for one in VALUE["deals"]] == list(MEMBERS)


def test_requests_with_one_fault():
    """Which deals there are, and in which order, K6 decides."""
    accepted = set()
    for what, value in faults(VALUE):
        try:
            found = DecryptRequest.parse(canonical_json(value))
        except FedSpaError:
            continue
        assert found.encode()[4:] == canonical_json(value)
        accepted.add(what)
    assert all("deals" in what for what in accepted)


@pytest.mark.parametrize(
    "start", [b"", b"\x01\x00\x00", bytes(4), (HEADER_LIMIT + 1).to_bytes(4, "little"), b"\xff" * 4]
)
def test_lengths_that_no_header_has(start):
    with pytest.raises(FormatError):
        header_length(start)


@given(near(VALUE))
def test_whatever_request_is_read_is_written_as_it_was(value):
    try:
        found = DecryptRequest.parse(canonical_json(value))
    except FedSpaError:
        return
    assert parse_canonical_json(found.encode()[4:], "it") == value


# Challenges


def test_a_challenge_is_a_bit_set():
    made = Challenge(HEX, (0, 2, 14))
    assert parse_canonical_json(made.encode(), "it") == CHALLENGE
    assert Challenge.parse(made.encode()) == made


@pytest.mark.parametrize(
    "chunks", ["", "00", "0500", "05 ", "5", "0x05", "054", "054O", "0" * (CHUNKS_LIMIT // 4) + "01", "05Ab"]
)
def test_challenges_in_another_spelling_or_without_end(chunks):
    with pytest.raises(FormatError):
        Challenge.parse(canonical_json({**CHALLENGE, "chunks": chunks}))


@pytest.mark.parametrize("chunks", [(), (-1, 2), (2, 1), (1, 1)])
def test_challenges_that_cannot_be_made(chunks):
    with pytest.raises(FormatError):
        Challenge(HEX, chunks)


def test_the_largest_vector_can_be_asked_for_whole():
    made = Challenge(HEX, tuple(range(CHUNKS_LIMIT)))
    assert Challenge.parse(made.encode()) == made


@given(st.sets(st.integers(0, 300), min_size=1))
def test_every_set_of_chunks_reads_back(chunks):
    made = Challenge(HEX, tuple(sorted(chunks)))
    assert Challenge.parse(made.encode()) == made


@given(near(CHALLENGE))
def test_whatever_challenge_is_read_is_written_as_it_was(value):
    try:
        found = Challenge.parse(canonical_json(value))
    except FormatError:
        return
    assert parse_canonical_json(found.encode(), "it") == value


# Samples


@pytest.mark.parametrize(("chunks", "sample", "size"), [(1, 1, 1), (20, 50, 1), (21, 50, 2), (40, 1000, 40), (7, 1, 1)])
def test_how_many_are_drawn(chunks, sample, size):
    assert sample_size(chunks, sample) == size
    found = draw_chunks(chunks, sample)
    assert len(found) == size and list(found) == sorted(set(found)) and 0 <= found[0] <= found[-1] < chunks


@given(st.integers(1, 500), st.integers(1, 1000))
def test_the_sample_is_never_smaller_than_asked(chunks, sample):
    assert sample_size(chunks, sample) == max(1, ceil(chunks * sample / 1000))
    assert len(set(draw_chunks(chunks, sample))) == sample_size(chunks, sample)


def test_every_set_is_drawn_about_as_often():
    """Ten sets of two among five chunks, 4,000 times: 6.5 standard deviations around 400."""
    found = Counter(draw_chunks(5, 400) for _ in range(4000))
    assert len(found) == 10 and all(277 < number < 523 for number in found.values())


# Openings


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 100])
def test_paths_are_as_long_as_said(size):
    tree = Tree([leaf_hash(bytes([number])) for number in range(size)])
    for index in range(size):
        assert path_length(index, size) == len(tree.inclusion(index, size))


def test_what_is_opened_reads_back_and_is_where_it_was_signed():
    group, tree = group_of(), Tree()
    for chunk in range(CHUNKS):
        tree.append(leaf_hash(opened(0, "mid", chunk).slot))
    for chunk in range(CHUNKS):
        made = opened(0, "mid", chunk)
        data = encode_opened(made)
        found = parse_opened(group, chunk, data)
        assert found == made and found.is_under(tree.root(), chunk, CHUNKS)
        others = [other for other in range(CHUNKS) if other != chunk]
        assert not any(found.is_under(tree.root(), other, CHUNKS) for other in others)
        changed = OpenedChunk(made.slot[:-1] + bytes([made.slot[-1] ^ 1]), made.path)
        assert not changed.is_under(tree.root(), chunk, CHUNKS)
        for length in (len(data) - 1, len(data) + 1, 0):
            with pytest.raises(FormatError):
                parse_opened(group, chunk, bytes(length))


def test_an_opening_has_every_chunk_of_every_survivor_and_nothing_else():
    group = group_of()
    sizes = list(opened_sizes(group, MEMBERS[:4], (1, 3)))
    assert [(chunk, member) for chunk, member, _ in sizes] == [(chunk, one) for chunk in (1, 3) for one in MEMBERS[:4]]
    assert sum(size for _, _, size in sizes) == opening_size(group, 4, (1, 3)) == 8 * (group.upload_tile + 2 * 32)
