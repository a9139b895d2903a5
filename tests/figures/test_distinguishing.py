"""The classifier guesses where it should, and sees what twins show; and the view is what a server has."""

import numpy as np
import pytest

from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.masking import add_keystreams, member_terms
from tests.figures.distinguishing import (
    BOTH_KINDS,
    HONEST,
    LATE,
    NO_SELF,
    NONE,
    PLAIN,
    STREAMS,
    SUMMED,
    accuracy,
    fit,
    patterns,
    statistics,
    view,
    with_keystreams,
    worlds,
)

CONTEXT = GroupContext("lungs.example", 1, bytes(32), 0)
WRONG = (NONE, NO_SELF, BOTH_KINDS)


def plain(world: int, member: int, stream: int):
    return np.frombuffer(PLAIN[world][member][stream], STREAMS[stream][1])


def total(words):
    result = words[0].copy()
    for one in words[1:]:
        result += one
    return result


@pytest.mark.parametrize("world", [0, 1])
@pytest.mark.parametrize("wrong", WRONG)
def test_the_server_has_the_sum_and_only_in_twins_more(world: int, wrong: str):
    left = view(world, wrong, np.random.default_rng([1, world]))
    for stream in (0, 1):
        seen = [residue[stream] for residue in left]
        right = [plain(world, member, stream) for member in HONEST]
        assert np.array_equal(total([seen[member] for member in SUMMED]), total([right[member] for member in SUMMED]))
        open_ones = {member for member in HONEST if np.array_equal(seen[member], right[member])}
        assert open_ones == {NONE: set(), NO_SELF: {LATE}, BOTH_KINDS: {0}}[wrong]


def test_the_worlds_differ_and_their_sums_do_not():
    one, other = worlds()
    assert np.array_equal(one[list(SUMMED)].sum(axis=0), other[list(SUMMED)].sum(axis=0))
    assert not np.array_equal(one[0], other[0]) and not np.array_equal(one[LATE], other[LATE])


def test_what_hides_nothing_is_told_apart():
    assert accuracy(NO_SELF, 100, 100, 1, workers=1) > 0.9
    assert accuracy(BOTH_KINDS, 100, 100, 1, workers=1) > 0.9


def test_what_hides_everything_is_guessed():
    tests = 250
    assert abs(accuracy(NONE, 250, tests, 1, workers=1) - 0.5) < 4 * 0.5 / tests**0.5


def test_the_classifier_learns_what_can_be_learned():
    draw = np.random.default_rng(1)
    labels = draw.integers(0, 2, 2_000)
    seen = draw.normal(size=(2_000, 20))
    seen[:, 7] += 0.5 * labels  # a weak hint in one of twenty numbers: at best 60 % are right
    weights = fit(seen[:1_000], labels[:1_000])
    right = (seen[1_000:] @ weights[:-1] + weights[-1] > 0) == labels[1_000:]
    assert 0.55 < right.mean() < 0.65


def test_keystreams_are_added_as_the_product_adds_them():
    for stream, (kind, word) in enumerate(STREAMS):
        terms = member_terms(CONTEXT, 5, [(6, True), (7, False)], kind)
        theirs = bytearray(PLAIN[0][0][stream])
        add_keystreams(theirs, terms, word.itemsize)
        assert with_keystreams(plain(0, 0, stream), terms).tobytes() == theirs


def test_statistics_are_of_every_member_partial_sum_and_difference():
    signs = list(patterns())
    assert len(signs) == len(set(signs)) == 15 + 6
    assert np.isfinite(statistics(view(0, NONE, np.random.default_rng(1)))).all()
