"""The cast: one federation, its rosters and revocation lists, and the homes that packages arrive at."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.vectorkit import authority
from tests.vectorkit.authority import DAY, Leaf, Root, key_named, serial_named
from tests.vectorkit.primitives import (
    b64,
    fingerprint,
    recipient_key_id,
    seeded,
    signing_key_id,
    statement,
    statement_digest,
)

NOW = 1_790_000_000
LATEST = 253_402_300_799
START, END = NOW - 30 * DAY, NOW + 335 * DAY
ROOT_END = END + 365 * DAY
CRL_START, CRL_END = NOW - DAY, NOW + 29 * DAY
FEDERATION = "clinics.example"
X25519, HYBRID = "x25519", "mlkem768-x25519"
WARNING = (
    "PUBLIC TEST KEYS. Every secret in this file is published on purpose and computed from a fixed text. "
    "Never trust this root or these keys."
)


@dataclass(frozen=True)
class RecipientKey:
    """A key that packages are sealed to; `secret` as in a key file (SPEC section 7)."""

    kem: str
    secret: bytes
    public: bytes

    @property
    def id(self) -> str:
        return recipient_key_id(self.kem, self.public)


def x25519_key(name: str) -> RecipientKey:
    secret = seeded(f"x25519/{name}")
    return RecipientKey(X25519, secret, X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw())


def hybrid_key(name: str) -> RecipientKey:
    seed, x_secret = seeded(f"ml-kem/{name}", 64), seeded(f"hybrid-x25519/{name}")
    public = MLKEM768PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw()
    x_public = X25519PrivateKey.from_private_bytes(x_secret).public_key().public_bytes_raw()
    return RecipientKey(HYBRID, seed + x_secret, public + x_public)


@dataclass(frozen=True)
class Party:
    """Somebody who signs and receives; all keys come from the name."""

    name: str
    signing: Ed25519PrivateKey
    keys: Mapping[str, RecipientKey]

    @property
    def role(self) -> str:
        return self.name.split("/")[0]

    @property
    def id(self) -> str:
        return self.name.split("/")[1]

    @property
    def key_id(self) -> str:
        return signing_key_id(self.signing)


@cache
def party(name: str, *, hybrid: bool = False) -> Party:
    keys = [hybrid_key(name)] if hybrid else []
    return Party(name, key_named(name), {key.kem: key for key in [*keys, x25519_key(name)]})


CAST = {
    p.name: p
    for p in (
        party("auditor/inspector"),
        party("key-holder/keeper"),
        party("member/alder", hybrid=True),
        party("member/birch"),
        party("member/cedar"),
        party("server/coordinator", hybrid=True),
        party("witness/notary"),
    )
}
SMALL_CAST = (party("member/alder"), party("member/birch"))


@dataclass(frozen=True)
class Roster:
    """A roster as its parties have it."""

    text: bytes

    @property
    def hash(self) -> str:
        return statement_digest("roster", self.text)


@dataclass(frozen=True)
class Home:
    """What a receiver holds: names of a roster and a revocation list, and its own keys."""

    party: Party
    roster: str = "main"
    crl: str = "main"

    def listing(self) -> dict:
        keys = [
            {"kem": key.kem, "id": key.id, "public": b64(key.public), "secret": b64(key.secret)}
            for key in self.party.keys.values()
        ]
        return {
            "federation": FEDERATION,
            "party": self.party.name,
            "root": "main",
            "roster": self.roster,
            "crl": self.crl,
            "keys": keys,
        }


@dataclass(frozen=True)
class World:
    """Everything that parties.json holds."""

    root: Root
    rosters: dict[str, Roster] = field(default_factory=dict)
    crls: dict[str, bytes] = field(default_factory=dict)
    homes: dict[str, Home] = field(default_factory=dict)


def key_statement(owner: Party, start: int = START, end: int = END) -> bytes:
    fields = {
        "federation": FEDERATION,
        "role": owner.role,
        "id": owner.id,
        "keys": [{"kem": key.kem, "public": b64(key.public)} for key in owner.keys.values()],
        "not_before": start,
        "not_after": end,
    }
    return statement("key-statement", fields, owner.signing)


def plain_leaf(owner: Party, **changes: object) -> Leaf:
    uri = f"spiffe://{FEDERATION}/{owner.name}"
    fields = {"uri": uri, "key": owner.signing, "start": START, "end": END, "serial": serial_named(owner.name)}
    return Leaf(**{**fields, **changes})


def make_roster(
    root: Root,
    version: int,
    parties: Sequence[Party],
    *,
    leaves: Mapping[str, Leaf] | None = None,
    statements: Mapping[str, bytes] | None = None,
    crl_number: int = 5,
) -> Roster:
    rows = [
        {
            "role": owner.role,
            "id": owner.id,
            "signing_certificate": b64(authority.make_leaf(root, (leaves or {}).get(owner.name) or plain_leaf(owner))),
            "key_statement": b64((statements or {}).get(owner.name) or key_statement(owner)),
        }
        for owner in sorted(parties, key=lambda p: (p.role, p.id))
    ]
    fields = {
        "federation": FEDERATION,
        "version": version,
        "created": START,
        "crl_number": crl_number,
        "parties": rows,
    }
    return Roster(statement("roster", fields, root.key))


def leaf_faults(root: Root) -> dict[str, Leaf]:
    """Certificates of member/birch that a reader refuses in step 6, by name."""
    birch = CAST["member/birch"]
    impostor = key_named("root/impostor")
    found = {f"cert-{name}": plain_leaf(birch, change=how) for name, (_, how) in wrong_leaves().items()}
    found["cert-other-issuer"] = plain_leaf(birch, issuer_name="another root")
    found["cert-impostor"] = plain_leaf(birch, signed_by=impostor)
    found["cert-self-signed"] = plain_leaf(birch, signed_by=birch.signing)
    found["cert-ends-before-now"] = plain_leaf(birch, end=NOW - 1)
    found["cert-outlives-root"] = plain_leaf(birch, end=ROOT_END + 1)
    found["cert-ends-now"] = plain_leaf(birch, end=NOW)
    found["cert-starts-now"] = plain_leaf(birch, start=NOW)
    found["cert-starts-after-now"] = plain_leaf(birch, start=NOW + 1)
    return found


def wrong_leaves() -> dict[str, tuple[str, authority.Change]]:
    return authority.wrong_leaves(FEDERATION)


@cache
def world() -> World:
    root = authority.make_root("main", FEDERATION, START, ROOT_END)
    made = World(root)
    nobody, birch = serial_named("nobody"), serial_named("member/birch")
    made.crls["main"] = authority.make_crl(root, 5, CRL_START, CRL_END, [nobody])
    made.crls["older"] = authority.make_crl(root, 4, CRL_START - DAY, CRL_END, [])
    made.crls["newer"] = authority.make_crl(root, 6, NOW - 60, CRL_END, [nobody, serial_named("member/cedar")])
    made.crls["birch-revoked"] = authority.make_crl(root, 6, NOW - 60, CRL_END, [nobody, birch])
    impostor = authority.make_root("impostor", FEDERATION, START, ROOT_END)
    made.crls["impostor"] = authority.make_crl(impostor, 7, NOW - 60, CRL_END, [nobody])
    made.crls["at-skew"] = authority.make_crl(root, 6, NOW + DAY, CRL_END, [nobody])
    made.crls["ahead"] = authority.make_crl(root, 6, NOW + DAY + 1, CRL_END, [nobody])
    made.rosters["main"] = make_roster(root, 3, list(CAST.values()))
    made.rosters["older"] = make_roster(root, 2, SMALL_CAST)
    for version, (name, leaf) in enumerate(leaf_faults(root).items(), start=100):
        made.rosters[name] = make_roster(root, version, SMALL_CAST, leaves={"member/birch": leaf})
    alder = SMALL_CAST[0]
    for version, (name, start, end) in enumerate(
        [("keys-ended", START, NOW - DAY), ("keys-not-yet", NOW + DAY, END)], start=200
    ):
        late = {"member/alder": key_statement(alder, start, end)}
        made.rosters[name] = make_roster(root, version, SMALL_CAST, statements=late)
    for owner in CAST.values():
        made.homes[owner.id] = Home(owner)
    for name in ("older", "newer", "birch-revoked", "impostor", "at-skew", "ahead"):
        made.homes[f"alder-crl-{name}"] = Home(CAST["member/alder"], crl=name)
    for name in made.rosters:
        if name not in ("main", "older"):
            made.homes[f"alder-{name}"] = Home(alder, roster=name)
    return made


def parties_json() -> str:
    made = world()
    listing = {
        "warning": WARNING,
        "roots": {"main": {"certificate": b64(made.root.der), "fingerprint": fingerprint(made.root.der)}},
        "crls": {name: b64(der) for name, der in made.crls.items()},
        "rosters": {name: {"hash": r.hash, "text": r.text.decode()} for name, r in made.rosters.items()},
        "homes": {name: home.listing() for name, home in made.homes.items()},
    }
    return json.dumps(listing, indent=1, sort_keys=True) + "\n"
