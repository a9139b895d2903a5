"""Secure aggregation inside a simulation: the same contributions, the same server step, the real protocol between.

The silos of a simulation read one model from one disk, so the digest of its base weights is computed once for all.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from fedspallm_secure.app.progress import Progress
from fedspallm_secure.app.rounds.figures import Exactness, wire_figures
from fedspallm_secure.app.rounds.planning import LayerBase, Terms
from fedspallm_secure.app.rounds.playing import Round
from fedspallm_secure.app.rounds.settings import SecureSettings
from fedspallm_secure.app.rounds.town import Town, member_ids
from fedspallm_secure.app.rounds.vault import FolderVault
from fedspallm_secure.app.rounds.vectors import Streams, base_of, layer_streams
from fedspallm_secure.app.server import ServerSpec, sum_contributions, write_aggregate
from fedspallm_secure.app.states import Revision, layer_file
from fedspallm_secure.app.walking.skeleton import Block
from fedspallm_secure.errors import PlanRefused
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.plan import RoundPlan
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.protocol.rounds.member_own import LocalGroup, LocalModel
from fedspallm_secure.protocol.rounds.plans import Sampling
from fedspallm_secure.pruning.leakage import LeakageFigures, public_guess
from fedspallm_secure.secagg.thresholds import default_colluders
from fedspallm_secure.storage.checkpoints.layers import load_layer
from fedspallm_secure.storage.files import read_json, remove_tree, write_json

Contributions = Mapping[str, Mapping[int, Path]]


class SharedFiles:
    """What all silos of a round read from the same disk.  layers: gid -> what the plan says about it."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = blocks
        self._revision: Revision | None = None
        self._loaded: tuple[int, dict[str, Tensor]] = (-1, {})
        self.layers: dict[int, LayerBase] = {}
        self.previous = NONE

    def begin(self, revision: Revision, layers: Sequence[int], previous: str | None) -> None:
        """Look at the layers of a round as it begins."""
        self._revision, self._loaded = revision, (-1, {})
        self.previous = NONE if previous is None else previous
        self.layers = {}
        for gid in layers:
            base = self.base(gid)
            shapes = tuple(MatrixShape(linear.name, *linear.shape) for linear in self._blocks[gid].linears)
            self.layers[gid] = LayerBase(base_of((shape, base[shape.name]) for shape in shapes), shapes)

    def base(self, gid: int) -> dict[str, Tensor]:
        """The base weights of one layer, float32, by checkpoint name; only the last layer asked for is kept."""
        if self._loaded[0] != gid and self._revision is not None:
            matrices = self._revision.matrices(self._blocks[gid])
            self._loaded = gid, {name: matrix.weight.float() for name, matrix in matrices.items()}
        return self._loaded[1]


class SiloWork:
    """What one silo brings: the layers that it pruned, against the weights that the round starts from."""

    def __init__(self, shared: SharedFiles) -> None:
        self._shared = shared
        self.files: Mapping[int, Path] = {}

    def model(self) -> LocalModel:
        """What the silo's own files say."""
        groups = {gid: LocalGroup(layer.base, layer.matrices) for gid, layer in self._shared.layers.items()}
        return LocalModel(groups, self._shared.previous)

    def streams(self, group: GroupPlan) -> tuple[Streams, int]:
        """Its vector for one layer, and how many values were clipped."""
        return layer_streams(group, load_layer(self.files[group.gid])[0], self._shared.base(group.gid))


class SecureSilos:
    """The rounds of one simulation, aggregated securely.  figures: one for each round so far."""

    def __init__(
        self,
        settings: SecureSettings,
        spec: ServerSpec,
        pruner: str,
        budgets: Mapping[str, int],
        blocks: Sequence[Block],
        plans: Sequence[RoundPlan],
        schedule: tuple[str, ...],
        min_cohort: int,
        spread: bool,
        seed: bytes,
    ) -> None:
        """budgets: silo -> layers per round; schedule, min_cohort, spread, seed: what `plans` were drawn from."""
        ids = member_ids(budgets)
        cohorts = [len(cohort) for plan in plans for cohort in plan.cohorts.values()]
        colluders = default_colluders(min(cohorts)) if settings.colluders is None else settings.colluders
        self.figures: list[dict[str, Any]] = []
        self._settings, self._spec, self._blocks = settings, spec, blocks
        by_member = tuple(sorted((ids[name], layers) for name, layers in budgets.items()))
        self._sampling = Sampling(1, len(blocks), schedule, min_cohort, spread, by_member)
        self._seed = seed
        self._names = {member: name for name, member in ids.items()}
        terms = Terms(settings.profile, colluders, spec.strategy, pruner, spec.group, settings.sum_bits)
        self._shared = SharedFiles(blocks)
        self._works = {member: SiloWork(self._shared) for member in self._names}
        self._town = Town(self._works, terms, len(plans), max(cohorts), lambda: int(time.time()))
        self._drops = {stage: {ids[name] for name in names} for stage, names in settings.drops.items()}

    def aggregate(
        self, plan: RoundPlan, revision: Revision, contributions: Contributions, folder: Path, progress: Progress
    ) -> dict[int, Path]:
        """Aggregate one round into its layer files in `folder`; a round that is there already is not played again.

        Raises RoundAborted if any layer ends without a sum.
        """
        record, files = folder / "secagg.json", {layer: layer_file(folder, layer) for layer in plan.layers}
        if record.exists() and all(file.exists() for file in files.values()):
            self.figures.append(read_json(record))
            return files
        self._shared.begin(revision, plan.layers, self._town.previous)
        for member, work in self._works.items():
            work.files = contributions.get(self._names[member], {})
        spool = folder / "masked-vectors"
        played = self._play(plan, FolderVault(spool), progress)
        with suppress(FileNotFoundError):
            remove_tree(spool)
        figures = self._write(played, plan, revision, contributions, folder)
        write_json(record, figures)
        self.figures.append(figures)
        return files

    def _play(self, plan: RoundPlan, vault: FolderVault, progress: Progress) -> Round:
        sampling = replace(self._sampling, number=plan.number)
        found = self._town.open_round(sampling, self._seed, self._shared.layers, vault)
        drawn = {group.gid: [self._names[member] for member in group.cohort] for group in found.server.plan.groups}
        if drawn != {layer: sorted(cohort) for layer, cohort in plan.cohorts.items()}:
            raise PlanRefused(
                "with more than 200 silos the seed of a round is drawn by a witness, after the silos have pruned",
                hint="give every silo all layers, or make cohorts smaller",
            )
        progress.update("secure aggregation", 0, len(found.members), "silos")
        found.play(self._drops, lambda done: progress.update("secure aggregation", done, len(found.members), "silos"))
        found.check_complete()
        result = found.server.machine.result
        self._town.previous = None if result is None else result.hash
        return found

    def _write(
        self, found: Round, plan: RoundPlan, revision: Revision, contributions: Contributions, folder: Path
    ) -> dict[str, Any]:
        """The server step on every sum, and what there is to say about the round."""
        exactness, leakage = Exactness(), LeakageFigures()
        for gid, released in sorted(found.server.released.items()):
            block, base = self._blocks[gid], self._shared.base(gid)
            sums = released.matrix_sums(base)
            survivors = [self._names[member] for member in found.played.survivors[gid]]
            plain = sum_contributions(block, [contributions[name][gid] for name in survivors], self._spec.strategy)
            frozen, totals = revision.frozen(block), released.totals()
            for name, total in sums.items():
                exactness += Exactness.of(total, plain.pop(name), base[name], totals.get(name), released.group)
                guess = public_guess(base[name], plan.target, frozen.get(name))
                leakage += LeakageFigures.of(total.count, total.members, guess)
            spec = replace(self._spec, target=plan.target)
            write_aggregate(block, revision, sums, spec, folder, released.survivors)
        server, groups = found.server.machine, found.server.plan.groups
        clipped = sum(sum(member.clipped.values()) for member in found.members.values())
        return {
            "round": server.plan.round,
            "plan_hash": server.plan_hash,
            "result": "" if server.result is None else server.result.hash,
            "profile": server.plan.profile.value,
            "colluders": server.plan.colluders,
            "groups": [
                {
                    "layer": group.gid,
                    "cohort": len(group.cohort),
                    "shares": group.shares,
                    "survivors_needed": group.survivors,
                    "survivors": [self._names[member] for member in found.played.survivors[group.gid]],
                    "degree": group.neighbours,
                    "count_bits": group.counts.bits,
                    "sum_bits": 0 if group.sums is None else group.sums.bits,
                    "fraction": 0 if group.sums is None else group.sums.fraction,
                    "bound": 0 if group.sums is None else group.sums.bound,
                }
                for group in groups
            ],
            "clipped": clipped,
            "exactness": exactness.to_dict(),
            "leakage": leakage.to_dict(),
            "wire": wire_figures(found.played, self._names, groups),
            "seconds": {stage: round(seconds, 4) for stage, seconds in found.played.seconds.items()},
            "blamed": [
                {"silo": self._names[name], "check": check, "layer": group}
                for name, check, group in sorted(server.blamed)
            ],
        }
