"""Media as they are read: folders or single files that somebody carried in, of which nothing is believed.

Names on a medium are used to list what nobody asked for, and for nothing else: what is opened has a name that follows
from a digest.  Nothing is followed, mounted or executed, and every read is bounded.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fedspallm_secure.app.courier.incoming import Joined, Slice
from fedspallm_secure.errors import (
    BundleRefused,
    FedSpaError,
    FormatError,
    LimitExceeded,
    MissingInput,
    TrailingBytes,
    Truncated,
)
from fedspallm_secure.protocol.bundles import Bundle, BundleFile
from fedspallm_secure.protocol.limits import BUNDLE_LIMIT, MEDIUM_LIMIT
from fedspallm_secure.storage.files import is_folder
from fedspallm_secure.storage.outside import OutsideFile, open_entry, open_folder, open_outside, printable
from fedspallm_secure.storage.package_reader import Incoming

MAGIC = b"FSBNDL1\n"
LENGTH_SIZE = 4  # bytes of the length before an index in a single file, little-endian
_INDEX = re.compile(r"bundle-.*\.fsdoc")
_INDEXES_LIMIT = 16 << 20  # bytes of all indexes of a medium
_ANY_SIZE = 1 << 62  # bytes; what is read of a file is limited by what the index says


@dataclass(frozen=True, slots=True)
class Found:
    """What claims to be an index.  name: as it may be shown; bundle: None if it is none, and error says why."""

    name: str
    bundle: Bundle | None
    error: FedSpaError | None = None


class Medium(Protocol):
    """A medium that is open.  name: as it may be shown; found: its indexes, by sender, recipient and number."""

    @property
    def name(self) -> str:
        """How it is shown."""

    @property
    def found(self) -> Sequence[Found]:
        """What claims to be an index."""

    def open(self, bundle: Bundle, file: BundleFile) -> AbstractContextManager[Incoming]:
        """A package, by steps 1 and 2 of SPEC section 9; one at a time.

        Raises MissingInput if it is not there, Truncated, LimitExceeded for another size, HostileFile.
        """

    def others(self) -> list[str]:
        """Names, as they may be shown, of what no index lists."""


@contextmanager
def open_medium(path: Path) -> Iterator[Medium]:
    """Open a folder or a single file and read its indexes.

    Raises MissingInput, HostileFile, LimitExceeded, or FormatError for a file that holds no bundles.
    """
    if is_folder(path):
        with open_folder(path) as descriptor:
            yield _FolderMedium(descriptor, path)
    else:
        with open_outside(path, _ANY_SIZE) as file:
            yield _SingleMedium(file)


class _FolderMedium:
    """A folder with indexes and packages beside each other."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self.name = printable(str(path))
        self._folder, self._path = descriptor, path
        self._names = self._entries()
        self.found = _in_order(self._indexes())

    @contextmanager
    def open(self, bundle: Bundle, file: BundleFile) -> Iterator[Incoming]:
        """`Medium.open`."""
        with ExitStack() as stack:
            opened = []
            for name, size in file.parts:
                part = stack.enter_context(open_entry(self._folder, name, str(self._path / name), _ANY_SIZE))
                if part.size != size:
                    wrong = Truncated if part.size < size else TrailingBytes
                    raise wrong(f"{part.name} has {part.size} bytes, and the index says {size}")
                opened.append(part)
            yield Joined(opened)

    def others(self) -> list[str]:
        """`Medium.others`."""
        known = {found.name for found in self.found}
        for bundle in filter(None, (found.bundle for found in self.found)):
            known.update(name for file in bundle.contents.files for name, _ in file.parts)
        return [shown for name in self._names if (shown := printable(name)) not in known]

    def _entries(self) -> list[str]:
        names: list[str] = []
        try:
            with os.scandir(self._folder) as entries:
                for number, entry in enumerate(entries, start=1):
                    if number > MEDIUM_LIMIT:
                        raise LimitExceeded(f"{self.name} holds more than {MEDIUM_LIMIT} entries")
                    names.append(entry.name)
        except OSError as error:
            raise MissingInput(f"cannot read {self.name}: {error.strerror or error}") from error
        return sorted(names)

    def _indexes(self) -> Iterator[Found]:
        left = _INDEXES_LIMIT
        for name in filter(_INDEX.fullmatch, self._names):
            shown = printable(name)
            try:
                with open_entry(self._folder, name, str(self._path / name), BUNDLE_LIMIT) as file:
                    left = _spend(left, file.size, self.name)
                    yield Found(shown, Bundle.parse(file.read_exactly(file.size)))
            except FedSpaError as error:
                yield Found(shown, None, error)


class _SingleMedium:
    """One file: for each bundle the length of its index, the index, and its packages in that order."""

    def __init__(self, file: OutsideFile) -> None:
        self.name = file.name
        self._file = file
        self._places: dict[tuple[str, str], int] = {}  # digests of bundle and package -> offset
        self._others: list[str] = []
        self.found = _in_order(self._indexes())

    @contextmanager
    def open(self, bundle: Bundle, file: BundleFile) -> Iterator[Incoming]:
        """`Medium.open`."""
        place = self._places[bundle.digest, file.digest]
        if place + file.size > self._file.size:
            raise MissingInput(f"{self.name} ends before package {file.digest[:16]} does")
        yield Slice(self._file, place, file.size, f"package {file.digest[:16]} in {self.name}")

    def others(self) -> list[str]:
        """`Medium.others`."""
        return self._others

    def _indexes(self) -> Iterator[Found]:
        place, left = len(MAGIC), _INDEXES_LIMIT
        if self._file.size < place or self._file.read_exactly(place) != MAGIC:
            raise FormatError(f"{self.name} is neither a folder nor a file with bundles")
        while place < self._file.size:
            shown = f"byte {place}"
            try:
                data = self._index(place)
                left = _spend(left, len(data), self.name)
                bundle = Bundle.parse(data)
            except FedSpaError as error:
                self._others.append(f"everything from byte {place} on")
                yield Found(shown, None, error)
                return
            place += LENGTH_SIZE + len(data)
            for file in bundle.contents.files:
                self._places[bundle.digest, file.digest] = place
                place += file.size
            yield Found(shown, bundle)

    def _index(self, place: int) -> bytes:
        left = self._file.size - place - LENGTH_SIZE
        self._file.seek(place)
        length = int.from_bytes(self._file.read_exactly(LENGTH_SIZE), "little") if left > 0 else 0
        if not 1 <= length <= min(left, BUNDLE_LIMIT):
            raise BundleRefused(f"{self.name} has no whole index at byte {place}")
        return self._file.read_exactly(length)


def _spend(left: int, size: int, name: str) -> int:
    """Bytes of indexes that may still be read."""
    if size > left:
        raise LimitExceeded(f"the indexes on {name} have more than {_INDEXES_LIMIT} bytes")
    return left - size


def _in_order(found: Iterator[Found]) -> list[Found]:
    """By sender, recipient and number, so that what was exported first is taken in first; what is no index, last.

    Of copies of an index under several names one counts.
    """
    wrong: list[Found] = []
    bundles: dict[bytes, tuple[Bundle, Found]] = {}
    for one in found:
        if one.bundle is None:
            wrong.append(one)
        else:
            bundles.setdefault(one.bundle.encode(), (one.bundle, one))
    pairs = sorted(bundles.values(), key=lambda pair: (pair[0].sender, pair[0].recipient, pair[0].number))
    return [one for _, one in pairs] + wrong
