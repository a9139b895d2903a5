"""Masked vectors: equal to the slow twin, cancelling to the plain sum, even, and the same however they are cut."""

import hashlib
import threading
import tracemalloc
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.secagg import masking
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.keystreams import Stream
from fedspallm_secure.secagg.masking import TILE, Term, add_into, add_keystreams, member_terms, unmask_terms
from tests.secagg import reference

CONTEXT = GroupContext("lungs.example", 7, bytes(range(32)), 3)
TERMS = [Term(bytes([1]) * 32, False), Term(bytes([2]) * 32, True), Term(bytes([3]) * 32, False)]
WORD_SIZES = [1, 2, 4]


def masked(plain: bytes, terms: list[Term], word_size: int, offset: int = 0, workers: int | None = 1) -> bytes:
    stream = bytearray(plain)
    add_keystreams(stream, terms, word_size, offset, workers)
    return bytes(stream)


def twin(plain: bytes, terms: list[Term], word_size: int, offset: int = 0) -> bytes:
    for term in terms:
        stream = reference.keystream(term.key, len(plain), offset)
        plain = reference.add(plain, stream, word_size, -1 if term.negative else 1)
    return plain


def pattern(size: int) -> bytes:
    return hashlib.shake_256(b"pattern").digest(size)


# --- the twin, and answers to keep ------------------------------------------------------------------------------------


@given(
    plain=st.integers(1, 300).map(lambda size: pattern(size)),
    terms=st.lists(st.builds(Term, st.binary(min_size=32, max_size=32), st.booleans()), max_size=4),
    word_size=st.sampled_from(WORD_SIZES),
    block=st.integers(0, 2**40),
    workers=st.sampled_from([1, 3, None]),
)
def test_streams_equal_their_twins(plain, terms, word_size, block, workers):
    """In tiles of 64 bytes, so that most streams have several and end within one, within a block and within a word."""
    with mock.patch.object(masking, "TILE", 64):
        result = masked(plain, terms, word_size, 16 * block, workers)
    assert result == twin(plain, terms, word_size, 16 * block)


@given(
    plain=st.binary(min_size=1, max_size=80),
    own=st.integers(0, 5),
    self_seed=st.integers(0, reference.P - 1),
    edges=st.dictionaries(st.integers(0, 5), st.integers(0, reference.P - 1), max_size=5),
    word_size=st.sampled_from(WORD_SIZES),
    stream=st.sampled_from(list(Stream)),
)
def test_masked_vectors_equal_their_twins(plain, own, self_seed, edges, word_size, stream):
    edges.pop(own, None)
    terms = member_terms(CONTEXT, self_seed, [(seed, neighbour < own) for neighbour, seed in edges.items()], stream)
    expected = reference.masked_vector(plain, word_size, CONTEXT.plan_hash, 3, stream.value, own, self_seed, edges)
    assert masked(plain, terms, word_size) == expected


KNOWN = {
    1: "2bca3fb5f483aece47c7b16c829d443a1fe9db62647c43a258dec8c3ffbdb3c6e87840c6cd811bbf",
    2: "795502a08693f8cb8dea00b2b9fa12c6b0bd60b80bdefab3cae03822ff3246e334209845bcb3383c",
    4: "795503a08693f9cb8dea00b2b9fa12c6b0bd61b80bdefbb3cae03922ff3248e334209945bcb3383c",
}


@pytest.mark.parametrize("word_size", WORD_SIZES)
def test_a_masked_vector_as_it_was_once(word_size):
    """The second of three members; made with tests/secagg/reference.py.  Words are little-endian on every machine."""
    stream = Stream.COUNT if word_size == 1 else Stream.SUM
    terms = member_terms(CONTEXT, 1001, [(1002, True), (1003, False)], stream)
    assert masked(bytes(range(200, 240)), terms, word_size).hex() == KNOWN[word_size]


def test_words_wrap_around_and_nothing_is_carried_into_the_next():
    with mock.patch.object(masking, "write_keystream", lambda key, offset, buffer: buffer.fill(key[0])):
        assert masked(b"\xff\xff\x00\x00\xff\xff\xff\xff", TERMS[:1], 1).hex() == "0000010100000000"
        assert masked(b"\xff\xff\x00\x00\xff\xff\xff\xff", TERMS[:1], 2).hex() == "0001010100010001"
        assert masked(b"\xff\xff\x00\x00\xff\xff\xff\xff", TERMS[:1], 4).hex() == "0001020100010101"
        assert masked(b"\x00\x00\x00\x00\x02\x02", TERMS[1:2], 2).hex() == "fefdfefd0000"
        assert masked(b"\x00\x00\x00\x00\x00\x00\x00", TERMS[1:2], 4).hex() == "fefdfdfdfefdfd"


# --- cancelling -------------------------------------------------------------------------------------------------------


class Cohort:
    """n members that are all neighbours, with their vectors, seeds and masked vectors."""

    def __init__(self, n: int, word_size: int, stream: Stream, size: int = 92) -> None:
        self.n, self.word_size, self.stream = n, word_size, stream
        self.plain = [hashlib.shake_256(b"vector %d" % i).digest(size) for i in range(n)]
        self.self_seeds = [10_000 + i for i in range(n)]
        self.masked = [masked(self.plain[i], self.terms(i), word_size) for i in range(n)]

    def edge(self, i: int, j: int) -> tuple[int, bool]:
        """Seed of the edge, the same from both ends, and whether i subtracts."""
        return 100 * min(i, j) + max(i, j), j < i

    def terms(self, i: int) -> list[Term]:
        edges = [self.edge(i, j) for j in range(self.n) if j != i]
        return member_terms(CONTEXT, self.self_seeds[i], edges, self.stream)

    def summed(self, vectors: list[bytes], members: list[int]) -> bytes:
        total = bytearray(len(vectors[0]))
        for i in members:
            add_into(total, vectors[i], self.word_size)
        return bytes(total)

    def unmasking(self, survivors: list[int]) -> list[Term]:
        dropped = [k for k in range(self.n) if k not in survivors]
        edges = [self.edge(i, k) for i in survivors for k in dropped]
        return unmask_terms(CONTEXT, [self.self_seeds[i] for i in survivors], edges, self.stream)


@pytest.mark.parametrize("word_size", WORD_SIZES)
@pytest.mark.parametrize("n", range(3, 9))
def test_without_dropouts_the_self_keystreams_are_all_that_is_left(n, word_size):
    cohort = Cohort(n, word_size, Stream.SUM)
    everybody = list(range(n))
    terms = cohort.unmasking(everybody)
    assert len(terms) == n
    total = masked(cohort.summed(cohort.masked, everybody), terms, word_size)
    assert total == cohort.summed(cohort.plain, everybody)


@given(st.data())
def test_with_dropouts_the_sum_of_the_survivors_is_left(data):
    n = data.draw(st.integers(3, 8))
    survivors = sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1)))
    cohort = Cohort(n, data.draw(st.sampled_from(WORD_SIZES)), data.draw(st.sampled_from(list(Stream))))
    total = masked(cohort.summed(cohort.masked, survivors), cohort.unmasking(survivors), cohort.word_size)
    assert total == cohort.summed(cohort.plain, survivors)


def turned(term: Term) -> list[Term]:
    return [Term(term.key, not term.negative)]


@pytest.mark.parametrize("instead", [lambda term: [], turned], ids=["missing", "wrong sign"])
def test_a_single_term_that_is_wrong_leaves_noise(instead):
    cohort = Cohort(5, 4, Stream.SUM)
    survivors = [0, 2, 4]
    terms = cohort.unmasking(survivors)
    assert len(terms) == 3 + 3 * 2
    total, plain = cohort.summed(cohort.masked, survivors), cohort.summed(cohort.plain, survivors)
    for place, term in enumerate(terms):
        result = masked(total, [*terms[:place], *instead(term), *terms[place + 1 :]], 4)
        assert sum(a == b for a, b in zip(result, plain, strict=True)) < len(plain) // 4


def test_the_seeds_of_one_stream_do_not_open_the_other():
    cohort = Cohort(3, 4, Stream.SUM)
    counts = Cohort(3, 4, Stream.COUNT)
    total = cohort.summed(cohort.masked, [0, 1, 2])
    assert masked(total, counts.unmasking([0, 1, 2]), 4) != cohort.summed(cohort.plain, [0, 1, 2])


# --- however it is cut ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word_size", WORD_SIZES)
def test_a_piece_alone_is_what_it_is_in_the_whole(word_size):
    plain = pattern(5000)
    whole = masked(plain, TERMS, word_size)
    for start, stop in ((0, 16), (16, 1600), (1600, 1616), (1616, 4992), (4992, 5000)):
        assert masked(plain[start:stop], TERMS, word_size, offset=start) == whole[start:stop]


@pytest.mark.parametrize("size", [TILE - 1, TILE, TILE + 1, 3 * TILE + 20])
def test_tiles_and_threads_change_nothing(size):
    plain = pattern(size)
    whole = masked(plain, TERMS, 4, workers=1)
    assert masked(plain, TERMS, 4, workers=2) == masked(plain, TERMS, 4, workers=None) == whole
    with mock.patch.object(masking, "TILE", 8 * TILE):
        assert masked(plain, TERMS, 4) == whole


MAKERS = [bytearray, lambda raw: memoryview(bytearray(raw)), lambda raw: np.array(list(raw), np.uint8)]


@pytest.mark.parametrize("make", MAKERS)
def test_buffers_of_every_kind(make):
    stream, total = make(pattern(50)), make(pattern(50))
    add_keystreams(stream, TERMS, 2)
    assert bytes(stream) == twin(pattern(50), TERMS, 2)
    add_into(total, stream, 2)
    assert bytes(total) == reference.add(pattern(50), bytes(stream), 2)


def test_nothing_beside_the_buffer_is_touched():
    room = bytearray(pattern(100))
    add_keystreams(memoryview(room)[21:58], TERMS, 4)  # not aligned to words
    assert room == pattern(100)[:21] + twin(pattern(100)[21:58], TERMS, 4) + pattern(100)[58:]


def test_without_terms_nothing_changes():
    assert masked(pattern(50), [], 4) == pattern(50)


def test_memory_is_a_tile_for_each_worker():
    stream = np.zeros(12 * TILE, np.uint8)
    tracemalloc.start()
    try:
        add_keystreams(stream, TERMS, 4, workers=2)
        add_into(stream, stream, 4)
        assert tracemalloc.get_traced_memory()[1] < 2 * TILE + (1 << 18)
    finally:
        tracemalloc.stop()


# --- progress and errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_is_told_in_the_calling_thread(workers):
    told: list[tuple[int, threading.Thread]] = []
    stream = bytearray(3 * TILE + 20)
    add_keystreams(stream, TERMS, 4, workers=workers, advance=lambda n: told.append((n, threading.current_thread())))
    assert told == [(size, threading.current_thread()) for size in (TILE, TILE, TILE, 20)]


class Stop(Exception):
    pass


def idle() -> bool:
    return not any(thread.name.startswith("masking") for thread in threading.enumerate())


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_caller_ends_the_work(workers):
    def stop(_: int) -> None:
        raise Stop

    stream = bytearray(64 * TILE)
    with pytest.raises(Stop):
        add_keystreams(stream, TERMS, 4, workers=workers, advance=stop)
    assert idle()
    assert not any(stream[-TILE:]), "the last tile was not begun any more"


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_worker_reaches_the_caller(workers):
    done: list[int] = []
    with pytest.raises(ValueError, match="32 bytes"):
        add_keystreams(bytearray(8 * TILE), [Term(bytes(16), False)], 4, workers=workers, advance=done.append)
    assert not done
    assert idle()


@pytest.mark.parametrize("word_size", [-1, 0, 3, 8])
def test_words_of_another_size_are_refused(word_size):
    stream = bytearray(pattern(48))
    with pytest.raises(ValueError, match="words have 1, 2, 4 bytes"):
        add_keystreams(stream, TERMS, word_size)
    with pytest.raises(ValueError, match="words have 1, 2, 4 bytes"):
        add_into(stream, bytes(48), word_size)
    assert stream == pattern(48)


@pytest.mark.parametrize("offset", [-16, 1, 8, 15, TILE + 4])
@pytest.mark.parametrize("terms", [TERMS, []], ids=["terms", "no terms"])
def test_pieces_begin_with_a_block(offset, terms):
    stream = bytearray(pattern(48))
    with pytest.raises(ValueError, match="a multiple of 16"):
        add_keystreams(stream, terms, 4, offset=offset)
    assert stream == pattern(48)


def test_empty_streams_are_refused():
    with pytest.raises(ValueError, match="empty"):
        add_keystreams(bytearray(), TERMS, 4)
    with pytest.raises(ValueError, match="empty"):
        add_into(bytearray(), b"", 4)


def test_streams_that_cannot_be_written_to_are_refused():
    stream = pattern(48)
    with pytest.raises(ValueError, match="cannot be written to"):
        add_keystreams(memoryview(stream), TERMS, 4)
    with pytest.raises(ValueError, match="cannot be written to"):
        add_into(memoryview(stream), bytes(48), 4)
    with pytest.raises(ValueError, match="contiguous"):
        add_keystreams(np.zeros((8, 8), np.uint8)[:, 0], TERMS, 4)
    assert stream == pattern(48)


@pytest.mark.parametrize("workers", [0, -1])
def test_somebody_has_to_do_the_work(workers):
    with pytest.raises(ValueError, match="at least one worker"):
        add_keystreams(bytearray(48), TERMS, 4, workers=workers)


def test_terms_do_not_show_their_keys():
    assert repr(TERMS[0]) == "Term(negative=False)"


# --- adding up --------------------------------------------------------------------------------------------------------


@given(st.data(), st.integers(1, 60), st.sampled_from(WORD_SIZES))
def test_sums_equal_their_twins(data, size, word_size):
    total, stream = (data.draw(st.binary(min_size=size, max_size=size)) for _ in range(2))
    added, kept = bytearray(total), bytearray(stream)
    add_into(added, kept, word_size)
    assert added == reference.add(total, stream, word_size)
    assert kept == stream


@pytest.mark.parametrize("size", [0, 47, 49, 96])
def test_streams_of_another_length_are_not_added(size):
    total = bytearray(pattern(48))
    with pytest.raises(ValueError, match="cannot be added"):
        add_into(total, bytes(size), 1)
    assert total == pattern(48)


# --- distribution -----------------------------------------------------------------------------------------------------


def spread(size: int, words: type[np.unsignedinteger], fill: int) -> np.ndarray:
    """How often each value stands in the masked vector of a constant one, made in pieces of 16 MiB."""
    values = np.iinfo(words).max + 1
    counts, piece = np.zeros(values, np.int64), 1 << 24
    for offset in range(0, size, piece):
        stream = np.full(piece, fill, np.uint8)
        add_keystreams(stream, TERMS, np.dtype(words).itemsize, offset=offset)
        counts += np.bincount(stream.view(words), minlength=values)
    return counts


def check_even(counts: np.ndarray) -> None:
    """Pearson's chi-square, within five standard deviations of its mean: the number of values less one."""
    expected = counts.sum() / len(counts)
    chi_square, freedom = float(((counts - expected) ** 2 / expected).sum()), len(counts) - 1
    assert abs(chi_square - freedom) < 5 * (2 * freedom) ** 0.5
    assert counts[0] and counts[-1], "the lowest and the highest value occur"


@pytest.mark.parametrize("fill", [0, 255])
@pytest.mark.parametrize("words", [np.uint8, np.uint16])
def test_masked_vectors_are_even(words, fill):
    check_even(spread(1 << 24, words, fill))


@pytest.mark.slow
@pytest.mark.parametrize("words", [np.uint8, np.uint16])
def test_long_masked_vectors_are_even(words):
    check_even(spread(1 << 30, words, 0))


def test_the_check_of_evenness_can_fail():
    counts = spread(1 << 24, np.uint8, 0)
    missing = counts.copy()
    missing[255] = 0  # as with an upper bound that is taken to be exclusive
    skewed = counts.copy()
    skewed[:128] += skewed[:128] // 100
    for wrong in (missing, skewed):
        with pytest.raises(AssertionError):
            check_even(wrong)
