"""Steps V6 and V8: plans follow their rules, survivor lists follow contributions, and results follow from both."""

from dataclasses import dataclass, field

from fedspallm_secure.crypto.encoding import decode_base64
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.protocol.audit.entries import Entry, EntryType
from fedspallm_secure.protocol.audit.known_parties import KnownParties
from fedspallm_secure.protocol.audit.policies import TrustPolicy
from fedspallm_secure.protocol.audit.reports import Findings
from fedspallm_secure.protocol.audit.verifying_entries import EntryChecks
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plan_checks import check_cohorts, check_thresholds
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.survivors import EndCode, SurvivorList, check_endorsement
from fedspallm_secure.protocol.rounds.unmask_checks import endorsements_needed
from fedspallm_secure.secagg.thresholds import Profile, quorum


@dataclass(slots=True)
class _Round:
    plan: Plan
    deals: dict[tuple[int, str], str] = field(default_factory=dict)  # group, member -> deal
    listed: SurvivorList | None = None
    endorsers: set[Party] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    responders: set[str] = field(default_factory=set)
    challenged: set[int] = field(default_factory=set)  # groups
    decrypted: set[int] = field(default_factory=set)
    ended: dict[int, tuple[str, tuple[str, ...]]] = field(default_factory=dict)  # group -> code, who is named
    named: dict[int, set[str]] = field(default_factory=dict)  # group -> who may be left out of its list
    result: str = ""

    def group(self, gid: int) -> GroupPlan | None:
        return next((group for group in self.plan.groups if group.gid == gid), None)


class RoundChecks:
    """Looks at the entries of rounds in their order.

    contributions: round, group, member -> package, deal, index, of all rounds.
    """

    def __init__(self, parties: KnownParties, findings: Findings) -> None:
        self.contributions: dict[tuple[int, int, str], tuple[str, str, int]] = {}
        self._parties, self._findings = parties, findings
        self._round: _Round | None = None
        self._bundles: dict[str, Prekeys] = {}
        self._used: set[tuple[str, int]] = set()
        self._witnesses = 1  # how many have to endorse

    def take(self, entry: Entry, checks: EntryChecks) -> None:
        """One more entry.  checks: with what stands in its document."""
        data, round = entry.data, self._round
        if entry.type is EntryType.CONTRIBUTION:
            place = entry.round, data["group"], entry.actor.id
            self.contributions[place] = data["package"], data["deal"], entry.seq
        if entry.type is EntryType.WITNESSES and isinstance(checks.opened, TrustPolicy):
            self._witnesses = max(quorum(len(data["note_keys"]), 0), _threshold(checks.opened))
        if entry.type is EntryType.PREKEYS and isinstance(checks.opened, Prekeys):
            self._bundles[data["hash"]] = checks.opened
        if entry.type is EntryType.PLAN:
            self._round = _Round(checks.opened) if isinstance(checks.opened, Plan) else None
            if self._round is not None:
                self._check_plan(entry, self._round.plan)
        if round is None or round.plan.round != entry.round:
            return
        match entry.type:
            case EntryType.CONTRIBUTION:
                self._check_contribution(entry, round)
            case EntryType.SURVIVORS if isinstance(checks.opened, SurvivorList):
                round.listed = checks.opened
                self._check_list(entry, round, checks.opened)
            case EntryType.ENDORSEMENT:
                self._check_endorsement(entry, round)
            case EntryType.UNMASK_REQUEST:
                self._check_request(entry, round)
            case EntryType.UNMASK_RESPONSE:
                if entry.actor.id not in round.asked:
                    self._wrong("V8", entry, f"{entry.actor} was not asked")
                round.responders.add(entry.actor.id)
            case EntryType.DECRYPT_CHALLENGE:
                self._check_decryption(entry, round)
                round.challenged.add(data["group"])
            case EntryType.DECRYPT_RESPONSE:
                self._check_decryption(entry, round)
                if data["group"] not in round.challenged:
                    self._wrong("V8", entry, "the key holder decrypted a sum that it did not look into")
                round.decrypted.add(data["group"])
            case EntryType.GROUP_ENDED:
                round.ended[data["group"]] = data["code"], tuple(data["named"])
            case EntryType.COMPLAINT if data["check"] == "S8":
                round.named.setdefault(data["group"], set()).update(data["guilty"], data["suspects"])
            case EntryType.RESULT if isinstance(checks.opened, Result):
                round.result = checks.opened.hash
                self._check_result(entry, round, checks.opened)
            case EntryType.MODEL if data["result"] != round.result:
                self._wrong("V8", entry, "it is made of another result than that of the round")

    def _wrong(self, step: str, entry: Entry, text: str) -> None:
        self._findings.add(step, f"entry {entry.seq}, {entry.type.value}: {text}", entry.seq)

    # V6

    def _check_plan(self, entry: Entry, plan: Plan) -> None:
        roster = self._parties.roster
        try:
            check_thresholds(plan)
            check_cohorts(plan)
        except FedSpaError as error:
            self._wrong("V6", entry, str(error))
        members = set() if roster is None else {one.party.id for one in roster.entries if one.party.role is Role.MEMBER}
        if roster is not None and plan.roster != roster.hash:
            self._wrong("V6", entry, "it was made under another roster than the newest one")
        for group in plan.groups:
            if strangers := sorted(set(group.cohort) - members):
                self._wrong("V6", entry, f"group {group.gid} has {', '.join(strangers)}, not in the roster")
        for use in plan.prekeys:
            bundle = self._bundles.get(use.bundle)
            if bundle is None or bundle.party.id != use.id:
                self._wrong("V6", entry, f"the log does not have the prekeys that it names for {use.id}")
            elif not bundle.first <= use.index < bundle.first + len(bundle.leaves):
                self._wrong("V6", entry, f"the prekeys of {use.id} have no number {use.index}")
            elif (use.bundle, use.index) in self._used:
                self._wrong("V6", entry, f"prekey {use.index} of {use.id} was named by an earlier plan")
            self._used.add((use.bundle, use.index))

    def _check_contribution(self, entry: Entry, round: _Round) -> None:
        group = round.group(entry.data["group"])
        if group is None or entry.actor.id not in group.cohort:
            self._wrong("V6", entry, f"{entry.actor} is not in the cohort of group {entry.data['group']}")
        round.deals[entry.data["group"], entry.actor.id] = entry.data["deal"]

    def _check_list(self, entry: Entry, round: _Round, listed: SurvivorList) -> None:
        there = {group.gid for group in listed.groups} | {end.gid for end in listed.ended}
        if there != {group.gid for group in round.plan.groups}:
            self._wrong("V6", entry, "its groups are not those of the plan")
        for end in listed.ended:
            round.ended[end.gid] = end.code.value, end.named
            group, left = round.group(end.gid), self._in_dispute_with_nobody(round, end.gid)
            if end.code is EndCode.TOO_FEW_CONTRIBUTIONS and group is not None and len(left) >= group.survivors:
                self._wrong("V6", entry, f"group {end.gid} ended, and enough contributed to it")
        for found in listed.groups:
            for member in found.members:
                if round.deals.get((found.gid, member.id)) != member.deal:
                    self._wrong("V6", entry, f"no contribution of {member.id} to group {found.gid} with this deal")
            if gone := sorted(self._in_dispute_with_nobody(round, found.gid) - set(found.ids)):
                text = f"{', '.join(gone)} contributed to group {found.gid}, and is left out without a complaint"
                self._wrong("V6", entry, text)
            group = round.group(found.gid)
            if group is not None and len(found.members) < group.survivors:
                self._wrong("V6", entry, f"group {found.gid} has fewer members than n_min, {group.survivors}")

    @staticmethod
    def _in_dispute_with_nobody(round: _Round, gid: int) -> set[str]:
        """S8: who contributed to a group, and cannot be left out of its list."""
        return {member for group, member in round.deals if group == gid} - round.named.get(gid, set())

    # V8

    def _check_endorsement(self, entry: Entry, round: _Round) -> None:
        listed = round.listed
        if listed is None or entry.data["survivors"] != listed.hash:
            self._wrong("V8", entry, "it is for another list")
            return
        try:
            public = self._parties.public(entry.actor, entry.at)
            check_endorsement(public, listed, decode_base64(entry.data["signature"], "the signature"))
        except FedSpaError as error:
            self._wrong("V8", entry, str(error))
            return
        round.endorsers.add(entry.actor)

    def _check_request(self, entry: Entry, round: _Round) -> None:
        listed = round.listed
        survivors = set() if listed is None else {id for group in listed.groups for id in group.ids}
        round.asked = set(entry.data["recipients"])
        if strangers := sorted(round.asked - survivors):
            self._wrong("V8", entry, f"{', '.join(strangers)} asked, who survived in no group")
        if listed is None:
            return
        for found in listed.groups:
            group = round.group(found.gid)
            if found.gid not in round.ended and group is not None and not self._endorsed(round, group, found.ids):
                self._wrong("V8", entry, f"group {found.gid} goes on with too few endorsements of its list")

    def _endorsed(self, round: _Round, group: GroupPlan, survivors: tuple[str, ...]) -> bool:
        """Q2: whether so many signed the list that no other list can have as many."""
        match round.plan.profile:
            case Profile.TWO_TRIP | Profile.ONE_TRIP:
                return True
            case Profile.WITNESSED:
                signed = sum(party.role is Role.WITNESS for party in round.endorsers)
                return signed >= self._witnesses
            case _:
                ids = {party.id for party in round.endorsers if party.role is Role.MEMBER}
                return len(ids & set(survivors)) >= endorsements_needed(group, round.plan.colluders)

    def _check_decryption(self, entry: Entry, round: _Round) -> None:
        use, listed, gid = round.plan.key_holder, round.listed, entry.data["group"]
        if use is None or entry.actor != use.party:
            self._wrong("V8", entry, f"the plan does not ask {entry.actor} to decrypt anything")
        if listed is None or listed.group(gid) is None or gid in round.ended:
            self._wrong("V8", entry, f"group {gid} does not go on")

    def _check_result(self, entry: Entry, round: _Round, result: Result) -> None:
        listed = round.listed
        if listed is None or result.survivors != listed.hash:
            self._wrong("V8", entry, "it is for another survivor list than that of the round")
            return
        if not set(result.answered) <= round.responders:
            silent = sorted(set(result.answered) - round.responders)
            self._wrong("V8", entry, f"it names answers of {', '.join(silent)} that the log does not have")
        going_on = {group.gid: group for group in listed.groups if group.gid not in round.ended}
        if {group.gid for group in result.groups} != going_on.keys():
            self._wrong("V8", entry, "its groups are not those of the list that did not end")
        if {end.gid: (end.code.value, end.named) for end in result.ended} != round.ended:
            self._wrong("V8", entry, "the groups that it says ended are not those that the log says")
        for found in result.groups:
            group, survivors = round.group(found.gid), going_on.get(found.gid)
            if group is None or survivors is None:
                continue
            if found.survivors != len(survivors.members) or found.weights != group.weights:
                self._wrong("V8", entry, f"the numbers of group {found.gid} are not those of plan and list")
            if round.plan.key_holder is not None:
                if found.gid not in round.decrypted:
                    self._wrong("V8", entry, f"the log does not have that the sum of group {found.gid} was decrypted")
                continue
            if len(set(result.answered) & set(survivors.ids)) < group.shares:
                self._wrong("V8", entry, f"group {found.gid} has fewer answers than t, {group.shares}")


def _threshold(policy: TrustPolicy) -> int:
    """How many of its witnesses a policy as `make_policy` writes it asks for; it makes the same quorum of them."""
    group = policy.groups.get(policy.quorum)
    return 0 if group is None else group.threshold
