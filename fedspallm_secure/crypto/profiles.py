"""How long certificates and statements are valid and what their keys may do: the authority's certs/profiles.toml.

Usages stand in the file so that an auditor reads them there.  They are those of SPEC section 5, and any other value is
refused: every reader would refuse the certificate.
"""

import re
import tomllib
from dataclasses import dataclass, replace
from typing import Any

from fedspallm_secure.crypto.encoding import fields
from fedspallm_secure.errors import FormatError

DAY = 86_400  # seconds
DEVELOPMENT = "FOR DEVELOPMENT ONLY"

PACKAGE_SIGNING = "2.25.253809565053869446045003847362290417585"  # extended key usage of signing leaves, SPEC section 5
_USAGES: dict[str, dict[str, list[str]]] = {
    "root": {"usages": ["keyCertSign", "cRLSign"]},
    "signing": {"usages": ["digitalSignature"], "extended_usages": [PACKAGE_SIGNING]},
    "tls": {
        "usages": ["digitalSignature"],
        "extended_usages": ["clientAuth"],
        "server_extended_usages": ["serverAuth"],
    },
}
_LONGEST = {"root": 7300, "signing": 1100, "tls": 825, "key_statement": 1100, "prekeys": 1100, "crl": 90}  # days
_ORGANISATION = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,64}")  # 64 characters: the bound of RFC 5280, appendix A


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of certificate.  validity_days: from issue to end; warn_days: how long before the end to warn."""

    validity_days: int
    warn_days: int
    usages: tuple[str, ...]
    extended_usages: tuple[str, ...] = ()
    server_extended_usages: tuple[str, ...] = ()

    def until(self, now: int) -> int:
        """End of what is issued at `now`, in Unix seconds."""
        return now + self.validity_days * DAY

    def warns(self, not_after: int, at: int) -> bool:
        """Whether, at time `at`, the holder of a certificate that ends at `not_after` should renew it."""
        return at > not_after - self.warn_days * DAY


@dataclass(frozen=True, slots=True)
class Profiles:
    """What the authority issues.  The days are lifetimes of key statements, prekey bundles and revocation lists."""

    organisation: str
    root: Profile
    signing: Profile
    tls: Profile
    key_statement_days: int
    prekeys_days: int
    crl_days: int

    @classmethod
    def parse(cls, text: str) -> "Profiles":
        """Read profiles.toml; the caller has bounded its size.  Raises FormatError for anything but the schema."""
        try:
            value = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise FormatError(f"the certificate profiles are not TOML: {str(error)[:100]}") from None
        tables = fields(value, dict.fromkeys(["subject", *_LONGEST], dict), "the certificate profiles")
        return cls(
            organisation=_organisation(tables["subject"]),
            root=_profile(tables["root"], "root"),
            signing=_profile(tables["signing"], "signing"),
            tls=_profile(tables["tls"], "tls"),
            key_statement_days=_lifetime(tables["key_statement"], "key_statement"),
            prekeys_days=_lifetime(tables["prekeys"], "prekeys"),
            crl_days=_lifetime(tables["crl"], "crl"),
        )

    def for_development(self) -> "Profiles":
        """The same, with subjects that say so (SPEC section 5)."""
        return replace(self, organisation=DEVELOPMENT)


def _organisation(table: dict[str, Any]) -> str:
    text = fields(table, {"organisation": str}, "[subject]")["organisation"]
    if not _ORGANISATION.fullmatch(text):
        raise FormatError("[subject] organisation must have 1 to 64 characters and no control character")
    return str(text)


def _profile(table: dict[str, Any], name: str) -> Profile:
    schema: dict[str, type] = {"validity_days": int, "warn_days": int, **dict.fromkeys(_USAGES[name], list)}
    fields(table, schema, f"[{name}]")
    for key, usages in _USAGES[name].items():
        if table[key] != usages:
            raise FormatError(f"[{name}] {key} must be {usages}: readers accept nothing else")
    validity = _days(table["validity_days"], 1, _LONGEST[name], f"[{name}] validity_days")
    warn = _days(table["warn_days"], 0, validity - 1, f"[{name}] warn_days")
    return Profile(validity, warn, **{key: tuple(usages) for key, usages in _USAGES[name].items()})


def _lifetime(table: dict[str, Any], name: str) -> int:
    days = fields(table, {"validity_days": int}, f"[{name}]")["validity_days"]
    return _days(days, 1, _LONGEST[name], f"[{name}] validity_days")


def _days(value: int, least: int, most: int, what: str) -> int:
    if not least <= value <= most:
        raise FormatError(f"{what} must lie in {least}..{most}, got {value}")
    return value
