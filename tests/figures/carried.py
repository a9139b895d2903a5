"""A round between stations that is carried on media, journey by journey, and judged: what was accepted, written, said.

    recording = record(folder, profile)                       without a fault; folders are copied before each journey
    with Stations(copy, new=False, setting=recording.setting) as found:
        round = Round(found, media, journeys)                 goes on from there
        round.finish()
        round.judge(recording.sums, late=False), round.wrong

Five members and a server with real homes; every package goes by the export and the import of bundles.
"""

import os
import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from unittest import mock

from fedspallm_secure.app.courier.exporting import export
from fedspallm_secure.app.courier.importing import import_from
from fedspallm_secure.app.courier.media import open_medium
from fedspallm_secure.app.courier.outcomes import Imported
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.protocol.bundles import Bundle
from fedspallm_secure.secagg.thresholds import Profile
from tests.ceremony import Ceremony
from tests.figures.played import listed_in, plan_of
from tests.stationary import HUB, Setting, Stations

MEMBERS = 5
OPEN_AFTER = 600  # seconds for which the server waits for the last offers
MOST = 24  # journeys after which a round that is not over is a failure
TRIPS = {Profile.TWO_TRIP: 2, Profile.THREE_TRIP: 3}
WRONG, UNEXPECTED = "wrong acceptances", "unexpected errors"
NOT_OVER = "not over"
COMPLETED, SMALLER, ENDED = "completed with everybody", "completed without a member, by the rule", "ended by the rule"


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


@dataclass
class Recording:
    """A round without a fault.

    before, media: copies of all folders before each journey, and what it carried; sums: what came out; now: the clock.
    """

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
        medium = self.medium(name)
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
        """Import, and judge what was accepted, written and said.  spoilt: what is wrong with the medium."""
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
            for group in plan_of(found, round).groups:
                listed = listed_in(found, round)[group.gid]
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
