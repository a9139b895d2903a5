"""Fixed-point differences against exact fractions: exponents, rounding, clipping, means, and what is refused."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto import randomness
from fedspallm_secure.errors import CorruptWeights, SumOutOfRange
from fedspallm_secure.secagg import quantization
from fedspallm_secure.secagg.fields import SumWord, check_range
from fedspallm_secure.secagg.quantization import dequantize, quantize, row_exponents

LARGEST = float(np.finfo(np.float32).max)
SMALLEST = 2.0**-149  # the smallest subnormal
NOT_FINITE = [0x7FC00000, 0xFFC00000, 0x7F800001, 0x7F800000, 0xFF800000]  # quiet and signalling NaN, both infinities

weights32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
modest = st.floats(-4, 4, width=32, allow_subnormal=False)  # near each other, as the weights of a model are


def matrix(rows):
    return np.array(rows, np.float32)


def bits_of(values):
    return np.asarray(values, np.float32).view(np.uint32).tolist()


def special(bits):
    return np.array([bits], np.uint32).view(np.float32)[0]


def matrices(values, count):
    """Lists of `count` matrices of one shape, each a list of rows."""
    shapes = st.tuples(st.integers(1, 3), st.integers(1, 4))
    return shapes.flatmap(
        lambda shape: st.lists(
            st.lists(st.lists(values, min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0]),
            min_size=count,
            max_size=count,
        )
    )


# Twins: SPEC section 12 with exact numbers, one weight at a time


def exponent(row):
    largest = max((abs(Fraction(float(value))) for value in row), default=Fraction(0))
    if largest == 0:
        return 0
    found = -100
    while largest >= Fraction(2) ** found:
        found += 1
    return found


def step_of(row, word):
    return Fraction(2) ** (exponent(row) - word.fraction)


def exact_word(weight, base, step, bound):
    """v and whether it was clipped.  The difference is that of float64, which Python's numbers are."""
    value = round(Fraction(float(weight) - float(base)) / step)  # Python rounds fractions to nearest, ties to even
    return max(-bound, min(bound, value)), abs(value) > bound


def exact_words(weight, base, keep, word):
    words, clipped = [], 0
    for weights, bases, keeps in zip(weight, base, keep, strict=True):
        for value, origin, kept in zip(weights, bases, keeps, strict=True):
            found, cut = exact_word(value, origin, step_of(bases, word), word.bound) if kept else (0, False)
            words.append(found)
            clipped += cut
    return words, clipped


def quantized(weight, base, word, keep=None):
    weight, base = matrix(weight), matrix(base)
    keep = np.ones(base.shape, np.bool_) if keep is None else np.array(keep, np.bool_)
    out = np.full(base.size, -77, word.signed)
    clipped = quantize(weight, base, keep, word, out)
    return out.tolist(), clipped


def means(base, counts, sums, word):
    """Of all places."""
    return all_means(matrix(base), np.array(counts, np.uint16), np.array(sums, word.signed), word)


def all_means(base, counts, sums, word):
    return dequantize(base, counts, sums, word, np.arange(base.size)).reshape(base.shape)


# Exponents


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ([0.0, -0.0], 0),
        ([1.0], 1),
        ([-1.0, 0.5], 1),
        ([0.99999994], 0),
        ([1.0000001], 1),
        ([0.5], 0),
        ([0.49999997], -1),
        ([-3.0, 2.0], 2),
        ([LARGEST], 128),
        ([-LARGEST], 128),
        ([SMALLEST, 0.0], -100),
        ([2.0**-126], -100),
        ([2.0**-102], -100),
        ([2.0**-101], -100),
        ([2.0**-100], -99),
        ([2.0**-99], -98),
        ([], 0),
    ],
)
def test_known_exponents(row, found):
    assert row_exponents(matrix([row])).tolist() == [found]
    assert exponent(row) == found


@given(matrices(weights32, 1))
def test_exponents_are_the_smallest_that_hold_their_row(drawn):
    (base,) = drawn
    assert row_exponents(matrix(base)).tolist() == [exponent(row) for row in base]


def test_rows_do_not_share_an_exponent():
    base = matrix([[0.0, 0.0], [1e-30, -1e30], [0.25, 0.3], [SMALLEST, -SMALLEST]])
    assert row_exponents(base).tolist() == [0, 100, -1, -100]


@pytest.mark.parametrize("bits", NOT_FINITE)
@pytest.mark.parametrize("place", [(0, 0), (1, 2), (2, 1)])
def test_a_base_that_is_not_finite_is_refused(bits, place):
    word, base = SumWord.default(32, 3), np.ones((3, 3), np.float32)
    row_exponents(base)
    base[place] = special(bits)
    with pytest.raises(CorruptWeights, match="1 rows of a base"):
        row_exponents(base)
    with pytest.raises(CorruptWeights, match="1 rows of a base"):
        quantize(np.ones((3, 3), np.float32), base, np.zeros((3, 3), np.bool_), word, np.zeros(9, np.int32))
    with pytest.raises(CorruptWeights, match="1 rows of a base"):
        all_means(base, np.ones(9, np.uint8), np.zeros(9, np.int32), word)


# Quantising, 32 bits


def test_known_words():
    """e = 1, so a step is 2^(1 - 4) = 1/8; ties go to the even neighbour, values beyond the bound to the bound."""
    word = SumWord(32, 4, 20, 3)
    base = [[1.0] * 12]
    weight = [[1.0, 1.125, 0.875, 1.0625, 1.1875, 0.9375, 0.8125, 3.5, -1.5, 3.5625, 3.5626, -9.0]]
    assert quantized(weight, base, word) == ([0, 1, -1, 0, 2, 0, -2, 20, -20, 20, 20, -20], 2)


@given(matrices(modest, 2), st.integers(1, 1000), st.data())
def test_words_are_those_of_exact_fractions(drawn, members, data):
    base, weight = drawn
    keep = [[data.draw(st.booleans()) for _ in row] for row in base]
    word = SumWord(32, data.draw(st.integers(0, 30)), data.draw(st.integers(1, (2**31 - 1) // members)), members)
    assert quantized(weight, base, word, keep) == exact_words(weight, base, keep, word)


@given(matrices(weights32 | st.sampled_from([0.0, -0.0, SMALLEST, LARGEST, -LARGEST]), 2))
def test_all_finite_numbers_have_a_word(drawn):
    base, weight = drawn
    keep = [[True] * len(row) for row in base]
    for word in (SumWord.default(32, 3), SumWord(32, 30, 1, 1), SumWord(32, 0, 2**31 - 1, 1)):
        assert quantized(weight, base, word) == exact_words(weight, base, keep, word)


def test_a_row_of_zeros_is_measured_in_units():
    word = SumWord(32, 3, 100, 3)
    assert quantized([[0.125, -1.0, 0.0, -0.0]], [[0.0, -0.0, 0.0, 0.0]], word) == ([1, -8, 0, 0], 0)


def test_a_kept_zero_travels_and_a_dropped_one_does_not():
    """0 is what a dropped weight looks like; the keep-mask decides, not the value."""
    word = SumWord(32, 4, 1000, 3)
    weight, base = [[0.0, -0.0, 0.0, -0.0]], [[1.0, 1.0, 1.0, -1.0]]
    assert quantized(weight, base, word) == ([-8, -8, -8, 8], 0)
    assert quantized(weight, base, word, [[True, False, False, True]]) == ([-8, 0, 0, 8], 0)


@pytest.mark.parametrize("bits", [16, 32])
def test_clipped_values_are_counted_where_kept(bits):
    word = SumWord(bits, 4, 20, 3)
    weight, base = [[100.0, -100.0, 1.0], [LARGEST, -LARGEST, 1.0]], [[1.0] * 3] * 2
    assert quantized(weight, base, word) == ([20, -20, 0, 20, -20, 0], 4)
    keep = [[True, False, True], [False, True, False]]
    assert quantized(weight, base, word, keep) == ([20, 0, 0, 0, -20, 0], 2)


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("pattern", NOT_FINITE)
def test_what_is_not_finite_is_refused_where_kept_and_ignored_where_dropped(bits, pattern):
    word = SumWord.default(bits, 3)
    base, weight = np.ones((3, 4), np.float32), np.ones((3, 4), np.float32)
    weight[1, 2] = weight[2, 0] = weight[2, 3] = special(pattern)
    keep, out = np.isfinite(weight), np.full(12, -77, word.signed)
    assert quantize(weight, base, keep, word, out) == 0
    assert not out.any()
    keep[2] = True
    with pytest.raises(CorruptWeights, match=r"2 kept weights .* the first in row 2, column 0"):
        quantize(weight, base, keep, word, out)
    keep[1] = True
    with pytest.raises(CorruptWeights, match=r"3 kept weights .* the first in row 1, column 2"):
        quantize(weight, base, keep, word, out)


@pytest.mark.parametrize("tile", [1, 4, 5, 9, 1 << 17])
def test_tiles_do_not_show(monkeypatch, tile):
    rng = np.random.default_rng(7)
    base, weight = rng.standard_normal((2, 7, 4), dtype=np.float32)
    keep, word = rng.random((7, 4)) < 0.6, SumWord(32, 20, 1 << 20, 3)
    expected, clipped = exact_words(weight, base, keep, word)
    assert clipped > 0
    monkeypatch.setattr(quantization, "_TILE", tile)
    assert quantized(weight, base, word, keep) == (expected, clipped)
    counts, sums = np.ones(28, np.uint8), np.array(expected, np.int32)
    assert bits_of(all_means(base, counts, sums, word)) == bits_of(exact_means(base, counts, sums, word))
    weight[6, 3] = np.nan
    keep[6, 3] = True
    with pytest.raises(CorruptWeights, match=r"1 kept weights .* row 6, column 3"):
        quantize(weight, base, keep, word, sums)


def test_words_are_written_into_the_stream_and_nowhere_else():
    word = SumWord(32, 4, 1000, 3)
    stream = bytearray(b"\xaa" * 20)
    out = np.frombuffer(memoryview(stream)[5:13], word.signed)  # words of a stream need not be aligned
    quantize(matrix([[3.0, 0.5]]), matrix([[1.0, 1.0]]), np.ones((1, 2), np.bool_), word, out)
    assert stream == b"\xaa" * 5 + bytes.fromhex("10000000 fcffffff") + b"\xaa" * 7


def test_32_bits_use_no_chance(monkeypatch):
    monkeypatch.setattr(quantization, "random_bytes", lambda size: pytest.fail("random bytes were drawn"))
    assert quantized([[0.3, 0.7]], [[0.5, 0.5]], SumWord.default(32, 3))[1] == 0


# Quantising, 16 bits


@given(st.lists(st.tuples(st.integers(-40, 40), st.integers(0, 255), st.integers(0, 2**32 - 1)), min_size=1))
def test_16_bits_round_up_with_the_probability_of_the_fraction(drawn):
    """The draw k decides: up when fraction + k / 2^32 reaches 1."""
    word = SumWord(16, 4, 30, 3)
    steps = [whole + Fraction(part, 256) for whole, part, _ in drawn]
    weight = [[1.0 + float(step / 8) for step in steps]]  # e = 1: a step is 1/8
    draws = b"".join(draw.to_bytes(4, "little") for _, _, draw in drawn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantization, "random_bytes", lambda size: draws if size == len(draws) else None)
        found = quantized(weight, [[1.0] * len(steps)], word)
    values = [math.floor(step + Fraction(draw, 2**32)) for step, (_, _, draw) in zip(steps, drawn, strict=True)]
    clipped = sum(abs(value) > 30 for value in values)
    assert found == ([max(-30, min(30, value)) for value in values], clipped)


@pytest.mark.parametrize("draw", [b"\x00", b"\xff"])
def test_whole_steps_and_dropped_weights_stay_whatever_is_drawn(monkeypatch, draw):
    monkeypatch.setattr(quantization, "random_bytes", lambda size: draw * size)
    word = SumWord(16, 4, 32_767, 1)
    steps = [0, 1, -1, 17, -32_767, 32_767, 5, -5]
    weight, base = [[1.0 + step / 8 for step in steps]], [[1.0] * 8]
    assert quantized(weight, base, word) == (steps, 0)
    keep = [[True] * 6 + [False] * 2]
    weight[0][6:] = [0.3, 77.7]
    assert quantized(weight, base, word, keep) == ([*steps[:6], 0, 0], 0)


@pytest.mark.parametrize("fraction", [0.0625, 0.3, 0.5, 0.77, 0.96875])
@pytest.mark.parametrize("whole", [-3, 0, 2])
def test_stochastic_rounding_is_unbiased(fraction, whole):
    """Hoeffding: the mean of N draws is off by more than sqrt(41 ln 2 / 2N) once in 2^40 runs."""
    size, word = 1 << 18, SumWord(16, 4, 100, 3)
    weight, base = np.full((2, size // 2), 1 + (whole + fraction) / 8, np.float32), np.ones((2, size // 2), np.float32)
    out = np.empty(size, np.int16)
    assert quantize(weight, base, np.ones(base.shape, np.bool_), word, out) == 0
    assert set(out.tolist()) == {whole, whole + 1}
    exact = (float(weight[0, 0]) - 1) * 8
    assert abs(out.mean() - exact) < math.sqrt(41 * math.log(2) / (2 * size))


def test_16_bits_take_their_chances_from_the_operating_system_anew_each_time(monkeypatch):
    assert quantization.random_bytes is randomness.random_bytes
    drawn = []
    monkeypatch.setattr(
        quantization, "random_bytes", lambda size: (drawn.append(size), randomness.random_bytes(size))[1]
    )
    word, weight, base = SumWord(16, 4, 100, 3), [[1.05] * 300], [[1.0] * 300]
    assert quantized(weight, base, word) != quantized(weight, base, word)  # equal once in more than 2^290 runs
    assert sum(drawn) == 2 * 4 * 300


# Means


def exact_means(base, counts, sums, word):
    found = []
    numbers = iter(zip(np.ravel(counts).tolist(), np.ravel(sums).tolist(), strict=True))
    for row in np.asarray(base, np.float32):
        step = float(step_of(row, word))
        for origin in row:
            count, total = next(numbers)
            found.append(np.float32(float(origin) + total * step / count) if total else origin)
    return np.array(found, np.float32).reshape(np.shape(base))


def test_known_means():
    """A step of 1/8, as above."""
    word = SumWord(32, 4, 1000, 5)
    found = means([[1.0, 1.0, 1.0, -1.5, 1.0]], [1, 2, 0, 3, 5], [8, -3, 0, 9, 0], word)
    assert found.tolist() == [[2.0, 0.8125, 1.0, -1.125, 1.0]]
    assert found.dtype == np.float32


@given(matrices(modest, 1), st.data())
def test_means_are_computed_in_float64_and_rounded_once(drawn, data):
    (base,) = drawn
    word = data.draw(st.sampled_from([SumWord.default(32, 50), SumWord.default(16, 50), SumWord(32, 30, 1000, 50)]))
    counts = [data.draw(st.integers(0, 50)) for row in base for _ in row]
    sums = [data.draw(st.integers(-count * word.bound, count * word.bound)) for count in counts]
    assert bits_of(means(base, counts, sums, word)) == bits_of(exact_means(base, counts, sums, word))


@given(matrices(weights32, 1), st.integers(0, 9))
def test_where_nothing_was_added_the_base_stays_bit_for_bit(drawn, count):
    (base,) = drawn
    base[0][0] = -0.0
    counts, sums = [count] * matrix(base).size, [0] * matrix(base).size
    assert bits_of(means(base, counts, sums, SumWord.default(32, 9))) == bits_of(base)


def test_a_mean_beyond_float32_is_no_mean_of_weights():
    word = SumWord(32, 4, 1000, 5)  # e = 128: a step is 2^124
    base = [[2.0**127, 1.0]]
    assert means(base, [1, 1], [7, 0], word).tolist() == [[2.0**127 + 7 * 2.0**124, 1.0]]
    for total in (8, 1000):
        with pytest.raises(SumOutOfRange, match="float32"):
            means(base, [1, 1], [total, 0], word)
    with pytest.raises(SumOutOfRange, match="float32"):
        means(base, [1, 1], [-1000, 0], word)


# There and back


@pytest.mark.parametrize(
    ("bits", "members"),
    [(32, 1), (32, 15), (32, 16), (32, 255), (32, 256), (32, 65_535), (16, 1), (16, 100), (16, 9999)],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_whole_cohort_at_the_bound_is_exact(bits, members, sign):
    """n words at +V or -V, added as the streams are, are n V: the last number that fits, and the mean is V steps."""
    word = SumWord.default(bits, members)
    weight, base = 1.0 + sign * 2.0 ** (1 - word.fraction) * word.bound, 1.0
    if float(np.float32(weight)) != weight:  # the bound has more places than a float32 here: beyond it, all are clipped
        weight = sign * LARGEST
    (value,), _ = quantized([[weight]], [[base]], word)
    assert value == sign * word.bound
    one = np.array([value], word.signed).view(word.word)
    total = np.zeros_like(one)
    for bit in range(members.bit_length()):
        if members >> bit & 1:
            total += one << bit
    sums, counts = total.view(word.signed), np.array([members], np.uint16)
    assert sums.tolist() == [sign * members * word.bound]
    assert check_range(counts, sums, members, word) == 0
    mean = all_means(matrix([[base]]), counts, sums, word)
    assert mean[0, 0] == np.float32(1.0 + sign * word.bound * 2.0 ** (1 - word.fraction))


@pytest.mark.parametrize("bits", [16, 32])
@given(st.data())
def test_the_mean_is_within_half_a_step_of_the_plain_one(bits, data):
    """Half a step, a whole one where rounding is stochastic, and the final rounding; wherever nothing was clipped.

    float64 differences add less than 2^-20 of a step.
    """
    base, *members = data.draw(matrices(modest, data.draw(st.integers(2, 6))))
    keeps = [[[data.draw(st.booleans()) for _ in row] for row in base] for _ in members]
    word = SumWord.default(bits, len(members))
    rows = [quantized(weight, base, word, keep) for weight, keep in zip(members, keeps, strict=True)]
    counts = np.sum([np.ravel(keep) for keep in keeps], axis=0)
    sums = np.sum([row for row, _ in rows], axis=0)
    assert check_range(counts.astype(np.uint8), sums.astype(word.signed), len(members), word) == 0
    found = means(base, counts, sums, word)
    for at, row in enumerate(base):
        step = step_of(row, word)
        for place, origin in enumerate(row):
            kept = [float(weight[at][place]) for weight, keep in zip(members, keeps, strict=True) if keep[at][place]]
            reach = [abs(Fraction(value) - Fraction(origin)) <= (word.bound - 1) * step for value in kept]
            if not all(reach):
                continue  # clipped
            plain = sum(map(Fraction, kept)) / len(kept) if kept else Fraction(origin)
            allowed = (step if word.stochastic else step / 2) * (1 + Fraction(1, 2**20)) if kept else Fraction(0)
            rounding = Fraction(float(np.spacing(np.abs(found[at, place])))) / 2
            assert abs(Fraction(float(found[at, place])) - plain) <= allowed + rounding


def test_untouched_weights_come_back_bit_for_bit():
    """What Wanda keeps is the base itself, so its mean has no error at all."""
    rng = np.random.default_rng(3)
    base = rng.standard_normal((5, 6), dtype=np.float32)
    base[0, 0] = -0.0
    for bits in (16, 32):
        word = SumWord.default(bits, 3)
        words = [quantized(base, base, word, rng.random((5, 6)) < 0.5)[0] for _ in range(3)]
        assert not np.any(words)
        assert bits_of(means(base, [2] * 30, np.sum(words, axis=0), word)) == bits_of(base)


# What does not belong together


def test_other_shapes_and_types_are_refused():
    word = SumWord.default(32, 3)
    base, keep, out = np.ones((2, 3), np.float32), np.ones((2, 3), np.bool_), np.zeros(6, np.int32)
    assert quantize(base, base, keep, word, out) == 0
    for bad in (
        (base.astype(np.float64), base, keep, word, out),
        (base, base.astype(np.float64), keep, word, out),
        (base, base, keep.astype(np.uint8), word, out),
        (base[:1], base, keep, word, out),
        (base, base, keep[:1], word, out),
        (base.ravel(), base.ravel(), keep.ravel(), word, out),
        (base, base, keep, word, out[:5]),
        (base, base, keep, word, out.reshape(2, 3)),
        (base, base, keep, word, out.view(np.uint32)),
        (base, base, keep, SumWord.default(16, 3), out),
    ):
        with pytest.raises(ValueError, match="float32"):
            quantize(*bad)
    counts = np.ones(6, np.uint8)
    assert bits_of(all_means(base, counts, out, word)) == bits_of(base)
    for bad in (
        (base.astype(np.float64), counts, out, word),
        (base.ravel(), counts, out, word),
        (base, counts[:5], out, word),
        (base, counts, out[:5], word),
        (base, counts, out.view(np.uint32), word),
        (base, counts, out, SumWord.default(16, 3)),
    ):
        with pytest.raises(ValueError, match=r"base matrix|as many counts"):
            dequantize(*bad, np.arange(6))
