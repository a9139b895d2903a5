"""Attack everything that the trust path checks, count, and write docs/SECURITY_FIGURES.md.

    make figures        or        python scripts/security_figures.py [--only TEXT] [--out FILE.md]

The section about rounds between institutions is written by scripts/station_figures.py, and left as it stands here.

Every row names the command that gives it again.  A row that was not run is left out, never carried over; but a section
of which nothing was run stays as it is, under the commit that it names.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

from figure_table import ROOT, SEED, Figure, run_python, table, where
from secagg_figures import SECAGG, SECTION, secagg_page
from station_figures import STATION_SECTION


def published_vectors() -> list[Figure]:
    """Every published vector through our wrappers."""
    code = (
        "import json; from tests.crypto.vectors_source import SUITES, outcomes, run; "
        "ran = {file: run(file) for file in SUITES}; "
        "print(json.dumps({f: [len(r), sum(o.found == o.expected for o in r), outcomes(r)] for f, r in ran.items()}))"
    )
    found: dict[str, tuple[int, int, dict[str, int]]] = json.loads(run_python(["-c", code]))
    command = "python -m pytest tests/crypto/test_wycheproof.py tests/crypto/test_published.py"
    rows = []
    for name, (count, right, outcomes) in found.items():
        became = ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(outcomes.items()))
        result = f"{right:,} of {count:,} as expected ({became})"
        rows.append(Figure(f"Published vectors: {name.removesuffix('.json')}", result, command, right == count))
    return rows


def testkit() -> list[Figure]:
    """The vector files through the product and through the independent opener."""
    rows = []
    for what, test in (
        ("Packages with one fault or none, through the product", "tests/test_vector_conformance.py"),
        ("The same, through the independent opener", "tests/test_reference_opener.py"),
        ("The testkit itself: written again byte for byte", "tests/test_vectors.py"),
    ):
        rows.append(_pytest(what, [test], "as expected"))
    kept = [path.read_text() for path in (ROOT / "tests/vectors/package").glob("*.vec")]
    total, faults = len(kept), sum("expect: success" not in text for text in kept)
    return [Figure("Testkit", f"{total} files, {faults} with one fault", "ls tests/vectors/package", True), *rows]


def attack(what: str, module: str, *arguments: str) -> Callable[[], list[Figure]]:
    """A suite of attacks that counts for itself."""

    def run() -> list[Figure]:
        words = ["-m", f"tests.attacks.{module}", *arguments]
        found: dict[str, Any] = json.loads(run_python(words))
        result = f"{found['attacks']:,} attacks: {found['accepted']} accepted, {found['crashes']} crashes, "
        result += f"{found['published']} files released"
        if "peak_kib" in found:
            result += f"; at most {found['peak_kib'] / 1024:.0f} MiB of memory"
        if found["skipped"]:
            result += f"; not possible here: {', '.join(found['skipped'])}"
        return [Figure(what, result, f"python {' '.join(words)}", not found["failures"])]

    return run


def crashes() -> list[Figure]:
    """kill -9 and a full disk at every write, flush and rename."""
    return [
        _pytest(
            "Killed, or the disk full or broken, at every write, flush and rename: sealing and opening",
            ["tests/storage/test_package_crashes.py"],
            "scenarios held",
        ),
        _pytest(
            "The same: key files and burning prekeys",
            ["tests/storage/test_prekeys.py", "tests/storage/test_keystore.py", "tests/storage/test_private_files.py"],
            "tests held",
        ),
        _pytest(
            "The same: requests, imports and the authority",
            ["tests/storage/test_home.py", "tests/storage/test_authority.py"],
            "tests held",
        ),
    ]


def properties() -> list[Figure]:
    """Every decoder gives a value or one of our errors."""
    folders = ["tests/crypto", "tests/protocol", "tests/storage"]
    options = ["--hypothesis-profile=thorough", f"--hypothesis-seed={SEED}", "-m", "hypothesis"]
    return [_pytest("Properties under random input, mostly 1,000 examples each", folders, "properties held", options)]


def deletions() -> list[Figure]:
    """Each check removed in turn."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "deletions.json"
        command = ["scripts/check_deletion.py", "--out", str(out)]
        if subprocess.run([sys.executable, *command], cwd=ROOT, check=False).returncode not in (0, 1):
            raise SystemExit("the checks could not be deleted; what stands above says why")
        found = json.loads(out.read_text())
    result = f"{found['noticed']} of {found['deletions']} deletions noticed by a test"
    if found["survivors"]:
        result += "; not noticed: " + "; ".join(f"{s['module']}:{s['line']} `{s['what']}`" for s in found["survivors"])
    return [Figure("Checks deleted one by one", result, "python scripts/check_deletion.py", not found["survivors"])]


SUITES: dict[str, Callable[[], list[Figure]]] = {
    "vectors": published_vectors,
    "testkit": testkit,
    "mutations": attack("Mutated packages", "mutations", "10000", str(SEED)),
    "truncations": attack("Truncations of a package of 64 MiB", "truncations", "64", "1000", str(SEED)),
    "relays": attack("Replay, wrong recipient, round or federation, stripped signature, forwarding, theft", "relays"),
    "hostile": attack("Hostile files and folders", "hostile"),
    "crashes": crashes,
    "properties": properties,
    "deletions": deletions,
}


def _pytest(what: str, tests: list[str], words: str, options: list[str] | None = None) -> Figure:
    """Run tests, slow ones too; counts come from the report, not from the screen."""
    chosen = options or ["-m", ""]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-n", "auto", f"--junit-xml={report}", *chosen, *tests]
        subprocess.run(command, cwd=ROOT, check=False, capture_output=True)
        suite = ElementTree.parse(report).getroot()[0]
    total, bad, skipped = (int(suite.get(name, 0)) for name in ("tests", "failures", "skipped"))
    bad += int(suite.get("errors", 0))
    result = f"{total - bad - skipped:,} of {total:,} {words}" + (f", {skipped} skipped" if skipped else "")
    shown = " ".join(["python -m pytest", *(option or "''" for option in chosen), *tests])
    return Figure(what, result, shown, not bad and total > skipped)


def page(figures: list[Figure]) -> str:
    """The first section, with the head of the document."""
    return f"""# Security figures

What was attacked, how often, and what came of it. `make figures` runs everything again and writes this page; each row
also names the command that gives it alone. {where()}

{table(figures)}

Reading the vectors: of the AES-GCM vectors, 250 have a key or nonce of another size, which the wrapper refuses;
only the others reach the cipher. The chunked-encryption vectors of the installed package derive keys with SHA-256,
Cobblestone-256 with SHA-512, so they are carried over chunk by chunk; four answers with SHA-512 stand in
`test_published.py`. The X25519 vectors go through the function that pairwise agreement between members will use;
packages use X25519 inside HPKE, which the HPKE rows cover. Killing is `kill -9` of a process: the loss of unflushed
pages in a power cut is not simulated, only the order of the flushes is checked.

Speed and memory of sealing and opening: [BENCHMARKS.md](BENCHMARKS.md), row P6. What none of this shows: that there is
no attack that nobody thought of. [THREAT_MODEL.md](THREAT_MODEL.md) says what each adversary can still do. Nobody
outside the project has reviewed it.
"""


def kept(out: Path) -> list[str]:
    """The sections as they stand in a document; `station_figures` writes the third one."""
    text = out.read_text() if out.exists() else "# Security figures\n"
    text, marker, third = text.partition(STATION_SECTION)
    first, middle, second = text.partition(SECTION)
    parts = (first, middle + second, marker + third)
    return [part.rstrip("\n") + "\n" if part else "" for part in parts]


def main() -> int:
    """Run the suites; returns 1 if a figure does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ", ".join([*SUITES, *SECAGG])
    parser.add_argument("--only", default="", help=f"suites whose name holds this text: {names}")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/SECURITY_FIGURES.md")
    options = parser.parse_args()
    sections, holds = kept(options.out), True
    for number, (suites, write) in enumerate(((SUITES, page), (SECAGG, secagg_page))):
        figures: list[Figure] = []
        for name, run in suites.items():
            if options.only in name:
                print(f"{name} …", file=sys.stderr, flush=True)
                for figure in run():
                    print(f"{'holds' if figure.holds else 'FAILS'}  {figure.what}: {figure.result}", flush=True)
                    figures.append(figure)
                sections[number] = write(figures)
                options.out.write_text("\n".join(section for section in sections if section))
        holds &= all(figure.holds for figure in figures)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
