"""The loop of a member: what arrives while it prunes counts before it contributes."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest

from fedspallm_secure.app.service.client import _Loop
from fedspallm_secure.app.service.live import Live
from fedspallm_secure.app.service.loops import Stop, Watch, check_not_withdrawn, renewed, tell_refused
from fedspallm_secure.app.service.pruning import RoundOver
from fedspallm_secure.errors import CertificateRevoked, MissingInput, NotAwaited, PlanDeclined, PlanRefused
from fedspallm_secure.protocol.rounds.member_state import State
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.storage.home import open_home
from tests.stationary import HUB, SERVER, an_offer, stations

NORTH = "member/north"


class Bench:
    """Prunes nothing, and lets things happen before each layer.  before: what; pruned: layers that came that far."""

    def __init__(self, before=lambda gid: None):
        self.before, self.pruned = before, []

    spent = False

    def offer(self, bundle, policy):
        return replace(an_offer(bundle, policy), spent=self.spent)

    def windows(self):
        pass

    def task(self, round):
        return f"prune, round {round}"

    def prune(self, plan, groups, contribute, sent, wanted):
        for group in groups:
            self.before(group.gid)
            if not wanted():
                raise RoundOver
            self.pruned.append(group.gid)
            contribute(group)
            sent()


@pytest.fixture
def found(tmp_path):
    with stations(tmp_path / "federation", members=4, layers=3) as made:
        made.carry()
        made.server.work_through()
        made.server.tick()
        made.carry()
        yield made


def loop_of(found, bench, once=True, until_done=False):
    station = found.members["north"]
    return _Loop(station.post, station, bench, None, Live(found.folder / "live.json"), Stop(), once, until_done)


def test_a_member_prunes_and_contributes(found):
    bench = Bench()
    assert loop_of(found, bench).run() == 0
    assert bench.pruned == [0, 1, 2] and len(found.members["north"].machine.deals) == 3


def test_nothing_is_contributed_to_a_round_whose_end_has_arrived(found):
    def end_it(gid):
        if gid == 1:
            found.server.abort()
            found.carry()

    bench = Bench(end_it)
    assert loop_of(found, bench).run() == 0
    member = found.members["north"]
    assert bench.pruned == [0] and set(member.machine.deals) == {0}
    loop = loop_of(found, Bench())
    loop._say()
    assert loop._said == "round 1 ended without a result: STOPPED"
    assert member.machine.state is State.CLOSED and not member.told


def test_the_end_may_come_between_the_last_look_and_the_contribution(found):
    class Late(Bench):
        def prune(self, plan, groups, contribute, sent, wanted):
            found.server.abort()
            found.carry()
            for group in groups:
                contribute(group)

    assert loop_of(found, Late()).run() == 0
    assert found.members["north"].machine.deals == {}


def test_a_newer_plan_gets_no_layers_of_the_one_before(found):
    def next_one(gid):
        if gid == 0 and found.server.station.plan.round == 1:
            found.server.abort()
            while found.server.station is None or found.server.station.plan.round == 1:
                found.server.tick()
            found.carry()

    bench = Bench(next_one)
    assert loop_of(found, bench).run() == 0
    member = found.members["north"]
    assert member.plan.round == 2 and len(member.machine.deals) == 3
    assert bench.pruned == [0, 1, 2]


def test_a_declined_plan_is_the_exit_code_of_a_run_for_cron(found, caplog):
    member = found.members["north"]
    member.policy = Policy(SERVER, 1, software=frozenset({"other/1"}))
    member.renew()
    loop = loop_of(found, Bench())
    with pytest.raises(PlanDeclined, match="P14: ") as caught:
        loop.run()
    assert caught.value.exit_code == 102 and caught.value.hint
    said = [record.getMessage() for record in caplog.records]
    assert any("refused a plan of server/hub: P14: " in line and "software, horizon" in line for line in said)
    assert any(one.type == "decline" for one in member.post.spool.outgoing())
    assert loop_of(found, Bench()).run() == 0  # it was said


def test_a_round_that_the_privacy_budget_does_not_cover_is_sat_out_once(found, caplog):
    def refuse(gid):
        raise PlanRefused("the privacy budget is spent", hint="decide")

    bench = Bench(refuse)
    with pytest.raises(PlanRefused, match="the privacy budget is spent"):
        loop_of(found, bench).run()
    assert bench.pruned == [] and found.members["north"].machine.deals == {}
    said = [record.getMessage() for record in caplog.records]
    assert said.count("round 1 is sat out: the privacy budget is spent; decide") == 1


def test_who_runs_on_ends_without_that_code(found):
    member = found.members["north"]
    member.policy = Policy(SERVER, 1, software=frozenset({"other/1"}))
    member.renew()
    loop = loop_of(found, Bench(), once=False)
    assert loop._turn()
    loop._stop.wanted = True
    assert loop.run() == 0
    assert loop._said == "the plan of round 1 was declined"


def test_who_waits_for_the_last_round_ends_with_it(tmp_path):
    with stations(tmp_path / "federation", members=4, layers=1, schedule=("1/4", "1/2")) as found:
        loop = loop_of(found, Bench(), once=False, until_done=True)
        done = []
        for _ in range(60):
            if not found.carry() + found.step():
                break
            done.append((found.model.done, loop._is_done()))
        assert [1] in [rounds for rounds, _ in done]
        assert not any(over for rounds, over in done if len(rounds) < 2)
        assert loop.run() == 0  # or it would wait for ever


def test_what_was_imported_is_named(found, caplog):
    caplog.set_level("INFO")
    post = found.members["north"].post
    watch = Watch(post.home.path)
    assert not renewed(post, watch)
    found.ceremony.take(NORTH, found.ceremony.crl())
    assert renewed(post, watch)
    found.ceremony.take(NORTH, found.ceremony.roster())
    assert renewed(post, watch)
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("taken in")]
    number, version = post.home.crl.number, post.trust.roster.version
    assert said == [f"taken in: revocation list {number}", f"taken in: roster {version}"]


def test_a_declined_plan_is_told_with_what_its_check_goes_by(caplog):
    plan = SimpleNamespace(type="plan", sender=HUB, round=1)
    for error in (
        PlanDeclined("I do not prune with sparsegpt", check="P14"),
        PlanDeclined("my privacy budget is spent", check="P14", hint="decide"),
    ):
        tell_refused([(plan, error)])
    first, second = [record.getMessage() for record in caplog.records]
    assert first.startswith("refused a plan of server/hub: P14: I do not prune with sparsegpt; keys of [policy]")
    assert "P14 goes by: pruners, " in first and "before you change one" in first
    assert second == "refused a plan of server/hub: P14: my privacy budget is spent; decide"


def test_grammar(caplog):
    for type in ("abort", "plan"):
        tell_refused([(SimpleNamespace(type=type, sender=HUB, round=1), NotAwaited("why"))])
    assert [record.getMessage() for record in caplog.records] == [
        "refused an abort of server/hub: why",
        "refused a plan of server/hub: why",
    ]


def test_who_was_withdrawn_is_told_so_by_its_own_list(found):
    home = found.ceremony.home(NORTH)
    check_not_withdrawn(open_home(home))
    found.ceremony.take(NORTH, found.ceremony.revoke(NORTH))
    with pytest.raises(CertificateRevoked, match="withdrawn the certificate of member/north"):
        check_not_withdrawn(open_home(home))
    loop = loop_of(found, Bench())
    loop._watch._seen = {}
    with pytest.raises(CertificateRevoked):
        loop._turn()


def test_what_the_server_waits_for_is_the_phase_until_it_waits_no_more(found, caplog):
    caplog.set_level(logging.INFO)
    said = SimpleNamespace(waiting="north would decline it by P7", check=lambda: None, notify=lambda: None)
    loop = loop_of(found, Bench())
    loop._take_in()
    loop._visits._network = said
    loop._turn()
    assert live_of(loop) == "the server says: north would decline it by P7"
    assert sum("the server says" in record.message for record in caplog.records) == 1
    said.waiting = ""
    loop._turn()
    assert live_of(loop) == "round 1 is planned"


@pytest.mark.parametrize("once", [False, True])
def test_a_run_for_cron_ends_when_no_layer_is_awaited(found, monkeypatch, once):
    asked, loop = [], loop_of(found, Bench(), once, until_done=not once)
    monkeypatch.setattr(loop._station.results, "missing", lambda *_: {1} if len(asked) < 2 else set())
    monkeypatch.setattr(loop._visits, "is_over", lambda more: asked.append(more) or len(asked) > 2)
    monkeypatch.setattr(loop._visits, "rest", lambda: None)
    loop.run()
    assert asked == [once, once, False]


def live_of(loop):
    return loop._live.snapshot()["phase"]


def test_a_changed_configuration_is_told_by_a_new_offer_and_an_unchanged_one_is_not(found):
    """A server that holds an attempt back until a decline was mended learns it by that."""

    def offers(config):
        loop = loop_of(found, Bench())
        loop._config = config
        loop._offer()
        spool = found.members["north"].post.spool
        return sum(one.type == "offer" and not one.departed for one in spool.outgoing())

    assert [offers("a"), offers("a"), offers("b")] == [1, 1, 2]


def offered(found):
    return [one for one in found.members["north"].post.spool.outgoing() if one.type == "offer"]


def test_who_has_no_text_that_it_can_use_offers_nothing(tmp_path):
    """Else others would prune for a round that it cannot take part in."""

    class Illiterate(Bench):
        def windows(self):
            raise MissingInput("esat.jsonl does not exist")

    with stations(tmp_path / "federation", members=4, layers=3) as made:
        before = len(offered(made))
        loop = loop_of(made, Illiterate())
        loop._config = "another one"
        with pytest.raises(MissingInput):
            loop.run()
        assert len(offered(made)) == before


def test_a_budget_that_is_spent_is_told_while_the_round_goes_on(found):
    """When it is over the server may have opened the next one by the offer before."""
    bench = Bench()
    loop = loop_of(found, bench)
    loop.run()
    before = len(offered(found))
    loop._offer()
    assert len(offered(found)) == before
    bench.spent = True
    loop._offer()
    assert len(offered(found)) == before + 1


def test_a_round_whose_time_is_over_keeps_nobody_from_offering(found):
    loop = loop_of(found, Bench())
    loop.run()
    before = len(offered(found))
    loop._offer()
    assert len(offered(found)) == before
    found.now = found.members["north"].plan.deadlines.abort + 1
    loop._offer()
    assert len(offered(found)) == before + 1
