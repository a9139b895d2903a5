"""The model at one party: its own copy on disk, and the layers that rounds have pruned so far.

data/round-3/layers/layer-0007.safetensors    a pruned layer of round 3
data/revision.json                            which of them count, and the result that they are from
data/bases.json                               digests of base weights, each computed once
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedspallm_secure.app.progress import Progress
from fedspallm_secure.app.rounds.planning import LayerBase
from fedspallm_secure.app.rounds.vectors import base_of
from fedspallm_secure.app.runner import write_revision
from fedspallm_secure.app.states import Revision, layer_file
from fedspallm_secure.app.stations.kept_results import REVISION, read_kept
from fedspallm_secure.app.walking.discovery import Linear
from fedspallm_secure.app.walking.skeleton import Block, Skeleton
from fedspallm_secure.errors import RecordDamaged
from fedspallm_secure.protocol.rounds.groups import MatrixShape, model_digest
from fedspallm_secure.pruning.expansion import row_tiles
from fedspallm_secure.storage.files import publish, read_json, write_json

_BASES = "bases.json"


def layers_folder(folder: Path, round: int) -> Path:
    """Where pruned layers of a round lie once they count.  folder: of all rounds."""
    return folder / f"round-{round}" / "layers"


class Revisions:
    """One party's model.  skeleton: opened from its own folder; nothing from elsewhere decides what is read.

    previous: digest of the result that the present revision is from, or `*`; revision: what the next round starts from.
    """

    def __init__(self, skeleton: Skeleton, folder: Path, progress: Progress) -> None:
        """folder: of all rounds.  Raises RecordDamaged, MissingInput."""
        self.skeleton = skeleton
        self.folder = folder
        self._progress = progress
        self._bases: dict[str, str] = {}
        self.reload()
        if (folder / _BASES).exists():
            self._bases = dict(read_json(folder / _BASES))

    def reload(self) -> None:
        """Read what counts from disk, where another process may have written it."""
        kept = read_kept(self.folder)
        self.round, self.previous = kept.round, kept.result
        self.revision = Revision(self.skeleton.checkpoint, kept.layers)

    @property
    def blocks(self) -> list[Block]:
        """The decoder layers, in order."""
        return list(self.skeleton.blocks)

    def shapes(self, gid: int) -> tuple[MatrixShape, ...]:
        """The matrices of a layer, in the order of its vector."""
        return tuple(MatrixShape(linear.name, *linear.shape) for linear in self.skeleton.blocks[gid].linears)

    def bases(self, gids: Collection[int]) -> dict[int, LayerBase]:
        """Layers as the next round starts from them; a digest is computed once for each state of a layer."""
        return {gid: LayerBase(base, self.shapes(gid)) for gid, base in self._digests(self.revision, gids).items()}

    def origin(self) -> str:
        """Digest of the model before any round, hex; the first time all of it is read."""
        return model_digest(
            self._digests(Revision(self.skeleton.checkpoint), range(len(self.skeleton.blocks))).values()
        )

    def _digests(self, revision: Revision, gids: Collection[int]) -> dict[int, str]:
        keys = {gid: self._key(revision, gid) for gid in gids}
        missing = [gid for gid, key in keys.items() if key not in self._bases]
        for number, gid in enumerate(missing, start=1):
            linears = self.skeleton.blocks[gid].linears
            weights = zip(self.shapes(gid), (self._rows(revision, gid, linear) for linear in linears), strict=True)
            self._bases[keys[gid]] = base_of(weights)
            self._progress.update("read the model", number, len(missing), "layers")
        if missing:
            write_json(self.folder / _BASES, self._bases)
        return {gid: self._bases[key] for gid, key in keys.items()}

    def _rows(self, revision: Revision, gid: int, linear: Linear) -> Iterator[NDArray[np.float32]]:
        """One matrix of a revision, some rows after the other."""
        matrix = revision.base(self.skeleton.blocks[gid], linear)
        return (matrix.weights(rows) for rows in row_tiles(linear.shape))

    def base(self, gid: int) -> dict[str, Any]:
        """All matrices of a layer, float32."""
        matrices = self.revision.matrices(self.skeleton.blocks[gid])
        return {name: matrix.weight.float() for name, matrix in matrices.items()}

    def _key(self, revision: Revision, gid: int) -> str:
        """What the digest of a layer depends on: the file that holds it, or the shards of the model."""
        path = revision.layers.get(gid)
        checkpoint = self.skeleton.checkpoint
        names = {checkpoint.tensors[linear.name].shard for linear in self.skeleton.blocks[gid].linears}
        files = [path] if path is not None else sorted(checkpoint.path / name for name in names)
        looks = [f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
        return f"{gid}: {'; '.join(looks)}"

    def advance(self, round: int, result: str, gids: Collection[int]) -> None:
        """From now on these layers of a round count.  Again for the same round: nothing.  Raises RecordDamaged."""
        if round <= self.round:
            return
        files = {gid: layer_file(layers_folder(self.folder, round), gid) for gid in gids}
        for path in files.values():
            if not path.exists():
                raise RecordDamaged(f"{path} is not there any more")
        layers = {**self.revision.layers, **files}
        names = {str(gid): str(path.relative_to(self.folder)) for gid, path in sorted(layers.items())}
        write_json(self.folder / REVISION, {"round": round, "result": result, "layers": names})
        self.round, self.previous, self.revision = round, result, Revision(self.skeleton.checkpoint, layers)

    def write_model(self, proof: Mapping[str, Any] | None) -> Path:
        """Write the pruned model as a folder for from_pretrained, once; proof: plain data to lie beside it."""
        out = self.folder / f"model-{self.round}"
        if not out.exists():
            write_revision(self.skeleton, self.revision, out)
        if proof is not None:
            write_json(self.folder / f"model-{self.round}.proof.json", proof)
        latest = self.folder / "model"
        part = self.folder / ".model.part"
        part.unlink(missing_ok=True)
        part.symlink_to(out.name)
        publish(part, latest)
        self._progress.say(f"the pruned model is in {latest}")
        return latest
