"""Step V7: what the server gave receipts for stands in its log, and nothing else of those who handed theirs in."""

from collections.abc import Mapping, Sequence

from fedspallm_secure.crypto.signing import key_id
from fedspallm_secure.errors import BadSignature, FedSpaError, WrongFederation
from fedspallm_secure.protocol.audit.reports import Findings
from fedspallm_secure.protocol.rounds.receipts import Receipt

Contributions = Mapping[tuple[int, int, str], tuple[str, str, int]]  # round, group, member -> package, deal, index


def check_receipts(
    receipts: Sequence[bytes],
    contributions: Contributions,
    plans: Mapping[int, str],
    federation: str,
    server: Sequence[bytes],
    findings: Findings,
) -> None:
    """Hold receipts against the log.

    receipts: statements, of any members; plans: round -> plan hash; federation, server: of the log, and all keys that
    its server has had.
    """
    keys = {key_id(public): public for public in server}
    held: set[tuple[int, int, str]] = set()
    for number, data in enumerate(receipts, 1):
        try:
            receipt = Receipt.parse(data)
            _check(receipt, federation, keys)
        except FedSpaError as error:
            findings.add("V7", f"receipt {number} is none of this server: {error}")
            continue
        place = receipt.round, receipt.group, receipt.member
        what = f"the contribution of {receipt.member} to group {receipt.group} of round {receipt.round}"
        held.add(place)
        logged = contributions.get(place)
        if logged is None:
            findings.add("V7", f"the server gave a receipt for {what}, and its log does not have it")
        elif (*logged[:2], plans.get(receipt.round)) != (receipt.package, receipt.deal, receipt.plan_hash):
            findings.add("V7", f"the log has another package for {what} than the receipt", logged[2])
    members = {(round, member) for round, _, member in held}
    for (round, group, member), (_, _, index) in contributions.items():
        if (round, member) in members and (round, group, member) not in held:
            findings.note("V7", f"{member} handed in no receipt for group {group} of round {round}", index)


def _check(receipt: Receipt, federation: str, keys: Mapping[str, bytes]) -> None:
    """By any key that the server had: a receipt may be older than its newest certificate."""
    signers = [keys[signer] for signer, _ in receipt.statement.signatures if signer in keys]
    if not signers:
        raise BadSignature("it is signed with no key that the log shows for its server")
    receipt.statement.verify_by(signers[0])
    if receipt.federation != federation:
        raise WrongFederation(f"it is of the federation {receipt.federation}")
