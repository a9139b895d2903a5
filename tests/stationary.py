"""A whole federation on disk: stations with real homes, journals and spools, and somebody who carries the packages.

    with Stations(folder, members=4) as found:
        found.run()
        assert found.server.waiting == "all rounds are done"

What is not real: vectors of a few weights, a clock that stands still until a test moves it, and the model.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from fedspallm_secure.app.rounds.planning import LayerBase, Terms
from fedspallm_secure.app.rounds.vectors import Released
from fedspallm_secure.app.stations.director import Agenda, Director, Durations
from fedspallm_secure.app.stations.member_station import MemberStation
from fedspallm_secure.app.stations.opening import open_station
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.protocol.offers import Offer
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.thresholds import Profile
from tests.ceremony import PASSWORD, Ceremony
from tests.federation import TinyWork

SERVER = Party(Role.SERVER.value, "hub")
NAMES = ("north", "south", "west", "east", "middle", "coast")
DIGEST = "ab" * 32


class TinyModel:
    """Stands for the model at the server: layers of eight weights, and digests made up from the round."""

    def __init__(self, folder: Path, layers: int) -> None:
        self.folder, self.layers = folder, layers
        self.sums: dict[tuple[int, int], np.ndarray] = {}
        self.done: list[int] = []

    def bases(self, gids):
        return tiny_bases(gids, len(self.done))

    def layer(self, plan: Plan, released: Released) -> str:
        self.sums[plan.round, released.group.gid] = released.group.counts.unpack(
            released.streams.count, released.group.weights
        )
        return DIGEST

    def body(self, plan: Plan, gid: int) -> Path:
        path = self.folder / f"body-{plan.round}-{gid}"
        path.write_bytes(b"layer %d" % gid)
        return path

    def complete(self, plan: Plan, result: Result, proof) -> None:
        if plan.round not in self.done:
            self.done.append(plan.round)


def tiny_bases(gids, done: int) -> dict[int, LayerBase]:
    shapes = (MatrixShape("w", 2, 4),)
    return {gid: LayerBase(f"{1000 * done + gid:064x}", shapes) for gid in gids}


class TinyMember(TinyWork):
    """Stands for the model at a member."""

    def __init__(self, member: str, layers: int) -> None:
        super().__init__(7, member, tiny_bases(range(layers), 0))
        self.taken: list[tuple[int, int, bytes]] = []
        self.count = layers

    def apply(self, plan: Plan, group: GroupPlan, result: Result, body: Path) -> None:
        self.taken.append((plan.round, group.gid, body.read_bytes()))

    def complete(self, plan: Plan, result: Result) -> None:
        self.previous = result.hash
        self.layers = tiny_bases(range(self.count), plan.round)


class Stations:
    """Server and members, and their folders.  now: the clock."""

    def __init__(
        self, folder: Path, members: int = 4, layers: int = 2, schedule=("1/2",), profile=Profile.THREE_TRIP, **agenda
    ) -> None:
        self.ceremony = Ceremony(folder)
        self.names = NAMES[:members]
        parties = [f"server/{SERVER.id}", *(f"member/{name}" for name in self.names)]
        for party in parties:
            self.ceremony.enrol(party)
        roster = self.ceremony.roster()
        for party in parties:
            self.ceremony.take(party, roster)
        self.layers, self.profile = layers, profile
        import time

        self.now = int(time.time())
        terms = Terms(profile, 1, Strategy.FEDSPALLM, "sparsegpt")
        self.agenda = Agenda(
            (), tuple(schedule), 3, False, terms, bytes(32), Durations(3600, 3600, 3600, 3600), **agenda
        )
        self.policy = Policy(SERVER, 1, profiles=frozenset({profile}))
        (folder / "hub").mkdir(exist_ok=True)
        self.model = TinyModel(folder / "hub", layers)
        self.works = {name: TinyMember(name, layers) for name in self.names}
        self.stack = ExitStack()
        self.silent: set[str] = set()

    def __enter__(self) -> "Stations":
        self.server = self.open_server()
        self.members = {name: self.open_member(name) for name in self.names}
        for name in self.names:
            self.offer(name)
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def _post(self, party: str) -> Post:
        opening = open_station(
            self.ceremony.home(party),
            self.ceremony.folder / f"data-{party.partition('/')[2]}",
            lambda _: PASSWORD,
            lambda: self.now,
        )
        return self.stack.enter_context(opening)

    def open_server(self) -> Director:
        return Director(self._post(str(SERVER)), self.agenda, self.model, self.ceremony.folder / "data-hub")

    def open_member(self, name: str) -> MemberStation:
        work = self.works[name]
        return MemberStation(self._post(f"member/{name}"), self.policy, work, work)

    def offer(self, name: str) -> None:
        station = self.members[name]
        bundle = station.bundle
        with station.post.at_once():
            station.post.send("prekeys", SERVER, [bundle.encode()])
            station.post.send("offer", SERVER, [Offer("test/1", 0, bundle.statement.digest.hex()).encode()])

    def carry(self) -> int:
        """Carry every package from outboxes to inboxes."""
        posts = {str(SERVER): self.server.post} | {f"member/{name}": one.post for name, one in self.members.items()}
        carried = 0
        for sender, post in posts.items():
            for listed in post.spool.outgoing():
                target = posts.get(listed.recipient)
                if listed.departed or target is None or listed.recipient.partition("/")[2] in self.silent:
                    continue
                if sender.partition("/")[2] in self.silent:
                    continue
                arrival = target.spool.arrival(post.party, listed.digest, listed.size)
                if arrival is not None:
                    arrival.write(post.spool.inside("out", listed.digest).read_bytes())
                    arrival.finish()
                    carried += 1
                post.spool.departed(target.party, listed.digest)
        return carried

    def step(self) -> int:
        """Everybody does what is due."""
        done = self.server.work_through()
        while self.server.tick():
            done += 1
        for name, station in self.members.items():
            if name in self.silent:
                continue
            done += station.work_through()
            for group in station.due():
                station.contribute_layer(group)
                done += 1
        return done

    def run(self, most: int = 60) -> None:
        """Until nothing happens any more."""
        for _ in range(most):
            if not self.carry() + self.step():
                return
        raise AssertionError("the round does not come to an end")


@contextmanager
def stations(folder: Path, **setting) -> Iterator[Stations]:
    with Stations(folder, **setting) as found:
        yield found
