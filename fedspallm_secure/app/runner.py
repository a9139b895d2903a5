"""Running a simulation from settings to files: the pruned model, the result as JSON, the report."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from fedspallm_secure.app.memory import peak_bytes
from fedspallm_secure.app.progress import Progress
from fedspallm_secure.app.reporting.page import write_report
from fedspallm_secure.app.results import (
    agreement_figures,
    bytes_per_silo,
    plan_figures,
    sparsity_figures,
    standalone_mean,
)
from fedspallm_secure.app.server import layer_figures
from fedspallm_secure.app.settings import NOISELESS, SimulationSettings, fingerprint, input_digests
from fedspallm_secure.app.simulation import Simulation, gather
from fedspallm_secure.app.states import Revision
from fedspallm_secure.app.walking.skeleton import Skeleton
from fedspallm_secure.app.walking.workshop import open_workshop
from fedspallm_secure.errors import OutputExists
from fedspallm_secure.storage.checkpoints.reader import Checkpoint
from fedspallm_secure.storage.checkpoints.writer import write_model
from fedspallm_secure.storage.files import read_json, remove_tree, sole_writer, write_json


@dataclass(frozen=True, slots=True)
class Outcome:
    """What rounds came to.

    federation: how they went, if between processes; secagg: an entry for each secure one; privacy: what members spent.
    """

    revision: Revision
    federation: dict[str, Any]
    secagg: list[dict[str, Any]]
    privacy: dict[str, Any]


Federate = Callable[[Simulation], Outcome]


def simulate(settings: SimulationSettings, progress: Progress, federate: Federate | None = None) -> dict[str, Any]:
    """Run, or continue, a simulation and return its result; `settings.out` then holds model, result and report.

    federate: lets a federation outside of this process do the rounds, and says what is to be known about it.
    Running it again with the same settings returns the recorded result.  Raises OutputExists when `out` belongs to
    something else, RunLocked when another process works there, and whatever the inputs deserve.
    """
    checkpoint = Checkpoint.open(settings.model)
    mark = fingerprint(settings, input_digests(settings, checkpoint.digests()))
    if federate is not None:
        mark["parties"] = "processes"
    _refuse_foreign(settings.out)
    with sole_writer(settings.out):
        finished = settings.out / "result.json"
        _refuse_other(settings.out, mark)
        if finished.exists():
            progress.say(f"{finished} is complete; nothing to do")
            known: dict[str, Any] = read_json(finished)
            return known
        run = _prepare(settings, progress)
        # Only now: a budget or a text that was refused above may be mended and the same --out given again.
        write_json(settings.out / "run.json", mark)
        result = _run(run, mark, federate)
        write_report(settings.out / "report.html", result)
        write_json(finished, result)
        remove_tree(settings.out / "work")
        return result


def _refuse_foreign(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir() or ({file.name for file in out.iterdir()} - {".lock"} and not (out / "run.json").exists()):
        raise OutputExists(f"{out} exists and is not the output of a run")


def _refuse_other(out: Path, mark: Mapping[str, Any]) -> None:
    """Raise OutputExists when `out` holds a run with another mark."""
    record = out / "run.json"
    if not record.exists():
        return
    known = read_json(record)
    if known != mark:
        differ = _differences(known, mark)
        raise OutputExists(f"{out} holds a run that differs in {', '.join(differ)}")


def _differences(known: Any, mark: Mapping[str, Any]) -> list[str]:
    if not isinstance(known, dict):
        return ["everything"]
    differ = []
    for part, value in mark.items():
        old = known.get(part)
        if isinstance(value, dict) and isinstance(old, dict):
            differ += [f"{part}.{key}" for key in sorted({*value, *old}) if value.get(key) != old.get(key)]
        elif old != value:
            differ.append(part)
    return differ or ["everything"]


def _prepare(settings: SimulationSettings, progress: Progress) -> Simulation:
    """Open the model, read the texts, plan the rounds.  Raises what the inputs deserve; writes nothing."""
    work = settings.out / "work"
    workshop = open_workshop(settings.model, settings.compute, work / "spill")
    return Simulation(settings, workshop, gather(settings, workshop, progress), work, progress)


def _run(run: Simulation, mark: Mapping[str, Any], federate: Federate | None) -> dict[str, Any]:
    settings, workshop, material = run.settings, run.workshop, run.material
    spill = run.work / "spill"
    spill.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"dense": run.measure("dense", run.dense).to_dict()}
    outcome = (federate or _simulated)(run)
    revision = outcome.revision
    with run.timed("write"):
        _write_federated(run, revision)
    written = open_workshop(settings.out / "model", settings.compute, spill)
    result["federated"] = run.measure("federated", Revision(written.skeleton.checkpoint), written).to_dict()
    _compare(run, result)
    figures = [layer_figures(file) for _, file in sorted(revision.layers.items())]
    blocks = workshop.skeleton.blocks
    return {
        **result,
        "sparsity": sparsity_figures(settings.schedule[-1], figures),
        "agreement": agreement_figures(figures),
        "cohorts": plan_figures(run.plans),
        "bytes_per_silo": bytes_per_silo(run.plans, blocks, settings.strategy, settings.sum_bits),
        "federation": outcome.federation,
        "secagg": outcome.secagg,
        "privacy": outcome.privacy,
        "tokens": {**material.tokens, "seqlen": material.seqlen, "scored": run.scored},
        "seconds": {phase: round(seconds, 3) for phase, seconds in run.seconds.items()},
        "peak_rss_bytes": peak_bytes(),
        "seed": settings.seed,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": mark["settings"],
        "inputs": mark["inputs"],
        "versions": mark["versions"],
        "threads": mark["threads"],
        "device": str(workshop.skeleton.device),
        "dtype": str(workshop.skeleton.dtype).removeprefix("torch."),
        "model": str(settings.out / "model"),
        "report": str(settings.out / "report.html"),
    }


def _simulated(run: Simulation) -> Outcome:
    revision = run.federate()
    secagg = [] if run.secure is None else run.secure.figures
    return Outcome(revision, {}, secagg, {} if run.private is None else run.private.figures())


def _compare(run: Simulation, result: dict[str, Any]) -> None:
    chosen = run.settings.compare
    if "standalone" in chosen:
        each = {
            silo.name: run.measure(f"standalone-{silo.name}", run.standalone(silo.name)) for silo in run.settings.silos
        }
        result["standalone"] = {name: found.to_dict() for name, found in each.items()}
        result["standalone_mean"] = standalone_mean(each)
    if "centralised" in chosen:
        result["centralised"] = run.measure("centralised", run.centralised()).to_dict()
    if NOISELESS in chosen:
        result[NOISELESS] = run.measure(NOISELESS, run.noiseless()).to_dict()
    if "random" in chosen:
        result["random"] = run.measure("random", run.random()).to_dict()


def _write_federated(run: Simulation, revision: Revision) -> None:
    """Write OUT/model once; its folder appears complete or not at all, so an existing one is finished."""
    out = run.settings.out / "model"
    if not out.exists():
        write_revision(run.workshop.skeleton, revision, out)


def write_revision(skeleton: Skeleton, revision: Revision, out: Path) -> None:
    """Write a revision as a model folder under the original tensor names."""
    owners = {linear.name: (block, linear) for block in skeleton.blocks for linear in block.linears}

    def pieces(name: str) -> Iterator[Tensor]:
        if name in owners:
            return revision.pieces(*owners[name])
        return revision.checkpoint.stored(name).pieces()

    write_model(revision.checkpoint, pieces, out)
