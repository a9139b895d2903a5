"""A witnessed round between services over mutual TLS, and a witness whose home was put back."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedspallm_secure.app.configuration.asking import asked_members
from fedspallm_secure.app.configuration.federation import read_federation
from fedspallm_secure.app.configuration.witness import read_witness
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.service.attendants import AttendantLoop
from fedspallm_secure.app.service.client import run_client
from fedspallm_secure.app.service.live import Live
from fedspallm_secure.app.service.loops import Stop
from fedspallm_secure.app.service.status import status_of
from fedspallm_secure.app.service.watched import watch
from fedspallm_secure.app.service.witness import make_key, run_witness
from fedspallm_secure.app.stations.opening import open_station
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.notes import NoteKey, NoteKind
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.errors import CertificateRevoked, MissingInput, RolledBack, UsageError
from fedspallm_secure.protocol.audit.note_keys import note_key
from fedspallm_secure.protocol.audit.policies import make_policy
from fedspallm_secure.secagg.graphs import COMPLETE_LIMIT
from fedspallm_secure.storage.home import open_home
from fedspallm_secure.transport.wire import Hello
from tests.ceremony import FEDERATION, PASSWORD
from tests.services import Services
from tests.stationary import stations

WATCHERS = ("wyn", "xan", "yva")
ROUNDS = 'profile = "two-trip-witnessed"\nwitnesses = ["wyn", "xan", "yva"]\ndishonest = 1\n'
POLICY = '[policy]\nprofiles = ["two-trip-witnessed"]\nwitnesses = ["wyn", "xan", "yva"]\ndishonest = 1\n'


def write_policy(found: Services, path: Path) -> None:
    """What the witnesses tell the members: their keys, and that of the log, which is the server's own here."""
    keys = [make_key(read_witness(found.configs[name]), lambda _: PASSWORD) for name in WATCHERS]
    hub = read_federation(found.configs["hub"]).server
    with open_station(hub.home, hub.data, lambda _: PASSWORD, lambda: int(time.time())) as post:
        log = note_key(FEDERATION, post.party, post.note_signer.public)
    path.write_bytes(make_policy(log, keys, 3).encode())


@pytest.mark.slow
def test_a_witnessed_round_over_tls(tmp_path):
    """Members help to open the sums where all three witnesses have cosigned a log with the list in it."""
    policy = tmp_path / "log.policy"
    with Services(tmp_path, server=ROUNDS, member=f'{POLICY}log_policy = "{policy}"\n', witnesses=WATCHERS) as found:
        write_policy(found, policy)
        found.start("hub", *found.members, *WATCHERS)
        assert found.wait("hub") == 0
        assert [found.wait(name) for name in (*found.members, *WATCHERS)] == [0] * 7
        assert len({found.model(name) for name in ("hub", *found.members)}) == 1
        for name in WATCHERS:
            status = status_of(found.configs[name])
            assert (status["state"], status["signed"]) == ("cosigning", {"round": 1, "types": ["endorsement"]})
            assert status["last_contact"]
            assert status["refusals"] == {}
        for name in found.members:
            with watch(found.ceremony.home(f"member/{name}") / "register.sqlite") as watched:
                assert watched.fact("witnessed", "*") > 20


def test_a_member_whose_policy_does_not_name_the_log_does_not_begin(tmp_path):
    policy = tmp_path / "log.policy"
    found = Services(tmp_path, members=("north",), member=f'[policy]\nlog_policy = "{policy}"\n')
    other = NoteKey("lungs.example/log/other", NoteKind.LOG, Ed25519Signer(b"\1" * 32).public)
    for written, words in (
        (b"quorum none\n", "names no log"),
        (b"", "no quorum"),
        (make_policy(other, [], 0).encode(), "no log"),
    ):
        policy.write_bytes(written)
        with pytest.raises(UsageError, match=words) as refused:
            run_client(found.configs["north"], lambda _: PASSWORD, True, Silent())
        assert str(policy) in str(refused.value)
    policy.unlink()
    with pytest.raises(MissingInput):
        run_client(found.configs["north"], lambda _: PASSWORD, True, Silent())


def test_a_witness_of_a_server_that_is_not_in_the_roster_does_not_begin(tmp_path):
    found = Services(tmp_path, members=("north",), witnesses=("wyn",))
    path = found.configs["wyn"]
    path.write_text(path.read_text().replace('id = "hub"', 'id = "hubb"'))
    with pytest.raises(UsageError, match="server/hubb is not in"):
        run_witness(path, lambda _: PASSWORD, True)


def test_beacons_are_still_refused(tmp_path):
    found = Services(tmp_path, server='beacons = ["wyn"]\n', members=("north",))
    with pytest.raises(UsageError, match="witnesses draw"):
        home = open_home(found.ceremony.home("server/hub"))
        asked_members(read_federation(found.configs["hub"]), home.trust.roster)


def test_more_members_than_a_complete_graph_has_are_refused_also_where_the_roster_lists_them(tmp_path):
    entry = SimpleNamespace(party=Party("member", "north"))
    roster = SimpleNamespace(entries=[entry] * (COMPLETE_LIMIT + 1))
    path = Services(tmp_path, members=("north",)).configs["hub"]
    with pytest.raises(UsageError, match=f"{COMPLETE_LIMIT + 1} members are asked"):
        asked_members(read_federation(path), roster)
    roster.entries.pop()
    assert len(asked_members(read_federation(path), roster)) == COMPLETE_LIMIT


class Said:
    """Stands for a network whose server says what it has of this witness."""

    trouble = None

    def __init__(self, post, sequence):
        trust = post.trust
        self.hello = Hello(FEDERATION, "x/1", 1, trust.roster.hash, 1, int(time.time()), sequence)

    def start(self):
        pass

    def check(self):
        pass


def test_a_witness_whose_certificate_was_withdrawn_does_not_begin(tmp_path):
    found = Services(tmp_path, members=("north",), witnesses=("wyn",))
    found.ceremony.take("witness/wyn", found.ceremony.revoke("witness/wyn"))
    with pytest.raises(CertificateRevoked, match="withdrawn the certificate of witness/wyn"):
        run_witness(found.configs["wyn"], lambda _: PASSWORD, True)


def test_a_witness_that_was_put_back_signs_nothing(tmp_path):
    with stations(tmp_path / "federation", members=2, witnesses=("wyn",)) as found:
        station = found.witnesses["wyn"]
        made = station.post.journal.register.last_sequence()
        said = Said(station.post, made + 1)
        loop = AttendantLoop(station, str, said, Live(tmp_path / "live.json"), Stop(), True)
        with pytest.raises(RolledBack):
            loop.run()
