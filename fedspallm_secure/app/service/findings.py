"""What a check of `fedprune doctor` comes to, and what the checks look at."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fedspallm_secure.app.configuration.either import Either, data_of
from fedspallm_secure.app.configuration.federation import FederationConfig
from fedspallm_secure.app.configuration.key_holder import KeyHolderConfig
from fedspallm_secure.app.configuration.member import MemberConfig
from fedspallm_secure.app.configuration.witness import WitnessConfig
from fedspallm_secure.app.reporting import numbers
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.storage.home import Home, Unlocking


class State(StrEnum):
    """good: nothing to do; note: worth knowing, or not looked at; bad: has to be put right."""

    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One row.  text: what was found, or what the problem is; fix: what to do about it."""

    check: str
    state: State
    text: str
    fix: str = ""

    def to_dict(self) -> dict[str, str]:
        """Plain data."""
        return {"check": self.check, "state": self.state.value, "text": self.text, "fix": self.fix}


Findings = Iterator[Finding]


@dataclass(frozen=True, slots=True)
class Patient:
    """What is looked at.  now: Unix seconds; unlocking: opens the key files, None if no password was given."""

    config: Either
    home: Home
    now: int
    unlocking: Unlocking | None = None

    @property
    def server(self) -> FederationConfig | None:
        """The configuration of a server; None for others."""
        return self.config if isinstance(self.config, FederationConfig) else None

    @property
    def member(self) -> MemberConfig | None:
        """The configuration of a member; None for others."""
        return self.config if isinstance(self.config, MemberConfig) else None

    @property
    def follower(self) -> MemberConfig | WitnessConfig | KeyHolderConfig | None:
        """The configuration of somebody who follows a server; None for a server."""
        return None if isinstance(self.config, FederationConfig) else self.config

    @property
    def data(self) -> Path:
        """The work folder."""
        return data_of(self.config)

    @property
    def members(self) -> int:
        """Members that may take part in a round."""
        if self.server is not None and self.server.rounds.members:
            return len(self.server.rounds.members)
        entries = self.home.roster.entries if self.home.roster is not None else ()
        return sum(entry.party.role is Role.MEMBER for entry in entries)


def good(check: str, text: str) -> Finding:
    """Nothing to do."""
    return Finding(check, State.GOOD, text)


def note(check: str, text: str, fix: str = "") -> Finding:
    """Worth knowing."""
    return Finding(check, State.NOTE, text, fix)


def bad(check: str, text: str, fix: str) -> Finding:
    """A problem."""
    return Finding(check, State.BAD, text, fix)


def told(check: str, error: FedSpaError) -> Finding:
    """An error as a problem: errors say what happened, and what to do."""
    return bad(check, str(error), error.hint)


def looked_at(check: str, look: Callable[[], Findings]) -> Findings:
    """What a check finds; an error ends it and is a problem itself."""
    try:
        yield from look()
    except FedSpaError as error:
        yield told(check, error)
    except OSError as error:
        yield bad(check, f"the system says: {error.strerror or error}", "ask who administers this machine")


def amount(size: float) -> str:
    """Bytes for people, in units of 1024."""
    return numbers.size(int(size)).replace(numbers.SPACE, " ")
