"""The server step of a round once more, from the weights that the round started from.  Needs torch."""

from collections.abc import Mapping
from pathlib import Path

import torch

from fedspallm_secure.app.audit.replay_log import LoggedRound
from fedspallm_secure.app.audit.replay_sums import Summed
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.rounds.vectors import Released
from fedspallm_secure.app.states import Revision, layer_file
from fedspallm_secure.app.stations.layers import digest_of
from fedspallm_secure.app.stations.models import ServerModel
from fedspallm_secure.app.stations.revisions import Revisions, layers_folder
from fedspallm_secure.app.walking.skeleton import Skeleton
from fedspallm_secure.errors import ForeignFile, MissingInput
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.storage.checkpoints.reader import Checkpoint
from fedspallm_secure.storage.checkpoints.stored_layers import stored_layer
from fedspallm_secure.storage.files import disk_errors


class ModelReplay:
    """The model as a round found it, in a folder of its own; nothing of the server's is written."""

    def __init__(self, model: Path, data: Path, logged: LoggedRound, work: Path) -> None:
        """model: the dense checkpoint; data: with the layers of earlier rounds; work: empty.  Raises MissingInput."""
        checkpoint = Checkpoint.open(model)
        skeleton = Skeleton(checkpoint, torch.device("cpu"), torch.float32, None)
        self._logged, self._work = logged, work
        self._revisions = Revisions(skeleton, work, Silent())
        self._revisions.revision = Revision(checkpoint, _files_before(data, logged.layers))
        self._server = ServerModel(self._revisions)

    def layer(self, summed: Summed) -> str:
        """Take the server step on the sums of a group; the layer's digest, hex.

        Raises ForeignFile where the weights to start from are not those of the plan, MissingInput, RecordDamaged.
        """
        group = summed.group
        self._check_base(group)
        released = Released(group, summed.streams, summed.survivors, summed.figures)
        digest = self._server.layer(self._logged.plan, released)
        path = layer_file(layers_folder(self._work, self._logged.number), group.gid)
        with disk_errors(path):
            path.unlink()
        return digest

    def _check_base(self, group: GroupPlan) -> None:
        blocks = len(self._revisions.skeleton.blocks)
        if group.gid >= blocks or group.matrices != self._revisions.shapes(group.gid):
            raise ForeignFile("the plan's group is no layer of this model", hint="name the model that was pruned")
        path = self._revisions.revision.layers.get(group.gid)
        if path is not None and not path.exists():
            raise MissingInput(f"{path} is not there, from which the round starts")
        if self._revisions.bases([group.gid])[group.gid].base != group.base:
            where = "the model" if path is None else str(path)
            raise ForeignFile(f"{where} does not hold the weights that the plan starts from")


def _files_before(data: Path, layers: Mapping[int, int]) -> dict[int, Path]:
    return {gid: layer_file(layers_folder(data, number), gid) for gid, number in layers.items()}


def stored_digest(data: Path, number: int, group: GroupPlan) -> str:
    """The digest of the layer that the server has on disk, hex.  Raises MissingInput, RecordDamaged."""
    path = layer_file(layers_folder(data, number), group.gid)
    if not path.exists():
        raise MissingInput(f"{path} is not there")
    try:
        return digest_of(group, stored_layer(path))
    except (KeyError, ValueError) as error:
        raise ForeignFile(f"{path} does not hold the matrices of the plan: {error}") from None
