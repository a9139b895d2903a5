"""Plans that members would decline by what they offered: no round begins that could not give a sum."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from fedspallm_secure.app.stations.handed_in import _of_list, past_of
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.secagg.thresholds import Profile
from tests.stationary import DIGEST, HOUR, HUB, SERVER, Stations, an_offer

RULES = [
    ({"least_cohort": 6}, "P7: the cohort of layer 0 has 5 members; I ask for 6"),
    ({"beacons": ("notary",)}, "P8: the seed was not drawn by the beacons of my policy"),
    ({"upload_limit": 100}, "P11: I would have to send"),
    ({"horizon": HOUR}, "P14: the round may last longer than 3600 seconds"),
    ({"pruners": frozenset({"wanda"})}, "P14: I do not prune with sparsegpt"),
]
NORTH, EAST = Party.parse("member/north"), Party.parse("member/east")
NEEDED = ("north", "south", "west")  # of five, one may be missing


def open_federation(tmp_path, **setting):
    return Stations(tmp_path / "federation", **{"members": 5, "layers": 1, **setting})


def offers(found, names, rules):
    """These have such policies, and offer so."""
    for name in names:
        found.members[name].policy = replace(found.policy, **rules)
        found.members[name].renew()
        found.offer(name)


def say(found, name, *, model=DIGEST, spent=False):
    station = found.members[name]
    offer = replace(an_offer(station.bundle, station.policy), model=model, spent=spent)
    with station.post.at_once():
        station.post.send("offer", SERVER, [offer.encode()])


def prekeys_used(found):
    journal = found.server.post.journal
    return sum(journal.recall_all("next prekey").values()) - sum(
        member.bundle.first for member in found.members.values()
    )


def test_no_round_begins_that_those_who_are_needed_would_decline(tmp_path):
    with open_federation(tmp_path) as found:
        for rules, text in RULES:
            offers(found, NEEDED, rules)
            found.run()
            assert found.server.station is None and found.server.post.journal.last_round() == 0
            assert f"north, south, west would decline it by {text}" in found.server.waiting
            assert sorted(found.server.post.awaited) == list(NEEDED)
            assert f"no round can begin: north would decline it by {text}" in found.server.post.why_awaited(NORTH)
        assert prekeys_used(found) == 0
        assert found.server.post.journal.recall("given up", "*") is None
        namesake = Party.parse("witness/north")
        assert [found.server.post.why_awaited(one) for one in (EAST, namesake)] == ["", ""], (
            "it is of no concern to them"
        )
        offers(found, NEEDED, {})
        found.run()
        assert found.model.done == [1] and found.server.post.why_awaited(NORTH) == ""
        assert all(not member.told for member in found.members.values())


def test_who_is_not_needed_stops_nobody(tmp_path):
    with open_federation(tmp_path) as found:
        offers(found, ("north",), {"pruners": frozenset({"wanda"})})
        found.wait()
        assert found.model.done == [1]
        assert [error.check for _, error in found.members["north"].told] == ["P14"]


def test_another_model_is_noticed_before_anybody_prunes(tmp_path):
    with open_federation(tmp_path) as found:
        for name in NEEDED:
            say(found, name, model="cd" * 32)
        found.run()
        assert "north, south, west would decline it by P10: its model is another one, cdcdcdcd" in found.server.waiting
        assert prekeys_used(found) == 0
        for name in NEEDED:
            say(found, name)
        found.run()
        assert found.model.done == [1]


def test_a_privacy_budget_that_is_spent_begins_no_round_and_does_not_end_one_that_was_begun(tmp_path):
    with open_federation(tmp_path) as found:
        for name in NEEDED:
            say(found, name, spent=True)
        found.run()
        assert found.server.post.journal.last_round() == 0
        assert "north, south, west would decline it by P14: its privacy budget is spent" in found.server.waiting
        for name in NEEDED:
            say(found, name)
        found.carry()
        found.server.work_through()
        assert found.server.tick()
        found.server.abort()
        for name in NEEDED:
            say(found, name, spent=True)
        found.run()
        assert found.model.done == [2], "what was paid for may be used when a round is tried again"


def test_a_layer_is_not_released_more_often_than_a_policy_has_it(tmp_path):
    with open_federation(tmp_path, schedule=("1/4", "1/2"), prekeys=4) as found:
        offers(found, NEEDED, {"epochs": 1})
        found.run()
        assert found.model.done == [1]
        assert "by P13: its policy has epochs = 1, and layer 0 was released so often" in found.server.waiting
        offers(found, NEEDED, {"epochs": 2})
        found.run()
        assert found.model.done == [1, 2]


@pytest.mark.parametrize(("believed", "begins"), [(("wyn", "yva"), True), (("yva", "zed"), False)])
def test_witnesses_of_a_policy_have_to_be_those_of_the_server(tmp_path, believed, begins):
    setting = {"profile": Profile.WITNESSED, "witnesses": ("wyn", "xan", "yva"), "dishonest": 0}
    with open_federation(tmp_path, **setting) as found:
        offers(found, found.names, {"witnesses": believed, "dishonest": 1})
        found.run()
        assert (found.model.done == [1]) is begins
        assert ("by Q2: 2 of its witnesses, yva, zed, would have to endorse" in found.server.waiting) is not begins


def contributed(found, *names):
    """The round opens, these contribute, and the operator ends it."""
    found.carry()
    found.server.work_through()
    assert found.server.tick()
    found.carry()
    for name in names:
        member = found.members[name]
        member.work_through()
        for group in member.due():
            member.contribute_layer(group)
    found.carry()
    found.server.work_through()
    found.server.abort()
    while found.server.station is not None:
        found.server.tick()


def test_who_had_a_part_in_these_weights_and_who_would_decline_are_missing_together(tmp_path):
    with open_federation(tmp_path, attempts=5) as found:
        contributed(found, "north")
        offers(found, ("south",), {"pruners": frozenset({"wanda"})})
        found.run()
        assert found.server.post.journal.last_round() == 1
        assert "south would decline it by P14: I do not prune with sparsegpt" in found.server.waiting
        offers(found, ("south",), {})
        found.run()
        assert found.model.done == [2], "four of five are enough"


def test_from_the_second_step_on_all_of_the_first_sum_are_needed(tmp_path):
    """A sum over one member less than the last one would give that member away, so the others decline it."""
    with open_federation(tmp_path, schedule=("1/4", "1/2"), prekeys=4) as found:
        found.carry()
        found.server.work_through()
        assert found.server.tick()
        offers(found, ("north",), {"pruners": frozenset({"wanda"})})
        found.members["north"].policy = found.policy  # the round under way it takes part in
        found.members["north"].renew()
        found.run()
        assert found.model.done == [1] and found.server.post.journal.last_round() == 1
        assert "north would decline it by P14" in found.server.waiting
        offers(found, ("north",), {})
        found.run()
        assert found.model.done == [1, 2]


@pytest.mark.parametrize("answers", [set(), {"middle"}])
def test_rounds_go_on_without_somebody_whom_a_sum_lacks(tmp_path, answers):
    """A sum over everybody would give that member away, and the others decline it."""
    with open_federation(tmp_path, schedule=("1/4", "1/3", "1/2"), prekeys=4) as found:
        found.carry()
        found.server.work_through()
        found.silent = {"middle"}
        found.wait()
        found.silent -= answers
        found.wait()
        assert found.model.done == [1, 2, 3] and found.server.done
        assert sorted(found.server.post.journal.recall("members", "*")) == ["east", "north", "south", "west"]
        assert [line for line in found.server.news if "go on without middle" in line] == found.server.news
        assert len(found.server.news) == 1
        told = found.server.post.why_awaited(Party.parse("member/middle"))
        assert told.startswith("rounds go on without middle since round 2")
        found.reopen(HUB)
        assert found.server.post.why_awaited(Party.parse("member/middle")) == told
        assert all(not member.told for member in found.members.values())


def test_a_sum_that_would_give_somebody_away_is_not_begun(tmp_path):
    """Of one layer a sum lacks middle, and of the other it has it: neither everybody nor the others can go on."""
    with open_federation(tmp_path, schedule=("1/4", "1/2"), layers=2, prekeys=4) as found:
        found.carry()
        found.server.work_through()
        assert found.server.tick()
        found.carry()
        middle = found.members["middle"]
        middle.work_through()
        middle.contribute_layer(middle.due()[0])
        found.carry()
        found.silent = {"middle"}
        found.wait()
        found.silent = set()
        found.run()
        assert found.model.done == [1] and found.server.post.journal.last_round() == 1
        assert "a sum over its cohort would give middle away" in found.server.waiting
        assert found.server.post.journal.recall("given up", "*") == found.server.waiting


@pytest.mark.parametrize("unanswered", [[], ["north"]])
def test_nobody_goes_on_without_the_missed_where_somebody_listed_has_not_answered(tmp_path, unanswered):
    """To north's ledger the sum may still be one over everybody, so it would decline one without middle."""
    with open_federation(tmp_path, schedule=("1/4",), prekeys=4) as found:
        found.carry()
        found.server.work_through()
        found.silent = {"middle"}
        found.wait()
        found.silent = set()
        post = found.server.post
        assert past_of(post).missed == {"middle"} and past_of(post).barred == set()
        ((base, noted),) = post.journal.recall_all("handed in").items()
        with post.at_once():
            post.remember("handed in", base, {**noted, "unanswered": unanswered})
        found.agenda = replace(found.agenda, schedule=("1/4", "1/2"))
        found.reopen(HUB)
        found.run()
        assert found.model.done == ([1] if unanswered else [1, 2])
        assert ("would give middle away" in found.server.waiting) == bool(unanswered)


@pytest.mark.parametrize(("holder", "unanswered"), [(None, ["north"]), ("vault", [])])
def test_who_is_listed_and_has_not_answered_is_noted_where_members_are_asked(holder, unanswered):
    machine = SimpleNamespace(
        groups={0: SimpleNamespace(cohort=("east", "middle", "north"))},
        answers={"east": b""},
        plan=SimpleNamespace(key_holder=holder),
    )
    listed = ["east", "north"]
    assert _of_list(machine, 0, listed) == {"listed": listed, "missed": ["middle"], "unanswered": unanswered}


def test_who_declined_the_last_attempt_has_not_paid_for_it(tmp_path):
    with open_federation(tmp_path, members=4, attempts=5) as found:
        found.carry()
        found.server.work_through()
        assert found.server.tick()
        found.silent = {"south", "west", "east"}
        found.members["north"].policy = replace(found.policy, pruners=frozenset({"wanda"}))
        found.members["north"].renew()
        found.run()
        found.silent = set()
        assert found.server.station is None and found.server.post.journal.last_round() == 1
        found.members["north"].policy = found.policy
        say(found, "north", spent=True)
        found.run()
        assert found.server.post.journal.last_round() == 1
        assert "north would decline it by P14: its privacy budget is spent" in found.server.waiting


def test_offers_that_an_earlier_version_took_in_are_none(tmp_path):
    with open_federation(tmp_path) as found:
        found.carry()
        found.server.work_through()
        post = found.server.post
        with post.at_once():
            for id, offer in post.journal.recall_all("offer").items():
                post.remember(
                    "offer", id, {name: offer[name] for name in ("layers", "bundle", "software", "at", "count")}
                )
        assert not found.server.tick() and "to offer to take part" in found.server.waiting
        for name in found.names:
            found.offer(name)
        found.run()
        assert found.model.done == [1]
