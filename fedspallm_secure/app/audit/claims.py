"""What an audit of a log shows and what it does not, for people who decide by it (SPEC sections 18 and 23)."""

from collections.abc import Sequence
from typing import Final

from fedspallm_secure.app.reporting.numbers import listed
from fedspallm_secure.protocol.audit.policies import NO_QUORUM, TrustPolicy
from fedspallm_secure.protocol.audit.reports import Report, Step

STEPS: Final = {
    "V1": "The log belongs to the server that the federation's authority enrolled, and so do all parties in it.",
    "V2": "The log's key signed its size and content, witnesses cosigned it as asked for, and every other checkpoint "
    "at hand is of the same history.",
    "V3": "No entry is missing, none was changed and none was added after it was signed.",
    "V4": "Every entry is signed by the server, and what a party is said to have done is signed by that party, with a "
    "certificate that was valid then.",
    "V5": "Every round went through its stages in order: one plan, one list, one request, one result.",
    "V6": "Cohorts and thresholds are those that the rules give; who is in a sum had handed in a vector for it, and "
    "there were enough of them.",
    "V7": "Whoever has a receipt for a vector stands in the log with it, and nobody who handed in receipts was added.",
    "V8": "Every result is the one of its list, and enough members agreed to it and helped to open it.",
}


def shown(report: Report) -> list[str]:
    """What was shown: the sentences of the steps that passed."""
    return [STEPS[step.name] for step in report.steps if step.passed and step.name in STEPS]


def not_shown(report: Report, policy: TrustPolicy | None, receipts: bool) -> list[tuple[str, str]]:
    """What must not be read into an audit that passed: a few words, then the reason."""
    return [
        *_views(report, policy),
        *_omissions(receipts),
        (
            "That the sums are those of the vectors.",
            "The log holds no vector and no sum, only digests. fedprune audit replay recomputes a round from the "
            "server's archive.",
        ),
        (
            "That the vectors are honest.",
            "A member can send any vector. Only what leaves the range of a sum is noticed.",
        ),
        (
            "That the model you have is the one in the log.",
            "Compare the SHA-256 of its files with those listed under each round.",
        ),
        (
            "That nothing can be learned about a member.",
            "Where no member kept a weight, or all did, every member's choice is known, and where exactly one kept it, "
            "the sum is that member's weight. How often that is stands under each round. Whether a text was used can "
            "be inferred from sums in some cases, and from published models. Whether members add "
            "noise for differential privacy does not show in the log.",
        ),
        (
            "That members and server did not work together.",
            "The thresholds hold against the number of such members that the plan states, and no more. Nobody can see "
            "in a log who talks to whom.",
        ),
        (
            "When things happened.",
            "Times are what the server wrote. They do not go back, and cosignatures bound them from above.",
        ),
        (
            "Who the parties are.",
            "That a name belongs to an institution, and that two names are two institutions, is the authority's word.",
        ),
        (
            "That secrets were erased.",
            "What a party keeps beside its log, nobody sees. Where an entry says that something was deleted, it is "
            "the server's word.",
        ),
        (
            "Quality, legality or fitness for a purpose.",
            "Nothing here says what the model can do or whether its training data was rightly used.",
        ),
        (
            "A review.",
            "The protocol's argument is in docs/SECURITY_ARGUMENT.md. Nobody outside the project reviewed it.",
        ),
    ]


def _views(report: Report, policy: TrustPolicy | None) -> Sequence[tuple[str, str]]:
    quorum = policy is not None and policy.quorum != NO_QUORUM
    if quorum and any(step.name == "V2" and step.passed for step in report.steps):
        return [
            (
                "That others saw the same log, beyond what witnesses cosigned.",
                "It rests on the witnesses of the policy: as long as more of them are honest than could sign two "
                "histories. Members keep what they saw; fedprune audit compare holds it against this log.",
            )
        ]
    return [
        (
            "That others saw the same log.",
            "No quorum of witnesses was asked for, so the server may show others another one. Members keep the "
            "checkpoints that they saw; fedprune audit compare holds them against this log.",
        )
    ]


def _omissions(receipts: bool) -> Sequence[tuple[str, str]]:
    what = "members without receipts here" if receipts else "any member, since no receipts were given"
    return [
        (
            "That nothing was left out.",
            f"Of {what}, this audit cannot tell whether a vector came and was not written down. A package that the "
            "server never acknowledged leaves no trace.",
        )
    ]


def passed(report: Report) -> str:
    """Names of the steps that passed, in a sentence; "none" if there are none."""
    return listed([step.name for step in report.steps if step.passed] or ["none"])


def not_run(report: Report) -> list[str]:
    """Names of the steps that were not run, and why: a sentence for each reason."""
    reasons: dict[str, list[str]] = {}
    for step in report.steps:
        if step.passed is None:
            reasons.setdefault(reason(step), []).append(step.name)
    return [f"{listed(names)} {'was' if len(names) == 1 else 'were'} not run: {why}." for why, names in reasons.items()]


def reason(step: Step) -> str:
    """Why a step was not run."""
    return step.findings[0].text.removeprefix("not run: ") if step.findings else "what it needs was not given"
