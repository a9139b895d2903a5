"""Federations whose rounds can be replayed: stations with the server's real model, and members that prune by chance."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from fedspallm_secure.app.audit.replay import Site, open_site, replay
from fedspallm_secure.app.audit.replay_book import Report
from fedspallm_secure.app.audit.sampling import Sample
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.rounds.vectors import Streams, layer_streams
from fedspallm_secure.app.stations.models import MemberModel, ServerModel
from fedspallm_secure.app.stations.revisions import Revisions
from fedspallm_secure.app.walking.skeleton import Skeleton
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.storage.checkpoints.layers import LayerMatrix
from fedspallm_secure.storage.checkpoints.reader import Checkpoint
from tests.ceremony import PASSWORD
from tests.models import make_model
from tests.stationary import HUB, Stations


class RandomMember(MemberModel):
    """A member that keeps weights by chance, and changes them a little; the same for one layer of one round."""

    def __init__(self, revisions: Revisions, name: str) -> None:
        super().__init__(revisions)
        self._name = name

    def streams(self, group: GroupPlan) -> tuple[Streams, int]:
        seed = int.from_bytes(f"{self._name} {self.revisions.round} {group.gid}".encode()) % (1 << 60)
        draws = torch.Generator().manual_seed(seed)
        base, made = self.revisions.base(group.gid), {}
        for name, weight in base.items():
            keep = torch.rand(weight.shape, generator=draws) < 0.5
            noise = torch.randn(weight.shape, generator=draws) / 100
            made[name] = LayerMatrix((weight + noise) * keep, keep)
        return layer_streams(group, made, base)


class ModelStations(Stations):
    """A federation with a real model at everybody, whose server keeps what it took in."""

    def __init__(self, folder: Path, **setting) -> None:
        super().__init__(folder, **setting)
        make_model(folder / "model", "llama")
        self.model = ServerModel(self.revisions(self.data(HUB)))
        self.works = {name: RandomMember(self.revisions(folder / name), name) for name in self.names}

    def revisions(self, folder: Path) -> Revisions:
        folder.mkdir(exist_ok=True, mode=0o700)
        checkpoint = Checkpoint.open(self.folder / "model")
        return Revisions(Skeleton(checkpoint, torch.device("cpu"), torch.float32, None), folder, Silent())

    def __enter__(self) -> "ModelStations":
        super().__enter__()
        keep_archive(self)
        return self


def keep_archive(found: Stations) -> None:
    """Have the server keep what it takes in, as it does by default."""
    found.server.post.archive = found.data(HUB)


@contextmanager
def model_stations(folder: Path, **setting) -> Iterator[ModelStations]:
    with ModelStations(folder, **setting) as found:
        yield found


@dataclass(frozen=True)
class Kept:
    """What a server has: its home, its work folder, and the dense model."""

    home: Path
    data: Path
    model: Path | None

    @classmethod
    def of(cls, found: Stations) -> "Kept":
        model = found.folder / "model"
        return cls(found.ceremony.home(HUB), found.data(HUB), model if model.exists() else None)

    def copy(self, folder: Path) -> "Kept":
        """The same with files that a test may change."""
        shutil.copytree(self.data, folder / "data", symlinks=True)
        return Kept(self.home, folder / "data", self.model)

    def site(self) -> Site:
        return open_site(self.home, self.data, self.model, lambda _: PASSWORD)

    def replay(self, number: int = 1, sample: Sample | None = None) -> Report:
        return replay(self.site(), number, sample, Silent())

    def folder(self, number: int, *parts: str) -> Path:
        return self.data.joinpath(f"round-{number}", *parts)


def flip(path: Path, place: int = -1) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def states(report: Report) -> dict[str, bool | None]:
    """Step -> whether it passed."""
    return {step.name: step.passed for step in report.steps}
