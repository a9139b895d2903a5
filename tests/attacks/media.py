"""Hostile media: only good packages of good bundles get into the inbox, and nothing else is written.

    python -m tests.attacks.media     prints the figures as JSON

Each case has a medium of its own, with a bundle of the server for a member, and a member without any past.  The case
spoils the medium; then the member imports it.
"""

import json
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedspallm_secure.app.courier import inspecting
from fedspallm_secure.app.courier.importing import import_from
from fedspallm_secure.app.courier.media import LENGTH_SIZE, MAGIC, open_medium
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.crypto.encoding import canonical_json, encode_base64
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.signing import Ed25519Signer, key_id, sign
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.protocol.bundles import Bundle, BundleFile, Contents
from fedspallm_secure.protocol.limits import BUNDLE_FILES_LIMIT, BUNDLE_LIMIT, MEDIUM_LIMIT
from fedspallm_secure.protocol.packages import Head
from fedspallm_secure.protocol.statements import STATEMENT_START
from tests.attacks.hostile import Skipped, device, listening
from tests.attacks.hostile import _time_limit as time_limit
from tests.couriers import HUB, NORTH, SOUTH, Couriers, FakePost
from tests.parties import DAY, Federation

MIB = 1 << 20
TIB = 1 << 40
BOTH, ONLY_B, NOTHING = frozenset("ab"), frozenset("b"), frozenset()


@dataclass
class Figures:
    """cases: how many ran; outside: files that appeared or changed where nothing may; accepted: what came in that must
    not; failures: everything that was not as expected, one line each."""

    cases: int = 0
    outside: int = 0
    accepted: int = 0
    failures: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "cases": self.cases,
            "writes_outside_quarantine": self.outside,
            "wrong_acceptances": self.accepted,
            "failures": self.failures,
            "skipped": self.skipped,
        }


class Goods:
    """Packages and keys that all cases share.  a, b: packages of the server for the member, a of two tiles."""

    def __init__(self, couriers: Couriers) -> None:
        self.couriers = couriers
        path = couriers.folder / "good.fspkg"
        self.heads: dict[str, Head] = {}
        self.data: dict[str, bytes] = {}
        wanted = {
            "a": (HUB, NORTH, b"a" * (3 * MIB // 2)),
            "b": (HUB, NORTH, b"b" * 1000),
            "for another": (HUB, SOUTH, b"c"),
            "of another": (SOUTH, NORTH, b"d"),
        }
        for name, (sender, recipient, data) in wanted.items():
            self.heads[name] = couriers.package(sender, recipient, data, path)
            self.data[name] = path.read_bytes()
            path.unlink()
        self.stranger, _ = Ed25519Signer.generate()
        self.other = Federation(name="hearts.example", now=couriers.federation.now)

    def file(self, name: str, **changes: Any) -> BundleFile:
        head = self.heads[name]
        found = head.context
        values = {"digest": head.digest.hex(), "size": head.size, "type": found.type, "round": 0, "group": found.group}
        return BundleFile(**{**values, **changes})


class Scene:
    """What one case works with.  medium: holds what `good` writes; treasure: something that nobody may touch."""

    def __init__(self, goods: Goods, folder: Path) -> None:
        self.goods, self.folder = goods, folder
        self.couriers = goods.couriers
        self.medium, self.sentinel = folder / "medium", folder / "sentinel"
        for made in (self.medium, self.sentinel, folder / "home"):
            made.mkdir(parents=True)
        self.treasure = self.sentinel / "treasure"
        self.treasure.write_bytes(b"precious")
        self.source = self.medium
        self.post: FakePost = self.couriers.open(NORTH, folder / "home")
        self.bundle = self.index()
        for name in "ab":
            self.path(name).write_bytes(goods.data[name])
        self.index_path.write_bytes(self.bundle.encode())

    @property
    def index_path(self) -> Path:
        return self.medium / self.bundle.name

    def path(self, name: str) -> Path:
        return self.medium / f"{self.goods.heads[name].digest.hex()}.fspkg"

    def index(self, *files: BundleFile, sender: str = HUB, recipient: str = NORTH, **other: Any) -> Bundle:
        contents = Contents(files or (self.goods.file("a"), self.goods.file("b")), **other.pop("contents", {}))
        return self.couriers.index(sender, recipient, contents, **other)

    def replace_index(self, bundle: Bundle | bytes) -> None:
        self.index_path.write_bytes(bundle if isinstance(bundle, bytes) else bundle.encode())

    def signed(self, payload: bytes) -> bytes:
        """A statement file with any payload, signed by the server."""
        signer = self.couriers.federation[HUB].signer
        line = f"{key_id(signer.public)} {encode_base64(sign(signer, Label.SIGN_BUNDLE, payload))}".encode()
        return b"\n".join([STATEMENT_START + b"bundle", payload, line, b""])

    def saying(self, **changes: Any) -> bytes:
        """The good index with other members, signed; canonical, and of whatever meaning."""
        return self.signed(canonical_json({**self.bundle.statement.value, **changes}))

    def listing(self, **changes: Any) -> bytes:
        """The good index, with other fields of its first package."""
        first, second = self.bundle.statement.value["files"]
        return self.saying(files=[{**first, **changes}, second])

    def single(self, *pieces: bytes) -> None:
        """Make the medium a single file."""
        self.source = self.folder / "single"
        self.source.write_bytes(b"".join(pieces))

    @property
    def pieces(self) -> list[bytes]:
        """What a good single file consists of."""
        index = self.bundle.encode()
        return [MAGIC, len(index).to_bytes(LENGTH_SIZE, "little"), index, self.goods.data["a"], self.goods.data["b"]]


@dataclass(frozen=True)
class Case:
    """accept: which packages have to get into the inbox; errors: names of the errors that have to be told."""

    kind: str
    name: str
    accept: frozenset[str]
    errors: frozenset[str]
    prepare: Callable[[Scene], Any]


CASES: list[Case] = []


def cases(kind: str, accept: frozenset[str], errors: str, named: dict[str, Callable[[Scene], Any]]) -> None:
    """Register cases that end alike.  errors: names, separated by spaces."""
    CASES.extend(Case(kind, name, accept, frozenset(errors.split()), prepare) for name, prepare in named.items())


def instead(make: Callable[[Scene, Path], Any]) -> Callable[[Scene], Any]:
    """Put something in the place of package a."""

    def prepare(scene: Scene) -> Any:
        scene.path("a").unlink()
        return make(scene, scene.path("a"))

    return prepare


def elsewhere(scene: Scene, name: str = "copy") -> Path:
    path = scene.medium / name
    path.write_bytes(scene.goods.data["a"])
    return path


def changed(at: int) -> Callable[[Scene], Any]:
    """Package a with one byte changed."""

    def prepare(scene: Scene) -> None:
        data = bytearray(scene.goods.data["a"])
        data[at] ^= 1
        scene.path("a").write_bytes(data)

    return prepare


def cut(size: int) -> Callable[[Scene], Any]:
    return lambda scene: os.truncate(scene.path("a"), size)


def put(data: Callable[[Scene], bytes]) -> Callable[[Scene], Any]:
    return lambda scene: scene.path("a").write_bytes(data(scene))


def body(scene: Scene) -> int:
    """Where the body of package a begins."""
    head = scene.goods.heads["a"]
    return head.size - head.header.body_length


# Package a is something else


cases(
    "link",
    ONLY_B,
    "HostileFile",
    {
        "to a good package beside it": instead(lambda s, path: path.symlink_to(elsewhere(s).name)),
        "to a good package elsewhere": instead(lambda s, path: path.symlink_to(elsewhere(s, "../sentinel/copy"))),
        "to the other package": instead(lambda s, path: path.symlink_to(s.path("b").name)),
        "to a file outside": instead(lambda s, path: path.symlink_to(s.treasure)),
        "to /etc/passwd": instead(lambda s, path: path.symlink_to("/etc/passwd")),
        "to /dev/zero": instead(lambda s, path: path.symlink_to("/dev/zero")),
        "to nothing": instead(lambda s, path: path.symlink_to("nowhere")),
        "to itself": instead(lambda s, path: path.symlink_to(path.name)),
        "to a folder": instead(lambda s, path: path.symlink_to(s.sentinel)),
        "hard, to a good package": instead(lambda s, path: path.hardlink_to(elsewhere(s))),
        "hard, to a file outside": instead(lambda s, path: path.hardlink_to(s.treasure)),
    },
)
cases(
    "special",
    ONLY_B,
    "HostileFile",
    {
        "pipe": instead(lambda s, path: os.mkfifo(path)),
        "pipe with a writer": instead(lambda s, path: (os.mkfifo(path), os.open(path, os.O_RDWR))[1]),
        "socket": instead(lambda s, path: listening(path)),
        "folder": instead(lambda s, path: path.mkdir()),
        "device that gives zeros": instead(lambda s, path: device(path, stat.S_IFCHR, 1, 5)),
        "device that is a terminal": instead(lambda s, path: device(path, stat.S_IFCHR, 5, 0)),
        "disk": instead(lambda s, path: device(path, stat.S_IFBLK, 7, 250)),
    },
)
cases(
    "content",
    ONLY_B,
    "MediumIncomplete",
    {
        "not there": lambda s: s.path("a").unlink(),
        "empty": cut(0),
        "cut in the prefix": cut(5),
        "cut in the header": cut(100),
        "cut in the body": cut(MIB),
        "cut by a byte": lambda s: os.truncate(s.path("a"), s.goods.heads["a"].size - 1),
        "a byte longer": put(lambda s: s.goods.data["a"] + b"x"),
        "sparse, 1 TiB": lambda s: os.truncate(s.path("a"), TIB),
        "nothing but 1 TiB of zeros": instead(lambda s, path: (path.touch(), os.truncate(path, TIB))),
        "zeros of the right size": put(lambda s: bytes(s.goods.heads["a"].size)),
        "a program of the right size": put(lambda s: b"\x7fELF" + s.goods.data["a"][4:]),
        "gone through a text-mode transfer": put(lambda s: s.goods.data["a"].replace(b"\r\n", b"\n", 1) + b"x"),
        "a byte of the tile hashes": lambda s: changed(body(s) - 1)(s),
        "a byte of the first tile": lambda s: changed(body(s) + 10)(s),
        "the last byte": changed(-1),
        "the length of the header": changed(9),
    },
)
cases(
    "another package",
    ONLY_B,
    "BundleRefused",
    {
        "of the same sender": lambda s: (
            s.replace_index(s.index(s.goods.file("a", size=s.goods.heads["b"].size), s.goods.file("b")))
            or s.path("a").write_bytes(s.goods.data["b"])
        ),
        "for another party": lambda s: lying(s, "for another"),
        "by another party": lambda s: lying(s, "of another"),
        "the index lies about its type": lambda s: s.replace_index(s.listing(type="plan")),
        "the index lies about its round": lambda s: s.replace_index(s.listing(round=3)),
        "the index lies about its group": lambda s: s.replace_index(s.listing(group="3")),
    },
)
cases("another package", ONLY_B, "BadSignature", {"a byte of the signature": lambda s: forged(s)})
cases(
    "another package",
    ONLY_B,
    "MediumIncomplete",
    {
        "the index says one byte more": lambda s: s.replace_index(s.listing(size=s.goods.heads["a"].size + 1)),
        "the index says one byte less": lambda s: s.replace_index(s.listing(size=s.goods.heads["a"].size - 1)),
        "the index says 100 GiB": lambda s: s.replace_index(s.listing(size=100 << 30)),
    },
)
cases("another package", NOTHING, "MediumIncomplete", {"the two are swapped": lambda s: swap(s)})


def lying(scene: Scene, name: str) -> None:
    """The index lists a package that the sender may not carry; it is genuine."""
    file = scene.goods.file(name)
    (scene.medium / file.parts[0][0]).write_bytes(scene.goods.data[name])
    scene.replace_index(scene.index(file, scene.goods.file("b")))


def forged(scene: Scene) -> None:
    head = scene.goods.heads["a"]
    changed(12 + len(head.encoded) + 7)(scene)


def swap(scene: Scene) -> None:
    scene.path("a").write_bytes(scene.goods.data["b"])
    scene.path("b").write_bytes(scene.goods.data["a"])


# The index is something else


def index_instead(make: Callable[[Scene, Path], Any]) -> Callable[[Scene], Any]:
    def prepare(scene: Scene) -> Any:
        path = scene.index_path
        path.rename(scene.medium / "elsewhere")
        return make(scene, path)

    return prepare


def saying(**changes: Any) -> Callable[[Scene], Any]:
    return lambda scene: scene.replace_index(scene.saying(**changes))


def listing(**changes: Any) -> Callable[[Scene], Any]:
    return lambda scene: scene.replace_index(scene.listing(**changes))


def payload(change: Callable[[bytes], bytes]) -> Callable[[Scene], Any]:
    return lambda scene: scene.replace_index(scene.signed(change(scene.bundle.statement.payload)))


def flipped_signature(scene: Scene) -> None:
    other = scene.index(contents={"seen": 1}).encode().splitlines()[2]
    lines = scene.bundle.encode().splitlines()
    scene.replace_index(b"\n".join([*lines[:2], other, b""]))


def two_signatures(scene: Scene) -> None:
    stranger = scene.goods.stranger
    signature = sign(stranger, Label.SIGN_BUNDLE, scene.bundle.statement.payload)
    scene.replace_index(scene.bundle.encode() + f"{key_id(stranger.public)} {encode_base64(signature)}\n".encode())


cases(
    "index",
    NOTHING,
    "HostileFile",
    {
        "link to a good one": index_instead(lambda s, path: path.symlink_to("elsewhere")),
        "link to a file outside": index_instead(lambda s, path: path.symlink_to(s.treasure)),
        "hard link to a good one": index_instead(lambda s, path: path.hardlink_to(s.medium / "elsewhere")),
        "pipe": index_instead(lambda s, path: os.mkfifo(path)),
        "folder": index_instead(lambda s, path: path.mkdir()),
        "device that gives zeros": index_instead(lambda s, path: device(path, stat.S_IFCHR, 1, 5)),
    },
)
cases(
    "index",
    NOTHING,
    "LimitExceeded",
    {
        "sparse, 1 TiB": lambda s: os.truncate(s.index_path, TIB),
        "a byte too large": lambda s: s.replace_index(s.bundle.encode() + b" " * BUNDLE_LIMIT),
    },
)
cases("index", NOTHING, "MediumIncomplete", {"not there": lambda s: s.index_path.unlink()})
cases(
    "index",
    NOTHING,
    "FormatError",
    {
        "empty": lambda s: s.replace_index(b""),
        "garbage": lambda s: s.replace_index(bytes(range(256)) * 10),
        "another statement": lambda s: s.replace_index(s.couriers.federation.roster.encode()),
        "cut": lambda s: os.truncate(s.index_path, 200),
        "not canonical": payload(lambda data: data.replace(b'":', b'" :', 1)),
        "a member twice": payload(lambda data: data.replace(b"{", b'{"again":[],', 1)),
        "nested too deep": payload(lambda data: data.replace(b'"again":[]', b'"again":' + b"[" * 500 + b"]" * 500)),
        "an unknown member": saying(more=1),
        "digest with dots": listing(digest="../" * 20 + "tmp"),
        "digest that is a path": listing(digest="/etc/passwd"),
        "digest with NUL": payload(lambda data: data.replace(b'"digest":"', b'"digest":"\\u0000', 1)),
        "digest in upper case": lambda s: s.replace_index(s.listing(digest=s.goods.heads["a"].digest.hex().upper())),
        "digest that is too short": listing(digest="ab"),
        "size 0": listing(size=0),
        "size below 0": listing(size=-1),
        "size 2^52": listing(size=1 << 52),
        "round below 0": listing(round=-1),
        "type of 65 characters": listing(type="x" * 65),
        "a package twice": lambda s: s.replace_index(s.saying(files=[s.bundle.statement.value["files"][0]] * 2)),
        "too many packages": saying(received=[f"{number:064x}" for number in range(BUNDLE_FILES_LIMIT + 1)]),
        "number 0": saying(number=0),
        "number below 0": saying(number=-5),
        "first, with one before it": saying(previous="ab" * 32),
        "second, with none before it": saying(number=2),
        "for its own sender": saying(recipient=HUB),
        "a sender that is no party": saying(id="../hub"),
        "a recipient that is no party": saying(recipient="member/../north"),
        "a receipt that is no digest": saying(received=["../../x"]),
        "a receipt that is a number": saying(received=[7]),
        "a purpose that steers terminals": payload(lambda data: data.replace(b'"purpose":"', b'"purpose":"\\u001b[2J')),
        "a purpose without end": saying(purpose="x" * 201),
    },
)
cases(
    "signature",
    NOTHING,
    "BadSignature",
    {
        "of another party": lambda s: s.replace_index(s.index(signer=s.couriers.federation[SOUTH].signer)),
        "over something else": flipped_signature,
        "and a second one": two_signatures,
        "before a change": lambda s: s.replace_index(s.bundle.encode().replace(b'"seen":0', b'"seen":9')),
    },
)
cases(
    "signature",
    NOTHING,
    "UnknownSender",
    {"of a stranger": lambda s: s.replace_index(s.index(signer=s.goods.stranger))},
)
cases(
    "parties",
    NOTHING,
    "ForeignBundle",
    {
        "another federation": lambda s: s.replace_index(
            s.index(federation="hearts.example", signer=s.goods.other[HUB].signer)
        ),
        "another federation, signed by a party of ours": lambda s: s.replace_index(
            s.index(federation="hearts.example")
        ),
        "for another party": lambda s: s.replace_index(s.index(recipient=SOUTH)),
        "by the member itself": lambda s: s.replace_index(s.index(sender=NORTH, recipient=HUB)),
    },
)
cases("parties", NOTHING, "UnknownSender", {"a sender that nobody knows": lambda s: stranger(s)})
cases(
    "parties",
    NOTHING,
    "BundleRefused",
    {"made in the future": lambda s: s.replace_index(s.index(created=s.couriers.federation.now + 3 * DAY))},
)


def stranger(scene: Scene) -> None:
    scene.replace_index(scene.saying(id="spare"))


# Names, numbers, and what is there beside it


def beside(*made: str | bytes) -> Callable[[Scene], Any]:
    def prepare(scene: Scene) -> None:
        for name in made:
            (scene.medium / os.fsdecode(name)).write_bytes(b"not ours")

    return prepare


def many(count: int, name: str = "x{}") -> Callable[[Scene], Any]:
    def prepare(scene: Scene) -> None:
        for number in range(count):
            (scene.medium / name.format(number)).touch()

    return prepare


def deep(scene: Scene) -> None:
    folder = scene.medium
    for _ in range(50):
        folder /= "deep"
    folder.mkdir(parents=True)
    (folder / scene.path("a").name).write_bytes(scene.goods.data["a"])


cases(
    "names",
    BOTH,
    "",
    {
        "nothing wrong at all": lambda s: None,
        "a line feed": beside("x\ny.fspkg"),
        "what steers terminals": beside("\x1b[2J\x1b]0;x\x07.fspkg"),
        "no UTF-8": beside(b"\xff\xfe.fspkg"),
        "right to left": beside("\u202egnp.fspkg"),
        "255 bytes": beside("x" * 249 + ".fspkg"),
        "options": beside("-rf", "--", "--to"),
        "hidden": beside(".x.fspkg", "..x.fspkg", "...", ".fspkg"),
        "Windows has plans for them": beside("con.fspkg", "nul", "x.fspkg:stream", "x.fspkg "),
        "package a in upper case": lambda s: beside(s.path("a").name.upper())(s),
        "package a in mixed case": lambda s: beside(s.path("a").name.title())(s),
        "a part of package a": lambda s: beside(f"{s.path('a').name}.001")(s),
        "draft of the index": lambda s: beside(f".{s.index_path.name}.fedprune-part")(s),
        "programs": beside("autorun.inf", "setup.exe", "bundle.sh", ".Trashes"),
        "folders and packages in them": deep,
        "5,000 other files": many(5_000),
        "the index under another name": lambda s: s.index_path.rename(s.medium / "bundle-\x1b[2J.fsdoc"),
        "the index twice": lambda s: (s.medium / "bundle-copy.fsdoc").write_bytes(s.bundle.encode()),
    },
)
cases(
    "names",
    BOTH,
    "FormatError",
    {
        "an index that is none": beside("bundle-x.fsdoc"),
        "500 indexes that are none": many(500, "bundle-{}.fsdoc"),
    },
)
cases(
    "names",
    NOTHING,
    "LimitExceeded",
    {"100,000 entries": many(100_000), "one entry too many": many(MEDIUM_LIMIT - 2)},
)


def earlier(bundle: Callable[[Scene], Bundle]) -> Callable[[Scene], Any]:
    """Another bundle, of which the member has heard before."""

    def prepare(scene: Scene) -> None:
        other, key = bundle(scene), scene.couriers.federation[HUB].leaf.key_id
        scene.post.bundles.take_in(other, key, [], lambda digest: False, 0)

    return prepare


def beside_good(bundle: Callable[[Scene], Bundle | bytes]) -> Callable[[Scene], Any]:
    """Another index beside the good one."""

    def prepare(scene: Scene) -> None:
        found = bundle(scene)
        (scene.medium / "bundle-0.fsdoc").write_bytes(found if isinstance(found, bytes) else found.encode())

    return prepare


def third(scene: Scene, **other: Any) -> Bundle:
    return scene.index(scene.goods.file("b"), number=3, **other)


cases(
    "number",
    NOTHING,
    "",
    {"a newer one came before": earlier(third), "two newer ones came before": lambda s: (earlier(third)(s), fourth(s))},
)
cases("number", BOTH, "", {"this one came before": earlier(lambda s: s.bundle)})
cases(
    "number",
    NOTHING,
    "Equivocation",
    {
        "another one came before": earlier(lambda s: s.index(s.goods.file("b"))),
        "another one came before, with another time": earlier(lambda s: s.index(created=s.bundle.created - 1)),
        "another one came long before": lambda s: (earlier(lambda s: s.index(s.goods.file("b")))(s), fourth(s)),
    },
)
cases(
    "number",
    NOTHING,
    "RolledBack",
    {"it has seen a bundle that was never made": lambda s: s.replace_index(s.index(contents={"seen": 1}))},
)
cases("number", BOTH, "", {"a later one beside it": beside_good(third)})
cases("number", BOTH, "UnknownSender", {"a forged copy beside it": lambda s: forged_copy(s)})
cases(
    "number", BOTH, "ForeignBundle", {"a foreign one beside it": beside_good(lambda s: s.index(federation="x.example"))}
)
cases("number", BOTH, "", {"one for another party beside it": beside_good(lambda s: s.index(recipient=SOUTH))})


def fourth(scene: Scene) -> None:
    earlier(lambda s: s.index(s.goods.file("b"), number=4))(scene)


def forged_copy(scene: Scene) -> None:
    forged = scene.index(signer=scene.goods.stranger)  # the same payload, and so the same digest
    (scene.medium / "bundle-0.fsdoc").write_bytes(forged.encode())


# The medium changes while it is read


def meanwhile(change: Callable[[Scene], Any]) -> Callable[[Scene], Any]:
    """Change it when the head of package a was read."""

    def prepare(scene: Scene) -> None:
        depot = scene.post.depot
        arrival = depot.arrival

        def watched(peer: Any, digest: str, size: int) -> Any:
            found = arrival(peer, digest, size)
            if digest == scene.goods.heads["a"].digest.hex():
                change(scene)
            return found

        depot.arrival = watched  # type: ignore[method-assign]

    return prepare


def overwrite(scene: Scene, at: int) -> None:
    with scene.path("a").open("r+b") as file:
        file.seek(at)
        file.write(b"changed" * 10)


cases(
    "changes",
    ONLY_B,
    "MediumIncomplete",
    {
        "the body is exchanged": meanwhile(lambda s: overwrite(s, body(s) + 100)),
        "the last tile is exchanged": meanwhile(lambda s: overwrite(s, s.goods.heads["a"].size - 100)),
        "the hashes are exchanged": meanwhile(lambda s: overwrite(s, body(s) - 64)),
        "it is cut": meanwhile(lambda s: os.truncate(s.path("a"), MIB)),
        "it grows": meanwhile(lambda s: os.truncate(s.path("a"), 4 * MIB)),
    },
)
cases(
    "changes",
    BOTH,
    "",
    {
        "it is removed": meanwhile(lambda s: s.path("a").unlink(missing_ok=True)),
        "its head is exchanged": meanwhile(lambda s: overwrite(s, 0)),
        "another file takes its place": meanwhile(lambda s: s.path("b").with_name("x").touch()),
    },
)


# A single file


def single(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Scene], Any]:
    return lambda scene: scene.single(*change(scene.pieces))


def as_medium(make: Callable[[Path], Any]) -> Callable[[Scene], Any]:
    def prepare(scene: Scene) -> None:
        scene.source = scene.folder / "single"
        make(scene.source)

    return prepare


cases("single", BOTH, "", {"nothing wrong": single(lambda p: p)})
cases("single", BOTH, "BundleRefused", {"something follows": single(lambda p: [*p, b"xxxxxxxxxx"])})
cases("single", frozenset("a"), "MediumIncomplete", {"cut in package b": single(lambda p: [*p[:4], p[4][:-1]])})
cases("single", ONLY_B, "MediumIncomplete", {"a changed byte": single(lambda p: [*p[:3], p[3][:-1] + b"\xff", p[4]])})
cases("single", NOTHING, "MediumIncomplete", {"nothing but the index": single(lambda p: p[:3])})
cases("single", NOTHING, "BundleRefused MediumIncomplete", {"swapped": single(lambda p: [*p[:3], p[4], p[3]])})
cases(
    "single",
    NOTHING,
    "BundleRefused",
    {
        "cut in the length": single(lambda p: [p[0], p[1][:2]]),
        "cut in the index": single(lambda p: [p[0], p[1], p[2][:-1]]),
        "length 0": single(lambda p: [p[0], bytes(4), *p[2:]]),
        "length 4 GiB": single(lambda p: [p[0], b"\xff" * 4, *p[2:]]),
        "1 TiB of zeros": lambda s: (s.single(MAGIC), os.truncate(s.source, TIB)),
    },
)
cases(
    "single",
    NOTHING,
    "FormatError",
    {
        "empty": single(lambda p: []),
        "another magic": single(lambda p: [b"FSBNDL2\n", *p[1:]]),
        "half of the magic": single(lambda p: [p[0][:3]]),
        "a package": single(lambda p: [p[3]]),
    },
)
cases(
    "single",
    NOTHING,
    "HostileFile",
    {
        "pipe": as_medium(os.mkfifo),
        "link to a file outside": as_medium(lambda path: path.symlink_to("sentinel/treasure")),
        "device that gives zeros": as_medium(lambda path: device(path, stat.S_IFCHR, 1, 5)),
    },
)
cases("single", NOTHING, "MissingInput", {"link to nothing": as_medium(lambda path: None)})


# Running


def run(folder: Path, chosen: Callable[[Case], bool] = lambda case: True) -> Figures:
    """Run the cases in `folder`, and count."""
    figures = Figures()
    (folder / "all").mkdir(parents=True)
    with Couriers(folder / "all") as couriers:
        goods = Goods(couriers)
        for number, case in enumerate(filter(chosen, CASES)):
            scene = Scene(goods, folder / str(number))
            with _prepared(case, scene, figures) as ready:
                if ready:
                    _run(case, scene, figures)
    return figures


@contextmanager
def _prepared(case: Case, scene: Scene, figures: Figures) -> Iterator[bool]:
    try:
        held = case.prepare(scene)
    except Skipped as reason:
        figures.skipped.append(f"{case.kind}, {case.name}: {reason}")
        yield False
        return
    yield True
    if isinstance(held, int) and case.kind == "special":
        os.close(held)


def _run(case: Case, scene: Scene, figures: Figures) -> None:
    what, before = f"{case.kind}, {case.name}", _outside(scene)
    figures.cases += 1
    errors: list[FedSpaError] = []
    try:
        with time_limit():
            with open_medium(scene.source) as medium:
                outcomes = import_from(scene.post, medium, Silent())
                medium.others()
            errors = [error for outcome in outcomes for error in outcome.errors]
    except FedSpaError as error:
        errors = [error]
    except Exception as error:
        figures.failures.append(f"{what}: {type(error).__name__}: {error}")
    found = {type(error).__name__ for error in errors}
    if found != case.errors:
        figures.failures.append(f"{what}: {sorted(found)}: {[str(error) for error in errors]}")
    figures.failures += [
        f"{what}: {error!r} could steer a terminal" for error in errors if not str(error).isprintable()
    ]
    _judge_inbox(case, scene, figures, what)
    ignored = case.kind == "changes"  # the case itself changes the medium
    wrong = [path for path, status in _outside(scene).items() if before.get(path) != status and not ignored]
    figures.outside += len(wrong)
    figures.failures += [f"{what}: {path} was written" for path in wrong]
    _inspect(scene, figures, what)


def _judge_inbox(case: Case, scene: Scene, figures: Figures, what: str) -> None:
    names = {scene.goods.heads[name].digest.hex(): name for name in scene.goods.heads}
    inbox = scene.folder / "home" / "spool" / "in"
    arrived = {names.get(path.name.removesuffix(".fspkg"), path.name): path.read_bytes() for path in inbox.iterdir()}
    wrong = [name for name, data in arrived.items() if name not in case.accept or data != scene.goods.data.get(name)]
    figures.accepted += len(wrong)
    if set(arrived) != case.accept:
        figures.failures.append(f"{what}: {sorted(arrived)} arrived")
    parts = list((scene.folder / "home" / "spool" / "part").iterdir())
    good = scene.goods.data["a"] + scene.goods.data["b"]
    figures.failures += [
        f"{what}: {path.name} holds what was not checked" for path in parts if path.read_bytes() not in good
    ]


def _inspect(scene: Scene, figures: Figures, what: str) -> None:
    """The officer looks at the same medium."""
    try:
        with time_limit(), open_medium(scene.source) as medium:
            json.dumps([one.to_dict() for one in inspecting.inspect(medium)])
            if not all(name.isprintable() for name in medium.others()):
                figures.failures.append(f"{what}: a name could steer a terminal")
    except FedSpaError:
        pass
    except Exception as error:
        figures.failures.append(f"{what}: inspect: {type(error).__name__}: {error}")


def _outside(scene: Scene) -> dict[str, tuple[Any, ...]]:
    """Everything but the home, and in there everything but register, inbox, arriving packages and evidence."""
    home = scene.folder / "home"
    allowed = (f"{home}/register.sqlite", f"{home}/spool/in", f"{home}/spool/part", f"{home}/evidence", str(home))
    found = {}
    for root, folders, files in os.walk(scene.folder):
        for path in (f"{root}/{name}" for name in (*folders, *files)):
            if not path.startswith(allowed[:4]) and path != str(home):
                status = os.lstat(path)
                found[path] = (status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, status.st_nlink)
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        told = run(Path(scratch))
    sys.stdout.write(json.dumps(told.as_dict(), indent=2) + "\n")
