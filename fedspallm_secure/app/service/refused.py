"""Packages that are refused as soon as their head is there, as the network side of a service tells of them."""

import logging

from fedspallm_secure.errors import PackageRefused, WrongRoster

_log = logging.getLogger(__name__)
_IMPORT = "import the newest one: fedprune certs import FILE"
_THEIRS = "its operator has to import the newest one"


class Refused:
    """What was refused so far.  behind: what a package of another roster was refused with, None if there was none."""

    def __init__(self) -> None:
        self.behind: WrongRoster | None = None
        self._told = ""

    def tell(self, what: str, error: PackageRefused) -> None:
        """Say that it was, in one line for a cause, however many packages it is true of."""
        if self._told != str(error):
            self._told = str(error)
            _log.warning("%s: %s; %s", what, error, error.hint, extra={"code": error.exit_code})


def tell_rosters(theirs: int, mine: int) -> None:
    """Say that the server has another roster, and who has to do something about it.  theirs, mine: versions."""
    whose = _IMPORT if theirs > mine else _THEIRS
    _log.warning("the server has roster %d, and this home has roster %d: %s", theirs, mine, whose)
