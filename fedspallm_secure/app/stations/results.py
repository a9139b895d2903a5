"""What came out of rounds, at a member: verified results, and the pruned layers that they name.

A member follows every round of its server, whether it takes part or not: the next round starts from this one's result.
"""

from contextlib import suppress
from pathlib import Path
from typing import Protocol

from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.app.stations.station import NotYet
from fedspallm_secure.crypto.encoding import decode_base64, encode_base64
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import NotAwaited, OutOfTurn, PackageRefused, RoundError, TrustError
from fedspallm_secure.protocol.declines import Decline
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

_NEVER_WATCHED = frozenset({"P1", "P2", "P3", "P4"})
_MOST_FOLLOWED = 64  # plans


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

    def plan_of(self, round: int) -> tuple[Plan, str] | None:
        """The plan of a round that is followed, and its hash."""
        found = self._post.journal.recall("followed", str(round))
        return None if found is None else (Plan.from_dict(found["plan"]), found["hash"])

    def follow(self, plan: Plan, plan_hash: str) -> None:
        """The plan was accepted: its result counts.  What was before the present model does not any more."""
        self._post.remember("followed", str(plan.round), {"plan": plan.to_dict(), "hash": plan_hash})
        for name in self._post.journal.recall_all("followed"):
            if int(name) < self.applied:
                self._post.forget("followed", name)

    def watch(self, incoming: Incoming, error: RoundError) -> None:
        """Follow a round whose plan this member declined, without taking part in it, and tell the server so, once.

        Only a plan that passed P1 to P4 is one of a new round of my server; and a server that makes up rounds fills
        nobody's journal.
        """
        plan = PlanBody.parse(incoming.body).plan
        known = self._post.journal.recall_all("followed")
        if error.check in _NEVER_WATCHED or str(plan.round) in known or len(known) >= _MOST_FOLLOWED:
            return
        self._post.remember("followed", str(plan.round), {"plan": plan.to_dict(), "hash": plan.hash})
        body = Decline.of(error.check, str(error)).encode()
        with suppress(TrustError, PackageRefused):  # then the server sees at the deadline that nothing comes
            self._post.send("decline", self._server, [body], plan.round, plan.hash)

    def pass_over(self, incoming: Incoming) -> None:
        """A message of my server about a round that I have no part in.  Raises NotAwaited for one of somebody else."""
        if incoming.head.context.sender != self._server:
            raise NotAwaited(f"{incoming.head.context.sender} is not the server whose rounds I follow")

    def only_follows(self, round: int, accepted: Accepted | None) -> bool:
        """Whether the member follows this round, and has not accepted its plan."""
        followed = self.plan_of(round)
        return followed is not None and (accepted is None or accepted.plan_hash != followed[1])

    @property
    def newest(self) -> int:
        """The newest round that is followed, 0 for none."""
        return max(map(int, self._post.journal.recall_all("followed")), default=0)

    def declined(self, accepted: Accepted | None) -> int:
        """The newest round that is followed without taking part in it and has no result yet; 0 for none."""
        newest = self.newest
        return newest if newest and self.only_follows(newest, accepted) and self.of(newest) is None else 0

    def on_result(self, incoming: Incoming) -> None:
        """The result of a round that the member does not take part in."""
        context = incoming.head.context
        followed = self.plan_of(context.round)
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

    @property
    def applied(self) -> int:
        """The newest round all of whose layers are there, 0 if there is none."""
        return int(self._post.journal.recall("applied", "*", 0))

    def missing(self, hash: str = "") -> set[int]:
        """Groups whose layers have not come yet: of the result with this digest, or of the newest one."""
        names = [int(name) for name in self._post.journal.recall_all("result") if int(name) > self.applied]
        for round in sorted(names, reverse=True):
            result = self.of(round)
            if result is not None and hash in ("", result.hash):
                got = self._post.journal.recall_all(f"layer {round}")
                return {one.gid for one in result.groups if one.layer != NONE and str(one.gid) not in got}
        return set()

    def on_layer(self, arrived: Arrived) -> None:
        """Check and keep a layer, L1 to L6; one that is here already changes nothing.

        A server sends layers again when its roster changes, for it does not know who has them.
        Raises LayerRefused, OutOfTurn, NotYet.
        """
        here = self._post.journal.recall(f"layer {arrived.round}", arrived.group) is not None
        if here and arrived.sender == str(self._server):
            self._post.open_through(arrived, Awaited(types=frozenset({"layer"})), lambda piece: None)
            return
        followed, result = self.plan_of(arrived.round), self.of(arrived.round)
        if followed is None or arrived.round <= self.applied:
            raise OutOfTurn("this layer belongs to no round that I follow, or to one before my model")
        if result is None:
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
            missing = self.missing(result.hash)
            self._applier.apply(plan, group, result, body)
        finally:
            with disk_errors(body):
                body.unlink(missing_ok=True)
        self._post.remember(f"layer {plan.round}", str(group.gid), True)
        if missing == {group.gid}:
            self._applier.complete(plan, result)
            self._post.remember("applied", "*", plan.round)
