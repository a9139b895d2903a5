"""Every vector of tests/vectors through the product: the expected class, and no byte released by a refusal."""

import hashlib
import json
import os
import socket
from functools import cache
from pathlib import Path

import pytest

from fedspallm_secure import errors
from fedspallm_secure.app import packages
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.crypto.certificates import parse_root
from fedspallm_secure.crypto.encoding import decode_base64
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.revocation import RevocationList
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret
from fedspallm_secure.protocol.packages import Head, Header
from fedspallm_secure.protocol.receiving import Awaited, OwnKey, Reader, Trust
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.storage.register import open_register
from tests.vector_format import VECTORS, Vector, header_and_signature, load, load_all

VECTORS_FOUND = load_all()
PARTIES = json.loads((VECTORS / "parties.json").read_text())


@cache
def trust(home: str) -> Trust:
    """What the recipient pins.  A roster that cannot be read is refused here, before any package is opened."""
    found = PARTIES["homes"][home]
    root = parse_root(decode_base64(PARTIES["roots"][found["root"]]["certificate"], "root"), found["federation"])
    crl = RevocationList.parse(decode_base64(PARTIES["crls"][found["crl"]], "crl"), root)
    return Trust(root, Roster.parse(PARTIES["rosters"][found["roster"]]["text"].encode(), root), crl)


def reader(home: str) -> tuple[Reader, dict[str, RecipientSecret]]:
    found = PARTIES["homes"][home]
    party = Party.parse(found["party"])
    secrets = {
        key["id"]: RecipientSecret(Kem(key["kem"]), decode_base64(key["secret"], "key")) for key in found["keys"]
    }
    assert all(secret.recipient_key.key_id == key_id for key_id, secret in secrets.items())
    statement = trust(home).roster.entry(party).key_statement
    own = {key_id: OwnKey(key.kem, statement.not_before, statement.not_after) for key_id, key in secrets.items()}
    return Reader(party, own), secrets


def awaited(vector: Vector) -> Awaited:
    said = dict(vector.awaited)
    return Awaited(
        types=frozenset({said["type"]}) if "type" in said else None,
        round=int(said["round"]) if "round" in said else None,
        plan_hash=said.get("plan_hash"),
        group=said.get("gid"),
        plaintext_length=int(said["length"]) if "length" in said else None,
    )


def lay(vector: Vector, folder: Path) -> Path:
    """Put what the vector describes under a name."""
    path = folder / "arrived.fspkg"
    if vector.file in {"", "symbolic-link", "hard-link"}:
        (path if not vector.file else folder / "elsewhere").write_bytes(vector.package())
    if vector.file == "symbolic-link":
        path.symlink_to(folder / "elsewhere")
    elif vector.file == "hard-link":
        path.hardlink_to(folder / "elsewhere")
    elif vector.file == "directory":
        path.mkdir()
    elif vector.file == "pipe":
        os.mkfifo(path)
    elif vector.file == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    elif vector.file == "device":
        path = Path("/dev/null")
    elif vector.file == "sparse":
        with path.open("wb") as file:
            file.truncate(vector.size)
    return path


def open_vector(vector: Vector, folder: Path, output: Path) -> None:
    path = lay(vector, folder)
    trusted = trust(vector.recipient)
    who, secrets = reader(vector.recipient)
    with open_register(folder / "register.sqlite") as register:
        for name, digest in vector.seen:
            encoded, signature = header_and_signature(load(VECTORS / "package" / f"{name}.vec").package())
            head = Head(encoded, Header.parse(encoded), signature)
            assert head.digest.hex() == digest
            register.fill(head, "earlier", vector.now)
            register.publish(head)
        desk = packages.Desk(who.party, trusted, register, folder / "evidence")
        packages.open_sealed(desk, who, secrets, path, output, Silent(), awaited(vector))


@pytest.mark.parametrize("vector", VECTORS_FOUND, ids=lambda vector: vector.name)
def test_vector(vector, tmp_path, monkeypatch):
    monkeypatch.setattr("fedspallm_secure.app.packages.time.time", lambda: vector.now)
    released = tmp_path / "released"
    released.mkdir()
    output = released / "plain"
    if vector.expect == "success":
        open_vector(vector, tmp_path, output)
        assert hashlib.sha256(output.read_bytes()).hexdigest() == vector.sha256
        return
    with pytest.raises(errors.FedSpaError) as caught:
        open_vector(vector, tmp_path, output)
    assert type(caught.value).__name__ == vector.expect
    assert list(released.iterdir()) == []


def test_there_are_enough_of_them():
    faults = [vector for vector in VECTORS_FOUND if vector.expect != "success"]
    assert len(faults) >= 150
    assert len(VECTORS_FOUND) > len(faults)
