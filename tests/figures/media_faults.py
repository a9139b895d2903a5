"""What may happen to the media of one journey: lost, spoilt, carried twice, late, or given to the wrong party.

A fault makes the journey in place of the courier, and says of whatever it hands over what must not be taken in from it,
and which errors may be told.
"""

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from fedspallm_secure.protocol.bundles import Bundle, BundleFile
from tests.figures.carried import MEMBERS, Round, Spoilt
from tests.stationary import HUB

_INCOMPLETE = frozenset({"MediumIncomplete"})
_HEAD = frozenset({"MediumIncomplete", "BundleRefused"})
_INDEX_ERRORS = frozenset({"FormatError", "BadSignature", "BundleRefused", "UnknownSender", "ForeignBundle"})


@dataclass
class Trip:
    """The journey with the fault.

    victim: whose bundle is spoilt; earlier: the medium of the journey before in this direction, if any; strangers:
    those of this journey in other federations, of the same name and of another one; idle: whether there was nothing to
    spoil.
    """

    round: Round
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


Play = Callable[[Trip], None]
Change = Callable[[Trip, Path], None]


@dataclass(frozen=True)
class Fault:
    """play: makes one journey with it; parts: whether packages are cut into parts for it."""

    name: str
    play: Play
    parts: bool = False


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


def _foreign(place: int, error: str) -> Play:
    """The files of another federation take the place of one bundle.  place: which of the strangers."""

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


def on_package(change: Change, errors: frozenset[str] = _INCOMPLETE, part: int = 0) -> Play:
    """The newest package of one bundle is changed.  part: which of its files; errors: those that may be told."""

    def play(trip: Trip) -> None:
        trip.export()
        if trip.file is None:
            trip.idle = True
            trip.deliver()
            return
        change(trip, trip.medium / trip.file.parts[part][0])
        trip.deliver(Spoilt(frozenset({trip.file.digest}), errors=errors, told=True))

    return play


def _on_index(change: Change, told: bool = True) -> Play:
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


def _remove(trip: Trip, path: Path) -> None:
    path.unlink()


def _empty(trip: Trip, path: Path) -> None:
    os.truncate(path, 0)


def _flip(trip: Trip, path: Path) -> None:
    data = bytearray(path.read_bytes())
    bit = trip.draw.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def _cut(trip: Trip, path: Path) -> None:
    os.truncate(path, trip.draw.randrange(1, path.stat().st_size - 1))


def _shorten(trip: Trip, path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _lengthen(trip: Trip, path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


FAULTS = (
    Fault("the medium is lost", _lost),
    Fault("imported twice", _twice),
    Fault("an older export after a newer one", _late),
    Fault("given to another party", _astray),
    Fault("of another federation with this name", _foreign(0, "UnknownSender")),
    Fault("of another federation", _foreign(1, "ForeignBundle")),
    Fault("a package is missing", on_package(_remove)),
    Fault("a package is empty", on_package(_empty)),
    Fault("a package is cut", on_package(_cut)),
    Fault("a package is cut by a byte", on_package(_shorten)),
    Fault("a package is longer by a byte", on_package(_lengthen)),
    Fault("a changed bit in a package", on_package(_flip, _HEAD)),
    Fault("a part is missing", on_package(_remove, part=1), parts=True),
    Fault("the last part is cut", on_package(_shorten, part=-1), parts=True),
    Fault("a changed bit in a part", on_package(_flip, _HEAD, part=1), parts=True),
    Fault("the index is missing", _on_index(_remove, told=False)),
    Fault("the index is empty", _on_index(_empty)),
    Fault("the index is cut", _on_index(_cut)),
    Fault("the index is cut by a byte", _on_index(_shorten)),
    Fault("a changed bit in the index", _on_index(_flip, told=False)),
    Fault("files are added", _added),
    Fault("an index that is none is added", _no_index),
)
