"""The story of a log: who did what when, who fell silent where, and what could not be read."""

import pytest

from fedspallm_secure.app.audit.course import Silence, silences, stages, story_dict
from fedspallm_secure.app.audit.sayings import entries, lasted, moment, names, say
from fedspallm_secure.app.audit.timeline import read_story
from fedspallm_secure.errors import MissingInput
from fedspallm_secure.protocol.audit.entries import Entry, EntryType
from tests.app.audit.written import BEGIN, COHORT, HASH, Written, head, whole_log
from tests.protocol.rounds.test_plans import PLAN


def story_of(log, size=None):
    return read_story(log, "a/log/hub", len(log.bodies) if size is None else size, lambda done, total: None)


@pytest.fixture(scope="module")
def log():
    return whole_log()


@pytest.fixture(scope="module")
def story(log):
    return story_of(log)


def test_rounds_and_what_is_outside_of_them(log, story):
    assert not story.unread
    assert [line.type for line in story.outside] == [EntryType.GENESIS]
    assert list(story.rounds) == [1, 2]
    first, second = story.rounds.values()
    assert [line.index for line in first.lines + second.lines] == list(range(1, len(log.bodies)))
    assert (first.state, second.state) == ("finished", "no result")
    assert second.abort == "TOO_FEW_CONTRIBUTIONS" and second.ended == second.lines[-1].at
    assert first.members == list(COHORT) and first.counted == ["east", "mid", "north"]
    assert first.hashes[EntryType.PLAN] == PLAN.hash
    assert [file["name"] for file in first.files] == ["model.safetensors"]
    assert sum(line.size for line in first.of(EntryType.CONTRIBUTION)) > 7 * (5 << 20)


def test_who_fell_silent_where(story):
    assert silences(story.rounds[1]) == [
        Silence("east", "did not sign the list"),
        Silence("mid", "sent a vector that was refused by check S4", (4,)),
        Silence("north", "did not help to open the sums"),
        Silence("south", "sent a vector that is in no sum", (3,)),
        Silence("west", "sent no vector"),
    ]
    assert {silence.member for silence in silences(story.rounds[2])} == {"east", "mid", "north", "south", "west"}


def test_who_was_refused_or_declined_did_not_just_send_nothing():
    log = Written()
    log.begin()
    log.open_round(1)
    refused = {"type": "contribution", "package": HASH}
    for member, group, check in (("east", "3", "S4"), ("east", "4", "S6"), ("mid", "3", ""), ("south", "3", "S2")):
        shown = head(member, "contribution", group)
        log.add(EntryType.REFUSAL, f"member/{member}", **refused, group=group, check=check, head=shown)
    log.hand_in("south", 3)  # once more, whole
    log.hand_in("south", 4)
    decline = {"type": "decline", "group": "*", "package": HASH, "head": head("north", "decline")}
    log.add(EntryType.REFUSAL, "member/north", **decline, check="P14")
    log.list_up({3: ("south",), 4: ("south",)})
    assert silences(story_of(log).rounds[1]) == [
        Silence("east", "sent a vector that was refused by check S4", (3,)),
        Silence("east", "sent a vector that was refused by check S6", (4,)),
        Silence("mid", "sent a vector too late", (3,)),
        Silence("mid", "sent no vector", (4,)),
        Silence("north", "declined the plan by check P14"),
        Silence("west", "sent no vector"),
    ]


def test_nobody_is_silent_while_the_round_goes_on():
    log = Written()
    log.begin()
    log.open_round(1)
    log.hand_in("east", 3)
    found = story_of(log).rounds[1]
    assert silences(found) == [] and found.state == "not finished" and found.ended is None
    assert stages(found) == [("collecting", BEGIN + 30, None)]


def test_nobody_has_to_sign_where_witnesses_do():
    log = Written()
    log.begin()
    log.open_round(1)
    for member in COHORT:
        log.hand_in(member, 3)
        log.hand_in(member, 4)
    log.list_up({3: COHORT, 4: COHORT})
    log.sign_list("witness/wyn")
    log.add(EntryType.UNMASK_REQUEST, recipients=list(COHORT))
    assert silences(story_of(log).rounds[1]) == []


def test_stages_follow_each_other(story):
    found = story.rounds[1]
    spans = stages(found)
    assert [name for name, _, _ in spans] == ["collecting", "agreeing on the list", "opening the sums"]
    assert [end for _, _, end in spans] == [spans[1][1], spans[2][1], found.ended]


@pytest.mark.parametrize(
    ("type", "words"),
    [
        (EntryType.CONTRIBUTION, "east handed in its vector for layer 3 (5.0 MiB)"),
        (EntryType.REFUSAL, "a contribution of member/mid for layer 4 was not taken: it failed check S4"),
        (EntryType.COMPLAINT, "layer 4 does not pass check U3: south did it; it was one of mid and north"),
        (
            EntryType.GROUP_ENDED,
            "layer 4 ended without a sum: somebody's shares do not open what they were dealt for (south)",
        ),
        (EntryType.ENDORSEMENT, "member/mid signed the list"),
        (EntryType.UNMASK_REQUEST, "east, mid and north were asked to help open the sums"),
        (EntryType.MODEL, "the model of this result was written: 1 file, 3.0 GiB"),
        (EntryType.RETENTION, "the answers of the round were deleted: <b>asked & granted</b>"),
    ],
)  # fmt: skip
def test_words(story, type, words):
    assert story.rounds[1].of(type)[0].text == words


def test_every_type_has_words():
    log = Written()
    log.begin()
    log.add(EntryType.ROSTER, version=2, hash=HASH, document=HASH)
    log.add(EntryType.CERTIFICATE, "witness/wyn", key=HASH, not_before=BEGIN, not_after=BEGIN + 86_400)
    log.add(EntryType.REVOCATIONS, number=4, document=HASH)
    log.add(EntryType.SOFTWARE, name="fedspallm-secure/1")
    log.add(EntryType.WITNESSES, policy=HASH, note_keys=[HASH])
    log.add(EntryType.PREKEYS, "member/north", hash=HASH, document=HASH)
    log.round = 1
    log.add(EntryType.EQUIVOCATION, "member/north", heads=[head("north", "offer"), head("north", "offer", size=1)])
    for kind in (EntryType.DECRYPT_CHALLENGE, EntryType.DECRYPT_RESPONSE):
        log.add(kind, "key-holder/vault", group=3, package=HASH, head=head("north", kind.value))
    said = {entry.type: say(entry) for entry in map(Entry.parse, log.bodies + whole_log().bodies)}
    assert set(said) == set(EntryType)
    assert said[EntryType.CERTIFICATE] == "witness/wyn has a new certificate, from 2027-01-15 to 2027-01-16"
    assert said[EntryType.EQUIVOCATION] == "member/north made two different packages under one number"
    assert said[EntryType.DECRYPT_RESPONSE] == "key-holder/vault decrypted the sum of layer 3"
    assert all("\xa0" not in text for text in said.values())


def test_a_plan_that_was_declined_is_no_package_that_was_not_taken():
    log = Written()
    shown = head("north", "decline")
    log.round = 1
    log.add(EntryType.REFUSAL, "member/north", type="decline", group="*", package=HASH, check="P14", head=shown)
    assert say(Entry.parse(log.bodies[0])) == "member/north declined the plan by check P14"


def test_what_cannot_be_read_is_listed_and_the_rest_is_told(log):
    torn = Written(list(log.bodies), dict(log.documents))
    torn.bodies[3] = b"{}"
    name = Entry.parse(torn.bodies[2]).data["document"]
    torn.documents[name] = b"another plan"
    found = story_of(torn)
    assert len(found.unread) == 3  # the entry, and the plan of both rounds
    assert found.unread[0].startswith("the plan of round 1") and found.unread[1].startswith("entry 3")
    assert found.rounds[1].plan is None and found.rounds[1].members == ["east", "mid", "north", "south"]
    assert silences(found.rounds[1])[0].stage == "did not sign the list"
    del torn.documents[name]
    assert "no document" in story_of(torn).unread[0]


def test_missing_entries_are_an_error(log):
    with pytest.raises(MissingInput):
        story_of(log, len(log.bodies) + 1)


def test_plain_data(story):
    found = story_dict(story)
    assert [one["round"] for one in found["rounds"]] == [1, 2]
    first = found["rounds"][0]
    assert first["counted"] == ["east", "mid", "north"] and first["answered"] == ["east", "mid"]
    assert {"member": "mid", "stage": "sent a vector that was refused by check S4", "groups": [4]} in first["silent"]
    assert first["entries"][2] | {"bytes": 0} == {
        "index": 3, "at": first["entries"][2]["at"], "who": "member/east", "type": "contribution",
        "text": "east handed in its vector for layer 3 (5.0 MiB)", "bytes": 0, "group": 3,
    }  # fmt: skip


def test_spelling():
    assert names([]) == "nobody"
    assert names(["a", "b", "c"], 2) == "a, b and 1 more"
    assert entries([4]) == "entry 4" and entries([1, 2, 7]) == "entries 1, 2 and 7"
    assert moment(BEGIN) == "2027-01-15 08:00:00 UTC"
    assert lasted(7) == "7\xa0s" and lasted(3600) == "1\xa0h\xa000\xa0min"
