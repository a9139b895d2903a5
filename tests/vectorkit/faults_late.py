"""Steps 8 to 10: the register, what is awaited, the length of the file, tiles."""

import hashlib

from tests.vector_format import Vector
from tests.vectorkit.cases import CONTRIBUTION, FILE, fault, flipped, home_of, with_ctx, with_fields
from tests.vectorkit.faults_trust import sized
from tests.vectorkit.good import file_x25519
from tests.vectorkit.packages import LABEL, PLAN_HASH, Draft, context
from tests.vectorkit.primitives import leaf_hash, pae, seeded, sign_oddly, tree_root
from tests.vectorkit.world import CAST, NOW

MISMATCH = "TileMismatch"


def register() -> list[Vector]:
    """8: a package of the same federation, round, type, sender and number was received before."""
    first = file_x25519()
    package = first.dump
    header = FILE.text().encode()
    again = sign_oddly(CAST["member/birch"].signing, pae(LABEL.encode(), header), seeded("second nonce", 64))
    later = with_ctx(FILE, created=NOW)
    other_kind = Draft(context("file", "member/birch", seq=17), b"Something else.\n", name="other body")
    end = len(package)
    return [
        fault("08-replayed", "ReplayedPackage", "The package was received before.", package, seen=[first]),
        fault(
            "08-replayed-other-signature",
            "ReplayedPackage",
            "The package was received before; its sender signed it a second time with another nonce.",
            FILE.pack(signature=again),
            seen=[first],
        ),
        fault(
            "08-replayed-cut",
            "ReplayedPackage",
            "The package was received before, and now its end is missing.",
            package[: end - 20],
            seen=[first],
        ),
        fault(
            "08-equivocation-body",
            "Equivocation",
            "The sender made another package with the number of an earlier one.",
            other_kind.pack(),
            seen=[first],
        ),
        fault(
            "08-equivocation-created",
            "Equivocation",
            "Header and body are those of an earlier package but for created.",
            later.pack(),
            seen=[first],
        ),
        fault(
            "08-equivocation-sealing",
            "Equivocation",
            "The same plaintext was sealed again under the same number.",
            FILE.but(name="sealed again").pack(),
            seen=[first],
        ),
        fault(
            "08-order-register-before-awaited",
            "ReplayedPackage",
            "It was received before, and the receiver awaits another type.",
            package,
            seen=[first],
            awaited={"type": "abort"},
        ),
        fault(
            "07-order-signature-before-register",
            "BadSignature",
            "It has the number of an earlier package, and nobody signed it.",
            later.pack(signature=bytes(64)),
            seen=[first],
        ),
    ]


def not_awaited() -> list[Vector]:
    """9: sound packages that the receiver does not wait for; all but one of the values agree."""
    length = len(CONTRIBUTION.plaintext)
    agreed = {"type": "contribution", "round": "4", "plan_hash": PLAN_HASH, "gid": "7", "length": str(length)}
    table = {
        "type": ("type", "endorsement"),
        "round": ("round", "5"),
        "round-before": ("round", "3"),
        "plan-hash": ("plan_hash", seeded("other plan").hex()),
        "gid": ("gid", "8"),
        "gid-star": ("gid", "*"),
        "length-less": ("length", str(length - 1)),
        "length-more": ("length", str(length + 1)),
        "length-of-body": ("length", str(length + 72)),
    }
    home, package = home_of(CONTRIBUTION), CONTRIBUTION.pack()
    found = [
        fault(
            f"09-{name}",
            "NotAwaited",
            f"The receiver awaits another {key}.",
            package,
            recipient=home,
            awaited={**agreed, key: value},
        )
        for name, (key, value) in table.items()
    ]
    cut = package[:-1]
    comment = "The receiver awaits another round, and the end is missing."
    wrong = {**agreed, "round": "5"}
    found.append(fault("09-order-awaited-before-body", "NotAwaited", comment, cut, recipient=home, awaited=wrong))
    return found


def ends() -> list[Vector]:
    """10: files that end too early or too late."""
    package, body = FILE.pack(), len(FILE.sealed_body())
    start = len(package) - body
    cuts = {
        "after-signature": (start - 32, "after the signature"),
        "in-tile-hashes": (start - 1, "in the tile hashes"),
        "before-body": (start, "before the body"),
        "in-salt": (start + 10, "in the salt"),
        "after-salt": (start + 24, "after the salt"),
        "in-commitment": (start + 40, "in the commitment"),
        "after-commitment": (start + 56, "after the commitment"),
        "in-chunk": (start + 60, "in the chunk"),
        "before-tag": (start + body - 16, "before the last tag"),
        "in-tag": (start + body - 8, "in the last tag"),
        "last-byte": (start + body - 1, "one byte too early"),
    }
    found = [
        fault(f"10-cut-{name}", "Truncated", f"The file ends {where}.", package[:end])
        for name, (end, where) in cuts.items()
    ]
    for name, more, says in (
        ("zero", b"\0", "A zero byte follows"),
        ("line-feed", b"\n", "A line feed follows"),
        ("block", bytes(512), "Zero bytes up to a block follow"),
        ("copy", package, "The package follows once more"),
        ("tag", package[-16:], "A copy of the last tag follows"),
    ):
        found.append(fault(f"10-trailing-{name}", "TrailingBytes", f"{says}.", package + more))
    hashes = b"".join(FILE.hashes())
    limit = sized(Draft(context("receipt", "server/coordinator")), 2**20)
    two = [seeded("tile 1"), seeded("tile 2")]
    limit = with_fields(limit, body_root=tree_root(two).hex())
    short = with_fields(FILE, body_len=len(FILE.sealed_body()) + 1)
    long = with_fields(FILE, body_len=len(FILE.sealed_body()) - 1)
    return [
        *found,
        fault("10-no-tile-hashes", "Truncated", "The tile hashes are missing.", FILE.pack(hashes=b"")),
        fault("10-tile-hash-twice", "TrailingBytes", "The tile hash is there twice.", FILE.pack(hashes=hashes * 2)),
        fault("10-body-len-more", "Truncated", "body_len is one more than there is.", short.pack()),
        fault("10-body-len-less", "TrailingBytes", "body_len is one less than there is.", long.pack()),
        fault(
            "10-largest-plaintext-without-body",
            "Truncated",
            "The header names just as much plaintext as the type may have; the tiles are missing.",
            limit.pack(hashes=b"".join(two)),
        ),
        fault(
            "10-order-length-before-root",
            "TrailingBytes",
            "A byte follows, and body_root is another.",
            with_fields(FILE, body_root=bytes(32).hex()).pack() + b"\0",
        ),
    ]


def one_tile() -> list[Vector]:
    """10: files of the right length with one tile."""
    package, body = FILE.pack(), FILE.sealed_body()
    start = len(package) - len(body)
    flips = {
        "hash": (start - 32, "the tile hash"),
        "salt": (start, "the salt"),
        "commitment": (start + 30, "the commitment"),
        "chunk": (start + 60, "the chunk"),
        "tag": (len(package) - 1, "the last tag"),
    }
    found = [
        fault(f"10-flipped-{name}", MISMATCH, f"One bit of {where} is another.", flipped(package, position))
        for name, (position, where) in flips.items()
    ]
    plain = hashlib.sha256(body).digest()
    as_node = hashlib.sha256(b"\1" + body).digest()
    twice = hashlib.sha256(b"\1" + leaf_hash(body) * 2).digest()
    hashed = leaf_hash(leaf_hash(body))
    roots = {
        "other": ("body_root is another; hash and tile agree.", seeded("root"), None),
        "zero": ("body_root is zero.", bytes(32), None),
        "of-nothing": ("body_root is that of no tiles.", tree_root([]), None),
        "paired-with-itself": ("body_root is a node over the leaf twice.", twice, None),
        "hashed-again": ("body_root is a leaf over the leaf.", hashed, None),
        "without-prefix": ("The tile was hashed without its prefix, and body_root with it.", plain, plain),
        "node-prefix": ("The tile was hashed with the prefix of a node, and body_root with it.", as_node, as_node),
        "other-both": ("The signed hash is of another tile.", seeded("root"), seeded("root")),
    }
    for name, (comment, root, hashes) in roots.items():
        draft = with_fields(FILE, body_root=root.hex())
        found.append(fault(f"10-root-{name}", MISMATCH, comment, draft.pack(hashes=hashes)))
    return found


def vectors() -> list[Vector]:
    return [*register(), *not_awaited(), *ends(), *one_tile()]
