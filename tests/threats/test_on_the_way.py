"""THREAT_MODEL section 3, "On the way": packages repeated, misdirected, and changed between sender and recipient."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fedspallm_secure.crypto.merkle import leaf_hash
from fedspallm_secure.errors import (
    BadSignature,
    NotAllowed,
    PackageExpired,
    PackageFormatError,
    RecordDamaged,
    ReplayedPackage,
    TileMismatch,
    TrailingBytes,
    Truncated,
    UnknownSender,
    UnknownVersion,
    WrongFederation,
    WrongRecipient,
    WrongRoster,
)
from tests.attacks.mutations import GROUP_ORDER
from tests.attacks.stage import BODY_START, CHUNK, MIB, RECIPIENT, SENDER, THIEF, Parts, Stage
from tests.ceremony import Ceremony, Clock
from tests.parties import Federation
from tests.threats.bench import deliver, refused, refuses


def test_a_package_that_was_taken_in_is_refused_the_second_time(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    """THREAT_MODEL T1: the same package again, also while another run of the same home has nearly taken it in."""
    data = stage.seal(b"once")
    assert deliver(stage, data) == b"once"
    refuses(stage, data, ReplayedPackage)
    path, register = stage.medium / "twice.fspkg", stage.register(RECIPIENT)

    def raced(fill: Callable[..., None], filled: bool) -> Callable[..., None]:
        def replacement(*arguments: object) -> None:
            monkeypatch.setattr(register, "fill", fill)
            if filled:
                fill(*arguments)
            assert stage.open(path, output=stage.out / "second") == b"twice"
            if not filled:
                fill(*arguments)

        return replacement

    for filled in (False, True):  # whether the first run has written its row when the second one begins
        path.write_bytes(stage.seal(b"twice"))
        monkeypatch.setattr(register, "fill", raced(register.fill, filled))
        with refused(ReplayedPackage, untouched=stage.out):
            stage.open(path, output=stage.out / "first")


@pytest.mark.parametrize("lose", [Path.unlink, lambda path: path.write_bytes(b"")], ids=["deleted", "emptied"])
def test_a_lost_register_is_not_begun_anew(made: Ceremony, lose):
    """THREAT_MODEL T3: the register is gone, so old packages would be news and numbers be used again."""
    home = made.open("member/south")
    with home.open_register() as register:
        assert register.next_sequence() == 1
    lose(home.path / "register.sqlite")
    with refused(RecordDamaged, untouched=home.path), home.open_register() as register:
        register.next_sequence()


def test_a_package_for_somebody_else_stays_closed(stage: Stage):
    """THREAT_MODEL T4: delivered to another party than it is for."""
    refuses(stage, stage.seal(b"x"), WrongRecipient, to=THIEF)


def test_a_package_sent_back_to_its_sender_is_refused(stage: Stage):
    """THREAT_MODEL T5: reflected to its own sender."""
    refuses(stage, stage.seal(b"x"), WrongRecipient, to=SENDER)


def elsewhere(tmp_path: Path, federation: Federation) -> bytes:
    """A package from another federation, between parties of the same names."""
    (tmp_path / "elsewhere").mkdir()
    with Stage(tmp_path / "elsewhere", federation) as other:
        return other.seal(b"x")


def test_a_package_of_another_federation_is_refused(stage: Stage, tmp_path: Path):
    """THREAT_MODEL T6: the parties have the same names, the federation has another."""
    refuses(stage, elsewhere(tmp_path, Federation("hearts.example", stage.federation.now)), WrongFederation)


def test_a_federation_of_the_same_name_with_another_root_is_refused(stage: Stage, tmp_path: Path):
    """THREAT_MODEL T7: even the federation has the same name."""
    refuses(stage, elsewhere(tmp_path, Federation(stage.federation.name, stage.federation.now)), WrongRoster)


def test_no_field_of_a_header_can_be_edited(stage: Stage):
    """THREAT_MODEL T8: each field in turn gets another value that is sound in itself; the signature stays."""
    good, other = Parts.of(stage.seal(b"x")), Parts.of(stage.seal(b"x"))
    fields, thief = good.fields, stage.federation[THIEF]
    outer = {
        "body_len": (fields["body_len"] + 1, BadSignature),
        "body_root": ("ab" * 32, BadSignature),
        "tiles": (2, PackageFormatError),
        "enc": (other.fields["enc"], BadSignature),
    }
    inner = {
        "v": (2, UnknownVersion),
        "type": ("plan", NotAllowed),
        "fed": ("hearts.example", WrongFederation),
        "roster": ("ab" * 32, WrongRoster),
        "round": (1, NotAllowed),
        "plan_hash": ("ab" * 32, NotAllowed),
        "gid": ("0", NotAllowed),
        "sender": (THIEF, UnknownSender),
        "sender_key": (thief.leaf.key_id, UnknownSender),
        "recipient": (THIEF, WrongRecipient),
        "recipient_key": (thief.entry.key_statement.keys[1].key_id, WrongRecipient),
        "kem": ("mlkem768-x25519", PackageFormatError),
        "seq": (99, BadSignature),
        "created": (fields["ctx"]["created"] - 1, BadSignature),
        "not_after": (fields["ctx"]["not_after"] + 1, BadSignature),
        "checkpoint": ("AAAA", BadSignature),
        "body_type": ("json", NotAllowed),
    }
    assert ({"ctx", *outer}, set(inner)) == (set(fields), set(fields["ctx"]))
    for name, (value, error) in outer.items():
        refuses(stage, good.with_fields({**fields, name: value}), error)
    for name, (value, error) in inner.items():
        refuses(stage, good.with_context(**{name: value}), error)


def test_a_replaced_signature_is_refused(stage: Stage):
    """THREAT_MODEL T9: zeros, the signature of another package, another member's signature over this header."""
    good, other = Parts.of(stage.seal(b"x")), Parts.of(stage.seal(b"y"))
    for signature in (bytes(64), other.signature, good.signed(stage.federation[THIEF].signer).signature):
        refuses(stage, replace(good, signature=signature), BadSignature)


def test_a_signature_has_one_spelling(stage: Stage):
    """THREAT_MODEL T10: S plus the group order satisfies the equation too."""
    good = Parts.of(stage.seal(b"x"))
    s = int.from_bytes(good.signature[32:], "little") + GROUP_ORDER
    refuses(stage, replace(good, signature=good.signature[:32] + s.to_bytes(32, "little")), BadSignature)


def test_a_cut_file_is_refused_wherever_it_is_cut(stage: Stage):
    """THREAT_MODEL T11: in each part, and exactly between two chunks and two tiles."""
    data = stage.seal(bytes(MIB + 50_000))
    parts = Parts.of(data)
    hashes = 76 + len(parts.header)
    body = hashes + 64
    for end in (0, 11, 12, 100, hashes - 1):
        refuses(stage, data[:end], PackageFormatError)
    chunks = [body + BODY_START + CHUNK * number for number in (0, 1, 64)]
    for end in (hashes, hashes + 32, body, body + 20, *chunks, body + MIB, len(data) - 1):
        refuses(stage, data[:end], Truncated)


def test_appended_bytes_are_refused(stage: Stage):
    """THREAT_MODEL T12: one byte, a chunk, the whole package again."""
    data = stage.seal(b"x")
    for more in (b"\0", bytes(CHUNK), data):
        refuses(stage, data + more, TrailingBytes)


def test_exchanged_tiles_are_refused(stage: Stage):
    """THREAT_MODEL T13: two whole tiles change places, without their hashes and with them."""
    parts = Parts.of(stage.seal(b"a" * MIB + b"b" * MIB))
    first, second, *rest = parts.tiles
    moved = replace(parts, body=b"".join([second, first, *rest]))
    refuses(stage, moved, TileMismatch)
    refuses(stage, replace(moved, hashes=(parts.hashes[1], parts.hashes[0], *parts.hashes[2:])), TileMismatch)


def test_a_changed_tile_is_refused_even_with_its_new_hash(stage: Stage):
    """THREAT_MODEL T14: one byte of the body, alone, and with the hash of the tile."""
    parts = Parts.of(stage.seal(b"x"))
    body = parts.body[:-1] + bytes([parts.body[-1] ^ 1])
    refuses(stage, replace(parts, body=body), TileMismatch)
    refuses(stage, replace(parts, body=body, hashes=(leaf_hash(body),)), TileMismatch)


def test_the_body_of_another_package_is_refused(stage: Stage):
    """THREAT_MODEL T15: of the same sender, recipient and length."""
    one, two = Parts.of(stage.seal(b"yes")), Parts.of(stage.seal(b"no!"))
    refuses(stage, replace(one, hashes=two.hashes, body=two.body), TileMismatch)


def test_a_package_that_comes_too_late_is_refused(stage: Stage, clock: Clock):
    """THREAT_MODEL T18: held back until after `not_after`."""
    data = stage.seal(b"x")
    clock.now = Parts.of(data).fields["ctx"]["not_after"] + 1
    refuses(stage, data, PackageExpired)
    clock.now -= 1
    assert deliver(stage, data) == b"x"  # to the second
