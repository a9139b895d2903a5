"""The end of the demonstration: the log of its round, checked as somebody outside would, and a page about it."""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from fedspallm_secure.app.audit.opening import open_log_at, read_root
from fedspallm_secure.app.audit.quality import ABSENT
from fedspallm_secure.app.audit.receipts import kept_receipts
from fedspallm_secure.app.audit.report import Audited, write_audit
from fedspallm_secure.app.audit.timeline import read_story
from fedspallm_secure.app.audit.verifying import failure
from fedspallm_secure.app.service.town import SERVER, Town
from fedspallm_secure.errors import MissingInput
from fedspallm_secure.protocol.audit.verification import Given, verify_log


def audit_round(town: Town, members: Sequence[str]) -> dict[str, Any]:
    """Check the log against the authority's certificate and the receipts of `members`, and write audit.html.

    Raises AuditFailed for a log that does not pass, MissingInput where it is not there; StorageError.
    """
    homes, page = town.folder / "homes", town.folder / "audit.html"
    root = read_root(homes / SERVER / "root.pem")
    receipts: list[bytes] = []
    for name in members:
        with suppress(MissingInput):  # of rounds that somebody else's copy was played in
            receipts += (receipt.encode() for receipt in kept_receipts(homes / name))
    with open_log_at(town.data(SERVER)) as log:
        report = verify_log(log.source, root, None, Given(receipts=tuple(receipts)))
        if (error := failure(report)) is not None:
            raise error
        story = read_story(log.source, log.checkpoint.origin, report.size, lambda *_: None)
    audited = Audited(story, report, root, None, int(time.time()), ABSENT, receipts=True)
    write_audit(page, audited)
    return {"entries": report.size, "receipts": len(receipts), "page": str(page)}
