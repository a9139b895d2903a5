"""Errors of connections between parties.  The tree is drawn in `errors`."""

from fedspallm_secure.errors.base import FedSpaError


class TransportError(FedSpaError):
    """Packages could not be moved over the network."""

    exit_code = 111


class Unreachable(TransportError):
    """No connection to the other end could be made: its name, its address, the network, or nobody listens there."""

    exit_code = 112
    hint = "check the address, the network and the firewall, and ask the other end whether its service runs"


class ProxyRefused(TransportError):
    """The proxy on the way does not let the connection through."""

    exit_code = 113
    hint = "ask those who run the proxy to allow CONNECT to this host and port, or name another proxy"


class ConnectionBroken(TransportError):
    """A connection broke, or nothing, or too little, came over it for too long."""

    exit_code = 114
    hint = "run the same command again: it goes on where it stopped"


class NotAdmitted(TransportError):
    """The other end dropped the connection right after the handshake: it does not accept this party's certificate."""

    exit_code = 115
    hint = (
        "fedprune doctor tells whether your certificate is valid, and what to do; ask the other end what its log says"
    )


class Throttled(TransportError):
    """More was asked for than one party may have at once.  wait: seconds after which to ask again."""

    exit_code = 116
    hint = "wait, and run fewer transfers at once"

    def __init__(self, message: str, *, wait: float = 1.0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.wait = wait


class ProtocolViolation(TransportError):
    """The other end does not speak this protocol, or breaks its rules."""

    exit_code = 117
    hint = "check that address and port are those of a server of this federation, of the same version"
