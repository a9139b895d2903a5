"""Whoever is not the right party at the other end of a TLS connection gets nothing: as a client, and as a server.

    python -m tests.attacks.tls_cases     prints the figures as JSON

Every case is an attacker with a certificate of its own making, mostly one that the federation's real root has signed,
against the real server or the real courier, over TCP.  A client is accepted when a request of its was answered with
200, a server when one byte of a request reached it.  Each case is run with a key on P-256 and with an Ed25519 key.
"""

import asyncio
import json
import socket
import ssl
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from fedspallm_secure.crypto.certificate_fields import extended_key_usage, key_usage
from fedspallm_secure.crypto.certificates import root_certificate
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.profiles import DAY
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.errors import FedSpaError
from tests.authority import PROFILES, Authority, signer
from tests.crypto.forgery import forge
from tests.transport.ground import HASTY, HUB, NORTH, Place, Town, running

KEYS: dict[str, Callable[[], "Key"]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "Ed25519": Ed25519PrivateKey.generate,
}
Key = ec.EllipticCurvePrivateKey | Ed25519PrivateKey
CLIENT, SERVER = "client", "server"
OLD = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2)
EVERY = ssl.TLSVersion.MAXIMUM_SUPPORTED
REQUEST = b"GET /v1/hello HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n"
PATIENCE = 5.0  # seconds


@dataclass(frozen=True)
class Shown:
    """What an attacker shows: certificates, its own first, and the key; the versions that it speaks; whom it asks."""

    chain: tuple[bytes, ...] = ()
    key: Key | None = None
    version: ssl.TLSVersion = EVERY
    plain: bool = False
    host: str = "127.0.0.1"


@dataclass
class Forger:
    """Makes certificates that differ from a good one in one thing.  side: which end the attacker is."""

    town: Town
    key: Key
    side: str
    now: int = field(default_factory=lambda: int(time.time()))

    @property
    def good(self) -> bytes:
        """The honest leaf that the attacker would like to have."""
        return self.town.leaf(NORTH if self.side == CLIENT else HUB).der

    @property
    def root(self) -> Ed25519Signer:
        return self.town.authority.key

    def leaf(self, *changes, der: bytes | None = None, by: Ed25519Signer | None = None, **more) -> bytes:
        """A leaf for the attacker's key; changes: (extension or type, critical or None to leave it out)."""
        exchanged = {}
        for value, critical in changes:
            exchanged[value if critical is None else type(value)] = None if critical is None else (value, critical)
        return forge(der or self.good, by or self.root, exchanged, key=self.key.public_key(), **more)

    def names(self, *uris: str, dns: tuple[str, ...] = ()) -> tuple[x509.SubjectAlternativeName, bool]:
        """Another subject alternative name; a server keeps its address, so that only the name is wrong."""
        found = x509.load_der_x509_certificate(self.good).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        rest = [name for name in found.value if not isinstance(name, x509.UniformResourceIdentifier)]
        more = [x509.DNSName(name) for name in dns]
        return x509.SubjectAlternativeName([*map(x509.UniformResourceIdentifier, uris), *rest, *more]), False

    def shown(self, *chain: bytes, **more) -> Shown:
        return Shown(chain, self.key, **more)


@dataclass(frozen=True)
class Case:
    """One attack."""

    name: str
    side: str
    make: Callable[[Forger], Shown]


def cases() -> Iterator[Case]:
    """All of them, without the kinds of keys."""
    for side in (CLIENT, SERVER):
        for version in OLD:
            yield Case(f"{version.name} alone", side, lambda f, v=version: f.shown(f.leaf(), version=v))
        yield Case("no TLS at all", side, lambda f: f.shown(f.leaf(), plain=True))
        for name, make in _FORGERIES.items():
            yield Case(name, side, make)
    for name, make in _CLIENTS.items():
        yield Case(name, CLIENT, make)
    for name, make in _SERVERS.items():
        yield Case(name, SERVER, make)


def _other_root(forger: Forger) -> bytes:
    """A root of the same name that somebody else has made."""
    return root_certificate(signer("tls stranger"), forger.town.root.federation, PROFILES, forger.now - 3 * DAY)


def _stranger(forger: Forger) -> Shown:
    return forger.shown(forger.leaf(by=signer("tls stranger")), _other_root(forger))


def _self_signed(forger: Forger) -> Shown:
    own = x509.load_der_x509_certificate(forger.good)
    builder = (
        x509.CertificateBuilder()
        .subject_name(own.subject)
        .issuer_name(own.subject)
        .public_key(forger.key.public_key())
        .serial_number(7)
        .not_valid_before(own.not_valid_before_utc)
        .not_valid_after(own.not_valid_after_utc)
    )
    for extension in own.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    algorithm = None if isinstance(forger.key, Ed25519PrivateKey) else SHA256()
    return forger.shown(builder.sign(forger.key, algorithm).public_bytes(Encoding.DER))


def _revoked(forger: Forger) -> Shown:
    forger.town.revoke(NORTH if forger.side == CLIENT else HUB)
    return forger.shown(forger.leaf())


def _intermediate(forger: Forger) -> Shown:
    """The root has path length 0, so nobody may stand between it and a leaf."""
    middle = signer("tls middle")
    identifier = x509.SubjectKeyIdentifier.from_public_key(_public(middle))
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "middle")])
    changes = {
        x509.BasicConstraints: (x509.BasicConstraints(ca=True, path_length=0), True),
        x509.KeyUsage: (key_usage(["keyCertSign", "cRLSign"]), True),
        x509.SubjectKeyIdentifier: (identifier, False),
        x509.ExtendedKeyUsage: None,
        x509.SubjectAlternativeName: None,
    }
    between = forge(forger.good, forger.root, changes, key=_public(middle), subject=name)
    authority = x509.AuthorityKeyIdentifier(identifier.digest, None, None)
    return forger.shown(forger.leaf((authority, False), by=middle, issuer=name), between)


def _leaf_as_authority(forger: Forger) -> Shown:
    """A leaf signs another leaf."""
    middle = signer("tls middle")
    between = forge(forger.good, forger.root, {}, key=_public(middle))
    subject = x509.load_der_x509_certificate(between).subject
    return forger.shown(forger.leaf(by=middle, issuer=subject), between)


def _public(key: Ed25519Signer) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(key.public)


def _signing_leaf(forger: Forger) -> Shown:
    der = forger.town.authority.leaf(NORTH if forger.side == CLIENT else HUB).der
    return forger.shown(forger.leaf(der=der))


def _uri(forger: Forger, federation: str = "lungs.example", party: str = "") -> str:
    return f"spiffe://{federation}/{party or (NORTH if forger.side == CLIENT else HUB)}"


_FORGERIES: dict[str, Callable[[Forger], Shown]] = {
    "another authority": _stranger,
    "signed by itself": _self_signed,
    "expired": lambda f: f.shown(f.leaf(start=f.now - DAY, end=f.now - 60)),
    "not valid yet": lambda f: f.shown(f.leaf(start=f.now + 3600)),
    "withdrawn": _revoked,
    "outlives the root": lambda f: f.shown(f.leaf(end=f.town.root.not_after + DAY)),
    "two URIs": lambda f: f.shown(f.leaf(f.names(_uri(f), _uri(f, party="member/south")))),
    "the same URI twice": lambda f: f.shown(f.leaf(f.names(_uri(f), _uri(f)))),
    "no URI": lambda f: f.shown(f.leaf(f.names(dns=("north.lungs.example",)))),
    "no alternative name": lambda f: f.shown(f.leaf((x509.SubjectAlternativeName, None))),
    "another federation": lambda f: f.shown(f.leaf(f.names(_uri(f, "hearts.example")))),
    "a federation below this one": lambda f: f.shown(f.leaf(f.names(_uri(f, "x.lungs.example")))),
    "no such role": lambda f: f.shown(f.leaf(f.names(_uri(f, party="admin/north")))),
    "a name in capitals": lambda f: f.shown(f.leaf(f.names(_uri(f).replace("north", "North").replace("hub", "Hub")))),
    "a longer path": lambda f: f.shown(f.leaf(f.names(_uri(f) + "/x"))),
    "not in the roster": lambda f: f.shown(
        f.leaf(f.names(_uri(f, party="member/nobody" if f.side == CLIENT else "server/nobody")))
    ),
    "a signing leaf": _signing_leaf,
    "an authority's leaf": lambda f: f.shown(f.leaf((x509.BasicConstraints(ca=True, path_length=0), True))),
    "an intermediate": _intermediate,
    "a leaf as authority": _leaf_as_authority,
    "other key usage": lambda f: f.shown(f.leaf((key_usage(["keyCertSign"]), True))),
    "more key usage": lambda f: f.shown(f.leaf((key_usage(["digitalSignature", "cRLSign"]), True))),
    "no key usage": lambda f: f.shown(f.leaf((x509.KeyUsage, None))),
    "no extended key usage": lambda f: f.shown(f.leaf((x509.ExtendedKeyUsage, None))),
    "any extended key usage": lambda f: f.shown(
        f.leaf((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False))
    ),
    "both extended key usages": lambda f: f.shown(f.leaf((extended_key_usage(["serverAuth", "clientAuth"]), False))),
    "an extension too many": lambda f: f.shown(f.leaf((x509.TLSFeature([x509.TLSFeatureType.status_request]), False))),
}
_CLIENTS: dict[str, Callable[[Forger], Shown]] = {
    "no certificate": lambda f: Shown(),
    "a server as client": lambda f: f.shown(f.leaf(der=f.town.leaf(HUB).der)),
    "a server's name with a client's usage": lambda f: f.shown(f.leaf(f.names(_uri(f, party="server/hub")))),
    "a host name of a member": lambda f: f.shown(f.leaf(f.names(_uri(f), dns=("hub.lungs.example",)))),
}
_SERVERS: dict[str, Callable[[Forger], Shown]] = {
    "a member as server": lambda f: f.shown(f.leaf(der=f.town.leaf(NORTH).der)),
    "a member's name with a server's usage": lambda f: f.shown(f.leaf(f.names(_uri(f, party="member/north")))),
    "another server of the federation": lambda f: f.shown(f.leaf(f.names(_uri(f, party="server/spare")))),
    "another host": lambda f: f.shown(
        f.leaf(
            (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(_uri(f)), x509.DNSName("b.example")]), False)
        )
    ),
    "a wildcard": lambda f: f.shown(
        f.leaf((x509.SubjectAlternativeName([x509.UniformResourceIdentifier(_uri(f)), x509.DNSName("*.0.0.1")]), False))
    ),
}


# --- the two ends -----------------------------------------------------------------------------------------------------


def context(shown: Shown, side: str, folder: Path) -> ssl.SSLContext:
    """What the attacker speaks TLS with: it checks nothing."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if side == CLIENT else ssl.PROTOCOL_TLS_SERVER)
    if side == CLIENT:
        made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    if shown.version is not EVERY:
        made.set_ciphers("DEFAULT:@SECLEVEL=0")  # for the versions that nobody should speak any more
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            made.minimum_version = made.maximum_version = shown.version
    if shown.key is not None:
        load(made, shown, folder)
    return made


def load(made: ssl.SSLContext, shown: Shown, folder: Path) -> None:
    """Show this chain from now on."""
    assert shown.key is not None
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_text("".join(map(ssl.DER_cert_to_PEM_cert, shown.chain)))
    key.write_bytes(shown.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    made.load_cert_chain(chain, key)


async def as_client(place: Place, shown: Shown, folder: Path) -> bool:
    """Whether the server answers a request with 200."""
    used = None if shown.plain else context(shown, CLIENT, folder)
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", place.port, ssl=used)
            writer.write(REQUEST)
            answer = await reader.read()
            writer.close()
    except (OSError, TimeoutError):
        return False
    return answer.startswith(b"HTTP/1.1 200")


async def as_server(town: Town, shown: Shown, folder: Path) -> bool:
    """Whether a courier sends anything."""
    got: list[bytes] = []
    used = None if shown.plain else context(shown, SERVER, folder)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            got.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=used)
    port = server.sockets[0].getsockname()[1]
    async with town.courier(port, manners=HASTY) as courier:
        with suppress(FedSpaError):
            await courier.hello()
    server.close()
    await server.wait_closed()
    return any(data for data in got if not (shown.plain and data.startswith(b"\x16\x03")))


async def resumed(place: Place, town: Town, folder: Path, with_key: bool = True) -> bool:
    """Whether a session of before a withdrawal is worth anything after it; the honest key, since no other gets one.

    with_key: whether who has the session has the withdrawn certificate's key, too; else it shows what it signed itself.
    """
    honest = town.credentials(NORTH)
    used = context(Shown((honest.certificate,), honest.key), CLIENT, folder)

    def talk(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool, bytes]:
        plain = socket.create_connection(("127.0.0.1", place.port), PATIENCE)
        with used.wrap_socket(plain, session=session) as sock:
            sock.sendall(REQUEST)
            answer = sock.recv(100)  # tickets come before it
            return sock.session, bool(sock.session_reused), answer

    session, _, first = await asyncio.to_thread(talk, None)
    assert first.startswith(b"HTTP/1.1 200")
    town.revoke(NORTH)
    if not with_key:  # a session holds in its own context alone; a key of the same type takes the place of the first
        own = _self_signed(Forger(town, KEYS["P-256"](), CLIENT))
        load(used, own, folder)
    try:
        _, reused, answer = await asyncio.to_thread(talk, session)
    except OSError:
        return False
    return reused or answer.startswith(b"HTTP/1.1 200")


@asynccontextmanager
async def _stage(folder: Path):
    town = Town(parties=(*Town.parties, Party.parse("server/spare")))
    town.authority = Authority(key=signer("tls root"), now=int(time.time()) - 2 * DAY)
    town.__post_init__()
    async with running(folder, town=town) as place:
        yield place, town


async def _accepted(case: Case, kind: str, folder: Path) -> bool:
    async with _stage(folder) as (place, town):
        shown = case.make(Forger(town, KEYS[kind](), case.side))
        return await (as_client(place, shown, folder) if case.side == CLIENT else as_server(town, shown, folder))


async def _all(folder: Path) -> tuple[int, list[str]]:
    count, accepted = 0, []
    for case in cases():
        for kind in KEYS:
            count += 1
            if await _accepted(case, kind, folder):
                accepted.append(f"{case.side}: {case.name}, {kind}")
    for with_key in (True, False):  # the TLS key of a party is on P-256, so there is no session of another kind
        count += 1
        async with _stage(folder) as (place, town):
            if await resumed(place, town, folder, with_key):
                accepted.append(f"client: a session of before, {'with' if with_key else 'without'} its key")
    return count, accepted


def run(folder: Path) -> tuple[int, list[str]]:
    """How many cases there were, and which were accepted."""
    return asyncio.run(_all(folder))


def figures() -> dict[str, object]:
    """What the command prints."""
    with tempfile.TemporaryDirectory() as folder:
        count, accepted = run(Path(folder))
    return {"cases": count, "accepted": len(accepted), "failures": accepted}


if __name__ == "__main__":
    found = figures()
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    sys.exit(bool(found["failures"]))
