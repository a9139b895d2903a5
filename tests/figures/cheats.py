"""Members who cheat: as dealers in what they hand in, as endorsers, and as holders of others' shares.

Each does one thing wrong and everything else right.  `Kind` says what has to come of it.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np

from fedspallm_secure.crypto.encoding import canonical_json
from fedspallm_secure.protocol.rounds.deals import sign_deal, vector_root
from fedspallm_secure.protocol.rounds.messages import Outgoing
from fedspallm_secure.protocol.rounds.records_member import Dealt, PrekeyHeld
from fedspallm_secure.protocol.rounds.survivors import EndCode, Endorsement
from fedspallm_secure.protocol.rounds.unmasking import Complaint, UnmaskResponse
from fedspallm_secure.secagg.commitments import Row, row_commitment
from fedspallm_secure.secagg.envelopes import envelope_hash, seal_row, unwrap_key
from fedspallm_secure.secagg.keystreams import Kind as SeedKind
from fedspallm_secure.secagg.keystreams import Stream, stream_key
from fedspallm_secure.secagg.masking import Term, add_keystreams
from fedspallm_secure.secagg.seeds import ELEMENT_SIZE, draw_element, edge_commitment, encode_element
from tests.figures.stage import GID, SERVER, Branch, Made, Stage, handover
from tests.protocol.rounds.dealing import Contribution, deal, edge, forged

_KEY_AT = 1168  # bytes of an envelope before its key commitment


class Blame(Enum):
    """How a cheat can be found out."""

    ALONE = "alone"  # by name, and nobody else
    SENDER = "as the sender of a refused message"
    SUSPECT = "among suspects"  # one of them lied, and nobody can tell who
    NOBODY = "not at all"


@dataclass(frozen=True)
class Kind:
    """What a cheat does, and what has to come of it.

    made: contributions that it sends; said: endorsements; answered: bodies of its answers; each is None where it is
    honest.  blame: how it is found out; ends: why the group may end; empty where the sum must come out.  gone: somebody
    dropped out, whose edges have to open.
    """

    blame: Blame
    made: Callable[["Dealer"], list[Made]] | None = None
    said: Callable[[Branch, str], list[Outgoing]] | None = None
    answered: Callable[["Holder"], list[bytes]] | None = None
    ends: frozenset[EndCode] = frozenset()
    gone: bool = False
    together: bool = False


def flipped(data: bytes, place: int = -1) -> bytes:
    """With one bit changed."""
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


# --- dealers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dealer:
    """A member about to hand something in.  victim: whom it cheats, if only one; gone: who dropped out before."""

    stage: Stage
    member: str
    victim: str
    draw: random.Random
    gone: tuple[str, ...] = ()

    @property
    def others(self) -> list[str]:
        """Everybody else who is there."""
        return [name for name in self.stage.group.cohort if name != self.member and name not in self.gone]

    def deal(self, **changes: Any) -> Contribution:
        """What an honest member would hand in, with changes."""
        return deal(self.stage.world, self.member, GID, **{"values": self.stage.vector(self.member), **changes})

    def made(self, found: Contribution) -> Made:
        """The message with it, and what the member remembers."""
        prekey, row = self.stage.prekey(self.member), found.own_row
        given = found.handover
        dealt = Dealt(GID, given.deal.encode(), given.signature, row.blind_seed, row.shares)
        records = (*self.stage.made[self.member].records[:2], PrekeyHeld.of(prekey), dealt)
        message = Outgoing("contribution", SERVER, given.encode(), str(GID))
        return Made(self.member, message, found.streams, found.keep, found.deltas, records)

    def signed(self, found: Contribution, **changes: Any) -> Contribution:
        """With other parts of the deal, signed again."""
        dealt = replace(found.handover.deal, **changes)
        world = self.stage.world
        signature = sign_deal(
            world.federation[f"member/{self.member}"].signer, world.context(GID), self.member, dealt.encode()
        )
        return replace(found, handover=replace(found.handover, deal=dealt, signature=signature))

    def envelopes(self, to: Sequence[str], change: Callable[[Row, bytes], bytes]) -> list[Made]:
        """An honest deal but for the envelopes to these holders."""
        found = self.deal(envelope=lambda row, honest: change(row, honest) if row.holder in to else honest)
        return [self.made(found)]

    @property
    def one(self) -> list[str]:
        """The victim alone."""
        return [self.victim]


def _body(dealer: Dealer, change: Callable[[bytes], bytes]) -> list[Made]:
    made = dealer.made(dealer.deal())
    return [replace(made, handed=replace(made.handed, body=change(made.handed.body)))]


def _with(dealer: Dealer, change: Callable[[Contribution], Contribution]) -> list[Made]:
    return [dealer.made(change(dealer.deal()))]


def _signature(found: Contribution) -> Contribution:
    return replace(found, handover=replace(found.handover, signature=flipped(found.handover.signature)))


def _rows(found: Contribution) -> Contribution:
    (first, *shares), *rows = found.handover.rows
    return replace(found, handover=replace(found.handover, rows=((flipped(first), *shares), *rows)))


def _envelope(found: Contribution) -> Contribution:
    first, *envelopes = found.handover.envelopes
    return replace(found, handover=replace(found.handover, envelopes=(flipped(first), *envelopes)))


def _streams(found: Contribution) -> Contribution:
    counts, sums = found.streams
    return replace(found, streams=(counts, bytearray(flipped(sums))))


def _edges(dealer: Dealer, to: Sequence[str]) -> list[Made]:
    return [dealer.made(dealer.deal(edges={other: dealer.draw.randbytes(32) for other in to}))]


def _shared(dealer: Dealer, number: int) -> list[Made]:
    return [dealer.made(dealer.deal(shared={number: draw_element()}))]


def _edge_to_the_gone(dealer: Dealer) -> list[Made]:
    near = dealer.stage.world.neighbours(dealer.member, GID)
    return _shared(dealer, 1 + near.index(dealer.gone[0]))


def _another_edge_seed(dealer: Dealer, masks_with_it: bool) -> list[Made]:
    """Commitment and shares are of one seed, and the vector is masked with it or with the common one."""
    seed, world = draw_element(), dealer.stage.world
    ends = sorted((dealer.member, dealer.victim))
    number = 1 + world.neighbours(dealer.member, GID).index(dealer.victim)
    said = {dealer.victim: edge_commitment(world.context(GID), *ends, seed)}
    found = dealer.deal(edges=said, shared={number: seed})
    if masks_with_it:
        second, common = dealer.victim < dealer.member, edge(world, dealer.member, dealer.victim, GID)
        streams = tuple(map(bytearray, found.streams))
        for streamed, kind, size in zip(streams, (Stream.COUNT, Stream.SUM), (1, 4), strict=True):
            keys = [stream_key(one, world.context(GID), SeedKind.PAIR, kind) for one in (common, seed)]
            add_keystreams(streamed, [Term(keys[0], not second), Term(keys[1], second)], size)
        root = vector_root([memoryview(stream) for stream in streams])
        found = dealer.signed(replace(found, streams=streams), vector_root=root)
    return [dealer.made(found)]


def _off_the_polynomial(dealer: Dealer) -> list[Made]:
    """The first other holder gets a share that lies on no polynomial with the others, duly committed to."""
    found, holder, world = dealer.deal(), dealer.others[0], dealer.stage.world
    context, keys = world.context(GID), world.prekeys[holder]
    row = _any_row(dealer, holder)
    given, place = found.handover, world.holders(dealer.member, GID).index(holder)
    envelope = seal_row(context, row, keys.recipient.recipient_key, keys.index)
    rows, envelopes = list(given.rows), list(given.envelopes)
    rows[place] = row.commitments(context)
    envelopes[world.neighbours(dealer.member, GID).index(holder)] = envelope
    changed = replace(found, handover=replace(given, rows=tuple(rows), envelopes=tuple(envelopes)))
    hashes = {"rows": tuple(map(row_commitment, rows)), "envelopes": tuple(map(envelope_hash, envelopes))}
    return [dealer.made(dealer.signed(changed, **hashes))]


def _any_row(dealer: Dealer, holder: str) -> Row:
    secrets = dealer.stage.group.neighbours + 1
    shares = tuple(encode_element(draw_element()) for _ in range(secrets))
    return Row(dealer.member, holder, dealer.draw.randbytes(32), shares)


def _another_row(dealer: Dealer) -> list[Made]:
    def change(row: Row, _: bytes) -> bytes:
        keys = dealer.stage.world.prekeys[row.holder]
        other = _any_row(dealer, row.holder)
        return seal_row(dealer.stage.world.context(GID), other, keys.recipient.recipient_key, keys.index)

    return dealer.envelopes(dealer.one, change)


def _no_elements(dealer: Dealer) -> list[Made]:
    def change(row: Row, _: bytes) -> bytes:
        return forged(dealer.stage.world, row, row.blind_seed + b"\xff" * ELEMENT_SIZE * len(row.shares), gid=GID)

    return dealer.envelopes(dealer.one, change)


def _out_of_range(dealer: Dealer) -> list[Made]:
    """Any numbers that the words hold, so that several cheats do not cancel."""
    keep, _ = dealer.stage.vector(dealer.member)
    deltas = [dealer.draw.randrange(-(2**31), 2**31) for _ in keep]
    return [dealer.made(dealer.deal(values=(keep, np.array(deltas))))]


DEALERS: Mapping[str, Kind] = {
    "a contribution of another size": Kind(Blame.ALONE, lambda d: _body(d, lambda body: body + b"\0")),
    "a deal without a good signature": Kind(Blame.ALONE, lambda d: _with(d, _signature)),
    "other share commitments than dealt": Kind(Blame.ALONE, lambda d: _with(d, _rows)),
    "another envelope than dealt": Kind(Blame.ALONE, lambda d: _with(d, _envelope)),
    "another vector than dealt": Kind(Blame.ALONE, lambda d: _with(d, _streams)),
    "two deals": Kind(Blame.ALONE, lambda d: [d.made(d.deal()), d.made(d.deal())]),
    "another seed for every edge": Kind(Blame.ALONE, lambda d: _edges(d, d.others)),
    "another seed for one edge": Kind(
        Blame.SUSPECT, lambda d: _edges(d, d.one), ends=frozenset({EndCode.TOO_FEW_CONTRIBUTIONS})
    ),
    "two or more dispute their edges to the same member": Kind(
        Blame.ALONE, lambda d: _edges(d, d.one), ends=frozenset({EndCode.BAD_DEALING}), together=True
    ),
    "the same, with shares that fit": Kind(
        Blame.SUSPECT,
        lambda d: _another_edge_seed(d, masks_with_it=False),
        ends=frozenset({EndCode.SUM_OUT_OF_RANGE}),
        together=True,
    ),
    "the same, with shares and a vector that fit": Kind(
        Blame.SUSPECT, lambda d: _another_edge_seed(d, masks_with_it=True), together=True
    ),
    "shares of another self seed": Kind(Blame.ALONE, lambda d: _shared(d, 0), ends=frozenset({EndCode.BAD_DEALING})),
    "shares of another edge seed": Kind(
        Blame.ALONE, _edge_to_the_gone, ends=frozenset({EndCode.BAD_DEALING}), gone=True
    ),
    "a share off the polynomial": Kind(Blame.ALONE, _off_the_polynomial, ends=frozenset({EndCode.BAD_DEALING})),
    "an envelope that does not open": Kind(
        Blame.ALONE, lambda d: d.envelopes(d.one, lambda _, honest: flipped(honest))
    ),
    "no envelope that opens": Kind(
        Blame.ALONE,
        lambda d: d.envelopes(d.others, lambda _, honest: flipped(honest)),
        ends=frozenset({EndCode.TOO_FEW_RESPONSES}),
    ),
    "an envelope with another row": Kind(Blame.ALONE, _another_row),
    "an envelope with no field elements": Kind(Blame.ALONE, _no_elements),
    "an envelope whose key is not the one committed to": Kind(
        Blame.SUSPECT, lambda d: d.envelopes(d.one, lambda _, honest: flipped(honest, _KEY_AT))
    ),
    "an envelope that cannot be unwrapped": Kind(
        Blame.SUSPECT, lambda d: d.envelopes(d.one, lambda _, honest: flipped(honest, 0))
    ),
    "numbers out of range": Kind(Blame.NOBODY, _out_of_range, ends=frozenset({EndCode.SUM_OUT_OF_RANGE})),
}


# --- endorsers --------------------------------------------------------------------------------------------------------


def _endorsing(
    change: Callable[[Endorsement], Endorsement], first: bool = False
) -> Callable[[Branch, str], list[Outgoing]]:
    """What a member says instead of its endorsement, or after it."""

    def said(branch: Branch, member: str) -> list[Outgoing]:
        honest = branch.endorsement(member)
        other = replace(honest, body=change(Endorsement.parse(honest.body)).encode())
        return [honest, other] if first else [other]

    return said


ENDORSERS: Mapping[str, Kind] = {
    "an endorsement without a good signature": Kind(
        Blame.SENDER, said=_endorsing(lambda found: replace(found, signature=flipped(found.signature)))
    ),
    "an endorsement of another list": Kind(
        Blame.SENDER, said=_endorsing(lambda found: replace(found, survivors="0a" * 32))
    ),
    "two endorsements": Kind(
        Blame.SENDER, said=_endorsing(lambda found: replace(found, signature=bytes(64)), first=True)
    ),
}


# --- holders ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Holder:
    """A survivor about to answer.  victim: whom it cheats, if it is a survivor; honest: what it would say."""

    branch: Branch
    member: str
    victim: str
    honest: UnmaskResponse
    draw: random.Random

    @property
    def dealer(self) -> str:
        """Somebody else whose shares it holds: the victim, or one that is drawn."""
        held = [share.id for share in self.honest.groups[0].self_shares if share.id != self.member]
        return self.victim if self.victim in held else self.draw.choice(held)

    def group(self, **changes: Any) -> bytes:
        """The answer with changes to its one group."""
        return replace(self.honest, groups=(replace(self.honest.groups[0], **changes),)).encode()

    def complaining(self, dealer: str, key: bytes) -> bytes:
        """The answer with a complaint in place of all shares of a dealer."""
        found = self.honest.groups[0]
        return self.group(
            self_shares=tuple(share for share in found.self_shares if share.id != dealer),
            edges=tuple(edge for edge in found.edges if edge.id != dealer),
            complaints=tuple(sorted((*found.complaints, Complaint(dealer, key)), key=lambda one: one.id)),
        )

    def key(self, dealer: str) -> bytes:
        """Of the good envelope from a dealer."""
        stage = self.branch.stage
        place = stage.world.neighbours(dealer, GID).index(self.member)
        envelope = handover(stage, self.branch.made[dealer]).envelopes[place]
        prekey = stage.prekey(self.member)
        return unwrap_key(stage.world.context(GID), dealer, self.member, envelope, prekey.recipient, prekey.index)


def _share(holder: Holder, **changes: bytes) -> list[bytes]:
    shares = list(holder.honest.groups[0].self_shares)
    place = holder.draw.randrange(len(shares))
    shares[place] = replace(shares[place], **changes)
    return [holder.group(self_shares=tuple(shares))]


def _edge_share(holder: Holder) -> list[bytes]:
    edges = list(holder.honest.groups[0].edges)
    place = holder.draw.randrange(len(edges))
    edges[place] = replace(edges[place], share=encode_element(draw_element()))
    return [holder.group(edges=tuple(edges))]


def _too_few(holder: Holder) -> list[bytes]:
    dealer = holder.dealer
    found = holder.honest.groups[0]
    left = tuple(share for share in found.self_shares if share.id != dealer)
    return [holder.group(self_shares=left, edges=tuple(edge for edge in found.edges if edge.id != dealer))]


def _edge_between_survivors(holder: Holder) -> list[bytes]:
    plain = holder.honest.groups[0].to_dict()
    share = {"share": "0a" * 32, "blind": "0b" * 32}
    plain["edges"] = [{"id": holder.member, "dropped": holder.dealer, **share}]
    return [canonical_json({"survivors": holder.honest.survivors, "groups": [plain]})]


def _complaint(holder: Holder, key: Callable[[str], bytes]) -> list[bytes]:
    dealer = holder.dealer
    return [holder.complaining(dealer, key(dealer))]


HOLDERS: Mapping[str, Kind] = {
    "another share": Kind(Blame.ALONE, answered=lambda h: _share(h, share=encode_element(draw_element()))),
    "another share of an edge": Kind(
        Blame.ALONE, answered=_edge_share, ends=frozenset({EndCode.TOO_FEW_RESPONSES}), gone=True
    ),
    "another blinding": Kind(Blame.ALONE, answered=lambda h: _share(h, blind=h.draw.randbytes(32))),
    "a share that is no field element": Kind(Blame.ALONE, answered=lambda h: _share(h, share=b"\xff" * ELEMENT_SIZE)),
    "no share of one dealer": Kind(Blame.ALONE, answered=_too_few),
    "a share of an edge between survivors": Kind(Blame.ALONE, answered=_edge_between_survivors),
    "an answer that is none": Kind(Blame.ALONE, answered=lambda h: [b"{}"]),
    "an answer for another list": Kind(
        Blame.SENDER, answered=lambda h: [replace(h.honest, survivors="0a" * 32).encode()]
    ),
    "two answers": Kind(Blame.ALONE, answered=lambda h: [h.honest.encode(), *_too_few(h)]),
    "a complaint about a good envelope": Kind(Blame.ALONE, answered=lambda h: _complaint(h, h.key)),
    "a complaint about itself": Kind(Blame.ALONE, answered=lambda h: [h.complaining(h.member, bytes(32))]),
    "a complaint with another key": Kind(Blame.SUSPECT, answered=lambda h: _complaint(h, lambda _: bytes(32))),
    "a complaint without a key": Kind(Blame.SUSPECT, answered=lambda h: _complaint(h, lambda _: b"")),
}

KINDS: Mapping[str, Kind] = {**DEALERS, **ENDORSERS, **HOLDERS}
