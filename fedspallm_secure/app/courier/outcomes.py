"""What became of bundles that were taken in, for people and as plain data."""

from dataclasses import dataclass, field
from typing import Any

from fedspallm_secure.errors import FedSpaError, MediumIncomplete
from fedspallm_secure.protocol.bundles import Bundle


@dataclass(frozen=True, slots=True)
class Trouble:
    """A package that did not come, and why."""

    digest: str
    error: FedSpaError

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"package": self.digest, **error_dict(self.error)}


@dataclass(slots=True)
class Imported:
    """What became of one bundle.

    state: `taken`, `stale` (a newer one came before), `other` (for another party), `own` (made here), `refused`.
    arrived, known: digests of packages that came now, or were here; missing: not on the medium, or not whole there;
    refused: packages that are not taken; gap: numbers of bundles before it that never came, first and last; told: how
    many of our packages have arrived, as we now know.
    """

    name: str
    bundle: Bundle | None
    state: str
    error: FedSpaError | None = None
    arrived: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    missing: list[Trouble] = field(default_factory=list)
    refused: list[Trouble] = field(default_factory=list)
    gap: tuple[int, int] | None = None
    told: int = 0

    @property
    def errors(self) -> list[FedSpaError]:
        """Everything that was wrong with it, each once."""
        found = [] if self.error is None else [self.error]
        found += [trouble.error for trouble in self.refused]
        if self.missing:
            count = "1 package" if len(self.missing) == 1 else f"{len(self.missing)} packages"
            found.append(MediumIncomplete(f"{self.bundle}: {count} not on the medium, or not whole there"))
        return found

    @property
    def gap_words(self) -> str:
        """The bundles that never came, in words; empty for none."""
        if self.gap is None or self.bundle is None:
            return ""
        first, last = self.gap
        which = f"bundle {first} of {self.bundle.sender} has" if first == last else ""
        which = which or f"bundles {first} to {last} of {self.bundle.sender} have"
        return f"{which} not arrived; every bundle holds all that is not known to have arrived, so nothing is lost"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        found: dict[str, Any] = {"index": self.name, "state": self.state}
        if self.bundle is not None:
            found |= bundle_dict(self.bundle)
        if self.error is not None:
            found |= error_dict(self.error)
        if self.state == "taken":
            found |= {"arrived": self.arrived, "known": self.known, "told": self.told, "gap": list(self.gap or ())}
            found["missing"] = [trouble.to_dict() for trouble in self.missing]
            found["refused"] = [trouble.to_dict() for trouble in self.refused]
        return found


def bundle_dict(bundle: Bundle) -> dict[str, Any]:
    """Who, to whom, and which one."""
    return {
        "federation": bundle.federation,
        "sender": str(bundle.sender),
        "recipient": str(bundle.recipient),
        "number": bundle.number,
        "digest": bundle.digest,
        "created": bundle.created,
    }


def error_dict(error: FedSpaError) -> dict[str, Any]:
    """An error as the command line prints it."""
    return {"error": type(error).__name__, "message": str(error), "hint": error.hint, "code": error.exit_code}
