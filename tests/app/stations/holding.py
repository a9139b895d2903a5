"""A federation with a key holder, halted where something waits for it, to be gone on with by a test.

Nothing is encrypted with TenSEAL (tests/clear_cipher.py): `clear()` has to be in effect wherever this is used.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from fedspallm_secure.app.stations.director import Director
from fedspallm_secure.app.stations.key_holder_station import KeyHolderStation
from fedspallm_secure.crypto.encoding import parse_canonical_json
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.protocol.rounds.messages import Outgoing
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.records_server import read_server_record
from fedspallm_secure.secagg.thresholds import Profile
from fedspallm_secure.storage.home import open_home
from tests.clear_cipher import clear
from tests.stationary import HUB, Setting, Stations

VAULT = "key-holder/vault"
HOLDER = Party.parse(VAULT)
STOPS = ("plan", "decrypt-request", "decrypt-opening", "result")


def setting(**other) -> Setting:
    return Setting(**{"members": 4, "layers": 1, "profile": Profile.ONE_TRIP, "key_holder": "vault", **other})


def until(found: Stations, party: str, type: str) -> None:
    """Go on until a package of this type lies in the inbox of a party."""
    for _ in range(60):
        found.carry()
        if any(arrived.type == type for arrived in found.post(party).spool.arrived()):
            return
        if not found.step():
            break
    raise AssertionError(f"no {type} arrives at {party}")


def check_sums(found: Stations, rounds: list[int]) -> None:
    """These rounds have a result at the server, and the counts are those of what members keep; nobody was refused."""
    assert found.server.waiting == "all rounds are done"
    assert not found.server.told
    assert not found.key_holders["vault"].told
    assert found.model.done == rounds
    for number in rounds:
        opened = found.server.post.journal.records(number, read_server_record)[0]
        for group in Plan.from_dict(parse_canonical_json(opened.plan, "the plan")).groups:
            kept = sum(found.works[name].values(group)[0].astype(int) for name in group.cohort)
            assert found.model.sums[number, group.gid].tolist() == kept.tolist()


def record(folder: Path) -> dict[str, Path]:
    """One round; what everybody has on disk when this type of package waits for the key holder."""
    kept = {}
    with clear(), Stations(folder / "played", setting=setting()) as found:
        for type in STOPS:
            until(found, VAULT, type)
            kept[type] = folder / type
            shutil.copytree(found.folder, kept[type])
    return kept


class Desk:
    """Server and key holder as they were at one of these moments, and what passes between them."""

    def __init__(self, found: Stations) -> None:
        self.found = found

    @property
    def hub(self) -> Director:
        return self.found.server

    @property
    def vault(self) -> KeyHolderStation:
        return self.found.key_holders["vault"]

    def work(self) -> list[FedSpaError]:
        """The key holder acts on what lies there; what it refused."""
        self.vault.work_through()
        told, self.vault.told = self.vault.told, []
        return [error for _, error in told]

    def send(self, type: str, parts: Sequence[bytes | memoryview], **other) -> list[FedSpaError]:
        """A package of the server arrives and is acted on; what was refused.  other: not as in this round."""
        machine, hub = self.hub.station.machine, self.hub.post
        context = {"round": machine.plan.round, "plan_hash": machine.plan_hash, "group": "0", **other}
        with hub.at_once():
            digest = hub.send(type, HOLDER, parts, **context)
        data = hub.spool.inside("out", digest).read_bytes()
        with closing(self.vault.post.spool.arrival(hub.party, digest, len(data))) as arrival:
            arrival.write(memoryview(data))
            arrival.finish()
        hub.spool.departed(HOLDER, digest)
        return self.work()

    def said(self, type: str) -> Outgoing:
        """A message of the server's present state."""
        (found,) = [one for one in self.hub.station.machine.repeat() if one.type == type and one.recipient == HOLDER]
        return found

    def drop(self) -> None:
        """What waits for the key holder gets lost."""
        post = self.vault.post
        (arrived,) = post.spool.arrived()
        with post.at_once():
            post.settle(arrived, "damaged")
        post.spool.drop(arrived.digest)

    def made(self, type: str) -> int:
        """How many packages of a type the key holder has in its outbox."""
        return sum(listed.type == type for listed in self.vault.post.spool.outgoing())

    def restart(self) -> None:
        self.found.reopen(VAULT)

    def secret(self) -> bytes:
        """What the journal holds of the secret key of the round that goes on, encrypted."""
        query = "SELECT body FROM facts WHERE kind = 'cipher secret' AND name = ?"
        rows = self.vault.post.journal.connection.execute(query, (self.vault.machine.key_hash,)).fetchall()
        return rows[0][0]

    def disk(self) -> bytes:
        """Everything that the key holder has in files."""
        folders = (self.found.ceremony.home(VAULT), self.found.data(VAULT))
        return b"".join(path.read_bytes() for top in folders for path in sorted(top.rglob("*")) if path.is_file())


@contextmanager
def desk(kept: Path, folder: Path, *others: str) -> Iterator[Desk]:
    """A copy of what everybody had, with server, key holder and `others` open."""
    shutil.copytree(kept, folder)
    found = Stations(folder, new=False, setting=setting())
    try:
        for party in (HUB, VAULT, *others):
            found.open(party)
        yield Desk(found)
    finally:
        found.__exit__()


def renewed(found: Stations) -> None:
    """Everybody that is open takes in a newer roster, and goes on with it."""
    roster = found.ceremony.roster()
    for party in found.parties:
        found.ceremony.take(party, roster)
        if found.is_open(party):
            post = found.post(party)
            post.renew(open_home(post.home.path))
            found.station(party).renew()
