"""A key holder decrypts one sum of each group, whatever a server shows it; and what is left open is open."""

import pytest

from fedspallm_secure.protocol.rounds.decrypting import sample_size
from tests.attacks.ciphers.script import SCRIPTS, failure, run
from tests.attacks.ciphers.sums import bits_from_copies
from tests.attacks.decryption import (
    LEFT_OPEN,
    LIFTED,
    STOPPED,
    failure_lifted,
    failure_open,
    figures,
    missed,
    played,
)

FEW = (
    "one_vector_shown_as_the_sum",
    "fewer_survivors_than_a_sum_needs",
    "another_sum_once_the_chunks_to_be_opened_are_known",
    "deals_that_nobody_signed",
    "chunks_of_other_members",
    "a_request_after_the_round_is_over",
    "a_key_that_the_server_made",
    "one_key_for_two_rounds",
)
OTHERS = tuple(name for name in STOPPED if name not in FEW)
NEGATED, REPEATED = "a_puppet_takes_the_others_off_the_sum", "puppets_repeat_the_vector_of_another"


@pytest.mark.parametrize("name", FEW)
def test_a_server_gets_nothing_but_sums(name):
    assert failure(played(name)) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_nor_by_any_other_attack(name):
    assert failure(played(name)) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", LIFTED)
def test_the_same_attack_succeeds_without_the_check(name):
    assert failure_lifted(run(LIFTED[name], lifted=True)) == ""


def test_a_puppet_that_contributes_last_lets_the_server_read_a_vector():
    """Open: ciphertexts can be calculated with, and nobody has to prove that it knows what is in its own."""
    found = run(SCRIPTS[NEGATED])
    assert found.leaks == [f"group 0 gives {found.rogue.victim}"] and found.rogue.refusals() == []


@pytest.mark.slow
@pytest.mark.parametrize("name", LEFT_OPEN)
def test_what_the_threat_model_leaves_open_is_open_with_real_encryption(name):
    found = run(SCRIPTS[name], real=True)
    assert failure_open(found) == ""
    if name == REPEATED:
        assert bits_from_copies(found.rogue) == 1.0


def test_there_are_enough_attacks():
    assert len(STOPPED) >= 40 and set(LEFT_OPEN) == {NEGATED, REPEATED}
    stops = {found.stop for found in STOPPED.values()}
    assert {"P15", "K2", "K3", "K4", "K5", "K6", "K7", "K8"} <= stops


@pytest.mark.parametrize("sample", [50, 250, 1000])
def test_a_replaced_chunk_is_missed_as_often_as_it_is_not_sampled(sample):
    chunks, challenges = 40, 1200
    rate = 1 - sample_size(chunks, sample) / chunks
    deviation = (challenges * rate * (1 - rate)) ** 0.5
    assert abs(missed(chunks, sample, challenges) - challenges * rate) <= 6 * deviation


@pytest.mark.slow
def test_figures():
    found = figures(1)
    assert found["failures"] == [] and found["leaks"] == 0 and found["scripts"] == len(STOPPED)
