"""Attack everything that the trust path checks, count, and write docs/SECURITY_FIGURES.md.

    make figures        or        python scripts/security_figures.py [--only TEXT] [--out FILE.md]

Sections that are written by scripts/station_figures.py, audit_figures.py and he_figures.py are left as they stand.

Every row names the command that gives it again.  A row that was not run is left out, never carried over; but a section
of which nothing was run stays as it is, under the commit that it names.
"""

import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from figure_table import PAGE, ROOT, SEED, Figure, Section, Suites, measured, run_python, table, where, write_sections
from secagg_figures import SECAGG, SECTION, secagg_page


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


def attacks(found: dict[str, Any]) -> str:
    """How many attacks, and what must not come of them."""
    told = f"{found['attacks']:,} attacks: {found['accepted']} accepted, {found['crashes']} crashes, "
    told += f"{found['published']} files released"
    if "peak_kib" in found:
        told += f"; at most {found['peak_kib'] / 1024:.0f} MiB of memory"
    if found["skipped"]:
        told += f"; not possible here: {', '.join(found['skipped'])}"
    return told


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


SUITES: Suites = {
    "vectors": published_vectors,
    "testkit": testkit,
    "mutations": measured("Mutated packages", attacks, "attacks.mutations", "10000", str(SEED)),
    "truncations": measured(
        "Truncations of a package of 64 MiB", attacks, "attacks.truncations", "64", "1000", str(SEED)
    ),
    "relays": measured(
        "Replay, wrong recipient, round or federation, stripped signature, forwarding, theft", attacks, "attacks.relays"
    ),
    "hostile": measured("Hostile files and folders", attacks, "attacks.hostile"),
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
    return f"""{PAGE}
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


def main() -> int:
    """Run the figures; returns 1 if one does not hold."""
    return write_sections(__doc__, Section(PAGE, SUITES, page), Section(SECTION, SECAGG, secagg_page))


if __name__ == "__main__":
    sys.exit(main())
