"""What is looked at before a configuration file is written, so that it describes something that is there."""

import os
from pathlib import Path

from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import FedSpaError, MissingInput, UsageError
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.secagg.thresholds import MIN_HONEST, Profile
from fedspallm_secure.storage.files import is_file
from fedspallm_secure.storage.home import Home

_CARRIED = {"contribution": "14d", "endorsement": "7d", "unmask": "7d", "abort": "7d"}


def roster_for(home: Home, role: Role) -> Roster:
    """The roster that this home pins, with at least one server in it.

    Raises UsageError for the home of another role, MissingInput before there is a roster with the home's party and a
    server in it.
    """
    if home.party.role is not role:
        other = {
            Role.SERVER: "server",
            Role.MEMBER: "client",
            Role.WITNESS: "witness",
            Role.KEY_HOLDER: "key-holder",
        }.get(home.party.role)
        hint = f"use fedprune {other} init" if other else "name the right --home"
        raise UsageError(f"{home.path} is the home of {home.party}, not of a {role.value}", hint=hint)
    roster = home.trust.roster
    names = {entry.party for entry in roster.entries}
    ask = "ask the authority for a newer roster and import it: fedprune certs import FILE --home DIR"
    if home.party not in names:
        raise MissingInput(f"{home.party} is not in version {roster.version} of the roster", hint=ask)
    if not any(party.role is Role.SERVER for party in names):
        raise MissingInput(f"there is no server in version {roster.version} of the roster", hint=ask)
    return roster


def ids(roster: Roster, role: Role) -> list[str]:
    """Ids of all parties of this role."""
    return [entry.party.id for entry in roster.entries if entry.party.role is role]


def check_known(roster: Roster, role: Role, names: tuple[str, ...], option: str) -> None:
    """Raise UsageError where a name is not one of a party of this role in the roster."""
    known = ids(roster, role)
    for name in names:
        if name not in known:
            there = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
            raise UsageError(
                f"{option} {name}: there is no such {role.value} in version {roster.version} of the roster",
                hint=f"there are {there}" if known else "ask the authority for a newer roster",
            )


def least_cohort(min_cohort: int | None, colluders: int | None) -> int | None:
    """The fewest members per layer: as typed, else the fewest that so many colluders allow; None for the default."""
    if min_cohort is not None or colluders is None:
        return min_cohort
    return max(colluders, 0) + MIN_HONEST


def check_cohort(roster: Roster, named: tuple[str, ...], min_cohort: int) -> None:
    """Raise UsageError where there are too few members for a single cohort."""
    count = len(named or ids(roster, Role.MEMBER))
    if count < min_cohort:
        raise UsageError(
            f"{count} member{'' if count == 1 else 's'} cannot make a cohort of {min_cohort}",
            hint="have the authority enrol more members and import its newest roster; a cohort has 3 members more than "
            "--colluders",
        )


def server_of(roster: Roster, named: str | None) -> str:
    """The server that a member or a witness follows: the one that was named, or the only one.  Raises UsageError."""
    servers = ids(roster, Role.SERVER)
    if named is not None:
        check_known(roster, Role.SERVER, (named,), "--server")
        return Party(Role.SERVER.value, named).id
    if len(servers) > 1:
        raise UsageError(f"there are several servers: {', '.join(servers)}", hint="name yours with --server")
    return servers[0]


def check_model(path: Path) -> None:
    """Raise MissingInput unless there is a model folder; what is in it is looked at by `fedprune doctor`."""
    if not is_file(path / "config.json"):
        raise MissingInput(
            f"{path} is not a model folder",
            hint="give the folder that holds config.json; nothing is ever downloaded for you",
        )


def check_pattern(path: Path, spelled: str | None) -> None:
    """Raise UsageError unless N:M is a pattern, PatternMismatch unless M divides every row of the model in this folder.

    A model that cannot be read, and one that is not looked at without torch, is left to `fedprune doctor`.
    """
    if spelled is None:
        return
    from fedspallm_secure.pruning.patterns import parse_pattern

    pattern = parse_pattern(spelled)
    try:
        from fedspallm_secure.app.walking.workshop import ComputeSettings, open_workshop
        from fedspallm_secure.pruning.pruners import check_pattern as check_matrix

        blocks = open_workshop(path, ComputeSettings("cpu")).skeleton.blocks
    except (ModuleNotFoundError, FedSpaError):
        return
    for block in blocks:
        for linear in block.linears:
            check_matrix(pattern, linear.shape[1], f"--pattern {spelled}: layer {block.index}, {linear.module}")


def check_text(path: Path) -> None:
    """Raise MissingInput unless there is a file."""
    if not is_file(path):
        raise MissingInput(f"{path} does not exist or is not a file")


def seen_from(file: Path, path: Path) -> str:
    """How a path that was typed here is written into `file`: as it is, or relative to the folder of the file."""
    if path.is_absolute() or file.absolute().parent == Path.cwd():
        return str(path)
    return os.path.relpath(path, file.absolute().parent)


def deadlines(carried: bool) -> dict[str, str]:
    """Durations of the stages: those of the file by default, days where packages are carried by hand."""
    return dict(_CARRIED) if carried else {}


def carried_profile(schedule: str | None) -> str | None:
    """The profile of rounds that are carried by hand, None for the default: two journeys, where a matrix comes once."""
    return Profile.TWO_TRIP.value if schedule is None or "," not in schedule else None


def carried_profiles() -> tuple[str, ...]:
    """What a member accepts whose packages are carried by hand."""
    return Profile.THREE_TRIP.value, Profile.TWO_TRIP.value
