"""The log of a real federation passes its audit, and no forgery of it does: each fails the step that is for it."""

from dataclasses import replace

import pytest

from fedspallm_secure.crypto.notes import (
    Checkpoint,
)
from fedspallm_secure.protocol.audit.entries import read_head
from fedspallm_secure.protocol.audit.policies import make_policy
from fedspallm_secure.protocol.audit.verification import Given, verify_log
from fedspallm_secure.protocol.rounds.receipts import Receipt
from tests.app.audit.forgeries import CASES, TYPES, an_entry_changed, an_entry_gone
from tests.app.audit.real_log import MemoryLog, played, read


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    with played(tmp_path_factory.mktemp("log")) as found:
        return read(found)


@pytest.fixture
def log(honest):
    return honest.copy()


def audit(log: MemoryLog, policy=None, root=None, **given):
    return verify_log(log, log.root if root is None else root, policy, Given(**given))


def failed(report) -> list[str]:
    return [step.name for step in report.steps if step.passed is False]


def findings(report, name):
    return next(step.findings for step in report.steps if step.name == name)


def test_a_real_log_passes_with_all_that_members_hold(log):
    report = audit(log, receipts=tuple(log.receipts), checkpoints=tuple(log.shown))
    assert [(step.name, step.passed) for step in report.steps] == [(f"V{number}", True) for number in range(1, 9)]
    assert (report.size, report.root, report.rounds) == (len(log.bodies), log.tree.root(), 2)
    assert log.shown and len(log.receipts) == 20


def test_what_was_not_given_is_not_said_to_have_passed(log):
    report = audit(log)
    assert {step.name for step in report.steps if step.passed is None} == {"V7"}


def test_a_copy_without_documents(log):
    log.documents.clear()
    policy = make_policy(log.key, [], 0)
    assert failed(audit(log, policy))[0] == "V1"
    report = audit(log, policy, documents=False)
    assert report.passed
    assert {step.name for step in report.steps if step.passed is None} == {"V4", "V6", "V7", "V8"}


@pytest.mark.parametrize(("step", "forge"), CASES, ids=[forge.__name__ for _, forge in CASES])
def test_a_forgery_fails_the_step_that_is_for_it(log, step, forge):
    given = forge(log)
    report = audit(log, **(given if isinstance(given, dict) else {}))
    assert step in failed(report), [(one.name, one.passed, one.findings[:2]) for one in report.steps]
    assert not report.passed


def test_findings_name_the_entries(log):
    index = log.find(TYPES.CONTRIBUTION, 2)
    log.head(index, lambda context: replace(context, round=1))
    (found,) = findings(audit(log), "V4")
    assert found.indices == (index,)
    assert f"entry {index}, contribution" in found.text


def test_what_rests_on_a_failed_step_is_not_run(log):
    an_entry_gone(log)
    report = audit(log)
    assert [step.passed for step in report.steps] == [True, True, False, None, None, None, None, None]


def test_an_entry_that_was_damaged_puts_nobody_to_blame(log):
    """What members have seen is held against a whole log alone."""
    an_entry_changed(log)
    assert failed(audit(log)) == ["V3"]


@pytest.mark.parametrize("note", [b"", b"nothing\n\n", b"\xff"])
def test_a_checkpoint_that_cannot_be_read(log, note):
    log.signed = note
    report = audit(log)
    assert failed(report) == ["V2"]
    assert [step.passed for step in report.steps] == [None, False, *[None] * 6]


def test_a_receipt_that_is_not_handed_in_is_told(log):
    mine = [data for data in log.receipts if Receipt.parse(data).member == "north" and Receipt.parse(data).round == 1]
    report = audit(log, receipts=tuple(mine[1:]))
    assert report.passed
    (found,) = findings(report, "V7")
    assert "north handed in no receipt" in found.text and found.indices


def test_heads_carry_what_their_senders_saw(log):
    heads = [read_head(entry.data["head"]) for entry in log.all() if "head" in entry.data]
    sizes = [Checkpoint.of_note(head.context.checkpoint).size for head in heads]
    assert len(sizes) > 30 and all(sizes)
