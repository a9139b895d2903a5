"""The report of an audit: it stands alone, says the verdict first, and lets nothing from the log out of its place."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from fedspallm_secure.app.audit import claims
from fedspallm_secure.app.audit.quality import ABSENT, perplexity_beside
from fedspallm_secure.app.audit.report import Audited, render_audit, write_audit
from fedspallm_secure.app.audit.timeline import Line, read_story
from fedspallm_secure.app.audit.verifying import failure, report_dict
from fedspallm_secure.errors import AuditFailed, AuditGrammar, AuditIncomplete, AuditReceipts
from fedspallm_secure.protocol.audit.entries import EntryType
from fedspallm_secure.protocol.audit.policies import make_policy
from fedspallm_secure.protocol.audit.reports import Finding, Report, Step
from tests.app.audit.written import BEGIN, HASH, Written, whole_log
from tests.app.reporting.reports import make_result
from tests.protocol.audit import logs

STEPS = tuple(Step(f"V{number}", f"step {number}", True, ()) for number in range(1, 9))
EVIL = "<script>alert('x')</script>\"&"


def report(**changed):
    """A report in which everything passed, but for steps by name."""
    steps = tuple(changed.get(step.name, step) for step in STEPS)
    return Report(steps=steps, size=30, root=bytes(range(32)), witnessed=30)


def audited(log=None, **changes):
    log = log or whole_log()
    story = read_story(log, logs.LOG.name, len(log.bodies), lambda done, total: None)
    values = {
        "story": story, "report": report(), "root": b"root", "policy": None, "made": BEGIN, "quality": ABSENT,
        "receipts": True,
    }  # fmt: skip
    return Audited(**{**values, **changes})


class Outline(HTMLParser):
    """Checks that every element is closed in order, and gathers attributes and text."""

    void = frozenset({"meta"})

    def __init__(self, page):
        super().__init__()
        self.open, self.attributes, self.tags, self.texts = [], [], [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        self.tags.append(tag)
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts)).replace("\xa0", " ")


@pytest.fixture(scope="module")
def page():
    return render_audit(audited())


def test_the_page_is_well_formed_and_stands_alone(page):
    found = Outline(page)
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(found.tags)
    names = {name for name, _ in found.attributes}
    assert not {"src", "href", "style", "onload", "onclick"} & names
    assert "http" not in page.replace("http-equiv", "") and "url(" not in page and "@import" not in page
    assert any(name == "content" and value.startswith("default-src 'none'") for name, value in found.attributes)


def test_the_verdict_stands_on_top(page):
    text = Outline(page).text
    assert text.index("This log passes the audit.") < text.index("What was checked") < text.index("Round 1")
    assert "All checks that were run passed: V1, V2, V3, V4, V5, V6, V7 and V8, on 30 entries." in text
    assert "did not pass" not in text


def test_a_log_that_does_not_pass():
    bad = Step("V5", "Grammar", False, (Finding(f"two plans {EVIL}", (4, 9)), Finding("no list", ())))
    why = (Finding("not run: it rests on a step that failed"),)
    rest = {name: Step(name, name, None, why) for name in ("V6", "V7", "V8")}
    found = Outline(render_audit(audited(report=report(V5=bad, **rest))))
    assert "This log does not pass: step V5 failed." in found.text
    assert f"two plans {EVIL} (entries 4 and 9); no list." in found.text.replace(" ' ", "'")
    assert "V6, V7 and V8 were not run: it rests on a step that failed." in found.text
    assert "It did not pass, so some of it may be false." in found.text
    shown = claims.shown(report(V5=bad, **rest))
    assert shown == [claims.STEPS[f"V{number}"] for number in (1, 2, 3, 4)]


def test_what_a_compliance_officer_looks_for(page):
    text = Outline(page).text
    for words in (
        "2:4: of every 4 neighbours in a matrix 2 stay",
        "up to 1 member may work with the server",
        "west sent no vector",
        "mid sent a vector that was refused by check S4 for layer 4",
        "south sent a vector that is in no sum for layer 3",
        "east did not sign the list",
        "north did not help to open the sums",
        "50.0 % were kept by all members in the sum or by none",
        "10.00 % were kept by exactly one",
        "layer 4 does not pass check U3",
        "ended without a result: too few members handed in a vector",
        "model.safetensors",
        ABSENT,
        "That the sums are those of the vectors.",
        "Nobody outside the project reviewed it.",
    ):
        assert words in text
    assert HASH in page
    assert page.count("<circle") == 8 + 2  # a mark for each vector, and one in the legend of each round


def test_everything_from_the_log_is_escaped():
    log = whole_log()
    log.add(EntryType.RETENTION, removed="answers", reason=EVIL)
    made = audited(log, quality=EVIL)
    made.story.unread.append(EVIL)
    first = made.story.rounds[1]
    first.lines.append(Line(99, first.lines[-1].at, "member/east", EntryType.REFUSAL, EVIL, 3, 3))
    first.files[0]["name"] = EVIL
    page = render_audit(made)
    assert "<script" not in page and "&lt;script&gt;" in page
    assert page.count("alert(") == page.count("&lt;script&gt;alert(")
    Outline(page)


def test_one_round_alone():
    text = Outline(render_audit(audited(round=2))).text
    assert "Round 2 " in text and "east did not sign the list" not in text


def test_a_log_without_rounds():
    log = Written()
    log.begin()
    assert "The log has no rounds yet." in render_audit(audited(log))


def test_documents_that_were_not_looked_at():
    left = Step("V4", "Documents", None, (Finding("not run: it rests on a step that failed"),))
    for made, words in (
        (audited(), "Documents all looked at"),
        (audited(documents=False), "not looked at: this is a copy without them"),
        (audited(report=report(V4=left)), "not looked at, or not all of them: see V4"),
    ):
        assert words in Outline(render_audit(made)).text


def test_the_footer_names_what_the_page_was_made_from():
    policy = make_policy(logs.LOG, logs.WITNESSES[:3], 2)
    for changes, words in (
        ({"receipts": False}, "from the log and the root certificate."),
        ({}, "from the log, the root certificate and the receipts."),
        (
            {"policy": policy, "quality": "28.28 before"},
            "from the log, the root certificate, the policy, the receipts and result.json.",
        ),
    ):
        assert words in Outline(render_audit(audited(**changes))).text


def test_a_quorum_that_cosigned_nothing():
    made = audited(policy=make_policy(logs.LOG, logs.WITNESSES[:3], 2), report=replace(report(), witnessed=None))
    assert "asks for 2 of 3; no checkpoint was found that they cosigned" in Outline(render_audit(made)).text


@pytest.mark.parametrize("quorum", [None, 0, 2])
def test_what_is_not_shown_depends_on_what_was_given(quorum):
    policy = None if quorum is None else make_policy(logs.LOG, logs.WITNESSES[:3], quorum)
    for receipts in (False, True):
        told = dict(claims.not_shown(report(), policy, receipts))
        assert ("That others saw the same log." in told) == (not quorum)
        assert ("since no receipts were given" in told["That nothing was left out."]) == (not receipts)
    text = Outline(render_audit(audited(policy=policy))).text
    asked = {
        None: "no policy was given",
        0: "asks for no cosignature",
        2: "asks for 2 of 3; they cosigned the first 30 entries",
    }
    assert asked[quorum] in text


def test_receipts_that_were_not_given():
    none = Step("V7", "Receipts", None, (Finding("not run: no receipts were given"),))
    text = Outline(render_audit(audited(report=report(V7=none), receipts=False))).text
    assert "V7 was not run: no receipts were given." in text


def test_the_error_is_that_of_the_first_step_that_failed():
    assert failure(report()) is None
    bad = {name: Step(name, name, False, (Finding("a", (3,)), Finding("b", (1, 3)))) for name in ("V5", "V7")}
    error = failure(report(**bad))
    assert type(error) is AuditGrammar and error.indices == (1, 3) and str(error) == "V5: a, and 1 more"
    assert type(failure(report(V7=bad["V7"]))) is AuditReceipts
    assert failure(report(V7=Step("V7", "V7", None))) is None
    assert type(failure(report(V3=Step("V3", "V3", None)))) is AuditIncomplete  # nothing failed, and nothing was seen
    assert type(failure(replace(report(), steps=(Step("V99", "new", False, ()),)))) is AuditFailed
    plain = report_dict(report(**bad))
    assert plain["passed"] is False and plain["steps"][4]["findings"][1] == {"text": "b", "entries": [1, 3]}


def test_written_whole(tmp_path):
    write_audit(tmp_path / "audit.html", audited())
    assert (tmp_path / "audit.html").read_text().startswith("<!DOCTYPE html>")
    assert len(list(tmp_path.iterdir())) == 1


def test_perplexity_beside_the_log(tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    (log / "checkpoint").write_bytes(b"")
    assert perplexity_beside(log) == ABSENT == perplexity_beside(tmp_path / "nothing")
    (tmp_path / "result.json").write_text(json.dumps(make_result()))
    told = perplexity_beside(log)
    assert "28.28 before and 30.92 after" in told and "nothing here vouches for that" in told
    for bad in ("{}", "[1", '{"dense": {"mean": "x"}, "federated": 1}'):
        (tmp_path / "result.json").write_text(bad)
        assert "cannot be read" in perplexity_beside(log)
