"""Malicious members against an honest server: bad dealers, bad holders, bad endorsers, and vectors out of range.

    python -m tests.attacks.rounds.members [SEED]     prints the figures as JSON

scripts: members that were let loose; wrong_sums: sums that came out and are not those of what the survivors brought;
honest_convicted: honest members that were proved guilty of something; stopped_at: how many ended where; failures:
everything that is not as it should be.

A script is a class: what it does otherwise than a member does.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from unittest import mock

import numpy as np

from fedspallm_secure.app.rounds.member_party import MemberParty
from fedspallm_secure.app.rounds.parties import Correspondent
from fedspallm_secure.app.rounds.playing import Stage
from fedspallm_secure.app.rounds.town import SERVER
from fedspallm_secure.app.rounds.vault import word_sizes
from fedspallm_secure.app.rounds.wire import Parcel
from fedspallm_secure.crypto.aead import encrypt
from fedspallm_secure.crypto.labels import Label, digest
from fedspallm_secure.crypto.sealing import wrap
from fedspallm_secure.protocol.rounds import dealing
from fedspallm_secure.protocol.rounds.dealing import Draft, _edge_seed, draw
from fedspallm_secure.protocol.rounds.deals import Handover, vector_root
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.messages import Incoming, Step
from fedspallm_secure.protocol.rounds.records_server import Blamed, GroupEnded, Refused
from fedspallm_secure.protocol.rounds.survivors import EndCode, Endorsement
from fedspallm_secure.protocol.rounds.unmasking import (
    AnsweredGroup,
    Complaint,
    OpenedEdge,
    UnmaskRequest,
    UnmaskResponse,
)
from fedspallm_secure.secagg.commitments import Row, deal_rows
from fedspallm_secure.secagg.envelopes import seal_row, unwrap_key
from fedspallm_secure.secagg.keystreams import Stream
from fedspallm_secure.secagg.masking import add_keystreams, member_terms
from fedspallm_secure.secagg.seeds import PRIME, draw_element, encode_element, self_commitment
from fedspallm_secure.secagg.thresholds import Profile
from tests.federation import Bench, Outcome, Setting, TinyWork, play

VILLAIN, NEIGHBOUR = "cat", "ben"
TWO_TRIP = Setting(profile=Profile.TWO_TRIP)
Drops = Mapping[Stage, Sequence[str]]


class Villain(MemberParty):
    """A member that does what members do, but for what a script puts in place of one of these methods.

    request: what it was asked to unmask.
    """

    request: UnmaskRequest | None = None

    def open(self, parcel: Parcel, types: frozenset[str]) -> Incoming:
        incoming = super().open(parcel, types)
        if incoming.head.context.type == "unmask-request":
            self.request = UnmaskRequest.parse(incoming.body)
        return incoming

    def draft(self, draft: Draft) -> Draft:
        """What it signs."""
        return draft

    def signed(self, handover: Handover) -> Handover:
        """What it sends, already signed."""
        return handover

    def sent(self, parts: list[Any]) -> list[Any]:
        """The body of its contribution, in parts."""
        return parts

    def after(self, group: GroupPlan, draft: Draft, parts: list[Any]) -> None:
        """What it does when it has contributed."""

    def endorses(self, endorsement: Endorsement) -> list[bytes]:
        """Bodies of its endorsements."""
        return [endorsement.encode()]

    def answers(self, response: UnmaskResponse) -> list[bytes]:
        """Bodies of its answers."""
        return [response.encode()]

    def contributions(self) -> Iterator[int]:
        prekey = self.prekeys.burn(self.machine.round.index)
        for group in self.plan.groups_of(self.party.id):
            streams, _ = self.work.streams(group)
            self.keep(self.machine.freeze(group.gid, streams.hash), self.plan.round, self.machine.round.plan_hash)
            draft = self.draft(self.machine.prepare(group.gid, prekey))
            self.machine._drafts[group.gid] = draft
            for part, size, terms in zip(
                streams.parts, word_sizes(group), (draft.count_terms, draft.sum_terms), strict=False
            ):
                add_keystreams(part, terms, size)
            step = self.machine.hand_over(draft, vector_root([part.data for part in streams.parts]))
            handover = self.signed(Handover.parse(step.messages[0].body, *group.deal_form))
            parts = [handover.encode(), *(part.data for part in streams.parts)]
            self.post_contribution(group, self.sent(parts))
            self.after(group, draft, parts)
            yield group.gid

    def post_contribution(self, group: GroupPlan, parts: list[Any], name: str = "") -> None:
        """Send a contribution, for a group of another name if asked."""
        number, plan_hash = self.plan.round, self.machine.round.plan_hash
        self.send("contribution", self.own.policy.server, parts, number, plan_hash, name or str(group.gid))

    def keep(self, step: Step[Any], number: int, plan_hash: str) -> None:
        """Twist messages on their way out."""
        twisted = []
        for message in step.messages:
            bodies = [message.body]
            if message.type == "endorsement":
                bodies = self.endorses(Endorsement.parse(message.body))
            elif message.type == "unmask-response":
                bodies = self.answers(UnmaskResponse.parse(message.body))
            twisted += [replace(message, body=body) for body in bodies]
        Correspondent.keep(self, Step(step.records, tuple(twisted)), number, plan_hash)

    # Tools

    def redeal(self, draft: Draft, shared: Callable[[int], int | None]) -> Draft:
        """The draft with shares of other secrets.  shared: number of a secret -> what is shared in its place."""
        links, uses, me = draft.links, self.machine.round.uses, self.party.id
        near = links.neighbours(me)
        own = draw_element()
        seeds = [own, *(_edge_seed(links, me, other, draft.prekey, uses) for other in near)]
        given = [shared(number) for number in range(len(seeds))]
        secrets = [seed if other is None else other for seed, other in zip(seeds, given, strict=True)]
        rows = {row.holder: row for row in deal_rows(me, links.points(me), secrets, links.group.shares)}
        ends = [(seed, other < me) for other, seed in zip(near, seeds[1:], strict=True)]
        sums = () if links.group.sums is None else tuple(member_terms(links.context, own, ends, Stream.SUM))
        return replace(
            draft,
            self_commitment=self_commitment(links.context, me, own),
            rows=tuple(row.commitments(links.context) for row in rows.values()),
            envelopes=tuple(
                seal_row(links.context, rows[other], uses[other].prekey.recipient, uses[other].index) for other in near
            ),
            own_row=rows[me],
            count_terms=tuple(member_terms(links.context, own, ends, Stream.COUNT)),
            sum_terms=sums,
        )

    def with_envelope(self, draft: Draft, holder: str, envelope: bytes) -> Draft:
        """The draft with another envelope for a holder, which its deal then names."""
        envelopes = list(draft.envelopes)
        envelopes[draft.links.neighbours(self.party.id).index(holder)] = envelope
        return replace(draft, envelopes=tuple(envelopes))

    def forge(self, draft: Draft, holder: str, plaintext: bytes, key: bytes, wrapped: bytes) -> bytes:
        """An envelope with anything in it.  key: that it commits to; wrapped: that the holder gets."""
        use, context = self.machine.round.uses[holder], draft.links.context
        named = (self.party.id.encode(), holder.encode(), use.index.to_bytes(8, "little"))
        info = digest(Label.SECAGG_ENVELOPE_INFO, *context.parts, *named)
        commitment = digest(Label.SECAGG_ENVELOPE_KEY, key)
        return wrap(wrapped, use.prekey.recipient, info) + commitment + encrypt(key, bytes(12), plaintext, info)


# --- scripts ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Script:
    """One malicious member.

    refused: where the server refuses it; guilty, suspect: the check at which it is proved to be, or may be, to blame;
    ended: why its group gives no sum; listed: whether its vector is in the sum; drops: who else falls silent; helpers:
    who else is of its kind; suspected: everybody that is suspected, if that is to be checked.
    """

    kind: type[Villain]
    refused: str = ""
    guilty: str = ""
    suspect: str = ""
    ended: EndCode | None = None
    listed: bool = True
    setting: Setting = field(default_factory=Setting)
    drops: Drops = field(default_factory=dict)
    helpers: tuple[str, ...] = ()
    suspected: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.kind.__name__


SCRIPTS: dict[str, Script] = {}


def script(**expected: Any) -> Callable[[type[Villain]], type[Villain]]:
    """Register a malicious member with what has to become of it."""

    def register(kind: type[Villain]) -> type[Villain]:
        SCRIPTS[kind.__name__] = Script(kind, **expected)
        return kind

    return register


# Dealers whose contribution is refused: S1 to S7


@script(refused="S1", listed=False)
class ForAGroupThatThereIsNot(Villain):
    def sent(self, parts):
        self.post_contribution(self.plan.groups[0], parts, "7")
        return [b"".join(map(bytes, parts))[:-1]]


@script(refused="NotAwaited", listed=False)
class OneByteShort(Villain):
    def sent(self, parts):
        return [b"".join(map(bytes, parts))[:-1]]


@script(refused="S3", listed=False)
class SignedByNobody(Villain):
    def signed(self, handover):
        return replace(handover, signature=bytes(64))


@script(refused="S4", listed=False)
class ShareCommitmentsOfOthers(Villain):
    def signed(self, handover):
        return replace(handover, rows=handover.rows[1:] + handover.rows[:1])


@script(refused="S5", listed=False)
class EnvelopesExchanged(Villain):
    def signed(self, handover):
        return replace(handover, envelopes=handover.envelopes[::-1])


@script(refused="S6", listed=False)
class VectorChangedAfterSigning(Villain):
    def sent(self, parts):
        changed = bytearray(parts[-1])
        changed[0] ^= 1
        return [*parts[:-1], changed]


@script(refused="S7", guilty="S7")
class DealsTwice(Villain):
    """The first one counts, and both signatures together prove it."""

    def after(self, group, draft, parts):
        again = draw(draft.links, self.party.id, draft.prekey, self.machine.round.uses)
        handover = again.handover(self.own.signer, vector_root(parts[1:]))
        self.post_contribution(group, [handover.encode(), *parts[1:]])


# Dealers that are found out later: S8, R4, R5


@script(guilty="S8", listed=False)
class LiesAboutAllEdges(Villain):
    """Each of its edges is one word against another; but more than c liars there are not."""

    def draft(self, draft):
        return replace(draft, edges=tuple(bytes(32) for _ in draft.edges))


@script(suspect="S8", ended=EndCode.TOO_FEW_CONTRIBUTIONS, listed=False)
class LiesAboutOneEdge(Villain):
    """Nobody can tell which of the two lies, so both are left out, and too few remain."""

    def draft(self, draft):
        return replace(draft, edges=(bytes(32), *draft.edges[1:]))


@script(suspect="S8", setting=Setting(members=7), helpers=("ann",), suspected=("ann", "cat", "eve"))
class AgreesWithAnotherOnSeedsAgainstOne(Villain):
    """Two that commit to seeds of their own for their edges to a third, share them and use them: that one is left out.

    Nobody can tell who lied, so all three are suspects; and the sum over the others is right.
    """

    AGAINST = "eve"

    def contributions(self):
        whole, contributions = dealing._edge_seed, super().contributions()

        def lie(links, member, other, *rest):
            return draw_element() if other == self.AGAINST else whole(links, member, other, *rest)

        while True:
            with mock.patch.object(dealing, "_edge_seed", lie):
                gid = next(contributions, None)
            if gid is None:
                return
            yield gid


@script(ended=EndCode.SUM_OUT_OF_RANGE, setting=Setting(weights=33))
class HidesUnderAnotherEdge(Villain):
    """It commits to what its neighbours commit to, and uses something else: the sum is noise, and nobody is named."""

    def draft(self, draft):
        stolen = replace(draft.count_terms[1], key=bytes(32)), replace(draft.sum_terms[1], key=bytes(32))
        counts, sums = draft.count_terms, draft.sum_terms
        return replace(
            draft, count_terms=(counts[0], stolen[0], *counts[2:]), sum_terms=(sums[0], stolen[1], *sums[2:])
        )


@script(guilty="R4")
class SealsGarbage(Villain):
    """The holder shows the key, and everybody can see that nothing is in it."""

    def draft(self, draft):
        return self.with_envelope(draft, NEIGHBOUR, self.forge(draft, NEIGHBOUR, bytes(192), b"k" * 32, b"k" * 32))


@script(guilty="R4")
class SealsAnotherRow(Villain):
    def draft(self, draft):
        other = self.redeal(draft, lambda _: None)
        use = self.machine.round.uses[NEIGHBOUR]
        row = Row(self.party.id, NEIGHBOUR, bytes(32), tuple(map(encode_element, range(len(other.own_row.shares)))))
        return self.with_envelope(draft, NEIGHBOUR, seal_row(draft.links.context, row, use.prekey.recipient, use.index))


@script(guilty="R4")
class SealsAShareThatIsNoElement(Villain):
    def draft(self, draft):
        plaintext = bytes(32) + PRIME.to_bytes(32, "big") * len(draft.own_row.shares)
        return self.with_envelope(draft, NEIGHBOUR, self.forge(draft, NEIGHBOUR, plaintext, b"k" * 32, b"k" * 32))


@script(suspect="R4")
class WrapsAnotherKeyThanItCommitsTo(Villain):
    """The holder has no key that anybody would believe, so it is one word against another."""

    def draft(self, draft):
        return self.with_envelope(draft, NEIGHBOUR, self.forge(draft, NEIGHBOUR, bytes(192), b"k" * 32, b"w" * 32))


@script(ended=EndCode.BAD_DEALING)
class SharesAnotherSelfSeed(Villain):
    """All shares are those that it committed to, and they do not open what it committed to."""

    def draft(self, draft):
        return self.redeal(draft, lambda number: 5 if number == 0 else None)


@script(ended=EndCode.BAD_DEALING, drops={Stage.CONTRIBUTION: ["ann"]})
class SharesAnotherEdgeSeed(Villain):
    """Its edge to the one that dropped out."""

    def draft(self, draft):
        return self.redeal(draft, lambda number: 5 if number == 1 else None)


@script()
class SharesAnotherEdgeSeedThatNobodyNeeds(Villain):
    """Everybody survives, so no edge is opened, and nothing comes of it."""

    def draft(self, draft):
        return self.redeal(draft, lambda number: 5 if number == 1 else None)


# Holders: R1 to R4


def first(response: UnmaskResponse, change: Callable[[AnsweredGroup], AnsweredGroup]) -> list[bytes]:
    """The answer with another first group."""
    return [replace(response, groups=(change(response.groups[0]), *response.groups[1:])).encode()]


def with_share(group: AnsweredGroup, **changes: bytes) -> AnsweredGroup:
    """The group with another first self share."""
    return replace(group, self_shares=(replace(group.self_shares[0], **changes), *group.self_shares[1:]))


@script(refused="R3", guilty="R3")
class AnotherShare(Villain):
    def answers(self, response):
        return first(response, lambda group: with_share(group, share=bytes(32)))


@script(refused="R3", guilty="R3")
class AnotherBlind(Villain):
    def answers(self, response):
        return first(response, lambda group: with_share(group, blind=bytes(32)))


@script(refused="R3", guilty="R3", setting=TWO_TRIP)
class SharesOfTwoDealersExchanged(Villain):
    def answers(self, response):
        def exchange(group: AnsweredGroup) -> AnsweredGroup:
            one, two, *rest = group.self_shares
            return replace(group, self_shares=(replace(two, id=one.id), replace(one, id=two.id), *rest))

        return first(response, exchange)


@script(refused="R2", guilty="R2")
class AShareThatIsNoElement(Villain):
    def answers(self, response):
        return first(response, lambda group: with_share(group, share=PRIME.to_bytes(32, "big")))


@script(refused="R2", guilty="R2")
class AShareLess(Villain):
    def answers(self, response):
        return first(response, lambda group: replace(group, self_shares=group.self_shares[1:]))


@script(refused="R2", guilty="R2")
class TheEdgeOfTwoSurvivors(Villain):
    def answers(self, response):
        def more(group: AnsweredGroup) -> AnsweredGroup:
            share = group.self_shares[0]
            object.__setattr__(group, "edges", (OpenedEdge(share.id, VILLAIN, share.share, share.blind),))
            return group

        return first(response, more)


@script(refused="R2", guilty="R2")
class AGroupThatItIsNotIn(Villain):
    def answers(self, response):
        return first(response, lambda group: replace(group, gid=7))


@script(refused="R2", guilty="R2")
class NoGroup(Villain):
    def answers(self, response):
        return [replace(response, groups=()).encode()]


@script(refused="R1")
class AnswersForAnotherList(Villain):
    def answers(self, response):
        return [replace(response, survivors="ab" * 32).encode()]


@script(refused="R1", guilty="R1")
class AnswersTwice(Villain):
    """The first one counts."""

    def answers(self, response):
        good = response.encode()
        return [good, *first(response, lambda group: with_share(group, share=bytes(32)))]


@script(refused="R2", guilty="R2")
class ComplainsAboutItself(Villain):
    def answers(self, response):
        return first(response, lambda group: _complaining(group, self.party.id, b"k" * 32))


@script(refused="R2", guilty="R2", drops={Stage.CONTRIBUTION: ["ann"]}, setting=Setting(members=7))
class ComplainsAboutOneWhoDroppedOut(Villain):
    def answers(self, response):
        def more(group: AnsweredGroup) -> AnsweredGroup:
            object.__setattr__(group, "complaints", (Complaint("ann", b"k" * 32),))
            return group

        return first(response, more)


@script(guilty="R4")
class ComplainsAboutAGoodEnvelope(Villain):
    """With its key: everybody can see that the row that was committed to is in it."""

    def answers(self, response):
        assert self.request is not None and self.machine.prekey is not None
        sent = next(deal for deal in self.request.groups[0].deals if deal.id == NEIGHBOUR)
        context, prekey = self.machine.round.links[0].context, self.machine.prekey
        about = context, NEIGHBOUR, self.party.id, sent.envelope
        key = unwrap_key(*about, prekey.recipient, prekey.index)
        return first(response, lambda group: _complaining(group, NEIGHBOUR, key))


@script(suspect="R4")
class ComplainsWithAMadeUpKey(Villain):
    """It could be that the dealer sealed nothing."""

    def answers(self, response):
        return first(response, lambda group: _complaining(group, NEIGHBOUR, b"k" * 32))


@script(suspect="R4")
class ComplainsWithoutAKey(Villain):
    def answers(self, response):
        return first(response, lambda group: _complaining(group, NEIGHBOUR, b""))


def _complaining(group: AnsweredGroup, dealer: str, key: bytes) -> AnsweredGroup:
    shares = tuple(share for share in group.self_shares if share.id != dealer)
    edges = tuple(edge for edge in group.edges if edge.id != dealer)
    return replace(group, self_shares=shares, edges=edges, complaints=(Complaint(dealer, key),))


@script()
class SaysNothing(Villain):
    def answers(self, response):
        return []


# Endorsers: N1, N2


@script(refused="N1")
class EndorsesAnotherList(Villain):
    def endorses(self, endorsement):
        return [replace(endorsement, survivors="ab" * 32).encode()]


@script(refused="N2")
class EndorsesWithoutSigning(Villain):
    def endorses(self, endorsement):
        return [replace(endorsement, signature=bytes(64)).encode()]


@script(refused="N1")
class EndorsesTwice(Villain):
    def endorses(self, endorsement):
        return [endorsement.encode(), replace(endorsement, signature=bytes(64)).encode()]


# Vectors, R6


class Vector(Villain):
    """A member that plays by the rules with a vector that it should not have.  values: of it."""

    @staticmethod
    def values(group: GroupPlan, keep: np.ndarray, deltas: np.ndarray) -> None:
        """Change the vector in place."""

    @staticmethod
    def raw(group: GroupPlan, streams: Any) -> None:
        """Change the packed vector in place."""


@script(ended=EndCode.SUM_OUT_OF_RANGE)
class CountsTooMuch(Vector):
    """Fifteen votes for every weight: they even run over into the next weight's field."""

    @staticmethod
    def raw(group, streams):
        streams.count[:] = 0xFF


@script(ended=EndCode.SUM_OUT_OF_RANGE)
class KeepsWhatItDropped(Vector):
    """A sum where nobody kept anything."""

    @staticmethod
    def raw(group, streams):
        streams.count[:] = 0
        streams.total.view("<i4")[:] = 1


@script(ended=EndCode.SUM_OUT_OF_RANGE)
class OneStepBeyondTheBound(Vector):
    """Where it alone keeps a weight."""

    @staticmethod
    def values(group, keep, deltas):
        keep[0], deltas[0] = True, group.sums.bound + 1


@script(ended=EndCode.SUM_OUT_OF_RANGE)
class TheSmallestNumberThereIs(Vector):
    """It has no absolute value in its word."""

    @staticmethod
    def values(group, keep, deltas):
        keep[0], deltas[0] = True, -(1 << 31)


@script(ended=EndCode.SUM_OUT_OF_RANGE)
class UsesTheSpareHalfByte(Vector):
    @staticmethod
    def raw(group, streams):
        streams.count[-1] |= 0x10


@script()
class JustWithinTheBound(Vector):
    """A false vector that is in range is not noticed."""

    @staticmethod
    def values(group, keep, deltas):
        keep[:], deltas[:] = True, group.sums.bound


class BadWork(TinyWork):
    """What such a member brings.  kind: the script."""

    kind: type[Vector]

    def values(self, group):
        keep, deltas = super().values(group)
        self.kind.values(group, keep, deltas)
        return keep, deltas

    def streams(self, group):
        streams, clipped = super().streams(group)
        self.kind.raw(group, streams)
        return streams, clipped


# --- running ----------------------------------------------------------------------------------------------------------


def nothing_at_all(group: GroupPlan) -> tuple[np.ndarray, np.ndarray]:
    """A vector of a member that dropped everything."""
    return np.zeros(group.weights, bool), np.zeros(group.weights, np.int64)


@dataclass(frozen=True)
class Run:
    """What came of a script.  guilty, suspects: (member, check), by the server's records."""

    script: Script
    outcome: Outcome
    guilty: frozenset[tuple[str, str]]
    suspects: frozenset[tuple[str, str]]

    @property
    def stopped(self) -> str:
        """Where: the check that refused it, or found it out, or why its group ended."""
        refused = self.outcome.refusals.get(str(SERVER), [])
        if refused:
            return refused[0].place
        found = sorted(check for who, check in self.guilty | self.suspects if who == VILLAIN)
        ends = [end.code.value for end in self.outcome.ended.values()]
        return (found or ends or ["not noticed"])[0]

    @property
    def honest_convicted(self) -> bool:
        """Whether somebody innocent was proved guilty."""
        return not {who for who, _ in self.guilty} <= {VILLAIN, *self.script.helpers}

    @property
    def failures(self) -> list[str]:
        """What is not as it should be."""
        script, outcome = self.script, self.outcome
        refused = outcome.refusals.get(str(SERVER), [])
        end = next((end.code for end in outcome.ended.values()), None)
        listed = VILLAIN in outcome.survivors.get(0, ())
        wrong = {
            "a wrong sum": not outcome.exact,
            "an honest member convicted": self.honest_convicted,
            f"refused at {refused[0].place if refused else 'nothing'}": script.refused
            != (refused[0].place if refused else ""),
            "not proved": bool(script.guilty) and (VILLAIN, script.guilty) not in self.guilty,
            "proved": not script.guilty and not script.ended and bool(self.guilty) and not script.refused,
            "not suspected": bool(script.suspect) and (VILLAIN, script.suspect) not in self.suspects,
            "others suspected": bool(script.suspected) and {who for who, _ in self.suspects} != {*script.suspected},
            f"the group ended: {end}": end != script.ended,
            f"listed: {listed}": end is None and listed != script.listed,
        }
        return [f"{script.name}: {text}" for text, is_wrong in wrong.items() if is_wrong]


def run(found: Script, seed: int = 0) -> Run:
    """Play a round with the malicious member in it."""
    bench = Bench(found.setting, seed, kinds=dict.fromkeys((VILLAIN, *found.helpers), found.kind))
    if issubclass(found.kind, Vector):
        work = BadWork(seed, VILLAIN, bench.layers)
        work.kind = found.kind
        bench.works[VILLAIN] = bench.members[VILLAIN].work = work
        for name, other in bench.works.items():
            if name != VILLAIN:
                other.values = nothing_at_all
    outcome = play(bench, found.drops)
    guilty, suspects = set(), set()
    for record in outcome.round.server.records:
        if isinstance(record, Blamed):
            guilty.update((who, record.check) for who in record.guilty)
            suspects.update((who, record.check) for who in record.suspects)
        elif isinstance(record, Refused):
            guilty.update((who, record.check) for who in record.named)
        elif isinstance(record, GroupEnded) and record.end.code is EndCode.BAD_DEALING:
            guilty.update((who, "R5") for who in record.end.named)
    return Run(found, outcome, frozenset(guilty), frozenset(suspects))


@cache
def played(name: str) -> Run:
    """What came of a script with the seed 0; played once in a process."""
    return run(SCRIPTS[name])


def figures(scripts: Iterable[Script], seed: int) -> dict[str, Any]:
    """Let all of them loose, one after the other."""
    runs = [run(found, seed) for found in scripts]
    return {
        "scripts": len(runs),
        "wrong_sums": sum(not found.outcome.exact for found in runs),
        "honest_convicted": sum(found.honest_convicted for found in runs),
        "stopped_at": dict(sorted(Counter(found.stopped for found in runs).items())),
        "failures": [text for found in runs for text in found.failures],
        "seed": seed,
    }


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    sys.stdout.write(json.dumps(figures(SCRIPTS.values(), number)) + "\n")
