"""Writes tests/vectors: `python -m tests.make_vectors [--record] [--out FOLDER]`, the same bytes every time.

Nothing of the library is used; docs/SPEC.md alone says what is written.  --record asks the cryptography library for
sealings to hybrid keys that tests/vectors/recorded.json does not have yet; they are random, so commit the file.
"""

import argparse
import sys
from pathlib import Path

from tests.vector_format import VECTORS, Vector, render
from tests.vectorkit import (
    faults_body,
    faults_form,
    faults_late,
    faults_order,
    faults_signature,
    faults_tiles,
    faults_time,
    faults_trust,
    faults_values,
    good,
)
from tests.vectorkit.bases import BASES
from tests.vectorkit.packages import recordings
from tests.vectorkit.sealing import check_against_published_vectors
from tests.vectorkit.world import parties_json

LISTS = (
    good,
    faults_form,
    faults_values,
    faults_trust,
    faults_time,
    faults_signature,
    faults_order,
    faults_late,
    faults_tiles,
    faults_body,
)


def all_vectors() -> list[Vector]:
    found = [vector for module in LISTS for vector in module.vectors()]
    names = [vector.name for vector in found]
    assert len(set(names)) == len(names), sorted({name for name in names if names.count(name) > 1})
    return found


def files() -> dict[str, str]:
    """Every file by its path below tests/vectors."""
    check_against_published_vectors()
    written = {f"package/{vector.name}.vec": render(vector) for vector in all_vectors()}
    written |= {f"base/{base.name}.vec": base.text() for base in BASES.values()}
    return {**written, "parties.json": parties_json(), "recorded.json": recordings.text()}


def write(folder: Path) -> int:
    """Writes all files and removes vectors that are no longer made; returns how many were written."""
    written = files()
    for name in ("package", "base"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for old in (folder / name).glob("*.vec"):
            if f"{name}/{old.name}" not in written:
                old.unlink()
    for name, text in written.items():
        (folder / name).write_text(text, "utf-8", newline="\n")
    return len(written)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the test vectors of the package format.")
    parser.add_argument("--out", type=Path, default=VECTORS, help="folder to write to (tests/vectors)")
    parser.add_argument("--record", action="store_true", help="make the random sealings that are not recorded yet")
    arguments = parser.parse_args()
    recordings.record = arguments.record
    count = write(arguments.out)
    sys.stdout.write(f"{count} files in {arguments.out}\n")


if __name__ == "__main__":
    main()
