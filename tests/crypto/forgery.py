"""Certificates and lists that no honest authority issues, each differing from a good one in what the test names."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from fedspallm_secure.crypto.root_signing import signing_key
from fedspallm_secure.crypto.signing import Ed25519Signer

IDENTITY = bytes([1]) + bytes(31)  # the neutral element, of order 1
ORDER_EIGHT = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")

Changes = Mapping[type[x509.ExtensionType], tuple[x509.ExtensionType, bool] | None]


def forge(
    der: bytes,
    by: Ed25519Signer,
    changes: Changes | None = None,
    *,
    key: object = None,
    issuer: x509.Name | None = None,
    subject: x509.Name | None = None,
    start: int | None = None,
    end: int | None = None,
) -> bytes:
    """The certificate `der` with some parts exchanged, signed by `by`.

    changes: extension type -> (new value, critical), or None to leave the extension out.
    """
    good = x509.load_der_x509_certificate(der)
    builder = (
        x509.CertificateBuilder()
        .subject_name(good.subject if subject is None else subject)
        .issuer_name(good.issuer if issuer is None else issuer)
        .public_key(key or good.public_key())
        .serial_number(good.serial_number)
        .not_valid_before(good.not_valid_before_utc if start is None else datetime.fromtimestamp(start, UTC))
        .not_valid_after(good.not_valid_after_utc if end is None else datetime.fromtimestamp(end, UTC))
    )
    left = dict(changes or {})
    for extension in good.extensions:
        changed = left.pop(type(extension.value), (extension.value, extension.critical))
        if changed is not None:
            builder = builder.add_extension(*changed)
    for value, critical in filter(None, left.values()):
        builder = builder.add_extension(value, critical)
    return builder.sign(signing_key(by), None).public_bytes(Encoding.DER)


def resign(signed: bytes, by: Ed25519Signer, old: bytes, new: bytes, outer: str = "300506032b6570") -> bytes:
    """Put `new` for `old` into the signed part and sign it again: for what no builder would write."""
    assert old in signed and signed[:2] == b"\x30\x82"
    changed = _sequence(signed[4:].replace(old, new, 1))
    return _sequence(changed + bytes.fromhex(outer + "034100") + by.sign(changed))


def _sequence(content: bytes) -> bytes:
    return b"\x30\x82" + len(content).to_bytes(2, "big") + content


def flips(data: bytes) -> Iterator[bytes]:
    """`data` with one bit changed, for every bit."""
    for position in range(len(data)):
        for bit in range(8):
            yield data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]


def weak_key(raw: bytes) -> Ed25519PublicKey:
    """A key that the X.509 library loads without complaint."""
    return Ed25519PublicKey.from_public_bytes(raw)
