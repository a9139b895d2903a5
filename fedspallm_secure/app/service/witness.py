"""`fedprune witness`: a witness as a service, or once by hand."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedspallm_secure.app.configuration.witness import WitnessConfig, read_witness
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
from fedspallm_secure.app.service.visits import Visits, server_of, visiting
from fedspallm_secure.app.service.watched import watch
from fedspallm_secure.app.stations.note_statements import read_stated
from fedspallm_secure.app.stations.opening import Unlock, check_role, open_station
from fedspallm_secure.app.stations.witness_station import WitnessStation
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.crypto.notes import Checkpoint, NoteKey
from fedspallm_secure.errors import MissingInput
from fedspallm_secure.storage import home_folder as folder
from fedspallm_secure.storage.home import open_home

_log = logging.getLogger(__name__)


def run_witness(path: Path, unlock: Unlock, once: bool) -> int:
    """Cosign and endorse until somebody stops the service; the exit code.

    path: of witness.toml; unlock: gives the password; once: end as soon as nothing is left to do, for cron.
    Raises what reading the configuration and the home raises; CertificateRevoked; RolledBack; StorageError.
    """
    config = read_witness(path)
    check_role(config.witness.home, Role.WITNESS)
    home = open_home(config.witness.home)
    check_not_withdrawn(home)
    tell_warnings(home)
    live = Live(config.witness.data / "live.json")
    with stopping() as stop, _station(config, unlock) as station:
        network = visiting(config.server, station.post, live, once)
        try:
            return _Loop(station, network, live, stop, once).run()
        finally:
            if network is not None:
                network.stop()
            live.close()


class _Loop:
    """Messages and newer rosters, in turn."""

    def __init__(self, station: WitnessStation, network: Visiting | None, live: Live, stop: Stop, once: bool) -> None:
        self._station, self._live, self._stop = station, live, stop
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
        size = _size(self._station)
        text = "waiting for a checkpoint" if size is None else f"{size} entries of the log are cosigned"
        if text != self._said:
            self._said = text
            _log.info("%s", text)
            self._live.phase(text)


@dataclass(frozen=True, slots=True)
class Signed:
    """What came of packages that were carried here.

    settled: how many there were; refused: type and sender of each that was, with the reason; waiting: packages that
    are to be carried back, by type; size: entries of the log that are cosigned now, None before the first checkpoint.
    """

    settled: int
    refused: tuple[tuple[str, str, str], ...]
    waiting: dict[str, int]
    size: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        refused = [{"type": type, "sender": sender, "reason": reason} for type, sender, reason in self.refused]
        return {"settled": self.settled, "refused": refused, "waiting": self.waiting, "size": self.size}


def cosign_arrived(path: Path, unlock: Unlock) -> Signed:
    """Act once on what has arrived, without network.  Arguments and errors: as of `run_witness`."""
    with _station(read_witness(path), unlock) as station:
        settled = station.work_through()
        refused = tuple((arrived.type, arrived.sender, str(error)) for arrived, error in station.told)
        waiting: dict[str, int] = {}
        for listed in station.post.spool.outgoing():
            if not listed.departed:
                waiting[listed.type] = waiting.get(listed.type, 0) + 1
        return Signed(settled, refused, dict(sorted(waiting.items())), _size(station))


def make_key(config: WitnessConfig, unlock: Unlock) -> NoteKey:
    """The key that this witness cosigns with; it is made if there is none yet.  Errors: as of `run_witness`."""
    with _station(config, unlock) as station:
        return station.statement.key


def keys_of(path: Path) -> tuple[NoteKey, NoteKey | None]:
    """The own key, and that of the log as far as it was shown; needs no password.

    path: of witness.toml.  Raises MissingInput before the key was made.
    """
    config = read_witness(path)
    check_role(config.witness.home, Role.WITNESS)
    with watch(config.witness.home / folder.REGISTER) as watched:
        begun = watched.has_begun()
        own, pinned = [watched.fact("note key", name) if begun else None for name in ("own", "pinned")]
    if own is None:
        raise MissingInput("this witness has made no key yet", hint="fedprune witness run makes it")
    return read_stated(own).key, None if pinned is None else read_stated(pinned).key


@contextmanager
def _station(config: WitnessConfig, unlock: Unlock) -> Iterator[WitnessStation]:
    check_role(config.witness.home, Role.WITNESS)
    with open_station(config.witness.home, config.witness.data, unlock, lambda: int(time.time())) as post:
        yield WitnessStation(post, server_of(config.server))


def _size(station: WitnessStation) -> int | None:
    """Entries of the log that are cosigned, None before the first checkpoint."""
    newest = station.newest
    return None if newest is None else Checkpoint.parse(newest.text).size
