"""A few changes of a short log; and that the figure tells when an audit lets one pass."""

import random

import pytest

from fedspallm_secure.protocol.audit import verification
from fedspallm_secure.protocol.audit.reports import Report, Step
from fedspallm_secure.protocol.audit.verification import Given, verify_log
from fedspallm_secure.storage.log_reader import COSIGNED
from tests.figures import tampering
from tests.figures.laid_log import LAG, another, laid, last_shown, numbered, play
from tests.figures.tampering import LEFT, NOT_READ, Change, Laid, Task, changes, judge, run

SIZE, CHANGES = 120, 33


@pytest.fixture(scope="module")
def parties():
    return play(SIZE, 1, rounds=3)


@pytest.fixture
def found(parties, tmp_path):
    return Laid(parties, tmp_path, random.Random(1))


@pytest.fixture
def again(parties, monkeypatch):
    """`run`, with the log that is there already."""
    monkeypatch.setattr(tampering, "play", lambda entries, seed: parties)
    return lambda: run(Task(SIZE, CHANGES, 0, 1))


def test_a_longer_log_is_one_that_its_server_could_have_written(parties):
    log = parties.log
    report = verify_log(log, log.root, None, Given(receipts=tuple(log.receipts), checkpoints=tuple(log.shown)))
    assert len(log.bodies) == SIZE and report.rounds == 3
    assert [step.name for step in report.steps if not step.passed] == []


def test_files_are_those_that_a_server_publishes(found):
    made = laid(found.parties, found.bodies, found.right[COSIGNED])
    right = {name: data for name, data in found.right.items() if not name.startswith("documents/")}
    assert made == {name: data for name, data in right.items() if name in found.read}
    assert all(name.endswith(f".p/{SIZE - LAG}") for name in right.keys() - made.keys())


def test_what_is_signed_anew_is_what_the_server_would_sign(parties):
    log = parties.log
    assert numbered(log.server, log.bodies, 0) == log.bodies
    moved = log.copy()
    del moved.bodies[50]
    right = log.copy()
    right.order(*(index for index in range(SIZE) if index != 50))
    assert numbered(log.server, moved.bodies, 50) == right.bodies


def test_every_change_is_found(again):
    counts, failures = again()
    assert failures == []
    assert counts["changes"] == CHANGES and counts["found"] == counts["read"] > 25
    assert {name.partition(",")[0] for name in counts if "operator" in name} == {
        f"{way} by the operator" for way in ("replaced", "dropped", "exchanged", "added", "cut off")
    }


def test_a_change_that_nothing_contradicts_passes(found):
    """Otherwise a fork might be found because it was made badly."""
    index = last_shown(found.parties) + 1
    bodies = list(found.bodies)
    bodies.insert(index, another(found.parties, index, found.parties.log.entry(index - 1).at))
    files = laid(found.parties, numbered(found.parties.log.server, bodies, index), None)
    found.lay({**files, **found._documents})
    error, report = found.audit(())
    assert error is None
    assert judge(Change("added", "", {}, (), next(iter(LEFT))), error, report) == ("not found", "not found")


def test_a_change_that_is_found_by_something_else_is_told_apart(found):
    found.lay({**found.right, "checkpoint": b"nothing"})
    left = next(iter(LEFT))
    how, wrong = judge(Change("replaced", "", {}, (), left), *found.audit(("policy",)))
    assert how == "V2, exit code 202, by another contradiction" and not wrong


def test_files_that_no_audit_reads_are_told_apart(found):
    name = next(name for name in found.right if name.endswith(f".p/{SIZE - LAG}"))
    assert name not in found.read
    found.lay({**found.right, name: b"anything"})
    assert judge(Change(NOT_READ, "", {}), *found.audit(("policy",))) == ("not read by an audit", "")


def all_passed(source, root, policy, given, told):
    report = verify_log(source, root, policy, given, told)
    return Report(tuple(Step(step.name, step.title, True) for step in report.steps), report.size, report.root)


def test_a_verifier_that_passes_everything_fails_the_figure(again, monkeypatch):
    monkeypatch.setattr("fedspallm_secure.app.audit.verifying.verify_log", all_passed)
    counts, failures = again()
    assert len(failures) > 25 and counts.get("found", 0) < 5


@pytest.mark.parametrize(
    ("name", "instead", "missed"),
    [
        ("_compare_one", lambda *_: None, "by the operator"),
        ("_check_quorum", lambda *_: None, "a cosignature left out"),
        ("_conclude", lambda self, *_: self._findings.found.pop("V3", None), "a byte of hashes"),
    ],
)
def test_a_verifier_that_leaves_something_out_fails_the_figure(again, monkeypatch, name, instead, missed):
    monkeypatch.setattr(verification._Verification, name, instead)
    _, failures = again()
    assert any(missed in failure for failure in failures), failures


def test_there_is_a_change_of_every_kind(found):
    kinds = [make().kind for make in changes(found)]
    assert len(kinds) == CHANGES and sum("operator" in kind for kind in kinds) == 14
