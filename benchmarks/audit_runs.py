"""One run of P13 in a process of its own: `python -m benchmarks.audit_runs verify|where|bare FOLDER` prints JSON.

FOLDER holds a published log and a root certificate.  Imports nothing that an audit does not.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import nacl.bindings

from fedspallm_secure.app.audit.opening import open_log_at, read_root
from fedspallm_secure.app.audit.verifying import Basis, failed, verify
from fedspallm_secure.app.memory import peak_bytes
from fedspallm_secure.crypto import encoding
from fedspallm_secure.crypto.encoding import pae
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.protocol.audit.entries import Entry, read_head


def audit(folder: Path) -> dict[str, Any]:
    """`fedprune audit verify`: seconds, seconds of CPU, and peak bytes."""
    start, cpu = perf_counter(), process_time()
    with open_log_at(folder / "log") as log:
        report = verify(log, read_root(folder / "root.pem"), Basis(), lambda *_: None)
    seconds, cpu = perf_counter() - start, process_time() - cpu
    found = {"passed": failed(report) is None, "entries": report.size, "rounds": report.rounds}
    return {**found, "seconds": seconds, "cpu": cpu, "peak": peak_bytes()}


def where(folder: Path) -> dict[str, Any]:
    """The same, with the seconds of CPU that some calls take; all of it is a little slower for that."""
    spent: dict[str, float] = {}

    def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def told(*values: Any, **options: Any) -> Any:
            start = process_time()
            try:
                return call(*values, **options)
            finally:
                spent[name] = spent.get(name, 0) + process_time() - start

        return told

    nacl.bindings.crypto_sign_open = timed("signatures", nacl.bindings.crypto_sign_open)
    encoding._dump = timed("spelling JSON again", encoding._dump)
    json.loads = timed("parsing JSON", json.loads)
    hashlib.sha256 = timed("SHA-256", hashlib.sha256)  # but not what `hashlib.new` and `update` do
    return {"spent": spent, **audit(folder)}


def bare(folder: Path) -> dict[str, Any]:
    """What nobody can leave out, in seconds of CPU: as many signatures, by libsodium, and the SHA-256 of all bytes."""
    signatures, hashed, count = 0.0, 0.0, 0
    keys: dict[str, bytes] = json.loads((folder / "keys.json").read_text())
    keys = {name: bytes.fromhex(str(key)) for name, key in keys.items()}
    with open_log_at(folder / "log") as log:
        for body in log.source.entries(log.checkpoint.size):
            start = process_time()
            hashlib.sha256(b"\0" + body).digest()
            hashed += process_time() - start
            for public, message in _signed(body, keys):
                start = process_time()
                nacl.bindings.crypto_sign_open(message, public)
                signatures += process_time() - start
                count += 1
    return {"cpu": signatures + hashed, "signatures": signatures, "hashes": hashed, "count": count}


def _signed(body: bytes, keys: dict[str, bytes]) -> list[tuple[bytes, bytes]]:
    """Keys, and signatures with what they are over."""
    entry = Entry.parse(body)
    found = [(keys["server"], entry.signature + pae(Label.SIGN_ENTRY.encoded, entry.payload))]
    if "head" in entry.data:
        head = read_head(entry.data["head"])
        found.append((keys[entry.actor.id], head.signature + pae(Label.SIGN_PACKAGE.encoded, head.encoded)))
    return found


if __name__ == "__main__":
    found = {"verify": audit, "where": where, "bare": bare}[sys.argv[1]](Path(sys.argv[2]))
    sys.stdout.write(json.dumps(found) + "\n")
