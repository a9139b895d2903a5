"""All silos of a simulation under differential privacy: each draws one noised statistic per round, and prunes by it.

Where nothing is read (`magnitude`) nothing is spent.  Noise comes from the operating system and from no seed: two runs
with the same settings differ, and a run that is continued draws nothing twice.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from fedspallm_secure.app.privacy.accounting import noise_multiplier, spent_epsilon
from fedspallm_secure.app.privacy.drawing import KnownStatistics, draw, known_by, told_by_records
from fedspallm_secure.app.privacy.gathering import Part, layout, public_unit
from fedspallm_secure.app.privacy.ledger import Ledger, Terms
from fedspallm_secure.app.privacy.settings import PrivacySettings
from fedspallm_secure.app.progress import Progress
from fedspallm_secure.app.states import Revision
from fedspallm_secure.app.walking.workshop import Workshop
from fedspallm_secure.errors import UsageError
from fedspallm_secure.protocol.plan import RoundPlan
from fedspallm_secure.pruning.noise import SIGMA, clip_steps
from fedspallm_secure.pruning.pruners import Pruner
from fedspallm_secure.storage.checkpoints.noised import NoisedStatistic, load_noised, save_noised
from fedspallm_secure.storage.files import sha256_file


class PrivateSilos:
    """The releases of all silos.  windows: silo -> (records, tokens) ids; folder: where the ledgers lie.

    Raises MissingExtra, and UsageError where no noise that can be had keeps the promise.
    """

    def __init__(
        self,
        settings: PrivacySettings,
        pruner: Pruner,
        workshop: Workshop,
        windows: Mapping[str, Tensor],
        plans: Sequence[RoundPlan],
        folder: Path,
        seed: bytes,
    ) -> None:
        self._settings = settings
        self._reads = pruner is not Pruner.MAGNITUDE
        self._workshop = workshop
        self._windows = windows
        self._seed = seed
        self._figures: dict[str, dict[str, Any]] = {}  # of each member's latest release
        self._units: dict[tuple[int, tuple[int, ...]], Any] = {}
        self._ledgers = {}
        for member in windows:
            releases = sum(bool(plan.assignment.get(member)) for plan in plans) if self._reads else 0
            steps = self._steps(releases)
            terms = Terms(member, settings.epsilon, settings.delta, settings.clip, releases, steps)
            self._ledgers[member] = Ledger.open(folder / f"{member}.json", terms)

    def _steps(self, releases: int) -> int:
        """The clip in steps of the noise's grid; 0 where nothing is released."""
        if not releases:
            return 0
        needed = noise_multiplier(self._settings.epsilon, self._settings.delta, releases)
        try:
            return clip_steps(needed)
        except ValueError as error:
            raise UsageError(
                f"no noise fits this privacy budget: {error}", hint="choose another --dp-epsilon"
            ) from None

    def statistics(
        self, plan: RoundPlan, member: str, revision: Revision, folder: Path, progress: Progress
    ) -> KnownStatistics | None:
        """What `member` may know of its inputs in this round; None where it reads nothing.

        folder: of the member's files of this round; a statistic that lies there is taken, and none is drawn.  Raises
        PlanRefused where the privacy budget is spent, RecordDamaged, StorageError.
        """
        if not self._reads or not plan.assignment[member]:
            return None
        ledger, file = self._ledgers[member], folder / "noised.safetensors"
        parts = layout(self._workshop, plan.assignment[member])
        if not file.exists():
            ledger.check_room(plan.number)
            task = f"{member} reads its records, round {plan.number}"
            save_noised(file, self._draw(plan, member, revision, parts, progress, task))
        found = load_noised(file, parts[-1].stop)
        ledger.enter(plan.number, sha256_file(file))  # before anything is derived from it
        self._note(member, found, parts)
        return known_by(found.noised, found.unit, parts, self._windows[member].numel(), self._workshop)

    def _draw(
        self, plan: RoundPlan, member: str, revision: Revision, parts: Sequence[Part], progress: Progress, task: str
    ) -> NoisedStatistic:
        windows, steps = self._windows[member], self._ledgers[member].terms.steps
        key = (plan.number, plan.assignment[member])
        if key not in self._units:  # silos with the same layers share it
            self._units = {key: public_unit(self._workshop, revision, parts, windows.shape[1], self._seed)}
        clip = self._settings.clip
        return draw(self._workshop, revision, parts, windows, self._units[key], clip, steps, progress, task)

    def _note(self, member: str, found: NoisedStatistic, parts: Sequence[Part]) -> None:
        """Remember what the latest statistic of a member was like."""
        self._figures[member] = {
            "records": found.records,
            "clipped_share": found.clipped / found.records,
            "features": len(found.noised),
            "weight": told_by_records(found.noised, parts),
        }

    def figures(self) -> dict[str, Any]:
        """What was promised and spent, for the result: the terms, and each member's noise, records and releases."""
        return {
            **self._settings.to_dict(),
            "reads_text": self._reads,
            "members": {member: self._member_figures(member) for member in self._ledgers},
        }

    def _member_figures(self, member: str) -> dict[str, Any]:
        ledger = self._ledgers[member]
        multiplier = SIGMA / ledger.terms.steps if ledger.terms.steps else 0.0
        return {
            "epsilon": spent_epsilon(multiplier, len(ledger.spent), self._settings.delta),
            "delta": self._settings.delta if ledger.spent else 0.0,
            "clip": self._settings.clip,
            "noise_multiplier": multiplier,
            "sigma": multiplier * self._settings.clip,
            "releases": len(ledger.spent),
            **self._figures.get(member, {"records": 0, "clipped_share": 0.0, "features": 0, "weight": 0.0}),
        }
