"""Signed notes, checkpoints and cosignatures: published examples, one spelling, and every byte changed."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.merkle import EMPTY_ROOT
from fedspallm_secure.crypto.notes import (
    NOTE_LIMIT,
    Checkpoint,
    Note,
    NoteKey,
    NoteKind,
    NoteSignature,
    cosign,
    cosigned_at,
    open_checkpoint,
    sign_checkpoint,
    verify_note,
)
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.errors import BadSignature, FormatError, LimitExceeded, WeakKey

# The documented example of golang.org/x/mod/sumdb/note: keys, text and signature.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
PETER_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
PETER_NOTE = (PETER_TEXT + "\n" + PETER_LINE).encode()

# The examples of C2SP signed-note, tlog-checkpoint and tlog-cosignature, whose keys are not published.
QUASIMODO = """Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

— quasimodo.example/salvatore \
NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
"""
SOFA = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa \
Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 \
jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""

# A checkpoint that a log of the public networks published, and the keys that it and its witnesses publish.
ARCHE = """arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev \
zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev \
ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— transparency.dev/DEV:witness-little-garden \
2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
— witness1.smartit.nu/witness1 \
pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
— remora.n621.de \
2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
— witness.stagemole.eu \
Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
"""
ARCHE_LOG = "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
ARCHE_WITNESSES = [
    "transparency.dev/DEV:witness-little-garden+d8042a87+BCtusOxINQNUTN5Oj8HObRkh2yHf/MwYaGX4CPdiVEPM",
    "witness1.smartit.nu/witness1+a48c820f+BPSFWg9G6KPiO7QPryYO5Xq4oYJJ+kAvLKLSimDhoxMO",
    "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
    "witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv",
]
NAVIGLI = "witness.navigli.sunlight.geomys.org+a3e00fe2+BNy/co4C1Hn1p+INwJrfUlgz7W55dSZReusH/GhUhJ/G"

HUB = Ed25519Signer(b"\x01" * 32)
EYE = Ed25519Signer(b"\x02" * 32)
LOG = NoteKey("lungs.example/log/hub", NoteKind.LOG, HUB.public)
WITNESS = NoteKey("lungs.example/witness/eye", NoteKind.COSIGNER, EYE.public)
AT = 1_800_000_000
STATE = Checkpoint(LOG.name, 7, hashlib.sha256(b"root").digest())
SIGNED = sign_checkpoint(HUB, LOG, STATE)
COSIGNED = cosign(EYE, WITNESS, SIGNED, AT)


# --- Published examples -----------------------------------------------------------------------------------------------


def test_the_example_of_go_is_read_verified_and_made_again():
    key = NoteKey.parse(PETER)
    assert (key.name, key.kind, key.id.hex(), key.vkey) == ("PeterNeumann", NoteKind.LOG, "c74f20a3", PETER)
    note = Note.parse(PETER_NOTE)
    assert (note.text, note.encode()) == (PETER_TEXT, PETER_NOTE)
    verify_note(note, key)
    signer = Ed25519Signer(PETER_SEED)
    assert signer.public == key.public
    made = Note(PETER_TEXT, (NoteSignature(key.name, key.id, signer.sign(PETER_TEXT.encode())),))
    assert made.encode() == PETER_NOTE
    with pytest.raises(FormatError, match="three lines"):
        open_checkpoint(note, key)
    for altered in (PETER_TEXT.replace("know", "knew"), PETER_TEXT + "\n"):
        with pytest.raises(BadSignature):
            verify_note(Note(altered, note.signatures), key)


@pytest.mark.parametrize("text", [QUASIMODO, SOFA], ids=["signed-note", "cosignature"])
def test_the_examples_of_c2sp_are_read(text):
    note = Note.parse(text.encode())
    assert note.encode() == text.encode()
    assert note.text == text[: text.rindex("\n\n") + 1]


def test_the_checkpoint_of_c2sp_is_read():
    note = Note.parse(SOFA.encode())
    checkpoint = Checkpoint.parse(note.text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.text == note.text
    log, witness = note.signatures
    assert (log.name, log.id.hex(), len(log.signature)) == ("example.com/behind-the-sofa", "033de0ae", 64)
    assert (witness.name, witness.id.hex()) == ("witness.example.com/w1", "8d66cf3f")
    assert int.from_bytes(witness.signature[:8], "big") == 1679315147, "the time that the text of C2SP names"
    assert len(witness.signature) == 72


def test_a_checkpoint_of_the_public_networks_verifies_with_its_cosignatures():
    note = Note.parse(ARCHE.encode())
    assert note.encode() == ARCHE.encode()
    log = NoteKey.parse(ARCHE_LOG)
    assert open_checkpoint(note, log).size == 1432088532
    for vkey in ARCHE_WITNESSES:
        witness = NoteKey.parse(vkey)
        assert witness.vkey == vkey
        assert cosigned_at(note, witness) == 0x6A122120
        altered = Note(note.text.replace("1432088532", "1432088533"), note.signatures)
        with pytest.raises(BadSignature):
            cosigned_at(altered, witness)
    assert cosigned_at(note, NoteKey.parse(NAVIGLI)) is None
    with pytest.raises(BadSignature):
        open_checkpoint(Note(note.text.replace("1432088532", "1432088533"), note.signatures), log)


def test_a_cosignature_is_over_the_lines_that_c2sp_names():
    (line,) = COSIGNED.of(WITNESS)
    message = f"cosignature/v1\ntime {AT}\n{STATE.text}".encode()
    assert line.signature == AT.to_bytes(8, "big") + EYE.sign(message)
    typed = b"\x04" + EYE.public
    assert line.id == hashlib.sha256(WITNESS.name.encode() + b"\n" + typed).digest()[:4]
    assert WITNESS.vkey == f"{WITNESS.name}+{line.id.hex()}+{base64.b64encode(typed).decode()}"


# --- Keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [LOG, WITNESS], ids=["log", "witness"])
def test_keys_have_one_spelling(key):
    vkey = key.vkey
    assert NoteKey.parse(vkey) == key
    for start in range(len(vkey)):
        for end in range(start + 1, len(vkey) + 1):
            if (start, end) != (0, len(vkey)):
                with pytest.raises(FormatError):
                    NoteKey.parse(vkey[start:end])
    for at in range(len(vkey)):
        with pytest.raises((FormatError, WeakKey)):
            NoteKey.parse(vkey[:at] + chr(ord(vkey[at]) + 1) + vkey[at + 1 :])


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "+",
        "++",
        PETER.replace("c74f20a3", "C74F20A3"),
        PETER + "\n",
        " " + PETER,
        PETER.replace("ARpc", "\u0410Rpc"),
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",  # Go's test: a longer key
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",  # Go's test: an unknown type
    ],
    ids=range(9),
)
def test_other_keys_are_refused(vkey):
    with pytest.raises(FormatError):
        NoteKey.parse(vkey)


NAMELESS = ["", "a b", "a+b", "a\u00a0b", "a\u2003b", "a\nb", "a\x7f", "a\x9b", "\ud800", "a" * 256]


@pytest.mark.parametrize("name", NAMELESS, ids=range(10))
def test_names_are_names(name):
    with pytest.raises(FormatError):
        NoteKey(name, NoteKind.LOG, HUB.public)
    with pytest.raises(FormatError):
        Checkpoint(name, 1, bytes(32))


def test_long_and_foreign_names_are_read():
    for name in ("a" * 255, "h\u00f4pital.example/log/\u5317"):
        key = NoteKey(name, NoteKind.LOG, HUB.public)
        assert NoteKey.parse(key.vkey) == key
        note = sign_checkpoint(HUB, key, Checkpoint(name, 1, bytes(32)))
        assert open_checkpoint(Note.parse(note.encode()), key).origin == name


def test_weak_keys_are_refused():
    for public in (bytes(32), b"\x01" + bytes(31), b"\xff" * 32, HUB.public[:-1], HUB.public + b"x"):
        with pytest.raises(WeakKey):
            NoteKey("a", NoteKind.LOG, public)


# --- Notes ------------------------------------------------------------------------------------------------------------

TEXT, LINE = PETER_TEXT, PETER_LINE
MALFORMED = {
    "no signature": TEXT,
    "no signature after the empty line": TEXT + "\n",
    "no empty line": TEXT + LINE,
    "last line is open": TEXT + "\n" + LINE[:-1],
    "empty lines at the end": TEXT + "\n" + LINE + "\n\n",
    "empty line between": TEXT + "\n" + LINE + "\n" + "x\n",
    "control character": "\x01" + TEXT + "\n" + LINE,
    "tab": "\t" + TEXT + "\n" + LINE,
    "carriage return": TEXT + "\n" + LINE[:-1] + "\r\n",
    "delete": "\x7f" + TEXT + "\n" + LINE,
    "C1 control": "\x9b" + TEXT + "\n" + LINE,
    "other line": TEXT + "\n" + LINE + "Unexpected line.\n",
    "name of two words": TEXT + "\n" + LINE.replace("PeterNeumann", "Peter Neumann"),
    "name with a plus": TEXT + "\n" + LINE.replace("PeterNeumann", "Peter+Neumann"),
    "no name": TEXT + "\n" + LINE.replace("PeterNeumann", ""),
    "two spaces": TEXT + "\n" + LINE.replace("PeterNeumann ", "PeterNeumann  "),
    "hyphen": TEXT + "\n" + LINE.replace("\u2014", "-"),
    "en dash": TEXT + "\n" + LINE.replace("\u2014", "\u2013"),
    "no base64": TEXT + "\n" + LINE.replace("x08g", "x0*g"),
    "base64 without padding": TEXT + "\n" + LINE.replace("=", ""),
    "base64 with spare bits": TEXT + "\n" + LINE.replace("AM=\n", "AN=\n"),
    "no signature after the id": TEXT + "\n" + "\u2014 PeterNeumann x08gow==\n",
    "nothing after the name": TEXT + "\n" + "\u2014 PeterNeumann \n",
    "a line twice": TEXT + "\n" + LINE + LINE,
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_notes_are_refused(text):
    with pytest.raises(FormatError):
        Note.parse(text.encode())


def test_notes_are_utf8_and_bounded():
    for data in (b"\xff" + PETER_NOTE, "\ud800".encode("utf-8", "surrogatepass") + PETER_NOTE):
        with pytest.raises(FormatError, match="UTF-8"):
            Note.parse(data)
    room = NOTE_LIMIT - len(PETER_NOTE)
    Note.parse(b"x" * room + PETER_NOTE)
    with pytest.raises(LimitExceeded):
        Note.parse(b"x" * (room + 1) + PETER_NOTE)
    lines = [NoteSignature("a", number.to_bytes(4, "big"), b"x") for number in range(101)]
    assert len(Note.parse(Note("text\n", tuple(lines[:100])).encode()).signatures) == 100
    with pytest.raises(LimitExceeded):
        Note("text\n", tuple(lines)).encode()


@pytest.mark.parametrize(
    "note",
    [
        Note("no line feed", SIGNED.signatures),
        Note("text\n", ()),
        Note("text\n", SIGNED.signatures * 2),
        Note("te\rxt\n", SIGNED.signatures),
        Note("text\n", (NoteSignature("a b", bytes(4), b"x"),)),
        Note("text\n", (NoteSignature("a", bytes(4), b""),)),
        Note("text\n", (NoteSignature("a", bytes(3), b"x"),)),
    ],
    ids=range(7),
)
def test_what_could_not_be_read_back_is_not_written(note):
    with pytest.raises(FormatError):
        note.encode()


def test_the_last_empty_line_divides():
    note = Note("text\n\n\u2014 a AAAAAAA=\n", SIGNED.signatures)
    assert Note.parse(note.encode()) == note


CHARACTERS = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])
NAMES = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Z"], exclude_characters="+")
TEXTS = st.lists(st.text(CHARACTERS, max_size=9), min_size=1, max_size=5)
LINES = st.builds(
    NoteSignature,
    st.text(NAMES, min_size=1, max_size=9),
    st.binary(min_size=4, max_size=4),
    st.binary(min_size=1, max_size=80),
)


@given(TEXTS, st.lists(LINES, min_size=1, max_size=4, unique=True))
def test_notes_read_back(lines, signatures):
    note = Note("\n".join(lines) + "\n", tuple(signatures))
    assert Note.parse(note.encode()) == note


@given(st.text("ab\n\u2014 x=AQ", max_size=60))
def test_what_is_read_has_one_spelling(tail):
    data = ("text\n\n\u2014 x AAAAAAA=\n" + tail).encode()
    try:
        note = Note.parse(data)
    except FormatError:
        return
    assert note.encode() == data


def test_lines_are_chosen_and_joined():
    other = Ed25519Signer(b"\x03" * 32)
    second = NoteKey("lungs.example/witness/ear", NoteKind.COSIGNER, other.public)
    both = cosign(other, second, COSIGNED, AT + 5)
    assert [line.name for line in both.signatures] == [LOG.name, WITNESS.name, second.name]
    assert both.only(LOG) == SIGNED
    assert both.only(WITNESS).signatures == COSIGNED.signatures[1:]
    assert SIGNED.joined(COSIGNED) == COSIGNED.joined(SIGNED) == COSIGNED.joined(COSIGNED) == COSIGNED
    assert COSIGNED.joined(cosign(other, second, SIGNED, AT + 5)) == both
    with pytest.raises(BadSignature):
        SIGNED.only(WITNESS)
    with pytest.raises(FormatError):
        SIGNED.joined(sign_checkpoint(HUB, LOG, Checkpoint(LOG.name, 8, STATE.root)))


# --- Checkpoints ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_opens_with_the_log_s_key_alone():
    assert open_checkpoint(Note.parse(COSIGNED.encode()), LOG) == STATE
    for key in (
        NoteKey(LOG.name, NoteKind.LOG, EYE.public),
        NoteKey("lungs.example/log/other", NoteKind.LOG, HUB.public),
    ):
        with pytest.raises(BadSignature):
            open_checkpoint(COSIGNED, key)
    with pytest.raises(ValueError, match="kind"):
        open_checkpoint(COSIGNED, WITNESS)


def test_one_wrong_line_of_the_log_refuses_the_note():
    wrong = NoteSignature(LOG.name, LOG.id, bytes(64))
    for lines in ((wrong,), (*SIGNED.signatures, wrong), (wrong, *SIGNED.signatures)):
        with pytest.raises(BadSignature):
            open_checkpoint(Note(SIGNED.text, lines), LOG)
    for stranger in (NoteSignature(LOG.name, b"1234", bytes(64)), NoteSignature("other", LOG.id, bytes(64))):
        assert open_checkpoint(Note(SIGNED.text, (stranger, *SIGNED.signatures)), LOG) == STATE


def test_the_log_signs_for_its_own_origin():
    stranger = Checkpoint("lungs.example/log/other", 7, STATE.root)
    with pytest.raises(ValueError, match="own checkpoints"):
        sign_checkpoint(HUB, LOG, stranger)
    note = Note(stranger.text, (NoteSignature(LOG.name, LOG.id, HUB.sign(stranger.text.encode())),))
    with pytest.raises(FormatError, match="checkpoint of lungs"):
        open_checkpoint(note, LOG)


def test_signers_sign_with_their_own_key():
    for call in (
        lambda: sign_checkpoint(EYE, LOG, STATE),
        lambda: sign_checkpoint(EYE, WITNESS, STATE),
        lambda: cosign(HUB, WITNESS, SIGNED, AT),
        lambda: cosign(HUB, LOG, SIGNED, AT),
        lambda: cosign(EYE, WITNESS, SIGNED, -1),
        lambda: cosign(EYE, WITNESS, SIGNED, 1 << 63),
        lambda: cosigned_at(COSIGNED, LOG),
    ):
        with pytest.raises(ValueError, match=r"kind|signer|below"):
            call()


ROOT = base64.b64encode(STATE.root).decode()
TEXTS_REFUSED = {
    "empty": "",
    "two lines": f"{LOG.name}\n7\n",
    "last line is open": f"{LOG.name}\n7\n{ROOT}",
    "extension": f"{LOG.name}\n7\n{ROOT}\nmore\n",
    "empty line": f"{LOG.name}\n7\n{ROOT}\n\n",
    "no origin": f"\n7\n{ROOT}\n",
    "space in the origin": f"a b\n7\n{ROOT}\n",
    "leading zero": f"{LOG.name}\n07\n{ROOT}\n",
    "two zeros": f"{LOG.name}\n00\n{ROOT}\n",
    "sign": f"{LOG.name}\n+7\n{ROOT}\n",
    "negative": f"{LOG.name}\n-7\n{ROOT}\n",
    "space": f"{LOG.name}\n 7\n{ROOT}\n",
    "underscore": f"{LOG.name}\n1_0\n{ROOT}\n",
    "other digits": f"{LOG.name}\n\u0667\n{ROOT}\n",
    "no size": f"{LOG.name}\n\n{ROOT}\n",
    "too large": f"{LOG.name}\n{1 << 53}\n{ROOT}\n",
    "many digits": f"{LOG.name}\n{'9' * 5000}\n{ROOT}\n",
    "no root": f"{LOG.name}\n7\n\n",
    "short root": f"{LOG.name}\n7\n{base64.b64encode(bytes(31)).decode()}\n",
    "long root": f"{LOG.name}\n7\n{base64.b64encode(bytes(33)).decode()}\n",
    "root without padding": f"{LOG.name}\n7\n{ROOT[:-1]}\n",
    "root of nothing": f"{LOG.name}\n0\n{ROOT}\n",
}


@pytest.mark.parametrize("text", TEXTS_REFUSED.values(), ids=TEXTS_REFUSED.keys())
def test_other_texts_are_no_checkpoints(text):
    with pytest.raises(FormatError):
        Checkpoint.parse(text)
    if text.endswith("\n"):  # signed or not
        note = Note(text, (NoteSignature(LOG.name, LOG.id, HUB.sign(text.encode())),))
        with pytest.raises(FormatError):
            open_checkpoint(note, LOG)
        with pytest.raises(FormatError):
            cosign(EYE, WITNESS, note, AT)
        forged = EYE.sign(f"cosignature/v1\ntime {AT}\n{text}".encode())
        with pytest.raises(FormatError):
            cosigned_at(Note(text, (NoteSignature(WITNESS.name, WITNESS.id, AT.to_bytes(8, "big") + forged),)), WITNESS)


@pytest.mark.parametrize("size", [0, 1, 9, 10, (1 << 53) - 1])
def test_checkpoints_read_back(size):
    state = Checkpoint(LOG.name, size, STATE.root if size else EMPTY_ROOT)
    assert Checkpoint.parse(state.text) == state


# --- Cosignatures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 1, AT, (1 << 63) - 1])
def test_a_cosignature_tells_its_time(at):
    note = Note.parse(cosign(EYE, WITNESS, SIGNED, at).encode())
    assert cosigned_at(note, WITNESS) == at
    assert open_checkpoint(note, LOG) == STATE


def test_of_several_cosignatures_the_last_counts_and_each_has_to_be_right():
    note = cosign(EYE, WITNESS, cosign(EYE, WITNESS, COSIGNED, AT + 9), AT + 3)
    assert cosigned_at(note, WITNESS) == AT + 9
    assert cosigned_at(SIGNED, WITNESS) is None
    wrong = NoteSignature(WITNESS.name, WITNESS.id, (AT + 10).to_bytes(8, "big") + bytes(64))
    with pytest.raises(BadSignature):
        cosigned_at(Note(note.text, (*note.signatures, wrong)), WITNESS)


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 9, 64, 71])
def test_a_cosignature_has_72_bytes(cut):
    line = COSIGNED.of(WITNESS)[0]
    for signature in (line.signature[:cut], line.signature + b"x" * (cut + 1)):
        with pytest.raises(BadSignature):
            cosigned_at(Note(SIGNED.text, (NoteSignature(WITNESS.name, WITNESS.id, signature),)), WITNESS)


def test_a_time_that_c2sp_forbids_is_refused():
    at = 1 << 63
    signature = at.to_bytes(8, "big") + EYE.sign(f"cosignature/v1\ntime {at}\n{STATE.text}".encode())
    with pytest.raises(BadSignature):
        cosigned_at(Note(STATE.text, (NoteSignature(WITNESS.name, WITNESS.id, signature),)), WITNESS)


def test_a_log_s_signature_is_no_cosignature():
    """The same key and name for both kinds: ids and what is signed differ."""
    as_witness = NoteKey(LOG.name, NoteKind.COSIGNER, HUB.public)
    assert as_witness.id != LOG.id
    assert cosigned_at(SIGNED, as_witness) is None
    moved = NoteSignature(LOG.name, as_witness.id, AT.to_bytes(8, "big") + SIGNED.signatures[0].signature)
    with pytest.raises(BadSignature):
        cosigned_at(Note(SIGNED.text, (moved,)), as_witness)


def test_every_changed_byte_is_noticed():
    """Changed anywhere, a cosigned note never says anything else with both signatures."""
    data = COSIGNED.encode()
    for at in range(len(data)):
        for change in (1, 0x20, 0x80):
            altered = data[:at] + bytes([data[at] ^ change]) + data[at + 1 :]
            try:
                note = Note.parse(altered)
                assert open_checkpoint(note, LOG) == STATE  # the log's line is untouched, so it is the witness's
                assert cosigned_at(note, WITNESS) is None, f"byte {at} of the cosignature"
            except (FormatError, BadSignature):
                continue
