"""Commands of this very program as processes of this machine: started, watched, killed, and never left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from fedspallm_secure.errors import RoundAborted
from fedspallm_secure.storage.files import disk_errors

PROGRAM: Final = (sys.executable, "-m", "fedprune_cli")
_LINES: Final = 8  # of a log, when a service has failed
_TAIL: Final = 16 << 10  # bytes of a log that are looked at for them
_PATIENCE: Final = 20.0  # seconds for all services to stop in an orderly way
_LONGEST: Final = 120.0  # seconds of a command that is no service
_KEEPER: Final = "fedspallm_secure.app.service.keeper"
_SETTINGS: Final = {  # many processes share few cores, and a log is read while it is written
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONUNBUFFERED": "1",
}
_OURS: Final = "FEDPRUNE_"  # what the user's environment says to `fedprune` is not meant for these


class Troupe:
    """The processes, by name.  Leaving the `with` stops all of them; so does the end of this one."""

    def __init__(self, logs: Path, password: str) -> None:
        """logs: folder, one file each; password: given to each through a pipe.  Raises StorageError."""
        self.logs = logs
        self._password = password.encode() + b"\n"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        self._environment |= _SETTINGS
        with disk_errors(logs):
            logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._keeper = subprocess.Popen(  # noqa: S603  (it ends the others if this process is killed)
            [sys.executable, "-m", _KEEPER], stdin=subprocess.PIPE, process_group=0
        )

    def __enter__(self) -> "Troupe":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __contains__(self, name: str) -> bool:
        return name in self._processes

    def start(self, name: str, words: Sequence[str]) -> None:
        """Run `fedprune` with these words, and the password at its standard input; what it says goes into its log."""
        path = self.logs / f"{name}.log"
        with disk_errors(path), path.open("ab") as log:
            process = self._popen(words, stdout=log, stderr=log)
        self._processes[name] = process
        stdin = process.stdin
        if stdin is not None:
            with suppress(BrokenPipeError):  # it has ended already, and its log says why
                stdin.write(self._password)
            with suppress(BrokenPipeError):
                stdin.close()

    def run(self, words: Sequence[str]) -> dict[str, Any]:
        """Run a command that ends by itself with one JSON object, and return that.  Raises RoundAborted."""
        process = self._popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(self._password, _LONGEST)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.returncode != 0:
            said = " / ".join(err.decode(errors="replace").splitlines()[-_LINES:])
            raise _failed(f"fedprune {words[0]} {words[1]} ended with code {process.returncode}: {said}")
        found: dict[str, Any] = json.loads(out)
        return found

    def _popen(self, words: Sequence[str], **streams: Any) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(  # noqa: S603  (this very program, and no shell)
            [*PROGRAM, *words, "--password-fd", "0"],
            stdin=subprocess.PIPE,
            env=self._environment,
            process_group=self._keeper.pid,  # Ctrl-C is for the one who started them, who then stops them in order
            **streams,
        )

    def kill(self, name: str) -> None:
        """End one without a warning, as a power cut would."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def check(self) -> None:
        """Raise RoundAborted with the end of its log if one of them has ended."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise _failed(f"{name} ended with code {process.returncode}: {self.last_words(name)}")

    def stop(self) -> None:
        """Stop all of them: in an orderly way if they will, and at once if somebody has no patience."""
        try:
            for process in self._processes.values():
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
            end = time.monotonic() + _PATIENCE
            for process in self._processes.values():
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, end - time.monotonic()))
        finally:
            for process in self._processes.values():
                process.kill()
                process.wait()
            self._processes.clear()
            with suppress(BrokenPipeError):
                self._keeper.communicate(b".")

    def last_words(self, name: str) -> str:
        """The end of a log, on one line."""
        path = self.logs / f"{name}.log"
        with disk_errors(path), path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            lines = file.read(_TAIL).decode(errors="replace").splitlines()[-_LINES:]
        return " / ".join(_message(line) for line in lines) or "it said nothing"


def _message(line: str) -> str:
    """What a line of a JSON log says; any other line as it is."""
    try:
        found = json.loads(line)
        return f"{found['message']}: {found['error']}" if "error" in found else str(found["message"])
    except (ValueError, KeyError, TypeError):
        return line


def _failed(message: str) -> RoundAborted:
    return RoundAborted(message, hint="run the same command again: it goes on where it stopped")
