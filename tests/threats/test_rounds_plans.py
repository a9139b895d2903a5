"""THREAT_MODEL section 3, "Rounds: plans": what a server may ask members to take part in."""

import pytest

from fedspallm_secure.errors import DisclosureRefused, OutOfTurn, PlanDeclined
from fedspallm_secure.secagg.disclosure import Ledger
from tests.attacks.rounds.script import SCRIPTS, run, run_lifted
from tests.attacks.rounds.servers import ends_at, opens_nothing, played
from tests.federation import Bench, Setting, play


def test_a_plan_that_is_not_what_its_package_says_is_declined():
    """THREAT_MODEL T99: another round or plan hash in the header; a cohort with somebody twice."""
    ends_at(
        "P1",
        PlanDeclined,
        "plans.a_plan_under_the_number_of_another_round",
        "plans.a_plan_under_the_hash_of_another",
        "plans.a_member_twice_in_a_cohort",
    )


def test_only_the_server_of_the_policy_makes_plans():
    """THREAT_MODEL T100: another server of the same federation."""
    ends_at("P2", PlanDeclined, "plans.a_plan_of_another_server")


def test_a_plan_for_another_roster_federation_or_list_is_declined():
    """THREAT_MODEL T101: stale, foreign, and ahead of the member's revocation list."""
    ends_at(
        "P3",
        PlanDeclined,
        "plans.a_plan_of_another_federation",
        "plans.a_plan_under_an_old_roster",
        "plans.a_plan_under_a_revocation_list_that_nobody_has",
    )


def test_there_is_one_plan_for_a_round_and_no_way_back():
    """THREAT_MODEL T102: a second plan before and after contributing; a lower number; an old plan once more."""
    ends_at(
        "P4",
        PlanDeclined,
        "plans.a_second_plan_for_the_round",
        "plans.a_second_plan_before_anybody_contributed",
        "plans.the_number_of_an_earlier_round",
        "plans.the_first_plan_once_more_after_the_next_one",
    )


def test_a_member_whose_records_are_an_old_copy_stops():
    """THREAT_MODEL T103: it is shown a deal that it signed and forgot; one that it did not sign stops nobody."""
    ends_at("P5", PlanDeclined, "plans.a_member_whose_records_are_an_old_copy")
    opens_nothing("plans.a_history_that_the_member_did_not_write")


def test_a_member_insists_on_its_own_thresholds_and_profiles():
    """THREAT_MODEL T104: fewer shares, survivors or colluders, another graph, another profile."""
    ends_at(
        "P7",
        PlanDeclined,
        "plans.two_shares_and_two_survivors",
        "plans.one_share_fewer",
        "plans.one_survivor_fewer",
        "plans.more_than_is_asked_for",
        "plans.fewer_colluders_with_the_thresholds_for_them",
        "plans.a_profile_that_no_policy_allows",
        "plans.two_trips_with_the_thresholds_of_three",
        "plans.witnesses_where_the_policy_names_none",
        "plans.a_graph_in_which_the_victim_has_two_neighbours",
    )


def test_a_cohort_in_which_too_few_are_honest_is_declined():
    """THREAT_MODEL T105: two members; the victim among puppets; as many puppets as others."""
    ends_at(
        "P7",
        PlanDeclined,
        "plans.a_cohort_of_two_honest_members",
        "plans.a_cohort_of_the_victim_and_puppets",
        "plans.a_cohort_with_as_many_puppets_as_honest",
    )


def test_nobody_is_in_a_cohort_who_is_not_in_the_roster_or_was_not_drawn():
    """THREAT_MODEL T106: a stranger; somebody of the roster; a plan for a member that is in none of its cohorts."""
    ends_at("P7", PlanDeclined, "plans.somebody_who_is_not_in_the_roster", "plans.a_member_that_is_in_no_cohort")
    ends_at("P8", PlanDeclined, "plans.somebody_who_was_not_drawn")


def test_cohorts_are_those_that_the_seed_gives():
    """THREAT_MODEL T107: members exchanged or left out; a drawing that cannot be repeated."""
    ends_at(
        "P8",
        PlanDeclined,
        "plans.two_members_exchanged_between_cohorts",
        "plans.somebody_left_out_who_was_drawn",
        "plans.a_drawing_that_nobody_can_repeat",
    )


def test_a_seed_is_drawn_by_the_beacons_of_the_policy_alone():
    """THREAT_MODEL T108: no opening, another one, other signers, and a second opening of one round."""
    ends_at(
        "P8",
        PlanDeclined,
        "plans.a_seed_of_the_servers_choice",
        "plans.a_seed_that_does_not_follow_from_the_beacon",
        "plans.an_opening_of_another_round",
        "plans.an_opening_under_another_roster",
        "plans.an_opening_with_other_prekeys",
        "plans.an_opening_with_another_way_to_draw_cohorts",
        "plans.an_opening_that_the_server_did_not_sign",
        "plans.a_beacon_by_the_server_itself",
        "plans.a_beacon_by_another_witness",
        "plans.a_second_witness_who_tries_until_the_seed_is_right",
    )
    ends_at("", OutOfTurn, "plans.two_openings_of_one_round")


def test_no_member_takes_a_prekey_that_its_owner_did_not_sign():
    """THREAT_MODEL T110: keys of the server or of a puppet in the place of neighbours' keys, or the member's own."""
    ends_at(
        "P9",
        PlanDeclined,
        "keys.all_neighbours_have_keys_of_the_server",
        "keys.all_neighbours_have_keys_of_the_server_that_a_puppet_signed",
        "keys.one_neighbour_has_a_key_of_the_server",
        "keys.the_victims_own_key_is_another",
        "keys.a_bundle_in_the_name_of_another_party",
        "keys.a_bundle_that_the_plan_does_not_name",
        "keys.a_bundle_is_missing",
        "keys.a_bundle_of_another_federation",
    )


def test_no_two_of_us_have_one_key_and_none_is_weak():
    """THREAT_MODEL T111: copied as it is, in another spelling, by two puppets; of low order."""
    ends_at(
        "P9",
        PlanDeclined,
        "keys.the_victims_key_comes_back_as_a_puppets",
        "keys.the_victims_key_in_another_spelling",
        "keys.one_key_for_two_puppets",
        "keys.a_key_that_is_zero",
        "keys.a_key_of_order_one",
        "keys.a_hybrid_key_to_which_nothing_can_be_sealed",
    )


def test_a_prekey_is_one_that_is_left_of_a_bundle_that_is_valid_now():
    """THREAT_MODEL T112: used, left out, not there, expired, withdrawn; a neighbour's old one gives nothing away."""
    ends_at(
        "P9",
        PlanDeclined,
        "keys.the_victims_prekey_of_the_last_round",
        "keys.a_prekey_of_the_victim_that_was_left_out",
        "keys.an_index_that_the_bundle_does_not_have",
        "keys.a_bundle_that_has_run_out",
        "keys.keys_of_a_member_that_was_withdrawn",
    )
    opens_nothing("keys.a_used_up_prekey_of_a_neighbour")


def test_other_weights_than_mine_are_refused_and_other_plans_do_not_meet():
    """THREAT_MODEL T113: one plan and two models; a plan for each model; two plans that differ in nothing else."""
    ends_at(
        "P10",
        PlanDeclined,
        "plans.another_base_than_the_members_own",
        "plans.a_result_that_the_member_did_not_verify",
        "plans.a_beginning_where_the_policy_wants_a_result",
    )
    opens_nothing("plans.a_base_of_its_own_for_the_victim", "plans.two_plans_that_differ_in_their_nonce")


def test_a_vector_is_about_the_matrices_of_the_model_once():
    """THREAT_MODEL T115: other shapes, the same matrices in two groups, more than the policy lets a member send."""
    ends_at(
        "P11",
        PlanDeclined,
        "plans.other_matrices_than_those_of_the_model",
        "plans.the_same_matrices_in_two_groups",
        "plans.more_to_send_than_the_policy_allows",
    )


def test_numbers_that_could_overflow_are_declined():
    """THREAT_MODEL T116: counts too narrow or of another width, sums without room for the bound."""
    ends_at(
        "P12",
        PlanDeclined,
        "plans.counts_that_are_too_narrow",
        "plans.counts_that_are_wider_than_needed",
        "plans.sums_without_room_for_all",
    )


def test_a_base_is_released_once():
    """THREAT_MODEL T117: once more without the victim; after a round that is said to have failed, or was left half."""
    ends_at(
        "P13",
        DisclosureRefused,
        "plans.a_base_that_was_released_before",
        "plans.an_aborted_round_and_the_same_base_again",
        "plans.a_round_that_was_aborted_before_the_victim_answered",
        "plans.a_round_in_which_the_victim_answered_for_one_group",
    )
    victim = played("plans.a_round_in_which_the_victim_answered_for_one_group").rogue
    assert set(victim.bench.members[victim.victim].pending) == {(1, 1)}


def test_sums_that_give_few_members_away_together_are_refused():
    """THREAT_MODEL T118: the next round without the victim: by its cohort, and by its list in three and two trips."""
    ends_at(
        "P13",
        DisclosureRefused,
        "plans.a_cohort_without_the_victim",
        "plans.a_list_without_the_victim_in_the_next_round_in_two_trips",
    )
    ends_at("E5", DisclosureRefused, "plans.a_list_without_the_victim_in_the_next_round")
    ends_at("Q6", DisclosureRefused, "plans.a_list_without_the_victim_in_the_next_round_past_a_witness")


def test_a_matrix_is_released_once_in_two_trips():
    """THREAT_MODEL T159: lists that differ, in two rounds; without the rule what opens gives the victim away."""
    name = "plans.lists_that_differ_in_two_rounds_of_two_trips"
    ends_at("P13", DisclosureRefused, name)
    found = run_lifted(SCRIPTS[name])
    assert found.refusals == [] and found.proved
    assert [isolation.members for isolation in found.isolations] == [{found.rogue.victim}]


def test_releases_that_no_member_knows_of_together_are_not_seen():
    """THREAT_MODEL T119: whoever knew of all three would refuse the last; nobody does, and the victim is isolated."""
    found = run(SCRIPTS["plans.three_cohorts_that_give_the_victim_away"])
    assert found.refusals == [] and found.proved
    assert [isolation.members for isolation in found.isolations] == [{found.rogue.victim}]
    ledgers = [found.rogue.bench.members[name].ledger for name in found.rogue.honest]
    assert all(len({release.round for release in ledger.releases}) < 3 for ledger in ledgers)
    releases = [release for ledger in ledgers for release in ledger.releases]
    before, last = Ledger(tuple(one for one in releases if one.round < 3)), max(releases, key=lambda one: one.round)
    with pytest.raises(DisclosureRefused):
        before.check(last.matrix, last.base, last.survivors, 0, epochs=9)


def test_a_policy_limits_how_often_a_matrix_is_released():
    """THREAT_MODEL T120: E_max rounds over one cohort, and no more."""
    ends_at("P13", DisclosureRefused, "plans.more_releases_than_the_policy_allows")
    bench = Bench(Setting(rounds=3, policy={"epochs": 2}))
    for allowed in (True, True, False):
        found = play(bench)
        assert bool(found.released) is allowed
        bench.revise()


def test_a_round_has_an_end_and_tells_nobody_else():
    """THREAT_MODEL T121: a deadline that is past or too far away; counts told to members."""
    ends_at(
        "P14",
        PlanDeclined,
        "plans.a_deadline_that_is_past",
        "plans.a_round_without_an_end",
        "plans.counts_told_to_members",
    )
