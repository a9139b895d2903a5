"""What rounds do to a model: the server's step on sums, and what a member brings and takes home."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedspallm_secure.app.rounds.planning import LayerBase
from fedspallm_secure.app.rounds.vectors import Released, Streams, layer_streams
from fedspallm_secure.app.server import ServerSpec, write_aggregate
from fedspallm_secure.app.states import layer_file
from fedspallm_secure.app.stations.candidates import rounds_drawn
from fedspallm_secure.app.stations.layers import check_layer, decode_layer, digest_of, encode_layer
from fedspallm_secure.app.stations.revisions import Revisions, layers_folder
from fedspallm_secure.crypto.encoding import encode_base64
from fedspallm_secure.errors import LayerRefused, MissingInput, RecordDamaged
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.member_own import LocalGroup, LocalModel, PrivacyLeft
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.pruning.patterns import parse_target
from fedspallm_secure.storage.checkpoints.layers import load_layer, save_layer
from fedspallm_secure.storage.checkpoints.stored_layers import stored_layer
from fedspallm_secure.storage.files import atomic_write, disk_errors, remove_tree


class ServerModel:
    """The server's model: `finishing.Model`."""

    def __init__(self, revisions: Revisions) -> None:
        self.revisions = revisions
        self.layers = len(revisions.skeleton.blocks)

    def bases(self, gids: Collection[int]) -> Mapping[int, LayerBase]:
        """The layers as the next round starts from them."""
        return self.revisions.bases(gids)

    def origin(self) -> str:
        """Digest of the model before any round, hex."""
        return self.revisions.origin()

    def layer(self, plan: Plan, released: Released) -> str:
        """Take the server step on the sums of one group; the layer's digest, hex."""
        gid, folder = released.group.gid, layers_folder(self.revisions.folder, plan.round)
        block = self.revisions.skeleton.blocks[gid]
        spec = ServerSpec(parse_target(plan.target), plan.strategy, plan.compare)
        path = write_aggregate(block, self.revisions.revision, released.matrices(), spec, folder, released.survivors)
        return digest_of(released.group, stored_layer(path))

    def body(self, plan: Plan, gid: int) -> Path:
        """A file with the body of the package `layer`."""
        folder = layers_folder(self.revisions.folder, plan.round)
        path, group = folder / f"layer-{gid:04d}.body", plan.group(gid)
        if group is None:
            raise RecordDamaged(f"the plan has no group {gid}")
        if not path.exists():
            with atomic_write(path) as file:
                for part in encode_layer(group, stored_layer(layer_file(folder, gid))):
                    file.write(part)
        return path

    def complete(self, plan: Plan, result: Result, proof: Mapping[str, object]) -> None:
        """The layers of a round count from now on; after the last round the model is written."""
        self.revisions.advance(plan.round, result.hash, layers_of(result))
        for path in layers_folder(self.revisions.folder, plan.round).glob("*.body"):
            with disk_errors(path):
                path.unlink()
        if plan.sampling.number >= rounds_drawn(plan.sampling):
            self.revisions.write_model(proof)

    def files(self) -> Sequence[Mapping[str, Any]]:
        """Name, size and sha256 of the files of the pruned model; none as long as it is not written."""
        folder = self.revisions.folder / f"model-{self.revisions.round}"
        if not folder.exists():
            return ()
        with disk_errors(folder):
            paths = sorted(path for path in folder.rglob("*") if path.is_file())
            return [{"name": str(path.relative_to(folder)), **_size_and_hash(path)} for path in paths]


def own_folder(data: Path, round: int, noised: str = "") -> Path:
    """Where a member's own pruned layers of a round lie.  noised: digest of the statistic they were chosen by, if any.

    So no layer that was pruned without noise, or by other noise, is ever taken for one that was pruned by this.
    """
    own = data / f"round-{round}" / "own"
    return own / noised[:16] if noised else own


class MemberModel:
    """A member's model: `member_party.Work` and `results.Applier`.

    round, noised: where what the member itself made of layers lies, as of `own_folder`; written by whoever prunes;
    privacy: tells what its records may still cost, None where it prunes without noise.
    """

    def __init__(self, revisions: Revisions) -> None:
        self.revisions = revisions
        self.round = 0
        self.noised = ""
        self.privacy: Callable[[], PrivacyLeft] | None = None

    def own_folder(self, round: int) -> Path:
        """Where the member's own pruned layers of a round lie."""
        return own_folder(self.revisions.folder, round, self.noised)

    # What it brings

    def model(self) -> LocalModel:
        """What the member's own files say."""
        found = self.revisions.bases(range(len(self.revisions.skeleton.blocks)))
        groups = {gid: LocalGroup(layer.base, layer.matrices) for gid, layer in found.items()}
        return LocalModel(groups, self.revisions.previous, None if self.privacy is None else self.privacy())

    def streams(self, group: GroupPlan) -> tuple[Streams, int]:
        """Its vector for one layer, and how many values were clipped."""
        path = layer_file(self.own_folder(self.round), group.gid)
        if not path.exists():
            raise MissingInput(f"{path} is not there: the layer was not pruned yet")
        return layer_streams(group, load_layer(path)[0], self.revisions.base(group.gid))

    # What it takes home

    def apply(self, plan: Plan, group: GroupPlan, result: Result, body: Path) -> None:
        """Check a pruned layer by L2 to L6, and keep it.  Raises LayerRefused also for one that the model has not."""
        blocks = len(self.revisions.skeleton.blocks)
        if group.gid >= blocks or group.matrices != self.revisions.shapes(group.gid):
            raise LayerRefused(f"the plan's group {group.gid} is no layer of this model", check="L1")
        matrices = decode_layer(group, body)
        frozen = self.revisions.revision.frozen(self.revisions.skeleton.blocks[group.gid])
        check_layer(plan, group, result, matrices, frozen)
        path = layer_file(layers_folder(self.revisions.folder, plan.round), group.gid)
        save_layer(path, matrices, {"layer": str(group.gid)})

    def complete(self, plan: Plan, result: Result) -> None:
        """All layers are there: the next round starts from them; after the last round the model is written."""
        self.revisions.advance(plan.round, result.hash, layers_of(result))
        if plan.sampling.number >= rounds_drawn(plan.sampling):
            proof = {"plan": plan.to_dict(), "result": encode_base64(result.encode())}
            self.revisions.write_model(proof)
        self._forget_own(plan.round)

    def _forget_own(self, last: int) -> None:
        """Remove what this member pruned itself in rounds up to `last`: it is its vector, in the clear."""
        for folder in self.revisions.folder.glob("round-*/own"):
            name = folder.parent.name.removeprefix("round-")
            if name.isdigit() and int(name) <= last:
                remove_tree(folder)


def _size_and_hash(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": digest}


def layers_of(result: Result) -> list[int]:
    """The layers that a result names."""
    return [found.gid for found in result.groups if found.layer != NONE]
