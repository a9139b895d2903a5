"""Rounds between stations, recorded action by action, to be gone on with from anywhere; and what must never happen.

A recording keeps a copy of everybody's folders from before every action of the parties that are of interest.  From such
a copy one party does its next action, and is killed in it, or finds its disk full; then everybody is opened anew from
what is on the disk and goes on to the end.
"""

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fedspallm_secure.app.stations.member_station import MemberStation
from fedspallm_secure.errors import DisclosureRefused
from fedspallm_secure.protocol.rounds.deals import vector_root
from fedspallm_secure.protocol.rounds.member_state import State as MemberState
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.records_server import ListMade, Opened, read_server_record
from fedspallm_secure.protocol.rounds.server_state import State
from fedspallm_secure.protocol.rounds.survivors import SurvivorList
from fedspallm_secure.secagg.thresholds import Profile
from tests.station_faults import telling, watching
from tests.stationary import HUB, NAMES, Action, Carried, Setting, Stations

LEDGER = "later round refused by the ledger"  # a rule, and no failure: sums with and without one member give it away
ONCE = frozenset({"contribution", "endorsement", "unmask-response"})


@dataclass(frozen=True)
class Scene:
    """What is played.  abort: whether the operator ends the first round while it is going on; victim: a member."""

    setting: Setting
    victim: str
    abort: bool = False

    @classmethod
    def of(cls, seed: int) -> "Scene":
        """By turns: three trips, three trips, two trips, two rounds, and a round that is aborted and tried again."""
        kind = seed % 5
        profile = Profile.TWO_TRIP if kind == 2 else Profile.THREE_TRIP
        setting = Setting(members=5, profile=profile)
        if kind == 3:
            setting.layers, setting.schedule = 1, ("1/4", "1/2")
        return cls(setting, f"member/{NAMES[seed % 4]}", kind == 4)


@dataclass(frozen=True)
class Point:
    """A call that changes the disk.  number: within its action, from 1; told: what is in it, if it is a commit."""

    number: int
    name: str
    told: tuple[str, ...]


@dataclass(frozen=True)
class Before:
    """How everything was before an action.  now: the time then; points: the calls in it."""

    action: Action
    folder: Path
    now: int
    carried: tuple[Carried, ...]
    points: tuple[Point, ...]


@dataclass
class Recording:
    """The actions of the server and of one member, in order; after: how everything was in the end."""

    scene: Scene
    before: list[Before] = field(default_factory=list)

    @contextmanager
    def copy(self, one: Before, folder: Path) -> Iterator[Stations]:
        """Everybody as before an action; nobody is open yet."""
        _copy(one.folder, folder)
        found = Stations(folder, new=False, setting=self.scene.setting)
        found.carried = list(one.carried)
        found.now = one.now  # and not the time of this copy: a figure may take longer than a stage does
        try:
            yield found
        finally:
            found.__exit__()
            shutil.rmtree(folder)


def record(folder: Path, scene: Scene, seed: int, parties: Collection[str] | None = None) -> Recording:
    """Play everything once, in an order drawn from the seed.  parties: whose actions are kept."""
    draw, found = random.Random(seed), Recording(scene)
    kept = parties or {HUB, scene.victim}
    with Stations(folder / "played", setting=scene.setting) as played:
        abort = draw.randrange(30, 90) if scene.abort else 0
        while True:
            done = 0
            for action in played.due(lambda all: draw.sample(all, len(all))):
                abort -= 1
                if scene.abort and abort < 0 and played.server.station is not None:
                    abort, action = 1 << 30, Action(HUB, "abort")
                one = _keep(folder, played, action, len(found.before)) if action.party in kept else None
                now = played.now
                points, acted = _act(played, action)
                done += acted
                if one is not None and points:
                    found.before.append(Before(action, one, now, tuple(played.carried), points))
                elif one is not None:
                    shutil.rmtree(one)
                played.see(action)
            if not done:
                break
        played.wait()
        wrong = judge(played, scene, {})
    assert not wrong, wrong
    return found


def _keep(folder: Path, played: Stations, action: Action, number: int) -> Path:
    path = folder / f"before-{number}"
    _copy(played.folder, path)
    return path


def _copy(old: Path, new: Path) -> None:
    """Everything but what the authority needs."""
    shutil.copytree(old, new, ignore=shutil.ignore_patterns("ca", "document-*"), copy_function=shutil.copy)


def _act(played: Stations, action: Action) -> tuple[tuple[Point, ...], int]:
    points: list[Point] = []
    told: list[str] = []

    def step(number: int, name: str, call: Callable[[], object]) -> object:
        points.append(Point(number, name, tuple(told) if name == "commit" else ()))
        if name == "commit":
            told.clear()
        return call()

    with watching(step), telling(told.append):
        done = played.act(action)
    return tuple(points), done


# --- what must never happen -------------------------------------------------------------------------------------------


def dropped(station: MemberStation) -> set[tuple[int, int]]:
    """Round and group for which a member froze a vector and made no deal: it has dropped out of them, by the rule."""
    machine = station.machine
    if machine.accepted is None or machine.state is MemberState.CLOSED:
        return set()
    return {(machine.accepted.plan.round, gid) for gid in machine.frozen if gid not in machine.deals}


def missing_vectors(found: Stations) -> list[str]:
    """Receipts for vectors that are not there, whole."""
    station = found.server.station
    if station is None or station.machine.state is State.FINISHED:
        return []
    wrong = []
    for gid, member in station.machine.received:
        path = station.vault._path(gid, member)
        group = station.machine.groups[gid]
        data = path.read_bytes() if path.exists() else b""
        root = vector_root([memoryview(data)], group.upload_tile)
        if len(data) != group.upload_size or root != station.machine.handover(gid, member).deal.vector_root:
            wrong.append(f"receipt without vector: {gid} {member}")
    return wrong


def judge(found: Stations, scene: Scene, left: dict[tuple[int, int], str]) -> list[str]:
    """What went wrong until the end.  left: round and group -> the member that dropped out of it, by the rule."""
    return [*_results(found, scene, left), *_packages(found.carried), *_prekeys(found)]


def _results(found: Stations, scene: Scene, left: dict[tuple[int, int], str]) -> list[str]:
    wrong, done, want = [], found.model.done, len(scene.setting.schedule)
    if scene.abort and not done and any(one.type == "contribution" for one in found.carried):
        return []  # what was handed over counts as released: nobody takes part in the same round again (P13)
    if done and left and len(done) < want and (_ledger_refuses(found) or _is_foreseen(found, set(left.values()))):
        wrong.append(f"{LEDGER}: {done} of {want} have a result, after {left}")
    elif len(done) != want or not found.server.done:
        wrong.append(f"lost round: {done} of {want} have a result; {found.server.waiting}")
    for round in done:
        listed = listed_in(found, round)
        plan = plan_of(found, round)
        for group in plan.groups:
            gone = {left.get((round, group.gid)), *_declined(found, round)}
            expected = tuple(member for member in group.cohort if member not in gone)
            if len(expected) < group.survivors and group.gid not in listed:
                continue  # with so few it has no sum, by the rule
            if listed.get(group.gid) != expected:
                wrong.append(f"lost member: {listed.get(group.gid)} for {expected} in {round} {group.gid}")
                continue
            total = sum(found.works[member].values(group)[0].astype(int) for member in expected)
            if not np.array_equal(found.model.sums[round, group.gid], total):
                wrong.append(f"wrong sum: {round} {group.gid}")
        for name, work in found.works.items():
            if name not in {use.id for use in plan.prekeys}:
                continue  # rounds go on without somebody whom a sum lacks
            if {(round, gid) for gid in listed} - set(work.taken):
                wrong.append(f"lost layers: {name} has {work.taken}")
    return wrong


def _declined(found: Stations, round: int) -> set[str]:
    """Who took no part because it had contributed before the operator ended an earlier round: that may be released."""
    ended = set(range(1, round)) - set(found.model.done)
    contributed = {one.sender for one in found.carried if one.type == "contribution" and one.round in ended}
    said = {one.sender for one in found.carried if (one.type, one.round) == ("decline", round)}
    return {sender.partition("/")[2] for sender in said & contributed}


def _ledger_refuses(found: Stations) -> bool:
    """Whether members declined because sums with and without the one who left could be combined (SPEC section 15)."""
    told = [error for station in found.members.values() for _, error in station.told]
    return any(isinstance(error, DisclosureRefused) for error in told)


def _is_foreseen(found: Stations, left: set[str]) -> bool:
    """Whether the server begins no round because its sums would give those away who left (SPEC section 21.3)."""
    given_up: str = found.server.post.journal.recall("given up", "*", "")
    return "cannot be summed" in given_up and any(f"would give {id} away" in given_up for id in left)


def plan_of(found: Stations, round: int) -> Plan:
    records = found.server.post.journal.records(round, read_server_record)
    return next(Plan.from_dict(json.loads(record.plan)) for record in records if isinstance(record, Opened))


def listed_in(found: Stations, round: int) -> dict[int, tuple[str, ...]]:
    records = found.server.post.journal.records(round, read_server_record)
    made = [SurvivorList.parse(record.statement) for record in records if isinstance(record, ListMade)]
    return {group.gid: tuple(group.ids) for group in made[0].groups} if made else {}


def _packages(carried: Collection[Carried]) -> list[str]:
    """Two packages where there has to be one."""
    numbers = Counter((one.sender, one.sequence) for one in carried)
    messages = Counter(
        (one.sender, one.recipient, one.type, one.round, one.group)
        for one in carried
        if one.round and one.type != "abort"  # those of several groups are alike from outside
    )
    wrong = [f"differing resend: {key}" for key, count in numbers.items() if count > 1]
    for key, count in messages.items():
        if count > 1:
            kind = "differing resend" if key[2] not in ONCE else "double answer"
            wrong.append(f"{'reused keystream' if key[2] == 'contribution' else kind}: {key}")
    return wrong


def _prekeys(found: Stations) -> list[str]:
    """A prekey that two plans used."""
    used: Counter[tuple[str, int]] = Counter()
    for round in range(1, found.server.post.journal.last_round() + 1):
        used.update((use.bundle, use.index) for use in plan_of(found, round).prekeys)
    return [f"reused keystream: prekey {use}" for use, count in used.items() if count > 1]
