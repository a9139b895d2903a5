"""THREAT_MODEL section 3, "Between sender, recipient and the others": parties of the roster who do not play fair."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from fedspallm_secure.crypto.encoding import decode_base64, parse_canonical_json
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.sealing import Kem
from fedspallm_secure.crypto.signing import verify
from fedspallm_secure.errors import (
    BadSignature,
    CannotDecrypt,
    CertificateExpired,
    CertificateRevoked,
    Equivocation,
    FormatError,
    NotAllowed,
    NotAwaited,
    PackageFormatError,
    RevocationListStale,
    UnknownSender,
    UnknownVersion,
    WrongRecipient,
)
from fedspallm_secure.protocol.key_statements import KeyStatement
from fedspallm_secure.protocol.package_types import BodyType
from fedspallm_secure.protocol.packages import Context
from fedspallm_secure.protocol.receiving import Awaited
from fedspallm_secure.storage.register import SqliteRegister
from tests.attacks.relays import Attackers
from tests.attacks.stage import BODY_START, CHUNK, RECIPIENT, SENDER, THIEF, THIRD, Parts, Stage, body_of
from tests.parties import DAY, Actor
from tests.threats.bench import deliver, not_sealed, refused, refuses

HUB = "server/hub"
IN_ROUND = {"round": 1, "plan_hash": "ab" * 32, "group": "0"}


@pytest.fixture
def by(stage: Stage) -> Attackers:
    return Attackers(stage, {})


def test_a_recipient_cannot_pass_a_package_on_as_made_for_another(stage: Stage, by: Attackers):
    """THREAT_MODEL T30: as it is; with another recipient's name; with the file key wrapped anew, signed by itself."""
    good = by.genuine(100, Kem.X25519)
    for victim in (THIEF, THIRD):
        refuses(stage, good, WrongRecipient, to=victim)
        renamed = by.addressed(good, victim)
        wrapped = by.wrapped(renamed, by.file_key(good))
        for forged in (renamed, wrapped, by.signed(wrapped, RECIPIENT)):
            refuses(stage, forged, BadSignature, to=victim)


def test_a_member_cannot_put_its_name_on_the_body_of_another(stage: Stage, by: Attackers):
    """THREAT_MODEL T31: a thief takes name and signature off and puts its own there."""
    good = by.genuine(100, Kem.X25519)
    stolen = by.named(good, THIEF)
    for forged in (stolen, by.wrapped(stolen, b"k" * 32), stolen.with_context(seq=1)):
        refuses(stage, by.signed(forged, THIEF), CannotDecrypt)


def test_a_sender_or_key_outside_the_roster_is_refused(stage: Stage):
    """THREAT_MODEL T32: the root has certified the party, or a second key of it, but the roster does not have it."""
    federation = stage.federation
    federation.actors["member/east"] = federation.actor("member/east")
    refuses(stage, stage.write(b"x", "member/east"), UnknownSender)
    federation.actors[SENDER] = federation.actor(SENDER)
    refuses(stage, stage.write(b"x"), UnknownSender)


def twins(stage: Stage) -> list[bytes]:
    """Three packages under one number, with different contents."""
    return [stage.write(data, sequence=7) for data in (b"yes", b"no", b"perhaps")]


def check_proof(stage: Stage) -> None:
    """Anybody with the sender's certificate can tell from the one file that the sender signed two headers."""
    (path,) = (stage.home / "evidence").iterdir()
    proof = parse_canonical_json(path.read_bytes().removesuffix(b"\n"), "the proof")
    headers = []
    for package in proof["packages"]:
        headers.append(decode_base64(package["header"], "header"))
        signature = decode_base64(package["signature"], "signature")
        verify(stage.federation[SENDER].leaf.public, Label.SIGN_PACKAGE, headers[-1], signature, "the proof")
    assert len(set(headers)) == len(headers) == 2


def test_two_packages_under_one_number_leave_a_proof_that_others_can_check(stage: Stage):
    """THREAT_MODEL T33: and a third one under the same number leaves no second proof."""
    first, *others = twins(stage)
    assert deliver(stage, first) == b"yes"
    for other in others:
        assert "the proof is in" in refuses(stage, other, Equivocation)
    check_proof(stage)


def test_two_runs_do_not_take_in_two_packages_under_one_number(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    """THREAT_MODEL T34: both runs find the number free; the second one is faster."""
    first, second, _ = twins(stage)
    paths = [stage.medium / "first.fspkg", stage.medium / "second.fspkg"]
    paths[0].write_bytes(first)
    paths[1].write_bytes(second)
    real: Callable[..., None] = SqliteRegister.fill

    def raced(*arguments: object) -> None:
        monkeypatch.setattr(SqliteRegister, "fill", real)
        assert stage.open(paths[1], output=stage.out / "second") == b"no"
        real(*arguments)

    monkeypatch.setattr(SqliteRegister, "fill", raced)
    with refused(Equivocation, untouched=stage.out):
        stage.open(paths[0], output=stage.out / "first")
    check_proof(stage)


def test_a_body_opens_under_one_key_only(stage: Stage, by: Attackers):
    """THREAT_MODEL T36: the sender wraps another key than the body's, or joins the parts of bodies under two keys."""
    good = by.genuine(0, Kem.X25519)
    context = Context.from_dict(good.fields["ctx"])
    one, two = (body_of(b"x" * 100, key, context) for key in (b"1" * 32, b"2" * 32))
    bodies = [two, one[:BODY_START] + two[BODY_START:], two[:BODY_START] + one[BODY_START:], one[:24] + two[24:]]
    for body in bodies:
        refuses(stage, by.signed(by.wrapped(good, b"1" * 32).with_body(body), SENDER), CannotDecrypt)
    assert deliver(stage, by.signed(by.wrapped(good, b"1" * 32).with_body(one), SENDER)) == b"x" * 100


def test_the_kem_cannot_be_changed_on_the_way(stage: Stage, by: Attackers):
    """THREAT_MODEL T37: its name alone; with the recipient's other key; with a key wrapped for that one."""
    good = by.genuine(100, Kem.HYBRID)
    renamed = good.with_context(kem="x25519")
    refuses(stage, renamed, PackageFormatError)
    fits = renamed.with_fields({**renamed.fields, "enc": by.genuine(100, Kem.X25519).fields["enc"]})
    refuses(stage, fits, WrongRecipient)
    weaker = fits.with_context(recipient_key=by.key(RECIPIENT, Kem.X25519).key_id)
    refuses(stage, weaker, BadSignature)
    refuses(stage, by.wrapped(weaker, b"k" * 32), BadSignature)


def restated(stage: Stage, name: str, *keys: object) -> Actor:
    """The party states these recipient keys and no others, in a roster that everybody has."""
    federation = stage.federation
    actor = federation[name]
    made = KeyStatement.make(actor.signer, federation.name, actor.party, keys, federation.now, federation.now + DAY)
    actor.entry = replace(actor.entry, key_statement=made)
    federation.roster = federation.new_roster(2)
    return actor


def test_who_states_only_the_hybrid_key_gets_nothing_weaker(stage: Stage, by: Attackers):
    """THREAT_MODEL T38: the commands refuse to seal, and what another program made for an old key is not opened."""
    old = Parts.of(stage.write(b"x"))  # to the x25519 key that the recipient has stated so far
    restated(stage, RECIPIENT, by.key(RECIPIENT, Kem.HYBRID))
    not_sealed(stage, FormatError, kem=Kem.X25519)
    refuses(stage, by.signed(old.with_context(roster=stage.federation.roster.hash), SENDER), WrongRecipient)


def test_a_copied_recipient_key_brings_nothing(stage: Stage, by: Attackers):
    """THREAT_MODEL T39: a thief states another party's key; that party does not open what was sealed to the thief."""
    restated(stage, THIEF, by.key(RECIPIENT, Kem.X25519))
    data = stage.seal(b"x", recipient=THIEF)
    refuses(stage, data, WrongRecipient)
    refuses(stage, Parts.of(data).with_context(recipient=RECIPIENT), BadSignature)


def test_every_body_that_does_not_open_looks_the_same(stage: Stage, by: Attackers):
    """THREAT_MODEL T40: wrong wrap, commitment, chunk or end; each signed by its sender, who reads the errors."""
    good = by.genuine(3 * CHUNK, Kem.X25519)
    body = good.body

    def flipped(position: int) -> bytes:
        return body[:position] + bytes([body[position] ^ 1]) + body[position + 1 :]

    broken = [flipped(position) for position in (0, 30, 60, BODY_START + CHUNK, len(body) - 1)]
    broken += [body[: BODY_START + CHUNK + 50], body[:BODY_START] + body[BODY_START + CHUNK :], bytes(len(body))]
    forged = [good.with_body(made) for made in broken]
    forged += [by.wrapped(good, b"k" * 32), by.wrapped(good, by.file_key(good), b"another info")]
    said = {refuses(stage, by.signed(parts, SENDER), CannotDecrypt) for parts in forged}
    assert len(said) == 1
    refuses(stage, by.signed(good.with_body(body[: BODY_START + CHUNK]), SENDER), PackageFormatError)


@pytest.mark.parametrize("withdrawn", [RECIPIENT, SENDER])
def test_nothing_is_sealed_that_its_recipient_should_not_get(stage: Stage, withdrawn: str):
    """THREAT_MODEL T43: by or for somebody withdrawn or unknown, under an old list, to a key that has ended."""
    federation, good = stage.federation, stage.federation.crl
    not_sealed(stage, UnknownSender, recipient="member/nobody")
    federation.crl = federation.revoke([withdrawn], number=2)
    not_sealed(stage, CertificateRevoked)
    federation.crl = federation.revoke([], number=2, valid=3600)
    not_sealed(stage, RevocationListStale)
    federation.crl = good
    federation.roster = federation.new_roster(2, crl_number=2)
    not_sealed(stage, RevocationListStale)
    federation.actors[RECIPIENT] = federation.actor(RECIPIENT, until=federation.now - 1)
    federation.roster = federation.new_roster(3)
    not_sealed(stage, CertificateExpired)


def test_a_role_cannot_send_what_is_not_its_to_send(stage: Stage, by: Attackers):
    """THREAT_MODEL T44: a member's plan; a file in a round; a receipt as large as a plan; a body of another type."""
    anything = Awaited()
    for sender, changes in (
        (SENDER, {"type": "plan", **IN_ROUND, "body_type": BodyType.JSON}),
        (SENDER, {"type": "result", **IN_ROUND}),
        (SENDER, {**IN_ROUND}),
        (SENDER, {"group": "0"}),
        (HUB, {"type": "plan", **IN_ROUND}),
        (HUB, {"type": "plan", "body_type": BodyType.JSON}),
    ):
        refuses(stage, stage.write(b"{}", sender, RECIPIENT, **changes), NotAllowed, awaited=anything)
    receipt = by.genuine((1 << 20) + 1, Kem.X25519, HUB, type="plan", **IN_ROUND, body_type=BodyType.JSON)
    refuses(
        stage, by.signed(receipt.with_context(type="receipt", body_type="bytes"), HUB), NotAllowed, awaited=anything
    )


def test_what_is_not_awaited_or_not_known_is_refused(stage: Stage, by: Attackers):
    """THREAT_MODEL T45: a good package of a round, opened by hand; another version; an unknown type."""
    made = stage.write(b"{}", HUB, RECIPIENT, type="plan", **IN_ROUND, body_type=BodyType.JSON)
    refuses(stage, made, NotAwaited)
    good = by.genuine(1, Kem.X25519)
    for changes in ({"v": 0}, {"v": 2}, {"type": "gossip"}):
        refuses(stage, by.signed(good.with_context(**changes), SENDER), UnknownVersion)
