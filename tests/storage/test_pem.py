"""PEM: one object, one label, nothing around it."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.errors import FormatError
from fedspallm_secure.storage.pem import CERTIFICATE, REVOCATION_LIST, decode_pem, encode_pem, pem_label
from tests.authority import Authority


@given(st.binary(min_size=1, max_size=300))
def test_what_is_encoded_comes_back(der: bytes):
    data = encode_pem(CERTIFICATE, der)
    assert decode_pem(data, CERTIFICATE, "it") == der
    assert pem_label(data) == CERTIFICATE
    assert max(map(len, data.splitlines())) <= 64


def test_it_is_what_other_tools_write():
    root = Authority().root
    theirs = x509.load_der_x509_certificate(root.der).public_bytes(Encoding.PEM)
    assert encode_pem(CERTIFICATE, root.der) == theirs
    assert decode_pem(theirs.replace(b"\n", b"\r\n"), CERTIFICATE, "it") == root.der  # from another system


GOOD = encode_pem(CERTIFICATE, bytes(100))
BAD = {
    "two objects": GOOD + GOOD,
    "text before": b"hello\n" + GOOD,
    "text after": GOOD + b"hello",
    "another label": GOOD.replace(b"CERTIFICATE", b"X509 CRL"),
    "labels differ": GOOD.replace(b"BEGIN CERTIFICATE", b"BEGIN X509 CRL"),
    "no end": GOOD[:-20],
    "no base64": GOOD.replace(b"AAAA", b"AAA=", 1),
    "foreign sign": GOOD.replace(b"AAAA", b"AA-A", 1),
    "empty": b"",
    "nothing inside": b"-----BEGIN CERTIFICATE----------END CERTIFICATE-----",
}


@pytest.mark.parametrize("fault", BAD)
def test_everything_else_is_refused(fault: str):
    with pytest.raises(FormatError):
        decode_pem(BAD[fault], CERTIFICATE, "it")


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data: bytes):
    pem_label(data)
    with pytest.raises(FormatError):
        decode_pem(data, REVOCATION_LIST, "it")
