"""What the loops of server and client have in common: signals, newer rosters, and telling what was refused."""

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, current_thread, main_thread
from types import FrameType
from typing import Any

from fedspallm_secure.app.expiry import home_warnings
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.errors import CertificateRevoked, FedSpaError, PlanDeclined
from fedspallm_secure.storage.home import Home, open_home
from fedspallm_secure.storage.home_folder import CRL, KEY_STATEMENT, PREKEYS, ROSTER
from fedspallm_secure.storage.spool import Arrived

_log = logging.getLogger(__name__)
_KEYS = {
    "P7": "colluders, profiles, least_cohort, witnesses",
    "P11": "upload_limit",
    "P14": "pruners, software, horizon, counts_to",
    "P15": "key_holders, sample_least, sample_most",
}  # check of a plan -> keys of [policy] that it goes by
_WATCHED = {
    ROSTER: "roster {home.trust.roster.version}",
    CRL: "revocation list {home.crl.number}",
    PREKEYS: "prekeys",
    KEY_STATEMENT: "renewed certificates",
}  # file of a home -> what was taken in with it


class Stopped(BaseException):
    """Somebody wants the service to end, and it is in the middle of long work that can be repeated."""


class Stop:
    """Whether the service is to end.  `wake` is set with it, so that nobody sleeps on."""

    def __init__(self) -> None:
        self.wanted = False
        self.wake = Event()

    def check(self) -> None:
        """Raise Stopped if it is."""
        if self.wanted:
            raise Stopped

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """As a signal handler.  The second signal does not wait."""
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        self.wake.set()


@contextmanager
def stopping() -> Iterator[Stop]:
    """End in an orderly way on SIGTERM and SIGINT."""
    stop = Stop()
    if current_thread() is not main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Watch:
    """Notices when something newer was imported into a home."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._seen = self._look()

    def changed(self) -> list[str]:
        """Which roster, list or statement is another than at the last look: names of files."""
        found, before = self._look(), self._seen
        self._seen = found
        return [name for name in found if found[name] != before.get(name)]

    def _look(self) -> dict[str, Any]:
        return {name: _status(self._home / name) for name in _WATCHED}


def _status(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino


def check_not_withdrawn(home: Home) -> None:
    """Raise CertificateRevoked where the own list withdraws the own certificate: nobody takes anything from it."""
    if any(home.crl.is_revoked(leaf.serial) for leaf in (home.signing, home.tls)):
        raise CertificateRevoked(
            f"the authority has withdrawn the certificate of {home.party}: it takes part in nothing any more",
            hint="ask the authority why; to come back, enrol again in a new --home",
        )


def tell_warnings(home: Home) -> None:
    """Say what of certificates and list will end soon, or has."""
    for text in home_warnings(home, int(time.time())):
        _log.warning("%s", text)


def renewed(post: Post, watch: Watch) -> bool:
    """Read the home again if something newer is in it; whether that was so.  Raises as `check_not_withdrawn`."""
    changed = watch.changed()
    if not changed:
        return False
    home = open_home(post.home.path)
    check_not_withdrawn(home)
    post.renew(home)
    _log.info("taken in: %s", ", ".join(_WATCHED[name].format(home=home) for name in changed))
    return True


def tell_refused(told: list[tuple[Arrived, FedSpaError]]) -> None:
    """Say what was refused since the last time."""
    while told:
        arrived, error = told.pop(0)
        facts = {"sender": arrived.sender, "type": arrived.type, "round": arrived.round, "code": error.exit_code}
        article = "an" if arrived.type[0] in "aeiou" else "a"
        to_do = f"; {hint}" if (hint := _hint(error)) else ""
        _log.warning("refused %s %s of %s: %s%s", article, arrived.type, arrived.sender, error, to_do, extra=facts)


def _hint(error: FedSpaError) -> str:
    """What to do about a plan that was declined: what its check says itself, or the keys that it goes by."""
    if not isinstance(error, PlanDeclined):
        return ""
    if error.hint != PlanDeclined.hint:
        return error.hint
    if (keys := _KEYS.get(error.check)) is None:
        return ""
    return f"keys of [policy] that {error.check} goes by: {keys}; talk to the server's operator before you change one"
