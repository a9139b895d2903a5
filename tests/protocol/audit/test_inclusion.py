"""Proofs of inclusion as files: what one proves, one spelling, and every byte changed."""

import base64

import pytest

from fedspallm_secure.crypto.notes import NoteKey, NoteKind, cosign
from fedspallm_secure.errors import AuditIncomplete, BadSignature, FedSpaError, FormatError, LimitExceeded
from fedspallm_secure.protocol.audit.inclusion import InclusionProof
from tests.protocol.audit.logs import LOG, WITNESS_SIGNERS, WITNESSES, checkpoint, entries, tree

SIZE, INDEX = 11, 6
ENTRIES = entries(SIZE)
PATH = tuple(tree(SIZE).inclusion(INDEX, SIZE))
GOOD = InclusionProof(INDEX, PATH, cosign(WITNESS_SIGNERS[0], WITNESSES[0], checkpoint(SIZE), 7), ENTRIES[INDEX])
BARE = InclusionProof(INDEX, PATH, checkpoint(SIZE))
LINES = GOOD.encode().decode().split("\n")


def test_a_file_has_the_lines_of_c2sp():
    assert LINES[:3] == ["c2sp.org/tlog-proof@v1", "extra ZW50cnkgNg==", "index 6"]
    assert [base64.b64decode(line) for line in LINES[3:7]] == list(PATH)
    assert LINES[7:10] == ["", LOG.name, "11"]
    assert BARE.encode().decode().split("\n")[1] == "index 6"


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 40])
def test_every_entry_is_proven(size):
    for index, entry in enumerate(entries(size)):
        made = InclusionProof(index, tuple(tree(size).inclusion(index, size)), checkpoint(size), entry)
        found = InclusionProof.parse(made.encode())
        assert found == made
        assert found.check(found.extra, LOG).size == size


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 20])
def test_nothing_else_is_proven(size):
    for index, entry in enumerate(entries(size)):
        path, note = tuple(tree(size).inclusion(index, size)), checkpoint(size)
        wrong = [
            InclusionProof(index - 1, path, note),
            InclusionProof(index + 1, path, note),
            InclusionProof(index, (*path, bytes(32)), note),
            InclusionProof(index, path, checkpoint(size + 1)),
            InclusionProof(index, path, checkpoint(size, parted=0)),
        ]
        wrong += [InclusionProof(index, path[:at] + path[at + 1 :], note) for at in range(len(path))]
        for proof in wrong:
            with pytest.raises(AuditIncomplete, match="does not stand at") as caught:
                proof.check(entry, LOG)
            assert caught.value.indices == (proof.index,)
        for other in (entry + b"x", b"", entry[1:]):
            with pytest.raises(AuditIncomplete):
                InclusionProof(index, path, note, other).check(other, LOG)


def test_the_log_s_key_has_to_have_signed():
    with pytest.raises(BadSignature):
        GOOD.check(ENTRIES[INDEX], NoteKey(LOG.name, NoteKind.LOG, WITNESSES[0].public))


def changed(at: int, *lines: str) -> bytes:
    return "\n".join([*LINES[:at], *lines, *LINES[at + 1 :]]).encode()


REFUSED = {
    "empty": b"",
    "another version": changed(0, "c2sp.org/tlog-proof@v2"),
    "no first line": changed(0),
    "empty extra": changed(1, "extra "),
    "extra without padding": changed(1, "extra ZW50cnkgNg"),
    "extra with spare bits": changed(1, "extra ZW50cnkgNh=="),
    "two extras": changed(1, LINES[1], LINES[1]),
    "extra after the index": "\n".join([LINES[0], LINES[2], LINES[1], *LINES[3:]]).encode(),
    "no index": changed(2),
    "leading zero": changed(2, "index 06"),
    "negative": changed(2, "index -6"),
    "space": changed(2, "index  6"),
    "too large": changed(2, f"index {1 << 53}"),
    "many digits": changed(2, "index " + "9" * 5000),
    "short hash": changed(3, base64.b64encode(bytes(31)).decode()),
    "hash in hex": changed(3, PATH[0].hex()),
    "empty line more": changed(7, "", ""),
    "no empty line": changed(7),
    "carriage returns": "\r\n".join(LINES).encode(),
    "not ASCII": changed(1, "extra \u00e9"),
    "64 hashes": changed(3, *[LINES[3]] * 61),
    "line more at the end": GOOD.encode() + b"\n",
    "no note": GOOD.encode().partition(b"\n\n")[0] + b"\n\n",
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_files_have_one_spelling(data):
    with pytest.raises(FormatError):
        InclusionProof.parse(data)


def test_what_is_too_large_is_not_read_and_not_written():
    with pytest.raises(LimitExceeded):
        InclusionProof.parse(GOOD.encode() + b"x" * 200_000)
    longest = InclusionProof(INDEX, PATH, GOOD.note, b"x" * 65_535)
    assert InclusionProof.parse(longest.encode()) == longest
    for proof in (
        InclusionProof(INDEX, PATH, GOOD.note, b"x" * 65_536),
        InclusionProof(-1, PATH, GOOD.note),
        InclusionProof(1 << 53, PATH, GOOD.note),
        InclusionProof(INDEX, PATH * 16, GOOD.note),
        InclusionProof(INDEX, (b"short",), GOOD.note),
    ):
        with pytest.raises(FormatError):
            proof.encode()


def test_every_changed_byte_is_noticed():
    """Outside of the witness's line, which `check` does not ask for."""
    data = BARE.encode()
    for at in range(len(data)):
        for change in (1, 0x80):
            try:
                found = InclusionProof.parse(data[:at] + bytes([data[at] ^ change]) + data[at + 1 :])
                found.check(ENTRIES[INDEX], LOG)
            except FedSpaError:
                continue
            pytest.fail(f"byte {at} may be changed")
