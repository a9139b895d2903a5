"""The keys of key holders at a server: which ones it keeps, and which one the next round uses."""

import shutil
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from fedspallm_secure.app.rounds.planning import cipher_for
from fedspallm_secure.app.stations import cipher_keys
from fedspallm_secure.app.stations.opening import open_station
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret
from fedspallm_secure.errors import BadSignature, CertificateExpired, CertificateRefused, FormatError, NotAwaited
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.pruning.strategies import Strategy
from tests.ceremony import PASSWORD, Ceremony

VAULT, OTHER = Party.parse("key-holder/vault"), Party.parse("key-holder/other")
PARTIES = ("server/hub", str(VAULT), str(OTHER))
DAY = 86_400
RECIPIENT = RecipientSecret.generate(Kem.HYBRID).recipient_key


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    Ceremony(folder).enrol_all(*PARTIES)
    return folder


class Counter:
    """A server's post, and the signers of two key holders."""

    def __init__(self, folder, stack) -> None:
        ceremony = Ceremony(folder, new=False)
        self.now = ceremony.open("server/hub").signing.not_before + 3600
        self.signers = {}
        for name in PARTIES:
            place = folder / f"data-{name.partition('/')[2]}"
            opened = open_station(ceremony.home(name), place, lambda _: PASSWORD, lambda: self.now)
            post = stack.enter_context(opened)
            self.signers[post.party] = post.signer
            if name == "server/hub":
                self.post = post

    def key(self, index, holder=VAULT, signer=None, start=0, end=60 * DAY, federation="lungs.example") -> CipherKey:
        parameters = cipher_for(4, Strategy.FEDSPALLM, 32)
        public = f"{holder} {index}".encode()
        signer = self.signers[signer or holder]
        times = self.now + start, self.now + end
        return CipherKey.make(signer, federation, holder, index, parameters, public, RECIPIENT, *times)

    def keep(self, *keys, sender=VAULT) -> None:
        for key in keys:
            with self.post.at_once():
                cipher_keys.keep_key(self.post, sender, key if isinstance(key, bytes) else key.encode())

    def next(self, holder="vault"):
        return cipher_keys.next_key(self.post, holder)

    def use(self, key) -> None:
        with self.post.at_once():
            cipher_keys.use_key(self.post, key)

    def drop(self, key) -> None:
        with self.post.at_once():
            cipher_keys.drop_keys(self.post, plan(key))


def plan(key):
    """As much of a plan as names a key."""
    return SimpleNamespace(key_holder=None if key is None else SimpleNamespace(key=key.hash))


@pytest.fixture
def counter(made, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(made, folder)
    with ExitStack() as stack:
        yield Counter(folder, stack)


def test_keys_are_used_in_the_order_of_their_numbers_and_each_once(counter):
    first, second = counter.key(1), counter.key(2)
    assert counter.next() is None
    counter.keep(second, first)
    assert counter.next() == first
    counter.use(first)
    assert counter.next() == second
    assert cipher_keys.used_key(counter.post, plan(first)) == first
    assert cipher_keys.used_key(counter.post, plan(None)) is None
    counter.drop(first)
    assert cipher_keys.used_key(counter.post, plan(first)) is None
    assert counter.next() == second
    counter.drop(None)
    assert counter.next() == second


def test_a_round_that_is_over_takes_older_keys_along(counter):
    keys = [counter.key(number) for number in (1, 2, 3)]
    counter.keep(*keys)
    counter.use(keys[1])
    counter.drop(keys[1])
    assert [cipher_keys.used_key(counter.post, plan(key)) for key in keys] == [None, None, keys[2]]


def test_the_same_key_again_is_kept_once(counter):
    key = counter.key(1)
    counter.keep(key, key)
    assert len(counter.post.journal.recall_all("cipher key")) == 1


def test_an_old_number_is_refused_also_when_the_key_is_new(counter):
    counter.keep(counter.key(5))
    counter.use(counter.next())
    for index in (4, 5):
        with pytest.raises(NotAwaited):
            counter.keep(counter.key(index, end=61 * DAY))
    assert counter.next() is None
    counter.keep(counter.key(6))
    assert counter.next().index == 6


def test_no_more_than_eight_wait_and_each_key_holder_has_eight(counter):
    keys = [counter.key(number) for number in range(1, 9)]
    counter.keep(*keys)
    with pytest.raises(NotAwaited):
        counter.keep(counter.key(9))
    counter.keep(keys[0])  # one that is here takes no place
    counter.keep(counter.key(1, OTHER), sender=OTHER)
    assert counter.next("other").party == OTHER
    counter.use(keys[0])
    counter.drop(keys[0])
    counter.keep(counter.key(9))
    assert counter.next().index == 2


def test_keys_that_have_ended_are_passed_over(counter):
    counter.keep(counter.key(1, end=DAY), counter.key(2))
    assert counter.next().index == 1
    counter.now += 2 * DAY
    assert counter.next().index == 2


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"signer": OTHER}, BadSignature),
        ({"holder": OTHER}, BadSignature),
        ({"holder": OTHER, "signer": VAULT}, CertificateRefused),
        ({"federation": "hearts.example"}, CertificateRefused),
        ({"start": -2 * DAY, "end": -DAY}, CertificateExpired),
        ({"start": DAY}, CertificateExpired),
    ],
)
def test_keys_of_others_and_of_other_times(counter, changes, error):
    with pytest.raises(error):
        counter.keep(counter.key(1, **changes))
    assert counter.post.journal.recall_all("cipher key") == {}


def test_what_is_no_key(counter):
    body = counter.key(1).encode()
    for other in (b"", body[:-1], body + b"x"):
        with pytest.raises(FormatError):
            counter.keep(other)


def test_a_key_whose_holder_was_renewed_is_passed_over(counter, monkeypatch):
    """Its signature is by a key that the roster has no more."""
    counter.keep(counter.key(1))
    assert counter.next() is not None
    real = counter.post.trust.roster.entry
    entries = {VAULT: real(OTHER)}
    monkeypatch.setattr(type(counter.post.trust.roster), "entry", lambda _, party: entries.get(party) or real(party))
    assert counter.next() is None
