"""`fedprune witness`: a witness as a service, or once by hand."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedspallm_secure.app.configuration.witness import WitnessConfig, read_witness
from fedspallm_secure.app.service.attendants import attend
from fedspallm_secure.app.service.visits import check_server, server_of
from fedspallm_secure.app.service.watched import watch
from fedspallm_secure.app.stations.note_statements import read_stated
from fedspallm_secure.app.stations.opening import Unlock, check_role, open_station
from fedspallm_secure.app.stations.witness_station import WitnessStation
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.crypto.notes import Checkpoint, NoteKey
from fedspallm_secure.errors import MissingInput
from fedspallm_secure.storage import home_folder as folder


def run_witness(path: Path, unlock: Unlock, once: bool) -> int:
    """Cosign and endorse until somebody stops the service; the exit code.

    path: of witness.toml; unlock: gives the password; once: end as soon as nothing is left to do, for cron.
    Raises what reading the configuration and the home raises; CertificateRevoked; RolledBack; StorageError.
    """
    config = read_witness(path)
    part = config.witness
    return attend(part.home, Role.WITNESS, part.data, config.server, lambda: _station(config, unlock), _phase, once)


def _phase(station: WitnessStation) -> str:
    size = _size(station)
    return "waiting for a checkpoint" if size is None else f"{size} entries of the log are cosigned"


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
    found = config.witness
    with open_station(found.home, found.data, unlock, lambda: int(time.time()), anchors=found.anchor) as post:
        check_server(config.server, post)
        yield WitnessStation(post, server_of(config.server))


def _size(station: WitnessStation) -> int | None:
    """Entries of the log that are cosigned, None before the first checkpoint."""
    newest = station.newest
    return None if newest is None else Checkpoint.parse(newest.text).size
