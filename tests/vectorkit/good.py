"""Packages that are opened: every type once, and the limits from the inside."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.vector_format import Vector
from tests.vectorkit.authority import DAY
from tests.vectorkit.bases import BASES
from tests.vectorkit.cases import CONTRIBUTION, FILE, PLAN, as_success, fault, good, with_ctx
from tests.vectorkit.packages import JSON_BODY, PLAN_HASH, Draft, context
from tests.vectorkit.primitives import b64, checkpoint, seeded
from tests.vectorkit.world import CRL_END, FEDERATION, HYBRID, LATEST, NOW

TYPES = (
    ("plan", "server/coordinator", "member/alder"),
    ("plan", "server/coordinator", "auditor/inspector"),
    ("decline", "member/birch", "server/coordinator"),
    ("receipt", "server/coordinator", "member/alder"),
    ("survivors", "server/coordinator", "member/alder"),
    ("survivors", "server/coordinator", "witness/notary"),
    ("endorsement", "member/birch", "server/coordinator"),
    ("opening", "server/coordinator", "witness/notary"),
    ("opening", "server/coordinator", "member/alder"),
    ("beacon", "witness/notary", "server/coordinator"),
    ("unmask-request", "server/coordinator", "member/alder"),
    ("unmask-response", "member/birch", "server/coordinator"),
    ("result", "server/coordinator", "member/alder"),
    ("result", "server/coordinator", "auditor/inspector"),
    ("layer", "server/coordinator", "member/alder"),
    ("layer", "server/coordinator", "auditor/inspector"),
    ("log", "server/coordinator", "member/alder"),
    ("log", "server/coordinator", "auditor/inspector"),
    ("checkpoint", "server/coordinator", "witness/notary"),
    ("cosignature", "witness/notary", "server/coordinator"),
    ("abort", "server/coordinator", "key-holder/keeper"),
    ("offer", "member/birch", "server/coordinator"),
    ("prekeys", "member/birch", "server/coordinator"),
    ("file", "witness/notary", "auditor/inspector"),
    ("file", "key-holder/keeper", "server/coordinator"),
)


def file_x25519() -> Vector:
    return good("file-x25519", "A file from one member to another, sealed with X25519.", FILE)


def types() -> list[Vector]:
    found = []
    for kind, sender, recipient in TYPES:
        draft = Draft(context(kind, sender, recipient))
        draft = draft if draft.ctx["body_type"] == "bytes" else draft.but(plaintext=JSON_BODY)
        ends = recipient.split("/")[0]
        name = f"{kind}-to-{ends}"
        found.append(good(name, f"Type {kind} from {sender} to {recipient}.", draft))
    return found


def of_base(name: str, base: str, comment: str) -> Vector:
    return as_success(fault(f"12-{name}", "success", comment, b"", base=base), BASES[base].plaintext)


def limits() -> list[Vector]:
    lasting = with_ctx(FILE, not_after=NOW + 100 * DAY)
    at_end, at_start = Draft(context(roster="cert-ends-now")), Draft(context(roster="cert-starts-now"))
    return [
        good("not-after-is-now", "not_after is now, and now is not past.", with_ctx(FILE, not_after=NOW)),
        good("created-at-skew", "created is just as far ahead as allowed.", with_ctx(FILE, created=NOW + DAY)),
        good("list-ends-now", "The next update of the revocation list is now.", lasting, now=CRL_END),
        good("certificate-ends-now", "The sender's certificate ends now.", at_end, recipient="alder-cert-ends-now"),
        good(
            "certificate-starts-now",
            "The certificate begins now.",
            at_start,
            recipient="alder-cert-starts-now",
        ),
        good("newer-list", "The list is newer than the roster and names others.", FILE, recipient="alder-crl-newer"),
        good("not-after-latest", "not_after is the last second of the year 9999.", with_ctx(FILE, not_after=LATEST)),
        good("created-0", "created is the first second of 1970.", with_ctx(FILE, created=0)),
        good("list-at-skew", "The list was made as far ahead as allowed.", FILE, recipient="alder-crl-at-skew"),
        good("seq-largest", "seq is the largest integer.", with_ctx(FILE, seq=2**53 - 1)),
        good("gid-0", "gid is 0.", with_ctx(CONTRIBUTION, gid="0"), awaited={"gid": "0"}),
    ]


def checkpoints() -> list[Vector]:
    """What stands in the field `checkpoint` is not looked at before a package is opened."""
    key = Ed25519PrivateKey.from_private_bytes(seeded("key of the log"))
    note = checkpoint(f"{FEDERATION}/log/coordinator", 20, seeded("root of the log"), key)
    shown, longest = (with_ctx(FILE, checkpoint=b64(data)) for data in (note, seeded("no note", 1024)))
    return [
        good("checkpoint", "The header shows a checkpoint of the log.", shown),
        good("checkpoint-longest", "The checkpoint is as long as it may be, and no note.", longest),
        good("checkpoint-1-byte", "The checkpoint is one byte.", with_ctx(FILE, checkpoint=b64(b"\n"))),
    ]


def vectors() -> list[Vector]:
    first = file_x25519()
    hybrid = Draft(context(kem=HYBRID), name="hybrid")
    exactly = {"type": "contribution", "round": "4", "plan_hash": PLAN_HASH, "gid": "7"}
    length = {"length": str(len(CONTRIBUTION.plaintext))}
    plan = {"type": "plan", "round": "4", "plan_hash": PLAN_HASH, "gid": "*"}
    return [
        first,
        good("file-hybrid", "A file, sealed with ML-KEM-768 and X25519.", hybrid),
        good("empty-body", "The plaintext is empty.", FILE.but(plaintext=b"", name="empty")),
        good(
            "contribution-awaited",
            "All that the receiver awaits is there.",
            CONTRIBUTION,
            awaited={**exactly, **length},
        ),
        good("plan-awaited", "A plan in JSON, as awaited.", PLAN.but(plaintext=JSON_BODY), awaited=plan),
        *types(),
        *limits(),
        *checkpoints(),
        good(
            "same-seq-other-type",
            "A package of another type has the same number; the register tells them apart.",
            Draft(context("contribution", recipient="server/coordinator")),
            seen=[first],
        ),
        good(
            "next-seq",
            "The sender's package with the number before was received.",
            with_ctx(FILE, seq=18),
            seen=[first],
        ),
        of_base("chunk-less-one", "one-byte-less", "The plaintext is a byte shorter than a chunk."),
        of_base("exactly-one-chunk", "one-full-chunk", "The plaintext is a full chunk, so an empty one follows."),
        of_base("three-chunks", "three-chunks", "The plaintext takes three chunks."),
        of_base("two-full-tiles", "big-two-tiles", "The body is exactly two tiles."),
        of_base("three-tiles", "big-three-tiles", "The body is three tiles, so the tree is uneven."),
    ]
