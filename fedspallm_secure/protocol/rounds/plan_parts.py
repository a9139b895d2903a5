"""Parts of a plan: how its cohorts were drawn, its deadlines, and who decrypts its sums (SPEC 16.2 and 24.2)."""

from dataclasses import dataclass
from typing import Any, Self

from fedspallm_secure.crypto.encoding import canonical_json, decode_hex, fields
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.labels import Label, digest
from fedspallm_secure.crypto.merkle import HASH_SIZE
from fedspallm_secure.errors import FormatError, UsageError
from fedspallm_secure.protocol.limits import LATEST_TIME
from fedspallm_secure.protocol.plan import RoundPlan, plan_rounds
from fedspallm_secure.protocol.rounds.groups import is_ascending
from fedspallm_secure.protocol.rounds.limits import GROUPS_LIMIT
from fedspallm_secure.pruning.patterns import parse_target, spell_target

DRAWING_LIMIT = 1 << 24  # passes times layers times the layers of all members: what a reader is willing to draw again
SAMPLE_WHOLE = 1000  # thousandths
_WHAT = "the plan"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the cohorts were drawn, so that everybody can draw them again.

    number: of this round among those that were drawn, from 1; layers: of the model; schedule: the target of each pass;
    budgets: (member, layers per round), sorted by member.  Raises FormatError.
    """

    number: int
    layers: int
    schedule: tuple[str, ...]
    min_cohort: int
    spread: bool
    budgets: tuple[tuple[str, int], ...]

    def __post_init__(self) -> None:
        if not is_ascending([member for member, _ in self.budgets]):
            raise FormatError("the budgets are not in order, each member once")
        for member, layers in self.budgets:
            Party(Role.MEMBER.value, member)
            if not 0 <= layers <= self.layers:
                raise FormatError(f"the budget of {member} is out of range")
        if self.number < 1 or self.min_cohort < 1 or not 1 <= self.layers <= GROUPS_LIMIT:
            raise FormatError("the number of a round, its layers or the size of its cohorts is out of range")
        work = len(self.schedule) * self.layers * sum(1 + layers for _, layers in self.budgets)
        if work > DRAWING_LIMIT:
            raise FormatError("drawing these cohorts again would take too long")
        for target in self.schedule:
            check_target(target)

    def draw(self, seed: bytes) -> RoundPlan:
        """The assignment of this round.  Raises PlanRefused or UsageError where nothing can be drawn."""
        schedule = [parse_target(target) for target in self.schedule]
        rounds = plan_rounds(self.layers, dict(self.budgets), schedule, self.min_cohort, seed, self.spread)
        if self.number > len(rounds):
            raise UsageError(f"there are {len(rounds)} rounds to be drawn, and this is number {self.number}")
        return rounds[self.number - 1]

    @property
    def hash(self) -> str:
        """Digest, 64 hex digits: what the opening of a round fixes before the seed is known."""
        return digest(Label.DIGEST_SAMPLING, canonical_json(self.to_dict())).hex()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "number": self.number,
            "layers": self.layers,
            "schedule": list(self.schedule),
            "min_cohort": self.min_cohort,
            "spread": self.spread,
            "budgets": [{"id": member, "layers": layers} for member, layers in self.budgets],
        }

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """Read it back.  Raises FormatError."""
        schema = {"number": int, "layers": int, "schedule": list, "min_cohort": int, "spread": bool, "budgets": list}
        found = fields(value, schema, "sampling")
        if not all(type(target) is str for target in found["schedule"]):
            raise FormatError("sampling: a target is no string")
        budgets = [fields(one, {"id": str, "layers": int}, "a budget") for one in found["budgets"]]
        return cls(
            found["number"],
            found["layers"],
            tuple(found["schedule"]),
            found["min_cohort"],
            found["spread"],
            tuple((one["id"], one["layers"]) for one in budgets),
        )


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Until when each message is taken in, Unix seconds."""

    contribution: int
    endorsement: int
    unmask: int
    abort: int

    def __post_init__(self) -> None:
        times = (self.contribution, self.endorsement, self.unmask, self.abort)
        if list(times) != sorted(times) or times[0] < 0 or times[-1] > LATEST_TIME:
            raise FormatError(f"the deadlines of {_WHAT} are not in order")

    def to_dict(self) -> dict[str, int]:
        """Plain data."""
        return {
            "contribution": self.contribution,
            "endorsement": self.endorsement,
            "unmask": self.unmask,
            "abort": self.abort,
        }

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """Read it back.  Raises FormatError."""
        names = ("contribution", "endorsement", "unmask", "abort")
        return cls(**fields(value, dict.fromkeys(names, int), "deadlines"))


@dataclass(frozen=True, slots=True)
class KeyUse:
    """Who decrypts the sums of a round, and with which key (SPEC section 24.2).

    id: of the key holder; key: digest of the cipher key, hex; sample: how many thousandths of a sum the key holder adds
    up again.  Raises FormatError.
    """

    id: str
    key: str
    sample: int

    def __post_init__(self) -> None:
        Party(Role.KEY_HOLDER.value, self.id)
        decode_hex(self.key, HASH_SIZE, f"{_WHAT}: the cipher key")
        if not 1 <= self.sample <= SAMPLE_WHOLE:
            raise FormatError(f"{_WHAT}: {self.sample} thousandths of a sum cannot be sampled")

    @property
    def party(self) -> Party:
        """The key holder."""
        return Party(Role.KEY_HOLDER.value, self.id)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"id": self.id, "key": self.key, "sample": self.sample}

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """Read it back.  Raises FormatError."""
        return cls(**fields(value, {"id": str, "key": str, "sample": int}, f"{_WHAT}: key_holder"))


def check_target(text: str) -> None:
    """Raise FormatError unless this is a target in its one spelling."""
    try:
        right = spell_target(parse_target(text))
    except UsageError as error:
        raise FormatError(str(error)[:100]) from None
    if right != text:
        raise FormatError(f"the target {text[:32]!r} has another spelling")
