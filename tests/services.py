"""Services in threads of one process: a real server and real clients over mutual TLS on loopback, with a tiny model.

with Services(tmp_path) as found:
    found.start("hub", *found.members)
    found.wait("hub")
"""

import socket
import time
from collections.abc import Iterable
from pathlib import Path
from threading import Thread

import pytest

from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.service import server as service
from fedspallm_secure.app.service.client import run_client
from fedspallm_secure.app.service.server import run_server
from fedspallm_secure.app.service.witness import run_witness
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import PlanDeclined, Unreachable
from fedspallm_secure.storage.home_folder import Identity
from tests.ceremony import PASSWORD, Ceremony
from tests.ground import Ground, make_ground

SECONDS = 120  # within which a round of the tiny model is over, on a slow machine


class LocalCeremony(Ceremony):
    """A ceremony whose server is at 127.0.0.1."""

    def identity(self, name: str) -> Identity:
        party = Party.parse(name)
        hosts = ("localhost", "127.0.0.1", "::1") if party.role is Role.SERVER else ()
        return Identity(self.federation, party, hosts)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Services:
    """A federation with configuration files, and the services that run."""

    def __init__(
        self,
        folder: Path,
        members: tuple[str, ...] = ("north", "south", "west", "east"),
        server: str = "",
        member: str = "",
        witnesses: tuple[str, ...] = (),
    ) -> None:
        """server, member: more lines for the configuration files."""
        self._patch = pytest.MonkeyPatch()
        self.folder, self.members, self.witnesses = folder, members, witnesses
        self.ground: Ground = make_ground(folder, members)
        self.ceremony = LocalCeremony(folder / "federation")
        parties = ["server/hub", *(f"member/{name}" for name in members), *(f"witness/{name}" for name in witnesses)]
        for party in parties:
            self.ceremony.enrol(party)
        roster = self.ceremony.roster()
        for party in parties:
            self.ceremony.take(party, roster)
        self.anchors = folder / "anchors"
        self.anchors.mkdir()
        self.port = free_port()
        self.configs = {"hub": self._server(server), **{name: self._member(name, member) for name in members}}
        self.configs |= {name: self._witness(name) for name in witnesses}
        self.threads: dict[str, Thread] = {}
        self.ended: dict[str, int | BaseException] = {}

    def _server(self, more: str) -> Path:
        path = self.folder / "federation.toml"
        path.write_text(
            f'[server]\nhome = "{self.ceremony.home("server/hub")}"\ndata = "{self.folder / "rounds"}"\n'
            f'anchor = "{self.anchors}"\nlisten = ["127.0.0.1:{self.port}"]\n[model]\npath = "{self.ground.model}"\n'
            f'[rounds]\nseed = 0\nmin_cohort = 4\ncolluders = 1\npatience = "1s"\n{more}'
        )
        return path

    def _member(self, name: str, more: str) -> Path:
        path = self.folder / f"{name}.toml"
        path.write_text(
            f'[member]\nhome = "{self.ceremony.home(f"member/{name}")}"\ndata = "{self.folder / f"work-{name}"}"\n'
            f'anchor = "{self.anchors}"\n[server]\nid = "hub"\nurl = "https://127.0.0.1:{self.port}"\n'
            f'[model]\npath = "{self.ground.model}"\n'
            f'[texts]\nfiles = ["{self.folder / f"{name}.txt"}"]\nsamples = 6\nseqlen = 32\n{more}'
        )
        return path

    def _witness(self, name: str) -> Path:
        path = self.folder / f"{name}.toml"
        path.write_text(
            f'[witness]\nhome = "{self.ceremony.home(f"witness/{name}")}"\ndata = "{self.folder / f"work-{name}"}"\n'
            f'anchor = "{self.anchors}"\n[server]\nid = "hub"\nurl = "https://127.0.0.1:{self.port}"\n'
        )
        return path

    def __enter__(self) -> "Services":
        # A member that has ended fetches nothing more, and one that has not does it at once.
        self._patch.setattr(service, "_LINGER", 5)
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.threads:
            self.wait(name)
        self._patch.undo()

    def start(self, *names: str) -> None:
        """Run services to their end, each as for cron."""
        for name in names:
            self.threads[name] = Thread(target=self._run, args=(name,), daemon=True)
            self.threads[name].start()

    def _run(self, name: str) -> None:
        config = self.configs[name]
        try:
            while True:
                if name == "hub":
                    code = run_server(config, lambda _: PASSWORD, False, Silent(), until_done=True)
                else:
                    code = self._run_member(name)
                if name == "hub" or self.is_done(name) or "hub" in self.ended:
                    self.ended[name] = code
                    return
                time.sleep(0.2)
        except BaseException as error:
            self.ended[name] = error

    def _run_member(self, name: str) -> int:
        try:
            if name in self.witnesses:
                return run_witness(self.configs[name], lambda _: PASSWORD, True)
            return run_client(self.configs[name], lambda _: PASSWORD, True, Silent())
        except PlanDeclined:  # cron comes again, and follows what the others make of the round
            return 0
        except Unreachable:  # the server listens once it has opened its model, or not any more
            if "hub" not in self.threads or ("hub" in self.ended and name not in self.witnesses):
                raise
            return 0

    def is_done(self, name: str) -> bool:
        return (self.folder / f"work-{name}" / "model").exists()

    def wait(self, name: str) -> int:
        """The exit code of a service; raises what it ended with."""
        self.threads[name].join(SECONDS)
        found = self.ended.get(name)
        if isinstance(found, BaseException):
            raise found
        assert found is not None, f"{name} did not end"
        return found

    def model(self, name: str) -> bytes:
        folder = self.folder / ("rounds" if name == "hub" else f"work-{name}")
        return (folder / "model" / "model.safetensors").read_bytes()


def models(found: Services, names: Iterable[str]) -> set[bytes]:
    return {found.model(name) for name in names}
