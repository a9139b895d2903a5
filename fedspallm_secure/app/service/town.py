"""A demonstration's federation on disk: who takes part, homes and configuration files, and a text that explains them.

federation/homes/      an authority, and one home for each party, made by the functions that the commands call
federation/*.toml      what `fedprune server init` and `fedprune client init` write
federation/rounds/     the server's work, federation/work/NAME the members'
federation/medium/     what a courier carried, one folder for each journey
federation/anchors/    the anchors of all homes, which lie elsewhere where homes are real
federation/logs/       what each process said
"""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fedspallm_secure.app.configuration.templates import (
    write_federation_template,
    write_key_holder_template,
    write_member_template,
)
from fedspallm_secure.app.development import make_federation
from fedspallm_secure.app.settings import SimulationSettings
from fedspallm_secure.crypto.encoding import encode_base64
from fedspallm_secure.crypto.passwords import Password
from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.errors import RecordDamaged
from fedspallm_secure.pruning.patterns import Unstructured
from fedspallm_secure.secagg.thresholds import Profile
from fedspallm_secure.storage.files import (
    atomic_folder,
    atomic_write,
    create_private,
    disk_errors,
    read_bounded,
    read_json,
)

FEDERATION: Final = "demo.example"
SERVER: Final = "hub"
KEY_HOLDER: Final = "vault"
_ANCHORS: Final = "anchors"
_DEVICE: Final = "cpu"  # the model is tiny, and five processes on one GPU would be in each other's way

_README = """\
What fedprune demo has left here.  Remove the folder when you have seen enough; every key in it is FOR DEVELOPMENT ONLY.

  report.html, result.json    what came out, measured
  model/                      the pruned model: an ordinary model folder
  federation/federation.toml  the server's configuration; federation/NAME.toml the members'
  federation/homes/           keys, certificates and rosters; homes/ca is the authority, homes/password the password
  federation/rounds/          the server's work; rounds/model is the model again, rounds/log what happened, signed
  federation/audit.html       what an outsider finds in that log
  federation/work/NAME/       a member's work; model in it is what the member took home
  federation/medium/          what a courier carried between {carried} and the server, one folder for each journey
  federation/anchors/         how far each home has counted; of real homes that lies elsewhere
  federation/logs/            what each process said, one JSON object a line
  federation/noised/          with --dp-epsilon: what members pruned by, copied before they removed it

To look around:

  fedprune status --config {folder}/federation.toml
  fedprune status --config {folder}/{silent}.toml
  fedprune server rounds --config {folder}/federation.toml
  fedprune certs show {folder}/homes/{silent}
  fedprune bundle inspect {folder}/medium/01
  fedprune audit show {folder}/rounds/log
  fedprune audit replay 1 --config {folder}/federation.toml

To play on: {silent} was killed, and has no result yet.  In two terminals, with
export FEDPRUNE_PASSWORD_FILE={folder}/homes/password in both:

  fedprune server run --config {folder}/federation.toml
  fedprune client run --config {folder}/{silent}.toml

It finds out how the round ended, fetches the layers, checks them and has the same model as the others.
"""


@dataclass(frozen=True, slots=True)
class Town:
    """The federation in `folder`.  carried: the member without a network; silent: the one that is killed."""

    folder: Path
    settings: SimulationSettings
    carried: str
    silent: str

    @property
    def holder(self) -> str:
        """Name of the key holder; empty where they are not encrypted."""
        secure = self.settings.secure
        return KEY_HOLDER if secure is not None and secure.profile is Profile.ONE_TRIP else ""

    @property
    def holders(self) -> list[str]:
        """The key holder, if there is one."""
        return [self.holder] if self.holder else []

    @property
    def members(self) -> list[str]:
        """Names of the members."""
        return [silo.name for silo in self.settings.silos]

    def config(self, name: str) -> Path:
        """The configuration file of a party."""
        return self.folder / ("federation.toml" if name == SERVER else f"{name}.toml")

    def data(self, name: str) -> Path:
        """The work folder of a party."""
        return self.folder / "rounds" if name == SERVER else self.folder / "work" / name

    def password(self) -> str:
        """The password of all keys."""
        return read_bounded(self.folder / "homes" / "password", 1024).decode().strip()

    def make(self) -> bool:
        """Make what is not there yet; whether that was anything but the files that name a port.

        Raises StorageError, and what making keys raises.
        """
        homes = self.folder / "homes"
        new = not homes.exists()
        if new:
            password = encode_base64(random_bytes(24))
            parties = [f"server/{SERVER}", *(f"member/{name}" for name in self.members)]
            parties += [f"key-holder/{name}" for name in self.holders]
            with atomic_folder(homes) as work:
                make_federation(work, FEDERATION, parties, Password.from_text(password))
                create_private(work / "password", password.encode() + b"\n")
        with disk_errors(self.folder):
            (self.folder / _ANCHORS).mkdir(mode=0o700, exist_ok=True)
        self._write_configurations(_free_port())
        return new

    def _write_configurations(self, port: int) -> None:
        for name in (SERVER, *self.members, *self.holders):
            with disk_errors(self.config(name)):
                self.config(name).unlink(missing_ok=True)
        model = {"path": str(self.settings.model.absolute())}
        write_federation_template(self.config(SERVER), self._server(port, model))
        for silo in self.settings.silos:
            url = "" if silo.name == self.carried else f"https://127.0.0.1:{port}"
            texts = {"files": [str(silo.path.absolute())], "field": silo.field, **self._windows()}
            filled = {
                "member": {"home": f"homes/{silo.name}", "data": f"work/{silo.name}", "anchor": _ANCHORS},
                "server": {"id": SERVER, "url": url},
                "model": model,
                "texts": texts,
                "policy": {"profiles": ["one-trip"], "key_holders": self.holders} if self.holder else {},
                "privacy": self._privacy(),
                "compute": {"device": _DEVICE},
            }
            write_member_template(self.config(silo.name), filled)
        for name in self.holders:
            filled = {
                "holder": {"home": f"homes/{name}", "data": f"work/{name}", "anchor": _ANCHORS},
                "server": {"id": SERVER, "url": f"https://127.0.0.1:{port}"},
                "keys": {"members": len(self.members), "strategy": self.settings.strategy.value, "stock": 1},
            }
            write_key_holder_template(self.config(name), filled)

    def _server(self, port: int, model: dict[str, Any]) -> dict[str, dict[str, Any]]:
        settings, secure = self.settings, self.settings.secure
        listen = [f"127.0.0.1:{port}"]
        targets = [str(float(step.sparsity)) for step in settings.schedule if isinstance(step, Unstructured)]
        return {
            "server": {"home": f"homes/{SERVER}", "data": "rounds", "anchor": _ANCHORS, "listen": listen},
            "model": model,
            "pruning": {"schedule": targets, "pruner": settings.pruner.value, "strategy": settings.strategy.value},
            "rounds": {
                "seed": settings.seed,
                "min_cohort": len(self.members) - 1,
                "colluders": 1 if secure is None or secure.colluders is None else secure.colluders,
                "patience": "2s",
                **({"profile": "one-trip", "key_holder": self.holder} if self.holder else {}),
            },
        }

    def _windows(self) -> dict[str, Any]:
        settings = self.settings
        found = {"samples": settings.samples, "seed": settings.seed}
        return found if settings.seqlen is None else {**found, "seqlen": settings.seqlen}

    def _privacy(self) -> dict[str, Any]:
        privacy = self.settings.privacy
        if privacy is None:
            return {}
        return {
            **{key: repr(value) for key, value in privacy.to_dict().items()},
            "rounds": len(self.settings.schedule),
        }

    def explain(self) -> None:
        """Write the text for whoever finds the folder.  Raises StorageError."""
        words = _README.format(carried=self.carried, silent=self.silent, folder=self.folder)
        with atomic_write(self.folder.parent / "README.txt") as file:
            file.write(words.encode())

    def result_at(self, name: str) -> str:
        """Digest of the result that the model at a party is from; empty before there is one.  Raises RecordDamaged."""
        path = self.data(name) / "revision.json"
        if not path.exists() or not (self.data(name) / "model").exists():
            return ""
        try:
            return str(read_json(path)["result"])
        except (KeyError, TypeError):
            raise RecordDamaged(f"{path} does not read back as it was written") from None


def _free_port() -> int:
    """A port that nobody listens at, by the choice of the system."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
