"""A key holder decrypts one sum of each group, whatever a server shows it, and whoever works with it."""

import random
from dataclasses import replace

import pytest

from fedspallm_secure.protocol.rounds.decrypting import sample_size
from tests.attacks.ciphers.rogue import CipherRogue
from tests.attacks.ciphers.script import FIVE, NOTHING, OPEN, SCRIPTS, failure, no_look_at_chunks, run
from tests.attacks.ciphers.sums import bits_from_copies
from tests.attacks.decryption import LIFTED, UNSEEN, failure_lifted, failure_unseen, figures, missed, played
from tests.clear_cipher import clear
from tests.federation import Bench

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
OTHERS = tuple(name for name in SCRIPTS if name not in FEW)
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


@pytest.mark.parametrize("name", [NEGATED, REPEATED])
def test_members_that_work_with_the_server_get_no_more_than_without_them(name):
    """Ciphertexts can be calculated with, and every check passes: only the keystreams are in the way."""
    found = played(name)
    assert found.leaks == [] and found.stopped == "SumOutOfRange" and found.rogue.challenges


def test_copies_of_a_vector_would_give_its_bits_away():
    found = run(SCRIPTS[REPEATED], lifted=True)
    assert bits_from_copies(found.rogue) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("lifted", [False, True])
@pytest.mark.parametrize("name", [NEGATED, REPEATED])
def test_it_is_the_same_with_real_encryption(name, lifted):
    found = run(SCRIPTS[name], lifted=lifted, real=True)
    assert bool(found.leaks) == lifted and found.stopped == (NOTHING if lifted else "SumOutOfRange")


@pytest.mark.parametrize("name", UNSEEN)
def test_what_the_key_holder_does_not_look_at_gives_nothing_away(name):
    """A sum that is another one, in chunks that are not sampled: the keystreams do not come off."""
    assert failure_unseen(run(replace(UNSEEN[name], lifts=(no_look_at_chunks,)), lifted=True)) == ""


def test_there_are_enough_attacks():
    assert len(SCRIPTS) >= 40
    stops = {found.stop for found in SCRIPTS.values()}
    assert {"P15", "K2", "K3", "K4", "K5", "K6", "K7", "K8", "SumOutOfRange"} <= stops and OPEN not in stops


@pytest.mark.parametrize("sample", [50, 250, 1000])
def test_a_replaced_chunk_is_missed_as_often_as_it_is_not_sampled(sample):
    chunks, challenges = 40, 1200
    rate = 1 - sample_size(chunks, sample) / chunks
    deviation = (challenges * rate * (1 - rate)) ** 0.5
    assert abs(missed(chunks, sample, challenges) - challenges * rate) <= 6 * deviation


@pytest.mark.slow
def test_figures():
    found = figures(1)
    assert found["failures"] == [] and found["leaks"] == 0 and found["scripts"] == len(SCRIPTS)


def test_what_decrypts_is_wiped_when_the_round_is_over():
    with clear():
        bench = Bench(FIVE, 0)
        rogue = CipherRogue(bench, [bench.names[0]], random.Random(0))
        plan = rogue.begin()
        (_, secret) = rogue.holder.keys[plan.key_holder.key]
        assert secret.decryption.view
        rogue.finish(plan)
    with pytest.raises(ValueError, match="wiped"):
        secret.decryption.view.tolist()
