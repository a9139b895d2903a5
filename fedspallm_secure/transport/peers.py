"""Who is at the other end of a connection: the one party that its TLS leaf names, checked against what is known now.

OpenSSL has checked chain, time and revocation when the connection began.  A connection lives longer than that, so a
server asks again for every request, and a client for every request it makes.
"""

from fedspallm_secure.crypto.certificates import (
    Leaf,
    Purpose,
    check_leaf_revoked,
    check_leaf_time,
    check_root_time,
    parse_leaf,
)
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import CertificateRefused
from fedspallm_secure.protocol.receiving import Trust


def read_leaf(der: bytes, trust: Trust) -> Leaf:
    """The TLS leaf of some party.  Raises CertificateRefused or WeakKey."""
    return parse_leaf(der, trust.root, Purpose.TLS, None)


def check_client(leaf: Leaf, trust: Trust, at: int) -> Party:
    """The party that may ask this server for something at time `at`: any in the roster that is not a server.

    Raises CertificateRefused, UnknownSender, CertificateExpired, RevocationListStale or CertificateRevoked.
    """
    if leaf.party.role is Role.SERVER:
        raise CertificateRefused(f"{leaf.party} is a server, and servers do not ask each other")
    _check(leaf, trust, at)
    return leaf.party


def check_server(leaf: Leaf, expected: Party, trust: Trust, at: int) -> None:
    """Whether this is the server that was meant to be called.  Raises what `check_client` raises."""
    if leaf.party.role is not Role.SERVER:
        raise CertificateRefused(f"{leaf.party} answers, which is no server", hint="ask who runs a service there")
    if leaf.party != expected:
        raise CertificateRefused(
            f"{leaf.party} answers, not {expected}", hint="check the address and the name of the server in the settings"
        )
    _check(leaf, trust, at)


def _check(leaf: Leaf, trust: Trust, at: int) -> None:
    trust.roster.entry(leaf.party)
    check_root_time(trust.root, at)
    check_leaf_time(leaf, at)
    trust.roster.check_crl(trust.crl)
    check_leaf_revoked(leaf, trust.crl, at)
