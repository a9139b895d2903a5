"""One large package, cut at many random places: every cut is noticed before anything is published.

    python -m tests.attacks.truncations MIB COUNT SEED     prints the figures as JSON

The cuts are made from the end to the beginning, so one copy is enough whatever its size.  At some of them the file gets
its length back, filled with zeros, as after a copy that a disk did not finish.
"""

import json
import os
import random
import sys
import tempfile
from pathlib import Path

from fedspallm_secure.app import packages
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.sealing import Kem
from fedspallm_secure.errors import (
    BadSignature,
    CannotDecrypt,
    FedSpaError,
    PackageFormatError,
    TileMismatch,
    Truncated,
)
from tests.attacks.stage import MIB, RECIPIENT, SENDER, Outcome, Stage, peak_memory

PIECE = random.Random(0).randbytes(MIB)  # of what is sealed; its content is no matter, its length is


def run(size: int, count: int, seed: int, folder: Path, torn_every: int = 20) -> Outcome:
    """Cut a package of `size` plaintext bytes at `count` places.  torn_every: how often the length is restored."""
    draw, outcome = random.Random(seed), Outcome()
    with Stage(folder) as stage:
        path = _sealed(stage, size)
        whole = path.stat().st_size
        head = packages.inspect(path)
        body = whole - head.header.body_length
        hashes = body - 32 * head.header.tiles
        with outcome.measuring():
            for number, cut in enumerate(sorted((draw.randrange(whole) for _ in range(count)), reverse=True)):
                os.truncate(path, cut)
                expected = PackageFormatError if cut < hashes else Truncated
                with outcome.judging("cut", f"at {cut} of {whole}", (expected,)):
                    stage.open(path)
                if number % torn_every == torn_every - 1 and cut < whole - 64:  # or the zeros may be what was there
                    os.truncate(path, whole)
                    with outcome.judging("torn", f"at {cut} of {whole}", _torn(cut, hashes)):
                        stage.open(path)
                outcome.published += [f"cut at {cut}: {name}" for name in stage.left_behind()]
        path.unlink()
    return outcome


def _torn(cut: int, hashes: int) -> tuple[type[FedSpaError], ...]:
    """What a file may be refused with that is all zero from `cut` on.  hashes: offset of the tile hashes."""
    if cut < hashes - 64:
        return (PackageFormatError,)
    return (BadSignature, TileMismatch) if cut < hashes else (TileMismatch, CannotDecrypt)


def _sealed(stage: Stage, size: int) -> Path:
    plain, path = stage.home / "plain", stage.medium / "large.fspkg"
    with plain.open("wb") as file:
        for start in range(0, size, MIB):
            file.write(PIECE[: size - start])
    signer = stage.federation[SENDER].signer
    packages.seal(stage.desk(SENDER), plain, path, Party.parse(RECIPIENT), signer, 86_400, Kem.HYBRID, Silent())
    plain.unlink()
    return path


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        found = run(int(sys.argv[1]) * MIB, int(sys.argv[2]), int(sys.argv[3]), Path(scratch))
    sys.stdout.write(json.dumps({**found.as_dict(), "failures": found.failures, "peak_kib": peak_memory()}) + "\n")
