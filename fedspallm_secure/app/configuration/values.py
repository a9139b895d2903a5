"""What may stand behind a key of a configuration file: durations, sizes, addresses, names.  Each says what it allows.

A reader takes what TOML gives and returns the value that the program uses, or raises UsageError, whose message goes on
after "FILE: [section] key = FOUND: ".
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from ipaddress import ip_address
from math import inf, nan
from typing import Any, Final
from urllib.parse import urlsplit

from fedspallm_secure.app.configuration.fields import text
from fedspallm_secure.app.privacy.settings import MOST_EPSILON
from fedspallm_secure.crypto.draws import seed_bytes
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import FedSpaError, UsageError
from fedspallm_secure.protocol.software import is_software
from fedspallm_secure.pruning.patterns import NofM, Unstructured, parse_fraction, parse_pattern, parse_sparsity

DAY: Final = 86_400  # seconds
LONGEST: Final = 3_650 * DAY  # seconds that a duration may have
LEAST_RATE: Final = 128 << 10  # bytes per second; servers give up on transfers below half of it
_DURATION = re.compile(r"([0-9]{1,9}) ?([smhdw])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": DAY, "w": 7 * DAY}
_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?(B|[KMGT]|[KMGT]i?B)?", re.ASCII)
_POWERS = {"K": 1, "M": 2, "G": 3, "T": 4}
_HEX = re.compile(r"[0-9a-f]{64}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_PORTS = range(65_536)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens.  host: a name or an IP address; port: 0 lets the operating system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def duration(value: Any) -> int:
    """Seconds of "90m", "6h" or "2d".  Raises UsageError."""
    match = _DURATION.fullmatch(value) if type(value) is str else None
    if match is None:
        raise UsageError('allowed is a number with s, m, h, d or w, such as "90m", "6h" or "2d"')
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > LONGEST:
        raise UsageError(f"allowed are at most {LONGEST // DAY} days")
    return seconds


def some_duration(value: Any) -> int:
    """As `duration`, and not 0."""
    seconds = duration(value)
    if seconds == 0:
        raise UsageError('allowed is a duration above 0, such as "90m", "6h" or "2d"')
    return seconds


def size(value: Any) -> int:
    """Bytes of "16 GiB", "500 MB", "4G" or 4096.  KiB to TiB and K to T count by 1024, KB to TB by 1000."""
    if type(value) is int and 0 <= value < 1 << 60:
        return value
    match = _SIZE.fullmatch(value) if type(value) is str else None
    if match is None:
        raise UsageError('allowed is a size such as "16 GiB", "500 MiB" or a number of bytes')
    unit = (match[2] or "B").removesuffix("B")
    base = 1000 if len(unit) == 1 and match[2].endswith("B") else 1024
    found = Fraction(match[1]) * (base ** _POWERS[unit[0]] if unit else 1)
    if found >= 1 << 60:
        raise UsageError("allowed are sizes below 1048576 TiB")
    return int(found)


def rate(value: Any) -> int:
    """Bytes per second of "10 MiB/s"; 0 for no limit.  Raises UsageError."""
    try:
        found = size(value.removesuffix("/s") if type(value) is str else value)
    except UsageError:
        raise UsageError('allowed is a rate such as "10 MiB/s", or 0 for no limit') from None
    if 0 < found < LEAST_RATE:
        raise UsageError('allowed are rates from "128 KiB/s" on, or 0 for no limit: slower transfers are given up')
    return found


def address(value: Any) -> Address:
    """HOST:PORT or [IPv6]:PORT.  Raises UsageError."""
    host, colon, port = value.rpartition(":") if type(value) is str else ("", "", "")
    bracketed = host.startswith("[") and host.endswith("]")
    name = host[1:-1] if bracketed else host
    known = _is_ip(name, 6) if bracketed else _HOST.fullmatch(name) is not None
    if not (colon and known and port.isascii() and port.isdigit() and len(port) <= 5 and int(port) in _PORTS):
        raise UsageError('allowed is ADDRESS:PORT, such as "0.0.0.0:8443" or "[::]:8443"')
    return Address(name, int(port))


def loopback(value: Any) -> Address:
    """An address that only this machine can reach.  Raises UsageError."""
    found = address(value)
    if not found.loopback:
        raise UsageError('allowed is an address of this machine alone, such as "127.0.0.1:9464"')
    return found


def _is_ip(text: str, version: int) -> bool:
    try:
        return ip_address(text).version == version
    except ValueError:
        return False


def url(schemes: tuple[str, ...], example: str) -> Callable[[Any], str]:
    """The URL of a host, without a path and without a password in it; an empty text stays one."""

    def read(value: Any) -> str:
        problem = UsageError(f'allowed is the URL of a host, such as "{example}"')
        written = text(value)
        if not written:
            return ""
        try:
            found = urlsplit(written)
            port = found.port
        except ValueError:
            raise problem from None
        if found.username is not None or found.password is not None:
            raise UsageError("allowed is a URL without a user or a password in it")
        rest = (found.path.strip("/"), found.query, found.fragment)
        host = found.hostname or ""
        if found.scheme not in schemes or any(rest) or port == 0 or not (_HOST.fullmatch(host) or _is_ip(host, 6)):
            raise problem
        return written.rstrip("/")

    return read


def identifier(role: Role) -> Callable[[Any], str]:
    """The id of a party of this role, without the role."""

    def read(value: Any) -> str:
        try:
            return Party(role.value, text(value)).id
        except FedSpaError:
            raise UsageError(f'allowed is the name of a {role.value}: a-z, 0-9 and -, such as "north"') from None

    return read


def seed(value: Any) -> bytes:
    """32 bytes: of 64 hex digits, or of a whole number as `fedprune simulate --seed` takes it.  Raises UsageError."""
    if type(value) is int and 0 <= value < 1 << 63:
        return seed_bytes(value)
    if type(value) is not str or not _HEX.fullmatch(value):
        raise UsageError("allowed is a whole number, 64 hex digits in quotes, or an empty text")
    return bytes.fromhex(value)


def sha256(value: Any) -> str:
    """A SHA-256 in lower-case hex.  Raises UsageError."""
    if type(value) is not str or not _HEX.fullmatch(value):
        raise UsageError("allowed is a SHA-256, 64 hex digits in lower case")
    return value


def software(value: Any) -> str:
    """NAME/VERSION or the beginning of it.  Raises UsageError."""
    if type(value) is not str or not is_software(value):
        raise UsageError('allowed is NAME/VERSION, such as "fedspallm-secure/0.1"')
    return value


def sparsity(value: Any) -> Unstructured:
    """A share of weights to drop.  Raises UsageError."""
    return Unstructured(parse_sparsity(_spelled(value, "0.5")))


def pattern(value: Any) -> NofM:
    """N:M.  Raises UsageError."""
    return parse_pattern(_spelled(value, "2:4"))


def damping(value: Any) -> Fraction:
    """A share of the mean Hessian diagonal, above 0 and at most 1.  Raises UsageError."""
    found = parse_fraction(_spelled(value, "0.01"))
    if found is None or not 0 < found <= 1:
        raise UsageError('allowed is a number above 0 and at most 1, in quotes, such as "0.01"')
    return found


def epsilon(value: Any) -> float:
    """A privacy budget, above 0 and at most 100.  Raises UsageError."""
    return _number(value, lambda found: 0 < found <= MOST_EPSILON, f"above 0 and at most {MOST_EPSILON:g}, such as 8")


def delta(value: Any) -> float:
    """A probability between 0 and 1.  Raises UsageError."""
    return _number(value, lambda found: 0 < found < 1, 'between 0 and 1, such as "1e-6"')


def clip(value: Any) -> float:
    """The longest vector of a record, above 0.  Raises UsageError."""
    return _number(value, lambda found: 0 < found < inf, "above 0, such as 1")


def _number(value: Any, fits: Callable[[float], bool], allowed: str) -> float:
    """A number, which may stand in quotes; whatever does not fit is refused, and what is no number never fits."""
    try:
        found = float(value) if type(value) in (int, float, str) else nan
    except (ValueError, OverflowError):
        found = nan
    if not fits(found):
        raise UsageError(f"allowed is a number {allowed}")
    return found


def _spelled(value: Any, example: str) -> str:
    if type(value) is not str:
        raise UsageError(f'allowed is an exact number in quotes, such as "{example}"')
    return value
