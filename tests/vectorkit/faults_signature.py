"""Step 7: the signature, and what was changed after signing."""

from tests.vector_format import Vector
from tests.vectorkit.authority import DAY, key_named
from tests.vectorkit.cases import FILE, fault, flipped, home_of, with_ctx, with_fields
from tests.vectorkit.packages import JSON_BODY, Draft, context
from tests.vectorkit.primitives import GROUP_ORDER, Value, b64, pae, seeded, sign, sign_oddly, text_bytes
from tests.vectorkit.world import CAST, HYBRID, NOW, X25519, world

BIRCH, CEDAR, ALDER = CAST["member/birch"], CAST["member/cedar"], CAST["member/alder"]


def signatures() -> list[Vector]:
    """7, the signature itself."""
    header = FILE.text().encode()
    right, key = FILE.signed(header), BIRCH.signing
    half = int.from_bytes(right[32:], "little")
    message = pae(b"FSPKG1", header)
    big_endian = (2).to_bytes(8, "big") + b"".join(
        n.to_bytes(8, "big") + p for n, p in ((6, b"FSPKG1"), (len(header), header))
    )
    next_one = FILE.signed(with_ctx(FILE, seq=18).text().encode())
    table = {
        "r-flipped": ("One bit of R is another.", flipped(right, 5)),
        "s-flipped": ("One bit of S is another.", flipped(right, 40)),
        "last-bit-flipped": ("The highest bit of S is set.", flipped(right, 63, 128)),
        "s-plus-order": (
            "The group order was added to S.",
            right[:32] + (half + GROUP_ORDER).to_bytes(32, "little"),
        ),
        "zero": ("The signature is zero.", bytes(64)),
        "ones": ("The signature is all ones.", b"\xff" * 64),
        "halves-swapped": ("R and S have changed places.", right[32:] + right[:32]),
        "r-identity": ("R is the identity; the equation holds.", sign_oddly(key, message, bytes(64))),
        "r-small-order": (
            "R is a point of order eight; only the cofactored equation holds.",
            sign_oddly(key, message, bytes(64), torsion=True),
        ),
        "cofactored-only": (
            "A point of order eight was added to R; only the cofactored equation holds.",
            sign_oddly(key, message, seeded("nonce", 64), torsion=True),
        ),
        "by-other-member": ("Another member signed.", sign(CEDAR.signing, "FSPKG1", header)),
        "by-recipient": ("The recipient signed.", sign(ALDER.signing, "FSPKG1", header)),
        "by-root": ("The root signed.", sign(world().root.key, "FSPKG1", header)),
        "by-stranger": ("A key that nobody has signed.", sign(key_named("nobody"), "FSPKG1", header)),
        "without-pae": ("The header was signed as it is.", key.sign(header)),
        "label-only-before": ("Label and header were signed one after the other.", key.sign(b"FSPKG1" + header)),
        "magic-before": ("Magic and header were signed one after the other.", key.sign(b"FSPKG1\r\n" + header)),
        "pae-without-count": ("The number of parts is missing in what was signed.", key.sign(message[8:])),
        "pae-big-endian": (
            "Lengths were big-endian in what was signed.",
            key.sign(big_endian),
        ),
        "other-label": ("The header was signed as a roster.", sign(key, "fsps/1/sign/roster", header)),
        "ctx-only": ("Only ctx was signed.", sign(key, "FSPKG1", text_bytes(FILE.ctx))),
        "of-other-package": (
            "It is the signature of another package.",
            next_one,
        ),
    }
    found = [
        fault(f"07-signature-{name}", "BadSignature", comment, FILE.pack(signature=value))
        for name, (comment, value) in table.items()
    ]
    return found


def edited_headers() -> list[Vector]:
    """A sound package, one field changed after signing; `expect` is the first check that this breaks."""
    answer = Draft(context("endorsement", recipient="server/coordinator"), plaintext=JSON_BODY)
    signature = answer.signed(answer.text().encode())
    other_enc = answer.but(name="another").header_fields()["enc"]
    of_cedar = {"sender": CEDAR.name, "sender_key": CEDAR.key_id}
    form, bad, home = "04 PackageFormatError", "07 BadSignature", home_of(answer)
    inside: dict[str, tuple[str, dict[str, Value]]] = {
        "v": ("05 UnknownVersion", {"v": 2}),
        "type": (bad, {"type": "unmask-response"}),
        "fed": ("05 WrongFederation", {"fed": "elsewhere.example"}),
        "roster": ("05 WrongRoster", {"roster": seeded("r").hex()}),
        "round": (bad, {"round": 5}),
        "plan-hash": (bad, {"plan_hash": seeded("other plan").hex()}),
        "gid": (bad, {"gid": "7"}),
        "sender": ("05 UnknownSender", {"sender": CEDAR.name}),
        "sender-key": ("05 UnknownSender", {"sender_key": CEDAR.key_id}),
        "sender-and-key": (bad, of_cedar),
        "recipient": ("05 WrongRecipient", {"recipient": ALDER.name}),
        "recipient-key": ("05 WrongRecipient", {"recipient_key": ALDER.keys[X25519].id}),
        "kem": (form, {"kem": HYBRID}),
        "seq": (bad, {"seq": 18}),
        "created": (bad, {"created": NOW}),
        "not-after": (bad, {"not_after": NOW + 700 * DAY}),
        "checkpoint": (bad, {"checkpoint": b64(b"a checkpoint")}),
        "body-type": ("05 NotAllowed", {"body_type": "bytes"}),
    }
    outside: dict[str, tuple[str, dict[str, Value]]] = {
        "body-len": (bad, {"body_len": len(answer.sealed_body()) + 1}),
        "body-len-and-tiles": (bad, {"body_len": 2**20 + 1, "tiles": 2}),
        "tiles": (form, {"tiles": 2}),
        "body-root": (bad, {"body_root": seeded("root").hex()}),
        "enc": (bad, {"enc": other_enc}),
    }
    found = []
    for draft_of, table in ((with_ctx, inside), (with_fields, outside)):
        for name, (outcome, changes) in table.items():
            step, expect = outcome.split()
            made = draft_of(answer.but(enc=answer.sealed_key(), body=answer.sealed_body()), **changes)
            comment = f"{name.replace('-', '_') if 'and' not in name else name} was changed after signing."
            vector = f"{step}-edited-{name}"
            found.append(fault(vector, expect, comment, made.pack(signature=signature), recipient=home))
    return found


def passed_on() -> list[Vector]:
    """Alder passes on to cedar what birch made for alder."""
    original = FILE
    package, cedar = original.pack(), CEDAR.keys[X25519]
    readdressed = with_ctx(original, recipient=CEDAR.name, recipient_key=cedar.id).but(sealed_to=cedar)
    signature = original.signed(original.text().encode())
    body = original.sealed_body()
    exchanged_body = original.but(body=body[:24] + seeded("x", len(body) - 24))
    return [
        fault(
            "05-passed-on", "WrongRecipient", "A recipient passes a package on as it is.", package, recipient="cedar"
        ),
        fault(
            "07-passed-on-readdressed",
            "BadSignature",
            "A recipient seals the file key to somebody else and keeps the signature.",
            readdressed.but(body=body).pack(signature=signature),
            recipient="cedar",
        ),
        fault(
            "07-body-exchanged",
            "BadSignature",
            "Body, tile hash and body_root were exchanged under the old signature.",
            exchanged_body.pack(signature=signature),
        ),
    ]


def vectors() -> list[Vector]:
    return [*signatures(), *edited_headers(), *passed_on()]
