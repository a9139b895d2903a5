"""The privacy ledger: what is spent is on disk, once per round, and nothing goes beyond the budget."""

import json

import pytest

from fedspallm_secure.app.privacy.ledger import Ledger, Terms
from fedspallm_secure.errors import PlanRefused, RecordDamaged

TERMS = Terms("north", 8.0, 1e-6, 1.0, 2, 1_521_206)
ONE, TWO = "1" * 64, "2" * 64


@pytest.fixture
def path(tmp_path):
    return tmp_path / "privacy/north.json"


def test_entries_last_and_count_once(path):
    ledger = Ledger.open(path, TERMS)
    assert not path.exists() and ledger.spent == {}
    ledger.enter(1, ONE)
    ledger.enter(1, ONE)
    assert Ledger.open(path, TERMS).spent == {1: ONE}


def test_a_spent_budget_refuses(path):
    ledger = Ledger.open(path, TERMS)
    ledger.enter(1, ONE)
    ledger.check_room(2)
    ledger.enter(2, TWO)
    again = Ledger.open(path, TERMS)
    for check in (lambda: again.check_room(3), lambda: again.enter(3, ONE)):
        with pytest.raises(PlanRefused, match="spent its privacy budget: 2 of 2"):
            check()
    with pytest.raises(PlanRefused, match="spent for round 1 already"):
        again.check_room(1)
    assert Ledger.open(path, TERMS).spent == {1: ONE, 2: TWO}


def test_a_round_has_one_statistic(path):
    ledger = Ledger.open(path, TERMS)
    ledger.enter(1, ONE)
    with pytest.raises(RecordDamaged, match="round 1 is not the one"):
        ledger.enter(1, TWO)


@pytest.mark.parametrize("change", [{"epsilon": 9.0}, {"delta": 1e-5}, {"clip": 2.0}, {"releases": 3}, {"steps": 7}])
def test_a_budget_is_not_changed_once_it_was_spent_from(path, change):
    Ledger.open(path, TERMS).enter(1, ONE)
    with pytest.raises(PlanRefused, match="another privacy budget"):
        Ledger.open(path, Terms(**(TERMS.to_dict() | change)))


@pytest.mark.parametrize("content", [[], {}, {"terms": {}, "spent": {"x": ONE}}, {"terms": {}, "spent": {"1": 2}}])
def test_a_damaged_ledger_is_no_empty_one(path, content):
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    with pytest.raises(RecordDamaged):
        Ledger.open(path, TERMS)
