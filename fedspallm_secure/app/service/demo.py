"""The demonstration: a server and five members as processes of this machine, over mutual TLS, with everything real.

One member is killed in the middle of the round, and the packages of another one are carried by hand.  What comes out is
measured by the code of a simulation.  Only the federation is a toy: its keys lie in one folder, and say so.
"""

import hashlib
import secrets
import socket
import time
from pathlib import Path
from typing import Any, Final

from fedspallm_secure.app.courier.exporting import export
from fedspallm_secure.app.courier.importing import import_from
from fedspallm_secure.app.courier.media import open_medium
from fedspallm_secure.app.development import make_federation
from fedspallm_secure.app.progress import Progress, Silent
from fedspallm_secure.app.service.status import status_of
from fedspallm_secure.app.service.troupe import Troupe, toml
from fedspallm_secure.app.settings import SimulationSettings
from fedspallm_secure.app.simulation import Simulation
from fedspallm_secure.app.states import Revision
from fedspallm_secure.app.stations.opening import open_post
from fedspallm_secure.app.stations.revisions import Revisions
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.passwords import Password
from fedspallm_secure.errors import RoundAborted
from fedspallm_secure.storage.files import atomic_folder, create_private, sha256_file

FEDERATION: Final = "demo.example"
SILENT, CARRIED = "speeches", "dictionary"
_LOOK, _COURIER = 0.5, 2.0  # seconds between two looks, and between two journeys of the courier
_LONGEST = 600.0  # seconds for the whole round
_STAGES = {"collecting": "plan", "endorsing": "list of survivors", "unmasking": "request to open the sums"}


class RealRound:
    """One round between processes.  facts: what there is to say about it afterwards."""

    def __init__(self, settings: SimulationSettings, folder: Path, progress: Progress) -> None:
        """folder: of homes, work and logs; kept from run to run, so that a round that was interrupted goes on."""
        self._settings, self._folder, self._progress = settings, folder, progress
        self._names = [silo.name for silo in settings.silos]
        self._started = time.monotonic()
        self._journeys = 0
        self._told: set[str] = set()
        self.facts: dict[str, Any] = {}

    def __call__(self, run: Simulation) -> tuple[Revision, dict[str, Any]]:
        """Play it; the pruned model, and what happened."""
        server = self._folder / "rounds"
        if not (server / "model").exists():
            self._prepare()
            with Troupe(self._folder / "logs", self._password) as troupe:
                self._play(troupe)
        self.facts = self._found(server)
        revisions = Revisions(run.workshop.skeleton, server, Silent())
        return revisions.revision, self.facts

    # Making the federation

    def _prepare(self) -> None:
        homes = self._folder / "homes"
        if not homes.exists():
            password = secrets.token_urlsafe(24)
            with atomic_folder(homes) as work:
                parties = ["server/hub", *(f"member/{name}" for name in self._names)]
                make_federation(work, FEDERATION, parties, Password.from_text(password))
                create_private(work / "password", password.encode() + b"\n")
            self._say(f"Made: an authority, the server hub and {len(self._names)} members, in {homes}")
        port = _free_port()
        model = str(self._settings.model.absolute())
        self._write(
            "federation",
            {
                "server": {"home": "homes/hub", "data": "rounds", "listen": [f"127.0.0.1:{port}"]},
                "model": {"path": model},
                "pruning": {"sparsity": "0.5", "pruner": str(self._settings.pruner)},
                "rounds": {"seed": self._settings.seed, "min_cohort": 4, "colluders": 1, "patience": "2s"},
            },
        )
        for silo in self._settings.silos:
            url = "" if silo.name == CARRIED else f"https://127.0.0.1:{port}"
            self._write(
                silo.name,
                {
                    "member": {"home": f"homes/{silo.name}", "data": f"work/{silo.name}"},
                    "server": {"id": "hub", "url": url},
                    "model": {"path": model},
                    "texts": {
                        "files": [str(silo.path.absolute())],
                        "samples": self._settings.samples,
                        "seqlen": self._settings.seqlen or 0,
                        "seed": self._settings.seed,
                    },
                },
            )

    def _write(self, name: str, sections: dict[str, dict[str, object]]) -> None:
        path = self._config(name)
        path.unlink(missing_ok=True)
        create_private(path, toml(sections).encode())

    def _config(self, name: str) -> Path:
        return self._folder / f"{name}.toml"

    @property
    def _password(self) -> str:
        return (self._folder / "homes" / "password").read_text().strip()

    # Playing

    def _play(self, troupe: Troupe) -> None:
        troupe.start("hub", ["server", "run", "--config", str(self._config("federation")), "--until-done"])
        for name in self._names:
            troupe.start(name, ["client", "run", "--config", str(self._config(name))])
        end, journey = time.monotonic() + _LONGEST, 0.0
        fallen = False
        while not troupe.ended("hub"):
            found = status_of(self._config("federation"))
            self._tell(found)
            if not fallen and (found.get("round") or {}).get("state") in ("endorsing", "unmasking"):
                fallen = True
                troupe.kill(SILENT)
                self._say(f"{SILENT} has contributed, and is killed now: kill -9")
            if time.monotonic() >= journey:
                self._carry()
                journey = time.monotonic() + _COURIER
            if time.monotonic() > end:
                raise RoundAborted("the round takes too long", hint=f"look at the logs in {self._folder / 'logs'}")
            time.sleep(_LOOK)
        self._await_members()

    def _tell(self, found: dict[str, Any]) -> None:
        """Say what is new since the last look."""
        round = found.get("round") or {}
        state = round.get("state", "")
        if state in _STAGES:
            self._once(state, f"the server sends the {_STAGES[state]}")
        for member in found.get("members", []):
            if member.get("due") and member["delivered"] == member["due"]:
                name = member["member"]
                self._once(f"sent {name}", f"{name} has contributed {member['due']} layers")

    def _carry(self) -> None:
        """The courier goes both ways, with what waits for the member without a network, or from it."""
        medium = self._folder / "medium"
        medium.mkdir(exist_ok=True)
        for here, there in ((CARRIED, "federation"), ("federation", CARRIED)):
            moved = False
            with open_post(self._config(here), self._unlock, _clock) as post:
                chosen = [] if here == CARRIED else [Party(Role.MEMBER.value, CARRIED)]
                made = export(post, medium, None, chosen, False, "", Silent())
                moved = any(one.bundle.contents.files and not one.again for one in made)
            if moved:
                with open_post(self._config(there), self._unlock, _clock) as post, open_medium(medium) as found:
                    import_from(post, found, Silent())
                self._journeys += 1
                self._say(f"a courier carries packages from {here.replace('federation', 'the server')}")

    def _await_members(self) -> None:
        """Wait until everybody who is left has the model."""
        left = [name for name in self._names if name != SILENT]
        for _ in range(120):
            self._carry()
            left = [name for name in left if not (self._folder / "work" / name / "model").exists()]
            if not left:
                return
            time.sleep(_LOOK)
        raise RoundAborted(f"{', '.join(left)} did not get the result")

    # Afterwards

    def _found(self, server: Path) -> dict[str, Any]:
        file = "model.safetensors"
        models = {name: self._folder / "work" / name / "model" / file for name in self._names}
        same = {name: sha256_file(path) for name, path in models.items() if path.exists()}
        own = sha256_file(server / "model" / file)
        if set(same.values()) - {own}:
            raise RoundAborted("members have another model than the server")
        status = status_of(self._config("federation"))
        return {
            "silent": SILENT,
            "carried": CARRIED,
            "journeys": self._journeys,
            "equal_models": sorted(same),
            "sha256": own,
            "result": (status.get("round") or {}).get("result", ""),
            "seconds": round(time.monotonic() - self._started, 1),
            "folder": str(self._folder),
            "proof": hashlib.sha256((server / f"{(server / 'model').readlink()}.proof.json").read_bytes()).hexdigest(),
        }

    def _unlock(self, what: str) -> Password:
        return Password.from_text(self._password)

    def _once(self, key: str, text: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self._say(text)

    def _say(self, text: str) -> None:
        self._progress.say(f"{time.monotonic() - self._started:5.1f} s  {text}")


def _clock() -> int:
    return int(time.time())


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
