"""Indexes of bundles: what they say, what is read back, and whose they are."""

import dataclasses
import json

import pytest

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.revocation import CLOCK_SKEW
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.errors import (
    BadSignature,
    BundleRefused,
    CertificateExpired,
    CertificateRevoked,
    ForeignBundle,
    FormatError,
    LimitExceeded,
    RevocationListStale,
    UnknownSender,
)
from fedspallm_secure.protocol import bundles
from fedspallm_secure.protocol.bundles import PART_SIZE, Bundle, BundleFile, Contents, check_bundle
from fedspallm_secure.protocol.limits import BUNDLE_FILES_LIMIT, BUNDLE_LIMIT
from tests.parties import DAY, Federation

HUB, NORTH = Party.parse("server/hub"), Party.parse("member/north")
DIGEST = "ab" * 32
FILES = (BundleFile(DIGEST, 1000, "plan", 3, "*"), BundleFile("cd" * 32, 7 << 30, "layer", 3, "11"))


@pytest.fixture(scope="module")
def federation():
    return Federation()


def make(federation, contents=None, /, **changes) -> Bundle:
    values = {
        "signer": federation["server/hub"].signer,
        "federation": federation.name,
        "sender": HUB,
        "recipient": NORTH,
        "number": 2,
        "previous": DIGEST,
        "created": federation.now,
        "contents": contents or Contents(FILES, ("ef" * 32,), ("01" * 32,), 7, "a round"),
    }
    return Bundle.make(**{**values, **changes})


def test_an_index_is_read_back(federation):
    made = make(federation)
    found = Bundle.parse(made.encode())
    assert (found, found.encode()) == (made, made.encode())
    assert (found.sender, found.recipient, found.number, found.contents.files) == (HUB, NORTH, 2, FILES)
    assert made.name == f"bundle-server-hub-to-member-north-0002-{made.digest[:16]}.fsdoc"
    assert str(made) == "bundle 2 of server/hub for member/north"


@pytest.mark.parametrize(
    ("size", "parts"),
    [
        (1, [("", 1)]),
        (PART_SIZE, [("", PART_SIZE)]),
        (PART_SIZE + 1, [(".001", PART_SIZE), (".002", 1)]),
        (7 << 30, [(".001", PART_SIZE), (".002", PART_SIZE), (".003", 1 << 30)]),
    ],
)
def test_names_follow_from_digest_and_size(size, parts):
    file = BundleFile(DIGEST, size, "layer", 1, "0")
    assert file.parts == tuple((f"{DIGEST}.fspkg{suffix}", part) for suffix, part in parts)
    assert sum(part for _, part in file.parts) == size


def test_a_part_fits_fat32():
    assert PART_SIZE < (1 << 32) - 1
    assert len(BundleFile(DIGEST, bundles._SIZE_LIMIT, "layer", 1, "0").parts) < 1000


@pytest.mark.parametrize(
    "changes",
    [
        {"number": 0},
        {"number": 1},
        {"previous": "*"},
        {"previous": "ab"},
        {"recipient": HUB},
        {"created": -1},
        {"federation": "no federation"},
        {"contents": Contents(purpose="\x1b[2J")},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_an_index_that_makes_no_sense_is_not_made(federation, changes):
    with pytest.raises(FormatError):
        make(federation, **changes)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("digest", "AB" * 32),
        ("digest", "../x"),
        ("size", 0),
        ("size", -1),
        ("size", bundles._SIZE_LIMIT + 1),
        ("round", -1),
        ("type", "x" * 65),
        ("group", "x" * 65),
    ],
    ids=["upper case", "path", "empty", "negative", "huge", "round", "type", "group"],
)
def test_a_file_that_makes_no_sense_is_not_listed(name, value):
    with pytest.raises(FormatError):
        dataclasses.replace(FILES[0], **{name: value})


@pytest.mark.parametrize(
    "values",
    [
        {"files": (FILES[0], FILES[0])},
        {"received": (DIGEST, DIGEST)},
        {"received": ("x",)},
        {"again": (7,)},
        {"seen": -1},
        {"purpose": "x" * 201},
        {"received": tuple(f"{number:064x}" for number in range(BUNDLE_FILES_LIMIT + 1))},
    ],
    ids=["twice", "receipt twice", "no digest", "a number", "seen", "purpose", "too many"],
)
def test_contents_that_make_no_sense(values):
    with pytest.raises(FormatError):
        Contents(**values)


def test_the_largest_index_can_be_read(federation):
    digests = tuple(f"{number:064x}" for number in range(BUNDLE_FILES_LIMIT))
    files = tuple(BundleFile(digest, 1 << 36, "unmask-response", 1 << 40, "999999999") for digest in digests)
    made = make(federation, Contents(files, digests, digests, 1 << 40, "x" * 200))
    assert len(made.encode()) < BUNDLE_LIMIT
    assert Bundle.parse(made.encode()) == made
    with pytest.raises(LimitExceeded):
        Bundle.parse(made.encode() + b"x" * BUNDLE_LIMIT)


@pytest.mark.parametrize("name", ["federation", "id", "recipient", "number", "files", "seen", "purpose"])
def test_a_changed_index_is_not_signed(federation, name):
    lines = make(federation).encode().split(b"\n")
    value = json.loads(lines[1])
    value[name] = {
        "federation": "hearts.example",
        "id": "watch",
        "recipient": "member/south",
        "number": 3,
        "files": [],
        "seen": 8,
        "purpose": "another",
    }[name]
    if name == "id":
        value["role"] = "auditor"
    lines[1] = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    changed = Bundle.parse(b"\n".join(lines))
    with pytest.raises((BadSignature, ForeignBundle)):
        check_bundle(changed, federation.trust, NORTH, federation.now)


def test_a_good_bundle_passes(federation):
    key = check_bundle(make(federation), federation.trust, NORTH, federation.now)
    assert key == federation["server/hub"].leaf.key_id


def test_it_is_for_one_party_of_one_federation(federation):
    with pytest.raises(ForeignBundle, match="hearts"):
        check_bundle(make(federation, federation="hearts.example"), federation.trust, NORTH, federation.now)
    with pytest.raises(ForeignBundle, match="not for you"):
        check_bundle(make(federation), federation.trust, Party.parse("member/south"), federation.now)


def test_it_is_signed_by_its_sender(federation):
    stranger, _ = Ed25519Signer.generate()
    south = federation["member/south"].signer
    with pytest.raises(BadSignature):
        check_bundle(make(federation, signer=south), federation.trust, NORTH, federation.now)
    with pytest.raises(UnknownSender, match="a key that nobody has") as caught:  # a new key, or another authority
        check_bundle(make(federation, signer=stranger), federation.trust, NORTH, federation.now)
    assert "another authority" in caught.value.hint
    with pytest.raises(UnknownSender):
        check_bundle(make(federation, sender=Party.parse("server/x")), federation.trust, NORTH, federation.now)


def test_its_sender_is_still_trusted(federation):
    made, trust = make(federation), federation.trust
    withdrawn = dataclasses.replace(trust, crl=federation.revoke(["server/hub"], 2))
    with pytest.raises(CertificateRevoked):
        check_bundle(made, withdrawn, NORTH, federation.now)
    newer = dataclasses.replace(trust, roster=federation.new_roster(2, crl_number=9))
    with pytest.raises(RevocationListStale):
        check_bundle(made, newer, NORTH, federation.now)
    fresh = dataclasses.replace(trust, crl=federation.revoke([], 3, valid=4000 * DAY))
    with pytest.raises(CertificateExpired):
        check_bundle(made, fresh, NORTH, federation.now + 3900 * DAY)


def test_it_was_not_made_in_the_future(federation):
    check_bundle(make(federation, created=federation.now + CLOCK_SKEW), federation.trust, NORTH, federation.now)
    with pytest.raises(BundleRefused, match="from now"):
        check_bundle(make(federation, created=federation.now + CLOCK_SKEW + 1), federation.trust, NORTH, federation.now)
