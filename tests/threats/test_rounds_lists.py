"""THREAT_MODEL section 3, "Rounds: lists and requests": what a server may have opened."""

import pytest

from fedspallm_secure.errors import OutOfTurn, ReplayedPackage, UnmaskingDeclined, WrongRecipient
from tests.attacks.rounds.script import run_lifted
from tests.attacks.rounds.servers import LIFTED, ends_at, opens_nothing
from tests.federation import Bench, Setting, play


def test_all_answer_for_one_list_or_do_not_answer():
    """THREAT_MODEL T122: every member a list of its own, or one for each half, with and without witnesses."""
    ends_at(
        "Q2",
        UnmaskingDeclined,
        "lists.every_member_a_list_of_its_own",
        "lists.two_halves_with_a_list_each",
        "lists.endorsements_of_one_list_for_another",
        "lists.every_member_a_list_of_its_own_with_one_witness_of_three_bought",
    )


def test_a_member_endorses_one_list():
    """THREAT_MODEL T123: lists in turn, before and after the answer, with the victim and without it."""
    ends_at(
        "E3",
        UnmaskingDeclined,
        "lists.several_lists_endorsed_in_turn",
        "lists.several_lists_in_turn_in_two_trips",
        "lists.with_the_victim_and_then_without_it",
        "lists.with_the_victim_and_then_without_it_in_two_trips",
        "lists.with_the_victim_and_then_without_it_past_a_witness",
        "lists.without_the_victim_and_then_with_it",
    )


def test_in_two_trips_lists_that_differ_isolate_nobody():
    """THREAT_MODEL T124: what isolates two with the thresholds for one list; the strongest against the right ones."""
    ends_at("E4", UnmaskingDeclined, "lists.every_member_a_list_of_its_own_in_two_trips")
    opens_nothing("lists.the_strongest_strategy_in_two_trips")
    assert run_lifted(LIFTED["lists.every_member_a_list_of_its_own_in_two_trips"]).isolations


def test_a_witness_signs_one_list_of_a_round():
    """THREAT_MODEL T125: a second one, the second one as of another plan, and as of the next round."""
    ends_at(
        "E3",
        UnmaskingDeclined,
        "lists.every_member_a_list_of_its_own_past_a_witness",
        "lists.several_lists_endorsed_in_turn_by_a_witness",
        "lists.a_witness_is_shown_a_second_list_as_one_of_another_plan",
    )
    ends_at("E2", UnmaskingDeclined, "lists.a_witness_is_shown_a_second_list_as_one_of_the_next_round")


def test_a_list_says_who_contributed_what():
    """THREAT_MODEL T126: somebody who contributed nothing, another deal, a stranger, a group without a plan."""
    ends_at(
        "E4",
        UnmaskingDeclined,
        "lists.the_victim_is_listed_without_a_contribution",
        "lists.another_deal_than_the_members_own",
        "lists.a_stranger_on_the_list",
        "lists.a_group_that_the_plan_does_not_have",
        "lists.a_stranger_on_the_list_in_two_trips",
    )
    ends_at(
        "Q3",
        UnmaskingDeclined,
        "lists.the_victim_is_listed_without_a_contribution_in_two_trips",
        "lists.another_deal_than_the_members_own_in_two_trips",
    )
    ends_at(
        "Q4",
        UnmaskingDeclined,
        "lists.a_member_that_contributed_nothing_is_listed",
        "lists.another_deal_of_a_neighbour",
    )


def test_a_sum_over_too_few_is_not_opened():
    """THREAT_MODEL T127: below the number of survivors, down to the victim alone."""
    ends_at(
        "E4",
        UnmaskingDeclined,
        "lists.fewer_than_the_plan_asks_for",
        "lists.nobody_but_the_victim",
        "lists.fewer_than_the_plan_asks_for_in_two_trips",
        "lists.fewer_than_the_plan_asks_for_past_a_witness",
    )


def test_a_list_is_signed_by_the_server_and_of_this_round():
    """THREAT_MODEL T128: of another round, plan or federation, unsigned, signed by others, badly formed, too early."""
    ends_at("E1", UnmaskingDeclined, "lists.a_list_from_another_server")
    ends_at(
        "E2",
        UnmaskingDeclined,
        "lists.a_list_of_another_round",
        "lists.a_list_of_another_round_in_two_trips",
        "lists.a_list_of_another_plan",
        "lists.a_list_of_another_federation",
        "lists.a_list_that_a_puppet_signed",
        "lists.a_list_that_another_server_signed",
        "lists.a_list_that_nobody_signed",
        "lists.a_list_with_a_member_twice",
        "lists.a_list_out_of_order",
    )
    ends_at("", OutOfTurn, "lists.a_list_before_any_plan")


def test_endorsements_cannot_be_made_up():
    """THREAT_MODEL T129: none, too few, random, in other names, of something else, of before."""
    ends_at(
        "Q2",
        UnmaskingDeclined,
        "endorsements.no_endorsements",
        "endorsements.no_endorsement_by_the_witness",
        "endorsements.one_too_few",
        "endorsements.random_bytes_for_endorsements",
        "endorsements.all_endorsements_by_the_server_in_other_names",
        "endorsements.all_endorsements_by_one_puppet_in_other_names",
        "endorsements.the_own_endorsement_and_those_of_puppets",
        "endorsements.the_server_signs_in_the_name_of_the_witness",
        "endorsements.signatures_of_deals_for_endorsements",
        "endorsements.signatures_under_another_label",
        "endorsements.endorsements_of_the_last_round",
    )


def test_only_those_endorse_whose_word_counts():
    """THREAT_MODEL T130: strangers, witnesses for members and the reverse, one many times, those off the list."""
    ends_at(
        "Q2",
        UnmaskingDeclined,
        "endorsements.one_too_few_and_a_stranger",
        "endorsements.one_too_few_and_a_witness",
        "endorsements.endorsements_by_those_who_are_not_on_the_list",
        "endorsements.members_endorse_in_place_of_the_witness",
        "endorsements.a_witness_that_no_policy_names",
        "endorsements.fewer_witnesses_than_a_quorum",
        "endorsements.somebody_who_is_not_in_the_roster",
    )
    ends_at(
        "Q1",
        UnmaskingDeclined,
        "endorsements.one_endorsement_many_times",
        "endorsements.a_server_endorses",
    )


def test_a_member_answers_once():
    """THREAT_MODEL T132: for a second list; the same request gets the same bytes."""
    ends_at("Q1", UnmaskingDeclined, "requests.a_second_answer_for_another_list")
    opens_nothing("requests.the_same_request_many_times")


def test_who_is_called_dropped_stays_hidden():
    """THREAT_MODEL T133: a masked vector that comes late, and one that the server had all the time."""
    opens_nothing(
        "requests.a_late_contribution_is_used",
        "requests.a_member_is_said_to_have_dropped_out_although_it_has_not",
        "requests.a_member_is_said_to_have_dropped_out_in_two_trips",
    )
    ends_at("Q3", UnmaskingDeclined, "requests.the_one_that_was_left_out_is_asked_all_the_same")


def test_a_request_asks_for_nothing_but_what_follows_from_the_list():
    """THREAT_MODEL T134: more fields, a group twice, no group, a group that has ended or that the member is not in."""
    ends_at(
        "Q1",
        UnmaskingDeclined,
        "requests.a_request_that_also_asks_for_edges",
        "requests.a_group_twice_in_a_request",
    )
    ends_at(
        "Q3",
        UnmaskingDeclined,
        "requests.a_request_about_no_group",
        "lists.a_group_that_has_ended_by_the_list",
        "lists.the_victim_is_left_off_one_group_and_asked_about_it",
    )


def test_a_deal_is_that_of_its_dealer():
    """THREAT_MODEL T135: forged, changed, of another member, round or group, or left out."""
    ends_at(
        "Q4",
        UnmaskingDeclined,
        "requests.forged_deals_under_the_listed_digest",
        "requests.forged_deals_that_are_listed",
        "requests.a_deal_with_one_byte_changed",
        "requests.a_deal_with_another_signature",
        "requests.the_deal_of_another_member",
        "requests.the_deal_of_the_last_round",
        "requests.the_deal_of_another_group",
        "requests.the_deal_of_a_neighbour_is_left_out",
    )


def test_no_key_is_shown_of_an_envelope_that_the_dealer_did_not_sign():
    """THREAT_MODEL T136: spoiled, cut, missing, of others, of before, or copied by a puppet into its own deal."""
    ends_at(
        "Q7",
        UnmaskingDeclined,
        "requests.spoiled_envelopes_to_be_shown_their_keys",
        "requests.spoiled_envelopes_in_two_trips",
        "requests.envelopes_without_the_last_byte",
        "requests.no_envelopes",
        "requests.the_victims_envelopes_for_somebody_else",
        "requests.envelopes_of_another_dealer",
        "requests.envelopes_of_the_last_round",
    )
    opens_nothing("requests.a_puppet_deals_copies_of_the_victims_envelopes")


def test_a_request_comes_in_its_turn_and_from_the_server():
    """THREAT_MODEL T137: before a plan or list, after the end, for another round or plan, by another server."""
    ends_at(
        "",
        OutOfTurn,
        "requests.before_any_plan",
        "requests.two_requests_before_the_list",
        "requests.after_the_round_was_aborted",
        "requests.after_the_result",
        "requests.after_the_last_deadline",
    )
    ends_at(
        "Q2",
        UnmaskingDeclined,
        "requests.before_the_list",
        "requests.before_another_list_in_two_trips",
        "requests.for_a_list_that_was_never_shown",
    )
    ends_at(
        "Q1",
        UnmaskingDeclined,
        "requests.for_the_last_round",
        "requests.before_the_list_of_another_round",
        "requests.by_another_server",
        "requests.under_the_hash_of_another_plan",
    )


def test_a_message_of_a_round_is_taken_in_once_by_the_one_it_is_for():
    """THREAT_MODEL T138: a request shown again, and one for another member."""
    ends_at("", ReplayedPackage, "requests.the_same_package_twice")
    ends_at("", WrongRecipient, "requests.a_request_for_somebody_else")


@pytest.mark.parametrize("layers", [1, 2])
def test_no_keystream_is_used_twice(layers: int):
    """THREAT_MODEL T139: the same vectors in two rounds and two groups look like nothing that was seen before."""
    bench = Bench(Setting(rounds=2, layers=layers, weights=40))
    seen = []
    for _ in range(2):
        found = play(bench)
        assert found.released
        vault = found.round.server.vault
        seen += [streams.total.tobytes() for streams in vault._kept.values()]
        bench.revise()
    assert len(seen) == 2 * layers * 5
    words = [one[start : start + 8] for one in seen for start in range(0, len(one), 8)]
    assert len(set(words)) == len(words)
