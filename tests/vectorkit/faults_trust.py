"""Step 5: version, federation, roster, recipient, sender, and what may be sent."""

from tests.vector_format import Vector
from tests.vectorkit.cases import (
    CONTRIBUTION,
    FILE,
    LAYER,
    LOG,
    OFFER,
    PLAN,
    RECEIPT,
    fault,
    flipped,
    home_of,
    with_ctx,
    with_fields,
)
from tests.vectorkit.packages import PLAN_HASH, Draft, context
from tests.vectorkit.primitives import (
    Value,
    recipient_key_id,
    seeded,
    signing_key_id,
)
from tests.vectorkit.sealing import body_length
from tests.vectorkit.world import CAST, HYBRID, X25519, party, world

STRANGER = party("member/dogwood")
BIRCH, CEDAR, ALDER = CAST["member/birch"], CAST["member/cedar"], CAST["member/alder"]


def of(name: str, expect: str, comment: str, draft: Draft, *, recipient: str = "alder", **changes: Value) -> Vector:
    return fault(f"05-{name}", expect, comment, with_ctx(draft, **changes).pack(), recipient=recipient)


def worlds() -> list[Vector]:
    """5a to 5c: version, type, federation, roster."""
    found = [
        of(f"version-{value}", "UnknownVersion", f"There is no version {value}.", FILE, v=value)
        for value in (0, 2, -1, 2**53 - 1)
    ]
    for name, kind in (
        ("unknown", "file2"),
        ("upper-case", "FILE"),
        ("empty", ""),
        ("space-after", "file "),
        ("star", "*"),
        ("underscore", "unmask_request"),
        ("accent", "caf\u00e9"),
        ("beyond-16-bits", "\U0001f600"),
        ("quotes", '"\\'),
    ):
        comment = "There is no such type; the text is canonical JSON."
        found.append(of(f"type-{name}", "UnknownVersion", comment, FILE, type=kind))
    for name, fed in (
        ("other", "elsewhere.example"),
        ("below", "a.clinics.example"),
        ("longer", "clinics.example.org"),
    ):
        found.append(of(f"federation-{name}", "WrongFederation", "It is of another federation.", FILE, fed=fed))
    right = bytes.fromhex(world().rosters["main"].hash)
    rosters = {
        "older": ("It was made under the roster before.", world().rosters["older"].hash),
        "flipped": (
            "One bit of the roster hash is another.",
            flipped(right, 31).hex(),
        ),
        "zero": ("The roster hash is zero.", bytes(32).hex()),
    }
    found += [of(f"roster-{n}", "WrongRoster", says, FILE, roster=value) for n, (says, value) in rosters.items()]
    return found


def parties() -> list[Vector]:
    """5d and 5e: recipient and sender."""
    to_alder, x_key = FILE.ctx, ALDER.keys[X25519]
    recipients: dict[str, tuple[str, dict[str, Value]]] = {
        "other": ("It is for another member.", context(recipient="member/cedar")),
        "other-role": ("It is for another role with my id.", {**to_alder, "recipient": "server/alder"}),
        "other-id-my-key": ("It is for another member and names my key.", {**to_alder, "recipient": "member/cedar"}),
        "key-of-other": ("It names another member's key.", {**to_alder, "recipient_key": BIRCH.keys[X25519].id}),
        "key-unknown": ("It names a key that nobody has.", {**to_alder, "recipient_key": seeded("key").hex()}),
        "key-other-kem": ("It names my key of the other kind.", {**to_alder, "recipient_key": ALDER.keys[HYBRID].id}),
        "key-id-other-kem": (
            "The identifier was computed from my key under the name of the other kem.",
            {**to_alder, "recipient_key": recipient_key_id(HYBRID, x_key.public)},
        ),
        "key-is-signing-key": ("It names my signing key.", {**to_alder, "recipient_key": ALDER.key_id}),
    }
    found = [
        fault(f"05-recipient-{n}", "WrongRecipient", says, Draft(ctx, signer=BIRCH, sealed_to=x_key).pack())
        for n, (says, ctx) in recipients.items()
    ]
    senders: dict[str, tuple[str, dict[str, Value]]] = {
        "stranger": ("The sender is not in the roster.", {"sender": STRANGER.name, "sender_key": STRANGER.key_id}),
        "stranger-known-key": ("An unknown name stands with a key of the roster.", {"sender": STRANGER.name}),
        "key-of-other": ("The sender is named with another member's key.", {"sender_key": CEDAR.key_id}),
        "key-unknown": ("The sender is named with a key that nobody has.", {"sender_key": seeded("key").hex()}),
        "key-of-recipient": ("The sender is named with the recipient's key.", {"sender_key": ALDER.key_id}),
        "key-of-root": ("The sender is named with the root's key.", {"sender_key": signing_key_id(world().root.key)}),
        "other-role": ("Right id and key stand with another role.", {"sender": "server/birch"}),
        "key-is-recipient-key": ("It names the sender's recipient key.", {"sender_key": BIRCH.keys[X25519].id}),
    }
    found += [of(f"sender-{n}", "UnknownSender", says, FILE, **changes) for n, (says, changes) in senders.items()]
    both = with_ctx(FILE.but(signer=STRANGER), sender=STRANGER.name, sender_key=STRANGER.key_id)
    comment = "The sender is not in the roster and signed with its own key."
    return [*found, fault("05-sender-stranger-signs", "UnknownSender", comment, both.pack())]


ROLES = (
    ("plan", "member/birch", "member/alder"),
    ("plan", "server/coordinator", "witness/notary"),
    ("plan", "server/coordinator", "server/coordinator"),
    ("contribution", "auditor/inspector", "server/coordinator"),
    ("contribution", "member/birch", "member/alder"),
    ("receipt", "member/birch", "member/alder"),
    ("receipt", "server/coordinator", "auditor/inspector"),
    ("survivors", "witness/notary", "member/alder"),
    ("survivors", "server/coordinator", "auditor/inspector"),
    ("decline", "member/birch", "member/alder"),
    ("decline", "witness/notary", "server/coordinator"),
    ("endorsement", "key-holder/keeper", "server/coordinator"),
    ("endorsement", "member/birch", "witness/notary"),
    ("opening", "server/coordinator", "auditor/inspector"),
    ("opening", "witness/notary", "member/alder"),
    ("beacon", "member/birch", "server/coordinator"),
    ("beacon", "witness/notary", "member/alder"),
    ("unmask-request", "auditor/inspector", "member/alder"),
    ("unmask-request", "server/coordinator", "key-holder/keeper"),
    ("unmask-response", "witness/notary", "server/coordinator"),
    ("unmask-response", "member/birch", "member/alder"),
    ("result", "member/birch", "member/alder"),
    ("result", "server/coordinator", "witness/notary"),
    ("layer", "member/birch", "member/alder"),
    ("layer", "server/coordinator", "witness/notary"),
    ("offer", "server/coordinator", "member/alder"),
    ("offer", "member/birch", "member/alder"),
    ("prekeys", "server/coordinator", "member/alder"),
    ("prekeys", "auditor/inspector", "server/coordinator"),
    ("log", "member/birch", "member/alder"),
    ("log", "server/coordinator", "witness/notary"),
    ("checkpoint", "server/coordinator", "member/alder"),
    ("checkpoint", "witness/notary", "server/coordinator"),
    ("cosignature", "member/birch", "server/coordinator"),
    ("abort", "member/birch", "member/alder"),
    ("abort", "witness/notary", "server/coordinator"),
)


def rows() -> list[Vector]:
    """5f: the row of the type."""
    found = []
    for kind, sender, recipient in ROLES:
        draft = Draft(context(kind, sender, recipient))
        name, ends = f"05-{kind}-{sender}-to-{recipient}".replace("/", "-"), home_of(draft)
        comment = f"Type {kind} does not go from {sender} to {recipient}."
        found.append(fault(name, "NotAllowed", comment, draft.pack(), recipient=ends))
    fields: list[tuple[str, str, Draft, dict[str, Value]]] = [
        ("file-in-a-round", "A file names a round.", FILE, {"round": 1}),
        ("file-with-plan", "A file names a plan.", FILE, {"plan_hash": PLAN_HASH}),
        ("file-with-gid", "A file names a group.", FILE, {"gid": "0"}),
        ("plan-in-no-round", "A plan names no round.", PLAN, {"round": 0}),
        ("plan-without-hash", "A plan names no plan hash.", PLAN, {"plan_hash": "*"}),
        ("contribution-in-no-round", "A contribution names no round.", CONTRIBUTION, {"round": 0}),
        ("contribution-without-plan", "A contribution names no plan.", CONTRIBUTION, {"plan_hash": "*"}),
        ("file-in-a-round-of-a-plan", "A file names a round and a plan.", FILE, {"round": 4, "plan_hash": PLAN_HASH}),
        ("plan-as-a-file", "A plan names neither round nor plan hash.", PLAN, {"round": 0, "plan_hash": "*"}),
        ("offer-in-a-round", "An offer names a round and a plan.", OFFER, {"round": 4, "plan_hash": PLAN_HASH}),
        ("offer-with-gid", "An offer names a group.", OFFER, {"gid": "0"}),
        ("offer-of-bytes", "An offer says that its body is bytes.", OFFER, {"body_type": "bytes"}),
        ("layer-in-no-round", "A layer names neither round nor plan.", LAYER, {"round": 0, "plan_hash": "*"}),
        ("layer-of-json", "A layer says that its body is JSON.", LAYER, {"body_type": "json"}),
        ("log-in-a-round", "A log names a round and a plan.", LOG, {"round": 4, "plan_hash": PLAN_HASH}),
        ("receipt-of-json", "A receipt says that its body is JSON.", RECEIPT, {"body_type": "json"}),
        ("file-of-json", "A file says that its body is JSON.", FILE, {"body_type": "json"}),
        ("plan-of-bytes", "A plan says that its body is bytes.", PLAN, {"body_type": "bytes"}),
        ("contribution-of-json", "A contribution says that its body is JSON.", CONTRIBUTION, {"body_type": "json"}),
    ]
    for name, comment, draft, changes in fields:
        found.append(of(name, "NotAllowed", comment, draft, recipient=home_of(draft), **changes))
    return found + [size_of(*row) for row in LIMITS]


LIMITS = (
    ("file", 2**36, "member/birch", "member/alder"),
    ("plan", 2**28, "server/coordinator", "member/alder"),
    ("contribution", 2**36, "member/birch", "server/coordinator"),
    ("decline", 2**20, "member/birch", "server/coordinator"),
    ("receipt", 2**20, "server/coordinator", "member/alder"),
    ("survivors", 2**26, "server/coordinator", "member/alder"),
    ("endorsement", 2**20, "member/birch", "server/coordinator"),
    ("unmask-request", 2**28, "server/coordinator", "member/alder"),
    ("unmask-response", 2**28, "member/birch", "server/coordinator"),
    ("result", 2**36, "server/coordinator", "member/alder"),
    ("layer", 2**36, "server/coordinator", "member/alder"),
    ("offer", 2**20, "member/birch", "server/coordinator"),
    ("prekeys", 2**20, "member/birch", "server/coordinator"),
    ("log", 2**28, "server/coordinator", "member/alder"),
    ("checkpoint", 2**20, "server/coordinator", "witness/notary"),
    ("cosignature", 2**20, "witness/notary", "server/coordinator"),
    ("abort", 2**20, "server/coordinator", "member/alder"),
    ("opening", 2**20, "server/coordinator", "witness/notary"),
    ("beacon", 2**20, "witness/notary", "server/coordinator"),
)


def sized(draft: Draft, plaintext: int) -> Draft:
    """The header says that the body is longer than it is."""
    length = body_length(plaintext)
    return with_fields(draft, body_len=length, tiles=-(-length // 2**20))


def size_of(kind: str, limit: int, sender: str, recipient: str) -> Vector:
    draft = sized(Draft(context(kind, sender, recipient)), limit + 1)
    comment = f"The header names one byte more of plaintext than type {kind} may have."
    return fault(f"05-{kind}-too-large", "NotAllowed", comment, draft.pack(), recipient=home_of(draft))


def vectors() -> list[Vector]:
    return [*worlds(), *parties(), *rows()]
