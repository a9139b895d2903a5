"""Packages in memory: opened once by whom they are for, and refused with the class that the specification names."""

import hashlib
import json
import os
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure import errors
from fedspallm_secure.app import packages
from fedspallm_secure.app.federation import Federation, Participant
from fedspallm_secure.app.postbox import Postbox
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.crypto.encoding import decode_base64, encode_base64, parse_canonical_json
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.profiles import DAY
from fedspallm_secure.crypto.revocation import CLOCK_SKEW
from fedspallm_secure.crypto.sealing import Kem
from fedspallm_secure.crypto.signing import Ed25519Signer, verify
from fedspallm_secure.protocol.package_types import PACKAGE_TYPES, BodyType
from fedspallm_secure.protocol.packages import Head, Header
from fedspallm_secure.protocol.receiving import Awaited, Slot
from fedspallm_secure.storage.memory import MemoryRegister, read_package
from fedspallm_secure.storage.register import open_register
from tests import test_vector_conformance as conformance
from tests.attacks.stage import MIB, Parts
from tests.vector_format import VECTORS, header_and_signature, load

NOW = 1_790_000_000
PLAN, HOUR = "ab" * 32, 3600
HUB, NORTH, SOUTH, WATCH, AUDIT, KEEPER = map(
    Party.parse,
    ("server/hub", "member/north", "member/south", "witness/watch", "auditor/audit", "key-holder/keeper"),
)
PARTIES = (HUB, NORTH, SOUTH, WATCH, AUDIT, KEEPER)
LUNGS = Federation.make("lungs.example", PARTIES, NOW)
ANY = Awaited()


class Ends:
    """A sender and a recipient who have never written to each other."""

    def __init__(self, sender: Party = NORTH, recipient: Party = HUB, federation: Federation = LUNGS) -> None:
        self.sender = Postbox(federation[sender], federation.trust)
        self.recipient = Postbox(federation[recipient], federation.trust)

    def seal(self, body=b"body", type: str = "contribution", now: int = NOW, **changes) -> bytes:
        row = PACKAGE_TYPES.get(type)
        rounds = (3, PLAN, "7") if row is None or row.in_round else (0, "*", "*")
        values = dict(zip(("round", "plan_hash", "group"), rounds, strict=True))
        values |= {"recipient": self.recipient.party, "not_after": now + HOUR} | changes
        return self.sender.seal(type, body=body, now=now, **values)

    def open(self, package: bytes, awaited: Awaited = ANY, now: int = NOW) -> bytes:
        return bytes(self.recipient.open(package, awaited, now).body)


@pytest.fixture
def ends() -> Ends:
    return Ends()


# Good packages


def test_a_package_carries_the_checkpoint_that_its_sender_knows(ends):
    known = [b""]
    ends.sender.checkpoint = lambda: known[0]
    for note in (b"", b"first", b"second", bytes(1024)):
        known[0] = note
        package = ends.seal()
        opened = ends.recipient.open(package, ANY, NOW)
        assert opened.head.context.checkpoint == note
        assert json.loads(opened.head.encoded)["ctx"]["checkpoint"] == encode_base64(note)
    known[0] = bytes(1025)
    with pytest.raises(errors.FormatError, match="checkpoint of 1025 bytes"):
        ends.seal()


@given(st.lists(st.binary(max_size=40_000), max_size=4))
def test_any_bytes_come_back(pieces):
    ends = Ends()
    opened = ends.recipient.open(ends.seal(pieces), ANY, NOW)
    assert opened.body == b"".join(pieces)
    assert opened.head.header.plaintext_length == len(opened.body)


@pytest.mark.parametrize("type", PACKAGE_TYPES)
def test_every_type_goes_where_its_row_says_and_nowhere_else(type):
    row = PACKAGE_TYPES[type]
    for sender in PARTIES:
        for recipient in PARTIES:
            ends = Ends(sender, recipient)
            if sender.role in row.senders and recipient.role in row.recipients:
                head = ends.recipient.open(ends.seal(b"{}", type), ANY, NOW).head
                assert (head.context.type, head.context.body_type) == (type, row.body)
                assert (head.context.sender, head.context.recipient) == (sender, recipient)
            else:
                with pytest.raises(errors.NotAllowed, match="may not send"):
                    ends.seal(b"{}", type)


def test_the_rows_that_rounds_need():
    rows = {name: PACKAGE_TYPES[name] for name in ("endorsement", "opening", "beacon", "prekeys")}
    assert rows["endorsement"].senders == {Role.MEMBER, Role.WITNESS}
    assert (rows["opening"].senders, rows["opening"].recipients) == ({Role.SERVER}, {Role.WITNESS, Role.MEMBER})
    assert (rows["beacon"].senders, rows["beacon"].recipients) == ({Role.WITNESS}, {Role.SERVER})
    assert (rows["prekeys"].senders, rows["prekeys"].recipients) == ({Role.MEMBER}, {Role.SERVER})
    assert (rows["prekeys"].in_round, rows["prekeys"].body) == (False, BodyType.BYTES)
    assert {rows[name].plaintext_limit for name in rows} == {1 << 20}


def test_the_header_says_what_was_asked_for(ends):
    head = read_package(ends.seal(now=NOW + 5, not_after=NOW + 77, round=4, group="12")).head
    context, hub = head.context, LUNGS[HUB].entry
    assert (context.round, context.plan_hash, context.group, context.sequence) == (4, PLAN, "12", 1)
    assert (context.created, context.not_after) == (NOW + 5, NOW + 77)
    assert context.roster == LUNGS.trust.roster.hash
    assert context.sender_key == LUNGS[NORTH].entry.leaf.key_id
    assert (context.kem, context.recipient_key) == (Kem.HYBRID, hub.key_statement.keys[0].key_id)
    verify(LUNGS[NORTH].entry.leaf.public, Label.SIGN_PACKAGE, head.encoded, head.signature, "it")


def test_numbers_go_on_whatever_the_type_and_the_recipient(ends):
    made = [ends.seal(), ends.seal(b"{}", "endorsement"), ends.seal(type="file", recipient=SOUTH)]
    assert [read_package(package).head.context.sequence for package in made] == [1, 2, 3]


def test_a_package_of_a_postbox_is_opened_by_the_commands_and_back(tmp_path):
    now = int(time.time())
    federation = Federation.make("lungs.example", PARTIES, now)
    ends = Ends(NORTH, SOUTH, federation)
    arrived = tmp_path / "p.fspkg"
    arrived.write_bytes(ends.seal(b"from memory", "file", now=now))
    south = federation[SOUTH]
    with open_register(tmp_path / "register.sqlite") as register:
        desk = packages.Desk(SOUTH, federation.trust, register, tmp_path / "evidence")
        packages.open_sealed(desk, south.reader, south.secrets, arrived, tmp_path / "out", Silent())
        assert (tmp_path / "out").read_bytes() == b"from memory"
        path = tmp_path / "back.fspkg"
        packages.seal(desk, tmp_path / "out", path, NORTH, south.signer, HOUR, None, Silent())
    opened = Postbox(federation[NORTH], federation.trust).open(path.read_bytes(), packages.FILES, now)
    assert opened.body == b"from memory"


# Every vector


def of_home(home: str) -> Postbox:
    who, secrets = conformance.reader(home)
    pinned = conformance.trust(home)
    assert who.party is not None
    owner = Participant(who.party, Ed25519Signer.generate()[0], secrets, pinned.roster.entry(who.party))
    return Postbox(owner, pinned)


@pytest.mark.parametrize("vector", [v for v in conformance.VECTORS_FOUND if not v.file], ids=lambda vector: vector.name)
def test_vector(vector):
    """The files of tests/vectors, through memory: the same classes, and the same plaintext."""
    if vector.expect != "success":
        with pytest.raises(errors.FedSpaError) as caught:
            opened_of(vector)
        assert type(caught.value).__name__ == vector.expect
        return
    assert hashlib.sha256(opened_of(vector)).hexdigest() == vector.sha256


def opened_of(vector) -> memoryview:
    box = of_home(vector.recipient)
    for name, _ in vector.seen:
        encoded, signature = header_and_signature(load(VECTORS / "package" / f"{name}.vec").package())
        head = Head(encoded, Header.parse(encoded), signature)
        box.register.fill(head, "", vector.now)
        box.register.publish(head)
    return box.open(vector.package(), conformance.awaited(vector), vector.now).body


# Damage


def test_every_flipped_bit_is_refused_and_the_true_package_still_opens(ends):
    package = ends.seal(b"x" * 300)
    end = 76 + len(Parts.of(package).header)
    step = {errors.PackageFormatError: 0, errors.TileMismatch: 0}
    for place in range(len(package)):
        changed = bytearray(package)
        changed[place] ^= 1 << place % 8
        with pytest.raises(errors.FedSpaError) as caught:
            ends.recipient.open(changed, ANY, NOW)
        found = type(caught.value)
        assert place < end or found is errors.TileMismatch, place
        assert place >= 12 or found is errors.PackageFormatError, place
        assert place < end - 64 or place >= end or found is errors.BadSignature, place
        step[found] = step.get(found, 0) + 1
    assert step[errors.BadSignature] > 64
    assert ends.open(package) == b"x" * 300


def test_every_cut_and_every_addition_is_refused(ends):
    package = ends.seal(b"x" * 300)
    end = 76 + len(Parts.of(package).header)
    for cut in range(0, len(package), 7):
        with pytest.raises(errors.PackageFormatError if cut < end else errors.Truncated):
            ends.open(package[:cut])
    for more in (b"\0", package):
        with pytest.raises(errors.TrailingBytes):
            ends.open(package + more)
    assert ends.open(package) == b"x" * 300


def test_a_changed_body_under_a_true_signature_does_not_open(ends):
    """The sender itself has hashed and signed a body that was not encrypted for this header."""
    first, second = Parts.of(ends.seal(b"x" * 300)), Parts.of(ends.seal(b"y" * 300))
    for body in (second.body, first.body[:-1] + bytes([first.body[-1] ^ 1])):
        changed = first.with_body(body).signed(LUNGS[NORTH].signer).join()
        with pytest.raises(errors.CannotDecrypt):
            ends.open(changed)


# Once


def test_a_second_time_it_is_a_replay(ends):
    package = ends.seal()
    assert ends.open(package) == b"body"
    for _ in range(2):
        with pytest.raises(errors.ReplayedPackage):
            ends.open(package)
    assert ends.recipient.evidence == {}
    again = Postbox(LUNGS[HUB], LUNGS.trust, ends.recipient.register)
    with pytest.raises(errors.ReplayedPackage):
        again.open(package, ANY, NOW)


def test_another_package_under_the_same_number_is_kept_as_evidence(ends):
    made = []
    for body in (b"first", b"second", b"third"):
        made.append(ends.seal(body))
        ends.sender.register = MemoryRegister()  # its counter goes back
    first, second, third = made
    assert ends.open(first) == b"first"
    for other in (second, third, second):
        with pytest.raises(errors.Equivocation):
            ends.open(other)
    ((digest, proof),) = ends.recipient.evidence.items()
    heads = [read_package(package).head for package in (first, second)]
    assert digest == heads[0].digest.hex()
    found = parse_canonical_json(proof, "the proof")
    assert found["format"] == "fedspallm-secure/1 equivocation"
    for head, stated in zip(heads, found["packages"], strict=True):
        header, signature = (decode_base64(stated[name], name) for name in ("header", "signature"))
        assert (header, signature) == (head.encoded, head.signature)
        verify(LUNGS[NORTH].entry.leaf.public, Label.SIGN_PACKAGE, header, signature, "the proof")


def test_the_slot_that_was_filled_meanwhile_is_asked_again(ends, monkeypatch):
    """Two threads of a process pass step 8 before either is in the register."""
    first = ends.seal(b"first")
    ends.sender.register = MemoryRegister()
    second = ends.seal(b"second")
    ends.open(first)
    for package, error in ((first, errors.ReplayedPackage), (second, errors.Equivocation)):
        buffer = bytearray(b"\xff" * len(b"first" if package is first else b"second"))
        with monkeypatch.context() as patch:
            patch.setattr("fedspallm_secure.protocol.receiving.check_first", lambda *_: None)
            with pytest.raises(error):
                ends.recipient.open_into(buffer, package, ANY, NOW)
        assert not any(buffer)
    assert len(ends.recipient.evidence) == 1


def test_what_is_refused_uses_up_nothing(ends):
    package = ends.seal()
    for changed, awaited, now in (
        (package[:-1], ANY, NOW),
        (package[:-1] + bytes([package[-1] ^ 1]), ANY, NOW),
        (package, Awaited(round=4), NOW),
        (package, ANY, NOW + HOUR + 1),
    ):
        with pytest.raises(errors.PackageRefused):
            ends.open(changed, awaited, now)
        assert ends.recipient.register.find(Slot.of(read_package(package).head.context)) is None
    assert ends.open(package) == b"body"


# Here and now


@pytest.mark.parametrize(
    "awaited",
    [
        Awaited(types=frozenset({"endorsement", "file"})),
        Awaited(round=4),
        Awaited(plan_hash="cd" * 32),
        Awaited(group="8"),
        Awaited(group="*"),
        Awaited(plaintext_length=5),
    ],
    ids=lambda awaited: type(awaited).__name__,
)
def test_what_is_not_awaited_is_refused(ends, awaited):
    package = ends.seal()
    with pytest.raises(errors.NotAwaited):
        ends.open(package, awaited)
    assert ends.open(package, Awaited(frozenset({"contribution"}), 3, PLAN, "7", 4)) == b"body"


def test_for_somebody_else_it_stays_closed(ends):
    package = ends.seal()
    for other in (SOUTH, WATCH, NORTH):
        with pytest.raises(errors.WrongRecipient):
            Postbox(LUNGS[other], LUNGS.trust).open(package, ANY, NOW)
    thief = replace(LUNGS[HUB], secrets=LUNGS[SOUTH].secrets)
    with pytest.raises(errors.WrongRecipient, match="a key that you do not have"):
        Postbox(thief, LUNGS.trust).open(package, ANY, NOW)
    assert ends.open(package) == b"body"


def test_time_is_what_the_argument_says(ends):
    for at in (NOW, NOW + HOUR, NOW - CLOCK_SKEW):
        assert ends.open(ends.seal(), now=at) == b"body"
    lasting, early = ends.seal(not_after=NOW + 500 * DAY), ends.seal(now=NOW + DAY, not_after=NOW + 2 * DAY)
    for package, at, error, words in (
        (ends.seal(), NOW + HOUR + 1, errors.PackageExpired, "expired 1 seconds ago"),
        (early, NOW - 1, errors.PackageExpired, "86401 seconds from now"),
        (ends.seal(), NOW - CLOCK_SKEW - 1, errors.CertificateExpired, "not valid yet"),
        (lasting, LUNGS.trust.crl.next_update + 1, errors.RevocationListStale, "past its next update"),
        (lasting, NOW + 400 * DAY, errors.CertificateExpired, "no longer valid"),
    ):
        with pytest.raises(error, match=words):
            ends.open(package, now=at)


def test_the_withdrawn_neither_send_nor_get_anything(ends):
    package = ends.seal()
    without_north, without_hub = LUNGS.withdraw([NORTH], NOW), LUNGS.withdraw([HUB], NOW)
    with pytest.raises(errors.CertificateRevoked):
        Postbox(LUNGS[HUB], without_north.trust).open(package, ANY, NOW)
    for federation in (without_north, without_hub):
        with pytest.raises(errors.CertificateRevoked):
            Ends(federation=federation).seal()
    assert Postbox(LUNGS[HUB], LUNGS.withdraw([SOUTH], NOW).trust).open(package, ANY, NOW).body == b"body"


def test_another_federation_is_another_world(ends):
    package = ends.seal()
    for name, error in (("lungs.example", errors.WrongRoster), ("hearts.example", errors.WrongFederation)):
        other = Federation.make(name, PARTIES, NOW)
        with pytest.raises(error):
            Postbox(other[HUB], other.trust).open(package, ANY, NOW)


# What is not made


def test_what_would_be_refused_is_not_made(ends):
    for changes, error in (
        ({"type": "letter"}, errors.NotAllowed),
        ({"type": "plan", "recipient": SOUTH}, errors.NotAllowed),
        ({"round": 0}, errors.NotAllowed),
        ({"plan_hash": "*"}, errors.NotAllowed),
        ({"type": "file", "group": "7"}, errors.NotAllowed),
        ({"type": "prekeys", "round": 1, "plan_hash": PLAN}, errors.NotAllowed),
        ({"type": "endorsement", "body": bytes((1 << 20) + 1)}, errors.NotAllowed),
        ({"recipient": Party.parse("server/other")}, errors.UnknownSender),
        ({"group": "07"}, errors.FormatError),
        ({"plan_hash": PLAN.upper()}, errors.FormatError),
        ({"not_after": NOW}, errors.FormatError),
        ({"now": NOW - CLOCK_SKEW - 1}, errors.CertificateExpired),
        ({"now": LUNGS.trust.crl.next_update + 1}, errors.RevocationListStale),
    ):
        with pytest.raises(error):
            ends.seal(**changes)
    assert ends.open(ends.seal(bytes(1 << 20), "endorsement")) == bytes(1 << 20)


def test_nobody_seals_with_a_key_that_the_roster_does_not_have():
    thief = replace(LUNGS[NORTH], signer=LUNGS[SOUTH].signer)
    with pytest.raises(errors.UnknownSender, match="another signing key"):
        Postbox(thief, LUNGS.trust).seal("contribution", HUB, 3, PLAN, "7", b"x", NOW, NOW + HOUR)


# Large bodies


def test_a_large_body_comes_back_in_the_callers_buffer(ends):
    numbers = np.random.default_rng(1).integers(0, 1 << 32, (3, 200_000), dtype="<u4")
    package = ends.seal([b"head", numbers.data])
    room = np.empty(numbers.size + 1, "<u4")
    opened = ends.recipient.open_into(room.data, package, ANY, NOW)
    assert np.array_equal(room[1:], numbers.reshape(-1))
    assert np.shares_memory(np.frombuffer(opened.body, "<u4"), room)
    with pytest.raises(errors.ReplayedPackage):
        ends.recipient.open_into(room.data, package, ANY, NOW)
    assert np.array_equal(room[1:], numbers.reshape(-1))


@pytest.mark.parametrize("size", [0, 3, 5, MIB])
def test_a_buffer_has_to_be_filled_exactly(ends, size):
    package, buffer = ends.seal(), bytearray(b"\xff" * size)
    with pytest.raises(errors.NotAwaited, match=f"holds 4 bytes; {size} follow"):
        ends.recipient.open_into(buffer, package, ANY, NOW)
    assert buffer == b"\xff" * size
    with pytest.raises(TypeError, match="must not be read-only"):
        ends.recipient.open_into(memoryview(bytes(4)), package, ANY, NOW)
    assert ends.open(package) == b"body"


@pytest.mark.parametrize("fault", ["tile", "last tile", "end", "secret"])
def test_nothing_is_left_in_the_buffer_of_a_body_that_is_refused(ends, fault):
    plain = os.urandom(2 * MIB + 7)
    package, box = ends.seal(plain), ends.recipient
    parts, error = Parts.of(package), errors.TileMismatch
    if fault == "tile":
        package = package[: -MIB - 100] + bytes([package[-MIB - 100] ^ 1]) + package[-MIB - 99 :]
    elif fault == "last tile":
        package = package[:-1] + bytes([package[-1] ^ 1])
    elif fault == "end":  # every chunk but the last one is right
        body, error = parts.body[:-1] + bytes([parts.body[-1] ^ 1]), errors.CannotDecrypt
        package = parts.with_body(body).signed(LUNGS[NORTH].signer).join()
    else:
        name = next(name for name, secret in LUNGS[HUB].secrets.items() if secret.kem is Kem.HYBRID)
        other = next(secret for secret in LUNGS[SOUTH].secrets.values() if secret.kem is Kem.HYBRID)
        owner = replace(LUNGS[HUB], secrets={**LUNGS[HUB].secrets, name: other})
        box, error = Postbox(owner, LUNGS.trust), errors.CannotDecrypt
    buffer = bytearray(b"\xff" * len(plain))
    with pytest.raises(error):
        box.open_into(buffer, package, ANY, NOW)
    assert not any(buffer)


def test_no_room_is_made_for_what_only_a_header_promises(ends, monkeypatch):
    """A head that is right in everything says 64 GiB, and nothing follows it."""
    parts = Parts.of(ends.seal())
    length = 56 + (1 << 36) + 16 * ((1 << 22) + 1)
    fields = {**parts.fields, "body_len": length, "tiles": -(-length // MIB)}
    promise = replace(parts.with_fields(fields), hashes=(), body=b"").signed(LUNGS[NORTH].signer).join()
    assert json.loads(Parts.of(promise).header)["body_len"] == length
    monkeypatch.setattr(Postbox, "_take_in", lambda *_: pytest.fail("room was made"))
    with pytest.raises(errors.Truncated):
        ends.open(promise)
