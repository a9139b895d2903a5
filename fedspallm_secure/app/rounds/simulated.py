"""Secure aggregation inside a simulation: the same contributions, the same server step, the real protocol between.

The silos of a simulation read one model from one disk, so the digest of its base weights is computed once for all.
What is compared with plain sums afterwards is no part of the protocol, and is timed by itself.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from fedspallm_secure.app.progress import Progress
from fedspallm_secure.app.rounds.costs import foreseen_cost
from fedspallm_secure.app.rounds.figures import Exactness, group_figures, wire_figures
from fedspallm_secure.app.rounds.planning import LayerBase, Terms, check_cohorts, check_disclosures, cipher_for
from fedspallm_secure.app.rounds.playing import Round, Stage
from fedspallm_secure.app.rounds.settings import SecureSettings
from fedspallm_secure.app.rounds.town import Town, member_ids
from fedspallm_secure.app.rounds.vault import FolderVault
from fedspallm_secure.app.rounds.vectors import Released, Streams, base_of, layer_streams
from fedspallm_secure.app.server import ServerSpec, sum_contributions, write_aggregate
from fedspallm_secure.app.states import Revision, layer_file
from fedspallm_secure.app.walking.skeleton import Block
from fedspallm_secure.errors import PlanRefused, RecordDamaged
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.plan import RoundPlan
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.protocol.rounds.member_own import LocalGroup, LocalModel
from fedspallm_secure.protocol.rounds.plans import Sampling
from fedspallm_secure.pruning.aggregation import MatrixSums
from fedspallm_secure.pruning.leakage import LeakageFigures, public_guess
from fedspallm_secure.pruning.patterns import Pattern
from fedspallm_secure.secagg.disclosure import Release
from fedspallm_secure.secagg.graphs import COMPLETE_LIMIT
from fedspallm_secure.secagg.thresholds import Profile, default_colluders
from fedspallm_secure.storage.checkpoints.layers import load_layer
from fedspallm_secure.storage.files import read_json, remove_tree, write_json

Contributions = Mapping[str, Mapping[int, Path]]
Timed = Callable[[str], AbstractContextManager[None]]
_HELD = 256 << 20  # bytes of base weights that stay in memory; a layer of more is read again when it is asked for


class SharedFiles:
    """What all silos of a round read from the same disk.  layers: gid -> what the plan says about it."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = blocks
        self._revision: Revision | None = None
        self._held: dict[int, dict[str, Tensor]] = {}
        self.layers: dict[int, LayerBase] = {}
        self.previous = NONE

    def begin(self, revision: Revision, layers: Sequence[int], previous: str | None) -> None:
        """Look at the layers of a round as it begins."""
        self._revision, self._held = revision, {}
        self.previous = NONE if previous is None else previous
        self.layers = {}
        for gid in layers:
            base = self.base(gid)
            shapes = tuple(MatrixShape(linear.name, *linear.shape) for linear in self._blocks[gid].linears)
            self.layers[gid] = LayerBase(base_of((shape, [base[shape.name].numpy()]) for shape in shapes), shapes)

    def base(self, gid: int) -> dict[str, Tensor]:
        """The base weights of one layer, float32, by checkpoint name."""
        found = self._held.get(gid)
        if found is None:
            if self._revision is None:
                raise ValueError("no round has begun")
            matrices = self._revision.matrices(self._blocks[gid])
            found = {name: matrix.weight.float() for name, matrix in matrices.items()}
            size = sum(4 * linear.size for linear in self._blocks[gid].linears)
            while self._held and (len(self._held) + 1) * size > _HELD:  # layers are about equally large
                del self._held[next(iter(self._held))]
            self._held[gid] = found
        return found


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
    """The rounds of one simulation, aggregated securely.  figures: of each so far; costs: of all, where encrypted."""

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
        """budgets: silo -> layers per round; schedule, min_cohort, spread, seed: what `plans` were drawn from.

        Raises PlanRefused, CapacityExceeded or DisclosureRefused where a cohort cannot be protected, before anybody
        prunes.
        """
        ids = member_ids(budgets)
        cohorts = {len(cohort) for plan in plans for cohort in plan.cohorts.values()}
        colluders = default_colluders(min(cohorts)) if settings.colluders is None else settings.colluders
        encrypts = settings.profile is Profile.ONE_TRIP
        self._terms = Terms(
            settings.profile,
            colluders,
            spec.strategy,
            pruner,
            spec.group,
            settings.sum_bits,
            cipher=cipher_for(max(cohorts), spec.strategy, settings.sum_bits) if encrypts else None,
        )
        check_cohorts(cohorts, self._terms)
        if max(cohorts) > COMPLETE_LIMIT and min(budgets.values()) < len(blocks):
            raise PlanRefused(
                f"in cohorts of more than {COMPLETE_LIMIT} silos a witness draws who prunes what, and here it is known",
                hint="give every silo all layers, or make cohorts smaller",
            )
        sizes = {block.index: sum(linear.size for linear in block.linears) for block in blocks}
        self.costs = [foreseen_cost(plan.cohorts, sizes, self._terms) for plan in plans]
        self.figures: list[dict[str, Any]] = []
        self._spec, self._blocks, self._seed = spec, blocks, seed
        by_member = tuple(sorted((ids[name], layers) for name, layers in budgets.items()))
        self._sampling = Sampling(1, len(blocks), schedule, min_cohort, spread, by_member)
        self._ids, self._names = ids, {member: name for name, member in ids.items()}
        self._drops = {stage: {ids[name] for name in names} for stage, names in settings.drops.items()}
        drawn = [{gid: [ids[name] for name in names] for gid, names in plan.cohorts.items()} for plan in plans]
        check_disclosures(drawn, self._drops.get(Stage.CONTRIBUTION, ()), self._terms)
        self._shared = SharedFiles(blocks)
        self._works = {member: SiloWork(self._shared) for member in self._names}
        self._rounds, self._largest = len(plans), max(cohorts)
        self._town: Town | None = None

    @property
    def town(self) -> Town:
        """The parties with their keys, made when the first round is played."""
        if self._town is None:
            self._town = Town(self._works, self._terms, self._rounds, self._largest, lambda: int(time.time()))
            for member in self._town.members.values():
                member.keeps_sealed = False  # nobody here asks for a contribution again
            for known in self.figures:
                self._remember(self._town, known)
        return self._town

    def aggregate(
        self,
        plan: RoundPlan,
        revision: Revision,
        contributions: Contributions,
        folder: Path,
        progress: Progress,
        timed: Timed,
    ) -> dict[int, Path]:
        """Aggregate one round into its layer files in `folder`; a round that is there already is not played again.

        timed: measures the phases `enrol`, `aggregate`, and `check` for what a federation does not do.
        Raises RoundAborted if any layer ends without a sum, RecordDamaged.
        """
        record, files = folder / "secagg.json", {layer: layer_file(folder, layer) for layer in plan.layers}
        if record.exists() and all(file.exists() for file in files.values()):
            self.figures.append(_read_record(record))
            return files
        with timed("enrol"):
            town = self.town
        with timed("aggregate"):
            self._shared.begin(revision, plan.layers, town.previous)
            for member, work in self._works.items():
                work.files = contributions.get(self._names[member], {})
            spool = folder / "masked-vectors"
            played = self._play(town, plan, FolderVault(spool), progress)
            with suppress(FileNotFoundError):
                remove_tree(spool)
        checked = self._write(played, plan, revision, contributions, folder, timed)
        figures = self._figures(played, plan, checked)
        write_json(record, figures)
        self.figures.append(figures)
        return files

    def _play(self, town: Town, plan: RoundPlan, vault: FolderVault, progress: Progress) -> Round:
        sampling = replace(self._sampling, number=plan.number)
        found = town.open_round(sampling, self._seed, self._shared.layers, vault)
        progress.update("secure aggregation", 0, len(found.members), "silos")
        found.play(self._drops, lambda done: progress.update("secure aggregation", done, len(found.members), "silos"))
        found.check_complete(self._names)
        result = found.server.machine.result
        town.previous = None if result is None else result.hash
        return found

    def _write(
        self,
        found: Round,
        plan: RoundPlan,
        revision: Revision,
        contributions: Contributions,
        folder: Path,
        timed: Timed,
    ) -> "Checked":
        """The server step on every sum, and how each compares with the plain one."""
        checked, spec = Checked(), replace(self._spec, target=plan.target)
        for gid in sorted(found.server.released):
            released, block, base = found.server.released.pop(gid), self._blocks[gid], self._shared.base(gid)
            with timed("aggregate"):
                sums = released.matrix_sums(base)
            with timed("check"):
                survivors = [contributions[self._names[member]][gid] for member in found.played.survivors[gid]]
                plain = sum_contributions(block, survivors, spec.strategy)
                checked.take(released, sums, plain, base, plan.target, revision.frozen(block))
            with timed("aggregate"):
                write_aggregate(block, revision, released.matrices(), spec, folder, released.survivors)
        return checked

    def _figures(self, found: Round, plan: RoundPlan, checked: "Checked") -> dict[str, Any]:
        """What there is to say about the round."""
        server, groups = found.server.machine, found.server.plan.groups
        survivors = {gid: [self._names[id] for id in ids] for gid, ids in found.played.survivors.items()}
        return {
            "round": plan.number,
            "plan_hash": server.plan_hash,
            "result": "" if server.result is None else server.result.hash,
            "profile": server.plan.profile.value,
            "colluders": server.plan.colluders,
            "sample": 0 if server.plan.key_holder is None else server.plan.key_holder.sample,
            "groups": [group_figures(group, survivors[group.gid]) for group in groups],
            "answered": sorted(self._names[id] for id in server.answers),
            "clipped": sum(sum(member.clipped.values()) for member in found.members.values()),
            "exactness": checked.exactness.to_dict(),
            "leakage": checked.leakage.to_dict(),
            "wire": wire_figures(found.played, self._names, groups),
            "seconds": {stage: round(seconds, 4) for stage, seconds in found.played.seconds.items()},
            "blamed": [
                {"silo": self._names[name], "check": check, "layer": group}
                for name, check, group in sorted(server.blamed)
            ],
        }

    def _remember(self, town: Town, known: Mapping[str, Any]) -> None:
        """Put a round that another process played into the ledgers, as if it had been played here."""
        town.number, town.previous = known["round"], known["result"]
        for group in known["groups"]:
            survivors = frozenset(self._ids[name] for name in group["survivors"])
            names = [linear.name for linear in self._blocks[group["layer"]].linears]
            split = known["profile"] == Profile.TWO_TRIP
            releases = [Release(name, group["base"], known["round"], survivors, split) for name in names]
            for member in town.members.values():
                member.ledger = member.ledger.with_release(*releases)


@dataclass(slots=True)
class Checked:
    """What was found by comparing with plain sums and public weights."""

    exactness: Exactness = field(default_factory=Exactness)
    leakage: LeakageFigures = field(default_factory=LeakageFigures)

    def take(
        self,
        released: Released,
        sums: Mapping[str, MatrixSums],
        plain: dict[str, MatrixSums],
        base: Mapping[str, Tensor],
        target: Pattern,
        frozen: Mapping[str, Tensor],
    ) -> None:
        """Compare one layer.  plain: sums of the same contributions in the open, which are used up.

        Raises SumOutOfRange if a count differs.
        """
        totals = released.totals()
        for name, total in sums.items():
            self.exactness += Exactness.of(total, plain.pop(name), base[name], totals.get(name), released.group)
            guess = public_guess(base[name], target, frozen.get(name))
            self.leakage += LeakageFigures.of(total.count, total.members, guess)


def _read_record(path: Path) -> dict[str, Any]:
    known: Any = read_json(path)
    if not isinstance(known, dict) or not {"round", "result", "groups"} <= known.keys():
        raise RecordDamaged(f"{path} does not read back as it was written")
    return known
