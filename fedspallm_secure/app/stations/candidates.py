"""Who would take part in a round: the newest offer of every member, and the prekeys that it named (SPEC section 16).

Whatever a member sends, the worst that comes of it is that the server waits, and says for whom and why.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.crypto.certificates import Purpose, check_leaf
from fedspallm_secure.crypto.encoding import decode_base64, encode_base64
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import CertificateRevoked, RevocationListStale, TrustError, UnknownSender, WeakKey
from fedspallm_secure.protocol.offers import Offer
from fedspallm_secure.protocol.plan import plan_rounds
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.receiving import Trust
from fedspallm_secure.protocol.rounds.plan_key_checks import check_bundle, check_prekey, exchange_point
from fedspallm_secure.protocol.rounds.plans import Sampling
from fedspallm_secure.pruning.patterns import parse_target

Bundles = Mapping[str, tuple[Prekeys, int]]
_KEPT: Final = 2  # bundles of each member: the newest, and the one that an offer or a plan may still name
# Why a plan cannot name a member, before its name.
_UNKNOWN, _WITHDRAWN, _INVALID = "not in the roster:", "certificate withdrawn of", "no valid certificate of"
_UNSURE = "revocation list too old to judge the certificate of"
_NO_OFFER, _NO_BUNDLE = "no offer of", "no prekeys of"
_NO_VALID, _USED_UP = "no valid prekeys of", "no prekeys left of"
_REASONS: Final = {UnknownSender: _UNKNOWN, CertificateRevoked: _WITHDRAWN, RevocationListStale: _UNSURE}
_GONE: Final = frozenset({_UNKNOWN, _WITHDRAWN, _INVALID})
_WORDS: Final = {_UNKNOWN: "not in the roster", _WITHDRAWN: "withdrawn", _INVALID: "not valid", _UNSURE: "list too old"}


def rounds_drawn(sampling: Sampling) -> int:
    """How many rounds these cohorts are drawn for, whatever the seed.  Raises PlanRefused, UsageError."""
    schedule = [parse_target(target) for target in sampling.schedule]
    budgets = dict(sampling.budgets)
    drawn = plan_rounds(sampling.layers, budgets, schedule, sampling.min_cohort, bytes(32), sampling.spread)
    return len(drawn)


class Candidates:
    """Offers and prekeys, as the server keeps them from round to round.

    waiting: why no round can begin, in words; left_out: who is not waited for, and why, once `budgets` was asked.
    """

    def __init__(self, post: Post, members: Collection[str], least: int, open_after: int) -> None:
        """members: ids of those awaited, empty for all of the roster; least: how many are enough, `open_after` seconds
        after the last of them has offered, 0 for never.
        """
        self.waiting = self.left_out = ""
        self._post = post
        self._members = tuple(members)
        self._least = least
        self._open_after = open_after
        self._points: dict[str, frozenset[int]] = {}  # of bundles, by digest

    # What members send

    def on_offer(self, sender: Party, offer: Offer) -> None:
        """The newest offer of a member counts."""
        count = self._post.journal.recall("offer", sender.id, {}).get("count", 0) + 1
        value = {
            "layers": offer.layers,
            "bundle": offer.bundle,
            "software": offer.software,
            "model": offer.model,
            "spent": offer.spent,
            "policy": offer.policy.to_dict(),
            "at": self._post.now(),
            "count": count,  # so that a later one is known, also in the same second
        }
        self._post.remember("offer", sender.id, value)

    def on_prekeys(self, sender: Party, bundle: Prekeys) -> None:
        """Keep a bundle that the members would accept, by check P9 of all its prekeys.

        Raises TrustError or FormatError for others; WeakKey where an X25519 key stands twice, or at another member too.
        """
        check_bundle(bundle, sender, self._post.trust, self._post.now())
        digest, journal = bundle.statement.digest.hex(), self._post.journal
        if journal.recall("bundle", digest) is None:
            self._check_leaves(sender.id, bundle, digest)
            self._post.remember("bundle", digest, encode_base64(bundle.encode()))
            if journal.recall("next prekey", digest) is None:  # one that was dropped may come again
                self._post.remember("next prekey", digest, bundle.first)
        self._keep_newest(sender.id, digest)

    def _check_leaves(self, id: str, bundle: Prekeys, digest: str) -> None:
        for prekey in bundle.leaves:
            check_prekey(prekey)
        points = frozenset(map(exchange_point, bundle.leaves))
        if len(points) < len(bundle.leaves):
            raise WeakKey(f"an X25519 key stands twice in the prekeys of {id}")
        for other, digests in self._post.journal.recall_all("bundles of").items():
            if other != id and any(points & self._points_of(one) for one in digests):
                raise WeakKey(f"{other} and {id} have the same X25519 key among their prekeys")
        self._points[digest] = points

    def _points_of(self, digest: str) -> frozenset[int]:
        if digest not in self._points:
            self._points[digest] = frozenset(map(exchange_point, self._bundle(digest).leaves))
        return self._points[digest]

    def _keep_newest(self, id: str, digest: str) -> None:
        journal = self._post.journal
        before = [one for one in journal.recall("bundles of", id, []) if one != digest]
        offered = journal.recall("offer", id, {"bundle": ""})["bundle"]
        kept = [one for one in before if one in (offered, *before[1 - _KEPT :])]
        for old in set(before).difference(kept):
            self._points.pop(old, None)
            if journal.recall("next prekey", old) == self._bundle(old).first:  # else a plan named it
                self._post.forget("next prekey", old)
            self._post.forget("bundle", old)
        self._post.remember("bundles of", id, [*kept, digest])

    def _bundle(self, digest: str) -> Prekeys:
        return Prekeys.parse(decode_base64(self._post.journal.recall("bundle", digest), "a bundle"))

    # Who takes part

    def budgets(self, layers: int) -> dict[str, int] | None:
        """Layers of everybody who takes part, once and for all; None while too few have offered to.

        layers: of the model, the most that anybody prunes.  Whoever has no valid certificate is not waited for; a name
        that was configured and is not in the roster may be a slip.
        """
        self.left_out = ""
        fixed = self._post.journal.recall("members", "*")
        if fixed is not None:
            return dict(fixed)
        offers = self._post.journal.recall_all("offer")
        roster = [one.party.id for one in self._post.trust.roster.entries if one.party.role is Role.MEMBER]
        wanted = self._members or tuple(roster)
        there, absent = self.survey(wanted)
        slips = {_UNKNOWN} if self._members else set[str]()
        missing = [id for id in wanted if id in absent and absent[id] not in _GONE - slips]
        self.left_out = reasons_text({id: why for id, why in absent.items() if id not in missing})
        if missing and not self._late_enough(offers, len(there)):
            reasons = {id: absent[id] for id in missing if absent[id] != _NO_OFFER}
            self.waiting = f"waiting for {', '.join(missing)} to offer to take part"
            self.waiting += f" ({reasons_text(reasons)})" if reasons else ""
            self.waiting += f"; left out: {self.left_out}" if self.left_out else ""
            return None
        return {id: min(offers[id]["layers"] or layers, layers) for id in there}

    def _late_enough(self, offers: Mapping[str, Any], there: int) -> bool:
        """Whether enough have offered, long enough ago, to begin without the others."""
        if self._open_after == 0 or there < self._least:
            return False
        times = sorted(offer["at"] for offer in offers.values())
        return bool(self._post.now() >= times[self._least - 1] + self._open_after)

    def bundles(self, members: Iterable[str]) -> Bundles:
        """Of those members whom a plan can name now: the bundle that they offered, and its next prekey."""
        return self.survey(members)[0]

    def survey(self, members: Iterable[str]) -> tuple[Bundles, dict[str, str]]:
        """Whom of these a plan can name now, with the bundle and its next prekey; and why not, of all others."""
        there: dict[str, tuple[Prekeys, int]] = {}
        absent: dict[str, str] = {}
        for id in sorted(members):
            found = self._look(id)
            if isinstance(found, str):
                absent[id] = found
            else:
                there[id] = found
        return there, absent

    def _look(self, id: str) -> tuple[Prekeys, int] | str:
        trust, now, journal = self._post.trust, self._post.now(), self._post.journal
        party = Party(Role.MEMBER.value, id)
        if why := _why_not(trust, party, now):
            return why
        offer = journal.recall("offer", id)
        if offer is None or "policy" not in offer:  # one that an earlier version took in
            return _NO_OFFER
        if journal.recall("bundle", offer["bundle"]) is None:
            return _NO_BUNDLE
        bundle, index = self._bundle(offer["bundle"]), journal.recall("next prekey", offer["bundle"])
        if bundle.party != party:
            return _NO_BUNDLE
        try:
            check_bundle(bundle, party, trust, now)
        except TrustError:
            return _NO_VALID
        return (bundle, index) if index < bundle.first + len(bundle.leaves) else _USED_UP


def _why_not(trust: Trust, party: Party, now: int) -> str:
    """Why the certificate of a party does not count, in words before its name; empty where it does."""
    try:
        check_leaf(trust.roster.entry(party).leaf.der, trust.root, party, Purpose.SIGNING, now, trust.crl)
    except TrustError as error:
        return _REASONS.get(type(error), _INVALID)
    return ""


def certificate_text(trust: Trust, party: Party, now: int) -> str:
    """What is wrong with the certificate of a party at `now`, Unix seconds: some words, or none."""
    return _WORDS.get(_why_not(trust, party, now), "")


def reasons_text(absent: Mapping[str, str]) -> str:
    """Why a plan cannot name these members, as `survey` found, in words."""
    reasons = sorted(set(absent.values()))
    return "; ".join(f"{why} {', '.join(id for id in sorted(absent) if absent[id] == why)}" for why in reasons)


def absence_text(absent: Mapping[str, str]) -> str:
    """The same of members who were in the first round and are needed in all others, with what to do."""
    gone = {id: why for id, why in absent.items() if why in _GONE}
    others = {id: why for id, why in absent.items() if why not in _GONE}
    texts = [f"{reasons_text(others)}: their clients have to run and send new ones"] if others else []
    if gone:
        texts.append(
            f"{reasons_text(gone)}: who takes part was fixed by the first round, for sums over fewer could give "
            "somebody away; the authority can enrol them again under their names, else these rounds end here"
        )
    return "; ".join(texts)
