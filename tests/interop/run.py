"""Our log through Go, and Go's through ours: `python -m tests.interop.run [--keep]` (README.md beside this file)."""

import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from tests.interop import published

HERE = Path(__file__).parent
VECTORS = HERE / "vectors" / "go"
SIZES = [1, 2, 255, 256, 257, 600, 70_000]


def build(program: Path) -> None:
    """Compile `tlog` against golang.org/x/mod in GOPATH."""
    places = {"GO111MODULE": "off", "GOPATH": os.environ.get("GOPATH", "/usr/share/gocode")}
    subprocess.run(["go", "build", "-o", program, "."], cwd=HERE / "tlog", env={**os.environ, **places}, check=True)


def accepts(program: Path, folder: Path) -> bool:
    """Whether Go verifies the log in `folder`."""
    done = subprocess.run([program, "check", folder], capture_output=True, text=True, check=False)
    click.echo(f"   {(done.stdout + done.stderr).strip()[:160]}")
    return done.returncode == 0


def go_reads_ours(program: Path, work: Path) -> int:
    """Publish logs; count what Go says wrongly of them and of altered ones."""
    wrong = 0
    for size in SIZES:
        folder = work / str(size)
        published.write(folder, size)
        click.echo(f"our log of {size} entries")
        wrong += not accepts(program, folder)
    for path in sorted((work / "257").rglob("*")):
        if path.is_dir():
            continue
        good = path.read_bytes()
        middle = len(good) // 2
        path.write_bytes(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
        click.echo(f"our log of 257 entries with {path.name} changed")
        wrong += accepts(program, work / "257")
        path.write_bytes(good)
    return wrong


def we_read_go(program: Path, work: Path, keep: bool) -> int:
    """Let Go publish a log; count what differs from the vectors that are kept, and from what we expect."""
    folder = work / "go"
    folder.mkdir()
    subprocess.run([program, "write", folder], check=True)
    checkpoint, proofs = published.read(folder)
    click.echo(f"we read {checkpoint.size} entries of Go, their tiles and {proofs} proofs")
    if keep:
        shutil.rmtree(VECTORS, ignore_errors=True)
        shutil.copytree(folder, VECTORS)
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    kept = [path.relative_to(VECTORS) for path in VECTORS.rglob("*") if path.is_file()]
    same, different, missing = filecmp.cmpfiles(folder, VECTORS, names, shallow=False)
    click.echo(f"{len(same)} of its {len(names)} files are those of vectors/go")
    return len(different) + len(missing) + len(set(kept) - set(names))


def main() -> int:
    """Run both ways; 0 if everything agrees."""
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        program = work / "tlog"
        build(program)
        wrong = go_reads_ours(program, work) + we_read_go(program, work, "--keep" in sys.argv[1:])
    click.echo("everything agrees" if not wrong else f"{wrong} disagreements")
    return min(wrong, 1)


if __name__ == "__main__":
    raise SystemExit(main())
