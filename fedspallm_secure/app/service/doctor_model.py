"""Checks of what is pruned and with what: model, texts, memory, GPU and disk.  They need torch and take longest."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fedspallm_secure.app.configuration.federation import FederationConfig
from fedspallm_secure.app.configuration.member import MemberConfig
from fedspallm_secure.app.configuration.preparing import check_text
from fedspallm_secure.app.rounds.costs import foreseen_cost
from fedspallm_secure.app.rounds.planning import Terms, cipher_for
from fedspallm_secure.app.service import doctor_results
from fedspallm_secure.app.service.doctor_machine import existing
from fedspallm_secure.app.service.findings import Finding, Findings, Patient, amount, bad, good, looked_at, told
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.he.parameters import Parameters
from fedspallm_secure.protocol.rounds.groups import MatrixShape
from fedspallm_secure.protocol.rounds.member_own import PRIVATE_PRUNER
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.fields import CountField
from fedspallm_secure.secagg.thresholds import Profile

if TYPE_CHECKING:
    from fedspallm_secure.app.walking.workshop import Workshop

_KEPT = 4 + 1 / 8  # bytes of a weight of a pruned layer on disk: the value and a bit, as if all were kept
_SMALLEST_RATE = 1.0  # operations per second; time is not asked for here


@dataclass(frozen=True, slots=True)
class Demand:
    """What a round takes.

    weights: that are pruned, per layer; model: bytes of all its tensors on disk; layers: that are this party's;
    cipher: where vectors are encrypted.
    """

    weights: Sequence[int]
    model: int
    layers: int
    members: int
    passes: int
    count_bits: int
    sum_bits: int
    cipher: Parameters | None = None

    @property
    def largest(self) -> list[int]:
        """Weights of the layers that one member prunes, the largest ones."""
        return sorted(self.weights, reverse=True)[: self.layers]

    @property
    def mine(self) -> int:
        """All of those."""
        return sum(self.largest)

    @property
    def upload(self) -> int:
        """Bytes that one member sends in a pass, without what is small.  Raises CapacityExceeded."""
        if self.cipher is not None:
            return sum(self.cipher.cost(weights).member_bytes for weights in self.largest)
        return self.mine * self.count_bits // 8 + self.mine * self.sum_bits // 8

    @property
    def layers_bytes(self) -> int:
        """Disk of all pruned layers after a pass."""
        return int(sum(self.weights) * _KEPT)

    def server_bytes(self, archive: bool) -> int:
        """Disk of a server: contributions, of all passes if they are archived, their sums, pruned layers, the model."""
        kept = self.passes if archive else 1
        return self.upload * (self.members * kept + 1) + self.layers_bytes * self.passes + self.model

    def member_bytes(self, spilled: int) -> int:
        """Disk of a member: contribution, its own pruned layers, those of the result, that model, spilled states."""
        return self.upload + int(self.mine * _KEPT) + self.layers_bytes * self.passes + self.model + spilled


def model(patient: Patient) -> Findings:
    """Everything that depends on the model: whether it is covered, and whether this machine is large enough."""
    config = patient.server or patient.member
    if config is None:
        return
    try:
        import torch  # noqa: F401

        from fedspallm_secure.app.walking.workshop import ComputeSettings, open_workshop
    except ModuleNotFoundError as error:
        yield bad(
            "model", f"{error.name} is not installed, and pruning needs it", "pip install 'fedspallm-secure[torch]'"
        )
        return
    settings = ComputeSettings()
    if isinstance(config, MemberConfig):
        compute = config.compute
        settings = ComputeSettings(compute.device, compute.dtype, compute.activation_budget, compute.blocks)
    try:
        workshop = open_workshop(config.model.path, settings)
    except FedSpaError as error:
        yield told("model", error)
        if isinstance(config, MemberConfig):  # what they hold cannot be counted without the model's tokenizer
            for text in config.texts.files:
                yield from looked_at("texts", lambda text=text: _there(text))  # type: ignore[misc]
        return
    blocks = workshop.skeleton.blocks
    weights = [sum(linear.size for linear in block.linears) for block in blocks]
    yield good("model", f"{len(blocks)} decoder layers with {sum(weights):,} weights, all covered")
    if isinstance(config, FederationConfig):
        yield from looked_at("pattern", lambda: _pattern(config, workshop))
        yield from looked_at("disk", lambda: _server_disk(patient, config, workshop, weights))
    else:
        shapes = [[MatrixShape(one.name, *one.shape) for one in block.linears] for block in blocks]
        yield from looked_at("results", lambda: doctor_results.layers(patient, shapes))
        yield from looked_at("texts", lambda: _texts(patient.home.party.id, config, workshop))
        yield from looked_at("memory", lambda: _member_machine(patient, config, workshop, weights))


def _pattern(config: FederationConfig, workshop: "Workshop") -> Findings:
    """Whether the targets fit every matrix."""
    from fedspallm_secure.pruning.pruners import check_pattern

    for target in config.pruning.targets:
        for block in workshop.skeleton.blocks:
            for linear in block.linears:
                check_pattern(target, linear.shape[1], f"layer {block.index}, {linear.module}")
    yield good("pattern", f"{', then '.join(map(str, config.pruning.targets))} fits every matrix")


def _bytes_of(workshop: "Workshop") -> int:
    """Of the tensors of the model on disk; the pruned model has as many."""
    return sum(info.nbytes for info in workshop.skeleton.checkpoint.tensors.values())


def _server_disk(patient: Patient, config: FederationConfig, workshop: "Workshop", weights: list[int]) -> Findings:
    votes = config.pruning.strategy is Strategy.VOTES
    bits = CountField.for_cohort(max(patient.members, 1)).bits
    sums = 0 if votes else config.rounds.sum_bits
    cipher = None
    if config.rounds.profile is Profile.ONE_TRIP:
        cipher = cipher_for(max(patient.members, 2), config.pruning.strategy, config.rounds.sum_bits)
        yield _cost(config, weights, patient.members, cipher)
    passes = len(config.pruning.targets)
    demand = Demand(weights, _bytes_of(workshop), len(weights), patient.members, passes, bits, sums, cipher)
    needed = demand.server_bytes(config.limits.archive) + config.limits.free_space
    yield _disk(patient.data, needed, _parts(demand, config))
    if config.limits.member_bytes < demand.upload:
        text = f"a contribution has up to {amount(demand.upload)}; {amount(config.limits.member_bytes)} may wait"
        yield bad("disk", text, "raise [limits] member_bytes")


def _parts(demand: Demand, config: FederationConfig) -> str:
    """What the disk of a server is needed for."""
    sent = f"{amount(demand.upload)} of each of {demand.members} members at most"
    passes = f" in each of {demand.passes} passes" if demand.passes > 1 else ""
    kept = passes if config.limits.archive else ""
    layers = amount(demand.layers_bytes)
    pruned = f"{layers} of pruned layers{passes}, {amount(demand.model)} of the pruned model"
    free = amount(config.limits.free_space)
    return f"{sent}{kept}, as much once more for the sums, {pruned}, and free_space = {free}"


def _cost(config: FederationConfig, weights: list[int], members: int, cipher: Parameters) -> Finding:
    """What a round costs in which everybody prunes all layers."""
    everybody = [str(number) for number in range(members)]
    terms = Terms(
        config.rounds.profile, 0, config.pruning.strategy, config.pruning.pruner, sum_bits=config.rounds.sum_bits
    )
    cohorts = dict.fromkeys(range(len(weights)), everybody)
    return good("cost", str(foreseen_cost(cohorts, dict(enumerate(weights)), replace(terms, cipher=cipher))))


def _there(text: Path) -> Findings:
    """Nothing about a text that is there.  Raises MissingInput."""
    check_text(text)
    yield from ()


def _texts(name: str, config: MemberConfig, workshop: "Workshop") -> Findings:
    """Whether there are enough tokens for the calibration windows."""
    from fedspallm_secure.app.calibration import Tokenizer, check_seqlen
    from fedspallm_secure.storage.texts import TextFile

    seqlen = check_seqlen(config.texts.seqlen, workshop.skeleton.max_length)
    tokenizer = Tokenizer(config.model.path, workshop.skeleton.vocabulary)
    found = sum(len(tokenizer.encode(TextFile(name, path, config.texts.field))) for path in config.texts.files)
    needed = config.texts.samples * seqlen
    if found < needed:
        text = f"{found:,} tokens; {config.texts.samples} windows of {seqlen} need {needed:,}"
        yield bad("texts", text, "name more files under [texts], or lower samples or seqlen there")
    else:
        yield good("texts", f"{found:,} tokens in {len(config.texts.files)} files; {needed:,} are needed")


def _member_machine(patient: Patient, config: MemberConfig, workshop: "Workshop", weights: list[int]) -> Findings:
    """Memory, GPU and disk for the largest round that a plan may ask for."""
    from fedspallm_secure.app.calibration import check_seqlen
    from fedspallm_secure.app.inspection import estimate_cost
    from fedspallm_secure.pruning.pruners import Pruner

    seqlen = check_seqlen(config.texts.seqlen, workshop.skeleton.max_length)
    names = config.policy.pruners if config.terms is None else (PRIVATE_PRUNER,)
    pruners = [Pruner(name) for name in names] or list(Pruner)
    costs = [estimate_cost(workshop, one, config.texts.samples, seqlen, _SMALLEST_RATE) for one in pruners]
    need = max(cost.memory for cost in costs)
    device = workshop.skeleton.device
    if device.type == "cuda":
        import torch

        free = torch.cuda.mem_get_info(device)[0]
        allowed = min(free, config.budget.gpu_memory or free)
        yield _memory("GPU", need, allowed, f"on {torch.cuda.get_device_name(device)}")
    else:
        yield _memory("memory", need, available_memory(), "of this machine")
    layers = min(config.budget.layers or len(weights), len(weights))
    bits = CountField.for_cohort(max(patient.members, 1)).bits
    cipher = None
    if Profile.ONE_TRIP in config.policy.profiles:  # these vectors are the longer ones
        cipher = cipher_for(max(patient.members, 2), Strategy.FEDSPALLM, 32)
    demand = Demand(weights, _bytes_of(workshop), layers, patient.members, 1, bits, 32, cipher)
    spilled = max(cost.spilled for cost in costs)
    yield _disk(patient.data, demand.member_bytes(spilled), f"{amount(demand.upload)} to send in a round at most")
    if config.policy.upload_limit < demand.upload:
        text = f"a round may take {amount(demand.upload)}, and [policy] upload_limit allows less"
        yield bad("disk", text, "raise upload_limit, or offer fewer layers under [budget]")


def _memory(check: str, needed: int, free: int | None, where: str) -> Finding:
    if free is None:
        return good(check, f"pruning takes about {amount(needed)}")
    text = f"pruning takes about {amount(needed)}; {amount(free)} are free {where}"
    if needed > free:
        fix = "lower samples or seqlen under [texts], or activation_budget under [compute]; or stop other programs"
        return bad(check, text, fix)
    return good(check, text)


def _disk(folder: Path, needed: int, what: str) -> Finding:
    free = shutil.disk_usage(existing(folder)).free
    text = f"about {amount(needed)} are needed ({what}); {amount(free)} are free at {folder}"
    if needed > free:
        return bad("disk", text, "free some space, or put data on a larger disk")
    return good("disk", text)


def available_memory() -> int | None:
    """Bytes that programs can still take without swapping; None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
