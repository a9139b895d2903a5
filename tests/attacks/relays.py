"""Genuine packages in the wrong hands: shown twice, to somebody else, at another time, or under another name.

    python -m tests.attacks.relays     prints the figures as JSON

Everything here is signed by somebody whom the roster knows, or copied from what was.  Attackers know what they would
know: a recipient knows the file key and the plaintext of what it was sent, a thief has its own keys and nothing else.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fedspallm_secure.crypto.encoding import decode_base64, encode_base64
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.sealing import Kem, RecipientKey, unwrap, wrap
from fedspallm_secure.crypto.signing import sign
from fedspallm_secure.errors import (
    BadSignature,
    CannotDecrypt,
    Equivocation,
    FedSpaError,
    NotAllowed,
    NotAwaited,
    PackageFormatError,
    ReplayedPackage,
    TileMismatch,
    TrailingBytes,
    UnknownSender,
    WrongFederation,
    WrongRecipient,
    WrongRoster,
)
from fedspallm_secure.protocol.package_types import BodyType
from fedspallm_secure.protocol.packages import Context
from fedspallm_secure.protocol.receiving import Awaited, Slot
from tests.attacks.stage import RECIPIENT, SENDER, THIEF, THIRD, Outcome, Parts, Stage, body_of
from tests.parties import Federation

SIZES = (0, 100, 16_384, 50_000)
HUB = "server/hub"
ANYTHING = Awaited()
Expected = tuple[type[FedSpaError], ...]


@dataclass(frozen=True)
class Relay:
    """A package that somebody shows to somebody.  before: what the same recipient has opened already."""

    kind: str
    name: str
    data: bytes
    expected: Expected
    to: str = RECIPIENT
    awaited: Awaited = field(default_factory=Awaited)
    before: tuple[bytes, ...] = ()


class Attackers:
    """What the attackers work with: one genuine package from SENDER to RECIPIENT at a time."""

    def __init__(self, stage: Stage, elsewhere: dict[str, Stage]) -> None:
        self.stage, self.elsewhere, self.federation = stage, elsewhere, stage.federation
        self.sequence = 0

    def genuine(self, size: int, kem: Kem, sender: str = SENDER, recipient: str = RECIPIENT, **context: Any) -> Parts:
        self.sequence += 1
        context = {"sequence": self.sequence, **context}
        return Parts.of(self.stage.write(b"s" * size, sender, recipient, kem=kem, **context))

    def key(self, name: str, kem: Kem) -> RecipientKey:
        keys = self.federation[name].entry.key_statement.keys
        return next(key for key in keys if key.kem is kem)

    def file_key(self, parts: Parts) -> bytes:
        """What the recipient of a package knows."""
        context = Context.from_dict(parts.fields["ctx"])
        secret = self.federation[str(context.recipient)].secrets[context.recipient_key]
        return unwrap(decode_base64(parts.fields["enc"], "enc"), secret, context.info)

    def wrapped(self, parts: Parts, file_key: bytes, info: bytes | None = None) -> Parts:
        """The file key wrapped for whom the header names, under its own context or, with `info`, under another one."""
        context = Context.from_dict(parts.fields["ctx"])
        key = self.key(str(context.recipient), context.kem)
        enc = encode_base64(wrap(file_key, key, context.info if info is None else info))
        return parts.with_fields({**parts.fields, "enc": enc})

    def addressed(self, parts: Parts, name: str) -> Parts:
        kem = Kem(parts.fields["ctx"]["kem"])
        return parts.with_context(recipient=name, recipient_key=self.key(name, kem).key_id)

    def named(self, parts: Parts, name: str) -> Parts:
        return parts.with_context(sender=name, sender_key=self.federation[name].leaf.key_id)

    def signed(self, parts: Parts, name: str) -> Parts:
        return parts.signed(self.federation[name].signer)


def later(by: Attackers) -> int:
    return by.federation.now + 9999


Suite = Callable[[Attackers, int, Kem], Iterator[Relay]]
SUITES: dict[str, Suite] = {}


def suite(function: Suite) -> Suite:
    SUITES[function.__name__.replace("_", " ")] = function
    return function


@suite
def replay(by: Attackers, size: int, kem: Kem) -> Iterator[Relay]:
    """The same package again; and another one under its number, which its own sender made."""
    first = by.genuine(size, kem)
    data, number = first.join(), first.fields["ctx"]["seq"]
    yield Relay("replay", "the same bytes", data, (ReplayedPackage,), before=(data,))
    again = by.genuine(size + 1, kem, sequence=number)
    yield Relay("replay", "the same number, another body", again.join(), (Equivocation,), before=(data,))
    for name, changes in (("later", {"not_after": later(by)}), ("earlier", {"created": 1})):
        signed = by.signed(first.with_context(**changes), SENDER).join()
        yield Relay("replay", f"the same number, made {name}", signed, (Equivocation,), before=(data,))
    other = by.genuine(size, kem)
    mixed = replace(first, hashes=other.hashes, body=other.body).join()
    yield Relay("replay", "its head with a body that was not seen yet", mixed, (ReplayedPackage,), before=(data,))


@suite
def wrong_recipient(by: Attackers, size: int, kem: Kem) -> Iterator[Relay]:
    data = by.genuine(size, kem)
    for name in (THIEF, THIRD, SENDER, HUB):
        yield Relay("wrong recipient", f"shown to {name}", data.join(), (WrongRecipient,), to=name)
    other = Kem.X25519 if kem is Kem.HYBRID else Kem.HYBRID
    for name, key in (("somebody's", by.key(THIEF, kem)), ("of the other kem", by.key(RECIPIENT, other))):
        swapped = by.signed(data.with_context(recipient_key=key.key_id), SENDER)
        yield Relay("wrong recipient", f"its name, but a key that is {name}", swapped.join(), (WrongRecipient,))


@suite
def wrong_round(by: Attackers, size: int, kem: Kem) -> Iterator[Relay]:
    plan = "ab" * 32
    in_round = {"type": "result", "round": 4, "plan_hash": plan, "group": "2", "body_type": BodyType.BYTES}
    made = by.genuine(size, kem, HUB, RECIPIENT, **in_round)
    for name, awaited in (
        ("an earlier round", Awaited(round=3)),
        ("a later round", Awaited(round=5)),
        ("another plan", Awaited(round=4, plan_hash="cd" * 32)),
        ("another group", Awaited(round=4, plan_hash=plan, group="3")),
        ("the whole model", Awaited(round=4, plan_hash=plan, group="*")),
        ("another type", Awaited(types=frozenset({"plan"}), round=4)),
        ("another length", Awaited(plaintext_length=size + 1)),
        ("files by hand", Awaited(types=frozenset({"file"}))),
    ):
        yield Relay("wrong round", f"{name} is awaited", made.join(), (NotAwaited,), awaited=awaited)
    for name, changes in (
        ("round", {"round": 5}),
        ("plan", {"plan_hash": "cd" * 32}),
        ("group", {"gid": "3"}),
    ):
        moved = made.with_context(**changes)
        yield Relay("wrong round", f"{name} changed", moved.join(), (BadSignature,))
        yield Relay(
            "wrong round", f"{name} changed, signed by a member", by.signed(moved, THIEF).join(), (BadSignature,)
        )
        stolen = by.signed(by.named(moved, THIEF), THIEF)
        yield Relay("wrong round", f"{name} changed, in a member's name", stolen.join(), (NotAllowed,))


@suite
def wrong_federation(by: Attackers, size: int, kem: Kem) -> Iterator[Relay]:
    """The same parties by name in a federation of another name, of the same name, and in the one of yesterday."""
    for name, expected in (
        ("another name", WrongFederation),
        ("the same name", WrongRoster),
        ("yesterday", WrongRoster),
    ):
        there = by.elsewhere[name]
        made = Parts.of(there.seal(b"s" * size, SENDER, RECIPIENT, kem))
        yield Relay("wrong federation", name, made.join(), (expected,))
        ours = made.with_context(fed=by.federation.name, roster=by.federation.roster.hash)
        signer = there.federation[SENDER].signer
        reached = (BadSignature,) if name == "yesterday" else (WrongRecipient, UnknownSender)
        yield Relay("wrong federation", f"{name}, claiming ours", ours.join(), reached)
        key = by.key(RECIPIENT, kem)
        ours = ours.with_context(recipient_key=key.key_id)
        if name != "yesterday":  # there it is our own sender's key
            signed = ours.signed(signer)
            yield Relay("wrong federation", f"{name}, signed there", signed.join(), (UnknownSender,))
            signed = ours.with_context(sender_key=by.federation[SENDER].leaf.key_id).signed(signer)
            yield Relay("wrong federation", f"{name}, signed there in our name", signed.join(), (BadSignature,))


@suite
def stripped_signature(by: Attackers, size: int, kem: Kem) -> Iterator[Relay]:
    """The signature taken off, and what may be put there instead."""
    parts, other = by.genuine(size, kem), by.genuine(size, kem)
    signer = by.federation[THIEF].signer
    instead = {
        "zeros": bytes(64),
        "ones": b"\xff" * 64,
        "the neutral point and zero": b"\x01" + bytes(63),
        "of another package": other.signature,
        "of another package, half": other.signature[:32] + parts.signature[32:],
        "a member's": sign(signer, Label.SIGN_PACKAGE, parts.header),
        "a member's over a request": sign(signer, Label.SIGN_REQUEST, parts.header),
        "the sender's over a request": sign(by.federation[SENDER].signer, Label.SIGN_REQUEST, parts.header),
        "the sender's over the bare header": by.federation[SENDER].signer.sign(parts.header),
    }
    for name, signature in instead.items():
        yield Relay("stripped signature", name, replace(parts, signature=signature).join(), (BadSignature,))
    gone = replace(parts, signature=b"").join()
    yield Relay("stripped signature", "nothing", gone, (BadSignature, PackageFormatError))


@suite
def surreptitious_forwarding(by: Attackers, size: int, kem: Kem) -> Iterator[Relay]:
    """The recipient passes on what it got, so that a third party believes the sender wrote to it.

    It knows the file key, may wrap it for the third party, and may sign; the body stays, for a new one it could make
    only in its own name.
    """
    parts = by.genuine(size, kem)
    file_key, old = by.file_key(parts), Context.from_dict(parts.fields["ctx"]).info
    for victim in (THIEF, THIRD):
        readdressed = by.addressed(parts, victim)
        for name, info in (("its new context", None), ("the old context", old)):
            wrapped = by.wrapped(readdressed, file_key, info)
            who = f"wrapped for {victim} under {name}"
            yield Relay("forwarding", f"{who}, old signature", wrapped.join(), (BadSignature,), to=victim)
            signed = by.signed(wrapped, RECIPIENT)
            yield Relay("forwarding", f"{who}, own signature", signed.join(), (BadSignature,), to=victim)
            own = by.named(readdressed, RECIPIENT)
            own = by.signed(by.wrapped(own, file_key, info), RECIPIENT)
            yield Relay("forwarding", f"{who}, in its own name", own.join(), (CannotDecrypt,), to=victim)
        context = Context.from_dict(readdressed.fields["ctx"])
        made = by.wrapped(readdressed, file_key).with_body(body_of(b"s" * size, file_key, context))
        yield Relay("forwarding", f"new body for {victim}", made.join(), (BadSignature,), to=victim)
        made = by.signed(made, RECIPIENT)
        yield Relay("forwarding", f"new body for {victim}, own signature", made.join(), (BadSignature,), to=victim)
        yield Relay("forwarding", f"only the name of {victim}", readdressed.join(), (BadSignature,), to=victim)
        yield Relay("forwarding", f"unchanged, to {victim}", parts.join(), (WrongRecipient,), to=victim)
    body = body_of(b"t" * (size + 1), file_key, Context.from_dict(parts.fields["ctx"]))
    yield Relay("forwarding", "another body for itself", parts.with_body(body).join(), (BadSignature,))
    yield Relay(
        "forwarding", "another body under the old head", replace(parts, body=body).join(), (TileMismatch, TrailingBytes)
    )


@suite
def ownership_theft(by: Attackers, size: int, kem: Kem) -> Iterator[Relay]:
    """A member takes somebody's package off the courier and sends it on as its own."""
    parts = by.genuine(size, kem)
    for name in (THIEF, HUB, THIRD):
        stolen = by.named(parts, name)
        variants = {
            "as it is": stolen,
            "with a number of its own": stolen.with_context(seq=1),
            "with times of its own": stolen.with_context(
                created=by.federation.now - 5, not_after=by.federation.now + 99
            ),
            "with a wrap of its own": by.wrapped(stolen, b"k" * 32),
            "with the wrap of another package": stolen.with_fields(
                {**stolen.fields, "enc": by.genuine(size, kem).fields["enc"]}
            ),
        }
        for what, variant in variants.items():
            yield Relay("theft", f"{name}, {what}", by.signed(variant, name).join(), (CannotDecrypt,))
        yield Relay("theft", f"{name}, old signature", stolen.join(), (BadSignature,))
        half = by.signed(parts.with_context(sender_key=by.federation[name].leaf.key_id), name)
        yield Relay("theft", f"{name}, the sender's name with its own key", half.join(), (UnknownSender,))
        half = by.signed(parts.with_context(sender=name), name)
        yield Relay("theft", f"{name}, its own name with the sender's key", half.join(), (UnknownSender,))


def relays(by: Attackers) -> Iterator[Relay]:
    """Every suite with every size and kem."""
    for size in SIZES:
        for kem in Kem:
            for function in SUITES.values():
                yield from function(by, size, kem)


def run(folder: Path) -> Outcome:
    """Show every relay to whom it is meant for; accepted means that it was opened."""
    outcome = Outcome()
    federation = Federation(now=int(time.time()))
    with Stage(_made(folder / "here"), federation) as stage, ExitStack() as stack:
        elsewhere = {
            name: stack.enter_context(Stage(_made(folder / name), there)) for name, there in _others(federation).items()
        }
        by = Attackers(stage, elsewhere)
        for relay in relays(by):
            _attempt(stage, outcome, relay)
    return outcome


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _others(here: Federation) -> dict[str, Federation]:
    yesterday = Federation(here.name, here.now)
    for name in ("root_signer", "root", "actors", "crl"):
        setattr(yesterday, name, getattr(here, name))
    yesterday.roster = here.roster
    here.roster = here.new_roster(2)
    return {
        "another name": Federation("hearts.example", here.now),
        "the same name": Federation(here.name, here.now),
        "yesterday": yesterday,
    }


def _attempt(stage: Stage, outcome: Outcome, relay: Relay) -> None:
    path = stage.medium / "relay.fspkg"
    for earlier in relay.before:
        path.write_bytes(earlier)
        if stage.register(relay.to).find(_slot(earlier)) is None:
            stage.open(path, relay.to, awaited=relay.awaited)
    path.write_bytes(relay.data)
    size = f"{len(relay.data)} bytes"
    with outcome.judging(relay.kind, f"{relay.name}, {size}", relay.expected):
        stage.open(path, relay.to, awaited=relay.awaited)
    outcome.published += [f"{relay.kind}, {relay.name}: {name}" for name in stage.left_behind()]
    path.unlink()


def _slot(data: bytes) -> Slot:
    return Slot.of(Context.from_dict(Parts.of(data).fields["ctx"]))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        found = run(Path(scratch))
    sys.stdout.write(json.dumps({**found.as_dict(), "failures": found.failures}) + "\n")
