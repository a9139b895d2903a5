"""Whatever a medium holds: it is refused for what it is, quickly, and nothing is written anywhere else."""

import collections

import pytest

from tests.attacks.hostile import CASES, run


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    return run(tmp_path_factory.mktemp("hostile"))


def test_every_case_ends_as_it_should(outcome):
    assert outcome.failures == []


def test_there_are_enough_cases(outcome):
    assert len({(case.kind, case.name) for case in CASES}) == len(CASES) >= 60
    assert len(outcome.skipped) <= sum("device" in case.name or case.name == "disk" for case in CASES)
    kinds = collections.Counter(case.kind for case in CASES)
    assert min(kinds.values()) >= 3
    assert outcome.total >= len(CASES) - len(outcome.skipped)
