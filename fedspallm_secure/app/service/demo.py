"""The demonstration: a server and five members as processes of this machine, over mutual TLS, with everything real.

One member is killed in the middle of the round, and the packages of another one are carried by hand.  What comes out is
measured by the code of a simulation.  Only the federation is a toy: its keys lie in one folder, and say so.
"""

import resource
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from fedspallm_secure.app.progress import Progress, Silent
from fedspallm_secure.app.rounds.playing import Stage
from fedspallm_secure.app.rounds.settings import SecureSettings
from fedspallm_secure.app.runner import Outcome
from fedspallm_secure.app.service.accounts import round_account
from fedspallm_secure.app.service.carriage import Carriage
from fedspallm_secure.app.service.demo_audit import audit_round
from fedspallm_secure.app.service.demo_privacy import keep_statistics, privacy_account, prune_again
from fedspallm_secure.app.service.live import read_live
from fedspallm_secure.app.service.status import live_path, status_of
from fedspallm_secure.app.service.town import SERVER, Town
from fedspallm_secure.app.service.troupe import Troupe
from fedspallm_secure.app.settings import SimulationSettings
from fedspallm_secure.app.simulation import Simulation
from fedspallm_secure.app.stations.revisions import Revisions
from fedspallm_secure.errors import RoundAborted, UsageError
from fedspallm_secure.secagg.thresholds import Profile
from fedspallm_secure.storage.files import read_json, sha256_file, write_json

_FEWEST: Final = 5  # members, of which one may fall silent while another one may work with the server
_LOOK: Final = 0.3  # seconds between two looks
_STANDSTILL: Final = 300.0  # seconds in which something has to happen
_MOVING: Final = ("state", "members", "leaving", "phase", "work")  # what changes in a status while a round goes on
_ORDER: Final = ("collecting", "endorsing", "unmasking", "summing", "finished")
_STORY: Final = {
    "collecting": "hub has sent the plan: each member prunes its layers with its own text",
    "endorsing": "all contributions are there; hub sends the list of those in the sums, for members to sign",
    "unmasking": "enough have signed; hub asks them for the shares that open these sums, and no others",
    "finished": "the sums are open, and the result is signed and published",
}
_ENCRYPTED: Final = {
    "unmasking": "hub has added up all contributions; the key holder adds a sample up again, and decrypts the sums",
    "finished": "the sums are decrypted, and the result is signed and published",
}


def real_settings(settings: SimulationSettings, encrypted: bool = False) -> SimulationSettings:
    """The same for a round between processes, which aggregates securely.  Raises UsageError for too few silos.

    encrypted: whether vectors are encrypted to a key holder.
    """
    if len(settings.silos) < _FEWEST:
        raise UsageError(
            f"with {len(settings.silos)} members none may fall silent", hint=f"take {_FEWEST} texts, or --plain"
        )
    _, silent = _parts(settings)
    if encrypted:  # a member is done once it has contributed: whoever falls silent then is missed by nobody
        secure = SecureSettings(Profile.ONE_TRIP, colluders=1)
    else:
        secure = SecureSettings(colluders=1, drops={Stage.ENDORSEMENT: frozenset({silent})})
    return replace(settings, secure=secure, compute=replace(settings.compute, device="cpu"))


def _parts(settings: SimulationSettings) -> tuple[str, str]:
    """Who is carried, and who falls silent."""
    names = [silo.name for silo in settings.silos]
    return names[1], names[-1]


class RealRound:
    """One round between processes, in `settings.out`/federation; given again, it goes on where it stopped."""

    def __init__(self, settings: SimulationSettings, progress: Progress) -> None:
        """settings: as `real_settings` made them."""
        self._town = Town((settings.out / "federation").absolute(), settings, *_parts(settings))
        self._progress = progress
        self._record = self._town.folder / "round.json"
        self._started = time.monotonic()
        self._told: set[str] = set()
        self._peak = 0
        self._seen: Any = None
        self._moved = self._started

    def __call__(self, run: Simulation) -> Outcome:
        """Play it; the pruned model, and what happened.  Raises RoundAborted, StorageError."""
        town, living = self._town, self._living
        with run.timed("round"):
            if not self._record.exists():
                self._play()
            facts: dict[str, Any] = read_json(self._record)
        same = check_models(town, living)
        audit = audit_round(town, living)
        revision = Revisions(run.workshop.skeleton, town.data(SERVER), Silent()).revision
        prune = None if town.settings.privacy is None else partial(prune_again, town, run)
        account = round_account(town.config(SERVER), run, living, prune)
        parties = {"silent": town.silent, "carried": town.carried, "folder": str(town.folder)}
        found = {**facts, **same, **parties, "audit": audit}
        return Outcome(revision, found, [account], privacy_account(town))

    @property
    def _living(self) -> list[str]:
        return [name for name in self._town.members if name != self._town.silent]

    def _play(self) -> None:
        town = self._town
        self._started = self._moved = time.monotonic()
        if town.make():
            more = f" and the key holder {town.holder}" if town.holder else ""
            self._say(f"an authority has enrolled the server hub, {len(town.members)} members{more}")
        town.explain()
        with Troupe(town.folder / "logs", town.password()) as troupe:
            journeys = self._run(troupe)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        facts = {
            "seconds": round(time.monotonic() - self._started, 1),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            "peak_memory": self._peak,
            "journeys": journeys,
        }
        write_json(self._record, facts)

    def _run(self, troupe: Troupe) -> list[dict[str, Any]]:
        """Start everybody, kill one, carry for another, until all who live have the result."""
        town, silent, carriage = self._town, self._town.silent, Carriage(self._town, troupe, self._say)
        self._start(troupe)
        while True:
            troupe.check()
            server, member = (self._look(name) for name in (SERVER, town.carried))
            self._tell(server)
            if silent in troupe and has_delivered(server, silent):
                troupe.kill(silent)
                self._say(f"{silent} is killed (SIGKILL): its contributions are there, and it will answer nothing more")
            if town.settings.privacy is not None:
                keep_statistics(town)
            if self._all_home(server):
                break
            # What is carried comes last, so that the round cannot go on before somebody has fallen.
            if not carriage.look(server, member, hold=silent in troupe):
                self._check_standstill(server, member)
                time.sleep(_LOOK)
        carriage.confirm()
        for name in (SERVER, *town.members, *town.holders):
            live = read_live(live_path(town.data(name)), time.time())
            self._peak = max(self._peak, 0 if live is None else live["peak_memory"])
        return carriage.journeys

    def _start(self, troupe: Troupe) -> None:
        town = self._town
        server = self._look(SERVER)
        fallen = has_delivered(server, town.silent) or _rank(server) > 0
        troupe.start(SERVER, ["server", "run", "--config", str(town.config(SERVER)), "--json-log"])
        for name in town.holders:
            troupe.start(name, ["key-holder", "run", "--config", str(town.config(name)), "--json-log"])
        started = self._living if fallen else town.members
        for name in started:
            troupe.start(name, ["client", "run", "--config", str(town.config(name)), "--json-log"])
        rest = ", ".join([*town.holders, *(name for name in started if name != town.carried)])
        self._say(f"started: hub; {rest}, over mutual TLS; {town.carried}, without any network")

    def _look(self, name: str) -> dict[str, Any]:
        return status_of(self._town.config(name))

    def _all_home(self, server: Mapping[str, Any]) -> bool:
        """Whether the round is over, and every member that lives has its result."""
        if _rank(server) < len(_ORDER) - 1:
            return False
        result = server["round"]["result"]
        if result is None:
            raise RoundAborted("the round ended without a result", hint=self._hint())
        left = [name for name in self._living if self._town.result_at(name) != result]
        for name in self._living:
            if name not in left:
                self._once(f"home {name}", f"{name} has checked every layer of the result and taken the model home")
        return not left and server["round"]["over"] and self._town.result_at(SERVER) == result

    def _tell(self, server: Mapping[str, Any]) -> None:
        """Say what is new since the last look."""
        for member in server.get("members", []):
            name = member["member"]
            if member["offered"]:
                self._once(f"offer {name}", f"{name} offers to take part")
        rank = _rank(server)
        if rank >= 0:
            self._once("collecting", _STORY["collecting"])
        for member in server.get("members", []):
            if has_delivered(server, member["member"]):
                name = member["member"]
                self._once(f"sent {name}", f"{name} has contributed {member['due']} layers, encrypted")
        story = _ENCRYPTED if self._town.holder else _STORY
        for state in _ORDER[1 : rank + 1]:
            if state in story:
                self._once(state, story[state])

    def _check_standstill(self, *facts: Mapping[str, Any]) -> None:
        """Raise RoundAborted if nothing has changed for very long."""
        seen = [[one.get(name) for name in _MOVING] for one in facts]
        now = time.monotonic()
        if seen != self._seen:
            self._seen, self._moved = seen, now
        if now - self._moved > _STANDSTILL:
            phase = facts[0].get("phase") or facts[0]["state"]
            raise RoundAborted(f"nothing has happened for {_STANDSTILL:.0f} seconds: {phase}", hint=self._hint())

    def _hint(self) -> str:
        return f"look at the logs in {self._town.folder / 'logs'}; remove {self._town.folder.parent} to begin anew"

    def _once(self, key: str, text: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self._say(text)

    def _say(self, text: str) -> None:
        self._progress.say(f"{time.monotonic() - self._started:6.1f} s  {text}")


def has_delivered(server: Mapping[str, Any], name: str) -> bool:
    """Whether the server has taken in all contributions of a member, as `status_of` tells."""
    rows = [member for member in server.get("members", []) if member["member"] == name]
    return any(row["due"] > 0 and row["delivered"] == row["due"] for row in rows)


def _rank(server: Mapping[str, Any]) -> int:
    """How far the round is; -1 before there is one."""
    found = server.get("round")
    return -1 if found is None else _ORDER.index(found["state"])


def check_models(town: Town, living: list[str]) -> dict[str, Any]:
    """Raise RoundAborted unless these members have the server's result and its model, bit for bit."""
    result = town.result_at(SERVER)
    digests = {name: sha256_file(_weights(town, name)) for name in (SERVER, *living)}
    for name in living:
        if town.result_at(name) != result or digests[name] != digests[SERVER]:
            raise RoundAborted(f"{name} has another model than the server")
    return {"result": result, "sha256": digests[SERVER], "equal_models": living}


def _weights(town: Town, name: str) -> Path:
    return town.data(name) / "model" / "model.safetensors"
