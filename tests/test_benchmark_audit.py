"""P13 on a short log: what it measures is an audit that passes, and its peer verifies the same signatures."""

import json

import pytest

from benchmarks import audit_runs, p13_audit
from fedspallm_secure.protocol.audit.entries import Entry
from fedspallm_secure.storage.log_folder import FolderLog

SIZE, PREKEYS = 200, 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("log")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(p13_audit, "PREKEYS", PREKEYS)
        p13_audit.make(found, SIZE, 2)
    return found


def test_the_log_passes_and_is_mostly_contributions_and_answers(folder):
    found = audit_runs.audit(folder)
    assert found["passed"] and found["entries"] == SIZE and found["rounds"] > 3
    entries = [Entry.parse(body) for body in FolderLog(folder / "log").entries(SIZE)]
    assert sum("head" in entry.data for entry in entries) > SIZE / 2
    uses = [use for entry in entries if entry.type == "plan" for use in _plan(folder, entry)["prekeys"]]
    assert len({(use["bundle"], use["index"]) for use in uses}) == len(uses)
    assert max(use["index"] for use in uses) < PREKEYS


def _plan(folder, entry):
    return json.loads((folder / "log/documents" / entry.data["document"]).read_bytes())


def test_the_peer_verifies_every_entry_and_header(folder):
    entries = [Entry.parse(body) for body in FolderLog(folder / "log").entries(SIZE)]
    found = audit_runs.bare(folder)
    assert found["count"] == SIZE + sum("head" in entry.data for entry in entries)
    assert found["cpu"] == found["signatures"] + found["hashes"] > 0


@pytest.mark.slow
def test_rows_say_what_was_measured(folder, monkeypatch):
    monkeypatch.setattr(p13_audit, "make", lambda *_: None)
    run = p13_audit._run
    monkeypatch.setattr(p13_audit, "_run", lambda what, _: run(what, folder))
    time, ratio, memory, where = p13_audit.measure(1)
    assert time.figures["rounds"] > 3 and time.ratios[0] > 0
    assert 0 < ratio.ratios[0] < 1.5
    assert 10 < memory.ratios[0] < p13_audit.MEMORY
    assert 0 < where.ratios[0] < 1 and set(where.figures) >= {"signatures", "parsing JSON", "spelling JSON again"}


@pytest.mark.slow
def test_an_audit_that_fails_is_no_measurement(folder):
    bundle = folder / "log/tile/entries/000.p" / str(SIZE)
    data = bundle.read_bytes()
    try:
        bundle.write_bytes(data[:-10] + bytes([data[-10] ^ 1]) + data[-9:])
        with pytest.raises(AssertionError, match="does not pass"):
            p13_audit._run("verify", folder)
    finally:
        bundle.write_bytes(data)
