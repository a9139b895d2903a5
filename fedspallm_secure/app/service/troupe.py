"""Several services as processes of this machine: started, watched, killed, and never left behind."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from fedspallm_secure.errors import RoundAborted

_LINES: Final = 6  # of a log, when a service has failed
_PATIENCE: Final = 20.0  # seconds for a service to stop in an orderly way
_DIE_WITH_PARENT: Final = 1  # PR_SET_PDEATHSIG of prctl(2)
_THREADS: Final = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # many processes share few cores


class Troupe:
    """The processes, by name.  Leaving the `with` stops all of them."""

    def __init__(self, logs: Path, password: str) -> None:
        """logs: folder, one file each; password: given to each through a pipe."""
        self.logs = logs
        self._password = password.encode() + b"\n"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "Troupe":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, words: Sequence[str]) -> None:
        """Run `fedprune` with these words, and the password at its standard input."""
        environment = {**os.environ, **_THREADS, "PYTHONUNBUFFERED": "1"}
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  (this very program, and no shell)
                [sys.executable, "-m", "fedprune_cli", *words, "--password-fd", "0"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                preexec_fn=_end_with_parent,
            )
        self._processes[name] = process
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.write(self._password)
            with suppress(BrokenPipeError):
                process.stdin.close()

    def kill(self, name: str) -> None:
        """End one without a warning, as a power cut would."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def ended(self, name: str) -> bool:
        """Whether one has ended well.  Raises RoundAborted with the end of its log if it, or any other, failed."""
        for other, process in self._processes.items():
            if process.poll() not in (None, 0):
                raise RoundAborted(f"{other} ended with code {process.returncode}: {self._last_words(other)}")
        return self._processes[name].poll() == 0

    def stop(self) -> None:
        """Stop all of them, in an orderly way if they will."""
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def _last_words(self, name: str) -> str:
        lines = (self.logs / f"{name}.log").read_text(errors="replace").splitlines()[-_LINES:]
        return " / ".join(lines)


def _end_with_parent() -> None:
    """On Linux: a service ends when the one who started it does, however that ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)


def toml(sections: Mapping[str, Mapping[str, object]]) -> str:
    """A configuration file of strings, numbers and lists of strings."""
    lines = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {_spelled(value)}" for name, value in values.items()]
    return "\n".join(lines) + "\n"


def _spelled(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_spelled, value))}]"
    if isinstance(value, int):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
