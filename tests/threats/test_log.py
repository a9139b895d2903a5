"""The log against who would forge it, stop it or make it fail: servers, members, witnesses, and plain bad luck."""

import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from fedspallm_secure.crypto.merkle import Tree, leaf_hash
from fedspallm_secure.crypto.notes import Note, NoteSignature, open_checkpoint
from fedspallm_secure.errors import AuditEntry, AuditPlan, Equivocation, FormatError, LogRefused
from fedspallm_secure.protocol.audit import log_bodies
from fedspallm_secure.protocol.audit.cosigning import Answer
from fedspallm_secure.protocol.audit.entries import Entry, EntryType
from fedspallm_secure.protocol.audit.policies import make_policy
from fedspallm_secure.protocol.audit.reports import Given
from fedspallm_secure.protocol.audit.verification import verify_log
from fedspallm_secure.protocol.limits import CLOCK_SKEW
from fedspallm_secure.protocol.rounds.records_member import ReceiptHeld, read_member_record
from fedspallm_secure.protocol.rounds.server_state import State
from fedspallm_secure.protocol.rounds.survivors import ListedGroup, SurvivorList
from fedspallm_secure.secagg.thresholds import Profile
from fedspallm_secure.storage.home import open_home
from fedspallm_secure.storage.log_folder import FolderLog
from tests.app.audit.real_log import played, read
from tests.app.service.stages import drive
from tests.stationary import HUB, SERVER, Action, an_offer, stations
from tests.threats.test_real_rounds import bundle_of

WITNESSES = ("wyn", "xan", "yva")
SMALL = {"members": 4, "layers": 1}


def failures(found, policy=None, receipts=False):
    """Steps that the log of the server fails, with what was found; members show all checkpoints that they kept."""
    found.server.scribe.publish()
    shown, held = [], []
    for station in found.members.values():
        shown += [note for note, _, _ in station.post.log.notes()]
        for round in range(1, station.post.journal.last_round() + 1):
            records = station.post.journal.records(round, read_member_record)
            held += [record.statement for record in records if isinstance(record, ReceiptHeld)]
    given = Given(tuple(shown), tuple(held) if receipts else None)
    report = verify_log(FolderLog(found.data(HUB) / "log"), found.post(HUB).home.trust.root.der, policy, given)
    return [(step.name, finding.text) for step in report.steps if step.passed is False for finding in step.findings]


def entries(found, type=None):
    log = found.post(HUB).log
    parsed = map(Entry.parse, log.entries(0, log.size))
    return [entry for entry in parsed if type is None or entry.type is type]


def refused_logs(found):
    """What members said of the log that they were shown."""
    return [(name, str(error)) for name, one in found.members.items() for _, error in one.told if _is_about_log(error)]


def _is_about_log(error):
    return isinstance(error, LogRefused)


def says(found, body, number, round=1, checkpoint=None, type="endorsement"):
    """North sends something under a sequence number of its choice, with a checkpoint of its choice."""
    post = found.post("member/north")
    box, register = post.postbox, post.postbox.register
    register.next_sequence = lambda: number
    honest = box.checkpoint
    box.checkpoint = honest if checkpoint is None else lambda: checkpoint
    with post.at_once():
        digest = post.send(type, SERVER, [body], round, "ab" * 32 if round else "*")
    del register.next_sequence
    box.checkpoint = honest
    found.act(Action(HUB, "deliver", "member/north", digest))
    found.act(Action("member/north", "departed", HUB, digest))
    found.server.work_through()


def goes_on(found):
    """The round comes to its result, everybody has the log, and it passes its audit."""
    found.wait()
    assert found.model.done
    assert failures(found) == []
    assert refused_logs(found) == []
    size = found.post(HUB).log.size
    assert {name: one.post.log.size for name, one in found.members.items()} == dict.fromkeys(found.members, size)


def newer(found, *documents, but=()):
    """Everybody takes these documents in, and goes on with them."""
    for party in found.parties:
        found.ceremony.take(party, *documents)
        if party not in but:
            post = found.post(party)
            post.renew(open_home(post.home.path))
            found.station(party).renew()


def renewed(found, party):
    """New keys and a new certificate for a party, which starts again; everybody has the roster."""
    found.close(party)
    found.ceremony.take(party, found.ceremony.sign(found.ceremony.renew(party)))
    newer(found, found.ceremony.roster(), but=[party])
    found.open(party)


def enrolled_again(found, party):
    """A member that has lost everything, in a new home."""
    found.close(party)
    crl = found.ceremony.revoke(party)
    shutil.move(found.ceremony.home(party), f"{found.ceremony.home(party)}-lost")
    shutil.rmtree(found.data(party))
    found.ceremony.take(party, found.ceremony.sign(found.ceremony.request(party, prekeys=4)))
    newer(found, crl, found.ceremony.roster(), but=[party])
    found.open(party)
    found.offer(party.partition("/")[2])


# --- members that would have the log refused --------------------------------------------------------------------------


@pytest.mark.parametrize("round", [0, 1, 2, 999])
def test_two_packages_of_a_round_that_is_not_there(tmp_path, round):
    """THREAT_MODEL T217: what it shows of them has its place in the grammar, so nobody has to refuse the log."""
    with stations(tmp_path, **SMALL) as found:
        drive(found, State.ENDORSING)
        kind = "endorsement" if round else "offer"
        says(found, b'{"a":1}', 5000, round, type=kind)
        says(found, b'{"a":2}', 5000, round, type=kind)
        assert isinstance(found.server.told[-1][1], Equivocation)
        (entry,) = entries(found, EntryType.EQUIVOCATION)
        assert entry.round == (1 if round == 1 else 0)
        goes_on(found)


def test_a_checkpoint_that_nobody_signed_in_the_second_of_two_packages(tmp_path):
    """THREAT_MODEL T218: what was refused unread says nothing about the log."""
    with stations(tmp_path, **SMALL) as found:
        drive(found, State.ENDORSING)
        says(found, b'{"a":1}', 5000)
        says(found, b'{"a":2}', 5000, checkpoint=b"no checkpoint")
        assert isinstance(found.server.told[-1][1], Equivocation)
        goes_on(found)


def test_a_flood_of_packages_under_one_number_and_under_many(tmp_path):
    """THREAT_MODEL T219: one proof for each key and round stands in the log."""
    with stations(tmp_path, **SMALL) as found:
        drive(found, State.ENDORSING)
        before = len(entries(found))
        for number in (5000, 5001, 5002):
            for value in (b"1", b"2", b"3"):
                says(found, b'{"a":' + value + b"}", number, 0, type="offer")
                assert isinstance(found.server.told[-1][1], FormatError if value == b"1" else Equivocation)
        assert len(entries(found)) == before + 1
        goes_on(found)


# --- witnesses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [Profile.THREE_TRIP, Profile.WITNESSED], ids=["three", "witnessed"])
def test_a_quorum_without_one_to_spare_is_enough(tmp_path, profile):
    """THREAT_MODEL T220: members are told of the last cosignature that they wait for, though one witness is silent."""
    with stations(tmp_path, **SMALL, profile=profile, witnesses=WITNESSES) as found:
        keys = [witness.statement.key for witness in found.witnesses.values()]
        policy = make_policy(found.server.scribe.key, keys, 2)
        for member in found.members.values():
            member.book.policy = policy
        found.silent = {"wyn"}
        found.run()  # and nobody has to wait for the end of a stage
        found.now += 61
        found.run()
        assert found.model.done == [1]
        assert failures(found, policy) == []


def test_a_witness_that_signs_for_others(tmp_path):
    """THREAT_MODEL T221: it speaks for itself alone: lines that it adds count for nothing, and keep nobody out."""
    with stations(tmp_path, **SMALL, witnesses=WITNESSES) as found:
        post = found.post("witness/wyn")
        honest = post.send

        def send(type, to, body, *rest):
            answer = Answer.parse(bytes(body[0]))
            if answer.note is not None:
                more = tuple(NoteSignature(f"lungs.example/witness/{i}", b"abcd", bytes(72)) for i in range(97))
                answer = Answer(answer.note_key, Note(answer.note.text, answer.note.signatures + more))
            return honest(type, to, [answer.encode()], *rest)

        post.send = send
        found.wait()
        assert {type(error) for arrived, error in found.server.told if arrived.type == "cosignature"} == {FormatError}
        keys = [witness.statement.key for witness in found.witnesses.values()]
        assert failures(found, make_policy(found.server.scribe.key, keys, 2)) == []


# --- renewals and new homes -------------------------------------------------------------------------------------------


def test_a_server_that_has_renewed_its_keys(tmp_path):
    """THREAT_MODEL T222: entries, receipts and statements of before stay good, for auditors and for who joins later."""
    with stations(tmp_path, **SMALL, prekeys=4, schedule=("1/4", "1/2")) as found:
        while found.model.done != [1]:
            found.carry()
            found.step()
        found.carry()
        found.station("member/north").work_through()
        renewed(found, HUB)
        enrolled_again(found, "member/east")
        found.wait()
        assert refused_logs(found) == []
        assert found.members["east"].post.log.size == found.post(HUB).log.size
        assert failures(found, receipts=True) == []


def test_a_member_that_lost_its_home_gets_the_whole_log(tmp_path):
    """THREAT_MODEL T223: what was seen under the old certificate does not count for the new one."""
    with stations(tmp_path, **SMALL, prekeys=4) as found:
        drive(found, State.UNMASKING)
        enrolled_again(found, "member/east")
        found.wait()
        assert refused_logs(found) == []
        assert found.members["east"].post.log.size > 0


def test_a_witness_that_has_renewed_its_certificate(tmp_path):
    """THREAT_MODEL T224: what it stated with an earlier key stays good, for auditors, when another one joins."""
    with stations(tmp_path, **SMALL, witnesses=WITNESSES) as found:
        found.silent = {"yva"}
        drive(found, State.ENDORSING, silent=["yva"])
        found.carry()
        found.step()
        renewed(found, "witness/wyn")
        found.silent = {"wyn"}
        found.wait()
        assert len(entries(found, EntryType.WITNESSES)) > 1
        assert failures(found) == []


# --- the server's own misfortunes -------------------------------------------------------------------------------------


def test_what_was_never_durable_is_in_no_checkpoint(tmp_path):
    """THREAT_MODEL T225: after a step that failed a checkpoint of as many, other entries is signed anew."""
    with stations(tmp_path, **SMALL) as found:
        post, scribe = found.post(HUB), found.server.scribe

        def write(name):
            scribe.write(EntryType.SOFTWARE, post.party, {"name": name})
            return scribe.checkpoint()

        with pytest.raises(ZeroDivisionError), post.at_once():
            write("first/1")
            raise ZeroDivisionError
        with post.at_once():
            note = write("other/1")
        log = post.log
        tree = Tree(map(leaf_hash, log.entries(0, log.size)))
        assert open_checkpoint(Note.parse(note), scribe.key).root == tree.root()


def test_a_published_checkpoint_that_cannot_be_read_stops_no_server(tmp_path):
    """THREAT_MODEL T226: a link, or a file of any size, in the folder that everybody may fetch from."""
    with stations(tmp_path, **SMALL) as found:
        found.server.scribe.publish()
        path = found.data(HUB) / "log" / "checkpoint"
        for forge in (lambda: path.symlink_to("/dev/zero"), lambda: path.write_bytes(b"x" * 100_000)):
            path.unlink()
            forge()
            found.reopen(HUB)
            found.server.scribe.publish()
            assert failures(found) == []


def test_entries_that_fit_no_single_package(tmp_path, monkeypatch):
    """THREAT_MODEL T227: long entries are told in as many packages as they need."""
    monkeypatch.setattr(log_bodies, "BYTES_AT_ONCE", 2_000)
    with stations(tmp_path, **SMALL) as found:
        goes_on(found)
        assert len([one for one in found.carried if one.type == "log" and one.recipient == "member/north"]) > 20


def test_a_home_that_has_followed_another_log(tmp_path):
    """THREAT_MODEL T228: one home follows one log, and says so when it is started, not by refusing everything."""
    with stations(tmp_path, **SMALL) as found:
        drive(found, State.ENDORSING)
        found.policy = replace(found.policy, server=replace(SERVER, id="other"))
        with pytest.raises(LogRefused, match=r"followed the log of server/hub; it cannot follow that of server/other"):
            found.reopen("member/north")


# --- what an audit finds ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    with played(tmp_path_factory.mktemp("log")) as found:
        yield read(found)


def audit(log, source=None, **given):
    report = verify_log(source or log, log.root, None, Given(**given))
    return {step.name: [one.text for one in step.findings] for step in report.steps if step.passed is False}


def test_a_contribution_that_is_left_out_of_the_list(honest):
    """THREAT_MODEL T229: whoever contributed is on the list, or a complaint names it; `AuditPlan`."""
    log = honest.copy()
    index = log.find(EntryType.SURVIVORS, 1)
    old = SurvivorList.parse(log.documents[log.entry(index).data["document"]])
    gone = old.groups[0].members[0].id
    groups = [ListedGroup(old.groups[0].gid, old.groups[0].members[1:]), *old.groups[1:]]
    made = SurvivorList.make(log.server, old.federation, old.round, old.plan_hash, groups, old.ended)
    log.put(index, {"hash": made.hash, "document": log.keep(made.encode())})
    found = audit(log)[AuditPlan.step]
    assert any(f"{gone} contributed to group 0, and is left out" in text for text in found)


def test_an_entry_that_is_older_than_its_package(honest):
    """THREAT_MODEL T230: a server that dates entries back is found out by what others have signed; `AuditEntry`."""
    log = honest.copy()
    index = log.find(EntryType.CONTRIBUTION, 1)
    log.head(index, lambda context: replace(context, created=context.created + 2 * CLOCK_SKEW))
    (found,) = audit(log)[AuditEntry.step]
    assert "seconds after the entry" in found


class AtWork:
    """The folder of a server that goes on: every look shows what was published last."""

    def __init__(self, log):
        self.log, self.looks = log, 0

    def __getattr__(self, name):
        return getattr(self.log, name)

    def note(self):
        self.looks += 1
        return self.log.note()

    def cosigned(self):
        if self.looks:  # a newer one was put there meanwhile
            self.log.put(len(self.log.bodies) - 1, {"reason": "written later"})
        return self.log.note()


def test_a_log_that_grows_while_it_is_read(honest):
    """THREAT_MODEL T231: an auditor looks at one state of it, the cosigned checkpoint first."""
    log = honest.copy()
    assert audit(log, AtWork(log)) == {}


def test_an_auditor_needs_no_model_library():
    """THREAT_MODEL T232: a log is checked on a machine without PyTorch, from what strangers handed in."""
    program = (
        "import sys\nfor name in ('torch', 'transformers', 'safetensors'): sys.modules[name] = None\n"
        "import fedspallm_secure.app.audit.verifying, fedspallm_secure.app.audit.opening\n"
        "import fedspallm_secure.app.audit.comparing, fedspallm_secure.app.audit.proving\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- open -------------------------------------------------------------------------------------------------------------


def test_prekeys_that_come_again_after_they_were_dropped(tmp_path):
    """THREAT_MODEL T233: no plan names a prekey twice, whatever a member offers."""
    with stations(tmp_path, **SMALL, schedule=("1/4", "1/2")) as found:
        while found.model.done != [1]:
            found.carry()
            found.step()
        station = found.members["north"]
        first, others = station.bundle, [bundle_of(found, "north") for _ in range(3)]
        with station.post.at_once():
            for bundle in (*others, first):
                station.post.send("prekeys", SERVER, [bundle.encode()])
                offer = an_offer(bundle, station.policy)
                station.post.send("offer", SERVER, [offer.encode()])
        found.wait()
        assert failures(found) == []


def test_a_receipt_that_was_lost(tmp_path):
    """THREAT_MODEL T234: who has no receipt for something that it did send makes no honest log fail."""
    with stations(tmp_path, members=4, layers=2) as found:
        found.wait()
        assert failures(found, receipts=True) == []
        station = found.members["north"]
        records = station.post.journal.records(1, read_member_record)
        kept = [record.statement for record in records if isinstance(record, ReceiptHeld)]
        source, root = FolderLog(found.data(HUB) / "log"), found.post(HUB).home.trust.root.der
        assert verify_log(source, root, None, Given(receipts=tuple(kept[1:]))).passed


def test_a_server_that_renews_before_everybody_has_the_result(tmp_path):
    """THREAT_MODEL T238: members take the result that stands in their log, whichever key of the server signed it."""
    with stations(tmp_path, **SMALL) as found:
        drive(found, State.FINISHED)
        renewed(found, HUB)
        found.wait()
        assert all(work.taken == [(1, 0)] for work in found.works.values())
