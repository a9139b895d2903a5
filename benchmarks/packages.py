"""P6: sealing and opening a package against the slower of AES-256-GCM into a buffer and one SHA-256 pass.

Sealing is encrypt + hash + sign + write + flush; opening is read + hash + verify + decrypt + write + flush, by the
same functions that the program uses. In a memory file system the disk does not count; on a disk its own speed (write
and flush of as many bytes) is measured beside it. Memory (Linux only) is the peak of a child process above what it
held after its imports, with the keys in hand.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.measure import Row
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret
from fedspallm_secure.crypto.signing import Ed25519Signer, verify
from fedspallm_secure.protocol.package_types import BodyType
from fedspallm_secure.protocol.packages import Context
from fedspallm_secure.storage.drafts import draft
from fedspallm_secure.storage.package_reader import open_package
from fedspallm_secure.storage.package_writer import Source, write_package

MEBIBYTE = 1 << 20
MEMORY_FOLDER = Path("/dev/shm")
SIZES = (64, 1024, 4096)  # MiB, for the memory row

CHILD = """
import json, sys
from pathlib import Path
from benchmarks.packages import Bench
bench = Bench(Path(sys.argv[1]), int(sys.argv[2]), make=False)
bench.secret.recipient_key
Path("/proc/self/clear_refs").write_text("5")  # the peak so far is that of the imports: forget it
kib = lambda name: next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))
before = kib("VmRSS")
bench.seal()
bench.open()
print(json.dumps({"before": before * 1024, "peak": kib("VmHWM") * 1024}))
"""


class Bench:
    """A plaintext of `size` MiB in `folder`, keys, and the two things that are timed."""

    def __init__(self, folder: Path, size: int, make: bool = True) -> None:
        self.plain, self.package, self.opened = folder / "plain", folder / "package.fspkg", folder / "opened"
        self.size = size
        if make:
            with self.plain.open("wb") as file:
                for _ in range(size):
                    file.write(os.urandom(MEBIBYTE))
        self.signer, _ = Ed25519Signer.generate()
        self.secret = RecipientSecret.generate(Kem.HYBRID)
        self.context = Context(
            type="file",
            federation="bench",
            roster="00" * 32,
            round=0,
            plan_hash="*",
            group="*",
            sender=Party("member", "a"),
            sender_key="00" * 32,
            recipient=Party("server", "b"),
            recipient_key=self.secret.recipient_key.key_id,
            kem=Kem.HYBRID,
            sequence=1,
            created=1,
            not_after=2,
            body_type=BodyType.BYTES,
        )

    def seal(self) -> None:
        """Seal, sign, write, flush."""
        self.package.unlink(missing_ok=True)
        descriptor = os.open(self.plain, os.O_RDONLY)
        try:
            source = Source.of(descriptor, self.plain)
            write_package(self.package, source, self.context, self.secret.recipient_key, self.signer, lambda _: None)
        finally:
            os.close(descriptor)

    def open(self) -> None:
        """Open, verify, read, write the plaintext, flush."""
        self.opened.unlink(missing_ok=True)
        with open_package(self.package) as package, draft(self.opened) as plain:
            head = package.head
            verify(self.signer.public, Label.SIGN_PACKAGE, head.encoded, head.signature, "the package")
            package.check_length()
            plain.check_room(head.header.plaintext_length)
            package.decrypt(self.secret, plain.write, lambda _: None)
            plain.finish()
            plain.publish()

    def aes(self) -> None:
        """AES-256-GCM into a buffer, as many bytes, a tile at a time."""
        cipher, tile, out = AESGCM(bytes(32)), bytearray(MEBIBYTE), bytearray(MEBIBYTE + 16)
        for number in range(self.size):
            cipher.encrypt_into(number.to_bytes(12, "big"), tile, None, out)

    def sha(self) -> None:
        """One SHA-256 pass over as many bytes."""
        hasher, tile = hashlib.sha256(), bytearray(MEBIBYTE)
        for _ in range(self.size):
            hasher.update(tile)

    def disk(self) -> None:
        """Write and flush as many bytes, nothing else."""
        path, tile = self.plain.parent / "raw", os.urandom(MEBIBYTE)
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        for _ in range(self.size):
            os.write(descriptor, tile)
        os.fsync(descriptor)
        os.close(descriptor)
        path.unlink()


def measure(times: int, size: int = 1024) -> list[Row]:
    """Rows in a memory file system, on the disk of the temporary folder, and of memory."""
    rows: list[Row] = []
    if MEMORY_FOLDER.is_dir():
        with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER) as folder:
            rows += _speed(Bench(Path(folder), size), times, "in memory", with_disk=False)
    with tempfile.TemporaryDirectory() as folder:
        rows += _speed(Bench(Path(folder), size), times, "on disk", with_disk=True)
    return [*rows, _memory()]


def _speed(bench: Bench, times: int, where: str, with_disk: bool) -> list[Row]:
    """Every limit and both of ours in turn, after one warm-up; ratio = time of the slower limit over ours."""
    runs: dict[str, Callable[[], None]] = {"aes": bench.aes, "sha": bench.sha}
    if with_disk:
        runs["disk"] = bench.disk
    runs |= {"seal": bench.seal, "open": bench.open}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(times + 1):
        for name, run in runs.items():
            start = perf_counter()
            run()
            if turn:
                seconds[name].append(perf_counter() - start)
    rows = []
    for ours in ("seal", "open"):
        limits = [max(pair) for pair in zip(seconds["aes"], seconds["sha"], strict=True)]
        row = Row("P6", f"{ours}, {bench.size} MiB, {where}", ">= 0.6 of the slower of AES-GCM and SHA-256")
        row.ratios = [limit / own for limit, own in zip(limits, seconds[ours], strict=True)]
        if with_disk:
            to_disk = [limit / own for limit, own in zip(seconds["disk"], seconds[ours], strict=True)]
            row.figures["of the disk's own write and flush"] = f"{sorted(to_disk)[len(to_disk) // 2]:.2f}"
        rows.append(row)
    return rows


def _memory() -> Row:
    """Peak of sealing and opening above imports; ratio = the largest size's over the smallest's."""
    peaks = {}
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            Bench(Path(folder), size)
            finished = subprocess.run(
                [sys.executable, "-c", CHILD, folder, str(size)], capture_output=True, text=True, check=True
            )
            found = json.loads(finished.stdout)
            peaks[size] = found["peak"] - found["before"]
    row = Row("P6", f"peak memory, {SIZES[-1]} MiB over {SIZES[0]} MiB", "about 1, each under 64 MiB")
    row.ratios = [peaks[SIZES[-1]] / peaks[SIZES[0]]]
    row.figures = {f"{size} MiB": f"{peak / MEBIBYTE:.1f} MiB" for size, peak in peaks.items()}
    return row
