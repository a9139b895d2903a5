"""`federation.toml`: what the operator of a server decides about its rounds (docs/CONFIGURATION.md)."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Self

from pydantic import model_validator

from fedspallm_secure.app.configuration import values
from fedspallm_secure.app.configuration.fields import (
    ANCHOR,
    by,
    choice,
    each,
    flag,
    member_of,
    optional,
    ordered,
    own_path,
    own_path_or_none,
    said,
    whole,
)
from fedspallm_secure.app.configuration.reading import Configuration, Section, read_configuration
from fedspallm_secure.app.configuration.values import Address
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.protocol.limits import PARTIES_LIMIT
from fedspallm_secure.protocol.plan import check_schedule
from fedspallm_secure.protocol.rounds.plan_parts import SAMPLE_WHOLE
from fedspallm_secure.pruning.patterns import NofM, Pattern, Unstructured
from fedspallm_secure.pruning.strategies import Group, Strategy
from fedspallm_secure.secagg.thresholds import MIN_HONEST, Profile, witness_quorum

PRUNERS = ("sparsegpt", "wanda", "magnitude")


class Server(Section):
    """The server itself."""

    home: Annotated[Path, own_path()] = said(..., "Its home, made by fedprune certs request.")
    data: Annotated[Path, own_path()] = said("rounds", "Folder for packages and results. On a local disk with room.")
    anchor: Annotated[Path | None, own_path_or_none()] = said("", ANCHOR)
    listen: Annotated[tuple[Address, ...], by(each(values.address, least=1))] = said(
        ["0.0.0.0:8443", "[::]:8443"], "Where members reach it. Addresses of all networks by default."
    )
    metrics: Annotated[Address | None, by(optional(values.loopback))] = said(
        "", "Figures for Prometheus, on an address of this machine alone such as 127.0.0.1:9464. Empty: none."
    )


class Model(Section):
    """The model that is pruned. All members need the same one."""

    path: Annotated[Path, own_path()] = said(..., "Folder with config.json and *.safetensors.")


class Pruning(Section):
    """How sparse the model becomes, and how. Keep one of sparsity, pattern and schedule."""

    sparsity: Annotated[Unstructured | None, by(optional(values.sparsity))] = said(
        None, "Share of weights to drop, in quotes because it is read exactly. 0.5 if nothing else is said.", '"0.5"'
    )
    pattern: Annotated[NofM | None, by(optional(values.pattern))] = said(
        None, "Instead: keep N of every M weights.", '"2:4"'
    )
    schedule: Annotated[tuple[Unstructured, ...] | None, by(optional(each(values.sparsity, least=1)))] = said(
        None, "Instead: several passes over the model, and the sparsity after each.", '["0.3", "0.5"]'
    )
    pruner: Annotated[str, by(choice(*PRUNERS))] = said("sparsegpt", "sparsegpt, wanda or magnitude.")
    strategy: Annotated[Strategy, by(member_of(Strategy))] = said(
        "fedspallm", "What members send. fedspallm: keep counts and kept sums; votes: keep counts alone."
    )
    compare: Annotated[Group, by(member_of(Group))] = said(
        "matrix", "Within what weights are compared when the keep-mask is expanded: matrix or row."
    )

    @property
    def targets(self) -> tuple[Pattern, ...]:
        """The target of each pass over the model."""
        if self.schedule is not None:
            return self.schedule
        return (self.sparsity or self.pattern or values.sparsity("0.5"),)

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        given = [name for name in ("sparsity", "pattern", "schedule") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"has {' and '.join(given)}: keep one of them")
        _told(lambda: check_schedule(list(self.targets)), "schedule: ")
        return self


class Rounds(Section):
    """Who takes part in a round, and what it protects against."""

    members: Annotated[tuple[str, ...], by(ordered(values.identifier(Role.MEMBER)))] = said(
        [], "Members that are asked, by name. Empty: all members of the roster."
    )
    min_cohort: Annotated[int, by(whole(MIN_HONEST, PARTIES_LIMIT))] = said(
        3,
        "Fewest members that prune the same layer. Their sum hides them from each other and from you. 3 or more; with "
        "a number under colluders below, 3 more than that, or above.",
    )
    spread: Annotated[bool, by(flag)] = said(
        False, "Take as many rounds for a pass as the members' budgets need to cover all layers."
    )
    colluders: Annotated[int | None, by(optional(whole(0, PARTIES_LIMIT)))] = said(
        None,
        "Members that may work with the server unnoticed. Absent: (n - 1) / 3 rounded down, n being all that are "
        "asked, or min_cohort with spread; a sum is over 3 members more in any case.",
        "1",
    )
    profile: Annotated[Profile, by(member_of(Profile))] = said(
        "three-trip",
        "How members make sure that all answer for one list. three-trip needs nobody else; two-trip is one way shorter "
        "and tolerates fewer dropouts; two-trip-witnessed needs witnesses; one-trip encrypts, and needs a key holder.",
    )
    sum_bits: Annotated[int, by(choice(32, 16))] = said(32, "Bits of a kept sum: 32, or 16 for half the bytes.")
    seed: Annotated[bytes | None, by(optional(values.seed))] = said(
        "", "Decides who prunes which layers: a number, or 64 hex digits. Empty: drawn anew for every run of rounds."
    )
    attempts: Annotated[int, by(whole(1, 100))] = said(
        2,
        "How often a round is tried that ends without a result. One that too many had contributed to is not tried "
        "again: they decline another sum from the same weights.",
    )
    patience: Annotated[int, by(values.duration)] = said(
        "1m", "How long the rest of a stage is waited for once enough have answered. Pruning is waited for in full."
    )
    open_after: Annotated[int, by(values.duration)] = said(
        "0s", "How long to wait for more members once there are enough to begin."
    )
    witnesses: Annotated[tuple[str, ...], by(ordered(values.identifier(Role.WITNESS)))] = said(
        [], "Witnesses who sign the list of survivors, by name."
    )
    dishonest: Annotated[int, by(whole(0, PARTIES_LIMIT))] = said(0, "How many of the witnesses may lie.")
    key_holder: Annotated[str | None, by(optional(values.identifier(Role.KEY_HOLDER)))] = said(
        "", "Who decrypts the sums of one-trip rounds, by name. It must not be whoever runs the server."
    )
    sample: Annotated[int, by(whole(1, SAMPLE_WHOLE))] = said(
        10, "Thousandths of every sum that the key holder adds up again; it has to agree, and members too."
    )
    beacons: Annotated[tuple[str, ...], by(ordered(values.identifier(Role.WITNESS)))] = said(
        [], "Witnesses who all sign the opening of a round, so that you cannot choose its seed."
    )
    counts_to: Annotated[tuple[Role, ...], by(each(member_of(Role), least=1))] = said(
        ["server"],
        "Who may be told the keep counts, for policies to allow or decline. This version tells nobody but the server.",
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if 0 < len(self.members) < self.min_cohort:
            raise ValueError(f"members: {len(self.members)} cannot make a cohort of min_cohort = {self.min_cohort}")
        if self.colluders is not None and self.min_cohort < self.colluders + MIN_HONEST:
            least = self.colluders + MIN_HONEST
            raise ValueError(f"min_cohort: with colluders = {self.colluders} a cohort has at least {least} members")
        if (self.profile is Profile.ONE_TRIP) != bool(self.key_holder):
            raise ValueError('key_holder: it is named under profile = "one-trip", and only there')
        if self.profile is Profile.WITNESSED:
            _told(lambda: witness_quorum(len(self.witnesses), self.dishonest), "witnesses: ")
        elif self.dishonest > len(self.witnesses):
            raise ValueError(f"dishonest = {self.dishonest}: there are {len(self.witnesses)} witnesses")
        return self


class Deadlines(Section):
    """How long each stage of a round may take, one after the other: 90m, 6h, 2d. For files carried by hand: days."""

    contribution: Annotated[int, by(values.some_duration)] = said("6h", "Members prune and send.")
    endorsement: Annotated[int, by(values.some_duration)] = said(
        "1h",
        "Members or witnesses sign the list of those who sent. In the profiles two-trip and one-trip nobody does, "
        "and this time is added to unmask.",
    )
    unmask: Annotated[int, by(values.some_duration)] = said(
        "1h", "Members help to open the sum, or the key holder does."
    )
    abort: Annotated[int, by(values.some_duration)] = said(
        "1h", "You add up and publish; after that the round is over."
    )


class Limits(Section):
    """What the server spends."""

    member_bytes: Annotated[int, by(values.size)] = said("1 TiB", "Bytes of one member that may wait here.")
    upload_rate: Annotated[int, by(values.rate)] = said(
        0, "Bytes per second that come in at most, from all together, such as 100 MiB/s. 0: no limit."
    )
    download_rate: Annotated[int, by(values.rate)] = said(0, "Bytes per second that go out at most, to all together.")
    free_space: Annotated[int, by(values.size)] = said("1 GiB", "Bytes that stay free on the disk.")
    archive: Annotated[bool, by(flag)] = said(True, "Keep contributions after a round, so that it can be audited.")


class FederationConfig(Configuration):
    """A whole `federation.toml`."""

    server: Server
    model: Model
    pruning: Pruning = said({}, "")
    rounds: Rounds = said({}, "")
    deadlines: Deadlines = said({}, "")
    limits: Limits = said({}, "")

    @model_validator(mode="after")
    def _check_passes(self) -> Self:
        if self.rounds.profile is Profile.TWO_TRIP and len(self.pruning.targets) > 1:
            raise ValueError(
                '[pruning] schedule has several passes, and under [rounds] profile = "two-trip" a matrix is released '
                "once: use three-trip, two-trip-witnessed, or one sparsity"
            )
        return self


def read_federation(path: Path) -> FederationConfig:
    """Read a `federation.toml`.  Raises what `read_configuration` raises."""
    return read_configuration(path, FederationConfig)


def _told(check: Callable[[], object], before: str) -> None:
    try:
        check()
    except FedSpaError as error:
        raise ValueError(f"{before}{error}") from None
