"""Errors of the log and of its audit.  The tree is drawn in `errors`."""

from fedspallm_secure.errors.base import FedSpaError


class LogRefused(FedSpaError):
    """The server's log, as it was shown, is not one that may be relied on."""

    exit_code = 119
    hint = "take part in nothing that rests on it; show the auditor what you hold: fedprune audit compare"

    def __init__(self, message: str, *, check: str = "", hint: str | None = None) -> None:
        """check: the number of the check that failed (SPEC section 22.4), or empty."""
        super().__init__(f"{check}: {message}" if check else message, hint=hint)
        self.check = check


class SplitView(LogRefused):
    """The log's key has signed two histories that contradict each other."""

    exit_code = 120
    hint = "this is a proof against the server's operator: keep the file named above and hand it to the auditor"


class AuditFailed(FedSpaError):
    """A log does not pass its audit.

    step: the number of the step that failed (SPEC section 23); indices: of the entries concerned, from 0.
    """

    exit_code = 200
    step = ""
    hint = "the report names the entries; ask the server's operator about each, and do not rely on its rounds"

    def __init__(self, message: str, *, indices: tuple[int, ...] = (), hint: str | None = None) -> None:
        super().__init__(f"{self.step}: {message}" if self.step else message, hint=hint)
        self.indices = indices


class AuditTrust(AuditFailed):
    """Root, policy, rosters and the log's key do not belong together."""

    exit_code = 201
    step = "V1"


class AuditCheckpoint(AuditFailed):
    """A checkpoint is not signed as it has to be, or contradicts another one."""

    exit_code = 202
    step = "V2"


class AuditIncomplete(AuditFailed):
    """Entries are missing, or are not those that the checkpoint stands for."""

    exit_code = 203
    step = "V3"


class AuditEntry(AuditFailed):
    """An entry is malformed, or not signed by who had to sign it."""

    exit_code = 204
    step = "V4"


class AuditGrammar(AuditFailed):
    """Entries of a round stand in an order, or a number, that no round has."""

    exit_code = 205
    step = "V5"


class AuditPlan(AuditFailed):
    """A plan, a contribution or a survivor list breaks the rules that it was made under."""

    exit_code = 206
    step = "V6"


class AuditReceipts(AuditFailed):
    """Receipts and contributions do not correspond."""

    exit_code = 207
    step = "V7"


class AuditResult(AuditFailed):
    """A result does not follow from the list, the endorsements and the answers that the log has."""

    exit_code = 208
    step = "V8"


class ReplayFailed(AuditFailed):
    """The archive does not give the result that was published."""

    exit_code = 209
