"""Sums under encryption are the plain ones; everything that is not what the plan says is refused, by its kind."""

from itertools import repeat
from types import SimpleNamespace

import numpy as np
import pytest
import tenseal

from fedspallm_secure.errors import CapacityExceeded, CiphertextRefused, SumOutOfRange, WorkerLost
from fedspallm_secure.he import bfv, worker
from fedspallm_secure.he.packing import slots_used
from fedspallm_secure.he.parameters import DEGREE, choose
from fedspallm_secure.he.primes import coefficient_primes
from fedspallm_secure.he.sandbox import Limits, Worker
from tests.attacks.ciphertexts import INNER, compress, put_together, take_apart
from tests.he.vectors import draw_vector, encrypted, opened, plain, slots_of


def same(found, expected):
    return np.array_equal(found[0], expected[0]) and (found[1] is None or np.array_equal(found[1], expected[1]))


def test_the_sum_is_the_plain_one(parameters, pair, weights, members, ciphertexts):
    total = list(bfv.add(parameters, pair.public, ciphertexts, weights))
    assert len(total) == parameters.chunks(weights) == 2
    assert same(opened(parameters, pair.secret, total, weights, 3), plain(members))


def test_sums_can_be_added_as_members_come(parameters, pair, weights, members, ciphertexts):
    total = ciphertexts[0]
    for other in ciphertexts[1:]:
        total = list(bfv.add(parameters, pair.public, [total, iter(other)], weights))
    assert same(opened(parameters, pair.secret, total, weights, 3), plain(members))


@pytest.mark.parametrize(("n_max", "bound"), [(2, 0), (15, 143_165_576), (1000, 0)])
def test_other_parameters_add_up_too(n_max, bound):
    chosen = choose(n_max, bound)
    pair, draws = bfv.generate(chosen), np.random.default_rng(n_max)
    vectors = [draw_vector(chosen, 100, draws) for _ in range(2)]
    total = bfv.add(chosen, pair.public, [encrypted(chosen, pair.public, vector) for vector in vectors], 100)
    assert same(opened(chosen, pair.secret, total, 100, 2), plain(vectors))


def test_a_ciphertext_is_fresh_each_time_and_shows_nothing_of_its_slots(parameters, pair, members, ciphertexts):
    again = encrypted(parameters, pair.public, members[0])
    assert again != ciphertexts[0]
    assert {len(chunk) // 1000 for chunk in again} == {len(chunk) // 1000 for chunk in ciphertexts[0]}


def test_a_key_is_new_each_time(parameters, pair):
    other = bfv.generate(parameters)
    assert other.public != pair.public and bytes(other.secret.view) != bytes(pair.secret.view)


def test_the_public_half_holds_no_secret_and_no_other_keys(pair):
    context = tenseal.context_from(pair.public, n_threads=1)
    assert context.has_public_key() and not context.is_private()
    assert not context.has_secret_key() and not context.has_relin_keys() and not context.has_galois_keys()
    secret = tenseal.context_from(bytes(pair.secret.view), n_threads=1)
    assert secret.is_private() and not secret.has_public_key()
    assert not secret.has_relin_keys() and not secret.has_galois_keys()


def test_under_another_key_a_sum_is_refused(parameters, weights, ciphertexts):
    other = bfv.generate(parameters)
    with pytest.raises(SumOutOfRange):
        opened(parameters, other.secret, ciphertexts[0], weights, 1)


def test_more_votes_than_survivors_are_refused(parameters, pair, weights, ciphertexts):
    total = list(bfv.add(parameters, pair.public, ciphertexts, weights))
    with pytest.raises(SumOutOfRange):
        opened(parameters, pair.secret, total, weights, 2)


def test_numbers_in_unused_slots_are_refused_and_not_shown(parameters, pair):
    """A vector of a full chunk, opened as if it were shorter."""
    full = draw_vector(parameters, parameters.weights_per_chunk, np.random.default_rng(2))
    chunks = encrypted(parameters, pair.public, full)
    assert same(opened(parameters, pair.secret, chunks, parameters.weights_per_chunk, 1), plain([full]))
    with pytest.raises(SumOutOfRange, match="slots that no weight uses are not zero"):
        opened(parameters, pair.secret, chunks, 3, 1)


# Numbers of things


def test_chunks_have_to_be_as_many_as_the_vector_has(parameters, pair, weights, ciphertexts):
    one = ciphertexts[0]
    bfv.check(parameters, pair.public, one, weights)
    for chunks in (one[:1], [*one, one[0]], []):
        with pytest.raises(CiphertextRefused):
            bfv.check(parameters, pair.public, chunks, weights)
        with pytest.raises(CiphertextRefused):
            list(bfv.add(parameters, pair.public, [one, chunks], weights))
        with pytest.raises(CiphertextRefused):
            list(bfv.decrypt(parameters, pair.secret, chunks, weights, 1, repeat(0)))


@pytest.mark.parametrize("count", [0, 6])
def test_no_more_are_added_than_the_parameters_have_room_for(parameters, pair, weights, ciphertexts, count):
    with pytest.raises(CapacityExceeded):
        list(bfv.add(parameters, pair.public, ciphertexts[:1] * count, weights))
    with pytest.raises(CapacityExceeded):
        list(bfv.decrypt(parameters, pair.secret, ciphertexts[0], weights, count, repeat(0)))


def test_the_process_counts_too(parameters, pair, ciphertexts):
    with bfv._keyed("add", parameters, pair.public, Limits()) as process:
        for _ in range(6):
            process.send(worker.DATA, ciphertexts[0][0])
        process.send(worker.NEXT)
        with pytest.raises(CiphertextRefused, match="more ciphertexts"):
            process.receive(worker.DATA, "a sum")
    with bfv._keyed("decrypt", parameters, pair.secret.view, Limits(), 0) as process:
        process.send(worker.DATA, ciphertexts[0][0])
        with pytest.raises(CiphertextRefused, match="more ciphertexts"):
            process.receive(worker.DATA, "a sum")
    for numbers in (bytes(8 * DEGREE + 8), bytes(9)):
        with bfv._keyed("encrypt", parameters, pair.public, Limits()) as process:
            process.send(worker.DATA, numbers)
            with pytest.raises(CiphertextRefused, match="more numbers"):
                process.receive(worker.DATA, "a vector")


@pytest.mark.parametrize("kinds", [(worker.NEXT,), (worker.KEY,), (worker.DATA, worker.KEY)])
def test_the_process_does_nothing_out_of_turn(parameters, pair, ciphertexts, kinds):
    with bfv._keyed("add", parameters, pair.public, Limits()) as process:
        for kind in kinds:
            process.send(kind, ciphertexts[0][0])
        with pytest.raises(WorkerLost, match="does not do"):
            process.receive(worker.DATA, "a sum")


def test_slots_of_another_vector_are_not_encrypted(parameters, pair, weights, members):
    slots = list(slots_of(parameters, *members[0]))
    for other in (slots[:1], [*slots, slots[0]], slots[::-1], [slots[0], slots[0]]):
        with pytest.raises(ValueError):
            list(bfv.encrypt(parameters, pair.public, other, weights))


# Parameters and keys


def test_a_key_of_other_parameters_is_refused(parameters, pair, weights, members, ciphertexts):
    other = bfv.generate(choose(5, 8))
    with pytest.raises(CiphertextRefused, match="not one of these parameters"):
        encrypted(parameters, other.public, members[0])
    with pytest.raises(CiphertextRefused, match="not one of these parameters"):
        list(bfv.decrypt(parameters, other.secret, ciphertexts[0], weights, 1, repeat(0)))


def test_halves_of_a_key_are_not_taken_for_each_other(parameters, pair, weights, ciphertexts):
    with pytest.raises(CiphertextRefused, match="secret key stands where a public one"):
        bfv.check(parameters, bytes(pair.secret.view), ciphertexts[0], weights)
    public = bfv.SecretKey(pair.public)
    with pytest.raises(CiphertextRefused, match="or the other way round"):
        list(bfv.decrypt(parameters, public, ciphertexts[0], weights, 1, repeat(0)))


def test_a_context_with_more_in_it_is_refused(parameters, weights, ciphertexts):
    context = tenseal.context(
        tenseal.SCHEME_TYPE.BFV,
        poly_modulus_degree=DEGREE,
        plain_modulus=parameters.plain_modulus,
        coeff_mod_bit_sizes=list(parameters.coefficient_bits),
        n_threads=1,
    )

    def saved(relin=False, secret=False):
        return context.serialize(
            save_public_key=True, save_secret_key=secret, save_galois_keys=False, save_relin_keys=relin
        )

    bfv.check(parameters, saved(), ciphertexts[0], weights)
    for relin, secret in ((True, False), (False, True)):
        with pytest.raises(CiphertextRefused):
            bfv.check(parameters, saved(relin, secret), ciphertexts[0], weights)
    with pytest.raises(CiphertextRefused, match="or the other way round"):
        list(bfv.decrypt(parameters, bfv.SecretKey(saved(secret=True)), ciphertexts[0], weights, 1, repeat(0)))


def test_a_context_with_rotation_keys_is_refused(parameters, pair):
    """A whole set of them is longer than a key may be, so this looks at the check alone."""
    held = worker.Bfv(bfv._job("check", parameters))
    context = held._library.TenSEALContext.deserialize(pair.public, 1)

    class More:
        def __getattr__(self, name):
            return getattr(context, name)

        def has_galois_keys(self):
            return True

    for found, refused in ((context, False), (More(), True)):
        held._library = SimpleNamespace(TenSEALContext=SimpleNamespace(deserialize=lambda *_, found=found: found))
        if refused:
            with pytest.raises(worker.Refusal, match="key"):
                held.load_key(pair.public, secret=False)
        else:
            held.load_key(pair.public, secret=False)


@pytest.mark.parametrize("key", [b"", b"x", bytes((1 << 20) + 1)], ids=len)
def test_what_is_no_key_is_refused(parameters, weights, ciphertexts, key):
    with pytest.raises(CiphertextRefused):
        bfv.check(parameters, key, ciphertexts[0], weights)


def test_a_refusal_names_the_vector_and_the_chunk(parameters, pair, weights, ciphertexts):
    bad = [ciphertexts[1][0], bytes(len(ciphertexts[1][1]))]
    with pytest.raises(CiphertextRefused, match=r"vector 1, chunk 1: .* malformed"):
        list(bfv.add(parameters, pair.public, [ciphertexts[0], bad, ciphertexts[2]], weights))
    with pytest.raises(CiphertextRefused, match="chunk 1 of a vector has 5 bytes"):
        list(bfv.add(parameters, pair.public, [ciphertexts[0], [bad[0], b"short"]], weights))


def test_ciphertexts_that_cancel_are_refused(parameters, pair, weights, ciphertexts):
    """Their sum would carry its numbers in the open."""
    q, negative = coefficient_primes(DEGREE, parameters.coefficient_bits)[0], []
    for chunk in ciphertexts[0]:
        header, stream = take_apart(chunk)
        start = INNER["words"] + 8
        words = (q - np.frombuffer(bytes(stream[start:]), "<u8")) % q
        negative.append(put_together(header, compress(stream[:start] + words.astype("<u8").tobytes())))
    bfv.check(parameters, pair.public, negative, weights)
    with pytest.raises(CiphertextRefused, match="vector 1, chunk 0"):
        list(bfv.add(parameters, pair.public, [ciphertexts[0], negative], weights))


def test_a_process_that_answers_other_sizes_is_not_believed(parameters, pair, weights, ciphertexts, monkeypatch):
    genuine = Worker.receive
    short = {worker.DATA: 8}

    def receive(self, kind, what):
        return genuine(self, kind, what)[: short.get(kind, 1 << 20)]

    monkeypatch.setattr(Worker, "receive", receive)
    with pytest.raises(WorkerLost, match="no ciphertext"):
        list(bfv.add(parameters, pair.public, ciphertexts, weights))
    with pytest.raises(WorkerLost, match="another number of slots"):
        list(bfv.decrypt(parameters, pair.secret, ciphertexts[0], weights, 1, repeat(0)))


def test_the_process_never_sees_more_than_the_slots_of_the_sum(parameters, pair, ciphertexts, weights):
    """What comes back over the pipe is exactly the slots that weights use."""
    with bfv._keyed("decrypt", parameters, pair.secret.view, Limits(), slots_used(parameters, weights)) as process:
        for chunk, used in zip(ciphertexts[0], (DEGREE, slots_used(parameters, 3)), strict=True):
            process.send(worker.DATA, chunk)
            assert len(process.receive(worker.DATA, "a sum")) == 8 * used
