"""The main job on one machine: silos prune, the server aggregates, and the result is measured beside alternatives.

Every unit of work is one file in OUT/work, so a killed run repeats at most one layer.  The parties are the real ones
(`member`, `server`); only the wire between them is missing.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from fedspallm_secure.app.calibration import (
    Tokenizer,
    Tokens,
    calibration_windows,
    check_seqlen,
    test_windows,
)
from fedspallm_secure.app.evaluation import Perplexities, perplexities
from fedspallm_secure.app.member import LocalPruning
from fedspallm_secure.app.privacy.silos import PrivateSilos
from fedspallm_secure.app.progress import Progress
from fedspallm_secure.app.rounds.simulated import SecureSilos
from fedspallm_secure.app.server import ServerSpec, aggregate_layer
from fedspallm_secure.app.settings import SimulationSettings
from fedspallm_secure.app.states import Revision, layer_file
from fedspallm_secure.app.walking.workshop import Workshop
from fedspallm_secure.crypto.draws import PublicDraws, seed_bytes
from fedspallm_secure.errors import RecordDamaged
from fedspallm_secure.protocol.plan import RoundPlan, local_pattern, plan_rounds
from fedspallm_secure.pruning.patterns import spell_target
from fedspallm_secure.pruning.pruners import LocalSpec, Pruner, choose
from fedspallm_secure.pruning.scores import random_scores
from fedspallm_secure.storage.checkpoints.layers import LayerMatrix, save_layer
from fedspallm_secure.storage.files import read_json, write_json


@dataclass(frozen=True, slots=True)
class Material:
    """Everything read and tokenised before the first layer is pruned.

    calibration: silo -> (samples, seqlen) ids; tests: name -> (windows, seqlen) ids; tokens: what each text held.
    """

    calibration: dict[str, Tensor]
    tests: dict[str, Tensor]
    tokens: dict[str, dict[str, int]]
    seqlen: int


def gather(settings: SimulationSettings, workshop: Workshop, progress: Progress) -> Material:
    """Tokenise all texts.  Raises every input error before any work is done."""
    skeleton = workshop.skeleton
    tokenizer = Tokenizer(settings.model, skeleton.vocabulary)
    seqlen = check_seqlen(settings.seqlen, skeleton.max_length)
    seed = seed_bytes(settings.seed)
    texts = [*settings.silos, *settings.tests]
    tokenised: list[Tokens] = []
    for number, text in enumerate(texts, start=1):
        tokenised.append(tokenizer.encode(text))
        progress.update("read texts", number, len(texts), "files")
    silos, tests = tokenised[: len(settings.silos)], tokenised[len(settings.silos) :]
    most = max(1, settings.test_tokens // seqlen)
    return Material(
        calibration={t.name: calibration_windows(t, settings.samples, seqlen, seed) for t in silos},
        tests={t.name: test_windows(t, seqlen, most) for t in tests},
        tokens={
            "silos": {t.name: len(t) for t in silos},
            "tests": {t.name: len(t) for t in tests},
        },
        seqlen=seqlen,
    )


class Simulation:
    """One federation, from plan to measured result.  All files lie below `work`."""

    def __init__(
        self,
        settings: SimulationSettings,
        workshop: Workshop,
        material: Material,
        work: Path,
        progress: Progress,
    ) -> None:
        self.settings = settings
        self.workshop = workshop
        self.material = material
        self.work = work
        self.progress = progress
        self.seconds: dict[str, float] = {}
        self.scored: dict[str, int] = {}  # predicted tokens per test
        self.dense = Revision(workshop.skeleton.checkpoint)
        layers = len(workshop.skeleton.blocks)
        budgets = {silo.name: settings.budgets.get(silo.name, layers) for silo in settings.silos}
        self.plans = plan_rounds(
            layers,
            budgets,
            list(settings.schedule),
            settings.min_cohort,
            seed_bytes(settings.seed),
            settings.spread,
        )
        self.secure = self._secure_silos(budgets)
        self.private = self._private_silos()

    def _private_silos(self) -> PrivateSilos | None:
        settings, folder = self.settings, self.settings.out / "privacy"
        if settings.privacy is None:
            return None
        windows, seed = self.material.calibration, seed_bytes(settings.seed)
        return PrivateSilos(settings.privacy, settings.pruner, self.workshop, windows, self.plans, folder, seed)

    def _secure_silos(self, budgets: Mapping[str, int]) -> SecureSilos | None:
        settings = self.settings
        if settings.secure is None:
            return None
        schedule = tuple(spell_target(target) for target in settings.schedule)
        made = SecureSilos(
            settings.secure,
            self._server_spec(self.plans[0]),
            settings.pruner.value,
            budgets,
            self.workshop.skeleton.blocks,
            self.plans,
            schedule,
            settings.min_cohort,
            settings.spread,
            seed_bytes(settings.seed),
        )
        if made.costs[0] is not None:
            self.progress.say(str(made.costs[0]))
        return made

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the wall time of the body to `seconds[phase]`."""
        start = monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + monotonic() - start

    def federate(self) -> Revision:
        """Run every planned round; each starts from the result of the one before."""
        revision = self.dense
        for plan in self.plans:
            contributions = {}
            for member, layers in plan.assignment.items():
                with self.timed("prune"):
                    contributions[member] = self._contribute(plan, member, layers, revision)
            folder = self._folder("server", plan.number)
            if self.secure is None:
                with self.timed("aggregate"):
                    revision = self._aggregate(plan, revision, contributions, folder)
            else:
                files = self.secure.aggregate(plan, revision, contributions, folder, self.progress, self.timed)
                revision = revision.with_layers(files)
        return revision

    def _folder(self, who: str, number: int) -> Path:
        return self.work / who / f"round-{number}"

    def _contribute(self, plan: RoundPlan, member: str, layers: tuple[int, ...], revision: Revision) -> dict[int, Path]:
        pattern = local_pattern(plan.target, self.settings.silo_patterns.get(member))
        spec = LocalSpec(self.settings.pruner, pattern, self.settings.damping)
        folder, known = self._folder(f"member-{member}", plan.number), None
        if self.private is not None:
            known = self.private.statistics(plan, member, revision, folder, self.progress)
        pruning = LocalPruning(self.workshop, revision, self.material.calibration[member], spec, known=known)
        task = f"{member} prunes, round {plan.number} of {len(self.plans)}"
        return pruning.run(layers, folder, self.progress, task)

    def _server_spec(self, plan: RoundPlan) -> ServerSpec:
        return ServerSpec(plan.target, self.settings.strategy, self.settings.group)

    def _aggregate(
        self,
        plan: RoundPlan,
        revision: Revision,
        contributions: Mapping[str, Mapping[int, Path]],
        folder: Path,
    ) -> Revision:
        spec = self._server_spec(plan)
        files = {}
        for number, (layer, cohort) in enumerate(plan.cohorts.items(), start=1):
            block = self.workshop.skeleton.blocks[layer]
            paths = [contributions[member][layer] for member in cohort]
            files[layer] = aggregate_layer(block, revision, paths, spec, folder)
            self.progress.update("server aggregates", number, len(plan.layers), "layers")
        return revision.with_layers(files)

    def standalone(self, member: str) -> Revision:
        """One silo prunes every layer by itself, on its own data."""
        # A first contribution that covers the whole model at the round's target is this very work: do it once.
        # Not under differential privacy: who prunes alone releases nothing, and needs no noise.
        shared = self._has_all(member) and self.private is None
        folders = [self._folder(f"alone-{member}", step) for step in range(1, len(self.settings.schedule) + 1)]
        if shared:
            folders[0] = self._folder(f"member-{member}", 1)
        return self._alone(self.material.calibration[member], folders, f"{member} alone")

    def centralised(self) -> Revision:
        """The oracle: everybody's calibration windows in one place."""
        pooled = torch.cat([self.material.calibration[silo.name] for silo in self.settings.silos])
        folders = [self._folder("pooled", step) for step in range(1, len(self.settings.schedule) + 1)]
        return self._alone(pooled, folders, "centralised, pooled data")

    def _alone(self, windows: Tensor, folders: list[Path], task: str) -> Revision:
        """One party prunes every layer along the schedule, each step starting from the one before."""
        revision = self.dense
        for target, folder in zip(self.settings.schedule, folders, strict=True):
            spec = LocalSpec(self.settings.pruner, target, self.settings.damping)
            pruning = LocalPruning(self.workshop, revision, windows, spec)
            with self.timed("compare"):
                layers = pruning.run(range(len(self.workshop.skeleton.blocks)), folder, self.progress, task)
            revision = revision.with_layers(layers)
        return revision

    def noiseless(self) -> Revision:
        """The same plans with plain sums and without noise: what differential privacy costs."""
        revision = self.dense
        for plan in self.plans:
            contributions = {}
            for member, layers in plan.assignment.items():
                pattern = local_pattern(plan.target, self.settings.silo_patterns.get(member))
                spec = LocalSpec(self.settings.pruner, pattern, self.settings.damping)
                # Who prunes all layers at first, to the common target, has done this very work alone.
                alone = plan.number == 1 and self._has_all(member)
                folder = self._folder(f"{'alone' if alone else 'noiseless'}-{member}", plan.number)
                pruning = LocalPruning(self.workshop, revision, self.material.calibration[member], spec)
                with self.timed("compare"):
                    contributions[member] = pruning.run(layers, folder, self.progress, f"{member} without noise")
            with self.timed("compare"):
                revision = self._aggregate(plan, revision, contributions, self._folder("noiseless", plan.number))
        return revision

    def _has_all(self, member: str) -> bool:
        """Whether a silo prunes the whole model at first, to the target of the round."""
        everything = len(self.plans[0].assignment[member]) == len(self.workshop.skeleton.blocks)
        return everything and member not in self.settings.silo_patterns

    def random(self) -> Revision:
        """Members vote at random; the server step is the real one.  What agreement by chance would give."""
        revision = self.dense
        for plan in self.plans:
            contributions = {}
            for member, layers in plan.assignment.items():
                folder = self._folder(f"random-{member}", plan.number)
                contributions[member] = {layer: self._random(plan, member, layer, revision, folder) for layer in layers}
            with self.timed("compare"):
                revision = self._aggregate(plan, revision, contributions, self._folder("random", plan.number))
        return revision

    def _random(self, plan: RoundPlan, member: str, layer: int, revision: Revision, folder: Path) -> Path:
        file = layer_file(folder, layer)
        if file.exists():
            return file
        block = self.workshop.skeleton.blocks[layer]
        draws = PublicDraws(seed_bytes(self.settings.seed), f"random votes of {member}, round {plan.number}, {layer}")
        matrices = {}
        for name, before in revision.matrices(block).items():
            rows, columns = before.keep.shape
            scores = random_scores((rows, columns), draws.below(1 << 62))
            keep = choose(scores, LocalSpec(Pruner.MAGNITUDE, plan.target), ~before.keep)
            matrices[name] = LayerMatrix(before.weight.masked_fill(~keep, 0.0), keep)
        save_layer(file, matrices, {"layer": str(layer), "pruner": "random"})
        return file

    def measure(self, name: str, revision: Revision, workshop: Workshop | None = None) -> Perplexities:
        """Perplexity of one model on every test, remembered on disk.  Raises RecordDamaged."""
        record = self.work / "perplexity" / f"{name}.json"
        if record.exists():
            return self._remembered(record)
        with self.timed("evaluate"):
            tests = self.material.tests
            found = perplexities(workshop or self.workshop, revision, tests, self.progress, f"measure {name}")
        record.parent.mkdir(parents=True, exist_ok=True)
        write_json(record, {"perplexity": found.by_test, "tokens": found.tokens})
        self.scored = found.tokens
        return found

    def _remembered(self, record: Path) -> Perplexities:
        known: Any = read_json(record)
        try:
            found = Perplexities(known["perplexity"], known["tokens"])
        except (KeyError, TypeError):
            raise RecordDamaged(f"{record} does not read back as it was written") from None
        self.scored = found.tokens
        return found
