"""The pruning that a member does for a round: its model, its texts, its GPUs, and how much of it the member can do.

Models and texts are opened when they are needed first, and stay open.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedspallm_secure import SOFTWARE
from fedspallm_secure.app.calibration import Tokenizer, Tokens, calibration_windows, check_seqlen
from fedspallm_secure.app.configuration.member import MemberConfig
from fedspallm_secure.app.inspection import estimate_cost, measure_rate
from fedspallm_secure.app.member import LocalPruning
from fedspallm_secure.app.privacy.member import Drawer, spread
from fedspallm_secure.app.privacy.releases import MemberLedger
from fedspallm_secure.app.progress import Progress, Silent
from fedspallm_secure.app.ranks import Ranks, follow
from fedspallm_secure.app.states import Revision, layer_file
from fedspallm_secure.app.stations.models import MemberModel, own_folder
from fedspallm_secure.app.stations.revisions import Revisions
from fedspallm_secure.app.walking.workshop import ComputeSettings, Workshop, open_workshop
from fedspallm_secure.crypto.draws import seed_bytes
from fedspallm_secure.errors import OutOfMemory, PlanRefused, UsageError
from fedspallm_secure.protocol.offers import Offer
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.member_own import PRIVATE_PRUNER
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.pruning.patterns import parse_target
from fedspallm_secure.pruning.pruners import LocalSpec, Pruner
from fedspallm_secure.storage.checkpoints.noised import NoisedStatistic
from fedspallm_secure.storage.texts import TextFile

_SECONDS = 60  # of a minute


class RoundOver(Exception):
    """Nobody wants what is being pruned any more."""


class Bench:
    """Where one member prunes.  model: what it brings to rounds and takes home from them."""

    def __init__(
        self,
        config: MemberConfig,
        name: str,
        ranks: Ranks,
        progress: Progress,
        check_stop: Callable[[], None],
        ledger: MemberLedger | None = None,
    ) -> None:
        """name: of the member, which decides with the seed which windows of its texts are used.

        check_stop: raises to end long work; ledger: what was spent of the privacy budget, where there is one.  Raises
        what opening a model raises, and what `Drawer` does.
        """
        if (ledger is None) != (config.terms is None):
            raise ValueError("a privacy ledger is for a member with a privacy budget, and for no other")
        self._config, self._name, self._ranks = config, name, ranks
        self._progress, self._check_stop = progress, check_stop
        self._workshop = open_bench_workshop(config, ranks)
        check_model(config, self._workshop)
        self._windows: Tensor | None = None
        self.model = MemberModel(Revisions(self._workshop.skeleton, config.member.data, progress))
        self._drawer: Drawer | None = None
        if ledger is not None:
            self._drawer = Drawer(config, ledger, self._workshop, self.model.revisions)
            self.model.privacy = self._drawer.left

    def layers_offered(self) -> int:
        """How many layers a round may give this member, 0 for all.  Raises OutOfMemory where not even one fits."""
        budget, most = self._config.budget, len(self._workshop.skeleton.blocks)
        layers = min(budget.layers or most, most)
        if budget.minutes or budget.gpu_memory is not None:
            seqlen = check_seqlen(self._config.texts.seqlen, self._workshop.skeleton.max_length)
            rate = measure_rate(self._workshop.skeleton.device, self._workshop.skeleton.dtype)
            cost = estimate_cost(self._workshop, Pruner.SPARSEGPT, self._config.texts.samples, seqlen, rate)
            on_gpu = self._workshop.skeleton.device.type == "cuda"
            if on_gpu and budget.gpu_memory is not None and cost.memory > budget.gpu_memory:
                raise OutOfMemory(
                    f"a layer takes {cost.memory >> 20} MiB of the GPU; [budget] allows {budget.gpu_memory >> 20} MiB"
                )
            if budget.minutes:
                layers = max(1, min(layers, int(most * budget.minutes * _SECONDS / max(cost.seconds, 1e-9))))
        return 0 if layers == most else layers

    def offer(self, bundle: str, policy: Policy) -> Offer:
        """What the server is told of this member.  bundle: digest of the prekeys to use, hex.

        The first time the whole model is read.  Raises OutOfMemory where not even one layer fits.
        """
        if self.model.privacy is not None:
            policy = replace(policy, pruners=frozenset({PRIVATE_PRUNER}))
        return Offer(SOFTWARE, self.layers_offered(), bundle, self.model.revisions.origin(), policy, self.spent)

    @property
    def spent(self) -> bool:
        """Whether it has a privacy budget, which pays for no more rounds."""
        return self.model.privacy is not None and self.model.privacy().releases < 1

    @staticmethod
    def task(round: int) -> str:
        """What pruning for a round is called where progress is shown."""
        return f"prune, round {round}"

    def prune(
        self,
        plan: Plan,
        groups: Sequence[GroupPlan],
        contribute: Callable[[GroupPlan], None],
        sent: Callable[[], None],
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Prune the layers of `groups` and contribute each as soon as it is there.

        contribute: makes the contribution to one group; sent: is called after each; wanted: whether any layer still is.
        Raises RoundOver when none is; several ranks prune to the end, for none of them leaves the others alone.
        Raises PlanRefused where a privacy budget does not cover it.
        """
        left = {group.gid: group for group in groups}
        statistic = self._noised(plan)
        folder = self.model.own_folder(plan.round)
        self.model.round = plan.round
        # Layers that were contributed before somebody killed us go along: later ones are pruned behind them.
        before = [group.gid for group in plan.groups_of(self._name) if layer_file(folder, group.gid).exists()]

        def hand_over() -> None:
            for gid in sorted(left):
                if layer_file(folder, gid).exists():
                    contribute(left.pop(gid))
                    sent()
            if left and self._ranks.size == 1 and not wanted():
                raise RoundOver

        task = self.task(plan.round)
        watching = _Watching(self._progress, task, hand_over, self._check_stop)
        work = {
            "name": self._name,
            "round": plan.round,
            "layers": sorted({*left, *before}),
            "pruner": plan.pruner,
            "target": plan.target,
            "noised": [] if statistic is None else [group.gid for group in plan.groups_of(self._name)],
        }
        self._ranks.tell({"prune": work})
        _prune(
            self._config,
            self._workshop,
            self.model.revisions.revision,
            self.windows(),
            work,
            folder,
            watching,
            task,
            self._ranks,
            statistic,
        )
        hand_over()

    def _noised(self, plan: Plan) -> NoisedStatistic | None:
        """What this member may know of its records in a round, paid for; None where it prunes without noise."""
        if self._drawer is None:
            return None
        if plan.pruner != PRIVATE_PRUNER:  # the plan was accepted before there was a privacy budget
            raise PlanRefused(
                f"round {plan.round} prunes with {plan.pruner}, and under [privacy] this member prunes with "
                f"{PRIVATE_PRUNER} alone",
                hint="sit this round out; the next plan of this kind is declined",
            )
        watching = _Watching(self._progress, "", lambda: None, self._check_stop)
        layers = [group.gid for group in plan.groups_of(self._name)]
        statistic, self.model.noised = self._drawer.statistic(plan.round, layers, self.windows, watching)
        return statistic

    def windows(self) -> Tensor:
        """The calibration windows, (samples, seqlen) ids."""
        if self._windows is None:
            self._windows = read_windows(self._config, self._name, self._workshop, self._progress)
        return self._windows


class _Watching:
    """Progress that hands over what is finished, and ends the work when somebody stops the service."""

    def __init__(
        self, inner: Progress, task: str, hand_over: Callable[[], None], check_stop: Callable[[], None]
    ) -> None:
        self._inner, self._task, self._hand_over, self._check_stop = inner, task, hand_over, check_stop

    def update(self, task: str, done: int, total: int, unit: str) -> None:
        """Pass it on."""
        self._inner.update(task, done, total, unit)
        if task == self._task:
            self._hand_over()
        self._check_stop()

    def say(self, line: str) -> None:
        """Pass it on."""
        self._inner.say(line)


def serve(config: MemberConfig, ranks: Ranks) -> int:
    """What ranks other than the first do: prune what that one says, until it says stop; the exit code."""
    workshop = open_bench_workshop(config, ranks)
    revisions = Revisions(workshop.skeleton, config.member.data, Silent())
    windows: dict[str, Tensor] = {}

    def prune(work: dict[str, Any]) -> None:
        name = str(work["name"])
        if name not in windows:
            windows[name] = read_windows(config, name, workshop, Silent())
        revisions.reload()
        folder = own_folder(config.member.data, work["round"])
        _prune(config, workshop, revisions.revision, windows[name], work, folder, Silent(), "prune", ranks)

    follow(ranks, prune)
    return 0


def _prune(
    config: MemberConfig,
    workshop: Workshop,
    revision: Revision,
    windows: Tensor,
    work: dict[str, Any],
    folder: Path,
    progress: Progress,
    task: str,
    ranks: Ranks,
    statistic: NoisedStatistic | None = None,
) -> None:
    spec = LocalSpec(Pruner(work["pruner"]), parse_target(work["target"]), config.compute.damping)
    noised = work["noised"]
    known = spread(statistic, noised, windows.numel(), workshop, ranks) if noised else None
    LocalPruning(workshop, revision, windows, spec, ranks, known).run(work["layers"], folder, progress, task)


def open_bench_workshop(config: MemberConfig, ranks: Ranks) -> Workshop:
    """The model of a member, ready to be walked."""
    compute = config.compute
    settings = ComputeSettings(ranks.device(compute.device), compute.dtype, compute.activation_budget, compute.blocks)
    spill = config.member.data / "spill"
    spill.mkdir(mode=0o700, parents=True, exist_ok=True)
    workshop = open_workshop(config.model.path, settings, spill)
    limit_gpu(workshop.skeleton.device, config.budget.gpu_memory)
    return workshop


def limit_gpu(device: torch.device, allowed: int | None) -> None:
    """Let this process take no more than so many bytes of a GPU; beyond them torch says that it is out of memory."""
    if device.type == "cuda" and allowed is not None:
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, allowed / total), device)


def read_windows(config: MemberConfig, name: str, workshop: Workshop, progress: Progress) -> Tensor:
    """Tokenise the member's texts.  Raises NotEnoughText, TokenizerMismatch, MissingInput, ForeignFile."""
    tokenizer, texts = Tokenizer(config.model.path, workshop.skeleton.vocabulary), config.texts
    parts = []
    for number, path in enumerate(texts.files, start=1):
        parts.append(tokenizer.encode(TextFile(name, path, texts.field)).ids)
        progress.update("read texts", number, len(texts.files), "files")
    seqlen = check_seqlen(texts.seqlen, workshop.skeleton.max_length)
    return calibration_windows(Tokens(name, torch.cat(parts)), texts.samples, seqlen, seed_bytes(texts.seed))


def check_model(config: MemberConfig, workshop: Workshop) -> None:
    """Raise UsageError unless the model is one that the policy names."""
    allowed = config.policy.models
    if allowed:
        found = workshop.skeleton.checkpoint.digest()
        if found not in allowed:
            raise UsageError(f"{config.model.path} has the digest {found}, which [policy] models does not name")
