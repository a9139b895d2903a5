"""The report of an audit: one HTML file that stands alone, for a compliance officer.

No script, no font, no picture from elsewhere; the page's own content security policy forbids them.  Everything from the
log is escaped.  Paths of this machine do not appear.
"""

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fedspallm_secure import SOFTWARE
from fedspallm_secure.app.audit import claims
from fedspallm_secure.app.audit.charts import legend_mark
from fedspallm_secure.app.audit.quality import ABSENT
from fedspallm_secure.app.audit.quality import RESULT as QUALITY_FILE
from fedspallm_secure.app.audit.report_rounds import overview, section
from fedspallm_secure.app.audit.sayings import entries, moment
from fedspallm_secure.app.audit.timeline import Story
from fedspallm_secure.app.audit.verifying import failed
from fedspallm_secure.app.reporting.numbers import count
from fedspallm_secure.crypto.fingerprints import fingerprint
from fedspallm_secure.protocol.audit.policies import NO_QUORUM, TrustPolicy
from fedspallm_secure.protocol.audit.reports import Finding, Report, Step
from fedspallm_secure.storage.files import atomic_write

_LONG: Final = 12  # rows from which a table starts folded
_MOST_FINDINGS: Final = 40  # of a step
_CODES: Final = ("Root hash", "Root certificate")  # facts in letters of one width


@dataclass(frozen=True, slots=True)
class Audited:
    """Everything that a report is made of.

    root: certificate, DER; made: Unix seconds; round: the one whose details are shown, None for all; quality: a
    sentence about perplexity; documents, receipts: whether they were looked at.
    """

    story: Story
    report: Report
    root: bytes
    policy: TrustPolicy | None
    made: int
    quality: str
    round: int | None = None
    documents: bool = True
    receipts: bool = False


def write_audit(path: Path, audited: Audited) -> None:
    """Write the report to `path`, complete or not at all.  Raises StorageError."""
    page = render_audit(audited).encode()  # first, so that a failure here touches no file
    with atomic_write(path) as file:
        file.write(page)


def render_audit(audited: Audited) -> str:
    """The report as one HTML page."""
    environment = _environment()
    style = "".join(environment.get_template(name).render() for name in ("report.css.j2", "audit.css.j2"))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    rounds = list(audited.story.rounds.values())
    detailed = [found for found in rounds if audited.round in (None, found.number)]
    # The style sheets are files of these packages without a single placeholder, hence Markup.
    return environment.get_template("audit.html.j2").render(
        csp=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        style=Markup(style),  # noqa: S704
        long=_LONG,
        codes=_CODES,
        mark=legend_mark,
        origin=audited.story.origin,
        verdict=_verdict(audited),
        facts=_facts(audited),
        steps=[_step(step) for step in audited.report.steps],
        unread=audited.story.unread,
        overview=overview(rounds),
        rounds=[section(found) for found in detailed],
        quality=audited.quality,
        shown=claims.shown(audited.report),
        not_shown=claims.not_shown(audited.report, audited.policy, audited.receipts),
        footer=_footer(audited),
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=ChoiceLoader([PackageLoader(f"fedspallm_secure.app.{name}") for name in ("audit", "reporting")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _verdict(audited: Audited) -> dict[str, Any]:
    report, step = audited.report, failed(audited.report)
    left = claims.not_run(report)
    if step is not None:
        where = "; ".join(_finding(finding) for finding in step.findings[:3])
        return {
            "kind": "bad",
            "outcome": f"This log does not pass: step {step.name} failed.",
            "sentences": [
                f"{claims.STEPS.get(step.name, step.title)} This is not so: {where or step.title}.",
                "Do not rely on its rounds. Ask the server's operator about each of the entries named here.",
                *left,
            ],
        }
    many = f"{count(report.size)} {'entry' if report.size == 1 else 'entries'}"
    whole = all(one.passed for one in report.steps if one.name != "V7")  # receipts are nobody's duty
    return {
        "kind": "good" if whole else "part",
        "outcome": "This log passes the audit." if whole else "What was checked passes, but not all could be checked.",
        "sentences": [
            f"All checks that were run passed: {claims.passed(report)}, on {many}.",
            *left,
            "What that shows, and what it does not, stands at the end.",
        ],
    }


def _facts(audited: Audited) -> list[tuple[str, str]]:
    policy, report = audited.policy, audited.report
    newest = max((line.at for found in audited.story.rounds.values() for line in found.lines), default=None)
    outside = max((line.at for line in audited.story.outside), default=None)
    last = max((at for at in (newest, outside) if at is not None), default=None)
    return [
        ("Entries", count(report.size)),
        ("Root hash", report.root.hex()),
        ("Newest entry", "none" if last is None else moment(last)),
        ("Rounds", count(len(audited.story.rounds))),
        ("Root certificate", fingerprint(audited.root)),
        ("Witnesses", _witnesses(policy, report)),
        ("Documents", _documents(audited)),
    ]


def _documents(audited: Audited) -> str:
    """Whether what entries name was looked at: V4 is the step that does it."""
    if not audited.documents:
        return "not looked at: this is a copy without them"
    looked = {step.name: step.passed for step in audited.report.steps}.get("V4")
    return "all looked at" if looked else "not looked at, or not all of them: see V4"


def _witnesses(policy: TrustPolicy | None, report: Report) -> str:
    if policy is None:
        return "no policy was given, so no cosignature was asked for"
    if policy.quorum == NO_QUORUM:
        return "the policy asks for no cosignature"
    group = policy.groups.get(policy.quorum)
    many = f"{group.threshold} of {len(group.members)}" if group is not None else policy.quorum
    if not report.witnessed:
        return f"the policy asks for {many}; no checkpoint was found that they cosigned"
    return f"the policy asks for {many}; they cosigned the first {count(report.witnessed)} entries"


def _step(step: Step) -> dict[str, Any]:
    kind, outcome = {True: ("good", "passed"), False: ("bad", "failed"), None: ("none", "not run")}[step.passed]
    if step.passed is None:
        told = [claims.reason(step)]
    else:
        told = [_finding(finding) for finding in step.findings[:_MOST_FINDINGS]]
    left = len(step.findings) - _MOST_FINDINGS
    return {
        "name": step.name,
        "kind": kind,
        "outcome": outcome,
        "meaning": claims.STEPS.get(step.name, step.title),
        "findings": [*told, f"and {count(left)} more"] if left > 0 else told,
    }


def _finding(finding: Finding) -> str:
    return f"{finding.text} ({entries(finding.indices)})" if finding.indices else finding.text


def _footer(audited: Audited) -> list[str]:
    used = ["the log", "the root certificate"]
    used += ["the policy"] if audited.policy is not None else []
    used += ["the receipts"] if audited.receipts else []
    used += [QUALITY_FILE] if audited.quality != ABSENT else []
    made_from = f"{', '.join(used[:-1])} and {used[-1]}"
    return [
        f"Made {moment(audited.made)} by {SOFTWARE} from {made_from}.",
        "Anybody who has these can make it again: fedprune audit report.",
    ]
