"""One secure round over made-up vectors, to measure the protocol without a model (`simulate --members N --vector N`).

The vectors are public draws, so everybody can make them again, and the sums are compared with plain ones bit for bit.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import numpy as np

from fedspallm_secure.app.memory import peak_bytes
from fedspallm_secure.app.progress import Progress
from fedspallm_secure.app.rounds.costs import foreseen_cost
from fedspallm_secure.app.rounds.figures import package_size, wire_figures
from fedspallm_secure.app.rounds.planning import LayerBase, Terms, cipher_for
from fedspallm_secure.app.rounds.playing import Round
from fedspallm_secure.app.rounds.settings import SecureSettings
from fedspallm_secure.app.rounds.town import Town
from fedspallm_secure.app.rounds.vault import FolderVault
from fedspallm_secure.app.rounds.vectors import Streams
from fedspallm_secure.crypto.draws import seed_bytes
from fedspallm_secure.errors import SumOutOfRange, UsageError
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.protocol.rounds.member_own import LocalGroup, LocalModel
from fedspallm_secure.protocol.rounds.plans import Sampling
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.thresholds import Profile, default_colluders

MEMBERS_LIMIT = 1_000
_SHAPE = "vector"
_AT_SERVER = ("intake", "survivors", "request", "sum")
_AT_MEMBERS = ("plan", "contribution", "endorsement", "unmask", "result")


@dataclass(frozen=True, slots=True)
class ScaleSettings:
    """members: 3 to 1,000; weights: length of the vector; strategy: what is summed; seed: decides the vectors."""

    members: int
    weights: int
    strategy: Strategy = Strategy.VOTES
    secure: SecureSettings = field(default_factory=SecureSettings)
    seed: int = 0

    def __post_init__(self) -> None:
        if not 3 <= self.members <= MEMBERS_LIMIT:
            raise UsageError(f"--members must lie between 3 and {MEMBERS_LIMIT}, got {self.members}")
        if not 1 <= self.weights <= 1 << 24:
            raise UsageError(f"--vector must lie between 1 and {1 << 24}, got {self.weights}")
        self.secure.check_names(self.names)

    @property
    def names(self) -> list[str]:
        """The members: m-0001, m-0002, …"""
        return [f"m-{number:04d}" for number in range(1, self.members + 1)]


class DrawnWork:
    """A member whose vector is drawn from a public seed."""

    def __init__(self, settings: ScaleSettings, number: int, layer: LayerBase) -> None:
        self._settings, self._number, self._layer = settings, number, layer

    def model(self) -> LocalModel:
        """The one made-up layer."""
        return LocalModel({0: LocalGroup(self._layer.base, self._layer.matrices)})

    def streams(self, group: GroupPlan) -> tuple[Streams, int]:
        """Half of the weights kept, and whole numbers within the bound where they are."""
        # A public draw that nobody has to keep secret: measuring wants it fast.
        draws = np.random.default_rng([self._settings.seed, self._number])
        streams = Streams.empty(group)
        keep = draws.integers(0, 2, group.weights, np.uint8).astype(bool)
        group.counts.pack(keep, streams.count)
        if group.sums is not None and streams.total is not None:
            bound = min(group.sums.bound, np.iinfo(group.sums.signed).max)
            values = draws.integers(-bound, bound, group.weights, group.sums.signed, endpoint=True)
            np.multiply(values, keep, out=streams.total.view(group.sums.signed))
        return streams, 0


def measure_round(settings: ScaleSettings, progress: Progress) -> dict[str, Any]:
    """Play one round and say what it cost.

    Raises CapacityExceeded for vectors that nobody could encrypt, before anything is made; RoundAborted; and
    SumOutOfRange if a sum is not the plain one.
    """
    layer = LayerBase(bytes(32).hex(), (MatrixShape(_SHAPE, 1, settings.weights),))
    names, secure = settings.names, settings.secure
    colluders = default_colluders(settings.members) if secure.colluders is None else secure.colluders
    encrypts = secure.profile is Profile.ONE_TRIP
    cipher = cipher_for(settings.members, settings.strategy, secure.sum_bits) if encrypts else None
    terms = Terms(secure.profile, colluders, settings.strategy, "magnitude", sum_bits=secure.sum_bits, cipher=cipher)
    cost = foreseen_cost({0: names}, {0: settings.weights}, terms)
    if cost is not None:
        progress.say(str(cost))
    works = {name: DrawnWork(settings, number, layer) for number, name in enumerate(names)}
    start = monotonic()
    progress.update("enrol", 0, settings.members, "members")
    town = Town(works, terms, 1, settings.members, lambda: int(time.time()))
    enrolled = monotonic() - start
    progress.update("enrol", settings.members, settings.members, "members")
    for member in town.members.values():
        member.keeps_sealed = False  # nobody asks again, and memory is measured
    sampling = Sampling(1, 1, ("1/2",), 3, False, tuple((name, 1) for name in names))
    with TemporaryDirectory(prefix="fedprune-") as folder:
        found = town.open_round(sampling, seed_bytes(settings.seed), {0: layer}, FolderVault(Path(folder)))
        found.play(secure.drops, lambda done: progress.update("contribute", done, settings.members, "members"))
        found.check_complete()
    _check_sums(found, works)
    return _figures(settings, found, enrolled)


def _check_sums(found: Round, works: Mapping[str, DrawnWork]) -> None:
    """Compare with adding the same vectors in the open."""
    for gid, released in found.server.released.items():
        expected = Streams.empty(released.group)
        for name in found.played.survivors[gid]:
            streams, _ = works[name].streams(released.group)
            for total, part, word in zip(expected.parts, streams.parts, _words(released.group), strict=True):
                np.add(total.view(word), part.view(word), out=total.view(word))
        for ours, theirs in zip(released.streams.parts, expected.parts, strict=True):
            if not np.array_equal(ours, theirs):
                raise SumOutOfRange("a sum from secure aggregation is not the plain one")


def _words(group: GroupPlan) -> list[Any]:
    return [group.counts.word] if group.sums is None else [group.counts.word, group.sums.word]


def _figures(settings: ScaleSettings, found: Round, enrolled: float) -> dict[str, Any]:
    plan, played = found.server.plan, found.played
    group = plan.groups[0]
    at_server = sum(played.seconds.get(stage, 0.0) for stage in _AT_SERVER)
    at_members = sum(played.seconds.get(stage, 0.0) for stage in _AT_MEMBERS)
    sent = wire_figures(played, {name: name for name in found.members}, plan.groups)
    contributions = sent["by_type"].get("contribution", {"packages": 1, "bytes": 0})
    return {
        "members": settings.members,
        "weights": settings.weights,
        "strategy": settings.strategy.value,
        "profile": plan.profile.value,
        "colluders": plan.colluders,
        "shares": group.shares,
        "survivors_needed": group.survivors,
        "degree": group.neighbours,
        "survivors": len(played.survivors[0]),
        "equal_to_plain": True,
        "seconds": {"enrol": round(enrolled, 4), **{k: round(v, 4) for k, v in played.seconds.items()}},
        "member_seconds": round(at_members / settings.members, 6),
        "server_seconds": round(at_server, 4),
        "contribution_bytes": contributions["bytes"] // contributions["packages"],
        "contribution_bytes_by_formula": package_size(group),
        "vector_bytes": group.count_size + group.sum_size,
        "wire": {"by_type": sent["by_type"]},
        "peak_rss_bytes": peak_bytes(),
        "seed": settings.seed,
    }
