"""A server and its witnesses: whom it asks, what it keeps of their cosignatures, and what counts as the newest."""

from contextlib import contextmanager

import pytest

from fedspallm_secure.app.stations.cosigners import Cosigners
from fedspallm_secure.crypto.encoding import decode_base64
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.merkle import is_consistent
from fedspallm_secure.crypto.notes import (
    Checkpoint,
    Note,
    NoteSignature,
    cosign,
    cosigned_at,
    open_checkpoint,
    sign_checkpoint,
)
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.errors import BadSignature, CertificateRefused, FormatError, NotAwaited
from fedspallm_secure.protocol.audit.cosigning import Answer, Shown
from fedspallm_secure.protocol.audit.entries import Entry, EntryType
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement, note_key
from fedspallm_secure.protocol.audit.policies import TrustPolicy, make_policy
from tests.stationary import HUB, stations

NAMES = ("vic", "wyn", "xan", "yva")
STRANGER = Ed25519Signer(b"\x41" * 32)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A federation with a server and four witnesses; nobody carries anything."""
    with stations(tmp_path_factory.mktemp("federation"), members=2, witnesses=NAMES, dishonest=1) as found:
        yield found


def entries(post):
    return [Entry.parse(body) for body in post.log.entries(0, post.log.size)]


@contextmanager
def fresh(found, witnesses=NAMES, dishonest=1):
    """Cosigners of the server, who have asked nobody yet."""
    post = found.post(HUB)
    for kind in ("cosigner", "cosigned", "cosigned note", "asked to cosign"):
        for name in post.journal.recall_all(kind):
            post.journal.forget(kind, name)
    yield Cosigners(post, found.server.scribe.key, witnesses, dishonest)


@pytest.fixture
def cosigners(made):
    with fresh(made) as found:
        yield found


class Witness:
    """One of them, which signs what a test wants."""

    def __init__(self, found, name):
        self.party = Party.parse(f"witness/{name}")
        post = found.post(f"witness/{name}")
        self.signer, self.signing = post.note_signer, post.signer
        self.statement = found.witnesses[name].statement
        self.key = self.statement.key

    def signs(self, note, at=1_800_000_000):
        return cosign(self.signer, self.key, note, at)


@pytest.fixture
def witnesses(made):
    return {name: Witness(made, name) for name in NAMES}


def on(cosigners, witness, note, statement=None, sender=None):
    """What the server makes of an answer."""
    body = Answer(statement or witness.statement, note).encode()
    with cosigners.post.at_once():
        return cosigners.on_cosignature(sender or witness.party, body, cosigners.post.log)


def note_of(made, size):
    return made.server.scribe.checkpoint_at(size)


def kept(cosigners):
    """Size -> who cosigned it, as it is kept."""
    notes = cosigners.post.journal.recall_all("cosigned note")
    return {
        int(size): {one.name.rpartition("/")[2] for one in Note.parse(decode_base64(note, "")).signatures[1:]}
        for size, note in notes.items()
    }


def newest(cosigners):
    found = cosigners.newest()
    return None if found is None else open_checkpoint(found, cosigners._key).size


@pytest.mark.parametrize(
    ("count", "dishonest", "quorum"), [(1, 0, 1), (2, 0, 2), (3, 0, 2), (3, 1, 3), (4, 0, 3), (4, 1, 3), (4, 2, 4)]
)
def test_a_quorum_holds_one_honest_witness_more_than_any_other_leaves(made, count, dishonest, quorum):
    with fresh(made, NAMES[:count], dishonest) as found:
        assert found.quorum == quorum
        assert 2 * quorum - count > dishonest  # two quorums share an honest one
        assert 2 * (quorum - 1) - count <= dishonest


# Asking


def asked(made, cosigners, size=None):
    """Whom it asks about the newest checkpoint, and what it shows them."""
    post, log, sent = made.post(HUB), made.post(HUB).log, {}
    honest = post.send

    def send(type, to, body):
        assert type == "checkpoint"
        sent[to.id] = Shown.parse(bytes(body[0]))

    post.send = send
    try:
        with post.at_once():
            missed = cosigners.ask(made.server.scribe.statement, note_of(made, log.size), log)
    finally:
        post.send = honest
    assert missed == []
    return sent


def test_everybody_is_asked_once(made, cosigners):
    sent = asked(made, cosigners)
    assert sorted(sent) == list(NAMES)
    for shown in sent.values():
        assert (shown.start, shown.proof) == (0, ())
        assert shown.note_key == made.server.scribe.statement
    assert asked(made, cosigners) == {}


def test_who_has_signed_is_asked_from_there(made, cosigners, witnesses):
    log = made.post(HUB).log
    for size in (3, 5):
        on(cosigners, witnesses["wyn"], witnesses["wyn"].signs(note_of(made, size)))
    on(cosigners, witnesses["xan"], witnesses["xan"].signs(note_of(made, log.size)))
    sent = asked(made, cosigners)
    assert sorted(sent) == ["vic", "wyn", "yva"]  # and nobody who has signed all there is
    shown = sent["wyn"]
    assert shown.start == 5
    assert is_consistent(5, log.tree.root(5), log.size, log.tree.root(), shown.proof)


def test_a_witness_that_cannot_be_reached_keeps_nothing_from_the_others(made):
    with fresh(made, (*NAMES, "zed")) as cosigners:
        post, log = made.post(HUB), made.post(HUB).log
        with post.at_once():
            missed = cosigners.ask(made.server.scribe.statement, note_of(made, log.size), log)
        assert [party.id for party, _ in missed] == ["zed"]
        assert sorted(post.journal.recall_all("asked to cosign")) == list(NAMES)


# Answers


def test_a_first_answer_without_a_note_names_the_key(cosigners, witnesses):
    assert cosigners.statements == {} and cosigners.newest() is None
    assert on(cosigners, witnesses["wyn"], None)
    assert cosigners.statements == {"wyn": witnesses["wyn"].statement}
    assert not on(cosigners, witnesses["wyn"], None)
    assert kept(cosigners) == {}


def test_the_newest_checkpoint_is_that_of_the_quorum(made, cosigners, witnesses):
    """Of four with one that may lie, three make it; before, that which most have signed."""
    steps = [
        ("vic", 2, 2),
        ("wyn", 3, 3),  # as many, and newer
        ("xan", 2, 2),  # one more
        ("yva", 3, 3),
        ("vic", 3, 3),  # a quorum
        ("wyn", 4, 3),  # which one alone does not outweigh
        ("xan", 4, 3),
        ("yva", 4, 4),
        ("vic", 5, 4),
    ]
    for name, size, expected in steps:
        assert on(cosigners, witnesses[name], witnesses[name].signs(note_of(made, size)))
        assert newest(cosigners) == expected, (name, size)


def test_more_than_a_quorum_is_no_better_than_a_newer_quorum(made, cosigners, witnesses):
    for size, names in ((2, NAMES), (3, NAMES[:3])):
        for name in names:
            on(cosigners, witnesses[name], witnesses[name].signs(note_of(made, size)))
    assert newest(cosigners) == 3


def test_what_is_older_than_a_quorum_is_forgotten(made, cosigners, witnesses):
    for name, size in (("vic", 1), ("wyn", 2), ("vic", 3), ("wyn", 3)):
        on(cosigners, witnesses[name], witnesses[name].signs(note_of(made, size)))
    assert kept(cosigners) == {1: {"vic"}, 2: {"wyn"}, 3: {"vic", "wyn"}}
    on(cosigners, witnesses["yva"], witnesses["yva"].signs(note_of(made, 4)))
    on(cosigners, witnesses["xan"], witnesses["xan"].signs(note_of(made, 3)))
    assert kept(cosigners) == {3: {"vic", "wyn", "xan"}, 4: {"yva"}}


def test_lines_of_all_are_joined_and_each_stands_there_once(made, cosigners, witnesses):
    wyn = witnesses["wyn"]
    note = wyn.signs(note_of(made, 3))
    assert on(cosigners, wyn, note)
    assert not on(cosigners, wyn, note)
    assert not on(cosigners, wyn, wyn.signs(note_of(made, 3), 1_800_000_001))  # the same size again
    assert on(cosigners, witnesses["xan"], witnesses["xan"].signs(note_of(made, 3)))
    found = cosigners.newest()
    assert len(found.signatures) == 3
    assert cosigned_at(found, wyn.key) == 1_800_000_000
    policy = make_policy(made.server.scribe.key, [wyn.key, witnesses["xan"].key], 2)
    assert policy.satisfied(found)


def test_a_witness_counts_once_for_a_size(made, cosigners, witnesses):
    """It could sign one size, a larger one, and the first one again, at another time."""
    wyn, xan = witnesses["wyn"], witnesses["xan"]
    on(cosigners, xan, xan.signs(note_of(made, 3)))
    for size, at in ((3, 1), (4, 2), (3, 3), (4, 4), (3, 5)):
        on(cosigners, wyn, wyn.signs(note_of(made, size), at))
    assert [len(note.signatures) for note in cosigners._notes().values()] == [3, 2]
    assert newest(cosigners) == 3


def test_a_witness_speaks_for_itself_alone(made, cosigners, witnesses):
    """Lines in the names of others would count for a quorum, and make all who know those keys refuse the note."""
    wyn, xan = witnesses["wyn"], witnesses["xan"]
    other = note_key("lungs.example", xan.party, STRANGER.public)
    honest = note_of(made, 3)
    forged = NoteSignature(xan.key.name, xan.key.id, bytes(72))
    for note in (
        cosign(STRANGER, other, honest, 1),
        Note(honest.text, (*honest.signatures, forged)),
        xan.signs(honest),
        wyn.signs(honest, 1),
    ):
        refused(cosigners, FormatError, wyn, wyn.signs(note, 2))
    assert on(cosigners, wyn, wyn.signs(honest))


# What is refused


def refused(cosigners, error, *args, **more):
    before = kept(cosigners), dict(cosigners.statements)
    with pytest.raises(error):
        on(cosigners, *args, **more)
    assert (kept(cosigners), cosigners.statements) == before


def test_who_is_no_witness_of_these_rounds(made, witnesses):
    with fresh(made, ("vic", "wyn")) as cosigners:
        xan = witnesses["xan"]
        refused(cosigners, NotAwaited, xan, xan.signs(note_of(made, 3)))
        assert on(cosigners, witnesses["wyn"], None)


def test_wrong_keys(made, cosigners, witnesses):
    wyn, xan = witnesses["wyn"], witnesses["xan"]
    note = wyn.signs(note_of(made, 3))
    refused(cosigners, (BadSignature, CertificateRefused), wyn, note, sender=xan.party)  # somebody else's
    other = note_key("lungs.example", wyn.party, STRANGER.public)
    stated = NoteKeyStatement.make(STRANGER, "lungs.example", wyn.party, other, 1)
    refused(cosigners, BadSignature, wyn, note, statement=stated)  # stated by nobody we know
    refused(cosigners, BadSignature, wyn, xan.signs(note_of(made, 3)))  # no line of its own
    refused(cosigners, BadSignature, wyn, note_of(made, 3))
    assert on(cosigners, wyn, note)
    stated = NoteKeyStatement.make(wyn.signing, "lungs.example", wyn.party, other, 1)
    again = cosign(STRANGER, other, note_of(made, 4), 1)
    refused(cosigners, BadSignature, wyn, again, statement=stated)  # another one than before


def test_a_line_that_is_wrong(made, cosigners, witnesses):
    wyn = witnesses["wyn"]
    text = wyn.signs(note_of(made, 3)).encode()
    third = note_of(made, 4).encode()
    torn = Note.parse(third.partition(b"\n\n")[0] + b"\n\n" + text.partition(b"\n\n")[2])
    refused(cosigners, BadSignature, wyn, torn)  # lines of another checkpoint


@pytest.mark.parametrize("size", [3, 1_000])
def test_another_history(made, cosigners, witnesses, size):
    scribe, wyn = made.server.scribe, witnesses["wyn"]
    forged = sign_checkpoint(made.post(HUB).note_signer, scribe.key, Checkpoint(scribe.key.name, size, b"\1" * 32))
    refused(cosigners, FormatError, wyn, wyn.signs(forged))


def test_what_is_no_answer(made, cosigners, witnesses):
    for body in (b"", b"{}", b"[]", b"\xff"):
        with pytest.raises(FormatError), cosigners.post.at_once():
            cosigners.on_cosignature(witnesses["wyn"].party, body, cosigners.post.log)


# What is written down about them


def test_the_policy_in_the_log_names_those_who_have_said_their_key(made, witnesses):
    scribe, post = made.server.scribe, made.post(HUB)
    with fresh(made):
        for names, quorum in ((("wyn",), 1), (("wyn", "xan"), 2), (NAMES, 3)):
            for name in names:
                on(scribe._cosigners, witnesses[name], None)
            with post.at_once():
                scribe.note_witnesses()
            with post.at_once():
                scribe.note_witnesses()
            entry = entries(post)[-1]
            assert entry.type is EntryType.WITNESSES
            policy = TrustPolicy.parse(post.log.document(entry.data["policy"]))
            assert {key.name.rpartition("/")[2] for key in policy.witnesses.values()} == set(names)
            assert policy.groups["witnesses"].threshold == quorum
            stated = [NoteKeyStatement.parse(post.log.document(name)).party.id for name in entry.data["note_keys"]]
            assert sorted(stated) == sorted(names)
        assert [one.type for one in entries(post)].count(EntryType.WITNESSES) == 3
