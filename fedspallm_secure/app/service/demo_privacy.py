"""What members of a demonstration spent of their privacy budgets, and their noised statistics, to check the sums by.

Members remove a statistic with their own layers once a round is part of the model: with the public model it gives their
keep-masks.  A demonstration that holds everybody's files copies it before, so that it can prune again by it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fedspallm_secure.app.configuration.member import read_member
from fedspallm_secure.app.member import LocalPruning
from fedspallm_secure.app.privacy.drawing import known_by
from fedspallm_secure.app.privacy.gathering import layout
from fedspallm_secure.app.privacy.releases import KIND, Release, read_releases
from fedspallm_secure.app.privacy.standing import standing
from fedspallm_secure.app.service.town import Town
from fedspallm_secure.app.service.watched import watch
from fedspallm_secure.app.simulation import Simulation
from fedspallm_secure.errors import RoundAborted
from fedspallm_secure.pruning.pruners import LocalSpec
from fedspallm_secure.storage import home_folder
from fedspallm_secure.storage.checkpoints.noised import load_noised
from fedspallm_secure.storage.files import atomic_write, disk_errors, sha256_file

_LIMIT: Final = 1 << 28  # bytes; the model of a demonstration is small


def keep_statistics(town: Town) -> None:
    """Copy the statistics that members have drawn and that were not copied yet.  Raises StorageError."""
    for name in town.members:
        kept = _kept(town, name)
        if kept.exists():
            continue
        for file in town.data(name).glob("round-*/own/noised-*.safetensors"):
            with disk_errors(file):
                data = file.read_bytes() if file.stat().st_size <= _LIMIT else b""
                kept.parent.mkdir(mode=0o700, exist_ok=True)
            with atomic_write(kept) as copy:
                copy.write(data)


def _kept(town: Town, name: str) -> Path:
    return town.folder / "noised" / f"{name}.safetensors"


def prune_again(town: Town, run: Simulation, name: str) -> Mapping[int, Path]:
    """A member's layers, pruned in this process by its noised statistic.  layer -> file.

    Raises RoundAborted unless that is the statistic that the member paid for.
    """
    kept, paid = _kept(town, name), _releases(town, name)
    if not kept.exists() or not paid or sha256_file(kept) != paid[-1].sha256:
        raise RoundAborted(f"{name} has not paid for the noised statistic that was found at it")
    layers = range(len(run.workshop.skeleton.blocks))
    parts, windows = layout(run.workshop, layers), run.material.calibration[name]
    found = load_noised(kept, parts[-1].stop)
    known = known_by(found.noised, found.unit, parts, windows.numel(), run.workshop)
    spec = LocalSpec(run.settings.pruner, run.settings.schedule[-1], run.settings.damping)
    pruning = LocalPruning(run.workshop, run.dense, windows, spec, known=known)
    return pruning.run(layers, run.work / f"noised-{name}", run.progress, f"{name} once more")


def privacy_account(town: Town) -> dict[str, Any]:
    """What was promised and spent, in the form of `PrivateSilos.figures`, from the members' own ledgers."""
    privacy = town.settings.privacy
    if privacy is None:
        return {}
    members = {name: _figures(town, name) for name in town.members}
    return {**privacy.to_dict(), "reads_text": True, "members": members}


def _figures(town: Town, name: str) -> dict[str, Any]:
    releases = _releases(town, name)
    found = standing(
        read_member(town.config(name)).terms, {f"{n:08d}": one.to_dict() for n, one in enumerate(releases)}
    )
    if found is None or not releases:
        raise RoundAborted(f"{name} has released nothing under its privacy budget")
    last = releases[-1]
    return {
        "epsilon": found["spent"],
        "delta": last.delta,
        "clip": last.clip,
        "noise_multiplier": last.multiplier,
        "sigma": last.multiplier * last.clip,
        "releases": len(releases),
        "records": last.records,
        "clipped_share": last.clipped / last.records,
        "features": last.features,
        "weight": last.weight,
    }


def _releases(town: Town, name: str) -> list[Release]:
    with watch(town.folder / "homes" / name / home_folder.REGISTER) as watched:
        return read_releases(watched.facts(KIND)) if watched.has_begun() else []
