"""What a holder answers for one group: shares of what has to open, and complaints about bad envelopes (SPEC 16.4).

A complaint shows the key of an envelope.  That an envelope is the one its dealer signed is checked before its key is
ever used: otherwise the server could spoil a good one and be shown its key.
"""

import hmac
from collections.abc import Mapping

from fedspallm_secure.crypto.key_records import PrekeySecret
from fedspallm_secure.errors import BadShare, CannotDecrypt, UnmaskingDeclined
from fedspallm_secure.protocol.rounds.deals import Deal
from fedspallm_secure.protocol.rounds.links import Links
from fedspallm_secure.protocol.rounds.unmasking import (
    AnsweredGroup,
    Complaint,
    OpenedEdge,
    OpenedShare,
    RequestedGroup,
)
from fedspallm_secure.secagg.commitments import Row, blind
from fedspallm_secure.secagg.envelopes import envelope_hash, open_with_key, unwrap_key


def open_envelope(
    links: Links, dealer: str, me: str, deal: Deal, envelope: bytes, prekey: PrekeySecret
) -> Row | Complaint:
    """Q7: the row that `dealer` dealt to me, or a complaint where it did not deal what it signed.

    Raises UnmaskingDeclined for another envelope than the one in the deal, which is the server's doing.
    """
    signed = deal.envelopes[links.neighbours(dealer).index(me)]
    if not hmac.compare_digest(envelope_hash(envelope), signed):
        raise UnmaskingDeclined(f"the envelope from {dealer} is not the one that it signed", check="Q7")
    try:
        key = unwrap_key(links.context, dealer, me, envelope, prekey.recipient, prekey.index)
    except CannotDecrypt:
        return Complaint(dealer, b"")
    try:
        row = open_with_key(links.context, dealer, me, envelope, key, prekey.index, links.group.neighbours + 1)
        row.check(links.context, deal.rows[links.holders(dealer).index(me)])
    except (CannotDecrypt, BadShare):
        return Complaint(dealer, key)
    return row


def answer_group(
    links: Links,
    me: str,
    asked: RequestedGroup,
    survivors: Mapping[str, str],
    deals: Mapping[str, Deal],
    own_row: Row,
    prekey: PrekeySecret,
) -> AnsweredGroup:
    """My answer for one group.  survivors: in cohort order; deals: of my neighbours among them, after Q4.

    Raises UnmaskingDeclined (Q7).
    """
    opened = [
        open_envelope(links, forwarded.id, me, deals[forwarded.id], forwarded.envelope, prekey)
        for forwarded in asked.deals
    ]
    rows = {found.dealer: found for found in (*opened, own_row) if isinstance(found, Row)}
    shares, edges = [], []
    for dealer in sorted(rows):
        row = rows[dealer]
        shares.append(OpenedShare(dealer, row.shares[0], blind(row.blind_seed, 0)))
        for number, other in enumerate(links.neighbours(dealer), start=1):
            if other not in survivors:
                edges.append(OpenedEdge(dealer, other, row.shares[number], blind(row.blind_seed, number)))
    complaints = tuple(found for found in opened if isinstance(found, Complaint))
    return AnsweredGroup(links.group.gid, tuple(shares), tuple(edges), complaints)
