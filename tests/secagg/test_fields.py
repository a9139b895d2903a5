"""Count fields and sum words: packed as Python's integers say, wide enough for every honest sum, and for no more."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.errors import CapacityExceeded
from fedspallm_secure.secagg import fields
from fedspallm_secure.secagg.fields import COUNT_BITS, CountField, SumWord, check_range

MEMBERS = [1, 2, 15, 16, 255, 256, 65_535]  # the smallest and the largest cohorts of each width
FIELDS = [CountField.for_cohort(members) for members in MEMBERS]


def bools(values):
    return np.array(values, dtype=np.bool_)


def packed(field, keep):
    """The twin: one big number with a field of w bits for every weight, the first one lowest."""
    number = sum(int(bit) << field.bits * index for index, bit in enumerate(keep))
    return number.to_bytes(-(-len(keep) * field.bits // 8), "little")


def unpacked(field, stream, weights):
    number = int.from_bytes(stream, "little")
    return [number >> field.bits * index & (1 << field.bits) - 1 for index in range(weights)]


def pack(field, keep):
    out = bytearray(b"\xaa" * field.size(len(keep)))  # what stood there before must not matter
    field.pack(bools(keep), out)
    return bytes(out)


# Counts


@pytest.mark.parametrize(("members", "bits"), [*zip(MEMBERS, [4, 4, 4, 8, 8, 16, 16], strict=True)])
def test_the_narrowest_field_that_holds_the_cohort(members, bits):
    assert CountField.for_cohort(members) == CountField(bits, members)


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_a_field_that_one_cohort_fills_is_refused_for_the_next(bits):
    assert CountField(bits, 2**bits - 1).members == 2**bits - 1
    with pytest.raises(CapacityExceeded, match=f"{2**bits} members do not fit"):
        CountField(bits, 2**bits)


@pytest.mark.parametrize("bits", [-4, 0, 1, 2, 3, 5, 12, 32])
def test_other_widths_are_refused(bits):
    with pytest.raises(CapacityExceeded, match=f"not {bits}"):
        CountField(bits, 1)


@pytest.mark.parametrize("members", [0, -1])
def test_nobody_has_no_sum(members):
    with pytest.raises(CapacityExceeded, match="no sum"):
        CountField.for_cohort(members)
    with pytest.raises(CapacityExceeded, match="no sum"):
        SumWord.default(32, members)
    with pytest.raises(CapacityExceeded, match="no sum"):
        SumWord(32, 10, 1, members)


def test_a_cohort_beyond_16_bits_is_refused():
    with pytest.raises(CapacityExceeded, match="65536 members do not fit a 16-bit count"):
        CountField.for_cohort(65_536)


def test_known_streams():
    assert pack(CountField(4, 3), [1, 0, 0, 1, 1]) == bytes.fromhex("011001")
    assert pack(CountField(8, 3), [1, 0, 1]) == bytes.fromhex("010001")
    assert pack(CountField(16, 3), [1, 0, 1]) == bytes.fromhex("010000000100")
    assert CountField(4, 3).unpack(bytes.fromhex("2f0e"), 3).tolist() == [15, 2, 14]
    assert CountField(16, 3).unpack(bytes.fromhex("0201"), 1).tolist() == [258]


@pytest.mark.parametrize("field", FIELDS, ids=str)
@given(st.lists(st.booleans(), max_size=40))
def test_packing_is_that_of_one_big_number(field, keep):
    assert pack(field, keep) == packed(field, keep)
    found = field.unpack(packed(field, keep), len(keep))
    assert found.tolist() == keep
    assert found.dtype == (np.uint16 if field.bits == 16 else np.uint8)


@pytest.mark.parametrize("field", FIELDS, ids=str)
@given(st.integers(0, 40), st.data())
def test_any_bytes_are_read_as_one_big_number(field, weights, drawn):
    size = field.size(weights)
    stream = drawn.draw(st.binary(min_size=size, max_size=size))
    for kind in (bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)):
        assert field.unpack(kind(stream), weights).tolist() == unpacked(field, stream, weights)


@pytest.mark.parametrize("field", FIELDS, ids=str)
@given(st.lists(st.lists(st.booleans(), max_size=9), max_size=6))
def test_pieces_make_the_whole_wherever_they_begin(field, parts):
    """Matrices with an odd number of weights end in the middle of a byte, and the next one begins there."""
    whole = [bit for part in parts for bit in part]
    stream, start = memoryview(bytearray(b"\xaa" * field.size(len(whole)))), 0
    for part in parts:
        field.pack(bools(part), stream[field.piece(start, len(part))], start)
        start += len(part)
    assert bytes(stream) == packed(field, whole)
    for first in range(len(whole) + 1):
        count = (len(whole) - first) // 2
        piece = stream[field.piece(first, count)]
        assert field.unpack(piece, count, first).tolist() == whole[first : first + count]


def test_a_piece_that_begins_within_a_byte_leaves_the_other_half_alone():
    field = CountField(4, 3)
    for before, after in ((0xA7, 0x17), (0xF0, 0x10), (0xFF, 0x1F)):
        byte = bytearray([before])
        field.pack(bools([1]), byte, 1)
        assert byte == bytes([after])


def test_tiles_do_not_show(monkeypatch):
    rng = np.random.default_rng(1)
    keep = rng.random(1001) < 0.5
    expected = packed(CountField(4, 3), keep)
    for tile in (1, 2, 7, 500, 1 << 18):
        monkeypatch.setattr(fields, "_TILE", tile)
        assert pack(CountField(4, 3), keep) == expected


def test_a_strided_keep_mask_and_bools_of_other_bytes_than_one():
    keep = np.frombuffer(bytes([0, 2, 255, 1, 0, 16, 3]), np.bool_)  # from a foreign buffer: all but 0 mean True
    for field in FIELDS:
        for view in (keep, keep[::-1], keep[::3]):
            assert pack(field, view) == packed(field, [bool(bit) for bit in view.tolist()])


def test_counts_do_not_share_memory_with_the_stream():
    for field in FIELDS:
        stream = bytearray(pack(field, [1, 1, 1]))
        counts = field.unpack(stream, 3)
        stream[:] = bytes(len(stream))
        assert counts.tolist() == [1, 1, 1]


@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_the_largest_sum_stays_in_its_field(field):
    """As many streams as members, added in the words of the stream, with neighbours at both extremes."""
    keep = [1, 1, 0, 1, 0, 0, 1]
    stream = np.frombuffer(pack(field, keep), field.word)
    total = np.zeros_like(stream)
    for bit in range(field.members.bit_length()):  # doubling, since 65,535 additions take long
        if field.members >> bit & 1:
            total += stream << bit
    assert field.unpack(total.view(np.uint8), 7).tolist() == [bit * field.members for bit in keep]
    assert total.dtype.itemsize == (2 if field.bits == 16 else 1)


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=15))
def test_added_streams_hold_the_keep_counts(members):
    field = CountField.for_cohort(len(members))
    total = np.zeros(field.size(5), np.uint8)
    for keep in members:
        total += np.frombuffer(pack(field, keep), np.uint8)
    assert field.unpack(total, 5).tolist() == [sum(bits) for bits in zip(*members, strict=True)]


@pytest.mark.parametrize("field", FIELDS, ids=str)
@pytest.mark.parametrize("start", [0, 1, 2, 3])
@pytest.mark.parametrize("wrong", [-1, 1])
def test_other_sizes_are_refused(field, start, wrong):
    piece = field.piece(start, 5)
    size = piece.stop - piece.start
    field.pack(bools([1] * 5), bytearray(size), start)
    with pytest.raises(ValueError, match="5 counts"):
        field.pack(bools([1] * 5), bytearray(size + wrong), start)
    with pytest.raises(ValueError, match="5 counts"):
        field.unpack(bytes(size + wrong), 5, start)


@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_what_is_no_row_of_bools_is_refused(field):
    out = bytearray(field.size(4))
    for keep in (np.ones((2, 2), np.bool_), np.ones(4, np.uint8), np.ones(4, np.float32)):
        with pytest.raises(ValueError, match="one bool per weight"):
            field.pack(keep, out)
    with pytest.raises(ValueError, match="read-only"):
        field.pack(bools([1] * 4), bytes(field.size(4)))
    with pytest.raises(ValueError, match="from -2 on"):
        field.unpack(bytes(field.size(4)), 4, -2)
    with pytest.raises(ValueError, match="-1 counts"):
        field.unpack(b"", -1)


@given(st.sampled_from(FIELDS), st.integers(0, 10**12))
def test_sizes_are_whole_bytes(field, weights):
    assert 0 <= 8 * field.size(weights) - field.bits * weights < 8


@pytest.mark.parametrize("bits", COUNT_BITS)
@given(st.data())
def test_a_histogram_counts_every_weight_once(bits, data):
    """An odd number of them, and those that begin within a byte, too."""
    field = CountField(bits, (1 << bits) - 1)
    given = data.draw(st.lists(st.integers(0, (1 << bits) - 1), max_size=40))
    counts = np.array(given, np.uint16 if bits == 16 else np.uint8)
    start = data.draw(st.integers(0, len(given)))
    found = field.histogram(counts[start:])
    assert found.shape == (1 << bits,) and found.dtype == np.int64
    assert {int(count): int(found[count]) for count in np.flatnonzero(found)} == dict(Counter(given[start:]))


# Sums


@pytest.mark.parametrize(
    ("bits", "members", "fraction", "bound"),
    [
        (32, 1, 27, 2_147_483_647),
        (32, 3, 26, 715_827_882),
        (32, 15, 24, 143_165_576),
        (32, 100, 21, 21_474_836),
        (32, 1000, 18, 2_147_483),
        (32, 65_535, 12, 32_768),
        (16, 1, 13, 32_767),
        (16, 15, 10, 2_184),
        (16, 100, 7, 327),
        (16, 16_383, 0, 2),
    ],
)
def test_known_defaults(bits, members, fraction, bound):
    assert SumWord.default(bits, members) == SumWord(bits, fraction, bound, members)


@pytest.mark.parametrize(("bits", "headroom", "most"), [(32, 3, 65_535), (16, 1, 16_383)])
@given(st.data())
def test_defaults_use_the_room_there_is(bits, headroom, most, data):
    members = data.draw(st.integers(1, most))
    word, room = SumWord.default(bits, members), 2 ** (bits - 1) - 1
    assert members * word.bound <= room < members * (word.bound + 1)
    power = 2 ** (word.fraction + headroom)  # largest power of two that is at most room / members
    assert members * power <= room < members * 2 * power


@pytest.mark.parametrize("members", [16_384, 32_767, 32_768, 65_535])
def test_16_bits_have_no_default_for_large_cohorts(members):
    with pytest.raises(CapacityExceeded):
        SumWord.default(16, members)


@pytest.mark.parametrize(("bits", "members"), [(32, 1), (32, 15), (32, 65_535), (16, 1), (16, 100), (16, 32_767)])
def test_capacity_ends_where_the_words_do(bits, members):
    bound = (2 ** (bits - 1) - 1) // members
    assert SumWord(bits, 0, bound, members).bound == bound
    with pytest.raises(CapacityExceeded, match=f"{members} numbers up to {bound + 1}"):
        SumWord(bits, 0, bound + 1, members)
    if members * bound == 2 ** (bits - 1) - 1:
        with pytest.raises(CapacityExceeded, match=f"{members + 1} numbers"):
            SumWord(bits, 0, bound, members + 1)


@pytest.mark.parametrize("bound", [0, -1, -(2**40)])
def test_a_bound_without_numbers_is_refused(bound):
    with pytest.raises(CapacityExceeded, match=f"a bound of {bound}"):
        SumWord(32, 10, bound, 3)


@pytest.mark.parametrize("fraction", [-1, 31, 1000])
def test_binary_places_outside_of_the_word_are_refused(fraction):
    assert SumWord(32, 0, 1, 3).fraction == 0
    assert SumWord(32, 30, 1, 3).fraction == 30
    with pytest.raises(CapacityExceeded, match=f"not {fraction}"):
        SumWord(32, fraction, 1, 3)


@pytest.mark.parametrize("bits", [-1, 0, 8, 24, 64])
def test_other_words_are_refused(bits):
    with pytest.raises(CapacityExceeded, match=f"32 or 16 bits, not {bits}"):
        SumWord(bits, 0, 1, 1)
    with pytest.raises(CapacityExceeded, match=f"32 or 16 bits, not {bits}"):
        SumWord.default(bits, 1)


@pytest.mark.parametrize(("bits", "size", "stochastic"), [(32, 4, False), (16, 2, True)])
def test_words(bits, size, stochastic):
    word = SumWord.default(bits, 3)
    assert word.stochastic is stochastic
    assert word.size(7) == 7 * size
    assert (word.word.itemsize, word.word.kind) == (size, "u")
    assert (word.signed.itemsize, word.signed.kind) == (size, "i")
    assert np.array([-2], word.signed).tobytes() == (-2).to_bytes(size, "little", signed=True)
    assert np.array([258], word.word).tobytes() == (258).to_bytes(size, "little")


# Ranges


def violations(counts, sums, survivors, bound):
    """The twin: the three clauses of SPEC section 12, one weight at a time."""
    return sum(
        not 0 <= count <= survivors or (count == 0 and total != 0) or abs(total) > count * bound
        for count, total in zip(counts, sums, strict=True)
    )


def checked(counts, sums, survivors, word, kind=np.uint8):
    return check_range(np.array(counts, kind), np.array(sums, word.signed), survivors, word)


@pytest.mark.parametrize(
    ("count", "total", "wrong"),
    [
        (0, 0, 0),
        (0, 1, 1),
        (0, -1, 1),
        (1, 10, 0),
        (1, -10, 0),
        (1, 11, 1),
        (1, -11, 1),
        (4, 40, 0),
        (4, -40, 0),
        (4, 41, 1),
        (4, -41, 1),
        (5, 0, 1),
        (5, 50, 1),
        (255, 0, 1),
    ],
)
@pytest.mark.parametrize("bits", [16, 32])
def test_each_clause_at_its_edge(count, total, wrong, bits):
    word = SumWord(bits, 5, 10, 6)
    assert checked([count], [total], 4, word) == wrong
    assert checked([2, count, 2], [20, total, -20], 4, word) == wrong


@pytest.mark.parametrize(("bits", "members"), [(32, 1), (32, 15), (32, 65_535), (16, 1), (16, 15), (16, 32_767)])
def test_the_ends_of_a_word(bits, members):
    """The largest sum that is allowed is next to the largest number; the smallest number has no absolute value."""
    word = SumWord(bits, 0, (2 ** (bits - 1) - 1) // members, members)
    most, end = members * word.bound, 2 ** (bits - 1)
    for kind in (np.uint8, np.uint16):
        if members <= np.iinfo(kind).max:
            assert checked([members] * 2, [most, -most], members, word, kind) == 0
            assert checked([members] * 2, [-end, -end + 1], members, word, kind) == (2 if most < end - 1 else 1)
            assert checked([0, members - 1], [-end, -end], members, word, kind) == 2


def test_counts_that_would_overflow_their_product_are_still_seen():
    word = SumWord(32, 0, 2**31 - 1, 1)
    counts = [2, 3, 255, 65_535, 32_769, 1]
    assert checked(counts, [0] * 6, 1, word, np.uint16) == 5
    word = SumWord(16, 0, 32_767, 1)
    assert checked(counts, [0] * 6, 1, word, np.uint16) == 5


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@given(st.data())
def test_every_count_and_sum_is_judged_as_the_specification_says(bits, kind, data):
    members = data.draw(st.integers(1, 300))
    word = SumWord(bits, 0, data.draw(st.integers(1, (2 ** (bits - 1) - 1) // members)), members)
    survivors = data.draw(st.integers(0, members))
    lowest, highest, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1, np.iinfo(kind).max
    count = st.integers(0, most) | st.sampled_from([0, 1, survivors, survivors + 1]).filter(lambda count: count <= most)
    pairs = []
    for kept in data.draw(st.lists(count, max_size=12)):
        edge = min(kept, survivors) * word.bound
        near = st.sampled_from([-edge - 1, -edge, edge, edge + 1]).filter(lambda total: lowest <= total <= highest)
        pairs.append((kept, data.draw(near | st.integers(lowest, highest))))
    found, totals = [count for count, _ in pairs], [total for _, total in pairs]
    assert checked(found, totals, survivors, word, kind) == violations(found, totals, survivors, word.bound)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_votes_alone(kind):
    counts = np.array([0, 3, 4, 5, 255], kind)
    assert check_range(counts, None, 4, None) == 2
    assert check_range(counts, None, 255, None) == 0
    assert check_range(counts, None, 1000, None) == 0
    assert check_range(counts, None, 0, None) == 4


def test_more_survivors_than_a_byte_counts():
    word = SumWord(32, 0, 10, 1000)
    assert checked([255, 0], [2550, 0], 1000, word) == 0
    assert checked([255, 0], [2551, 1], 1000, word) == 2
    assert checked([0, 256, 1000, 1001], [0, 2560, 10_000, 0], 1000, word, np.uint16) == 1


def test_violations_in_every_tile_are_counted(monkeypatch):
    monkeypatch.setattr(fields, "_TILE", 4)
    word = SumWord(32, 0, 10, 6)
    for length in (1, 3, 4, 5, 8, 9):
        for place in range(length):
            counts, sums = np.full(length, 4, np.uint8), np.full(length, 40, word.signed)
            assert check_range(counts, sums, 4, word) == 0
            sums[place] += 1
            assert check_range(counts, sums, 4, word) == 1
            counts[place] = 5
            assert check_range(counts, None, 4, None) == 1
        assert check_range(np.full(length, 5, np.uint8), sums, 4, word) == length


def test_arrays_that_do_not_belong_together_are_refused():
    word = SumWord(32, 0, 10, 6)
    counts, sums = np.zeros(4, np.uint8), np.zeros(4, np.int32)
    assert check_range(counts, sums, 6, word) == 0
    for bad in (
        (np.zeros(5, np.uint8), sums, 6, word),
        (counts, np.zeros(5, np.int32), 6, word),
        (counts, sums.astype(np.int16), 6, word),
        (counts, sums.view(np.uint32), 6, word),
        (counts, sums, 7, word),
        (counts, sums, 6, None),
        (counts, sums, -1, word),
        (counts, None, -1, None),
        (counts.astype(np.int8), sums, 6, word),
        (counts.astype(np.int64), None, 6, None),
        (counts.reshape(2, 2), sums.reshape(2, 2), 6, word),
    ):
        with pytest.raises(ValueError, match="counts"):
            check_range(*bad)
