"""Step 11: everything is hashed and signed as it should be, and does not decrypt."""

import itertools
from collections.abc import Callable

from tests.vector_format import Edit, Vector
from tests.vectorkit.bases import BASES, Base, edits_to
from tests.vectorkit.cases import FILE, FORM, fault, flipped, with_ctx
from tests.vectorkit.packages import HELLO, Draft, context, info_of
from tests.vectorkit.primitives import Value, b64, digest, seeded, text_bytes
from tests.vectorkit.sealing import (
    AES_128,
    CHACHA,
    CHUNK,
    COBBLESTONE,
    body_keys,
    dhkem_secret,
    hpke_seal,
    in_chunks,
    nonce_at,
    seal_body,
    seal_chunks,
    seal_under,
)
from tests.vectorkit.world import CAST, HYBRID, NOW, X25519

ALDER, BIRCH, CEDAR = CAST["member/alder"], CAST["member/birch"], CAST["member/cedar"]
SEALED = CHUNK + 16
Nonce = Callable[[bytes, int], bytes]


def of(name: str, comment: str, draft: Draft) -> Vector:
    return fault(f"11-{name}", "CannotDecrypt", comment, draft.pack())


def keys() -> list[Vector]:
    """`enc` is not what HPKE gives for this key and this info."""
    sealed, public = FILE.sealed_key(), ALDER.keys[X25519].public
    ephemeral, info, key = FILE.ephemeral, FILE.info, FILE.file_key
    zero, cedar, other = bytes(32), CEDAR.keys[X25519].public, seeded("x")
    low = seal_under(dhkem_secret(zero, zero, public), info, key)
    other_context = hpke_seal(public, ephemeral, info, key)[:32]
    table = {
        "enc-flipped": ("One bit of the encapsulated key is another.", flipped(sealed, 3)),
        "enc-ciphertext-flipped": ("One bit of the sealed file key is another.", flipped(sealed, 40)),
        "enc-tag-flipped": ("One bit of the tag of the file key is another.", flipped(sealed, 79)),
        "enc-zero-point": (
            "The encapsulated key is zero, and so is the shared secret.",
            zero + low,
        ),
        "enc-zero": ("enc is zero.", bytes(80)),
        "enc-for-other-key": (
            "It was sealed to another member.",
            hpke_seal(cedar, ephemeral, info, key),
        ),
        "enc-other-file-key": (
            "enc holds the file key of another package.",
            hpke_seal(public, ephemeral, info, other),
        ),
        "enc-of-other-package": ("enc is that of another package.", with_ctx(FILE, seq=18).but(name="18").sealed_key()),
        "enc-with-aad": ("It was sealed with additional data.", hpke_seal(public, ephemeral, info, key, aad=info)),
        "enc-second-message": (
            "It was sealed as the second message.",
            hpke_seal(public, ephemeral, info, key, counter=1),
        ),
        "enc-aes-128": ("It was sealed with AES-128-GCM.", hpke_seal(public, ephemeral, info, key, aead=AES_128)),
        "enc-chacha20": ("It was sealed with ChaCha20-Poly1305.", hpke_seal(public, ephemeral, info, key, aead=CHACHA)),
        "enc-info-empty": ("It was sealed with an empty info.", hpke_seal(public, ephemeral, b"", key)),
        "enc-info-is-ctx": ("info is ctx and not its digest.", hpke_seal(public, ephemeral, text_bytes(FILE.ctx), key)),
        "enc-info-other-label": (
            "info has the label of another digest.",
            hpke_seal(public, ephemeral, digest("fsps/1/digest/package", text_bytes(FILE.ctx)), key),
        ),
        "enc-parts-of-two": (
            "The encapsulated key is that of one sealing and the ciphertext that of another.",
            other_context + hpke_seal(public, seeded("second"), info, key)[32:],
        ),
    }
    return [of(name, comment, FILE.but(enc=enc)) for name, (comment, enc) in table.items()]


def hybrids() -> list[Vector]:
    draft = Draft(context(kem=HYBRID), name="hybrid")
    enc = draft.sealed_key()
    places = {
        "ml-kem": (500, "the ML-KEM ciphertext"),
        "x25519": (1_100, "the X25519 part"),
        "ciphertext": (1_130, "the sealed file key"),
        "tag": (1_167, "its tag"),
    }
    found = [
        of(f"hybrid-{name}-flipped", f"One bit of {where} is another.", draft.but(enc=flipped(enc, position)))
        for name, (position, where) in places.items()
    ]
    to_server = with_ctx(draft, seq=18).but(sealed_to=CAST["server/coordinator"].keys[HYBRID])
    found.append(of("hybrid-for-other-key", "It was sealed to the server.", to_server))
    return found


CHANGES: dict[str, dict[str, Value]] = {
    "v": {"v": 2},
    "type": {"type": "contribution"},
    "fed": {"fed": "elsewhere.example"},
    "roster": {"roster": seeded("r").hex()},
    "round": {"round": 1},
    "plan-hash": {"plan_hash": seeded("p").hex()},
    "gid": {"gid": "7"},
    "sender": {"sender": "member/cedar"},
    "sender-key": {"sender_key": CEDAR.key_id},
    "recipient": {"recipient": "member/cedar"},
    "recipient-key": {"recipient_key": CEDAR.keys[X25519].id},
    "kem": {"kem": HYBRID},
    "seq": {"seq": 18},
    "created": {"created": NOW},
    "not-after": {"not_after": NOW + 1},
    "checkpoint": {"checkpoint": b64(b"a checkpoint")},
    "body-type": {"body_type": "json"},
}


def bindings() -> list[Vector]:
    """Sealed for a ctx that differs in one field from the signed one."""
    found = []
    for name, changes in CHANGES.items():
        other = info_of({**FILE.ctx, **changes})
        field = name.replace("-", "_")
        comment = f"The file key was sealed for another {field}; the body has the right one."
        found.append(of(f"info-{name}", comment, FILE.but(enc_info=other)))
        if name in ("sender", "recipient", "seq", "roster"):
            comment = f"The body was encrypted for another {field}; the file key has the right one."
            found.append(of(f"context-{name}", comment, FILE.but(body_info=other)))
    return found


def thefts() -> list[Vector]:
    """Others sign or hand on what is not theirs."""
    mine = {"sender": CEDAR.name, "sender_key": CEDAR.key_id}
    stolen = with_ctx(FILE.but(signer=CEDAR, enc=FILE.sealed_key(), body=FILE.sealed_body()), **mine)
    resealed = with_ctx(FILE.but(signer=CEDAR, body=FILE.sealed_body()), **mine)
    to_birch = context(sender="member/cedar", recipient="member/birch")
    received = Draft(to_birch, name="to birch")
    handed_on = Draft(context(), name="to birch", body=received.sealed_body())
    same_enc = handed_on.but(enc=received.sealed_key())
    old = Draft(context(seq=3), name="old")
    return [
        of("theft", "Another member puts its name and signature on file key and body.", stolen),
        of("theft-resealed", "Another member who knows the file key seals it anew and keeps the body.", resealed),
        of("handed-on", "A recipient hands a body on as its own, the file key sealed anew.", handed_on),
        of("handed-on-as-it-is", "A recipient hands file key and body on as its own, as they are.", same_enc),
        of("old-body", "A sender puts an old body under a new header.", FILE.but(name="old", body=old.sealed_body())),
        of("body-of-other-package", "The body is that of another package.", FILE.but(body=old.sealed_body())),
    ]


def bodies() -> list[Vector]:
    """The body is not what Cobblestone-256 gives."""
    body, key, salt, info = FILE.sealed_body(), FILE.file_key, FILE.salt, FILE.info
    chunks = in_chunks(HELLO)
    other = seal_body(seeded("other file key"), salt, info, HELLO)

    def little(base: bytes, counter: int) -> bytes:
        return nonce_at(base[::-1], counter)[::-1]

    plain = salt + body_keys(key, salt, info)[2] + HELLO + bytes(16)
    short_name = COBBLESTONE.replace(b"256", b"128")
    table: dict[str, tuple[str, bytes]] = {
        "salt-flipped": ("One bit of the salt is another.", flipped(body, 0)),
        "commitment-flipped": ("One bit of the commitment is another.", flipped(body, 24)),
        "commitment-last-bit": ("The last bit of the commitment is another.", flipped(body, 55, 128)),
        "commitment-zero": ("The commitment is zero.", body[:24] + bytes(32) + body[56:]),
        "commitment-of-other-key": (
            "The commitment is that of another file key.",
            body[:24] + other[24:56] + body[56:],
        ),
        "chunks-of-other-key": ("The chunks are encrypted under another file key.", body[:56] + other[56:]),
        "other-key": ("The body is encrypted under another file key.", other),
        "chunk-flipped": ("One bit of the chunk is another.", flipped(body, 60)),
        "tag-flipped": ("One bit of the tag is another.", flipped(body, -1)),
        "tag-zero": ("The tag is zero.", body[:-16] + bytes(16)),
        "not-encrypted": ("Commitment is right and the chunk not encrypted.", plain),
        "all-zero": ("The body is zero.", bytes(len(body))),
        "context-empty": ("The context is empty.", seal_body(key, salt, b"", HELLO)),
        "context-is-ctx": ("The context is ctx and not its digest.", seal_body(key, salt, text_bytes(FILE.ctx), HELLO)),
        "sha-256": ("Keys were derived with SHA-256.", seal_chunks(key, salt, info, chunks, algorithm="sha256")),
        "aes-128": ("The body is of AES-128-GCM.", seal_chunks(key, salt, info, chunks, name=short_name)),
        "with-aad": ("Chunks have additional data.", seal_chunks(key, salt, info, chunks, aad=info)),
        "counter-from-1": ("Counting begins with 1.", seal_chunks(key, salt, info, chunks, counters=[1])),
        "chunk-and-empty": (
            "An empty chunk follows one that is not full.",
            seal_chunks(key, salt, info, [HELLO, b""]),
        ),
        "empty-and-chunk": ("An empty chunk comes first.", seal_chunks(key, salt, info, [b"", HELLO])),
        "two-short": ("Two chunks that are not full.", seal_chunks(key, salt, info, [HELLO[:9], HELLO[9:]])),
    }
    found = [of(f"body-{name}", comment, FILE.but(body=value)) for name, (comment, value) in table.items()]
    return [*found, *orders(little), *oddities()]


def orders(little: Nonce) -> list[Vector]:
    """Faults that take several chunks: changes to a base, then hashed and signed again."""
    base = BASES["three-chunks"]
    start, body = base.body_start + 56, base.draft.sealed_body()
    end, head = base.body_start + len(body), body[:56]
    ends = (56, 56 + SEALED, 56 + 2 * SEALED, len(body))
    first, second, last = (body[a:b] for a, b in itertools.pairwise(ends))
    swap, drop = Edit("swap", (start, start + SEALED, SEALED)), Edit("delete", (start + SEALED, SEALED))
    copy, drop_first = Edit("copy", (start, start + SEALED, SEALED)), Edit("delete", (start, SEALED))
    tag, cut = Edit("insert", (end,), sealed_last(base, b"", counter=3)), Edit("cut", (end - len(last),))
    zeros = Edit("insert", (end - len(last),), bytes(16))
    full = head + first + second
    plain = in_chunks(base.plaintext)[2]
    lasts = {
        "counter-goes-on": ("The counter leaves out a number.", sealed_last(base, plain, counter=3)),
        "counter-starts-again": ("The counter begins again.", sealed_last(base, plain, counter=0)),
        "counter-little-endian": ("The counter is little-endian.", sealed_last(base, plain, counter=2, nonce=little)),
        "last-chunk-with-aad": (
            "The last chunk has additional data.",
            sealed_last(base, plain, counter=2, aad=b"last"),
        ),
    }
    table = {
        "chunks-swapped": ("Two full chunks have changed places.", head + second + first + last, [swap]),
        "chunk-repeated": ("The first chunk stands for the second.", head + first + first + last, [copy]),
        "chunk-missing": ("The second of three chunks is missing.", head + first + last, [drop]),
        "first-chunk-missing": ("The first of three chunks is missing.", head + second + last, [drop_first]),
        "first-tag-flipped": ("One bit of the first tag is another.", flipped(body, ends[1] - 1), []),
        "middle-tag-flipped": ("One bit of the second tag is another.", flipped(body, ends[2] - 1), []),
        "last-tag-flipped": ("One bit of the last tag is another.", flipped(body, -1), []),
        "last-tag-missing": ("The last tag is missing.", body[:-16], [Edit("cut", (end - 16,))]),
        "last-chunk-is-zeros": ("16 zero bytes stand for the last chunk.", full + bytes(16), [cut, zeros]),
        "empty-chunk-after": ("An empty chunk follows the last one.", body + tag.data, [tag]),
    }
    found = [remade(f"11-{name}", comment, base, made, moves) for name, (comment, made, moves) in table.items()]
    found += [remade(f"11-{name}", comment, base, full + made, []) for name, (comment, made) in lasts.items()]
    comment = "The last chunk is missing, and everything was hashed and signed without it."
    return [*found, remade("04-last-chunk-missing", comment, base, full, [cut], FORM)]


def sealed_last(base: Base, chunk: bytes, *, counter: int, nonce: Nonce = nonce_at, aad: bytes = b"") -> bytes:
    """A chunk under the keys of the base."""
    draft = base.draft
    body = seal_chunks(draft.file_key, draft.salt, draft.info, [chunk], counters=[counter], nonce=nonce, aad=aad)
    return body[56:]


def remade(
    name: str, comment: str, base: Base, body: bytes, moves: list[Edit], expect: str = "CannotDecrypt"
) -> Vector:
    """The base with another body: moves of whole chunks, then edits of what is hashed and signed."""
    target = base.draft.but(body=body).pack()
    package = base.draft.pack()
    for move in moves:
        package = move.apply(package)
    edits = [*moves, *edits_to(package, target)]
    return fault(name, expect, comment, b"", base=base.name, edits=edits)


def oddities() -> list[Vector]:
    """Bodies whose chunks are of other lengths, of a length that is possible in sum."""
    table = {
        "oversized-chunk": ("odd-oversized-chunk", "One chunk is larger than a full one."),
        "short-chunk-first": ("odd-short-chunk-first", "The chunk that is not full comes first."),
        "halves": ("odd-halves", "Chunks are of half the size."),
    }
    return [fault(f"11-{name}", "CannotDecrypt", comment, b"", base=base) for name, (base, comment) in table.items()]


def vectors() -> list[Vector]:
    return [*keys(), *hybrids(), *bindings(), *thefts(), *bodies()]
