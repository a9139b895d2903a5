"""What a member in rounds between institutions may know of its records: one noised statistic, paid for before its use.

The order is what a killed member relies on: the statistic is on disk, then it is entered into the ledger, then layers
are pruned by it, in a folder of its name.  Done again, the round finds the statistic and draws none; and so does
another attempt from the same weights with the same layers, which costs nothing.  Nothing here comes from a plan but
which layers are the member's.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedspallm_secure.app.configuration.member import MemberConfig
from fedspallm_secure.app.privacy.accounting import check_installed
from fedspallm_secure.app.privacy.drawing import KnownStatistics, draw, known_by, told_by_records
from fedspallm_secure.app.privacy.gathering import Part, layout, public_unit
from fedspallm_secure.app.privacy.releases import MemberLedger, Release
from fedspallm_secure.app.progress import Progress
from fedspallm_secure.app.ranks import Ranks
from fedspallm_secure.app.stations.models import own_folder
from fedspallm_secure.app.stations.revisions import Revisions
from fedspallm_secure.app.walking.workshop import Workshop
from fedspallm_secure.crypto.draws import seed_bytes
from fedspallm_secure.crypto.encoding import canonical_json
from fedspallm_secure.errors import RecordDamaged
from fedspallm_secure.protocol.rounds.member_own import PrivacyLeft
from fedspallm_secure.storage.checkpoints.noised import NoisedStatistic, load_noised, save_noised
from fedspallm_secure.storage.files import sha256_file

_log = logging.getLogger(__name__)


class Drawer:
    """The releases of one member.  Used on rank 0 alone; the others are told by `spread`.

    Raises MissingExtra, RecordDamaged, and UsageError where no noise that can be had keeps the promise.
    """

    def __init__(self, config: MemberConfig, ledger: MemberLedger, workshop: Workshop, revisions: Revisions) -> None:
        self._config, self._ledger = config, ledger
        self._workshop, self._revisions = workshop, revisions
        check_installed()  # and not after the first statistic was drawn
        ledger.steps()

    def left(self) -> PrivacyLeft:
        """What the budget still pays for, and which layers are paid for from where the member stands."""
        files = {one.layers: self._file_of(one) for one in self._ledger.releases}
        paid = {layers for layers, file in files.items() if file is not None and file.exists()}
        return PrivacyLeft(self._ledger.left(), frozenset(paid))

    def statistic(
        self, round: int, layers: Sequence[int], windows: Callable[[], Tensor], progress: Progress
    ) -> tuple[NoisedStatistic, str]:
        """The noised statistic for these layers, and its digest, hex; drawn and paid for unless it was before.

        windows: gives (records, tokens) ids.  Raises PlanRefused where the privacy budget is spent; RecordDamaged,
        StorageError or DiskFull, after which nothing was derived from it.
        """
        parts = layout(self._workshop, layers)
        base = self._base(layers)
        before = self._ledger.find(base, layers)
        for release in before:
            file = self._file_of(release)
            if file is not None and file.exists():
                _check_digest(file, release)
                return load_noised(file, parts[-1].stop), release.sha256
        if before:
            _log.warning("the noised statistic of round %d is gone; another one has its own price", before[0].round)
        self._ledger.check_room()
        file = self._file(round, base, layers, len(before))
        if not file.exists():
            save_noised(file, self._draw(round, parts, windows(), progress))
        statistic = load_noised(file, parts[-1].stop)
        release = self._enter(round, layers, base, sha256_file(file), statistic, parts)
        return statistic, release.sha256

    def _draw(self, round: int, parts: Sequence[Part], windows: Tensor, progress: Progress) -> NoisedStatistic:
        shop, revision, texts = self._workshop, self._revisions.revision, self._config.texts
        unit = public_unit(shop, revision, parts, windows.shape[1], seed_bytes(texts.seed))
        clip, steps = self._ledger.terms.settings.clip, self._ledger.steps()
        return draw(shop, revision, parts, windows, unit, clip, steps, progress, f"read records, round {round}")

    def _enter(
        self, round: int, layers: Sequence[int], base: str, sha256: str, found: NoisedStatistic, parts: Sequence[Part]
    ) -> Release:
        terms = self._ledger.terms
        asked = terms.settings
        release = Release(
            round=round,
            layers=tuple(layers),
            base=base,
            sha256=sha256,
            steps=found.steps,
            records=found.records,
            clipped=found.clipped,
            features=len(found.noised),
            weight=told_by_records(found.noised, parts),
            epsilon=asked.epsilon,
            delta=asked.delta,
            clip=asked.clip,
            rounds=terms.rounds,
            spent=0.0,
            at=int(time.time()),
        )
        entered = self._ledger.enter(release)
        _log.info(
            "round %d: noised statistic of %d records; epsilon %.3g of %g is spent now, at delta %g",
            round,
            found.records,
            entered.spent,
            asked.epsilon,
            asked.delta,
        )
        return entered

    def _base(self, layers: Sequence[int]) -> str:
        """What a statistic depends on besides its layers, hashed: weights, texts as they are named, and the terms."""
        texts, known = self._config.texts, self._revisions.bases(layers)
        terms = {name: str(value) for name, value in self._ledger.terms.to_dict().items()}
        value: dict[str, Any] = {
            "previous": self._revisions.previous,
            "weights": [known[layer].base for layer in layers],
            "files": [str(path) for path in texts.files],
            "field": texts.field,
            "seqlen": texts.seqlen or 0,
            "seed": texts.seed,
            "terms": terms,
        }
        return hashlib.sha256(canonical_json(value)).hexdigest()

    def _file_of(self, release: Release) -> Path | None:
        """Where the statistic of a release lies, if it is of the weights that the member stands at."""
        layers = len(self._workshop.skeleton.blocks)
        if max(release.layers, default=layers) >= layers or self._base(release.layers) != release.base:
            return None
        earlier = self._ledger.find(release.base, release.layers)[::-1].index(release)
        return self._file(release.round, release.base, release.layers, earlier)

    def _file(self, round: int, base: str, layers: Sequence[int], earlier: int) -> Path:
        """Where the statistic of a round lies.  earlier: releases of the same that were entered before."""
        name = hashlib.sha256(canonical_json([base, list(layers), earlier])).hexdigest()[:16]
        return own_folder(self._config.member.data, round) / f"noised-{name}.safetensors"


def _check_digest(file: Path, release: Release) -> None:
    if sha256_file(file) != release.sha256:
        raise RecordDamaged(
            f"{file} is not the noised statistic that was paid for",
            hint="put it back as it was; or remove it, and another one is drawn at its own price",
        )


def spread(
    statistic: NoisedStatistic | None, layers: Sequence[int], tokens: int, workshop: Workshop, ranks: Ranks
) -> KnownStatistics:
    """What every rank may know, by the statistic that rank 0 has and the others, who have None, are sent.

    Raises RankLost.
    """
    parts = layout(workshop, layers)
    features = parts[-1].stop
    own = (None, None) if statistic is None else (torch.from_numpy(statistic.noised), torch.from_numpy(statistic.unit))
    noised = ranks.spread(0, own[0], lambda: torch.empty(features, dtype=torch.int64))
    unit = ranks.spread(0, own[1], lambda: torch.empty(features, dtype=torch.float64))
    return known_by(np.asarray(noised), np.asarray(unit), parts, tokens, workshop)
