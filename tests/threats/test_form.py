"""THREAT_MODEL section 3, "Form": bytes that say the same otherwise, too much, or something else."""

import json
import os
import tracemalloc
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
import rfc8785

from fedspallm_secure.crypto.body import body_length
from fedspallm_secure.crypto.certificates import Purpose, parse_leaf, signing_request
from fedspallm_secure.crypto.encoding import pae
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.signing import sign
from fedspallm_secure.errors import (
    BadSignature,
    CertificateRefused,
    LimitExceeded,
    PackageFormatError,
    Truncated,
)
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.protocol.statements import Statement
from fedspallm_secure.storage.package_reader import PACKAGE_LIMIT
from tests.attacks.stage import MIB, SENDER, Parts, Stage
from tests.crypto.forgery import resign
from tests.threats.bench import refused, refuses


def signed(stage: Stage, parts: Parts, header: bytes | None = None) -> Parts:
    """With another header, signed by the sender itself, so that its form alone can be wrong."""
    return replace(parts, header=parts.header if header is None else header).signed(stage.federation[SENDER].signer)


def test_a_header_in_another_spelling_is_refused_even_if_signed(stage: Stage):
    """THREAT_MODEL T20: white space, member order, escapes, other numbers, Unicode forms, another text encoding."""
    good = Parts.of(stage.seal(b"x"))
    header, fields = good.header, good.fields
    spellings = [
        header + b" ",
        b"\n" + header,
        b"\xef\xbb\xbf" + header,
        json.dumps(fields, indent=1).encode(),
        json.dumps(dict(reversed(fields.items())), separators=(",", ":")).encode(),
        header.replace(b'"file"', b'"\\u0066ile"'),
        header.replace(b"/", b"\\/"),
        header.replace(b'"v":1', b'"v":1.0'),
        header.replace(b'"v":1', b'"v":1e0'),
        header.replace(b'"round":0', b'"round":-0'),
        header.decode().encode("utf-16"),
        rfc8785.dumps({**fields, "ctx": {**fields["ctx"], "type": "fi\u0301le"}}),  # not in normal form C
    ]
    for spelling in spellings:
        assert spelling != header
        refuses(stage, signed(stage, good, spelling), PackageFormatError)


def test_a_member_that_is_there_twice_is_refused(stage: Stage):
    """THREAT_MODEL T21: with the same value and with another one, in the header and in `ctx`."""
    good = Parts.of(stage.seal(b"x"))
    for old, twice in ((b'"tiles":1', b'"tiles":1,"tiles":1'), (b'"v":1', b'"v":1,"v":2'), (b'"v":1', b'"v":2,"v":1')):
        refuses(stage, signed(stage, good, good.header.replace(old, twice)), PackageFormatError)


def test_a_header_with_more_less_or_other_members_is_refused(stage: Stage):
    """THREAT_MODEL T22: an added, a missing, a wrongly typed member; a number or time that is out of range."""
    good = Parts.of(stage.seal(b"x"))
    fields, context = good.fields, good.fields["ctx"]
    changed: list[dict[str, Any]] = [{**fields, "more": 1}, {**fields, "ctx": {**context, "more": ""}}]
    changed += [{name: value for name, value in fields.items() if name != gone} for gone in fields]
    values = {"v": [None, 1.5, True, "1", 2**53 - 1.0], "seq": [0, -1], "not_after": [253_402_300_800, 10**15]}
    changed += [{**fields, "ctx": {**context, name: value}} for name in values for value in values[name]]
    changed += [{**fields, "ctx": {**context, "gid": gid}} for gid in ("01", "-1", "1" * 10)]
    changed += [{**fields, "ctx": {**context, "seq": 2**53}}]
    for header in (fields, *changed):
        encoded = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
        if header is fields:
            assert encoded == good.header  # the others differ from it in what is wrong with them alone
        else:
            refuses(stage, signed(stage, good, encoded), PackageFormatError)


def test_binary_fields_have_one_spelling(stage: Stage):
    """THREAT_MODEL T23: base64 with spare bits, without padding, with white space; hex in capitals."""
    good = Parts.of(stage.seal(b"x"))
    fields, enc = good.fields, good.fields["enc"]
    assert enc.endswith("=") and not enc.endswith("==")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    spare = enc[:-2] + alphabet[alphabet.index(enc[-2]) + 1] + "="
    for other in (spare, enc.rstrip("="), enc[:40] + "\n" + enc[40:], enc.replace("=", "%3D")):
        refuses(stage, signed(stage, good.with_fields({**fields, "enc": other})), PackageFormatError)
    refuses(
        stage,
        signed(stage, good.with_fields({**fields, "body_root": "AB" + fields["body_root"][2:]})),
        PackageFormatError,
    )
    refuses(stage, signed(stage, good.with_context(sender_key="AB" * 32)), PackageFormatError)


def test_a_header_length_out_of_range_is_refused_unread(stage: Stage):
    """THREAT_MODEL T24: twelve bytes are read, and no room is made for a header."""
    good = Parts.of(stage.seal(b"x"))
    real, read = os.readv, []
    for length in (0, 65_537, 2**31, 2**32 - 1):
        with mock.patch.object(os, "readv", lambda *arguments: read.append(real(*arguments)) or read[-1]):
            refuses(stage, replace(good, length=length, header=bytes(70_000)), PackageFormatError)
    assert sum(read) == 4 * 12


def test_a_header_that_would_eat_memory_is_refused(stage: Stage):
    """THREAT_MODEL T25: deep nesting, huge arrays and objects, numbers of thousands of digits."""
    good = Parts.of(stage.seal(b"x"))
    headers = [
        b"[" * 65_536,
        b'{"":' * 16_384,
        b"[" + b"0," * 32_766 + b"0]",
        b"[" + b"9" * 65_534 + b"]",
        b"{" + b",".join(b'"%d":0' % number for number in range(7000)) + b"}",
        good.header.replace(b'"seq":1,', b'"seq":' + b"1" * 60_000 + b","),
    ]
    tracemalloc.start()
    try:
        for header in headers:
            refuses(stage, signed(stage, good, header), PackageFormatError)
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


def test_no_room_is_made_for_a_body_that_is_not_there(stage: Stage):
    """THREAT_MODEL T26: a sound, signed header of 64 GiB in a small file."""
    length = body_length(1 << 36)
    good = Parts.of(stage.seal(b"x"))
    claim = good.with_fields({**good.fields, "body_len": length, "tiles": -(-length // MIB)})
    with mock.patch.object(os, "fstatvfs", side_effect=AssertionError("it looks for room already")):
        refuses(stage, signed(stage, claim), Truncated)


def test_a_file_larger_than_any_package_is_refused_unread(stage: Stage):
    """THREAT_MODEL T27: one byte more than the largest package, as a hole in the file."""
    path = stage.medium / "hole.fspkg"
    path.write_bytes(stage.seal(b"x"))
    os.truncate(path, PACKAGE_LIMIT + 1)
    with (
        mock.patch.object(os, "readv", side_effect=AssertionError("it is read")),
        refused(LimitExceeded, untouched=stage.out),
    ):
        stage.open(path)


@pytest.mark.parametrize("name", ["name", "path", "output", "../../etc/passwd"])
def test_a_package_cannot_say_where_it_goes(stage: Stage, name: str):
    """THREAT_MODEL T28: no field of a header names a file, and none can be added."""
    good = Parts.of(stage.seal(b"x"))
    refuses(stage, signed(stage, good.with_fields({**good.fields, name: "/tmp/owned"})), PackageFormatError)
    refuses(stage, signed(stage, good.with_context(**{name: "../../owned"})), PackageFormatError)


def test_a_signature_serves_one_purpose_only(stage: Stage):
    """THREAT_MODEL T29: what was signed as a statement, a request or a certificate is nothing else."""
    federation = stage.federation
    north, root = federation[SENDER], federation.root_signer
    good = Parts.of(stage.seal(b"x"))
    others = [sign(north.signer, label, good.header) for label in Label if label is not Label.SIGN_PACKAGE]
    for signature in (*others, north.signer.sign(good.header)):  # the last one as X.509 signs
        refuses(stage, replace(good, signature=signature), BadSignature)
    enrolment = federation.roster.encode().replace(b"/1 roster", b"/1 enrolment")
    with pytest.raises(BadSignature):
        Statement.parse(enrolment, None).verify_by(federation.root.public)
    listed = Statement.parse(north.entry.key_statement.encode().replace(b"key-statement", b"roster"), None)
    with pytest.raises(BadSignature):
        Roster.parse(listed.encode(), federation.root)

    class Labelled:
        """The root, signing a certificate as if it were a statement."""

        public = root.public

        def sign(self, message: bytes) -> bytes:
            return root.sign(pae(Label.SIGN_ROSTER.encoded, message))

    with pytest.raises(CertificateRefused):
        parse_leaf(
            resign(north.leaf.der, Labelled(), b"north", b"north"), federation.root, Purpose.SIGNING, north.party
        )
    csr = signing_request(north.signer, north.party, federation.name)
    assert csr[0] == 0x30 != pae(Label.SIGN_PACKAGE.encoded, good.header)[0]
