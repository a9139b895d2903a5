"""TLS contexts: version 1.3 alone, certificates both ways, the federation's root and no other (SPEC section 19.1).

What OpenSSL checks here is the first fence; `peers` checks again, by the rules of SPEC section 5.
"""

import os
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from fedspallm_secure.crypto.certificates import Root
from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.crypto.revocation import RevocationList
from fedspallm_secure.errors import CertificateRefused, FedSpaError

_ALPN = ["http/1.1"]
_DESCRIPTORS = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"  # noqa: PTH112  (no file of ours)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What this end shows of itself.  certificate: its TLS leaf, DER; key: the private key of that leaf."""

    certificate: bytes
    key: EllipticCurvePrivateKey = field(repr=False)


class PeerUnfit(ssl.SSLCertVerificationError):
    """The handshake held, but this is not whom we want to talk to.  reason: the error to show."""

    def __init__(self, reason: FedSpaError) -> None:
        super().__init__(1, str(reason))
        self.refusal = reason


def server_context(own: Credentials, root: Root, crl: RevocationList) -> ssl.SSLContext:
    """The context of a server: it asks for a certificate and issues no tickets, since resuming skips the checks.

    Raises CertificateRefused if certificate and key do not belong together.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, own, root, crl)
    context.num_tickets = 0
    return context


def client_context(own: Credentials, root: Root, crl: RevocationList, check: Callable[[bytes], None]) -> ssl.SSLContext:
    """The context of a client.

    check: is given the server's certificate, DER, before anything is sent to it, and raises FedSpaError to refuse.
    Raises CertificateRefused if certificate and key do not belong together.
    """

    class Checked(ssl.SSLObject):
        """A connection that is of no use before `check` has seen who is at the other end."""

        def do_handshake(self) -> None:
            super().do_handshake()
            try:
                check(self.getpeercert(binary_form=True) or b"")
            except FedSpaError as error:
                raise PeerUnfit(error) from error

    context = _context(ssl.PROTOCOL_TLS_CLIENT, own, root, crl)
    context.check_hostname = True
    context.sslobject_class = Checked
    return context


def load_crl(context: ssl.SSLContext, crl: RevocationList) -> None:
    """Bring a newer list into a context that is in use.  New handshakes go by the newest list that was loaded."""
    pem = x509.load_der_x509_crl(crl.der).public_bytes(Encoding.PEM)
    with _passed_on(pem) as path:
        context.load_verify_locations(cafile=path)


def _context(kind: ssl._SSLMethod, own: Credentials, root: Root, crl: RevocationList) -> ssl.SSLContext:
    context = ssl.SSLContext(kind)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_CRL_CHECK_LEAF
    context.set_alpn_protocols(_ALPN)
    context.load_verify_locations(cadata=root.der)
    load_crl(context, crl)
    _load_own(context, own)
    return context


def _load_own(context: ssl.SSLContext, own: Credentials) -> None:
    """OpenSSL reads keys from files alone; it gets one that no name leads to, and the key in it encrypted."""
    password = random_bytes(32).hex().encode()
    certificate = ssl.DER_cert_to_PEM_cert(own.certificate).encode()
    key = own.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))
    with _passed_on(certificate) as certificate_path, _passed_on(key) as key_path:
        try:
            context.load_cert_chain(certificate_path, key_path, password=lambda: password)
        except ssl.SSLError:
            raise CertificateRefused("the TLS certificate and the TLS key do not belong together") from None


@contextmanager
def _passed_on(data: bytes) -> Iterator[str]:
    """A path under which this process alone reads `data`: of a file in memory, or one of mode 0600 without a name."""
    descriptor = _nameless()
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield f"{_DESCRIPTORS}/{descriptor}"
    finally:
        with suppress(OSError):
            os.close(descriptor)


def _nameless() -> int:
    if hasattr(os, "memfd_create"):
        with suppress(OSError):  # a kernel or a sandbox without it
            descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
            os.fchmod(descriptor, 0o600)
            return descriptor
    with tempfile.TemporaryFile() as file:  # mode 0600; its name is gone before anything is in it
        return os.dup(file.fileno())
