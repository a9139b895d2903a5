"""Errors of a round of secure aggregation.  The tree is drawn in `errors`."""

from fedspallm_secure.errors.base import FedSpaError


class RoundError(FedSpaError):
    """A round of secure aggregation cannot go on as asked.

    check: number of the check that failed (SPEC section 17), or empty; named: ids of the members that are to blame.
    """

    exit_code = 100

    def __init__(self, message: str, *, check: str = "", named: tuple[str, ...] = (), hint: str | None = None) -> None:
        super().__init__(f"{check}: {message}" if check else message, hint=hint)
        self.check = check
        self.named = named


class CapacityExceeded(RoundError):
    """Numbers that are to be added up could leave the words that carry them."""

    exit_code = 101
    hint = "use wider words, a smaller bound, or smaller cohorts"


class PlanDeclined(RoundError):
    """A plan would break what this member's policy promises."""

    exit_code = 102
    hint = "do not take part in this round; show the server's operator the check that failed"


class UnmaskingDeclined(RoundError):
    """Answering this request could open more than the sum that was agreed on."""

    exit_code = 103
    hint = "do not answer by other means; show the auditor the request and the check that failed"


class DisclosureRefused(RoundError):
    """With what was released before, this sum would give single members' vectors away."""

    exit_code = 104
    hint = "the round needs the same cohort as before, or one that shares nobody with it"


class ContributionRefused(RoundError):
    """A contribution is not what the plan asks for."""

    exit_code = 105
    hint = "its sender counts as dropped out of that group; ask it for its log"


class ResponseRefused(RoundError):
    """An endorsement or an answer to an unmask request is not what was asked for."""

    exit_code = 106
    hint = "the others' answers may be enough; ask its sender for its log"


class OutOfTurn(RoundError):
    """A message came too late, too early, or a second time with other content."""

    exit_code = 107
    hint = "nothing was changed by it; the first message counts"


class BadShare(RoundError):
    """Shares do not open the secret that was committed to."""

    exit_code = 108
    hint = "the message names who dealt or held it; repeat the round without that member"


class SumOutOfRange(RoundError):
    """A sum holds numbers that no honest contributions can add up to."""

    exit_code = 109
    hint = "a member sent something else than what was agreed; nothing of this sum is used"


class RoundAborted(RoundError):
    """The round, or one group of it, ended without a result."""

    exit_code = 110
    hint = "the reason stands in the message; a new round needs a new plan and new prekeys"


class LayerRefused(RoundError):
    """A pruned layer is not the one that the result names, or not what the plan asked for."""

    exit_code = 118
    hint = "do not use this layer; ask the server for it again, and show the auditor the check that failed"


class CiphertextRefused(RoundError):
    """A ciphertext, or a key for them, is malformed or not one of the plan's parameters.

    frame: which of all that were sent it was, from 1 on; 0 where none was.
    """

    exit_code = 96
    hint = "its sender made it with something else than the plan says; it counts as dropped out"

    def __init__(self, message: str, *, frame: int = 0, check: str = "", hint: str | None = None) -> None:
        super().__init__(message, check=check, hint=hint)
        self.frame = frame
