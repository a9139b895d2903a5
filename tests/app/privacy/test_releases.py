"""A member's privacy ledger: releases compose, last, and end where the budget ends; what is damaged is no empty one."""

import sys

import pytest

from fedspallm_secure.app.privacy.accounting import composed_epsilon, noise_multiplier
from fedspallm_secure.app.privacy.releases import KIND, MemberLedger, read_releases
from fedspallm_secure.app.privacy.standing import sentence, standing
from fedspallm_secure.crypto.encoding import canonical_json
from fedspallm_secure.errors import MissingExtra, PlanRefused, RecordDamaged, UsageError
from fedspallm_secure.pruning.noise import SIGMA
from tests.app.privacy.terms import Facts, release, terms

pytest.importorskip("dp_accounting")


def test_two_rounds_compose_and_a_third_is_refused():
    facts = Facts()
    ledger = MemberLedger(facts, terms())
    assert (ledger.left(), facts.kept) == (2, {})
    assert SIGMA / ledger.steps() >= noise_multiplier(8.0, 1e-6, 2)
    first = ledger.enter(release(ledger))
    assert 0 < first.spent < 8 and ledger.left() == 1
    second = ledger.enter(release(ledger, 2))
    assert first.steps == second.steps and 7.9 < second.spent <= 8
    assert second.spent == composed_epsilon([first.multiplier, second.multiplier], 1e-6)
    again = MemberLedger(facts, terms())  # another process
    assert again.releases == [first, second] and again.left() == 0
    for spend in (again.check_room, lambda: again.enter(release(again, 3))):
        with pytest.raises(PlanRefused, match="privacy budget is spent: 2 of 2 releases"):
            spend()
    assert MemberLedger(facts, terms()).releases == [first, second]


def test_what_was_spent_counts_under_other_terms_too():
    facts = Facts()
    ledger = MemberLedger(facts, terms(2.0, 1))
    ledger.enter(release(ledger))
    assert MemberLedger(facts, terms(2.0, 2)).left() == 0  # another round needs more than was spent
    more = MemberLedger(facts, terms(8.0, 3, clip=2.0))
    assert more.left() == 2
    more.enter(release(more, 2))
    last = more.enter(release(more, 3))
    assert 7.9 < last.spent <= 8 and more.left() == 0
    assert MemberLedger(facts, terms(1.0, 9)).left() == 0


def test_less_noise_than_the_terms_ask_for_is_refused_and_not_entered():
    facts = Facts()
    ledger = MemberLedger(facts, terms())
    with pytest.raises(PlanRefused, match="would bring the privacy budget to epsilon"):
        ledger.enter(release(ledger, steps=2 * ledger.steps()))
    assert facts.kept == {} and ledger.releases == []


def test_an_entry_that_cannot_be_written_was_not_made(monkeypatch):
    facts = Facts()
    ledger = MemberLedger(facts, terms())
    monkeypatch.setattr(facts, "remember", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        ledger.enter(release(ledger))
    assert ledger.releases == [] and ledger.left() == 2


def test_a_release_is_found_by_what_it_was_drawn_from():
    ledger = MemberLedger(Facts(), terms())
    first = ledger.enter(release(ledger))
    second = ledger.enter(release(ledger, 2))
    assert ledger.find("ab" * 32, [0, 2]) == [second, first]
    assert ledger.find("ab" * 32, [0]) == ledger.find("cd" * 32, [0, 2]) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("spent"),
        lambda d: d.update(more=1),
        lambda d: d.update(steps=0),
        lambda d: d.update(steps="1"),
        lambda d: d.update(epsilon="eight"),
        lambda d: d.update(epsilon="8"),
        lambda d: d.update(layers=3),
    ],
)
def test_a_damaged_entry_is_no_empty_ledger(damage):
    facts = Facts()
    ledger = MemberLedger(facts, terms())
    entry = ledger.enter(release(ledger)).to_dict()
    assert read_releases({"00000001": entry}) == ledger.releases
    damage(entry)
    facts.kept["00000001"] = canonical_json(entry)
    with pytest.raises(RecordDamaged, match="privacy ledger"):
        MemberLedger(facts, terms())
    with pytest.raises(RecordDamaged):
        read_releases({"00000001": []})


def test_noise_that_cannot_be_had_and_a_library_that_is_missing(monkeypatch):
    with pytest.raises(UsageError, match=r"no noise fits \[privacy\] epsilon = 0.001"):
        MemberLedger(Facts(), terms(1e-3)).steps()
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(MissingExtra, match="dp-accounting") as caught:
        MemberLedger(Facts(), terms()).steps()
    assert caught.value.exit_code == 42


def test_where_a_member_stands_in_numbers_and_in_words():
    facts = Facts()
    ledger = MemberLedger(facts, terms())
    assert standing(None, {}) is None
    found = standing(terms(), {})
    assert found == {
        "epsilon": 8.0, "delta": 1e-6, "clip": 1.0, "rounds": 2, "records": 6, "releases": 0, "spent": 0.0,
        "left": 8.0, "releases_left": 2,
    }  # fmt: skip
    assert "nothing is spent yet; there is epsilon 8 at delta 1e-06 for 2 rounds" in sentence(found)
    spent = ledger.enter(release(ledger)).spent
    found = standing(terms(), facts.recall_all(KIND))
    assert (found["spent"], found["left"], found["releases_left"]) == (spent, 8 - spent, 1)
    words = sentence(found)
    assert words.startswith(
        f"({spent:.3g}, 1e-06) record-level differential privacy for the released keep-masks with respect to your "
        "calibration records, for 1 round, assuming this machine runs the published clipping and noise code; left of "
    )
    assert "1 round; a record is one of 6 calibration windows, its clip 1" in words
    other = standing(terms(16.0, 4, delta=1e-5), facts.recall_all(KIND))
    assert other["spent"] < spent and other["releases_left"] == 3
    off = standing(None, facts.recall_all(KIND))
    assert (off["epsilon"], off["spent"], off["releases_left"]) == (None, spent, 0)
    assert sentence(off).startswith("off: you prune without noise now. (")


def test_who_looks_on_needs_the_library_only_under_other_terms(monkeypatch):
    facts = Facts()
    ledger = MemberLedger(facts, terms())
    ledger.enter(release(ledger))
    entries = facts.recall_all(KIND)
    known = standing(terms(), entries)
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    assert standing(terms(), entries) == known
    found = standing(terms(9.0, delta=1e-5), entries)
    assert (found["spent"], found["left"], found["releases_left"]) == (None, None, None)
    assert "(unknown here, 1e-05)" in sentence(found)
