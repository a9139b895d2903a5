"""How the lists of vectors are written down."""

import hashlib
from collections.abc import Mapping, Sequence

from tests.vector_format import Edit, Vector, header_and_signature
from tests.vectorkit.packages import Draft, context, package_digest
from tests.vectorkit.primitives import Value
from tests.vectorkit.world import CAST, NOW

FORM = "PackageFormatError"
FILE = Draft(context())
CONTRIBUTION = Draft(context("contribution", recipient="server/coordinator", gid="7"))
PLAN = Draft(context("plan", sender="server/coordinator"))
OFFER = Draft(context("offer", recipient="server/coordinator"))
RECEIPT = Draft(context("receipt", sender="server/coordinator"))
LOG = Draft(context("log", sender="server/coordinator"))
LAYER = Draft(context("layer", sender="server/coordinator", gid="7"))


def fault(
    name: str,
    expect: str,
    comment: str,
    package: bytes,
    *,
    now: int = NOW,
    recipient: str = "alder",
    awaited: Mapping[str, str] | None = None,
    seen: Sequence[Vector] = (),
    base: str = "",
    edits: Sequence[Edit] = (),
    file: str = "",
    size: int = 0,
) -> Vector:
    """A vector; the step is the number that its name begins with."""
    rows = tuple((other.name, package_digest(header_and_signature(other.dump)[0])) for other in seen)
    return Vector(
        name=name,
        expect=expect,
        step=int(name.split("-")[0]),
        comment=comment,
        now=now,
        recipient=recipient,
        awaited=tuple((awaited or {}).items()),
        seen=rows,
        file=file,
        size=size,
        base=base,
        edits=tuple(edits),
        dump=package,
    )


def good(
    name: str,
    comment: str,
    draft: Draft,
    *,
    now: int = NOW,
    recipient: str = "",
    awaited: Mapping[str, str] | None = None,
    seen: Sequence[Vector] = (),
) -> Vector:
    home = recipient or CAST[str(draft.ctx["recipient"])].id
    made = fault(f"12-{name}", "success", comment, draft.pack(), now=now, recipient=home, awaited=awaited, seen=seen)
    return as_success(made, draft.plaintext)


def as_success(vector: Vector, plaintext: bytes) -> Vector:
    fields = {key: getattr(vector, key) for key in vector.__slots__}
    return Vector(**{**fields, "name": f"good-{vector.name[3:]}", "sha256": hashlib.sha256(plaintext).hexdigest()})


def home_of(draft: Draft) -> str:
    return CAST[str(draft.ctx["recipient"])].id


def with_ctx(draft: Draft, **changes: Value) -> Draft:
    """Another ctx, signed by the same sender and sealed to the same key, whatever ctx says now."""
    signer = draft.signer or CAST[str(draft.ctx["sender"])]
    return draft.but(ctx={**draft.ctx, **changes}, signer=signer, sealed_to=draft.target)


def with_fields(draft: Draft, **changes: Value) -> Draft:
    return draft.but(fields={**(draft.fields or {}), **changes})


def exchanged(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
    return text.replace(old, new)


def flipped(data: bytes, position: int, bit: int = 1) -> bytes:
    changed = bytearray(data)
    changed[position] ^= bit
    return bytes(changed)
