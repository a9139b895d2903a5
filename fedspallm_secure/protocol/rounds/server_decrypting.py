"""The server and a key holder: it shows sums, opens chunks of them, takes in what was decrypted (SPEC section 24.4).

The base of `Server`: where nothing is encrypted, it is of no use.
"""

from collections.abc import Sequence

from fedspallm_secure.errors import OutOfTurn, ResponseRefused
from fedspallm_secure.protocol.rounds.cipher_checks import check_challenge
from fedspallm_secure.protocol.rounds.messages import Incoming, Outgoing, Step
from fedspallm_secure.protocol.rounds.records_server import Challenged, Decrypted, ServerRecord
from fedspallm_secure.protocol.rounds.server_messages import aborts, announcements, openings
from fedspallm_secure.protocol.rounds.server_state import Event, ServerState


class DecryptingServer(ServerState):
    """What a server does with its key holder.  Every method checks, then returns what to write down and to send."""

    def on_challenge(self, incoming: Incoming, root: str) -> Step[ServerRecord]:
        """Take in which chunks the key holder wants to see, D1 and D2.  root: of the sum of that group, hex.

        Raises ResponseRefused or OutOfTurn.
        """
        gid = self._decryption(incoming, "decrypt-challenge")
        known = self.challenged.get(gid)
        if known is not None:
            if known.body == incoming.body:
                return Step((), tuple(openings(self, [gid])))
            raise OutOfTurn(f"{incoming.head.context.sender} asked for other chunks of group {gid} before", check="D1")
        self.check(Event.DECRYPTION, "D1")
        check_challenge(self.plan, self.groups[gid], incoming.body, root)  # D2
        record = Challenged(gid, incoming.head.digest.hex(), incoming.body)
        self.apply(record)
        return Step((record,), tuple(openings(self, [gid])))

    def on_decrypted(self, incoming: Incoming) -> Step[ServerRecord]:
        """Take in a sum that the key holder decrypted, D3; whoever runs this keeps it.

        incoming: without the sum.  Raises ResponseRefused or OutOfTurn.
        """
        gid, package = self._decryption(incoming, "decrypt-response"), incoming.head.digest.hex()
        if self.decrypted.get(gid) == package:
            return Step()
        self.check(Event.DECRYPTION, "D3")
        if gid in self.decrypted or gid not in self.challenged:
            raise OutOfTurn(f"the sum of group {gid} was decrypted before, or not shown", check="D3")
        return self._step(Decrypted(gid, package))

    def _decryption(self, incoming: Incoming, type: str) -> int:
        """D1: the group that a message of the key holder is about; it goes on."""
        context = incoming.head.context
        self._check_about(incoming, type, "D1")
        gid = int(context.group) if context.group.isdigit() else -1
        if context.sender not in self.key_holders() or gid not in self.ballots or gid in self.ended:
            raise ResponseRefused(f"nothing of group {context.group} is awaited from {context.sender}", check="D1")
        return gid

    def _step(self, *records: ServerRecord, messages: Sequence[Outgoing] = ()) -> Step[ServerRecord]:
        """Apply the records; send `messages`, and what follows from groups that ended and a state that is new."""
        state, ended = self.state, set(self.ended)
        for record in records:
            self.apply(record)
        news = [] if self.state is state else announcements(self)
        gone = [gid for gid in self.ended if gid not in ended]
        return Step(records, (*messages, *aborts(self, gone), *news))

    def _check_about(self, incoming: Incoming, type: str, check: str) -> None:
        context = incoming.head.context
        if (context.type, context.round, context.plan_hash) != (type, self.plan.round, self.plan_hash):
            raise ResponseRefused(f"a package of type {context.type} is not awaited for this plan", check=check)
