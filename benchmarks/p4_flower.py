"""P4: what a member does to its vector before it leaves, against the client of Flower's SecAgg+.

Both turn the same float32 vector into whole numbers and add the keystream of their own seed and those of eight
neighbours, and both agree on the eight keys while the clock runs (X25519 here, ECDH over P-384 there).  Flower's side
is its client mod as it stands, called in an environment of its own; its stage also reads eight encrypted shares and
converts its parameters from bytes and back.  Ours also packs the keep-mask and masks the counts.  Dealing shares,
which Flower does in another stage, sealing and sending are in neither.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import cpu_count, environ
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import SEED, Row, alternate
from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret, x25519
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.fields import CountField, SumWord
from fedspallm_secure.secagg.keystreams import Stream
from fedspallm_secure.secagg.masking import add_keystreams, member_terms
from fedspallm_secure.secagg.quantization import quantize
from fedspallm_secure.secagg.seeds import End, draw_element, edge_seed

VERSION = "1.41.0"
ENVIRONMENT = Path(__file__).parent.parent / "build" / "flower-venv"
CHILD = Path(__file__).parent / "flower_masking.py"
SHAPE = (2_000, 2_500)  # 5 million weights, as one matrix
MEMBERS = 9
CASES = {"counts and 32-bit sums": 32, "counts and 16-bit sums": 16, "votes": 0}
RATE, BYTES = ">= 10 times the rate", ">= 2: at most half of the bytes"


class NotRun(Row):
    """A row that says why it has no figures."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"name": self.name, "what": self.what, "target": self.target, "not_run": True}

    def markdown(self) -> str:
        """A line of the table in docs/BENCHMARKS.md."""
        return f"| {self.name} | {self.what} | not run | | {self.target} | |"


def measure(times: int, shape: tuple[int, int] = SHAPE) -> list[Row]:
    """Rates on one thread and on all cores, and bytes; or one row that says that there is no Flower."""
    try:
        python = install()
    except (subprocess.CalledProcessError, OSError) as error:
        detail = getattr(error, "stderr", None) or str(error)
        print(detail.strip(), file=sys.stderr)
        return [NotRun("P4", "not run: flwr could not be installed", RATE)]
    draws = np.random.default_rng(SEED)
    base = draws.standard_normal(shape, np.float32) * np.float32(0.02)
    weight = base + draws.standard_normal(shape, np.float32) * np.float32(0.002)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vector.npy"
        np.save(file, weight.reshape(-1))
        with flower(python, file, MEMBERS) as peer:
            return _rows(peer, base, weight, times)


def install() -> Path:
    """The interpreter that has flwr, its environment made if it is missing.  Raises CalledProcessError, OSError."""
    python = ENVIRONMENT / "bin" / "python"
    check = [str(python), "-c", f"from importlib.metadata import version; assert version('flwr') == '{VERSION}'"]
    if python.exists() and subprocess.run(check, capture_output=True, check=False).returncode == 0:
        return python
    make = [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)]
    fill = [str(python), "-m", "pip", "install", "--quiet", f"flwr=={VERSION}"]
    for command in (make, fill, check):
        subprocess.run(command, capture_output=True, text=True, check=True)
    return python


@contextmanager
def flower(python: Path, file: Path, clients: int) -> Iterator[Callable[[], dict[str, Any]]]:
    """A process with Flower's clients; calling what this gives runs the stage in which one of them masks, once."""
    command = [str(python), str(CHILD), str(file), str(clients)]
    quiet = {**environ, "FLWR_TELEMETRY_ENABLED": "0"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=quiet
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("a pipe is missing")
        out, back = process.stdin, process.stdout

        def run() -> dict[str, Any]:
            print("go", file=out, flush=True)
            found: dict[str, Any] = json.loads(back.readline())
            return found

        json.loads(back.readline())  # it is ready
        yield run
        out.close()


@dataclass(slots=True)
class Member:
    """The member in the middle of the cohort.  keys: prekey of everybody, in cohort order; bits: of a sum, 0 for none.

    Everything of the vector is kept, so the keep-mask is all ones.
    """

    base: NDArray[np.float32]
    weight: NDArray[np.float32]
    bits: int
    keys: list[tuple[bytes, bytes]]
    workers: int | None = None
    place: int = MEMBERS // 2

    def run(self) -> tuple[NDArray[np.uint8], ...]:
        """Make the masked streams."""
        context = GroupContext("bench", 1, bytes(32), 0)
        edges = [(self._seed(context, other), other < self.place) for other in self._others]
        own, counts = draw_element(), CountField.for_cohort(MEMBERS)
        keep = np.ones(self.base.shape, np.bool_)
        count = np.zeros(counts.size(keep.size), np.uint8)
        counts.pack(keep.reshape(-1), count)
        add_keystreams(count, member_terms(context, own, edges, Stream.COUNT), counts.word.itemsize, 0, self.workers)
        if not self.bits:
            return (count,)
        word = SumWord.default(self.bits, MEMBERS)
        total = np.zeros(word.size(keep.size), np.uint8)
        quantize(self.weight, self.base, keep, word, total.view(word.signed))
        add_keystreams(total, member_terms(context, own, edges, Stream.SUM), word.word.itemsize, 0, self.workers)
        return count, total

    @property
    def _others(self) -> list[int]:
        return [number for number in range(MEMBERS) if number != self.place]

    def _seed(self, context: GroupContext, other: int) -> int:
        shared = x25519(self.keys[self.place][0], self.keys[other][1])
        ends = [End(f"m-{number}", self.keys[number][1]) for number in sorted((self.place, other))]
        return edge_seed(shared, context, ends[0], ends[1])


def draw_keys() -> list[tuple[bytes, bytes]]:
    """Secret and public X25519 key of every member."""
    secrets = [random_bytes(32) for _ in range(MEMBERS)]
    return [(secret, RecipientSecret(Kem.X25519, secret).recipient_key.public) for secret in secrets]


def _rows(
    peer: Callable[[], dict[str, Any]], base: NDArray[np.float32], weight: NDArray[np.float32], times: int
) -> list[Row]:
    keys, cores, rows = draw_keys(), cpu_count() or 1, []
    for workers in sorted({1, cores}):
        for what, bits in CASES.items():
            member = Member(base, weight, bits, keys, workers)
            theirs, mine = alternate(peer, member.run, times)
            plural = "s" if workers > 1 else ""
            row = Row("P4", f"masking {base.size:,} weights, 8 neighbours, {what}, {workers} thread{plural}", RATE)
            row.ratios = [one / other for one, other in zip(theirs, mine, strict=True)]
            row.figures = {"ours": _rate(base.size, mine), f"flwr {VERSION}": _rate(base.size, theirs)}
            rows.append(row)
    sent = peer()["bytes"] / base.size
    for what, bits in CASES.items():
        size = sum(map(len, Member(base, weight, bits, keys).run())) / base.size
        row = Row("P4", f"bytes per weight of Flower over ours, {what}", BYTES, [sent / size])
        row.figures = {"ours": f"{size:.2f} B", f"flwr {VERSION}": f"{sent:.2f} B"}
        rows.append(row)
    return rows


def _rate(weights: int, seconds: list[float]) -> str:
    return f"{weights / float(np.median(seconds)) / 1e6:.1f} M/s"
