"""A whole federation on disk: stations with real homes, journals and spools, and somebody who carries the packages.

    with Stations(folder, members=4) as found:
        found.run()
        assert found.server.waiting == "all rounds are done"

What is not real: vectors of a few weights, a clock that stands still until a test moves it, and the model.  The folder
holds everything that counts: `Stations(folder, new=False)` goes on with it, also in a copy of it.
"""

import json
import os
import shutil
import time
from atexit import register
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from fedspallm_secure.app.rounds.planning import LayerBase, Terms, cipher_for
from fedspallm_secure.app.rounds.vectors import Released
from fedspallm_secure.app.stations.agenda import Agenda, Durations
from fedspallm_secure.app.stations.director import Director
from fedspallm_secure.app.stations.key_holder_station import KeyHolderStation
from fedspallm_secure.app.stations.member_station import MemberStation
from fedspallm_secure.app.stations.opening import open_station
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.app.stations.witness_station import WitnessStation
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import FedSpaError, PackageRefused, TrustError
from fedspallm_secure.protocol.offers import Offer
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.thresholds import Profile
from fedspallm_secure.storage.package_reader import open_package
from fedspallm_secure.storage.room import Quota
from tests.ceremony import PASSWORD, Ceremony
from tests.federation import TinyWork

SERVER = Party(Role.SERVER.value, "hub")
HUB = str(SERVER)
NAMES = ("north", "south", "west", "east", "middle", "coast")
DIGEST = "ab" * 32
_replace = os.replace  # as it is now, before anybody watches it
HOUR = 3600  # seconds of every stage


def keep(path: Path, value: object) -> None:
    """A file of what is not real, whole or not at all, by calls that no fault is injected into."""
    beside = path.with_suffix(".new")
    with open(beside, "w") as file:  # noqa: PTH123  (see above: `Path.open` is watched)
        json.dump(value, file)
    _replace(beside, path)


class TinyModel:
    """Stands for the model at the server: layers of eight weights, and digests made up from the round."""

    def __init__(self, folder: Path, layers: int) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.layers = folder, layers

    @property
    def done(self) -> list[int]:
        """Rounds that are complete."""
        return sorted(int(path.stem.partition("-")[2]) for path in self.folder.glob("done-*.json"))

    @property
    def sums(self) -> dict[tuple[int, int], np.ndarray]:
        """Round and group -> how many members keep each weight."""
        found = {}
        for path in self.folder.glob("sum-*.json"):
            _, round, gid = path.stem.split("-")
            found[int(round), int(gid)] = np.array(json.loads(path.read_text()))
        return found

    def bases(self, gids):
        return tiny_bases(gids, len(self.done))

    def origin(self):
        return DIGEST

    def layer(self, plan: Plan, released: Released) -> str:
        counts = released.group.counts.unpack(released.streams.count, released.group.weights)
        keep(self.folder / f"sum-{plan.round}-{released.group.gid}.json", counts.tolist())
        return DIGEST

    def body(self, plan: Plan, gid: int) -> Path:
        path = self.folder / f"body-{plan.round}-{gid}"
        keep(path, f"layer {gid}")
        return path

    def complete(self, plan: Plan, result: Result, proof) -> None:
        keep(self.folder / f"done-{plan.round}.json", result.hash)

    def files(self):
        return [{"name": path.name, "size": 1, "sha256": DIGEST} for path in sorted(self.folder.glob("body-*"))]


@cache
def enrolled(parties: tuple[str, ...], prekeys: int, hour: int) -> Path:
    """A folder in which an authority has enrolled these, within this hour; to be copied.  prekeys: of each member."""
    folder = Path(mkdtemp(prefix="enrolled-"))
    register(_remove, folder, os.getpid())
    ceremony = Ceremony(folder)
    for party in parties:
        count = prekeys if party.startswith("member/") else None
        ceremony.take(party, ceremony.sign(ceremony.request(party, prekeys=count)))
    roster = ceremony.roster()
    for party in parties:
        ceremony.take(party, roster)
    return folder


def _remove(folder: Path, made_by: int) -> None:
    if os.getpid() == made_by:  # a forked child that ends leaves it to others
        shutil.rmtree(folder, ignore_errors=True)


def an_offer(
    bundle: Prekeys | str,
    policy: Policy | None = None,
    layers: int = 0,
    software: str = "test/1",
    model: str = DIGEST,
) -> Offer:
    """What a member offers, with the tiny model unless it is another.  bundle: of prekeys, or its digest, hex."""
    digest = bundle if isinstance(bundle, str) else bundle.statement.digest.hex()
    return Offer(software, layers, digest, model, policy or Policy(SERVER, 1))


def tiny_bases(gids, done: int) -> dict[int, LayerBase]:
    shapes = (MatrixShape("w", 2, 4),)
    return {gid: LayerBase(f"{1000 * done + gid:064x}", shapes) for gid in gids}


class TinyMember(TinyWork):
    """Stands for the model at a member."""

    def __init__(self, folder: Path, member: str, layers: int) -> None:
        super().__init__(7, member, {})
        folder.mkdir(exist_ok=True)
        self.folder, self.count = folder, layers

    def model(self):
        done = sorted(self.folder.glob("done-*.json"))
        self.layers = tiny_bases(range(self.count), len(done))
        self.previous = json.loads(done[-1].read_text()) if done else "*"
        return super().model()

    @property
    def taken(self) -> list[tuple[int, int]]:
        """Round and group of the layers that came."""
        return sorted(tuple(map(int, path.stem.split("-")[1:])) for path in self.folder.glob("layer-*.json"))

    def apply(self, plan: Plan, group: GroupPlan, result: Result, body: Path) -> None:
        keep(self.folder / f"layer-{plan.round}-{group.gid}.json", json.loads(body.read_text()))

    def complete(self, plan: Plan, result: Result) -> None:
        keep(self.folder / f"done-{plan.round}.json", result.hash)


@dataclass(frozen=True)
class Carried:
    """A package that was seen outside of the party that made it."""

    sender: str
    recipient: str
    type: str
    round: int
    group: str
    sequence: int
    digest: str


@dataclass(frozen=True)
class Action:
    """Something that one party does at once, in words that hold for every copy of the folder.

    kind: `deliver` (takes in a package; of whom and which), `departed` (notes that it left), `work`, `tick`, `abort`,
    or `contribute` (to which group).
    """

    party: str
    kind: str
    other: str = ""
    what: str = ""


@dataclass
class Setting:
    """What federation to make.  members, layers: how many; prekeys: of each member; dishonest: of the witnesses;
    awaited: ids that are configured, all of the roster if none.
    """

    members: int = 4
    layers: int = 2
    schedule: tuple[str, ...] = ("1/2",)
    profile: Profile = Profile.THREE_TRIP
    prekeys: int = 2
    awaited: tuple[str, ...] = ()
    open_after: int = 0
    patience: int = 60
    attempts: int = 2
    quota: Quota | None = None
    witnesses: tuple[str, ...] = ()
    dishonest: int = 0
    key_holder: str = ""


class Stations:
    """Server and members, and their folders.

    now: the clock of everybody; clocks: what some parties' clocks are off by, seconds; silent: ids of those who get and
    give nothing; carried: what was seen outside; turned_away: digests of packages refused on arrival, and why.
    """

    def __init__(self, folder: Path, new: bool = True, setting: Setting | None = None, **changes) -> None:
        self.setting = setting or Setting(**changes)
        self.folder, self.names = folder, NAMES[: self.setting.members]
        watching = [f"witness/{name}" for name in self.setting.witnesses]
        holding = [f"key-holder/{self.setting.key_holder}"] if self.setting.key_holder else []
        self.parties = [HUB, *(f"member/{name}" for name in self.names), *watching, *holding]
        if new:
            # All are of the same keys: making them takes half of the time of a short round.
            built = enrolled(tuple(self.parties), self.setting.prekeys, int(time.time()) // HOUR)
            shutil.copytree(built, folder, dirs_exist_ok=True)
        self.ceremony = Ceremony(folder, new=False)
        self.now = int(time.time())
        self.clocks: dict[str, int] = {}
        terms = Terms(self.setting.profile, 1, Strategy.FEDSPALLM, "sparsegpt")
        self.agenda = Agenda(
            self.setting.awaited,
            tuple(self.setting.schedule),
            3,
            False,
            terms,
            bytes(32),
            Durations(HOUR, HOUR, HOUR, HOUR),
            open_after=self.setting.open_after,
            patience=self.setting.patience,
            attempts=self.setting.attempts,
            witnesses=self.setting.witnesses,
            dishonest=self.setting.dishonest,
            key_holder=self.setting.key_holder,
        )
        self.policy = Policy(
            SERVER,
            1,
            profiles=frozenset({self.setting.profile}),
            witnesses=self.setting.witnesses,
            dishonest=self.setting.dishonest,
            key_holders=frozenset({self.setting.key_holder} - {""}),
        )
        self.model = TinyModel(folder / "hub", self.setting.layers)
        self.works = {name: TinyMember(folder / name, name, self.setting.layers) for name in self.names}
        self._stacks: dict[str, ExitStack] = {}
        self.members: dict[str, MemberStation] = {}
        self.witnesses: dict[str, WitnessStation] = {}
        self.key_holders: dict[str, KeyHolderStation] = {}
        self.silent: set[str] = set()
        self.carried: list[Carried] = []
        self.turned_away: dict[str, FedSpaError] = {}
        self._new = new
        self.anchors = folder / "anchors"
        self.anchors.mkdir(exist_ok=True)

    # Opening and closing

    def __enter__(self) -> "Stations":
        for party in self.parties:
            self.open(party)
        for name in self.names if self._new else ():
            self.offer(name)
        return self

    def __exit__(self, *_: object) -> None:
        for party in list(self._stacks):
            self.close(party)

    def open(self, party: str) -> None:
        """Open the station of a party from what is on disk."""
        stack = self._stacks[party] = ExitStack()
        name = party.partition("/")[2]
        try:
            post = stack.enter_context(
                open_station(
                    self.ceremony.home(party),
                    self.data(party),
                    lambda _: PASSWORD,
                    lambda: self.now + self.clocks.get(party, 0),
                    self.setting.quota,
                    anchors=self.anchors,
                )
            )
            if party == HUB:
                self.server = Director(post, self.agenda, self.model, self.data(party))
            elif party.startswith("witness/"):
                self.witnesses[name] = WitnessStation(post, SERVER)
            elif party.startswith("key-holder/"):
                cipher = cipher_for(self.setting.members, Strategy.FEDSPALLM, 32)
                sums = self.data(party) / "sums"
                self.key_holders[name] = KeyHolderStation(post, self.policy, cipher, sums, stock=1)
            else:
                self.members[name] = MemberStation(post, self.policy, self.works[name], self.works[name])
        except BaseException:
            self.close(party)
            raise

    def close(self, party: str) -> None:
        self._stacks.pop(party).close()
        for there in (self.members, self.witnesses, self.key_holders):
            there.pop(party.partition("/")[2], None)

    def reopen(self, party: str) -> None:
        """As after a restart."""
        if party in self._stacks:
            self.close(party)
        self.open(party)

    def is_open(self, party: str) -> bool:
        return party in self._stacks

    def data(self, party: str) -> Path:
        return self.folder / f"data-{party.partition('/')[2]}"

    def station(self, party: str) -> Director | MemberStation | WitnessStation | KeyHolderStation:
        role, _, name = party.partition("/")
        known = {"member": self.members, "witness": self.witnesses, "key-holder": self.key_holders}
        return self.server if party == HUB else known[role][name]

    def post(self, party: str) -> Post:
        return self.station(party).post

    def offer(self, name: str) -> None:
        station = self.members[name]
        bundle = station.bundle
        with station.post.at_once():
            station.post.send("prekeys", SERVER, [bundle.encode()])
            station.post.send("offer", SERVER, [an_offer(bundle, station.policy, model=self.model.origin()).encode()])

    # What happens

    def due(self, order: Callable[[list[str]], list[str]] = list) -> Iterator[Action]:
        """What may be done now, party by party, each looked up when it is its turn.  order: of the parties."""
        for party in order([one for one in self.parties if self.is_open(one) and self._speaks(one)]):
            for listed in self.post(party).spool.outgoing():
                to = listed.recipient
                if not listed.departed and to in self.parties and self.is_open(to) and self._speaks(to):
                    yield Action(to, "deliver", party, listed.digest)
                    yield Action(party, "departed", to, listed.digest)
            if self.post(party).spool.arrived():
                yield Action(party, "work")
            if party == HUB:
                yield Action(party, "tick")
            elif party.startswith("member/"):
                for group in self.members[party.partition("/")[2]].due():
                    yield Action(party, "contribute", what=str(group.gid))

    def _speaks(self, party: str) -> bool:
        return party.partition("/")[2] not in self.silent

    def act(self, action: Action) -> int:
        """Do it; how much was done."""
        party, post = action.party, self.post(action.party)
        match action.kind:
            case "deliver":
                return self._deliver(post, action)
            case "departed" if action.what in self.turned_away:
                return 0
            case "departed":
                post.spool.departed(Party.parse(action.other), action.what)
                return 1
            case "work":
                return self.station(party).work_through()
            case "tick":
                return int(self.server.tick())
            case "abort":
                self.server.abort()
                return 1
            case _:
                station = self.members[party[7:]]
                for group in station.due():
                    if str(group.gid) == action.what:
                        station.contribute_layer(group)
                return 1

    def _deliver(self, post: Post, action: Action) -> int:
        path = self.data(action.other) / "spool" / "out" / f"{action.what}.fspkg"
        data = path.read_bytes()
        try:
            arrival = post.spool.arrival(Party.parse(action.other), action.what, len(data))
            if arrival is not None:
                with closing(arrival):
                    arrival.write(memoryview(data)[arrival.offset :])
                    arrival.finish()
        except (TrustError, PackageRefused) as error:
            self.turned_away[action.what] = error
            return 0
        self.turned_away.pop(action.what, None)
        return 1

    def see(self, action: Action) -> None:
        """Note what can be seen outside from now on."""
        if action.kind == "deliver":
            with open_package(self.data(action.other) / "spool" / "out" / f"{action.what}.fspkg") as package:
                head, context = package.head, package.head.context
            seen = Carried(
                action.other,
                action.party,
                context.type,
                context.round,
                str(context.group),
                context.sequence,
                head.digest.hex(),
            )
            if seen not in self.carried:
                self.carried.append(seen)

    def carry(self) -> int:
        """Carry every package from outboxes to inboxes."""
        done = 0
        for action in list(self.due()):
            if action.kind in {"deliver", "departed"}:
                self.see(action)
                done += self.act(action)
        return done

    def step(self) -> int:
        """Everybody does what is due."""
        return sum(self.act(action) for action in self.due() if action.kind not in {"deliver", "departed"})

    def run(self, most: int = 60) -> None:
        """Until nothing happens any more."""
        for _ in range(most):
            if not self.carry() + self.step():
                return
        raise AssertionError("the round does not come to an end")

    def wait(self) -> None:
        """As `run`, and where somebody is waited for, until the time of each stage is over."""
        self.run()
        for _ in range(12):
            station = self.server.station
            if station is None:
                return
            self.now = max(self.now, self.server._deadline(station.plan, station.machine.state)) + 1
            self.run()
        raise AssertionError("the round does not come to an end")


@contextmanager
def stations(folder: Path, **setting) -> Iterator[Stations]:
    with Stations(folder, **setting) as found:
        yield found
