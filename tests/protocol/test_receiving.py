"""Steps 5 to 9 of SPEC section 9: each check alone, each before the ones that follow it, and where each one ends."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import combinations

import pytest

from fedspallm_secure import errors
from fedspallm_secure.crypto.body import body_length
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.sealing import Kem
from fedspallm_secure.crypto.signing import sign
from fedspallm_secure.protocol.limits import CLOCK_SKEW
from fedspallm_secure.protocol.package_types import PACKAGE_TYPES, BodyType
from fedspallm_secure.protocol.packages import Head, Header
from fedspallm_secure.protocol.receiving import Awaited, Known, OwnKey, Reader, Slot, Trust, check_head, check_sealing
from fedspallm_secure.protocol.roster import Roster
from tests.parties import DAY, NOW, Federation

LUNGS = Federation()
NEWER = LUNGS.new_roster(2, crl_number=2)
PLAN = "ab" * 32
PLAIN = 100  # bytes


class Book:
    """A register that answers always the same and notes what it was asked."""

    def __init__(self, answer: Known | None = None) -> None:
        self.answer, self.asked = answer, []

    def find(self, slot: Slot) -> Known | None:
        self.asked.append(slot)
        return self.answer


@dataclass
class Case:
    """A package from member/north to member/south and everything it is judged by; faults change it in one place each.

    times: seconds from `at` to `created` and `not_after`; statement: seconds from `at` to the ends of the own key's
    validity; crl: arguments of `Federation.revoke`; earlier: what fills the slot, from the digest of the package.
    """

    context: dict[str, object] = field(default_factory=dict)
    plain: int = PLAIN
    sender: str = "member/north"
    recipient: str = "member/south"
    reader: str | None = "member/south"
    statement: tuple[int, int] = (0, 0)
    own_keys: str = "all"
    at: int = NOW
    times: tuple[int, int] = (-1000, 1000)
    crl: dict[str, object] = field(default_factory=dict)
    roster: Roster = NEWER
    damage: int = 0
    earlier: Callable[[bytes], Known | None] = lambda digest: None
    awaited: Awaited = field(default_factory=Awaited)

    def head(self) -> Head:
        created, not_after = (self.at + offset for offset in self.times)
        given = {"roster": self.roster.hash, "created": created, "not_after": not_after, **self.context}
        made = LUNGS.context(self.sender, self.recipient, kem=given.pop("kem", Kem.X25519))
        context = replace(made, **given)
        header = Header(context, bytes(context.kem.wrap_size), body_length(self.plain), bytes(32))
        encoded = header.encode()
        signature = bytearray(sign(LUNGS[self.sender].signer, Label.SIGN_PACKAGE, encoded))
        signature[3] ^= self.damage
        return Head(encoded, header, bytes(signature))

    def trust(self) -> Trust:
        crl = LUNGS.revoke(**{"names": [], "number": 2, "valid": 4000 * DAY, **self.crl})
        return Trust(LUNGS.root, self.roster, crl)

    def reading(self) -> Reader:
        if self.reader is None:
            return Reader()
        begin, end = (self.at + offset for offset in self.statement)
        keys = {key_id: OwnKey(key.kem, begin, end) for key_id, key in LUNGS[self.reader].reader.keys.items()}
        if self.own_keys == "none":
            keys = {}
        elif self.own_keys == "of the other kem":
            keys = {key_id: replace(key, kem=other(key.kem)) for key_id, key in keys.items()}
        return Reader(LUNGS[self.reader].party, keys)

    def check(self, book: Book | None = None):
        head = self.head()
        register = book or Book(self.earlier(head.digest))
        return check_head(head, self.reading(), self.trust(), register, self.awaited, self.at)


def other(kem: Kem) -> Kem:
    return Kem.HYBRID if kem is Kem.X25519 else Kem.X25519


LEAF_END = LUNGS["member/north"].leaf.not_after
OTHER_KEY = LUNGS["member/west"].entry.key_statement.keys[0].key_id
IN_ROUND = {"type": "receipt", "round": 1, "plan_hash": PLAN, "body_type": BodyType.BYTES}

# In the order of SPEC section 9.  step, name, what it changes, error, message
FAULTS = [
    ("5a", "version", {"context": {"version": 2}}, errors.UnknownVersion, "version 2"),
    ("5a", "type", {"context": {"type": "gossip"}}, errors.UnknownVersion, "'gossip'"),
    ("5b", "federation", {"context": {"federation": "hearts.example"}}, errors.WrongFederation, "hearts.example"),
    ("5c", "roster", {"context": {"roster": "00" * 32}}, errors.WrongRoster, "under the roster with fingerprint"),
    ("5d", "recipient", {"reader": "member/west"}, errors.WrongRecipient, "you are member/west"),
    ("5d", "key not mine", {"context": {"recipient_key": OTHER_KEY}}, errors.WrongRecipient, "do not have"),
    ("5d", "no keys", {"own_keys": "none"}, errors.WrongRecipient, "do not have"),
    ("5d", "kem", {"own_keys": "of the other kem"}, errors.WrongRecipient, "do not have"),
    ("5e", "sender", {"context": {"sender": Party.parse("member/nobody")}}, errors.UnknownSender, "not in version"),
    ("5e", "signing key", {"context": {"sender_key": "00" * 32}}, errors.UnknownSender, "a signing key that"),
    ("5f", "sender's role", {"context": IN_ROUND}, errors.NotAllowed, "may not send"),
    ("5f", "round", {"context": {"round": 1}}, errors.NotAllowed, "with round 1"),
    ("5f", "plan", {"context": {"plan_hash": PLAN}}, errors.NotAllowed, "and plan 'abab"),
    ("5f", "group", {"context": {"group": "3"}}, errors.NotAllowed, "belongs to no group"),
    ("5f", "body type", {"context": {"body_type": BodyType.JSON}}, errors.NotAllowed, "is bytes, not json"),
    ("6", "older list", {"crl": {"number": 1}}, errors.RevocationListStale, "is number 1"),
    ("6", "certificate", {"at": LEAF_END + 1}, errors.CertificateExpired, "no longer valid"),
    ("6", "stale list", {"crl": {"valid": DAY - 1}}, errors.RevocationListStale, "revocation list"),
    ("6", "revoked", {"crl": {"names": ["member/north"]}}, errors.CertificateRevoked, "withdrawn"),
    ("6", "key is past", {"statement": (-5, -1)}, errors.CertificateExpired, "sealed to is not valid now"),
    ("6", "key is not yet", {"statement": (1, 5)}, errors.CertificateExpired, "sealed to is not valid now"),
    (
        "6",
        "from the future",
        {"times": (CLOCK_SKEW + 1, CLOCK_SKEW + 2)},
        errors.PackageExpired,
        "86401 seconds from now",
    ),
    ("6", "past", {"times": (-2, -1)}, errors.PackageExpired, "expired 1 seconds ago"),
    ("7", "signature", {"damage": 1}, errors.BadSignature, "signature on the package"),
    ("8", "replay", {"earlier": lambda digest: Known(digest, True)}, errors.ReplayedPackage, "package 1 of member/n"),
    ("8", "equivocation", {"earlier": lambda digest: Known(bytes(32), True)}, errors.Equivocation, "two different"),
    ("9", "awaited type", {"awaited": Awaited(types=frozenset({"plan", "abort"}))}, errors.NotAwaited, "abort, plan"),
    ("9", "awaited round", {"awaited": Awaited(round=3)}, errors.NotAwaited, "round 3 is awaited"),
    ("9", "awaited plan", {"awaited": Awaited(plan_hash=PLAN)}, errors.NotAwaited, "another plan"),
    ("9", "awaited group", {"awaited": Awaited(group="1")}, errors.NotAwaited, "group 1 is awaited"),
    ("9", "awaited length", {"awaited": Awaited(plaintext_length=99)}, errors.NotAwaited, "holds 100 bytes; 99"),
    ("9", "awaited limit", {"awaited": Awaited(most=99)}, errors.NotAwaited, "allows at most 99"),
]


def test_without_a_fault_the_sender_is_returned():
    for kem in Kem:
        assert Case(context={"kem": kem}).check() is NEWER.entry(Party.parse("member/north"))


@pytest.mark.parametrize(("step", "name", "changes", "expected", "message"), FAULTS, ids=lambda value: str(value)[:20])
def test_each_fault_alone(step, name, changes, expected, message):
    with pytest.raises(errors.FedSpaError, match=message) as caught:
        Case(**changes).check()
    assert type(caught.value) is expected


def merged(first: dict, second: dict) -> dict | None:
    """Both changes in one case; None where they touch the same thing."""
    result = {**first}
    for name, value in second.items():
        if name not in result:
            result[name] = value
        elif isinstance(value, dict) and not value.keys() & result[name].keys():
            result[name] = {**result[name], **value}
        elif isinstance(value, Awaited):
            given = {attribute: getattr(value, attribute) for attribute in Awaited.__slots__}
            result[name] = replace(result[name], **{a: v for a, v in given.items() if v is not None})
        else:
            return None
    return result


def test_of_two_faults_the_earlier_one_is_named():
    """The same package gives the same error everywhere, and nothing is asked of a header that a check has refused."""
    tried = 0
    for earlier, later in combinations(FAULTS, 2):
        changes = merged(earlier[2], later[2])
        if changes is None:
            continue
        tried += 1
        with pytest.raises(errors.FedSpaError) as caught:
            Case(**changes).check()
        assert type(caught.value) is earlier[3], (earlier[:2], later[:2], caught.value)
    assert tried > 400


def test_the_register_is_asked_only_about_a_signed_package():
    for step, _, changes, _, _ in FAULTS:
        if step < "8":
            book = Book()
            with pytest.raises(errors.FedSpaError):
                Case(**changes).check(book)
            assert book.asked == []
    book = Book()
    Case(context={"sequence": 9}).check(book)
    key = LUNGS["member/north"].leaf.key_id
    assert book.asked == [Slot("lungs.example", 0, "file", "member/north", key, 9)]


def test_without_a_register_nothing_was_received_before():
    case = Case()
    check_head(case.head(), case.reading(), case.trust(), None, Awaited(), NOW)


def test_slots_differ_in_each_of_their_parts():
    contexts = [
        LUNGS.context(),
        LUNGS.context(federation="hearts.example"),
        LUNGS.context(round=1),
        LUNGS.context(type="plan"),
        LUNGS.context(sender="member/west"),
        LUNGS.context(sender_key="00" * 32),
        LUNGS.context(sequence=2),
    ]
    assert len({Slot.of(context) for context in contexts}) == len(contexts)
    same = [LUNGS.context(created=1), LUNGS.context(recipient="member/west"), LUNGS.context(kem=Kem.HYBRID)]
    assert {Slot.of(context) for context in same} == {Slot.of(contexts[0])}


@pytest.mark.parametrize(
    ("published", "same", "expected"),
    [
        (False, True, None),
        (True, True, errors.ReplayedPackage),
        (False, False, errors.Equivocation),
        (True, False, errors.Equivocation),
    ],
)
def test_what_fills_the_slot(published, same, expected):
    """Only a row that was claimed and never published, by the same package, leaves the slot open."""
    case = Case(earlier=lambda digest: Known(digest if same else bytes(32), published))
    if expected is None:
        case.check()
    else:
        with pytest.raises(expected):
            case.check()


@pytest.mark.parametrize(
    "changes",
    [
        {"times": (CLOCK_SKEW, CLOCK_SKEW + 1)},
        {"times": (-1, 0)},
        {"statement": (0, 0)},
        {"statement": (-5, 0)},
        {"statement": (0, 5)},
        {"at": LEAF_END},
        {"crl": {"valid": DAY}},
        {"crl": {"names": ["member/south", "member/west"]}},
        {"crl": {"number": 3}},
    ],
    ids=str,
)
def test_the_last_second_that_is_allowed(changes):
    Case(**changes).check()


def row(name: str, **more) -> dict[str, object]:
    """What a context of this type says."""
    kind = PACKAGE_TYPES[name]
    rounds = {"round": 1, "plan_hash": PLAN} if kind.in_round else {"round": 0, "plan_hash": "*"}
    return {"type": name, "body_type": kind.body, **rounds, **more}


EVERYBODY = Federation(names=tuple(f"{role.value}/{one}" for role in Role for one in ("a", "b")))
TABLE = {  # SPEC section 8, by hand
    "file": ("server member key-holder witness auditor", "server member key-holder witness auditor", "bytes", 36),
    "prekeys": ("member", "server", "bytes", 20),
    "offer": ("member", "server", "json", 16),
    "opening": ("server", "member witness", "json", 20),
    "beacon": ("witness", "server", "json", 20),
    "cipher-key": ("key-holder", "server", "bytes", 24),
    "plan": ("server", "member key-holder auditor", "json", 28),
    "decline": ("member", "server", "json", 20),
    "contribution": ("member", "server", "bytes", 36),
    "receipt": ("server", "member", "bytes", 20),
    "survivors": ("server", "member key-holder witness", "json", 26),
    "endorsement": ("member witness", "server", "json", 20),
    "unmask-request": ("server", "member", "json", 28),
    "unmask-response": ("member", "server", "json", 28),
    "decrypt-request": ("server", "key-holder", "bytes", 36),
    "decrypt-challenge": ("key-holder", "server", "json", 26),
    "decrypt-opening": ("server", "key-holder", "bytes", 36),
    "decrypt-response": ("key-holder", "server", "bytes", 36),
    "result": ("server", "member key-holder auditor", "bytes", 36),
    "layer": ("server", "member auditor", "bytes", 36),
    "log": ("server", "member auditor", "json", 28),
    "checkpoint": ("server", "witness", "json", 20),
    "cosignature": ("witness", "server", "json", 20),
    "abort": ("server", "server member key-holder witness auditor", "json", 20),
}


def checked(sender: str, recipient: str, plain: int = 1, **context) -> None:
    """Step 5 for a package among EVERYBODY; raises what it raises.  Step 7 would need a signature for each."""
    from fedspallm_secure.protocol.receiving import check_claims

    made = EVERYBODY.context(sender, recipient, **context)
    header = Header(made, bytes(made.kem.wrap_size), body_length(plain), bytes(32))
    check_claims(Head(header.encode(), header, bytes(64)), EVERYBODY[recipient].reader, EVERYBODY.trust)


@pytest.mark.parametrize("name", TABLE)
def test_the_rows_of_the_table(name):
    assert set(TABLE) == set(PACKAGE_TYPES)
    senders, recipients, body, exponent = TABLE[name]
    for sender in Role:
        for recipient in Role:
            allowed = sender.value in senders.split() and recipient.value in recipients.split()
            pair = f"{sender.value}/a", f"{recipient.value}/b"
            if allowed:
                checked(*pair, **row(name))
            else:
                with pytest.raises(errors.NotAllowed, match="may not send"):
                    checked(*pair, **row(name))
    pair = f"{senders.split()[0]}/a", f"{recipients.split()[0]}/b"
    checked(*pair, plain=1 << exponent, **row(name))
    if exponent < 36:  # a longer one has no header
        with pytest.raises(errors.NotAllowed, match=f"at most {1 << exponent} bytes"):
            checked(*pair, plain=(1 << exponent) + 1, **row(name))
    wrong = BodyType.JSON if body == "bytes" else BodyType.BYTES
    assert row(name)["body_type"].value == body
    with pytest.raises(errors.NotAllowed, match=f"is {body}, not {wrong.value}"):
        checked(*pair, **row(name, body_type=wrong))


@pytest.mark.parametrize("name", TABLE)
def test_round_plan_and_group_go_together(name):
    pair = f"{TABLE[name][0].split()[0]}/a", f"{TABLE[name][1].split()[0]}/b"
    in_round = name not in {"file", "prekeys", "offer", "cipher-key", "log", "checkpoint", "cosignature"}
    for round_ in (0, 1, 7):
        for plan in ("*", PLAN):
            for group in ("*", "0"):
                given = row(name, round=round_, plan_hash=plan, group=group)
                sound = (round_ > 0, plan != "*") == (in_round, in_round) and (in_round or group == "*")
                if sound:
                    checked(*pair, **given)
                else:
                    with pytest.raises(errors.NotAllowed):
                        checked(*pair, **given)


class TestObserver:
    """Somebody who is not the recipient can verify, and looks the recipient up instead."""

    def test_anybody_can_verify(self):
        for kem in Kem:
            Case(reader=None, context={"kem": kem}).check()

    @pytest.mark.parametrize(
        "context",
        [
            {"recipient": Party.parse("member/nobody")},
            {"recipient": Party.parse("auditor/south")},
            {"recipient": Party.parse("member/west")},  # with the key of member/south
            {"recipient_key": "00" * 32},
            {"recipient_key": OTHER_KEY},
            {"recipient_key": LUNGS.context(kem=Kem.HYBRID).recipient_key},  # of the recipient, but another kem
        ],
        ids=["nobody", "another role", "another party", "no key", "another's key", "another kem"],
    )
    def test_the_recipient_must_be_in_the_roster_with_its_key(self, context):
        with pytest.raises(errors.WrongRecipient, match="the roster has no"):
            Case(reader=None, context=context).check()

    @pytest.mark.parametrize("fault", [fault for fault in FAULTS if "own_keys" not in fault[2]], ids=lambda f: f[1])
    def test_everything_else_holds_for_observers_too(self, fault):
        _, name, changes, expected, _ = fault
        if "statement" in changes or "reader" in changes:
            Case(**{**changes, "reader": None}).check()  # its own keys are no matter
        else:
            with pytest.raises(errors.FedSpaError) as caught:
                Case(**changes, reader=None).check()
            assert type(caught.value) is expected, name


class TestSealing:
    """Whether a package may be made: the sender asks of both parties what a reader would ask of it."""

    @staticmethod
    def check(sender="member/north", recipient="member/south", at=NOW, roster=NEWER, **crl):
        trust = Trust(LUNGS.root, roster, LUNGS.revoke(**{"names": [], "number": 2, "valid": 4000 * DAY, **crl}))
        return check_sealing(Party.parse(sender), Party.parse(recipient), trust, at)

    def test_the_recipients_entry_is_returned(self):
        assert self.check() is NEWER.entry(Party.parse("member/south"))
        assert self.check("auditor/watch", "server/hub") is NEWER.entry(Party.parse("server/hub"))

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"sender": "member/nobody"}, errors.UnknownSender),
            ({"recipient": "member/nobody"}, errors.UnknownSender),
            ({"number": 1}, errors.RevocationListStale),
            ({"valid": DAY - 1}, errors.RevocationListStale),
            ({"names": ["member/north"]}, errors.CertificateRevoked),
            ({"names": ["member/south"]}, errors.CertificateRevoked),
            ({"at": LEAF_END + 1}, errors.CertificateExpired),
        ],
        ids=str,
    )
    def test_each_fault_alone(self, changes, expected):
        with pytest.raises(expected):
            self.check(**changes)

    def test_others_may_be_revoked(self):
        self.check(names=["member/west"])

    def test_the_recipients_key_statement_is_valid(self):
        """To the second; the sender's own is no matter."""
        end = NOW + 60
        brief = Federation()
        brief.actors["member/south"] = brief.actor("member/south", until=end)
        trust = Trust(brief.root, brief.new_roster(2), brief.crl)
        south, north = Party.parse("member/south"), Party.parse("member/north")
        check_sealing(north, south, trust, end)
        check_sealing(south, north, trust, end + 1)
        with pytest.raises(errors.CertificateExpired):
            check_sealing(north, south, trust, end + 1)
