"""Whom a `federation.toml` asks to take part, and whether rounds between institutions can do what it asks for."""

from fedspallm_secure.app.configuration.federation import FederationConfig
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.errors import MissingInput, UsageError
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.secagg.graphs import COMPLETE_LIMIT
from fedspallm_secure.secagg.thresholds import default_colluders

_NO_BEACON = "rounds whose seed witnesses draw are only simulated in this version"


def asked_members(config: FederationConfig, roster: Roster) -> tuple[str, ...]:
    """The members that are asked, as `[rounds] members` or else the roster has them.

    Raises UsageError for what real rounds cannot do yet, MissingInput where there is nobody to ask.
    """
    if config.rounds.beacons:
        raise UsageError(_NO_BEACON, hint="leave [rounds] beacons empty")
    everybody = tuple(one.party.id for one in roster.entries if one.party.role is Role.MEMBER)
    members = config.rounds.members or everybody
    if not members:
        raise MissingInput("the roster has no members", hint="enrol some, and import the new roster")
    if len(members) > COMPLETE_LIMIT:
        raise UsageError(
            f"{len(members)} members are asked; cohorts of more than {COMPLETE_LIMIT} need a beacon, and {_NO_BEACON}",
            hint=f"name at most {COMPLETE_LIMIT} under [rounds] members",
        )
    return members


def smallest_cohort(config: FederationConfig, members: int) -> int:
    """The fewest members that a layer may have when so many are asked."""
    return config.rounds.min_cohort if config.rounds.spread else members


def assumed_colluders(config: FederationConfig, members: int) -> int:
    """How many may work with the server, as `[rounds] colluders` says, or else as so many members allow."""
    said = config.rounds.colluders
    return default_colluders(smallest_cohort(config, members)) if said is None else said
