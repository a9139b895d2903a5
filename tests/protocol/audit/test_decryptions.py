"""What a log has of a round with a key holder: its order, what an audit accepts, and what it finds."""

from copy import deepcopy

import pytest

from fedspallm_secure.errors import AuditGrammar
from fedspallm_secure.protocol.audit.entries import Entry, EntryType, read_head
from fedspallm_secure.protocol.audit.grammar import Grammar
from fedspallm_secure.protocol.audit.recording import drafts_of
from fedspallm_secure.protocol.rounds.records_server import ListMade
from fedspallm_secure.protocol.rounds.survivors import EndCode, Ended
from fedspallm_secure.secagg.thresholds import Profile
from tests.protocol.audit.kit import KEY_HOLDERS, Kit, valid_log
from tests.protocol.audit.samples import GOOD, entry
from tests.protocol.audit.test_verifying import ALL, audit, failed
from tests.protocol.rounds.member_stage import HOLDER
from tests.protocol.rounds.test_server_decrypting import ROOT, Played, challenge, response

T = EntryType


def kit() -> Kit:
    return valid_log(profile=Profile.ONE_TRIP, shows=False)


def begun(**setting) -> Kit:
    """A round up to the moment at which sums are shown."""
    made = Kit(profile=Profile.ONE_TRIP, shows=False, **setting)
    for group in made.open().groups:
        for member in group.cohort:
            made.contribute(member, group.gid)
    made.list_survivors()
    made.add(T.UNMASK_REQUEST, recipients=[])
    return made


def test_a_round_with_a_key_holder_passes():
    made = valid_log(profile=Profile.ONE_TRIP)
    report = audit(made, receipts=tuple(made.log.receipts))
    assert [step.name for step in report.steps if step.passed] == ALL, [step.findings[:2] for step in report.steps]
    assert report.rounds == 2


def test_a_group_that_was_never_decrypted_may_end_and_the_other_goes_on():
    made = begun()
    made.challenge(0)
    made.decrypt(0)
    made.challenge(1)
    made.add(T.GROUP_ENDED, group=1, code=EndCode.TOO_FEW_RESPONSES.value, named=[])
    made.conclude((), [Ended(1, EndCode.TOO_FEW_RESPONSES)])
    report = audit(made, receipts=tuple(made.log.receipts))
    assert [step.name for step in report.steps if step.passed] == ALL


# What is found


def not_decrypted(made: Kit) -> set[int]:
    made.challenge(0)
    made.decrypt(0)
    made.challenge(1)
    return {made.conclude(())}


def not_looked_into(made: Kit) -> set[int]:
    made.challenge(0)
    wrong = made.decrypt(1)
    made.decrypt(0)
    made.challenge(1)
    made.conclude(())
    return {wrong}


def challenged_by_another(made: Kit) -> set[int]:
    wrong = made.challenge(0, KEY_HOLDERS[1])
    for gid in (0, 1):
        made.challenge(gid)
        made.decrypt(gid)
    made.conclude(())
    return {wrong}


def decrypted_by_another(made: Kit) -> set[int]:
    for gid in (0, 1):
        made.challenge(gid)
        made.decrypt(gid)
    wrong = made.decrypt(0, KEY_HOLDERS[1])
    made.conclude(())
    return {wrong}


def of_a_group_that_is_not_listed(made: Kit) -> set[int]:
    for gid in (0, 1):
        made.challenge(gid)
        made.decrypt(gid)
    wrong = made.challenge(7)
    made.conclude(())
    return {wrong}


def of_a_group_that_ended(made: Kit) -> set[int]:
    made.challenge(0)
    made.decrypt(0)
    made.add(T.GROUP_ENDED, group=1, code=EndCode.TOO_FEW_RESPONSES.value, named=[])
    wrong = made.challenge(1)
    made.conclude((), [Ended(1, EndCode.TOO_FEW_RESPONSES)])
    return {wrong}


FORGERIES = (
    not_decrypted,
    not_looked_into,
    challenged_by_another,
    decrypted_by_another,
    of_a_group_that_is_not_listed,
    of_a_group_that_ended,
)


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_v8_finds(forge):
    made = begun()
    expected = forge(made)
    report = audit(made)
    assert failed(report) == {"V8": expected}, [(one.name, one.findings[:3]) for one in report.steps]


def test_v8_finds_a_key_holder_where_the_plan_names_none():
    made = Kit(shows=False, profile=Profile.TWO_TRIP, key_holders=KEY_HOLDERS)
    for group in made.open().groups:
        for member in group.cohort:
            made.contribute(member, group.gid)
    made.list_survivors()
    made.add(T.UNMASK_REQUEST, recipients=sorted(made.members))
    wrong = {made.challenge(0), made.decrypt(0)}
    for member in made.members:
        made.answer(member)
    made.conclude(made.members)
    assert failed(audit(made)) == {"V8": wrong}


def test_a_head_of_another_group_or_another_type_is_found():
    for change in ({"group": 1}, {"package": "ab" * 32}):
        made = kit()
        index = made.log.find(T.DECRYPT_CHALLENGE, 1)
        made.log.put(index, change)
        assert index in failed(audit(made))["V4"]
    made = kit()
    challenge, response = made.log.find(T.DECRYPT_CHALLENGE, 1), made.log.find(T.DECRYPT_RESPONSE, 1)
    data = made.log.entry(challenge).data
    made.log.put(response, {name: data[name] for name in ("package", "head")})
    assert response in failed(audit(made))["V4"]


# The order

HOW = {
    "O": T.ROUND_OPEN,
    "P": T.PLAN,
    "S": T.SURVIVORS,
    "Q": T.UNMASK_REQUEST,
    "c": T.DECRYPT_CHALLENGE,
    "d": T.DECRYPT_RESPONSE,
    "R": T.RESULT,
}


def taken(word: str, groups: dict[int, int] | None = None) -> Grammar:
    """A round that goes like this.  groups: place in the word -> group, 0 elsewhere."""
    grammar = Grammar()
    grammar.take(entry(T.GENESIS))
    for seq, letter in enumerate(word, 1):
        grammar.take(made_of(letter, seq, (groups or {}).get(seq - 1, 0)))
    return grammar


def made_of(letter: str, seq: int, group: int = 0) -> Entry:
    kind = HOW[letter]
    return entry(kind, seq, 1, data={**GOOD[kind][1], **({"group": group} if letter in "cd" else {})})


@pytest.mark.parametrize(
    ("word", "groups"),
    [("OPSQcdR", {}), ("OPSQccdd", {5: 1, 6: 1}), ("OPSQcdcd", {6: 1, 7: 1}), ("OPSQccR", {5: 1})],
)
def test_orders_that_are_allowed(word, groups):
    taken(word, groups)


@pytest.mark.parametrize(
    "word",
    ["OPc", "OPSc", "OPSQd", "OPSQcc", "OPSQcdd", "OPSQcdRc", "OPSQcdRd", "OPSQRc"],
)
def test_orders_that_are_not(word):
    grammar = taken(word[:-1])
    before = deepcopy(grammar.rounds)
    with pytest.raises(AuditGrammar):
        grammar.take(made_of(word[-1], len(word)))
    assert grammar.rounds == before


# What a server writes down of its own


def test_the_records_of_a_round_give_its_entries():
    play = Played()
    drafts = [
        draft for record in play.records if isinstance(record, ListMade) for draft in drafts_of(record, play.server)
    ]
    assert [draft.type for draft in drafts] == [T.SURVIVORS, T.UNMASK_REQUEST]
    assert drafts[1].data == {"recipients": []}, "no member is asked for anything"
    for given, take, kind in (
        (challenge(), lambda found: play.server.on_challenge(found, ROOT), T.DECRYPT_CHALLENGE),
        (response(), play.server.on_decrypted, T.DECRYPT_RESPONSE),
    ):
        (record,) = take(given).records
        (draft,) = drafts_of(record, play.server, given.head)
        assert (draft.type, draft.actor, draft.documents) == (kind, HOLDER, ())
        assert draft.data["group"] == 0 and draft.data["package"] == given.head.digest.hex()
        assert read_head(draft.data["head"]).digest == given.head.digest
