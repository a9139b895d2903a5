"""THREAT_MODEL section 3, "Freshness": old lists and rosters, expired certificates, withdrawn senders."""

import shutil
from pathlib import Path

import pytest

from fedspallm_secure.app import authority as ca
from fedspallm_secure.crypto.revocation import revocation_list
from fedspallm_secure.errors import (
    CertificateExpired,
    CertificateRevoked,
    RevocationListStale,
    RolledBack,
    WrongRoster,
)
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.storage.pem import REVOCATION_LIST, encode_pem
from tests.attacks.stage import RECIPIENT, SENDER, Stage
from tests.ceremony import PASSWORD, Ceremony, Clock
from tests.parties import DAY
from tests.threats.bench import deliver, not_sealed, refused, refuses

NORTH = "member/north"


def test_an_older_or_second_list_of_one_number_is_refused(made: Ceremony):
    """THREAT_MODEL T63: number 2 after number 3; another list under number 3."""
    home, second, third = made.home(NORTH), made.crl(), made.crl()
    made.take(NORTH, third)
    with made.authority() as authority:
        now = ca.newest_list(authority).this_update
        twin = revocation_list(authority.signer(PASSWORD), authority.root, 3, [], now, now + 99 * DAY)
    for offered in (second, encode_pem(REVOCATION_LIST, twin)):
        with refused(RolledBack, untouched=home):
            made.take(NORTH, offered)


def test_an_older_roster_is_refused(made: Ceremony):
    """THREAT_MODEL T64: version 1 after version 2."""
    first, second = made.roster(), made.roster()
    made.take(NORTH, second)
    with refused(RolledBack, untouched=made.home(NORTH)):
        made.take(NORTH, first)


def test_a_package_under_another_roster_is_refused(stage: Stage):
    """THREAT_MODEL T65: an older one than the reader's, and a newer one."""
    federation, first = stage.federation, stage.federation.roster
    data = stage.seal(b"x")
    federation.roster = federation.new_roster(2)
    refuses(stage, data, WrongRoster)
    newer = stage.seal(b"x")
    federation.roster = first
    refuses(stage, newer, WrongRoster)


def test_who_gets_no_new_list_stops_and_does_not_go_on(stage: Stage, clock: Clock):
    """THREAT_MODEL T66: after the next update of the last list nothing is opened, verified or sealed any more."""
    data = stage.write(b"x", not_after=clock.now + 99 * DAY)
    clock.now = stage.federation.crl.next_update
    stage.seal(b"x")
    clock.now += 1
    refuses(stage, data, RevocationListStale)
    with refused(RevocationListStale, untouched=stage.medium):
        stage.verify(stage.medium / "p.fspkg")
    not_sealed(stage, RevocationListStale)
    stage.federation.crl = stage.federation.revoke([], number=2, valid=90 * DAY)
    assert deliver(stage, data) == b"x"


def test_a_withdrawn_sender_gains_nothing_by_an_old_date(stage: Stage, made: Ceremony):
    """THREAT_MODEL T67: a package dated long before the withdrawal; a new roster without the list that it demands."""
    federation = stage.federation
    data = stage.write(b"x", created=federation.now - 300 * DAY)
    good, federation.crl = federation.crl, federation.revoke([SENDER], number=2)
    refuses(stage, data, CertificateRevoked)
    federation.roster = federation.new_roster(2)
    federation.crl = good
    refuses(stage, stage.write(b"x"), RevocationListStale)
    crl, roster = made.revoke("member/south"), made.roster()
    with refused(RevocationListStale, untouched=made.home(NORTH)):
        made.take(NORTH, roster)
    made.take(NORTH, roster, crl)


def test_an_expired_certificate_or_key_statement_is_refused(stage: Stage, clock: Clock):
    """THREAT_MODEL T68: the sender's certificate too early and too late; the recipient's key statement has ended."""
    federation, now = stage.federation, stage.federation.now
    federation.crl = federation.revoke([], number=2, valid=999 * DAY)
    data = stage.write(b"x", created=now - 9 * DAY, not_after=now + 999 * DAY)
    leaf = federation[SENDER].leaf
    for moment in (leaf.not_before - 1, leaf.not_after + 1):
        clock.now = moment
        refuses(stage, data, CertificateExpired)
    clock.now = now
    federation.actors[RECIPIENT] = federation.actor(RECIPIENT, until=now + DAY)
    federation.roster = federation.new_roster(2)
    data = stage.write(b"x")
    clock.now += DAY + 1
    refuses(stage, data, CertificateExpired)


def test_two_rosters_of_one_version_are_refused(made: Ceremony):
    """THREAT_MODEL T69: shown to one reader, one after the other."""
    made.take(NORTH, made.roster())
    with made.authority() as authority:
        entries = made.open(NORTH).trust.roster.entries
        twin = Roster.make(authority.signer(PASSWORD), authority.root, 1, 0, 1, entries[:1])
    with refused(RolledBack, untouched=made.home(NORTH)):
        made.take(NORTH, twin.encode())


def test_readers_notice_an_authority_that_was_put_back_from_a_backup(made: Ceremony, clock: Clock, tmp_path: Path):
    """THREAT_MODEL T70: it gives out a list number and a roster version a second time."""
    backup = shutil.copytree(made.ca, tmp_path / "backup")
    made.take(NORTH, made.crl(), made.roster())
    shutil.rmtree(made.ca)
    shutil.copytree(backup, made.ca)
    clock.pass_days(1)
    for document in (made.crl(), made.roster()):
        with refused(RolledBack, untouched=made.home(NORTH)):
            made.take(NORTH, document)


@pytest.mark.parametrize("version", [1, 2])
def test_parties_with_different_rosters_cannot_exchange_packages(stage: Stage, version: int):
    """THREAT_MODEL T72: an authority has given each of them a roster of its own."""
    federation, shown_to_north = stage.federation, stage.federation.roster
    del federation.actors["auditor/watch"]
    shown_to_south = federation.new_roster(version)
    for sender, recipient, mine, yours in (
        (SENDER, RECIPIENT, shown_to_north, shown_to_south),
        (RECIPIENT, SENDER, shown_to_south, shown_to_north),
    ):
        federation.roster = mine
        data = stage.seal(b"x", sender, recipient)
        federation.roster = yours
        refuses(stage, data, WrongRoster, to=recipient)
