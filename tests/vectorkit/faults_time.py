"""Step 6: certificates, revocation and times."""

from tests.vector_format import Vector
from tests.vectorkit.authority import DAY
from tests.vectorkit.cases import FILE, fault, with_ctx
from tests.vectorkit.packages import Draft, context
from tests.vectorkit.world import CRL_END, NOW, wrong_leaves


def under(roster: str) -> Draft:
    return Draft(context(roster=roster))


def certificates() -> list[Vector]:
    """6, the sender's certificate: each roster has one with another fault."""
    says = {f"cert-{name}": text for name, (text, _) in wrong_leaves().items()}
    says["cert-other-issuer"] = "names another issuer"
    says["cert-impostor"] = "was signed by another key under the root's name"
    says["cert-outlives-root"] = "ends a second after the root's"
    says["cert-self-signed"] = "was signed by its own key"
    found = [
        fault(
            f"06-{name}",
            "CertificateRefused",
            f"The sender's certificate {text}.",
            under(name).pack(),
            recipient=f"alder-{name}",
        )
        for name, text in says.items()
    ]
    for name, text in (("cert-ends-before-now", "ended a second ago"), ("cert-starts-after-now", "is not valid yet")):
        comment = f"The sender's certificate {text}."
        home = f"alder-{name}"
        found.append(fault(f"06-{name}", "CertificateExpired", comment, under(name).pack(), recipient=home))
    return found


def times() -> list[Vector]:
    """6, the rest: revocation, key statement, times of the package."""
    lasting = with_ctx(FILE, not_after=NOW + 100 * DAY).pack()
    expired = "PackageExpired"
    hour = with_ctx(FILE, created=NOW - 7_200, not_after=NOW - 3_600).pack()
    return [
        fault(
            "06-revoked",
            "CertificateRevoked",
            "The newest list has the serial of the sender's certificate.",
            FILE.pack(),
            recipient="alder-crl-birch-revoked",
        ),
        fault(
            "06-list-stale",
            "RevocationListStale",
            "The revocation list should have been followed by another a second ago.",
            lasting,
            now=CRL_END + 1,
        ),
        fault(
            "06-list-older-than-roster",
            "RevocationListStale",
            "The reader's list is older than the one that the roster demands.",
            FILE.pack(),
            recipient="alder-crl-older",
        ),
        fault(
            "06-list-ahead",
            "RevocationListStale",
            "The reader's list was made a second further ahead than the allowed skew.",
            FILE.pack(),
            recipient="alder-crl-ahead",
        ),
        fault(
            "06-list-of-impostor",
            "CertificateRefused",
            "The reader's list was signed by another key under the root's name.",
            FILE.pack(),
            recipient="alder-crl-impostor",
        ),
        fault(
            "06-key-statement-ended",
            "CertificateExpired",
            "The recipient's key statement has ended.",
            under("keys-ended").pack(),
            recipient="alder-keys-ended",
        ),
        fault(
            "06-key-statement-not-yet",
            "CertificateExpired",
            "The recipient's key statement is not valid yet.",
            under("keys-not-yet").pack(),
            recipient="alder-keys-not-yet",
        ),
        fault(
            "06-created-ahead",
            expired,
            "created is a second further ahead than the allowed skew.",
            with_ctx(FILE, created=NOW + DAY + 1).pack(),
        ),
        fault(
            "06-created-far-ahead",
            expired,
            "created is a year ahead.",
            with_ctx(FILE, created=NOW + 365 * DAY, not_after=NOW + 366 * DAY).pack(),
        ),
        fault("06-not-after-past", expired, "not_after was a second ago.", FILE.pack(), now=NOW + 7 * DAY + 1),
        fault("06-not-after-long-past", expired, "not_after was an hour ago.", hour),
    ]


def vectors() -> list[Vector]:
    return [*certificates(), *times()]
