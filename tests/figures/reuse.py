"""Many rounds in which members and the server crash and try again: is any piece of a keystream used twice?

    python -m tests.figures.reuse ROUNDS SEED     prints the figures as JSON

Members write down what their machines say and burn prekeys; a crash, at a random point of whatever they do, leaves that
alone.  Then the server sends everything again, and the member tries again, now and then with another vector.  The
server also sends a second plan for a round, and plans that name burned prekeys; it crashes too, and takes the
keystreams off once more.  Every derivation of a key and every piece of a keystream is watched, in tiles of 64 bytes: no
member may use a pair of key and tile twice, whatever became of the vector, and nobody but the two ends of an edge the
same key.  A twin puts an old copy of its home back after every crash: that has to be seen.
"""

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from unittest import mock

import numpy as np

from fedspallm_secure.app.rounds.planning import LayerBase, Terms, make_plan
from fedspallm_secure.crypto.body import body_length
from fedspallm_secure.crypto.draws import seed_bytes
from fedspallm_secure.crypto.key_records import PrekeySecret
from fedspallm_secure.errors import FedSpaError, RoundError
from fedspallm_secure.protocol.package_types import PACKAGE_TYPES
from fedspallm_secure.protocol.packages import Head, Header
from fedspallm_secure.protocol.prekeys import Prekey, Prekeys
from fedspallm_secure.protocol.rounds.deals import vector_root
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.protocol.rounds.member import LocalGroup, LocalModel, Member, Own
from fedspallm_secure.protocol.rounds.member_state import State as MemberState
from fedspallm_secure.protocol.rounds.messages import Incoming, Outgoing, Step
from fedspallm_secure.protocol.rounds.openings import PrekeyUse
from fedspallm_secure.protocol.rounds.outcomes import GroupResult
from fedspallm_secure.protocol.rounds.plans import Plan, Sampling
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.protocol.rounds.records_member import MemberRecord
from fedspallm_secure.protocol.rounds.records_server import ServerRecord
from fedspallm_secure.protocol.rounds.server import Server
from fedspallm_secure.protocol.rounds.server_state import ServerOwn, State
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg import masking
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.disclosure import Ledger
from fedspallm_secure.secagg.keystreams import Kind, Stream
from fedspallm_secure.secagg.masking import add_into, add_keystreams
from fedspallm_secure.secagg.thresholds import Profile
from fedspallm_secure.storage.memory import MemoryPrekeys
from tests.figures.spread import show, spread
from tests.figures.stage import SERVER, tally
from tests.parties import DAY, NOW, Federation

MEMBERS = ("ash", "birch", "cedar", "elm", "fir")
LAYERS = (0, 1)
WEIGHTS = 50  # 25 bytes of counts and 200 of sums: five tiles
TILE = 64
CRASHES = 0.015  # chance at each point where a member can crash
BATCH = 10  # rounds of one federation
Streams = tuple[bytearray, bytearray]


class Crash(Exception):
    """A process ends here."""


# --- what is watched --------------------------------------------------------------------------------------------------


@dataclass
class Watch:
    """Who used which keys, and which pieces of their keystreams.  user: whose turn it is."""

    user: str = "server"
    keys: Counter[tuple[str, bytes]] = field(default_factory=Counter)
    pieces: Counter[tuple[str, bytes, int]] = field(default_factory=Counter)
    kinds: dict[bytes, Kind] = field(default_factory=dict)

    @contextmanager
    def watching(self) -> Iterator["Watch"]:
        """Watch everything that is masked in the body of the `with`."""
        stream_key, write_keystream = masking.stream_key, masking.write_keystream

        def derive(seed: int, context: GroupContext, kind: Kind, stream: Stream) -> bytes:
            key = stream_key(seed, context, kind, stream)
            self.keys[self.user, key] += 1
            self.kinds[key] = kind
            return key

        def write(key: bytes, offset: int, buffer: Any) -> None:
            self.pieces[self.user, key, offset] += 1
            write_keystream(key, offset, buffer)

        changes = {"stream_key": derive, "write_keystream": write, "TILE": TILE}
        with mock.patch.multiple(masking, **changes):
            yield self

    def figures(self) -> dict[str, int]:
        """Pieces, and those that were used again."""
        users: dict[bytes, set[str]] = {}
        for user, key, _ in self.pieces:
            if user != "server":
                users.setdefault(key, set()).add(user)
        shared = sum(len(who) > (1 if self.kinds[key] is Kind.SELF else 2) for key, who in users.items())
        members = [times for (user, *_), times in self.pieces.items() if user != "server"]
        derived = [times for (user, _), times in self.keys.items() if user != "server"]
        server = [times for (user, *_), times in self.pieces.items() if user == "server"]
        return {
            "pairs of key and tile": len(members),
            "used again": sum(members) - len(members),
            "keys": len(users),
            "keys derived again": sum(derived) - len(derived),
            "keys shared with a third": shared,
            "taken off by the server": sum(server),
            "of these once more after a crash": sum(server) - len(server),
        }


# --- members ----------------------------------------------------------------------------------------------------------


class Home:
    """A member.  What is in `disk`, `prekeys` and `last` outlives a crash; the machine is made anew from it."""

    def __init__(self, name: str, federation: Federation, prekeys: int, draw: random.Random, watch: Watch) -> None:
        actor = federation[f"member/{name}"]
        policy = Policy(SERVER, 1, profiles=frozenset({Profile.TWO_TRIP, Profile.THREE_TRIP}))
        self.name, self.draw, self.watch = name, draw, watch
        self.own = Own(actor.party, actor.signer, federation.trust, policy)
        self.prekeys = MemoryPrekeys(prekeys)
        leaves = [Prekey.from_bytes(leaf) for leaf in self.prekeys.public_leaves()]
        self.bundle = Prekeys.make(actor.signer, federation.name, actor.party, 0, leaves, NOW - DAY, NOW + 60 * DAY)
        self.disk: list[MemberRecord] = []
        self.sent: dict[int, tuple[Outgoing, Streams]] = {}  # gid -> contribution as it is kept to be sent again
        self.vectors: dict[int, Streams] = {}
        self.last = 0
        self.crashes = 0
        self.start()

    def start(self) -> None:
        """The process begins: all that it knows is on the disk."""
        self.machine = Member.restore(self.own, self.disk)
        self.prekey: PrekeySecret | None = self.machine.prekey

    def point(self) -> None:
        """Here the process may end."""
        if self.draw.random() < CRASHES:
            self.crashes += 1
            raise Crash

    def write(self, step: Step[MemberRecord]) -> tuple[Outgoing, ...]:
        """The records one by one, then the messages leave."""
        for record in step.records:
            self.point()
            self.disk.append(record)
        self.point()
        return step.messages

    def on_plan(self, incoming: Incoming, number: int) -> None:
        """Take part in a plan.  A later round gets another machine, and what is on the disk is of one round."""
        accepted = self.machine.accepted
        same = accepted is not None and accepted.plan.round == number
        machine = self.machine if same else Member(self.own)
        base = LocalModel({gid: LocalGroup(base_of(number), shape(gid)) for gid in LAYERS})
        index, last = self.prekeys.next_index(), 0 if same else self.last
        self.point()
        step = machine.on_plan(incoming, base, Ledger(), self.bundle, index, NOW, last_round=last)
        if machine is not self.machine:
            self.machine, self.disk, self.sent, self.vectors, self.prekey = machine, [], {}, {}, None
        self.disk += step.records  # its one record; the number of the round is durable with it
        self.last = number
        self.point()

    def contribute(self, group: GroupPlan) -> tuple[Outgoing, Streams] | None:
        """Hand something in for a group, if that may still be done; what was kept is sent again."""
        if group.gid in self.sent:
            return self.sent[group.gid]
        if self.prekey is None:
            self.prekey = self.prekeys.burn(self.machine.round.index)
            self.point()
        again = self.draw.random() < 0.25 or group.gid not in self.vectors
        streams = new_vector(group, self.draw) if again else copied(self.vectors[group.gid])
        self.write(self.machine.freeze(group.gid, sha256(b"".join(streams)).digest()))
        self.vectors[group.gid] = copied(streams)
        draft = self.machine.prepare(group.gid, self.prekey)
        self.point()
        for part, terms, size in zip(streams, (draft.count_terms, draft.sum_terms), (1, 4), strict=True):
            add_keystreams(part, terms, size)
            self.point()
        step = self.machine.hand_over(draft, vector_root([memoryview(part) for part in streams]))
        (message,) = step.messages
        self.write(step)
        self.sent[group.gid] = message, streams
        self.point()
        return message, streams

    def on_survivors(self, incoming: Incoming) -> Outgoing | None:
        """Endorse a list, or hold it."""
        return next(iter(self.write(self.machine.on_survivors(incoming, Ledger(), NOW))), None)

    def on_request(self, incoming: Incoming) -> Outgoing:
        """Answer."""
        return self.write(self.machine.on_unmask_request(incoming, Ledger(), NOW))[0]

    def tries(self, action: Callable[[], Any]) -> Any:
        """Do something; None if it is refused or the process ends, and then it begins again."""
        self.watch.user = self.name
        try:
            return action()
        except FedSpaError:  # also a prekey that is not there any more
            return None
        except Crash:
            self.start()
            return None
        finally:
            self.watch.user = "server"


def base_of(number: int) -> str:
    return f"{number:064x}"


def shape(gid: int) -> tuple[MatrixShape, ...]:
    return (MatrixShape(f"layer {gid}".replace(" ", "."), 1, WEIGHTS),)


def new_vector(group: GroupPlan, draw: random.Random) -> Streams:
    """Streams of a vector that nobody needs twice."""
    assert group.sums is not None
    keep = np.array([draw.random() < 0.5 for _ in range(WEIGHTS)])
    values = [draw.randint(-group.sums.bound, group.sums.bound) if kept else 0 for kept in keep]
    counts = bytearray(group.count_size)
    group.counts.pack(keep, counts)
    return counts, bytearray(np.array(values, group.sums.signed).tobytes())


def copied(streams: Streams) -> Streams:
    return bytearray(streams[0]), bytearray(streams[1])


# --- a round ----------------------------------------------------------------------------------------------------------


@dataclass
class Hub:
    """The server of one round: nothing but its records outlives a crash."""

    federation: Federation
    plan: Plan
    own: ServerOwn
    draw: random.Random
    records: list[ServerRecord] = field(default_factory=list)
    mail: dict[tuple[str, str], Outgoing] = field(default_factory=dict)
    vectors: dict[tuple[int, str], Streams] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.plan_hash = self.plan.hash
        self.alive, step = Server.open(self.own, self.plan)
        self.take(step)

    @property
    def server(self) -> Server:
        """The machine; now and then it has just been restored."""
        if self.again():
            self.alive = Server.restore(self.own, self.records)
        return self.alive

    def again(self) -> bool:
        """Whether something is done once more although it was done."""
        return self.draw.random() < 0.2

    def take(self, step: Step[ServerRecord]) -> None:
        self.records += step.records
        self.mail |= {(message.type, message.recipient.id): message for message in step.messages}

    def to_member(self, kind: str, member: str) -> Incoming | None:
        """What arrives of the last message of this kind, if there is one."""
        message = self.mail.get((kind, member))
        return None if message is None else self._incoming("server/hub", f"member/{member}", message, self.plan_hash)

    def from_member(self, member: str, message: Outgoing, plan_hash: str, streams: Streams | None = None) -> bool:
        """Take in what a member sent; whether it counts."""
        incoming = self._incoming(f"member/{member}", "server/hub", message, plan_hash, sum(map(len, streams or ())))
        server = self.server
        try:
            match message.type:
                case "contribution":
                    root = vector_root([memoryview(part) for part in streams or ()])
                    self.take(server.on_contribution(incoming, root))
                    self.vectors.setdefault((int(message.group), member), copied(streams or (bytearray(), bytearray())))
                case "endorsement":
                    self.take(server.on_endorsement(incoming))
                case _:
                    self.take(server.on_response(incoming))
        except RoundError as error:
            self.take(server.refuse(incoming, error))
            return False
        return True

    def _incoming(self, sender: str, recipient: str, message: Outgoing, plan_hash: str, more: int = 0) -> Incoming:
        values = {"type": message.type, "body_type": PACKAGE_TYPES[message.type].body, "group": message.group}
        values |= {"round": self.plan.round, "plan_hash": plan_hash}
        context = self.federation.context(sender, recipient, **values)
        header = Header(context, bytes(context.kem.wrap_size), body_length(len(message.body) + more), bytes(32))
        return Incoming(Head(header.encode(), header, bytes(64)), message.body)

    def sums(self, again: bool) -> dict[int, Streams]:
        """What comes out; again: the server crashed and takes the keystreams off a second time."""
        step, unmaskings = self.server.close_unmasking()
        self.take(step)
        found: dict[int, Streams] = {}
        for _ in range(1 + again):
            for gid, unmasking in unmaskings.items():
                total = bytearray(unmasking.group.count_size), bytearray(unmasking.group.sum_size)
                terms = unmasking.count_terms, unmasking.sum_terms
                for part, (stream, these, size) in enumerate(zip(total, terms, (1, 4), strict=True)):
                    for member in unmasking.survivors:
                        add_into(stream, self.vectors[gid, member][part], size)
                    add_keystreams(stream, these, size)
                found[gid] = total
            unmaskings = self.server.unmaskings() if unmaskings else {}
        return found


def new_plan(number: int, federation: Federation, homes: dict[str, Home], draw: random.Random) -> Plan:
    """A plan that names everybody's next prekey, but now and then one that was burned."""
    seed = seed_bytes(number)
    sampling = Sampling(1, len(LAYERS), ("1/2",), 3, False, tuple((name, len(LAYERS)) for name in MEMBERS))
    uses = []
    for name, home in homes.items():
        index = home.prekeys.next_index()
        old = index > 0 and draw.random() < 0.02
        uses.append(PrekeyUse(name, home.bundle.statement.digest.hex(), index - old))
    terms = Terms((Profile.TWO_TRIP, Profile.THREE_TRIP)[number % 2], 1, Strategy.FEDSPALLM, "wanda")
    layers = {gid: LayerBase(base_of(number), shape(gid)) for gid in LAYERS}
    return make_plan(number, sampling.draw(seed), sampling, seed, layers, terms, uses, federation.trust, None, NOW)


def contributions(hubs: list[Hub], homes: dict[str, Home], draw: random.Random) -> None:
    """All plans and contributions, sent until nothing comes of it; the first plan is the one that is gone on with."""
    for _ in range(3):
        for home in draw.sample(list(homes.values()), len(homes)):
            for hub in draw.sample(hubs, len(hubs)):
                incoming, known = hub.to_member("plan", home.name), home.machine.accepted
                if incoming is not None and (known is None or known.plan_hash != hub.plan_hash or hub.again()):
                    home.tries(lambda: home.on_plan(incoming, hub.plan.round))  # noqa: B023 - called at once
            accepted = home.machine.accepted
            if accepted is None or accepted.plan.round != hubs[0].plan.round:
                continue
            for group in accepted.plan.groups:
                made = home.tries(lambda: home.contribute(group))  # noqa: B023 - called at once
                if made is not None:
                    hubs[0].from_member(home.name, made[0], accepted.plan_hash, made[1])


def exchanges(hub: Hub, homes: dict[str, Home], kind: str) -> None:
    """Lists or requests, sent until everybody has answered, or does not."""
    heard: set[str] = set()
    for _ in range(3):
        for name, home in homes.items():
            incoming = hub.to_member(kind, name)
            if incoming is not None and (name not in heard or hub.again()):
                act = home.on_survivors if kind == "survivors" else home.on_request
                said = home.tries(lambda: act(incoming))  # noqa: B023 - called at once
                if said is not None and hub.from_member(name, said, hub.plan_hash):
                    heard.add(name)


def play(
    number: int, federation: Federation, homes: dict[str, Home], own: ServerOwn, draw: random.Random
) -> Counter[str]:
    """One round; how many sums came out, and how many of them were wrong."""
    plan = new_plan(number, federation, homes, draw)
    hubs = [Hub(federation, plan, own, draw)]
    if draw.random() < 0.3:
        hubs.append(Hub(federation, new_plan(number, federation, homes, draw), own, draw))  # it has another nonce
    for hub in hubs:
        hub.take(hub.server.invite({name: home.bundle for name, home in homes.items()}))
    contributions(hubs, homes, draw)
    hub, found = hubs[0], Counter({"rounds": 1, "plans": len(hubs)})
    hub.take(hub.server.close_collecting())
    exchanges(hub, homes, "survivors")
    if hub.server.state is State.ENDORSING:
        hub.take(hub.server.close_endorsing())
    if hub.server.state is State.UNMASKING:
        exchanges(hub, homes, "unmask-request")
        survivors = {gid: ballot.survivors for gid, ballot in hub.server.ballots.items()}
        sums = hub.sums(again=draw.random() < 0.5)
        for gid, total in sums.items():
            found["sums"] += 1
            found["wrong sums"] += total != plain(hub, homes, gid, survivors[gid])
        if sums:
            results = [GroupResult(gid, WEIGHTS, len(survivors[gid]), "cc" * 32, "dd" * 32, 0, 0) for gid in sums]
            hub.take(hub.server.finish(results))
    for home in homes.values():
        incoming = hub.to_member("result", home.name)
        if incoming is not None:
            home.tries(lambda: home.write(home.machine.on_result(incoming)))  # noqa: B023 - called at once
        found["members that closed the round"] += home.machine.state is MemberState.CLOSED
    return found


def plain(hub: Hub, homes: dict[str, Home], gid: int, survivors: tuple[str, ...]) -> Streams:
    """The sum of the vectors as they were frozen."""
    total = copied(homes[survivors[0]].vectors[gid])
    for name in survivors[1:]:
        for part, size in ((0, 1), (1, 4)):
            add_into(total[part], homes[name].vectors[gid][part], size)
    return total


# --- many rounds ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """Rounds of one federation."""

    rounds: int
    seed: int


def run(task: Task, home: type[Home] = Home) -> dict[str, int]:
    """Play them one after another, and say what was used again."""
    draw, watch = random.Random(task.seed), Watch()
    federation = Federation(names=("server/hub", *(f"member/{name}" for name in MEMBERS)))
    homes = {name: home(name, federation, task.rounds + 2, draw, watch) for name in MEMBERS}
    hub = federation["server/hub"]
    own = ServerOwn(hub.party, hub.signer, federation.trust)
    with watch.watching():
        found = [play(number, federation, homes, own, draw) for number in range(1, task.rounds + 1)]
    return {**tally(found), **watch.figures(), "crashes": sum(one.crashes for one in homes.values())}


class PutBack(Home):
    """The twin: after every crash somebody puts the home back as it was before the round."""

    def on_plan(self, incoming: Incoming, number: int) -> None:
        if number != self.last:
            self.copy = list(self.disk), self.last, deepcopy(vars(self.prekeys))
        super().on_plan(incoming, number)

    def start(self) -> None:
        if hasattr(self, "copy"):
            self.disk, self.last, held = list(self.copy[0]), self.copy[1], deepcopy(self.copy[2])
            vars(self.prekeys).update(held)
            self.sent = {}
        super().start()


def figures(rounds: int, seed: int, workers: int | None = None) -> dict[str, object]:
    """So many rounds, in federations of their own for every few."""
    tasks = [Task(min(BATCH, rounds - start), seed * 10_000 + start) for start in range(0, rounds, BATCH)]
    counts = tally(spread(run, tasks, workers))
    twin = run(Task(BATCH, seed), PutBack)["used again"]
    none = ("used again", "keys derived again", "keys shared with a third", "wrong sums")
    failures = [f"{name}: {counts.get(name, 0)}" for name in none if counts.get(name, 0)]
    if not twin:
        failures.append("a home that was put back was not noticed")
    return {"counts": counts, "twin": {"used again": twin}, "failures": failures}


if __name__ == "__main__":
    show(figures(*map(int, sys.argv[1:3])))
