"""A witness: it signs one opening and one survivor list of a round, so nobody can be shown others (SPEC 16.1, 17).

It knows neither plans nor vectors.  What it says goes out under the round and the plan hash of what it answers.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import InputError, OutOfTurn, PackageRefused, PlanDeclined, TrustError, UnmaskingDeclined
from fedspallm_secure.protocol.receiving import Trust
from fedspallm_secure.protocol.rounds.messages import Incoming, Outgoing, Step
from fedspallm_secure.protocol.rounds.openings import beacon_signature, encode_beacon, parse_opening
from fedspallm_secure.protocol.rounds.records import Record
from fedspallm_secure.protocol.rounds.survivors import Endorsement, endorse, parse_survivors

_UNFIT = (InputError, TrustError, PackageRefused)  # what a body can be: malformed, ill signed, or of another round


@dataclass(frozen=True, slots=True)
class WitnessSigned(Record):
    """Something was signed.  type: of the package that says so; digest: of what was signed, hex; body: of the package.

    round: from 1; there is one record of each type for a round.
    """

    kind = "witness-signed"
    type: str
    round: int
    digest: str
    body: bytes


class Witness:
    """One witness, for all rounds of `server`.  An error changes nothing."""

    def __init__(self, party: Party, signer: Signer, trust: Trust, server: Party) -> None:
        self.party = party
        self.trust = trust
        self.server = server
        self._signer = signer
        self._signed: dict[tuple[str, int], WitnessSigned] = {}

    @classmethod
    def restore(
        cls, party: Party, signer: Signer, trust: Trust, server: Party, records: Iterable[WitnessSigned]
    ) -> Self:
        """The witness as its records have it."""
        witness = cls(party, signer, trust, server)
        for record in records:
            witness.apply(record)
        return witness

    def apply(self, record: WitnessSigned) -> None:
        """Know one more signature."""
        self._signed[record.type, record.round] = record

    def on_opening(self, incoming: Incoming) -> Step[WitnessSigned]:
        """Sign the first opening of a round; the same one again is answered by the same bytes.

        Raises PlanDeclined, and OutOfTurn for another opening of the round.
        """
        context = incoming.head.context
        if context.type != "opening" or context.sender != self.server:
            raise PlanDeclined(f"this is no opening of a round by {self.server}")
        try:
            opening = parse_opening(incoming.body)
            opening.check(self._key, self.trust.roster.federation, context.round, self.trust.roster.hash)
        except _UNFIT as error:
            raise PlanDeclined(str(error)) from None
        if opening.hash != context.plan_hash:
            raise PlanDeclined("the package names another opening than the one in it")
        known = self._signed.get(("beacon", context.round))
        if known is not None and known.digest != opening.hash:
            raise OutOfTurn(f"this is the second opening of round {context.round}")
        return self._answer(
            "beacon", context.round, opening.hash, encode_beacon(beacon_signature(self._signer, opening))
        )

    def on_survivors(self, incoming: Incoming) -> Step[WitnessSigned]:
        """Endorse the first survivor list of a round, by E1 to E3; the same one again is answered by the same bytes.

        Raises UnmaskingDeclined.
        """
        context = incoming.head.context
        if context.type != "survivors" or context.sender != self.server:
            raise UnmaskingDeclined(f"this is no survivor list by {self.server}", check="E1")
        try:
            survivors = parse_survivors(incoming.body)
            survivors.check(self._key, self.trust.roster.federation, context.round, context.plan_hash)
        except _UNFIT as error:
            raise UnmaskingDeclined(str(error), check="E2") from None
        known = self._signed.get(("endorsement", context.round))
        if known is not None and known.digest != survivors.hash:
            raise UnmaskingDeclined(f"this is the second survivor list of round {context.round}", check="E3")
        body = Endorsement(survivors.hash, endorse(self._signer, survivors)).encode()
        return self._answer("endorsement", context.round, survivors.hash, body)

    @property
    def _key(self) -> bytes:
        return self.trust.roster.entry(self.server).leaf.public

    def _answer(self, type: str, round: int, digest: str, body: bytes) -> Step[WitnessSigned]:
        known = self._signed.get((type, round))
        if known is not None:
            return Step((), (Outgoing(type, self.server, known.body),))
        record = WitnessSigned(type, round, digest, body)
        self.apply(record)
        return Step((record,), (Outgoing(type, self.server, body),))
