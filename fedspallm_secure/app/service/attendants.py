"""Witnesses and key holders as services: they visit a server, answer what it asks, and hold no model."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from fedspallm_secure.app.configuration.member import Server
from fedspallm_secure.app.service.live import Live
from fedspallm_secure.app.service.loops import (
    Stop,
    Watch,
    check_not_withdrawn,
    renewed,
    stopping,
    tell_refused,
    tell_warnings,
)
from fedspallm_secure.app.service.networks import Visiting
from fedspallm_secure.app.service.visits import Visits, visiting
from fedspallm_secure.app.stations.opening import check_role
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.storage.home import open_home
from fedspallm_secure.storage.spool import Arrived

_log = logging.getLogger(__name__)


class Attendant(Protocol):
    """A station that acts on messages alone.  told: what was refused, with the reason, until somebody has said it."""

    @property
    def post(self) -> Post:
        """Its home, keys and spool."""

    @property
    def told(self) -> list[tuple[Arrived, FedSpaError]]:
        """What was refused."""

    def renew(self) -> None:
        """Take in what is newer in the home."""

    def work_through(self) -> int:
        """Act on what has arrived; how much that was."""


S = TypeVar("S", bound=Attendant)


class AttendantLoop:
    """Messages and newer rosters, in turn.  phase: what the attendant is at, in words, for log and status."""

    def __init__(
        self,
        station: Attendant,
        phase: Callable[[], str],
        network: Visiting | None,
        live: Live,
        stop: Stop,
        once: bool,
    ) -> None:
        self._station, self._phase, self._live, self._stop = station, phase, live, stop
        self._visits = Visits(station.post, network, stop, once)
        self._watch = Watch(station.post.home.path)
        self._said = ""

    def run(self) -> int:
        """Until somebody stops it; the exit code."""
        if not self._visits.begin():
            return 0
        while not self._stop.wanted:
            self._visits.check()
            if not self._turn():
                if self._visits.is_over():
                    break
                self._visits.rest()
        _log.info("stopped")
        return 0

    def _turn(self) -> bool:
        station = self._station
        if renewed(station.post, self._watch):
            station.renew()
        moved = station.work_through() > 0
        tell_refused(station.told)
        if moved:
            self._visits.notify()
        self._say()
        return moved

    def _say(self) -> None:
        text = self._phase()
        if text != self._said:
            self._said = text
            _log.info("%s", text)
            self._live.phase(text)


def attend(
    folder: Path,
    role: Role,
    data: Path,
    server: Server,
    opened: Callable[[], AbstractContextManager[S]],
    phase: Callable[[S], str],
    once: bool,
) -> int:
    """Run an attendant until somebody stops it; the exit code.

    folder: its home; data: its folder for packages; opened: its station; once: end as soon as nothing is left to do.
    Raises what reading the home and opening the station raise; CertificateRevoked; RolledBack; StorageError.
    """
    check_role(folder, role)
    home = open_home(folder)
    check_not_withdrawn(home)
    tell_warnings(home)
    live = Live(data / "live.json")
    with stopping() as stop, opened() as station:
        network = visiting(server, station.post, live, once)
        try:
            return AttendantLoop(station, lambda: phase(station), network, live, stop, once).run()
        finally:
            if network is not None:
                network.stop()
            live.close()
