"""What a member insists on, whatever a plan says (SPEC section 17)."""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from fedspallm_secure.crypto.encoding import fields
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import FormatError, UsageError
from fedspallm_secure.protocol.software import is_software
from fedspallm_secure.secagg.thresholds import Profile

DAY = 86_400  # seconds
_WHAT: Final = "the policy"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9./+-]{0,63}")  # of parties, pruners and programs
_SCHEMA: Final = {
    "colluders": int,
    "profiles": list,
    "least_cohort": int,
    "witnesses": list,
    "dishonest": int,
    "beacons": list,
    "upload_limit": int,
    "horizon": int,
    "counts_to": list,
    "pinned_base": bool,
    "epochs": int,
    "software": list,
    "pruners": list,
    "key_holders": list,
    "sample": list,
}


@dataclass(frozen=True, slots=True)
class Policy:
    """A member's own rules.  Two members may have different ones; each checks by its own.

    server: the only one that is obeyed; colluders: c, over the whole federation; witnesses, dishonest: whose signatures
    replace a third trip, and how many of them may lie; beacons: witnesses who all sign the opening of a round;
    upload_limit: bytes of one round; horizon: seconds that the last deadline may be away; counts_to: who may be told
    the counts; pinned_base: whether a round may begin from a public model instead of an earlier result; epochs: how
    often one matrix may be released, over all rounds; software: what the server may run, each as NAME/VERSION or the
    beginning of it, any if None; least_cohort: members that a cohort with this one in it has to have; pruners: those
    that it prunes with, any if None; key_holders: who may decrypt sums that it is in, under the profile one-trip;
    sample: how many thousandths of a sum a key holder has to add up again at least, and at most.
    """

    server: Party
    colluders: int
    profiles: frozenset[Profile] = frozenset({Profile.THREE_TRIP})
    witnesses: tuple[str, ...] = ()
    dishonest: int = 0
    beacons: tuple[str, ...] = ()
    upload_limit: int = 1 << 40
    horizon: int = 90 * DAY
    counts_to: frozenset[Role] = field(default_factory=lambda: frozenset({Role.SERVER, Role.AUDITOR}))
    pinned_base: bool = True
    epochs: int = 16
    software: frozenset[str] | None = None
    least_cohort: int = 0
    pruners: frozenset[str] | None = None
    key_holders: frozenset[str] = frozenset()
    sample: tuple[int, int] = (1, 10)

    def __post_init__(self) -> None:
        if self.server.role is not Role.SERVER:
            raise UsageError(f"{self.server} is no server")
        if self.colluders < 0 or not 0 <= self.dishonest <= len(self.witnesses):
            raise UsageError("colluders and dishonest witnesses are counts of parties")
        if self.least_cohort < 0:
            raise UsageError("the least cohort is a number of members")
        for software in self.software or ():
            if not is_software(software):
                raise UsageError(f"{software[:80]!r} is no NAME/VERSION", hint="for example fedspallm-secure/0.1")
        for names in (self.witnesses, self.beacons):
            if tuple(sorted(set(names))) != names:
                raise UsageError("witnesses are listed in order, each once")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for canonical JSON, as an offer has it (SPEC section 16): all but the server, which reads it."""
        return {
            "colluders": self.colluders,
            "profiles": sorted(profile.value for profile in self.profiles),
            "least_cohort": self.least_cohort,
            "witnesses": list(self.witnesses),
            "dishonest": self.dishonest,
            "beacons": list(self.beacons),
            "upload_limit": self.upload_limit,
            "horizon": self.horizon,
            "counts_to": sorted(role.value for role in self.counts_to),
            "pinned_base": self.pinned_base,
            "epochs": self.epochs,
            "software": sorted(self.software or ()),
            "pruners": sorted(self.pruners or ()),
            "key_holders": sorted(self.key_holders),
            "sample": list(self.sample),
        }

    @classmethod
    def from_dict(cls, value: Any, server: Party) -> "Policy":
        """Read it back.  Raises FormatError for anything but the one form that `to_dict` gives."""
        found = fields(value, _SCHEMA, _WHAT)
        if any(type(number) is int and number < 0 for number in (*found.values(), *found["sample"])):
            raise FormatError(f"{_WHAT} has a number below zero")
        try:
            policy = cls(
                server,
                found["colluders"],
                profiles=frozenset(map(Profile, _names(found["profiles"]))),
                least_cohort=found["least_cohort"],
                witnesses=tuple(_names(found["witnesses"])),
                dishonest=found["dishonest"],
                beacons=tuple(_names(found["beacons"])),
                upload_limit=found["upload_limit"],
                horizon=found["horizon"],
                counts_to=frozenset(map(Role, _names(found["counts_to"]))),
                pinned_base=found["pinned_base"],
                epochs=found["epochs"],
                software=frozenset(_names(found["software"])) or None,
                pruners=frozenset(_names(found["pruners"])) or None,
                key_holders=frozenset(_names(found["key_holders"])),
                sample=_pair(found["sample"]),
            )
        except (ValueError, TypeError, UsageError) as error:
            raise FormatError(f"{_WHAT}: {error}") from None
        if policy.to_dict() != value:
            raise FormatError(f"{_WHAT} is out of order, or names something twice")
        return policy


def _names(found: list[Any]) -> list[str]:
    for name in found:
        if type(name) is not str or not _NAME.fullmatch(name):
            raise FormatError(f"{_WHAT}: {str(name)[:64]!r} names nobody and nothing")
    return found


def _pair(found: list[Any]) -> tuple[int, int]:
    if len(found) != 2 or any(type(number) is not int for number in found) or found[0] > found[1]:
        raise FormatError(f"{_WHAT}: sample has a least and a most")
    return found[0], found[1]
