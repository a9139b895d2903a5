"""Rows of docs/SECURITY_FIGURES.md, the sections they stand in, and the command that measures and writes them."""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SEED = 2
PAGE = "# Security figures\n"


@dataclass(frozen=True, slots=True)
class Figure:
    """One row.  result: what was counted; holds: whether it is what has to be."""

    what: str
    result: str
    command: str
    holds: bool


Suites = dict[str, Callable[[], list[Figure]]]  # name -> what measures its rows


@dataclass(frozen=True, slots=True)
class Section:
    """One section of the page.  write: gives its text, heading included, with the rows that were run."""

    heading: str
    suites: Suites
    write: Callable[[list[Figure]], str]


def measured(
    what: str, tell: Callable[[dict[str, Any]], str], module: str, *arguments: str
) -> Callable[[], list[Figure]]:
    """The row of a module below `tests` that prints one line of JSON.  tell: what is said of it."""

    def run() -> list[Figure]:
        words = ["-m", f"tests.{module}", *arguments]
        found: dict[str, Any] = json.loads(run_python(words))
        for failure in found["failures"]:
            print(failure, file=sys.stderr)
        return [Figure(what, tell(found), f"python {' '.join(words)}", not found["failures"])]

    return run


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
    return (f"{before.rstrip()}\n\n" if before else "") + section + (old[after:] if after >= 0 else "")


def write_sections(description: str | None, *sections: Section) -> int:
    """The command of a script: measure what --only names, writing after each; returns 1 if a row does not hold."""
    names = ", ".join(name for section in sections for name in section.suites)
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"figures whose name holds this text: {names}")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/SECURITY_FIGURES.md")
    options = parser.parse_args()
    text = options.out.read_text() if options.out.exists() else PAGE
    holds = True
    for section in sections:
        figures: list[Figure] = []
        for name, run in section.suites.items():
            if options.only not in name:
                continue
            print(f"{name} …", file=sys.stderr, flush=True)
            for figure in run():
                print(f"{'holds' if figure.holds else 'FAILS'}  {figure.what}: {figure.result}", flush=True)
                figures.append(figure)
            text = with_section(text, section.heading, section.write(figures))
            options.out.write_text(text)
        holds &= all(figure.holds for figure in figures)
    return 0 if holds else 1
