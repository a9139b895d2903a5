"""Packages in the making: every part can be exchanged before the whole is hashed and signed (SPEC section 8)."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from tests.vectorkit.primitives import (
    Value,
    b64,
    canonical,
    digest,
    leaf_hash,
    seeded,
    sign,
    text_bytes,
    tiles_of,
    tree_root,
    u32,
)
from tests.vectorkit.sealing import hpke_seal, seal_body, xwing_open
from tests.vectorkit.world import CAST, FEDERATION, HYBRID, NOW, X25519, Party, RecipientKey, world

MAGIC = b"FSPKG1\r\n"
LABEL = "FSPKG1"
PLAN_HASH = seeded("plan").hex()
OUTSIDE = ("file", "prekeys", "offer", "log", "checkpoint", "cosignature")  # of rounds
BYTES = ("file", "prekeys", "contribution", "receipt", "result", "layer")
HELLO = b"Nothing in here is secret.\n"
JSON_BODY = b'{"greeting":"Nothing in here is secret.","number":7}'
RECORDED = Path(__file__).parents[1] / "vectors" / "recorded.json"


class Recordings:
    """Sealings for hybrid keys: the library draws their randomness, so they are kept, by hex(info)."""

    def __init__(self, *, record: bool = False) -> None:
        self.record = record
        self.kept: dict[str, str] = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
        self.used: dict[str, str] = {}

    def sealed(self, key: RecipientKey, info: bytes, file_key: bytes) -> bytes:
        name = info.hex()
        if name not in self.kept:
            if not self.record:
                raise SystemExit(
                    f"tests/vectors/recorded.json has no sealing for info {name}: the roster or a header has changed. "
                    "Run `python -m tests.make_vectors --record` and commit the new recordings."
                )
            public = hpke.MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(key.public[:1184]),
                X25519PublicKey.from_public_bytes(key.public[1184:]),
            )
            suite = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
            self.kept[name] = b64(suite.encrypt(file_key, public, info))
        sealed = base64.b64decode(self.kept[name])
        if xwing_open(key.secret, info, sealed) != file_key:
            raise SystemExit(f"the recording for info {name} does not hold the file key it should")
        self.used[name] = self.kept[name]
        return sealed

    def text(self) -> str:
        return json.dumps(self.used, indent=1, sort_keys=True) + "\n"


recordings = Recordings()


def context(
    kind: str = "file",
    sender: str = "member/birch",
    recipient: str = "member/alder",
    *,
    kem: str = X25519,
    roster: str = "main",
    **changes: Value,
) -> dict[str, Value]:
    """The `ctx` of a good package, then changed."""
    fields: dict[str, Value] = {
        "v": 1,
        "type": kind,
        "fed": FEDERATION,
        "roster": world().rosters[roster].hash,
        "round": 0 if kind in OUTSIDE else 4,
        "plan_hash": "*" if kind in OUTSIDE else PLAN_HASH,
        "gid": "*",
        "sender": sender,
        "sender_key": CAST[sender].key_id,
        "recipient": recipient,
        "recipient_key": CAST[recipient].keys[kem].id,
        "kem": kem,
        "seq": 17,
        "created": NOW - 3_600,
        "not_after": NOW + 7 * 86_400,
        "checkpoint": "",
        "body_type": "bytes" if kind in BYTES else "json",
    }
    return {**fields, **changes}


def info_of(ctx: Mapping[str, Value]) -> bytes:
    return digest("fsps/1/kem", text_bytes(ctx))


@dataclass(frozen=True)
class Draft:
    """A package in the making; what is None is computed as a good sender would.

    signer, sealed_to: by default those that ctx names.  enc_info, body_info: what `enc` and the body are bound to.
    name: where file key, salt and ephemeral key come from.
    """

    ctx: Mapping[str, Value]
    plaintext: bytes = HELLO
    name: str = "default"
    signer: Party | None = None
    sealed_to: RecipientKey | None = None
    enc_info: bytes | None = None
    body_info: bytes | None = None
    enc: bytes | None = None
    body: bytes | None = None
    fields: Mapping[str, Value] | None = None

    def but(self, **changes: object) -> "Draft":
        return replace(self, **changes)

    @property
    def file_key(self) -> bytes:
        return seeded(f"file key/{self.name}")

    @property
    def salt(self) -> bytes:
        return seeded(f"salt/{self.name}", 24)

    @property
    def ephemeral(self) -> bytes:
        return seeded(f"ephemeral/{self.name}")

    @property
    def info(self) -> bytes:
        return info_of(self.ctx)

    @property
    def target(self) -> RecipientKey:
        return self.sealed_to or CAST[str(self.ctx["recipient"])].keys[str(self.ctx["kem"])]

    def sealed_key(self) -> bytes:
        if self.enc is not None:
            return self.enc
        info = self.info if self.enc_info is None else self.enc_info
        if self.target.kem == HYBRID:
            return recordings.sealed(self.target, info, self.file_key)
        return hpke_seal(self.target.public, self.ephemeral, info, self.file_key)

    def sealed_body(self) -> bytes:
        if self.body is not None:
            return self.body
        info = self.info if self.body_info is None else self.body_info
        return seal_body(self.file_key, self.salt, info, self.plaintext)

    def hashes(self) -> list[bytes]:
        return [leaf_hash(tile) for tile in tiles_of(self.sealed_body())]

    def header_fields(self) -> dict[str, Value]:
        fields: dict[str, Value] = {
            "body_len": len(self.sealed_body()),
            "body_root": tree_root(self.hashes()).hex(),
            "tiles": len(self.hashes()),
            "enc": b64(self.sealed_key()),
            "ctx": self.ctx,
        }
        return {**fields, **(self.fields or {})}

    def text(self) -> str:
        return canonical(self.header_fields())

    def signed(self, header: bytes) -> bytes:
        return sign((self.signer or CAST[str(self.ctx["sender"])]).signing, LABEL, header)

    def pack(
        self, header: bytes | str | None = None, *, signature: bytes | None = None, hashes: bytes | None = None
    ) -> bytes:
        """The whole file, around another header, signature or list of hashes where they are given."""
        if header is None:
            header = self.text()
        if isinstance(header, str):
            header = header.encode()
        if signature is None:
            signature = self.signed(header)
        if hashes is None:
            hashes = b"".join(self.hashes())
        return MAGIC + u32(len(header)) + header + signature + hashes + self.sealed_body()


def package_digest(header: bytes) -> str:
    return digest("fsps/1/digest/package", header).hex()
