"""Forgeries of each kind, planted in a log's folder and found by `fedprune audit verify`, which has no torch.

    python -m tests.figures.planted     prints the figures as JSON

The federation is a real one of five members with two rounds, in the first of which somebody drops out.  The auditor has
a folder with the log, the root certificate, what a forgery itself contradicts, and nothing else: with the cosignatures
of honest witnesses, nearly every forgery would fail at V2 already.  All commands run in one process in which torch and
what comes with it cannot be imported.
"""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from fedspallm_secure.crypto.merkle import Tree
from fedspallm_secure.protocol.audit.tiles import Tile, encode_bundle
from fedspallm_secure.storage.log_reader import CHECKPOINT, COSIGNED, DOCUMENTS, files_of, size_of
from fedspallm_secure.storage.pem import CERTIFICATE, encode_pem
from tests.app.audit.forgeries import CASES
from tests.app.audit.real_log import MemoryLog, played, read
from tests.figures.kills import fast
from tests.figures.spread import show

REPORT = "audit.html"
Forge = Callable[[MemoryLog], Any]
Ended = tuple[int, str, str]  # exit code, output, errors

TORCHLESS = """
import contextlib, io, json, sys
class Blocked:
    def find_spec(self, name, *_):
        if name.split(".")[0] in {"torch", "transformers", "safetensors", "accelerate", "tokenizers"}:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Blocked())
from fedprune_cli.main import run
for words in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(words)
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


def pairs(ended: Sequence[Ended]) -> list[tuple[Ended, Ended]]:
    """Two commands for each log."""
    return list(zip(ended[::2], ended[1::2], strict=True))


def torchless(commands: Iterable[Sequence[str]]) -> list[Ended]:
    """Exit code, output and errors of each command, in a process without torch."""
    done = subprocess.run(
        [sys.executable, "-c", TORCHLESS], input=json.dumps(list(commands)), capture_output=True, text=True, check=True
    )
    return [(code, out, err) for code, out, err in map(json.loads, done.stdout.splitlines())]


def lay(log: MemoryLog, folder: Path) -> Path:
    """The files of a log, in a folder of their own, as whoever forged it would lay them."""
    note, leaves = log.note(), [*log.leaves(len(log.bodies))]
    tree = Tree([*leaves, *[bytes(32)] * (size_of(note) - len(leaves))])  # a checkpoint may promise more than there is
    files: dict[str, bytes] = {CHECKPOINT: note}
    if (cosigned := log.cosigned()) is not None:
        files[COSIGNED] = cosigned
    for file in files_of([size_of(note)]):
        if isinstance(file, Tile):
            files[file.path] = file.hashes(tree)
        else:
            files[file.path] = encode_bundle(log.bodies[file.start : file.start + file.width])
    files |= {f"{DOCUMENTS}/{name}": document for name, document in log.documents.items()}
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def commands(log: MemoryLog, folder: Path, given: dict[str, Any]) -> list[list[str]]:
    """What the auditor types to verify and to have a report, with everything it names written beside the log."""
    words = [str(lay(log, folder / "log")), "--json", "--root", str(folder / "root.pem")]
    (folder / "root.pem").write_bytes(encode_pem(CERTIFICATE, given.get("root", log.root)))
    if "policy" in given:
        (folder / "policy").write_bytes(given["policy"].encode())
        words += ["--policy", str(folder / "policy")]
    for number, note in enumerate(given.get("checkpoints", ())):
        (folder / f"shown-{number}").write_bytes(note)
        words += ["--checkpoint", str(folder / f"shown-{number}")]
    if "receipts" in given:
        (folder / "receipts").mkdir()
        for number, receipt in enumerate(given["receipts"]):
            (folder / "receipts" / f"{number}.json").write_bytes(receipt)
        words += ["--receipts", str(folder / "receipts")]
    return [["audit", "verify", *words], ["audit", "report", *words, "--out", str(folder / REPORT)]]


def plant(honest: MemoryLog, folder: Path, cases: Sequence[tuple[str, Forge]]) -> list[list[str]]:
    """The commands for the true log and for each forgery of it, every one in a folder of its own."""
    everything = {"receipts": tuple(honest.receipts), "checkpoints": tuple(honest.shown)}
    (folder / "true").mkdir()
    typed = commands(honest, folder / "true", everything)
    for forge in (forge for _, forge in cases):
        forged, place = honest.copy(), folder / forge.__name__
        given = forge(forged)
        place.mkdir()
        typed += commands(forged, place, given if isinstance(given, dict) else {})
    return typed


def judge(step: str, code: int, out: str, page: str) -> tuple[str, str]:
    """How a forgery for this step was found, and what is wrong about that; empty where nothing is."""
    if not out:
        return f"{step}: no steps", f"exit code {code}, and no steps"
    steps = json.loads(out)["steps"]
    failed = [one["step"] for one in steps if one["passed"] is False]
    stopped = [one["step"] for one in steps if one["passed"] is None]
    if not failed or code != 200 + int(failed[0][1:]) or step not in failed + stopped:
        return f"{step}: missed", f"exit code {code}, failed steps {failed}"
    if f"This log does not pass: step {failed[0]} failed." not in page:
        return f"{step}: not in the report", "the report does not say so"
    if step not in failed:
        return f"{step}: not run, {failed[0]} fails", ""
    return f"{step}: fails" if failed[0] == step else f"{step}: fails, after {failed[0]}", ""


def figures(cases: Sequence[tuple[str, Forge]] = CASES) -> dict[str, Any]:
    """All of them."""
    counts, failures = Counter[str](), list[str]()
    with tempfile.TemporaryDirectory(dir=fast()) as name:
        folder = Path(name)
        with played(folder / "federation") as found:
            honest = read(found)
        (right, report), *forged = pairs(torchless(plant(honest, folder, cases)))
        steps = json.loads(right[1])["steps"]
        if right[0] or report[0] or len(steps) != 8 or not all(step["passed"] for step in steps):
            failures.append(f"the true log: exit codes {right[0]} and {report[0]}: {right[1]}{right[2]}{report[2]}")
        for (step, forge), (verified, reported) in zip(cases, forged, strict=True):
            page = (folder / forge.__name__ / REPORT).read_text() if reported[0] == verified[0] else ""
            how, wrong = judge(step, verified[0], verified[1], page)
            counts.update(["forgeries", how])
            if wrong:
                failures.append(f"{step}, {forge.__name__}: {wrong} {verified[2]}{reported[2]}")
    return {"counts": dict(counts), "failures": failures}


if __name__ == "__main__":
    show(figures())
