"""What an auditor gives to `verify_log`, read from files, and what its report means as an error and in words."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fedspallm_secure.app.audit.opening import OpenLog, read_root
from fedspallm_secure.app.audit.receipts import read_receipts
from fedspallm_secure.crypto.fingerprints import check_fingerprint
from fedspallm_secure.crypto.notes import NOTE_LIMIT
from fedspallm_secure.errors import AuditFailed
from fedspallm_secure.protocol.audit.policies import POLICY_LIMIT, TrustPolicy
from fedspallm_secure.protocol.audit.reports import Given, Report, Step
from fedspallm_secure.protocol.audit.verification import verify_log
from fedspallm_secure.storage.documents import read_document

Told = Callable[[str, int, int], None]  # what is being done, entries done, entries in all

_NEEDED: Final = ("V1", "V2", "V3")
_ERRORS: Final = {error.step: error for error in AuditFailed.__subclasses__() if error.step}


@dataclass(frozen=True, slots=True)
class Basis:
    """What an audit relies on.  fingerprint: of the root, as a person typed it; documents: whether they are needed."""

    root: Path | None = None
    fingerprint: str | None = None
    policy: Path | None = None
    checkpoints: tuple[Path, ...] = ()
    receipts: Path | None = None
    documents: bool = True


def trusted_root(log: OpenLog, basis: Basis, ask: Callable[[bytes], None]) -> bytes:
    """The root certificate to start from, DER: the file that was named, what a home pins, or what the log brings.

    ask: shows somebody the fingerprint of a root that only the log vouches for.  Raises FingerprintMismatch, or what
    `ask` raises.
    """
    pinned = read_root(basis.root) if basis.root is not None else log.pinned_root
    der = log.root_certificate() if pinned is None else pinned
    if basis.fingerprint is not None:
        check_fingerprint(der, basis.fingerprint, "the root certificate")
    elif pinned is None:
        ask(der)
    return der


def read_policy(path: Path | None) -> TrustPolicy | None:
    """The policy in a file, if one was named.  Raises FormatError, LimitExceeded, MissingInput or HostileFile."""
    return None if path is None else TrustPolicy.parse(read_document(path, POLICY_LIMIT))


def verify(log: OpenLog, root: bytes, basis: Basis, told: Told) -> Report:
    """Check the log.  root: DER.  Raises what reading the files of `basis` raises, and nothing about the log itself."""
    given = Given(
        checkpoints=tuple(read_document(path, NOTE_LIMIT) for path in basis.checkpoints),
        receipts=None if basis.receipts is None else read_receipts(basis.receipts),
        documents=basis.documents,
    )
    return verify_log(log.source, root, read_policy(basis.policy), given, told)


def failed(report: Report) -> Step | None:
    """The first step that failed; one of the first three that was not run counts, for all rests on these."""
    missing = (step for step in report.steps if step.passed is None and step.name in _NEEDED)
    return next((step for step in report.steps if step.passed is False), next(missing, None))


def failure(report: Report) -> AuditFailed | None:
    """The error of the first step that failed, with the entries of all its findings."""
    step = failed(report)
    if step is None:
        return None
    indices = sorted({index for finding in step.findings for index in finding.indices})
    said = step.findings[0].text if step.findings else step.title
    more = f", and {len(step.findings) - 1} more" if len(step.findings) > 1 else ""
    return _ERRORS.get(step.name, AuditFailed)(f"{said}{more}", indices=tuple(indices))


def report_dict(report: Report) -> dict[str, Any]:
    """A report as plain data."""
    return {
        "passed": failed(report) is None,
        "size": report.size,
        "root": report.root.hex(),
        "witnessed": report.witnessed,
        "rounds": report.rounds,
        "steps": [
            {
                "step": step.name,
                "title": step.title,
                "passed": step.passed,
                "findings": [{"text": one.text, "entries": list(one.indices)} for one in step.findings],
            }
            for step in report.steps
        ],
    }
