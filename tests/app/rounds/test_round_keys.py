"""The keys of one round at a key holder: kept, read back, and wiped."""

import pytest

from fedspallm_secure.app.rounds.planning import cipher_for
from fedspallm_secure.app.rounds.round_keys import VALID, RoundSecret, make_round_key
from fedspallm_secure.crypto.sealing import Kem, unwrap, wrap
from fedspallm_secure.errors import FormatError
from fedspallm_secure.pruning.strategies import Strategy
from tests.clear_cipher import clear
from tests.parties import NOW
from tests.protocol.rounds.member_stage import HOLDER, lungs


@pytest.fixture
def made():
    with clear():
        signer = lungs()[str(HOLDER)].signer
        return make_round_key(signer, lungs().name, HOLDER, 3, cipher_for(5, Strategy.VOTES, 32), NOW)


def test_both_halves_fit_and_are_read_back(made):
    key, secret = made
    again = RoundSecret.parse(secret.encode())
    assert bytes(again.decryption.view) == bytes(secret.decryption.view) and again.recipient == secret.recipient
    assert unwrap(wrap(b"k" * 32, key.recipient, b"x"), again.recipient, b"x") == b"k" * 32
    assert (key.party, key.index, key.not_before, key.not_after) == (HOLDER, 3, NOW, NOW + VALID)


def test_what_decrypts_is_wiped_on_the_way_out_also_after_an_error(made):
    _, secret = made
    with pytest.raises(ZeroDivisionError), secret:
        assert secret.decryption.view
        raise ZeroDivisionError
    with pytest.raises(ValueError, match="wiped"):
        secret.decryption.view  # noqa: B018


def test_less_than_both_is_neither():
    for size in (0, 5, Kem.HYBRID.secret_size):
        with pytest.raises(FormatError):
            RoundSecret.parse(bytes(size))


def test_nothing_of_it_is_shown(made):
    assert "nothing to hide" not in repr(made[1]) and made[1].recipient.secret.hex() not in repr(made[1])
