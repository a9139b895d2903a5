"""What a member insists on, whatever a plan says (SPEC section 17)."""

from dataclasses import dataclass, field

from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import UsageError
from fedspallm_secure.protocol.software import is_software
from fedspallm_secure.secagg.thresholds import Profile

DAY = 86_400  # seconds


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
