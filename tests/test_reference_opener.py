"""The second opener says of every vector what the specification says."""

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.reference_opener import Refused, digest, open_package
from tests.vector_format import VECTORS, header_and_signature, load, load_all

PARTIES = json.loads((VECTORS / "parties.json").read_text("utf-8"))
SKEW = 24 * 3600


def private_key(kem, secret):
    """Key identifier, kem and private key."""
    key = curve = X25519PrivateKey.from_private_bytes(secret[-32:])
    public = curve.public_key().public_bytes_raw()
    if kem == "mlkem768-x25519":
        lattice = MLKEM768PrivateKey.from_seed_bytes(secret[:-32])
        public = lattice.public_key().public_bytes_raw() + public
        key = hpke.MLKEM768X25519PrivateKey(lattice, curve)
    return digest(b"fsps/1/digest/recipient-key", kem.encode(), public), kem, key


def register(seen):
    """Row by number for the vectors that were received before."""
    rows = {}
    for name, package_digest in seen:
        header, _ = header_and_signature(load(VECTORS / "package" / f"{name}.vec").package())
        assert digest(b"fsps/1/digest/package", header) == package_digest
        ctx = json.loads(header)["ctx"]
        rows[tuple(ctx[field] for field in ("fed", "round", "type", "sender", "sender_key", "seq"))] = package_digest
    return rows


def outcome(vector):
    """Error class, step and SHA-256 of the plaintext."""
    home = PARTIES["homes"][vector.recipient]
    keys = [private_key(key["kem"], base64.b64decode(key["secret"])) for key in home["keys"]]
    try:
        plaintext = open_package(
            vector.package(),
            PARTIES["rosters"][home["roster"]]["text"].encode(),
            base64.b64decode(PARTIES["crls"][home["crl"]]),
            base64.b64decode(PARTIES["roots"][home["root"]]["certificate"]),
            home["federation"],
            home["party"],
            {identifier: (kem, key) for identifier, kem, key in keys},
            vector.now,
            SKEW,
            {name: int(value) if name in ("round", "length") else value for name, value in vector.awaited},
            register(vector.seen),
        )
    except Refused as refused:
        step, error = refused.args
        return error, step, ""
    return "success", 12, hashlib.sha256(plaintext).hexdigest()


@pytest.mark.parametrize("vector", [v for v in load_all() if not v.file], ids=lambda vector: vector.name)
def test_says_what_the_vector_says(vector):
    assert outcome(vector) == (vector.expect, vector.step, vector.sha256)
