"""One row of docs/SECURITY_FIGURES.md, and what stands around the rows."""

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
SEED = 2


@dataclass(frozen=True, slots=True)
class Figure:
    """One row.  result: what was counted; holds: whether it is what has to be."""

    what: str
    result: str
    command: str
    holds: bool


def run_python(words: list[str]) -> str:
    """What a command of this Python prints, started at the root of the repository."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return finished.stdout


def where() -> str:
    """What figures depend on, and when they were taken."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    return (
        f"Commit {commit.stdout.strip()}, seed {SEED}, {today}, Python\n"
        f"{platform.python_version()}, {os.cpu_count()} cores. A row that was not run is not here."
    )


def table(figures: list[Figure]) -> str:
    """All rows, with their head."""
    rows = "\n".join(
        f"| {figure.what} | {figure.result}{'' if figure.holds else ' — **DOES NOT HOLD**'} | `{figure.command}` |"
        for figure in figures
    )
    return f"| what | result | command |\n|---|---|---|\n{rows}"


def with_section(text: str, heading: str, section: str) -> str:
    """The page `text` with `section` in the place of the one under `heading`, or at the end."""
    before, _, old = text.partition(heading)
    after = old.find("\n## ")
    return f"{before.rstrip()}\n\n{section}" + (old[after:] if after >= 0 else "")
