"""What services that visit a server have in common: the way there, and when nothing is left."""

import time
from typing import Final
from urllib.parse import urlsplit

from fedspallm_secure.app.configuration.member import Server
from fedspallm_secure.app.service.live import Live
from fedspallm_secure.app.service.loops import Stop
from fedspallm_secure.app.service.networks import Visiting
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.app.stations.station import check_sequence
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import MissingInput, UnknownSender, UsageError
from fedspallm_secure.transport.client import Manners
from fedspallm_secure.transport.problems import Route
from fedspallm_secure.transport.tls import Credentials

_HTTPS: Final = 443
_TURN: Final = 1.0  # seconds between two looks at clock, home and controls
_SEALING: Final = 10.0  # seconds that a server may take for the next layer of a result


def server_of(config: Server) -> Party:
    """The server that a configuration names."""
    return Party(Role.SERVER.value, config.id)


def check_server(config: Server, post: Post) -> None:
    """Raise UsageError unless the server that a configuration names is in the roster."""
    try:
        post.trust.roster.entry(server_of(config))
    except UnknownSender as error:
        raise UsageError(str(error), hint="correct [server] id, or import a newer roster") from None


def visiting(config: Server, post: Post, live: Live, once: bool = False) -> Visiting | None:
    """The way to the server; None where everything is carried by hand.  once: as of `Visiting`."""
    if not config.url:
        return None
    if post.tls_key is None:
        raise MissingInput(f"{post.home.path} has no TLS key")
    route = route_to(config.url, server_of(config), config.proxy)
    manners = Manners(up=float(config.upload_rate) or None, down=float(config.download_rate) or None)
    return Visiting(post, Credentials(post.home.tls.der, post.tls_key), route, manners, live, once)


def route_to(url: str, server: Party, proxy: str) -> Route:
    """The way to a server.  Raises UsageError for an address that is none."""
    parts = urlsplit(url)
    try:
        port = parts.port or _HTTPS
    except ValueError:
        port = 0
    if parts.scheme != "https" or not parts.hostname or not port:
        raise UsageError(f"{url} is no address like https://hub.example.org:8443")
    return Route(parts.hostname, port, server, proxy or None)


class Visits:
    """A loop's dealings with the network.  once: end as soon as nothing is left to do, for cron."""

    def __init__(self, post: Post, network: Visiting | None, stop: Stop, once: bool) -> None:
        self._post, self._network, self._stop, self._once = post, network, stop, once
        self._moved = time.monotonic()
        post.spool.notify = stop.wake.set

    def begin(self) -> bool:
        """Wait until the server has said what it has of us, before any secret is used; False if stopped before.

        Raises RolledBack; with `once` what keeps the server from being reached.
        """
        network = self._network
        if network is None:
            return True
        network.wake = self._stop.wake.set
        network.start()
        while network.hello is None:
            network.check()
            if self._once and network.trouble is not None:
                raise network.trouble
            if self._stop.wanted:
                return False
            self.rest()
        check_sequence(self._post, network.hello.sequence)
        return True

    @property
    def waiting(self) -> str:
        """Why the server waits for us, as it said last; empty if it does not."""
        return "" if self._network is None else self._network.waiting

    def check(self) -> None:
        """Raise what has ended the network."""
        if self._network is not None:
            self._network.check()

    def notify(self) -> None:
        """Something has come, and something may leave."""
        self._moved = time.monotonic()
        if self._network is not None:
            self._network.check()
            self._network.notify()

    def rest(self) -> None:
        """Until something happens, or for a while."""
        self._stop.wake.wait(_TURN)
        self._stop.wake.clear()

    def is_over(self, more: bool = False) -> bool:
        """Whether a run for cron may end: everything was brought and fetched, and nothing is left to do.

        more: the server makes more of what has come, and is given some time for the next piece.  Raises what keeps
        something from being brought or fetched, or WrongRoster where nothing can come of the visit.
        """
        if not self._once:
            return False
        network = self._network
        if network is not None and network.trouble is not None:
            raise network.trouble
        if self.idle and network is not None and network.refused.behind is not None:
            raise network.refused.behind
        if more and network is not None and time.monotonic() < self._moved + _SEALING:
            return False
        return self.idle

    @property
    def idle(self) -> bool:
        """Whether nothing is left to be brought, fetched or read, as far as is known."""
        if self._network is None:
            return True
        return self._network.idle and not self._post.spool.arrived()
