"""Who would take part in a round: the newest offer of every member, and the prekeys that it named (SPEC section 16)."""

from collections.abc import Collection, Mapping
from typing import Any

from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.crypto.certificates import Purpose, check_leaf
from fedspallm_secure.crypto.encoding import decode_base64, encode_base64
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import TrustError
from fedspallm_secure.protocol.offers import Offer
from fedspallm_secure.protocol.plan import plan_rounds
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.rounds.plans import Sampling
from fedspallm_secure.pruning.patterns import parse_target

Bundles = Mapping[str, tuple[Prekeys, int]]


def rounds_drawn(sampling: Sampling) -> int:
    """How many rounds these cohorts are drawn for, whatever the seed.  Raises PlanRefused, UsageError."""
    schedule = [parse_target(target) for target in sampling.schedule]
    budgets = dict(sampling.budgets)
    drawn = plan_rounds(sampling.layers, budgets, schedule, sampling.min_cohort, bytes(32), sampling.spread)
    return len(drawn)


class Candidates:
    """Offers and prekeys, as the server keeps them from round to round.

    waiting: why no round can begin, in words.
    """

    def __init__(self, post: Post, members: Collection[str], least: int, open_after: int) -> None:
        """members: ids of those awaited, empty for all of the roster; least: how many are enough, `open_after` seconds
        after the last of them has offered, 0 for never.
        """
        self.waiting = ""
        self._post = post
        self._members = tuple(members)
        self._least = least
        self._open_after = open_after

    def on_offer(self, sender: Party, offer: Offer) -> None:
        """The newest offer of a member counts."""
        value = {"layers": offer.layers, "bundle": offer.bundle, "software": offer.software, "at": self._post.now()}
        self._post.remember("offer", sender.id, value)

    def on_prekeys(self, sender: Party, bundle: Prekeys) -> None:
        """Keep a bundle that the members would accept, as far as one can tell before a plan (check P9)."""
        leaf = self._post.trust.roster.entry(sender).leaf
        bundle.check(leaf.public, self._post.trust.roster.federation, sender)
        bundle.check_time(self._post.now())
        digest = bundle.statement.digest.hex()
        if self._post.journal.recall("bundle", digest) is None:
            self._post.remember("bundle", digest, encode_base64(bundle.encode()))
            self._post.remember("next prekey", digest, bundle.first)

    def budgets(self, layers: int) -> dict[str, int] | None:
        """Layers of everybody who takes part, once and for all; None while too few have offered to.

        layers: of the model, the most that anybody prunes.
        """
        fixed = self._post.journal.recall("members", "*")
        if fixed is not None:
            return dict(fixed)
        offers = self._post.journal.recall_all("offer")
        roster = [one.party.id for one in self._post.trust.roster.entries if one.party.role is Role.MEMBER]
        wanted = self._members or tuple(roster)
        there = self.bundles({id: 0 for id in wanted if id in offers})
        missing = [id for id in wanted if id not in there]
        if missing and not self._late_enough(offers, len(there)):
            self.waiting = f"waiting for {', '.join(missing)} to offer to take part"
            return None
        return {id: min(offers[id]["layers"] or layers, layers) for id in there}

    def _late_enough(self, offers: Mapping[str, Any], there: int) -> bool:
        """Whether enough have offered, long enough ago, to begin without the others."""
        if self._open_after == 0 or there < self._least:
            return False
        times = sorted(offer["at"] for offer in offers.values())
        return bool(self._post.now() >= times[self._least - 1] + self._open_after)

    def bundles(self, members: Collection[str]) -> Bundles:
        """Of those members whom a plan can name now: the bundle that they offered, and its next prekey."""
        found: dict[str, tuple[Prekeys, int]] = {}
        for id in sorted(members):
            offer = self._post.journal.recall("offer", id)
            text = None if offer is None else self._post.journal.recall("bundle", offer["bundle"])
            if text is None:
                continue
            bundle = Prekeys.parse(decode_base64(text, "a bundle"))
            index = self._post.journal.recall("next prekey", offer["bundle"])
            if index < bundle.first + len(bundle.leaves) and self._is_valid(bundle):
                found[id] = bundle, index
        return found

    def _is_valid(self, bundle: Prekeys) -> bool:
        trust, now = self._post.trust, self._post.now()
        try:
            leaf = trust.roster.entry(bundle.party).leaf
            check_leaf(leaf.der, trust.root, bundle.party, Purpose.SIGNING, now, trust.crl)
            bundle.check_time(now)
        except TrustError:
            return False
        return True
