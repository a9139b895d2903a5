"""The parent's end of the process in which TenSEAL runs: it starts it, feeds it, waits with a limit, and ends it.

Whatever the process does, crashes, hangs, floods or lies, comes out here as one error.  Its answers are read into a
buffer of fixed size, frame by frame, with nothing but their length believed; payloads are for the caller to check.
"""

import os
import re
import select
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

from fedspallm_secure.crypto.encoding import canonical_json
from fedspallm_secure.errors import CiphertextRefused, FedSpaError, MissingExtra, SumOutOfRange, WorkerLost
from fedspallm_secure.he import worker
from fedspallm_secure.he.keys import wipe

_SCRIPT: Final = Path(worker.__file__).resolve()
_ENVIRONMENT: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # a thread's memory counts as taken
_REFUSAL = re.compile(rb'\{"code": "([a-z]{1,16})", "frame": ([0-9]{1,12})\}')
_WRITE_SIZE = 1 << 16  # bytes at a time
_QUEUE_LIMIT = 1 << 18  # bytes that may wait to be written before `send` waits too
_WAIT_FOR_END = 5.0  # seconds for a process that closed its pipe to be gone


@dataclass(frozen=True, slots=True)
class Limits:
    """What the process may use.

    memory: bytes of address space, of which Python and the library take some 40 MiB; seconds: of processor time, over
    all; patience: seconds until an answer, or room for a frame.  Raises ValueError unless all are positive.
    """

    memory: int = 256 << 20
    seconds: int = 3_600
    patience: float = 120.0

    def __post_init__(self) -> None:
        if min(self.memory, self.seconds, self.patience) <= 0:
            raise ValueError("limits are positive numbers")


class Worker:
    """One process with one job, ended when the `with` is left.  Not for several threads."""

    def __init__(self, job: Mapping[str, Any], limits: Limits) -> None:
        """Start it.  job: what `worker.Bfv` takes, and `op`.  Raises WorkerLost where no process can be started."""
        self._limits = limits
        words = [sys.executable, "-I", str(_SCRIPT), str(limits.memory), str(limits.seconds)]
        try:
            self._process = subprocess.Popen(  # noqa: S603  (this interpreter, a file of this package, and no shell)
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_ENVIRONMENT,
                cwd="/",
                bufsize=0,
                process_group=0,  # the keyboard's interrupt is for the parent, which ends it
            )
        except OSError as error:
            raise WorkerLost(f"the process for encrypted sums could not be started: {error.strerror}") from None
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self._queue: deque[memoryview] = deque()
        self._queued = self._written = 0  # bytes that wait; bytes of the first in the queue that are gone
        self._deaf = False  # it has closed its end
        self._buffer = memoryview(bytearray(worker.HEAD_SIZE + worker.FRAME_LIMIT))
        self._filled = self._most = 0
        self.send(worker.JOB, canonical_json(dict(job)))

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def send(self, kind: bytes, payload: bytes | memoryview = b"") -> None:
        """Queue a frame, and wait while too much is queued.  payload: not to be changed until it was answered.

        A process that reads no more is reported by the next `receive`, with its reason.  Raises WorkerLost.
        """
        if len(payload) > worker.FRAME_LIMIT:
            raise ValueError("a frame has at most 1 MiB")
        if self._deaf:
            return
        for part in (len(payload).to_bytes(4, "little") + kind, payload):
            self._queue.append(memoryview(part))
            self._queued += len(part)
        deadline = monotonic() + self._limits.patience
        while self._queued > _QUEUE_LIMIT:
            self._pump(deadline)

    def receive(self, kind: bytes, what: str) -> memoryview:
        """The payload of the next frame, which has to be of this kind; good until the next call.

        what: names in errors what it was to answer.  Raises CiphertextRefused, SumOutOfRange or MissingExtra for what
        the process refuses, WorkerLost for everything else.
        """
        deadline = monotonic() + self._limits.patience
        while self._filled < self._needed():
            self._pump(deadline)
        found, length = bytes(self._buffer[4:5]), self._filled - worker.HEAD_SIZE
        self._filled = 0
        payload = self._buffer[worker.HEAD_SIZE : worker.HEAD_SIZE + length]
        if found == worker.REFUSED:
            raise self._refused(bytes(payload[:256]), what)
        if found != kind:
            raise self._lost("answered what it was not asked")
        return payload

    def close(self) -> None:
        """End the process, whatever it does, and wipe what it answered."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._forget()
        wipe(self._buffer[: self._most])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _needed(self) -> int:
        """Bytes until the frame that is being read is whole."""
        if self._filled < worker.HEAD_SIZE:
            return worker.HEAD_SIZE
        length = int.from_bytes(self._buffer[:4], "little")
        if length > worker.FRAME_LIMIT:
            raise self._lost("answered more than it may")
        return worker.HEAD_SIZE + length

    def _pump(self, deadline: float) -> None:
        """Move bytes in whichever direction there is room for, and wait for that until the deadline."""
        waiting = select.poll()
        if self._filled < self._needed():
            waiting.register(self._out, select.POLLIN)
        if self._queue:
            waiting.register(self._in, select.POLLOUT)
        ready = waiting.poll(1e3 * max(0.0, deadline - monotonic()))
        if not ready:
            raise self._lost(f"did not answer within {self._limits.patience:g} seconds")
        for descriptor, _ in ready:
            if descriptor == self._in:
                self._write()
            else:
                self._read()

    def _write(self) -> None:
        first = self._queue[0]
        try:
            count = os.write(self._in, first[self._written : self._written + _WRITE_SIZE])
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._deaf = True  # and what it has to say about it is still to be read
            self._forget()
            return
        self._written += count
        self._queued -= count
        if self._written == len(first):
            self._queue.popleft().release()
            self._written = 0

    def _forget(self) -> None:
        while self._queue:
            self._queue.popleft().release()
        self._queued = self._written = 0

    def _read(self) -> None:
        while self._filled < (needed := self._needed()):
            try:
                count = os.readv(self._out, [self._buffer[self._filled : needed]])
            except BlockingIOError:
                return
            if count == 0:
                raise self._lost(self._ending())
            self._filled += count
            self._most = max(self._most, self._filled)

    def _ending(self) -> str:
        try:
            code = self._process.wait(_WAIT_FOR_END)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        if code >= 0:
            return f"ended with status {code}"
        with suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
        return f"was ended by signal {-code}"

    def _lost(self, how: str) -> WorkerLost:
        return WorkerLost(f"the process for encrypted sums {how}")

    def _refused(self, payload: bytes, what: str) -> FedSpaError:
        found = _REFUSAL.fullmatch(payload)
        code = found[1].decode() if found else ""
        meaning = worker.REFUSALS.get(code)
        if found is None or meaning is None:
            return self._lost("gave a reason that is none")
        if code == "missing":
            return MissingExtra(
                "encrypted sums need the tenseal package", hint="install it: pip install 'fedspallm-secure[he]'"
            )
        if code == "padding":
            return SumOutOfRange(f"{what}: {meaning}")
        if code in ("key", "secret", "ciphertext", "excess"):
            return CiphertextRefused(f"{what}: {meaning}", frame=int(found[2]))
        return self._lost(f"gave up: {meaning}")
