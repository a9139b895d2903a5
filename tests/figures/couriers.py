"""Whole rounds on media, with one fault on one journey: lost, spoilt, carried twice, late, or to the wrong party.

    python -m tests.figures.couriers SEEDS SEED [STEP]     prints the figures as JSON

Five members and a server with real homes; every package goes by the export and the import of bundles.  A round is
played once without a fault, and everything is copied before each of its journeys; from every copy it goes on once with
each fault, in three trips and in two, and the courier goes round until nothing is left to do.  In every second case the
clock passes the end of the stage as soon as the others are in, so that the server goes on without whoever is missing.
Seeds draw keys, whose bundle is spoilt, and where.  STEP: only every so many cases.
"""

import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from fedspallm_secure.app.courier.exporting import export
from fedspallm_secure.app.courier.importing import import_from
from fedspallm_secure.app.courier.media import open_medium
from fedspallm_secure.app.courier.outcomes import Imported
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.protocol.bundles import PART_SIZE, Bundle, BundleFile
from fedspallm_secure.secagg.thresholds import Profile
from tests.ceremony import Ceremony
from tests.figures.kills import fast
from tests.figures.played import _listed, _plan
from tests.figures.spread import show, spread
from tests.figures.stage import tally
from tests.stationary import HUB, Setting, Stations

MEMBERS = 5
OTHER = "hearts.example"
OPEN_AFTER = 600  # seconds for which the server waits for the last offers
PART = 700  # bytes of a part, for faults of parts: every package has several
MOST = 24  # journeys after which a round that is not over is a failure
TRIPS = {Profile.TWO_TRIP: 2, Profile.THREE_TRIP: 3}
WRONG, UNEXPECTED = "wrong acceptances", "unexpected errors"
NOT_OVER = "not over"
COMPLETED, SMALLER, ENDED = "completed with everybody", "completed without a member, by the rule", "ended by the rule"
_COUNTED = ("cases", COMPLETED, SMALLER, ENDED, NOT_OVER, "nothing to spoil", WRONG, UNEXPECTED)


@dataclass(frozen=True)
class Task:
    """One seed and one profile.

    step: only every so many cases; only, journeys: names of faults and numbers of journeys, none for all.
    """

    seed: int
    profile: Profile
    step: int = 1
    only: tuple[str, ...] = ()
    journeys: tuple[int, ...] = ()


# --- what may happen to a medium --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spoilt:
    """What must not be taken in from a medium, and what may be said of it.

    packages, bundles: digests; nothing: no package at all may come; again: a bundle may count as taken all the same,
    since this very one was; errors: names of those that may be told; told: whether one has to be.
    """

    packages: frozenset[str] = frozenset()
    bundles: frozenset[str] = frozenset()
    nothing: bool = False
    again: bool = False
    errors: frozenset[str] = frozenset()
    told: bool = False


@dataclass(frozen=True)
class Fault:
    """play: makes one journey with it; parts: whether packages are cut into parts for it."""

    name: str
    play: Callable[["Trip"], None]
    parts: bool = False


@dataclass
class Trip:
    """The journey with the fault.

    victim: whose bundle is spoilt; earlier: the medium of the journey before in this direction, if any; strangers:
    those of this journey in other federations, of the same name and of another one; idle: whether there was nothing to
    spoil.
    """

    round: "Round"
    victim: str
    draw: random.Random
    earlier: list[Path]
    strangers: list[Path]
    made: dict[tuple[str, str], Bundle] = field(default_factory=dict)
    idle: bool = False

    @property
    def pair(self) -> tuple[str, str]:
        """Sender and recipient of the bundle that is spoilt."""
        return (self.victim, HUB) if self.round.journeys % 2 else (HUB, self.victim)

    @property
    def medium(self) -> Path:
        return self.round.medium("medium")

    @property
    def bundle(self) -> Bundle | None:
        return self.made.get(self.pair)

    @property
    def file(self) -> BundleFile | None:
        """The newest package of the bundle, if it has any."""
        files = self.bundle.contents.files if self.bundle else ()
        return files[-1] if files else None

    def paths(self, bundle: Bundle) -> list[Path]:
        """All files of a bundle, the index first."""
        names = [bundle.name, *(name for file in bundle.contents.files for name, _ in file.parts)]
        return [self.medium / name for name in names]

    def export(self) -> None:
        self.made = self.round.export("medium")

    def deliver(self, spoilt: Spoilt | None = None, medium: Path | None = None, but: str = "") -> None:
        """To everybody for whom there was something.  but: somebody who gets nothing."""
        for party in dict.fromkeys(recipient for _, recipient in self.made):
            if party != but:
                seen = spoilt and replace(spoilt, told=spoilt.told and party == self.pair[1])
                self.round.take(party, medium or self.medium, seen)


def _lost(trip: Trip) -> None:
    trip.export()
    trip.idle = not trip.made
    shutil.rmtree(trip.medium)


def _twice(trip: Trip) -> None:
    trip.export()
    trip.deliver()
    trip.deliver(Spoilt(nothing=True, again=True))


def _late(trip: Trip) -> None:
    """An older export of the same journey comes after a newer one, and the medium of the journey before comes again."""
    older = trip.round.export("older")
    trip.made = trip.round.export("medium", "exported once more")
    trip.deliver()
    trip.made = older
    trip.deliver(Spoilt(nothing=True), trip.round.medium("older"))
    for medium in trip.earlier:
        trip.deliver(Spoilt(nothing=True, again=True), medium)


def _astray(trip: Trip) -> None:
    """A member is given what is for another party."""
    trip.export()
    trip.idle = trip.bundle is None
    if trip.bundle is not None:
        wrong = trip.round.medium("astray")
        wrong.mkdir()
        for path in trip.paths(trip.bundle):
            path.rename(wrong / path.name)
        members = trip.round.members
        reader = members[(members.index(trip.victim) + 1) % MEMBERS]
        trip.round.take(reader, wrong, Spoilt(nothing=True, errors=frozenset({"ForeignBundle"}), told=True))
    trip.deliver(but=trip.pair[1] if trip.pair[0] == HUB else "")


def _foreign(place: int, error: str) -> Callable[[Trip], None]:
    """The files of another federation take the place of one bundle."""

    def play(trip: Trip) -> None:
        trip.export()
        for path in trip.paths(trip.bundle) if trip.bundle else ():
            path.unlink()
        packages, bundles = set(), set()
        for path in trip.strangers[place].iterdir():
            if path.suffix == ".fsdoc":
                bundle = Bundle.parse(path.read_bytes())
                if (str(bundle.sender), str(bundle.recipient)) != trip.pair:
                    continue
                bundles.add(bundle.digest)
                packages |= {file.digest for file in bundle.contents.files}
                for name in (path.name, *(f"{file.digest}.fspkg" for file in bundle.contents.files)):
                    shutil.copy(path.parent / name, trip.medium / name)
        trip.idle = not bundles
        trip.deliver(Spoilt(frozenset(packages), frozenset(bundles), errors=frozenset({error}), told=bool(bundles)))

    return play


def _on_package(change: Callable[[Trip, list[Path]], None], errors: str = "MediumIncomplete") -> Callable[[Trip], None]:
    """The newest package of one bundle is changed.  change: is given the files that it is in."""

    def play(trip: Trip) -> None:
        trip.export()
        if trip.file is None:
            trip.idle = True
            trip.deliver()
            return
        change(trip, [trip.medium / name for name, _ in trip.file.parts])
        trip.deliver(Spoilt(frozenset({trip.file.digest}), errors=frozenset(errors.split()), told=True))

    return play


def _on_index(change: Callable[[Trip, Path], None], told: bool = True) -> Callable[[Trip], None]:
    """The index of one bundle is changed."""

    def play(trip: Trip) -> None:
        trip.export()
        if trip.bundle is None:
            trip.idle = True
            trip.deliver()
            return
        change(trip, trip.medium / trip.bundle.name)
        packages = frozenset(file.digest for file in trip.bundle.contents.files)
        trip.deliver(Spoilt(packages, frozenset({trip.bundle.digest}), errors=_INDEX_ERRORS, told=told))

    return play


def _added(trip: Trip) -> None:
    """Files that no index lists, one of which a computer might start."""
    trip.export()
    (trip.medium / "autorun.inf").write_text("[autorun]\nopen=start.sh\n")
    (trip.medium / "start.sh").write_text("#!/bin/sh\nrm -rf /\n")
    (trip.medium / ".hidden").mkdir()
    (trip.medium / "link").symlink_to(trip.round.treasure)
    (trip.medium / f"{'ab' * 32}.fspkg").write_bytes(b"no package")
    for path in [trip.medium / name for file in filter(None, [trip.file]) for name, _ in file.parts]:
        shutil.copy(path, trip.medium / f"copy of {path.name}")
    trip.deliver()


def _no_index(trip: Trip) -> None:
    trip.export()
    (trip.medium / "bundle-x.fsdoc").write_bytes(b"no index")
    trip.deliver(Spoilt(errors=frozenset({"FormatError"}), told=True))


def _flip(trip: Trip, path: Path) -> None:
    data = bytearray(path.read_bytes())
    bit = trip.draw.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def _cut(trip: Trip, path: Path) -> None:
    os.truncate(path, trip.draw.randrange(1, path.stat().st_size - 1))


def _shorter(trip: Trip, path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _longer(trip: Trip, path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


_HEAD = "MediumIncomplete BundleRefused"
_INDEX_ERRORS = frozenset({"FormatError", "BadSignature", "BundleRefused", "UnknownSender", "ForeignBundle"})
FAULTS = (
    Fault("the medium is lost", _lost),
    Fault("imported twice", _twice),
    Fault("an older export after a newer one", _late),
    Fault("given to another party", _astray),
    Fault("of another federation with this name", _foreign(0, "UnknownSender")),
    Fault("of another federation", _foreign(1, "ForeignBundle")),
    Fault("a package is missing", _on_package(lambda trip, paths: paths[0].unlink())),
    Fault("a package is empty", _on_package(lambda trip, paths: os.truncate(paths[0], 0))),
    Fault("a package is cut", _on_package(lambda trip, paths: _cut(trip, paths[0]))),
    Fault("a package is cut by a byte", _on_package(lambda trip, paths: _shorter(trip, paths[0]))),
    Fault("a package is longer by a byte", _on_package(lambda trip, paths: _longer(trip, paths[0]))),
    Fault("a changed bit in a package", _on_package(lambda trip, paths: _flip(trip, paths[0]), _HEAD)),
    Fault("a part is missing", _on_package(lambda trip, paths: paths[1].unlink()), parts=True),
    Fault("the last part is cut", _on_package(lambda trip, paths: _shorter(trip, paths[-1])), parts=True),
    Fault("a changed bit in a part", _on_package(lambda trip, paths: _flip(trip, paths[1]), _HEAD), parts=True),
    Fault("the index is missing", _on_index(lambda trip, path: path.unlink(), told=False)),
    Fault("the index is empty", _on_index(lambda trip, path: os.truncate(path, 0))),
    Fault("the index is cut", _on_index(_cut)),
    Fault("the index is cut by a byte", _on_index(_shorter)),
    Fault("a changed bit in the index", _on_index(_flip, told=False)),
    Fault("files are added", _added),
    Fault("an index that is none is added", _no_index),
)


# --- the round --------------------------------------------------------------------------------------------------------


@dataclass
class Recording:
    """A round without a fault.  before: copies of all folders, by journey; sums: what came out; now: the clock."""

    setting: Setting
    before: list[Path] = field(default_factory=list)
    media: list[Path] = field(default_factory=list)
    sums: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    now: int = 0


class Round:
    """A round that goes on by journeys, and what must not be: wrong acceptances and errors that nobody expects."""

    def __init__(self, found: Stations, folder: Path, journeys: int = 0) -> None:
        self.found, self.folder, self.journeys = found, folder, journeys
        self.members = [f"member/{name}" for name in found.names]
        self.wrong: list[str] = []
        self.imports = 0
        self.treasure = folder / "treasure"
        folder.mkdir(exist_ok=True)
        self.treasure.write_bytes(b"precious")

    @property
    def ends(self) -> tuple[list[str], list[str]]:
        """From whom to whom the journey under way goes."""
        return (self.members, [HUB]) if self.journeys % 2 else ([HUB], self.members)

    def export(self, name: str, purpose: str = "") -> dict[tuple[str, str], Bundle]:
        """Everything that waits, on a new medium; the bundles by sender and recipient."""
        medium = self.folder / f"{self.journeys}-{name}"
        medium.mkdir()
        made = {}
        for party in self.ends[0]:
            chosen = [Party.parse(one) for one in self.ends[1]] if purpose else []
            for one in export(self.found.post(party), medium, None, chosen, False, purpose, Silent()):
                made[party, str(one.bundle.recipient)] = one.bundle
        return made

    def medium(self, name: str) -> Path:
        """The folder of a medium of this journey."""
        return self.folder / f"{self.journeys}-{name}"

    def journey(self) -> None:
        """One without a fault."""
        self.journeys += 1
        for party in dict.fromkeys(recipient for _, recipient in self.export("medium")):
            self.take(party, self.medium("medium"))

    def take(self, party: str, medium: Path, spoilt: Spoilt | None = None) -> None:
        """Import, and judge what was accepted, written and said."""
        expected = spoilt or Spoilt()
        self.imports += 1
        inbox, before, outcomes, errors = self._inbox(party), self._outside(party), [], []
        try:
            with open_medium(medium) as opened:
                outcomes = import_from(self.found.post(party), opened, Silent())
            errors = [error for outcome in outcomes for error in outcome.errors]
        except FedSpaError as error:
            errors = [error]
        except Exception as error:
            self.wrong.append(f"{UNEXPECTED}: {party}: {type(error).__name__}: {error}")
        names = {type(error).__name__ for error in errors}
        if names - expected.errors or (expected.told and not names):
            self.wrong.append(
                f"{UNEXPECTED}: {party}: {[str(error) for error in errors]} for {sorted(expected.errors)}"
            )
        for outcome in outcomes:
            self._judge(party, outcome, expected)
        for name in self._inbox(party).keys() - inbox.keys():
            if not self._is_genuine(party, name):
                self.wrong.append(f"{WRONG}: {party} has {name}, which nobody made for it")
        after = self._outside(party)
        changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
        self.wrong += [f"{WRONG}: {party} wrote {name}" for name in changed]

    def _judge(self, party: str, outcome: Imported, expected: Spoilt) -> None:
        bad = expected.packages.intersection(outcome.arrived)
        if expected.nothing:
            bad = bad.union(outcome.arrived)
            if outcome.state == "taken" and not expected.again:
                self.wrong.append(f"{WRONG}: {party} took in {outcome.bundle}")
        if outcome.state == "taken" and (outcome.bundle is None or outcome.bundle.digest in expected.bundles):
            self.wrong.append(f"{WRONG}: {party} took in {outcome.bundle}, whose index was spoilt")
        self.wrong += [f"{WRONG}: {party} accepted {digest}" for digest in bad]

    def _inbox(self, party: str) -> dict[str, Path]:
        return {path.name: path for path in (self.found.data(party) / "spool" / "in").iterdir()}

    def _is_genuine(self, party: str, name: str) -> bool:
        """Whether a file of an inbox is, byte for byte, one that its sender made for this party."""
        data = self._inbox(party)[name].read_bytes()
        for sender in self.found.parties:
            made = {f"{one.digest}.fspkg" for one in self.found.post(sender).spool.outgoing() if one.recipient == party}
            source = self.found.data(sender) / "spool" / "out" / name
            if name in made and source.exists() and source.read_bytes() == data:
                return True
        return False

    def _outside(self, party: str) -> dict[str, tuple[int, ...]]:
        """Every file but those that an import may write: register, inbox, what is arriving, evidence."""
        home, spool = self.found.ceremony.home(party), self.found.data(party) / "spool"
        allowed = tuple(map(str, (home / "register", spool / "in", spool / "part", home / "evidence")))
        found = {}
        for top in (self.found.folder, self.folder):
            for root, folders, files in os.walk(top):
                for path in (f"{root}/{name}" for name in (*folders, *files)):
                    if not path.startswith(allowed) and path not in (str(home), str(spool)):
                        status = os.lstat(path)
                        found[path] = (status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns)
        return found

    # Going on

    def work(self) -> None:
        """Everybody does what is due."""
        found = self.found
        found.server.work_through()
        while found.server.tick():
            found.server.work_through()
        for station in found.members.values():
            station.work_through()
            for group in station.due():
                station.contribute_layer(group)

    def pass_time(self) -> None:
        """The stage under way ends, or the time to offer."""
        found, station = self.found, self.found.server.station
        end = found.now + OPEN_AFTER
        found.now = 1 + (end if station is None else found.server._deadline(station.plan, station.machine.state))

    @property
    def over(self) -> bool:
        """Whether no journey changes anything any more."""
        found, recall = self.found, self.found.server.post.journal.recall
        results = {(one, 0) for one in found.model.done}
        done = all(results <= set(found.works[name].taken) for name in recall("members", "*", {}))
        given_up = recall("given up", "*") is not None
        return found.server.station is None and (given_up or (found.server.done and done))

    def finish(self) -> None:
        """Go round until it is over."""
        while not self.over and self.journeys < MOST:
            self.journey()
            self.work()

    def judge(self, sums: dict[tuple[int, int], list[int]], late: bool) -> str:
        """How it came out; what must not be goes to `wrong`."""
        found = self.found
        if not self.over:
            self.wrong.append(f"{UNEXPECTED}: not over: {found.server.waiting}")
            return NOT_OVER
        if not found.model.done:
            if not late:
                self.wrong.append(f"{UNEXPECTED}: no result: {found.server.waiting}")
            return ENDED
        everybody = True
        for round in found.model.done:
            for group in _plan(found, round).groups:
                listed = _listed(found, round)[group.gid]
                got = found.model.sums[round, group.gid].tolist()
                total = sum(found.works[member].values(group)[0].astype(int) for member in listed)
                whole = len(listed) == MEMBERS
                everybody &= whole
                if len(listed) < group.survivors or got != total.tolist() or (whole and got not in sums.values()):
                    self.wrong.append(f"{WRONG}: sum of {listed} is {got}")
        if not everybody and not late:
            self.wrong.append(f"{UNEXPECTED}: a member was left out, and nobody was late")
        return COMPLETED if everybody else SMALLER


def record(folder: Path, profile: Profile, federation: str = "lungs.example") -> Recording:
    """Play a round without a fault.  federation: its name."""
    setting = Setting(members=MEMBERS, layers=1, profile=profile, open_after=OPEN_AFTER)
    recording = Recording(setting)
    folder.mkdir()
    with (
        mock.patch("tests.stationary.Ceremony", partial(Ceremony, federation=federation)),
        Stations(folder / "played", setting=setting) as played,
    ):
        round, recording.now = Round(played, folder / "media"), played.now
        while not round.over:
            recording.before.append(folder / f"before-{round.journeys + 1}")
            shutil.copytree(played.folder, recording.before[-1], ignore=shutil.ignore_patterns("document-*"))
            round.journey()
            recording.media.append(round.medium("medium"))
            round.work()
        assert round.journeys == 2 * (1 + TRIPS[profile]) and not round.wrong, round.wrong
        recording.sums = {place: counts.tolist() for place, counts in played.model.sums.items()}
    return recording


def cases(task: Task, journeys: int) -> list[tuple[Fault, int, bool]]:
    """Every fault on every journey, and whether the clock goes on afterwards."""
    all = [
        (fault, journey, bool((place + journey + task.seed) % 2))
        for place, fault in enumerate(FAULTS)
        for journey in task.journeys or range(1, journeys + 1)
        if not task.only or fault.name in task.only
    ]
    return all[:: task.step]


def run(task: Task) -> tuple[dict[str, int], list[str]]:
    """One seed and one profile."""
    counts: Counter[str] = Counter(dict.fromkeys(_COUNTED, 0))
    failures: list[str] = []
    with tempfile.TemporaryDirectory(dir=fast()) as name, mock.patch.object(os, "fsync", lambda descriptor: None):
        folder = Path(name)
        recording = record(folder / "own", task.profile)
        chosen = cases(task, len(recording.before))
        strangers: list[Recording] = []
        if any("federation" in fault.name for fault, _, _ in chosen):
            strangers += [record(folder / "same", task.profile), record(folder / "other", task.profile, OTHER)]
        for number, (fault, journey, late) in enumerate(chosen):
            shutil.copytree(recording.before[journey - 1], folder / "case")
            with Stations(folder / "case", new=False, setting=recording.setting) as found:
                found.now = recording.now
                round = Round(found, folder / "media", journey - 1)
                case = Trip(
                    round,
                    f"member/{random.Random(f'{task.seed} {number} victim').choice(found.names)}",
                    random.Random(f"{task.seed} {number}"),
                    recording.media[max(0, journey - 3) : max(0, journey - 2)],
                    [one.media[journey - 1] for one in strangers],
                )
                ended = play(case, fault, late, recording)
            counts.update({"cases": 1, ended: 1, "imports": round.imports})
            counts.update({"the clock went on": int(late), "nothing to spoil": int(case.idle)})
            counts.update(one.partition(":")[0] for one in round.wrong)
            where = f"seed {task.seed}, {task.profile.value}, {fault.name} on journey {journey}{', late' * late}"
            failures += [f"{where}: {one}" for one in round.wrong]
            for made in ("case", "media"):
                shutil.rmtree(folder / made)
    return dict(counts), failures


def play(trip: Trip, fault: Fault, late: bool, recording: Recording) -> str:
    """The journey with the fault, and all after it; how the round came out."""
    round = trip.round
    round.journeys += 1
    try:
        with mock.patch("fedspallm_secure.protocol.bundles.PART_SIZE", PART if fault.parts else PART_SIZE):
            fault.play(trip)
        round.work()
        if late and round.journeys % 2 == 0 and not round.over:  # what the others answer comes first
            round.journey()
            round.work()
        if late:
            round.pass_time()
            round.work()
        round.finish()
        return round.judge(recording.sums, late)
    except Exception as error:
        round.wrong.append(f"{UNEXPECTED}: {type(error).__name__}: {error}")
        return NOT_OVER


def figures(seeds: int, seed: int, step: int = 1, workers: int | None = None) -> dict[str, Any]:
    """So many seeds."""
    tasks = [Task(seed * 10_000 + number, profile, step) for number in range(seeds) for profile in TRIPS]
    found = list(spread(run, tasks, workers))
    return {
        "seeds": seeds,
        "faults": len(FAULTS),
        "counts": tally(counts for counts, _ in found),
        "failures": [one for _, many in found for one in many],
    }


if __name__ == "__main__":
    show(figures(*map(int, sys.argv[1:4])))
