"""The disclosure ledger: classic attacks by name, the rank test against its definition, and durable records."""

import json
import random
import subprocess
import sys
from collections.abc import Collection
from fractions import Fraction
from functools import partial
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.encoding import canonical_json, parse_canonical_json
from fedspallm_secure.errors import DisclosureRefused, FormatError
from fedspallm_secure.secagg import disclosure
from fedspallm_secure.secagg.disclosure import Ledger, Release, narrow_combination
from tests.secagg.disclosure_oracle import (
    MANY,
    MATRIX,
    base,
    combinations_within,
    compare,
    exposes,
    ledger_of,
    refuses,
)

OTHER = "model.layers.0.mlp.down_proj.weight"


def people(names: str) -> frozenset[str]:
    """One member per letter."""
    return frozenset(names.lower())


def check(ledger: Ledger, names: Collection[str], colluders: int = 0, number: int = 9, epochs: int = MANY) -> None:
    ledger.check(MATRIX, base(number), names, colluders, epochs=epochs)


def test_subtracting_two_sums_gives_one_member():
    """Sum{A,B,C} − Sum{A,B} is C's vector, whichever comes first."""
    rows = [people("abcdef"), people("abcde")]
    for first, second in (rows, rows[::-1]):
        with pytest.raises(DisclosureRefused, match="to one over f only"):
            check(ledger_of([first]), second)


def test_exchanging_one_member_shows_the_difference_of_two():
    before = people("abcdefgh")
    with pytest.raises(DisclosureRefused, match="to one over h, i only"):
        check(ledger_of([before]), people("abcdefgi"))
    check(ledger_of([before]), people("abcdefij"))  # four differ, and nobody colludes
    check(ledger_of([before]), people("abcdefij"), colluders=1)
    with pytest.raises(DisclosureRefused, match="to one over g, h, i, j only"):
        check(ledger_of([before]), people("abcdefij"), colluders=2)


def test_a_dropout_stops_the_next_release_until_the_cohort_is_as_before():
    ledger = ledger_of([people("abcdefgh")])
    with pytest.raises(DisclosureRefused):
        check(ledger, people("abcdefg"))
    check(ledger, people("abcdefgh"))


def test_cohorts_that_share_nobody_are_harmless():
    check(ledger_of([people("abcde"), people("fghij")]), people("klmno"), colluders=2)


def test_four_sums_together_give_one_member_away():
    """No two of the four differ in few members, but all four together give one away."""
    rows = [people("abcdefx"), people("abcghi"), people("defjkl"), people("ghijkl")]
    assert not any(refuses(pair, 0) for pair in combinations(rows, 2))
    assert not refuses(rows[:3], 0)
    with pytest.raises(DisclosureRefused, match="to one over x only"):
        check(ledger_of(rows[:3]), rows[3])


def test_coefficients_other_than_one_are_found():
    """{X,B,C} + {X,B,D} + {X,C,D} − 2·{B,C,D} is three times X, with blocks B, C, D that no differences get smaller."""
    block = {letter: frozenset(f"{letter}{number}" for number in range(5)) for letter in "bcd"} | {"x": people("x")}
    rows = [frozenset().union(*(block[letter] for letter in names)) for names in ("xbc", "xbd", "xcd", "bcd")]
    assert not any(refuses(three, 0) for three in combinations(rows, 3))
    with pytest.raises(DisclosureRefused, match="to one over x only"):
        check(ledger_of(rows[:3]), rows[3])


def test_sampled_cohorts_give_everybody_away_in_as_many_rounds_as_there_are_members():
    """Random selection over many rounds, with the ledger and without."""
    members, draw = [f"m{number}" for number in range(10)], random.Random(4)
    allowed: list[frozenset[str]] = []
    seen: list[frozenset[str]] = []
    for _ in range(2 * len(members)):
        seen.append(frozenset(draw.sample(members, 7)))
        if not refuses([*allowed, seen[-1]], 1):
            allowed.append(seen[-1])
    assert 2 <= len(set(allowed)) < len(members)
    assert not exposes(allowed, 1)
    for member in members:
        assert combinations_within(seen, {member}), "without a ledger every single vector comes out"


def test_a_base_revision_is_released_once():
    cohort = people("abcdefgh")
    ledger = Ledger((Release(MATRIX, base(1), 4, cohort),))
    for again in (cohort, people("stuvwxyz")):
        with pytest.raises(DisclosureRefused, match="from these weights before, in round 4"):
            check(ledger, again, number=1)
    check(ledger, cohort, number=2)
    ledger.check(OTHER, base(1), cohort, 0, epochs=MANY)


def test_every_release_counts_as_an_epoch_also_over_the_same_members():
    cohort = people("abcdefgh")
    ledger = ledger_of([cohort] * 3)
    check(ledger, cohort, epochs=4)
    with pytest.raises(DisclosureRefused, match="3 times, and the policy allows 3"):
        check(ledger, cohort, epochs=3)


@pytest.mark.parametrize("colluders", [0, 1, 5])
def test_a_sum_mixes_three_honest_members(colluders):
    enough = [f"m{number}" for number in range(colluders + 3)]
    check(Ledger(), enough, colluders)
    for short in (enough[1:], enough[1:] + enough[1:2], []):
        with pytest.raises(DisclosureRefused, match="fewer than 3 honest"):
            check(Ledger(), short, colluders)


def test_a_history_that_gives_somebody_away_refuses_everything_further():
    ledger = ledger_of([people("abcdef"), people("abcde")])
    with pytest.raises(DisclosureRefused, match="to one over f only"):
        check(ledger, people("stuvwxyz"))


def test_releases_of_other_matrices_do_not_count():
    ledger = ledger_of([people("abcdef")] * 5, OTHER)
    check(ledger, people("abcde"), number=1, epochs=1)


def test_all_matrices_of_a_group_are_asked():
    ledger = ledger_of([people("abcdef")], OTHER)
    with pytest.raises(DisclosureRefused, match=f"^P13: {OTHER}"):
        ledger.check([MATRIX, OTHER], base(9), people("abcde"), 0, epochs=MANY, step="P13")
    with pytest.raises(DisclosureRefused, match=OTHER):
        ledger.check([MATRIX, OTHER], base(1), people("abcdef"), 0, epochs=MANY)
    ledger.check([MATRIX, OTHER], base(9), people("abcdef"), 0, epochs=MANY)


def test_a_refusal_names_its_check():
    with pytest.raises(DisclosureRefused) as refused:
        Ledger().check(MATRIX, base(1), people("ab"), 0, epochs=MANY, step="Q6")
    assert refused.value.check == "Q6"


@pytest.mark.parametrize(("matrices", "colluders"), [([], 0), (MATRIX, -1)])
def test_asking_about_nothing_is_a_mistake(matrices, colluders):
    with pytest.raises(ValueError, match="nothing to check"):
        Ledger().check(matrices, base(1), people("abcdef"), colluders, epochs=MANY)


def sampled(members: int, size: int, rows: int) -> list[frozenset[str]]:
    draw, names = random.Random(1), [f"m{number}" for number in range(members)]
    return [frozenset(draw.sample(names, size)) for _ in range(rows)]


def test_what_takes_too_long_is_refused():
    rows = sampled(30, 15, 8)
    assert narrow_combination(rows, 5) is None
    with pytest.raises(DisclosureRefused, match="too long to decide"):
        narrow_combination(rows, 5, work=1000)


def test_what_takes_the_ledger_too_long_is_refused(monkeypatch):
    rows = sampled(30, 15, 8)
    check(ledger_of(rows[1:]), rows[0], colluders=3)
    monkeypatch.setattr(disclosure, "narrow_combination", partial(narrow_combination, work=1000))
    with pytest.raises(DisclosureRefused, match="too long to decide"):
        check(ledger_of(rows[1:]), rows[0], colluders=3)


@pytest.mark.slow
def test_the_ledger_stops_by_itself():
    rows = sampled(100, 50, 30)
    with pytest.raises(DisclosureRefused, match=r"^Q6: what these sums disclose together takes too long"):
        ledger_of(rows[1:]).check(MATRIX, base(99), rows[0], 8, epochs=MANY, step="Q6")


def test_equal_and_disjoint_rows_take_no_work():
    rows = [frozenset(f"m{10 * row + number}" for number in range(10)) for row in range(100)]
    assert narrow_combination(rows * 3, 9, work=0) is None
    assert narrow_combination(rows * 3, 10, work=0) in rows


def by_rank(rows: list[frozenset[str]], most: int) -> bool:
    """The definition of SPEC section 15: some set of columns without which the rank is lower."""
    members = sorted(frozenset().union(*rows))
    whole = rank(rows, members)
    return any(
        rank(rows, [member for member in members if member not in out]) < whole
        for out in combinations(members, min(most, len(members)))
    )


def rank(rows: list[frozenset[str]], members: list[str]) -> int:
    """Rank over the rational numbers, by Gauss."""
    left, found = [[Fraction(member in row) for member in members] for row in rows], 0
    for column in range(len(members)):
        pivot = next((row for row in left if row[column]), None)
        if pivot is None:
            continue
        found += 1
        left.remove(pivot)
        left = [[a - row[column] / pivot[column] * b for a, b in zip(row, pivot, strict=True)] for row in left]
    return found


histories = st.lists(st.frozensets(st.sampled_from("abcdefgh"), min_size=1), min_size=1, max_size=6)


@given(histories, st.integers(0, 5))
def test_the_search_is_the_rank_test(rows, most):
    found = narrow_combination(rows, most)
    assert (found is not None) == by_rank(rows, most)
    if found is not None:
        assert 1 <= len(found) <= most
        assert any(
            frozenset(name for name, factor in vector.items() if factor) <= found
            for vector in combinations_within(rows, found)
            if any(vector.values())
        )


@given(histories, st.integers(0, 5), st.permutations("abcdefgh"))
def test_names_and_order_make_no_difference(rows, most, names):
    renamed = [frozenset(dict(zip("abcdefgh", names, strict=True))[name] for name in row) for row in rows]
    assert (narrow_combination(rows, most) is None) == (narrow_combination(renamed[::-1], most) is None)


@given(histories, st.integers(0, 4), st.integers(1, 3))
def test_replacing_each_member_by_several_multiplies_what_is_left(rows, most, copies):
    many = [frozenset(f"{name}{number}" for name in row for number in range(copies)) for row in rows]
    assert (narrow_combination(rows, most) is None) == (narrow_combination(many, most * copies) is None)
    assert (narrow_combination(rows, most) is None) == (narrow_combination(many, most * copies + copies - 1) is None)


@given(histories, st.integers(0, 5))
def test_more_sums_never_disclose_less(rows, most):
    if narrow_combination(rows[:-1], most) is not None:
        assert narrow_combination(rows, most) is not None


def test_a_hundred_random_histories_against_an_attacker():
    assert compare(100, 1) == (0, 0)


@pytest.mark.slow
def test_ten_thousand_random_histories_against_an_attacker():
    command = [sys.executable, "-m", "tests.secagg.disclosure_oracle", "10000", "2"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert found["failures"] == []
    assert found["missed"] == found["refused_without_need"] == 0
    assert 2000 < found["refused"] < 8000, "neither answer is rare"


def some_ledger() -> Ledger:
    rounds = [(2, people("abcd")), (10, people("abcd")), (10, people("efgh")), (2, people("xyz"))]
    return Ledger(tuple(Release(m, base(number), number, row) for number, row in rounds for m in (OTHER, MATRIX)))


@pytest.mark.parametrize(
    ("matrix", "revision", "number", "members"),
    [
        ("", base(1), 1, "abc"),
        (MATRIX, base(10).upper(), 1, "abc"),
        (MATRIX, base(1)[1:], 1, "abc"),
        (MATRIX, base(1), 0, "abc"),
        (MATRIX, base(1), 1 << 53, "abc"),
        (MATRIX, base(1), 1, ""),
        (MATRIX, base(1), 1, "a_c"),
    ],
)
def test_a_release_cannot_exist_half_valid(matrix, revision, number, members):
    with pytest.raises(FormatError):
        Release(matrix, revision, number, frozenset(members))


def test_a_ledger_is_a_set_of_facts():
    release = Release(MATRIX, base(1), 1, people("abc"))
    ledger = Ledger().with_release(release)
    assert ledger.releases == (release,)
    assert ledger.with_release(release) == ledger
    other = Release(MATRIX, base(1), 1, people("abd"))  # contradicts the first, and is kept
    assert ledger.with_release(other, release).releases == (release, other)
    assert some_ledger() == Ledger(some_ledger().releases[::-1])


def test_where_lists_may_differ_a_matrix_is_released_once():
    """Rule 3: over the same members or others, at any base, before or after."""
    for first, second in ((True, False), (False, True), (True, True)):
        ledger = Ledger().with_release(Release(MATRIX, base(1), 1, people("abcdef"), first))
        with pytest.raises(DisclosureRefused, match="released once and never again"):
            ledger.check(MATRIX, base(2), people("abcdef"), 0, epochs=MANY, split=second)
        ledger.check(OTHER, base(2), people("abcdef"), 0, epochs=MANY, split=second)
    Ledger().with_release(Release(MATRIX, base(1), 1, people("abcdef"))).check(
        MATRIX, base(2), people("abcdef"), 0, epochs=MANY
    )


def test_a_ledger_is_written_and_read_back():
    ledger = some_ledger()
    written = canonical_json(ledger.to_dict())
    assert Ledger.from_dict(parse_canonical_json(written, "the ledger")) == ledger
    assert Ledger.from_dict(Ledger().to_dict()) == Ledger()
    assert [entry["round"] for entry in ledger.to_dict()["releases"]] == [2, 2, 10, 10]
    assert ledger.to_dict()["releases"][0] == {
        "round": 2,
        "base": base(2),
        "survivors": ["a", "b", "c", "d"],
        "split": False,
        "matrices": [OTHER, MATRIX],
    }


FAULTS = {
    "not an object": lambda value: [],
    "another format": lambda value: value | {"format": "fedspallm-secure/2 ledger"},
    "a member more": lambda value: value | {"more": 1},
    "no releases": lambda value: {"format": value["format"]},
    "releases no array": lambda value: value | {"releases": {}},
    "release no object": lambda value: changed(value, lambda entries: entries.append(7)),
    "release with more": lambda value: changed(value, lambda entries: entries[0].update(more=1)),
    "release with less": lambda value: changed(value, lambda entries: entries[0].pop("base")),
    "round true": lambda value: changed(value, lambda entries: entries[0].update(round=True)),
    "round 0": lambda value: changed(value, lambda entries: entries[0].update(round=0)),
    "round too large": lambda value: changed(value, lambda entries: entries[-1].update(round=1 << 53)),
    "base in capitals": lambda value: changed(value, lambda entries: entries[0].update(base="AB" * 32)),
    "base too short": lambda value: changed(value, lambda entries: entries[0].update(base="ab" * 31)),
    "nobody": lambda value: changed(value, lambda entries: entries[0].update(survivors=[])),
    "no matrix": lambda value: changed(value, lambda entries: entries[0].update(matrices=[])),
    "matrix without name": lambda value: changed(value, lambda entries: entries[0]["matrices"].insert(0, "")),
    "matrix a number": lambda value: changed(value, lambda entries: entries[0].update(matrices=[7])),
    "member a number": lambda value: changed(value, lambda entries: entries[0].update(survivors=[7])),
    "no id": lambda value: changed(value, lambda entries: entries[0]["survivors"].append("y/z")),
    "members out of order": lambda value: changed(value, lambda entries: entries[0]["survivors"].reverse()),
    "a member twice": lambda value: changed(value, lambda entries: entries[0]["survivors"].append("d")),
    "matrices out of order": lambda value: changed(value, lambda entries: entries[0]["matrices"].reverse()),
    "entries out of order": lambda value: changed(value, lambda entries: entries.reverse()),
    "an entry twice": lambda value: changed(value, lambda entries: entries.append(entries[-1])),
}


def changed(value, change):
    change(value["releases"])
    return value


@pytest.mark.parametrize("fault", FAULTS)
def test_a_ledger_in_any_other_form_is_refused(fault):
    value = json.loads(canonical_json(some_ledger().to_dict()))
    with pytest.raises(FormatError):
        Ledger.from_dict(FAULTS[fault](value))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(base(1)),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.fixed_dictionaries({"format": st.just("fedspallm-secure/1 ledger"), "releases": inner})
            | st.fixed_dictionaries({"round": inner, "base": inner, "survivors": inner, "matrices": inner})
        ),
    )
)
def test_anything_is_a_ledger_or_an_error_of_form(value):
    try:
        ledger = Ledger.from_dict(value)
    except FormatError:
        return
    assert ledger.to_dict() == value
