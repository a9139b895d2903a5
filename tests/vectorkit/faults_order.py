"""Two faults in one package: the step that comes first decides."""

from tests.vector_format import Vector
from tests.vectorkit.authority import DAY
from tests.vectorkit.cases import FILE, fault, with_ctx, with_fields
from tests.vectorkit.faults_time import under
from tests.vectorkit.faults_trust import STRANGER
from tests.vectorkit.packages import Draft
from tests.vectorkit.primitives import Value, leaf_hash, seeded, tree_root
from tests.vectorkit.world import NOW


def at_step_5(name: str, expect: str, comment: str, draft: Draft, **changes: Value) -> Vector:
    return fault(f"05-{name}", expect, comment, with_ctx(draft, **changes).pack())


def vectors() -> list[Vector]:
    nowhere = {"fed": "elsewhere.example"}
    bad = bytes(64)
    ended = under("cert-ends-before-now")
    draft = with_ctx(FILE, roster=seeded("r").hex())
    root = tree_root([leaf_hash(b"else")]).hex()
    return [
        fault(
            "04-order-form-before-version",
            "PackageFormatError",
            "Unknown version and a field in upper case.",
            with_ctx(FILE, v=2, roster=str(FILE.ctx["roster"]).upper()).pack(),
        ),
        at_step_5(
            "order-version-before-federation", "UnknownVersion", "Unknown version and federation.", FILE, v=2, **nowhere
        ),
        fault(
            "05-order-federation-before-roster",
            "WrongFederation",
            "Another federation and its roster.",
            with_ctx(draft, **nowhere).pack(),
        ),
        fault(
            "05-order-roster-before-recipient",
            "WrongRoster",
            "Another roster and another recipient.",
            draft.pack(),
            recipient="cedar",
        ),
        fault(
            "05-order-recipient-before-sender",
            "WrongRecipient",
            "For somebody else and from somebody unknown.",
            with_ctx(FILE, sender=STRANGER.name).pack(),
            recipient="cedar",
        ),
        at_step_5(
            "order-sender-before-row",
            "UnknownSender",
            "From somebody unknown, and a file in a round.",
            FILE,
            sender=STRANGER.name,
            round=1,
        ),
        at_step_5(
            "order-row-before-time", "NotAllowed", "A file in a round, and long past.", FILE, round=1, not_after=NOW - 1
        ),
        fault(
            "06-order-time-before-signature",
            "PackageExpired",
            "Past, and not signed.",
            FILE.pack(signature=bad),
            now=NOW + 8 * DAY,
        ),
        fault(
            "06-order-certificate-before-package",
            "CertificateExpired",
            "The sender's certificate has ended, and not_after is past.",
            with_ctx(ended, not_after=NOW - 1).pack(),
            recipient="alder-cert-ends-before-now",
        ),
        fault(
            "07-order-signature-before-body",
            "BadSignature",
            "Not signed, and body_root is another.",
            with_fields(FILE, body_root=root).pack(signature=bad),
        ),
    ]
