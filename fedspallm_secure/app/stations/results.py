"""What came out of rounds, at a member: verified results, and the pruned layers that they name.

A member follows every round of its server, whether it takes part or not: the next round starts from this one's result.
"""

from pathlib import Path
from typing import Protocol

from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.app.stations.station import NotYet
from fedspallm_secure.crypto.encoding import decode_base64, encode_base64
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import LayerRefused, OutOfTurn
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.receiving import Awaited
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.layers import check_layer_package, expected_digest
from fedspallm_secure.protocol.rounds.member_state import Accepted
from fedspallm_secure.protocol.rounds.messages import Incoming
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plan_bodies import PlanBody
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.storage.files import disk_errors
from fedspallm_secure.storage.spool import Arrived


class Applier(Protocol):
    """What becomes of pruned layers that were received."""

    def apply(self, plan: Plan, group: GroupPlan, result: Result, body: Path) -> None:
        """Check and keep one layer, L2 to L6.  body: of the package.  Raises LayerRefused or StorageError."""

    def complete(self, plan: Plan, result: Result) -> None:
        """All layers of a round are there: the next round starts from them."""


class Results:
    """The results of one member.  Everything is written down through `post`, together with what led to it."""

    def __init__(self, post: Post, server: Party, applier: Applier) -> None:
        self._post = post
        self._server = server
        self._applier = applier

    @property
    def followed(self) -> tuple[Plan, str] | None:
        """The newest plan of the server that counts, and its hash."""
        found = self._post.journal.recall("followed", "*")
        return None if found is None else (Plan.from_dict(found["plan"]), found["hash"])

    def follow(self, plan: Plan, plan_hash: str) -> None:
        """From now on the result of this round counts."""
        known = self.followed
        if known is None or known[0].round <= plan.round:
            self._post.remember("followed", "*", {"plan": plan.to_dict(), "hash": plan_hash})

    def watch(self, incoming: Incoming) -> None:
        """Follow a round without taking part in it."""
        context, plan = incoming.head.context, PlanBody.parse(incoming.body).plan
        if (context.sender, context.plan_hash, context.round) == (self._server, plan.hash, plan.round):
            self.follow(plan, plan.hash)

    def only_follows(self, round: int, accepted: Accepted | None) -> bool:
        """Whether the member follows this round, and has not accepted its plan."""
        followed = self.followed
        if followed is None or followed[0].round != round:
            return False
        return accepted is None or accepted.plan_hash != followed[1]

    def on_result(self, incoming: Incoming) -> None:
        """The result of a round that the member does not take part in."""
        followed, context = self.followed, incoming.head.context
        if followed is None or (context.sender, context.plan_hash) != (self._server, followed[1]):
            raise OutOfTurn("this is no result that I follow")
        result, plan = Result.parse(incoming.body), followed[0]
        server = self._post.trust.roster.entry(self._server).leaf.public
        result.check(server, plan.federation, plan.round, followed[1])
        self.keep(result)

    def keep(self, result: Result) -> None:
        """Remember a result that was verified; the first one counts."""
        if self.of(result.round) is None:
            self._post.remember("result", str(result.round), encode_base64(result.encode()))

    def of(self, round: int) -> Result | None:
        """The verified result of a round."""
        found = self._post.journal.recall("result", str(round))
        return None if found is None else Result.parse(decode_base64(found, "a result"))

    def missing(self) -> set[int]:
        """Groups of the newest result whose layers have not come yet."""
        followed = self.followed
        result = None if followed is None else self.of(followed[0].round)
        if result is None:
            return set()
        got = self._post.journal.recall_all(f"layer {result.round}")
        return {found.gid for found in result.groups if found.layer != NONE and str(found.gid) not in got}

    def on_layer(self, arrived: Arrived) -> None:
        """Check and keep a layer, L1 to L6.  Raises LayerRefused, OutOfTurn, NotYet."""
        followed = self.followed
        if followed is not None and arrived.round < followed[0].round:
            raise OutOfTurn("this layer belongs to an earlier round")
        result = None if followed is None or arrived.round != followed[0].round else self.of(arrived.round)
        if followed is None or result is None:
            raise NotYet
        plan, plan_hash = followed
        body = self._post.spool.folder / "layer.body"
        try:
            with disk_errors(body), body.open("wb") as file:

                def write(piece: memoryview) -> None:
                    file.write(piece)

                head = self._post.open_through(arrived, Awaited(types=frozenset({"layer"})), write)
            group = check_layer_package(head, plan, plan_hash, self._server)
            expected_digest(plan, group, result)
            missing = self.missing()
            if group.gid not in missing:
                raise LayerRefused(f"the layer of group {group.gid} is there already", hint="nothing to do")
            self._applier.apply(plan, group, result, body)
        finally:
            body.unlink(missing_ok=True)
        self._post.remember(f"layer {plan.round}", str(group.gid), True)
        if missing == {group.gid}:
            self._applier.complete(plan, result)
