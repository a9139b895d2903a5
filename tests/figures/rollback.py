"""Homes put back to earlier copies: what notices it, and what leaves in spite of it.

    python -m tests.figures.rollback SEEDS PAIRS SEED     prints the figures as JSON

A round is stopped at one moment, and something of one party is put back to how it was before: the journal,
the key file of its prekeys, both, the whole home, the work folder, home and work folder together, or these and the
anchor, as a snapshot of the whole machine does; in all other ways the anchor stays.  The others know what they know.
Harmless is what ends as if nothing had happened: nobody gives two answers, and no second vector leaves.
"""

import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedspallm_secure.app.stations.station import check_sequence
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import FedSpaError, RecordDamaged, RolledBack
from tests.figures.kills import fast
from tests.figures.played import ONCE, Before, Recording, Scene, record
from tests.figures.spread import show, spread
from tests.figures.stage import tally
from tests.stationary import HUB, Stations

JOURNAL = ("register.sqlite", "register.sqlite-wal", "register.sqlite-shm")
KEYS = ("prekeys.key",)
MACHINE = "home, work folder and anchor"
WAYS = ("journal", "key file", "journal and key file", "home", "work folder", "home and work folder", MACHINE)


@dataclass(frozen=True)
class Task:
    """One seed, and how many pairs of moments are tried."""

    seed: int
    pairs: int


@dataclass(frozen=True)
class Setback:
    """What is put back.  now, then: the moments; greeting: whether the party is told what the server has of it."""

    now: Before
    then: Before
    party: str
    way: str
    greeting: bool

    @property
    def seen_by(self) -> str:
        """Who can tell, besides what was put back."""
        if self.way != MACHINE:
            return "the anchor"
        return "the greeting" if self.greeting else "nobody else"

    def __str__(self) -> str:
        how = "" if self.greeting else ", by hand"
        return f"{self.party}: {self.way} from before {self.now.action} to before {self.then.action}{how}"


def setbacks(recording: Recording, task: Task) -> Iterator[Setback]:
    """Pairs of moments, each with everything that can be put back at the server and at the member."""
    draw, moments = random.Random(task.seed), recording.before
    for number in range(task.pairs):
        then, now = sorted(draw.sample(range(len(moments)), 2))
        party = HUB if number % 3 == 0 else recording.scene.victim
        for way in WAYS:
            if party != HUB or "key file" not in way:
                for greeting in (True, False) if party != HUB else (False,):
                    yield Setback(moments[now], moments[then], party, way, greeting)


def put_back(setback: Setback, found: Stations) -> None:
    """Put back files of the party in the copy."""
    home = setback.party.replace("/", "-")
    names: tuple[str, ...] = ()
    if setback.way.startswith("journal"):
        names += JOURNAL
    if setback.way.endswith("key file"):
        names += KEYS
    for name in names:
        (found.folder / home / name).unlink(missing_ok=True)
        source = setback.then.folder / home / name
        if source.exists():
            shutil.copy(source, found.folder / home / name)
    folders = [home] if setback.way.startswith("home") else []
    if "work folder" in setback.way:
        folders.append(found.data(setback.party).name)
    if setback.way == MACHINE:
        for path in found.anchors.glob(f"{home}-*"):
            shutil.copy(setback.then.folder / found.anchors.name / path.name, path)
    for folder in folders:
        shutil.rmtree(found.folder / folder)
        shutil.copytree(setback.then.folder / folder, found.folder / folder, copy_function=shutil.copy)


def differs(setback: Setback, found: Stations) -> bool:
    """Whether anything was made between the two moments: if not, nothing was put back."""
    home, data = found.ceremony.home(setback.party).name, found.data(setback.party).name
    for folder in (home, data):
        for path in (found.folder / folder).rglob("*"):
            other = setback.then.folder / path.relative_to(found.folder)
            if path.is_file() and path.suffix != ".sqlite-shm" and not _same(path, other):
                return True
    return False


def _same(path: Path, other: Path) -> bool:
    return other.exists() and path.read_bytes() == other.read_bytes()


def tried(recording: Recording, setback: Setback, folder: Path) -> tuple[str, list[str]]:
    """Put back, open, go on: what noticed it, and what went wrong."""
    who = "server" if setback.party == HUB else "member"
    with recording.copy(setback.now, folder) as found:
        if not differs(setback, found):
            return "nothing to put back", []
        put_back(setback, found)
        for party in found.parties:
            if party != setback.party:
                found.open(party)
        seen = 0 if setback.party == HUB else found.server.post.spool.last_sequence(Party.parse(setback.party))
        try:
            found.open(setback.party)
            if setback.greeting:
                check_sequence(found.post(setback.party), seen)
            noticed = _plays_on(found, setback.party)
        except RolledBack as error:
            noticed = _where(error)
        except RecordDamaged:
            noticed = "noticed at the start: damaged"
        wrong = _harm(found)
        if noticed == "not noticed" and not wrong:
            noticed = "harmless"
        return f"{who}, {setback.way}{'' if setback.greeting or who == 'server' else ', by hand'}: {noticed}", wrong


def _where(error: RolledBack) -> str:
    text = str(error)
    if getattr(error, "check", "") == "P5" or "records do not know" in text:
        return "noticed by P5"
    if "the server says" in text:
        return "noticed by the greeting"
    return "noticed by the anchor" if "and its anchor" in text else "noticed at the start"


def _plays_on(found: Stations, party: str) -> str:
    """To the end, or until nobody goes on; what noticed it."""
    try:
        found.wait()
    except RolledBack as error:
        return _where(error)
    except FedSpaError as error:
        return f"stopped: {type(error).__name__}"
    except AssertionError:
        return "not noticed"
    refused = [error for one in found.members.values() for _, error in one.told] if party == HUB else found.server.told
    names = {type(error if party == HUB else error[1]).__name__ for error in refused}
    return "noticed by the others: Equivocation" if "Equivocation" in names else "not noticed"


def _harm(found: Stations) -> list[str]:
    """Two answers of one member; and what the server could make of them."""
    messages: Counter[tuple[str, str, int, str]] = Counter(
        (one.sender, one.type, one.round, one.group) for one in found.carried if one.type in ONCE
    )
    return [f"second {type} of {sender} left" for (sender, type, *_), count in messages.items() if count > 1]


def run(task: Task) -> tuple[dict[str, int], list[str]]:
    """One seed."""
    counts: Counter[str] = Counter()
    failures = []
    with tempfile.TemporaryDirectory(dir=fast()) as name:
        folder = Path(name)
        recording = record(folder, Scene.of(task.seed), task.seed)
        for setback in setbacks(recording, task):
            told, wrong = tried(recording, setback, folder / "copy")
            counts[told] += 1
            if told != "nothing to put back":
                counts["all"] += 1
            if told.endswith("not noticed") and setback.seen_by != "nobody else":
                failures.append(f"seed {task.seed}: {setback}: not noticed")
            for one in wrong:
                counts[f"{setback.seen_by}: {one.partition(' of ')[0]}"] += 1
                if setback.seen_by != "nobody else":
                    failures.append(f"seed {task.seed}: {setback}: {one}")
    return dict(counts), failures


def figures(seeds: int, pairs: int, seed: int, workers: int | None = None) -> dict[str, Any]:
    """So many seeds, and pairs of moments in each."""
    tasks = [Task(seed * 10_000 + number, pairs) for number in range(seeds)]
    found = list(spread(run, tasks, workers))
    return {
        "seeds": seeds,
        "counts": tally(counts for counts, _ in found),
        "failures": [one for _, many in found for one in many],
    }


if __name__ == "__main__":
    show(figures(*map(int, sys.argv[1:4])))
