"""Signing X.509 objects with a `Signer`, so that the root key may be kept in hardware."""

from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedspallm_secure.crypto.roots import Root
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import CertificateRefused


class _SignerKey(Ed25519PrivateKey):
    """A `Signer` in the shape that the X.509 builders ask for.  It signs; it cannot be exported."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def public_key(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(self._signer.public)

    def sign(self, data: Any) -> bytes:
        return self._signer.sign(bytes(data))

    def private_bytes(
        self,
        encoding: serialization.Encoding,
        format: serialization.PrivateFormat,
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> bytes:
        raise TypeError("the key of a signer cannot be exported")

    def private_bytes_raw(self) -> bytes:
        raise TypeError("the key of a signer cannot be exported")

    def __copy__(self) -> "_SignerKey":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "_SignerKey":
        return self


def signing_key(signer: Signer) -> Ed25519PrivateKey:
    """The signer as a key that X.509 builders accept."""
    return _SignerKey(signer)


def check_root_key(signer: Signer, root: Root) -> None:
    """Raise CertificateRefused unless `signer` holds the key of this root certificate."""
    if signer.public != root.public:
        raise CertificateRefused("the signing key is not that of the root certificate")
