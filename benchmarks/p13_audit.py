"""P13: how long an audit of a log of 100,000 entries takes, and how much memory, against bare signatures and hashes.

A federation of six members plays one real round over 64 layers, which somebody drops out of; then the log is made
longer with everybody's keys by rounds of the same kind, each with its own plan, headers, statements and signatures
(`tests.figures.grown_log`).  Every audit runs in a process of its own on the files as a server publishes them.  The
peer is libsodium verifying the signatures of all entries and headers, and SHA-256 of all entries, over data that was
prepared before.
"""

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.measure import SEED, Row
from fedspallm_secure.storage.log_reader import DOCUMENTS
from fedspallm_secure.storage.pem import CERTIFICATE, encode_pem

ENTRIES, MEMBERS, LAYERS = 100_000, 6, 64
PREKEYS = 256  # of each member: as many as a bundle holds
SECONDS, MEMORY = 60, 500  # at most; memory in MiB


def measure(times: int, entries: int = ENTRIES, layers: int = LAYERS) -> list[Row]:
    """Time, memory, and where the time goes.  times: audits, each with its peer after it."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, entries, layers)
        audits, bare = [], []
        for _ in range(times):
            audits.append(_run("verify", folder))
            bare.append(_run("bare", folder))
        spent = _run("where", folder)
    return [_time(audits), _ratio(audits, bare), _memory(audits), _where(spent)]


def make(folder: Path, entries: int, layers: int) -> None:
    """A log of so many entries in `folder`, with root certificate and the keys of all who signed in it."""
    from tests.app.audit.real_log import played, read
    from tests.figures.grown_log import Growing
    from tests.figures.laid_log import Parties, laid

    setting = {"members": MEMBERS, "layers": layers, "schedule": ("1/2",), "prekeys": PREKEYS}
    with TemporaryDirectory() as name, played(Path(name), **setting) as found:
        log = read(found)
        parties = Parties(log, found.server.scribe.statement, [])
    growing = Growing(log, SEED)
    growing.rounds(entries)
    growing.software(entries)
    files = laid(parties, log.bodies, None)
    files.update({f"{DOCUMENTS}/{name}": data for name, data in log.documents.items()})
    for path, data in files.items():
        (folder / "log" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "log" / path).write_bytes(data)
    (folder / "root.pem").write_bytes(encode_pem(CERTIFICATE, log.root))
    keys = {"server": log.server.public, **{name: signer.public for name, signer in log.members.items()}}
    (folder / "keys.json").write_text(json.dumps({name: key.hex() for name, key in keys.items()}))


def _run(what: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.audit_runs", what, str(folder)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(finished.stdout)
    if not found.get("passed", True):
        raise AssertionError("this log does not pass its audit")
    return found


def _time(audits: list[dict[str, Any]]) -> Row:
    first = audits[0]
    row = Row("P13", f"seconds of an audit of {first['entries']:,} entries", f"< {SECONDS}")
    row.ratios = [audit["seconds"] for audit in audits]
    cpu = median(audit["cpu"] for audit in audits)
    row.figures = {
        "entries per second": f"{first['entries'] / row.median:,.0f}",
        "seconds of CPU": f"{cpu:.1f}",
        "entries per second of CPU": f"{first['entries'] / cpu:,.0f}",
        "rounds": first["rounds"],
    }
    return row


def _ratio(audits: list[dict[str, Any]], bare: list[dict[str, Any]]) -> Row:
    row = Row("P13", "seconds of CPU of bare signatures and hashes over those of the audit", "1 is the limit")
    row.ratios = [peer["cpu"] / audit["cpu"] for audit, peer in zip(audits, bare, strict=True)]
    row.figures = {
        "signatures": f"{bare[0]['count']:,} in {bare[0]['signatures']:.1f} s",
        "SHA-256": f"{bare[0]['hashes']:.1f} s",
    }
    return row


def _memory(audits: list[dict[str, Any]]) -> Row:
    row = Row("P13", "MiB that an audit holds at most, imports and all", f"< {MEMORY}")
    row.ratios = [audit["peak"] / 2**20 for audit in audits]
    return row


def _where(spent: dict[str, Any]) -> Row:
    row = Row("P13", "share of the seconds of CPU that is not in what is named here", "")
    shares = {name: seconds / spent["cpu"] for name, seconds in spent["spent"].items()}
    row.ratios = [1 - sum(shares.values())]
    row.figures = {name: f"{share:.0%}" for name, share in shares.items()}
    return row
