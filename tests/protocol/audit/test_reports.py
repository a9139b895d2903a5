"""Findings become steps: in order, each once, passed, failed or not run."""

import pytest

from fedspallm_secure.protocol.audit.reports import TITLES, Finding, Findings, Given, Report, Step
from tests.protocol.audit.logs import tree

NAMES = [f"V{number}" for number in range(1, 9)]


def passed(found: Findings) -> dict[str, bool | None]:
    return {step.name: step.passed for step in found.steps()}


def test_there_are_eight_steps_in_order():
    assert list(TITLES) == NAMES
    steps = Findings().steps()
    assert [(step.name, step.title) for step in steps] == list(TITLES.items())
    assert all(step.passed is True and step.findings == () for step in steps)


def test_what_is_found_fails_its_step_and_no_other():
    found = Findings()
    found.add("V4", "somebody else's", 3, 7)
    found.add("V4", "too early")
    assert passed(found) == {name: name != "V4" for name in NAMES}
    (step,) = [step for step in found.steps() if not step.passed]
    assert step.findings == (Finding("somebody else's", (3, 7)), Finding("too early", ()))


def test_what_is_skipped_is_not_run_and_the_first_reason_counts():
    found = Findings()
    found.skip("no receipts were given", "V7")
    found.skip("V3 failed", "V4", "V7")
    assert passed(found) == {**dict.fromkeys(NAMES, True), "V4": None, "V7": None}
    assert [step.findings for step in found.steps() if step.passed is None] == [
        (Finding("V3 failed"),),
        (Finding("no receipts were given"),),
    ]


def test_what_was_found_before_is_told_though_the_rest_is_not_run():
    found = Findings()
    found.add("V6", "a plan of other thresholds", 9)
    found.skip("V5 failed", "V6", "V8")
    assert passed(found)["V6"] is False and passed(found)["V8"] is None
    assert found.steps()[5].findings == (Finding("a plan of other thresholds", (9,)),)


@pytest.mark.parametrize(
    ("states", "expected"), [([True, True], True), ([True, None], True), ([True, False], False), ([None, False], False)]
)
def test_a_report_passes_where_no_step_failed(states, expected):
    steps = tuple(Step(f"V{number}", "x", state) for number, state in enumerate(states, 1))
    assert Report(steps, 3, tree(3).root()).passed is expected


def test_by_default_documents_are_needed_and_nothing_else_is_given():
    given = Given()
    assert (given.checkpoints, given.receipts, given.documents) == ((), None, True)
