"""What a running service says about this moment, in `live.json` of its work folder, for whoever looks on.

    live = Live(data / "live.json")
    live.phase("round 3 is collecting")
    live.transfer(digest, "up", "server/hub", "contribution", 3, "7", done, size)

Nothing depends on this file: what counts stands in the journal.  So it is put in place whole and never synced, which
would cost a disk's turn every second to save what is out of date after a crash anyway.
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from math import exp
from pathlib import Path
from threading import Event, RLock, Thread
from typing import Any, Final, Protocol, runtime_checkable

from fedspallm_secure.app.memory import peak_bytes
from fedspallm_secure.app.progress import Progress
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.storage.files import is_file, read_json

_CONTACTS: Final = "contacts.json"  # beside the other file
FRESH: Final = 15.0  # seconds for which a file speaks for its process
_LEAST, _MOST = 1.0, 5.0  # seconds between two files: when something has changed, and when nothing has
_HALF: Final = 10.0  # seconds over which rates are averaged
_KEEP: Final = 60.0  # seconds between two files of contacts, which outlive the process
_LIMIT: Final = 4 << 20  # bytes of the file
_SHOWN: Final = 200  # transfers at most
_TEXT: Final = 2_000  # characters of a text
_SMALL: Final = 1 << 16  # bytes; what is no larger is over before anybody could look at a bar of it


class Rate:
    """Units per second, as a moving average.  done: where it starts."""

    def __init__(self, done: int, now: float) -> None:
        self.value = 0.0
        self._done, self._at, self._start = done, now, now

    def look(self, done: int, now: float) -> float:
        """How fast it goes; the more time has passed since the last look, the less counts what was before."""
        passed = now - self._at
        if passed >= 0.2:
            weight = max(passed / (now - self._start), 1 - exp(-passed / _HALF))  # a plain mean in the beginning
            self.value += weight * (max(done - self._done, 0) / passed - self.value)
            self._done, self._at = done, now
        return self.value


@runtime_checkable
class Bars(Protocol):
    """Progress with room for every package on its way; a log has none.  Told from several threads."""

    def update(self, task: str, done: int, total: int, unit: str) -> None:
        """`app.progress.Progress.update`."""

    def drop(self, task: str) -> None:
        """The task was given up, or is over already."""


class Live:
    """The present of one service; any thread may tell it something.  bars: where packages are shown too, if anywhere.

    Nothing is written before something was told: whoever finds that another process runs has told nothing yet.
    """

    bars: Bars | None = None

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """path: of the file; clock: seconds, for rates."""
        self._path = path
        self._clock = clock
        self._lock = RLock()
        self._ended = Event()
        self._writer: Thread | None = None
        self._changed = True
        self._written = 0.0
        self._facts: dict[str, Any] = {
            "phase": "",
            "trouble": "",
            "errors": {},
            "contacts": {},
            "lost": {},
        }
        self._bytes = {"up": 0, "down": 0}
        self._tasks: dict[str, str] = {}  # by the key of a transfer, what its bar is called
        self._transfers: dict[str, dict[str, Any]] = {}
        self._works: dict[str, dict[str, Any]] = {}
        self._rates: dict[tuple[str, str], Rate] = {}
        self._started = time.time()
        self._kept = 0.0  # when contacts were written last
        self._facts["contacts"] = read_contacts(path.parent)

    def phase(self, text: str) -> None:
        """What goes on, in words."""
        with self._lock:
            if self._facts["phase"] != text[:_TEXT]:
                self._tell(phase=text[:_TEXT], phase_since=time.time())

    def trouble(self, text: str, code: int = 0) -> None:
        """What went wrong last, in words; empty when it is over.  code: exit code of the error, counted if not 0."""
        with self._lock:
            if code:
                errors = self._facts["errors"]
                errors[str(code)] = errors.get(str(code), 0) + 1
            if text[:_TEXT] != self._facts["trouble"]:
                self._tell(trouble=text[:_TEXT], trouble_since=time.time())

    def contact(self, peer: str) -> None:
        """Somebody has been heard of just now.  peer: ROLE/ID."""
        with self._lock:
            self._facts["contacts"][peer] = time.time()
            self._tell()

    def lost(self, round: int, layers: list[int]) -> None:
        """Layers of a round that an earlier process was killed in the middle of; what this one seals is not lost."""
        self._tell(lost={"round": round, "layers": layers})

    def transfer(
        self, key: str, direction: str, peer: str, type: str, round: int, group: str, done: int, size: int
    ) -> None:
        """A package is on its way.  direction: up or down; done, size: bytes.

        The first call for a key says where the transfer starts: what was there before it was not moved just now.
        """
        with self._lock:
            before = self._transfers.get(key)
            self._bytes[direction] += max(done - before["done"], 0) if before else 0
            self._transfers[key] = {
                "key": key,
                "direction": direction,
                "peer": peer,
                "type": type,
                "round": round,
                "group": group,
                "done": done,
                "size": size,
            }
            self._rates.setdefault(("transfer", key), Rate(done, self._clock()))
            if self.bars is not None and size > _SMALL and (key in self._tasks or type != "package"):
                layer = f" {group}" if group.isdigit() else ""
                task = self._tasks.setdefault(key, f"{direction}: {type}{layer}, round {round}, {peer}")
                self.bars.update(task, done, size, "bytes")
            self._tell()

    def done(self, key: str) -> None:
        """A package is over there, or was given up."""
        with self._lock:
            self._transfers.pop(key, None)
            self._rates.pop(("transfer", key), None)
            if self.bars is not None and (task := self._tasks.pop(key, None)) is not None:
                self.bars.drop(task)
            self._tell()

    def work(self, task: str, done: int, total: int, unit: str) -> None:
        """Long work has finished `done` of `total` units; it is over when the two are equal."""
        with self._lock:
            if done >= total:
                self._works.pop(task, None)
                self._rates.pop(("work", task), None)
            else:
                self._works[task] = {"task": task, "done": done, "total": total, "unit": unit}
                self._rates.setdefault(("work", task), Rate(done, self._clock()))
            self._tell()

    def snapshot(self) -> dict[str, Any]:
        """Everything, as it stands in the file."""
        with self._lock:
            now = self._clock()
            transfers = [
                {**found, "rate": round(self._rates["transfer", key].look(found["done"], now))}
                for key, found in self._transfers.items()
            ]
            works = [
                {**found, "rate": round(self._rates["work", task].look(found["done"], now), 4)}
                for task, found in self._works.items()
            ]
            return {
                **self._facts,
                "errors": dict(self._facts["errors"]),
                "contacts": dict(self._facts["contacts"]),
                "pid": os.getpid(),
                "at": time.time(),
                "started": self._started,
                "bytes": dict(self._bytes),
                "transfers": transfers[:_SHOWN],
                "work": works,
                "peak_memory": peak_bytes(),
            }

    def close(self) -> None:
        """The service has ended: stop writing and remove the file."""
        self._ended.set()
        if self._writer is not None:
            self._writer.join()
            self._keep_contacts()
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _tell(self, **facts: Any) -> None:
        with self._lock:
            self._facts.update(facts)
            self._changed = True
            if self._writer is None and not self._ended.is_set():
                self._writer = Thread(target=self._write_on, name="live", daemon=True)
                self._writer.start()

    def _write_on(self) -> None:
        """Write now and then, so that nobody who tells something waits for a disk, and that silence is no death."""
        self._write()
        while not self._ended.wait(_LEAST):
            if self._changed or self._works or time.monotonic() - self._written >= _MOST:
                self._write()

    def _write(self) -> None:
        with self._lock:
            self._changed = bool(self._transfers)  # their rates go down while nothing comes
            found = self.snapshot()
        self._written = time.monotonic()
        self._put(self._path.name, found)
        if self._written - self._kept >= _KEEP:
            self._keep_contacts()

    def _keep_contacts(self) -> None:
        self._kept = time.monotonic()
        with self._lock:
            contacts = dict(self._facts["contacts"])
        if contacts:
            self._put(_CONTACTS, contacts)

    def _put(self, name: str, value: Any) -> None:
        path, part = self._path.with_name(name), self._path.with_name(f".{name}.part")
        with suppress(OSError):  # a full disk ends no service; that it is full is told elsewhere
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(json.dumps(value, allow_nan=False).encode())
            part.replace(path)


class LiveProgress:
    """Progress that is shown as before, and told to those who look on from outside.

    Where it is shown as bars, packages on their way have bars too.
    """

    def __init__(self, inner: Progress, live: Live) -> None:
        self._inner = inner
        self._live = live
        live.bars = inner if isinstance(inner, Bars) else None

    def update(self, task: str, done: int, total: int, unit: str) -> None:
        """`app.progress.Progress.update`."""
        self._inner.update(task, done, total, unit)
        self._live.work(task, done, total, unit)

    def say(self, line: str) -> None:
        """`app.progress.Progress.say`."""
        self._inner.say(line)


def read_live(path: Path, now: float) -> dict[str, Any] | None:
    """What the service at work in this folder says; None if none is, or it is silent for too long, or makes no sense.

    now: Unix seconds.
    """
    try:
        found = read_json(path, _LIMIT) if is_file(path) else None
        if not isinstance(found, dict) or abs(now - float(found["at"])) > FRESH or not _is_there(int(found["pid"])):
            return None
    except (FedSpaError, KeyError, TypeError, ValueError, OverflowError):
        return None
    return found


def read_contacts(folder: Path) -> dict[str, float]:
    """Who was in contact over the network last when: ROLE/ID -> Unix seconds; of a running service a minute old."""
    path = folder / _CONTACTS
    try:
        found = read_json(path, _LIMIT) if is_file(path) else {}
        return {str(peer): float(at) for peer, at in found.items()}
    except (FedSpaError, AttributeError, TypeError, ValueError):
        return {}


def _is_there(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # somebody else's
    except ProcessLookupError:
        return False
    return True
