"""THREAT_MODEL section 3, "Rounds: a key holder": a server that wants more decrypted than sums over enough members."""

from dataclasses import replace

from fedspallm_secure.errors import (
    DisclosureRefused,
    FedSpaError,
    FormatError,
    OutOfTurn,
    PlanDeclined,
    SumOutOfRange,
    UnmaskingDeclined,
)
from tests.attacks.ciphers.script import no_look_at_chunks, run
from tests.attacks.decryption import UNSEEN, failure, failure_unseen, played

# Every name here is of one attack; tests/attacks/test_decryption.py plays all that there are.


def stopped(error: type[FedSpaError], *names: str) -> None:
    """Assert that each of these attacks ends where it has to with this error, and that nothing came out but sums."""
    for name in names:
        found = played(name)
        assert failure(found) == ""
        assert found.rogue.refusals()[0].error == error.__name__, name


def test_what_is_decrypted_is_the_sum():
    """THREAT_MODEL T239: one vector or a few shown as the sum."""
    stopped(UnmaskingDeclined, "one_vector_shown_as_the_sum", "the_sum_of_a_subset")


def test_a_list_is_long_enough_and_the_servers():
    """THREAT_MODEL T240: too few, and signed by somebody else."""
    stopped(UnmaskingDeclined, "fewer_survivors_than_a_sum_needs", "a_list_that_another_server_signed")


def test_one_list_and_one_sum_of_each_group():
    """THREAT_MODEL T241: a second list for another group, and a second sum once the challenge is known."""
    stopped(UnmaskingDeclined, "another_list_for_another_group", "another_sum_once_the_chunks_to_be_opened_are_known")


def test_every_survivor_signed_what_is_added_up():
    """THREAT_MODEL T242: deals that are made up, old, or somebody else's."""
    stopped(UnmaskingDeclined, "deals_that_nobody_signed", "deals_of_an_earlier_plan", "a_survivor_that_sent_nothing")


def test_what_is_opened_is_what_was_signed():
    """THREAT_MODEL T243: chunks of other members, and others than those that were asked for."""
    stopped(UnmaskingDeclined, "chunks_of_other_members", "chunks_that_were_not_asked_for")


def test_lengths_are_exact():
    """THREAT_MODEL T244: one byte or one chunk too many or too few."""
    stopped(FormatError, "an_opening_that_is_too_long", "a_sum_with_a_chunk_less")


def test_members_that_work_with_the_server_change_nothing():
    """THREAT_MODEL T249: ciphertexts made from those of others, with every check of the key holder passed."""
    stopped(SumOutOfRange, "a_puppet_takes_the_others_off_the_sum", "puppets_repeat_the_vector_of_another")


def test_a_member_that_seals_no_seed_is_named():
    """THREAT_MODEL T256: to the key holder, who gives nothing for the group."""
    for name in ("a_seed_that_does_not_open", "a_seed_that_was_not_committed_to", "an_envelope_passed_on_changed"):
        stopped(UnmaskingDeclined, name)
        rogue = played(name).rogue
        ((_, error),) = rogue.holder.refused[:1]
        assert any(puppet in str(error) for puppet in rogue.puppets), name


def test_a_chunk_that_nobody_looks_at_gives_nothing_away():
    """THREAT_MODEL T254: a sum with one member's chunk in it, and a key holder that looks at no chunk."""
    attack = UNSEEN["one_chunk_of_one_member_in_the_sum"]
    assert failure_unseen(run(replace(attack, lifts=(no_look_at_chunks,)), lifted=True)) == ""


def test_nothing_is_decrypted_out_of_turn():
    """THREAT_MODEL T245: before the plan, after the end; the same once more gives the same."""
    stopped(OutOfTurn, "a_request_before_the_plan", "a_request_after_the_round_is_over")
    stopped(UnmaskingDeclined, "a_request_by_another_server", "a_request_about_no_group_of_the_plan")
    assert failure(played("the_same_request_and_opening_many_times")) == ""


def test_differences_over_rounds_are_refused():
    """THREAT_MODEL T246: by plan and by list."""
    stopped(DisclosureRefused, "a_difference_over_two_rounds", "a_member_comes_back_over_the_same_base")


def test_members_encrypt_to_their_key_holder_alone():
    """THREAT_MODEL T247: keys of the server and of strangers, and a sample that finds nothing."""
    stopped(PlanDeclined, "a_key_that_the_server_made", "another_key_holder", "too_little_is_sampled")


def test_a_key_holder_takes_no_bad_plan():
    """THREAT_MODEL T248: one key for two rounds, two plans for one round, a plan for two survivors."""
    stopped(PlanDeclined, "one_key_for_two_rounds", "a_second_plan_in_one_round", "a_plan_for_two_survivors")
