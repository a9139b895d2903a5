"""V1 to V8: valid logs pass, and each forgery fails its own step alone, at the entries that it is about."""

import subprocess
import sys

import pytest

from fedspallm_secure.crypto.notes import Checkpoint, Note, NoteKey, NoteKind, cosign, sign_checkpoint
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.errors import FormatError, LimitExceeded
from fedspallm_secure.protocol.audit.entries import EntryType
from fedspallm_secure.protocol.audit.policies import make_policy
from fedspallm_secure.protocol.audit.reports import FINDINGS_LIMIT
from fedspallm_secure.protocol.audit.verification import Given, verify_log
from fedspallm_secure.protocol.rounds.receipts import Receipt
from fedspallm_secure.protocol.rounds.survivors import EndCode, Ended
from fedspallm_secure.secagg.thresholds import Profile
from tests.parties import DAY, Federation
from tests.protocol.audit.forgeries import FORGERIES, fork
from tests.protocol.audit.kit import LOG_SIGNER, MEMBERS, Kit, valid_log
from tests.protocol.rounds.member_stage import MASKED

ALL = [f"V{number}" for number in range(1, 9)]
WITNESS = Ed25519Signer(b"\x31" * 32)
COSIGNER = NoteKey("lungs.example/witness/ada", NoteKind.COSIGNER, WITNESS.public)


def audit(kit: Kit, policy=None, root=None, **given):
    return verify_log(kit.log, kit.log.root if root is None else root, policy, Given(**given))


def failed(report) -> dict[str, set[int]]:
    """Step -> the entries that its findings name, of the steps that failed."""
    return {
        step.name: {index for finding in step.findings for index in finding.indices}
        for step in report.steps
        if step.passed is False
    }


def skipped(report) -> set[str]:
    return {step.name for step in report.steps if step.passed is None}


# What passes


def renewed_server(kit):
    kit.renew("server/hub")
    kit.play()


def server_with_a_new_key_for_a_withdrawn_one(kit):
    kit.renew("server/hub", revoke=True)
    kit.play()


def roster_by_the_old_key_of_the_server(kit):
    """It may also sign with the old key what tells of the new one."""
    old = kit.federation["server/hub"]
    kit.renew("server/hub")
    first = kit.log.find(EntryType.REVOCATIONS, 0, 1)
    kit.log.server = old.signer
    for index in (first, first + 1):
        kit.log.put(index)
    kit.log.server = kit.federation["server/hub"].signer
    kit.play()


def renewed_member(kit):
    kit.renew("member/north", revoke=True)
    kit.offer_prekeys("north")
    kit.play()


def newer_list_alone(kit):
    kit.federation.crl = kit.federation.revoke([], number=2)
    kit.take_list()
    kit.play()


def entries_of_the_server_under_an_old_list(kit):
    """It goes on writing where nothing can be taken in any more."""
    kit.open()
    kit.now += 50 * DAY
    kit.add(EntryType.ABORT, code="TOO_FEW_CONTRIBUTIONS")


def somebody_left_out_by_a_complaint(kit):
    for group in kit.open().groups:
        for member in group.cohort:
            kit.contribute(member, group.gid)
    kit.add(EntryType.COMPLAINT, group=0, check="S8", guilty=["north"], suspects=[])
    kit.list_survivors(left_out=[(0, "north")])
    finish(kit)


def group_without_enough(kit):
    for group in kit.open().groups:
        for member in group.cohort[: 5 if group.gid else 3]:
            kit.contribute(member, group.gid)
    ended = [Ended(0, EndCode.TOO_FEW_CONTRIBUTIONS)]
    kit.list_survivors(ended=ended)
    finish(kit, ended)


def group_that_ends_later(kit):
    for group in kit.open().groups:
        for member in group.cohort:
            kit.contribute(member, group.gid)
    kit.list_survivors()
    kit.add(EntryType.GROUP_ENDED, group=0, code="BAD_DEALING", named=["north"])
    finish(kit, [Ended(0, EndCode.BAD_DEALING, ("north",))])


def finish(kit, ended=()):
    for member in MEMBERS:
        kit.endorse(f"member/{member}")
    kit.add(EntryType.UNMASK_REQUEST, recipients=sorted(MEMBERS))
    for member in MEMBERS:
        kit.answer(member)
    kit.conclude(MEMBERS, ended)


def refusals_and_packages_under_one_number(kit):
    package, shown = kit.head("member/north", "contribution", "0")
    kit.add(EntryType.REFUSAL, "member/north", type="contribution", group="0", package=package, check="S4", head=shown)
    heads = [kit.head("member/north", "endorsement", sequence=99, created=kit.now - late)[1] for late in range(2)]
    kit.add(EntryType.EQUIVOCATION, "member/north", heads=heads)
    kit.add(EntryType.RETENTION, removed="answers", reason="nobody asked for them")


GOOD = [
    renewed_server,
    server_with_a_new_key_for_a_withdrawn_one,
    roster_by_the_old_key_of_the_server,
    renewed_member,
    newer_list_alone,
    entries_of_the_server_under_an_old_list,
    somebody_left_out_by_a_complaint,
    group_without_enough,
    group_that_ends_later,
    refusals_and_packages_under_one_number,
]


@pytest.mark.parametrize("go_on", GOOD, ids=[go_on.__name__ for go_on in GOOD])
def test_what_may_happen_passes(go_on):
    kit = valid_log(shows=go_on is not roster_by_the_old_key_of_the_server)
    go_on(kit)
    report = audit(kit, receipts=tuple(kit.log.receipts), checkpoints=(kit.log.note(),))
    assert [step.name for step in report.steps if step.passed] == ALL, [step.findings[:2] for step in report.steps]
    assert (report.size, report.root) == (len(kit.log.bodies), kit.log.tree.root())


@pytest.mark.parametrize("profile", MASKED)
def test_every_profile_passes(profile):
    witnesses = ("ada", "bo", "wyn") if profile is Profile.WITNESSED else ()
    kit = valid_log(profile=profile, witnesses=witnesses, dishonest=1 if witnesses else 0)
    report = audit(kit, receipts=tuple(kit.log.receipts))
    assert [step.name for step in report.steps if step.passed] == ALL
    assert report.rounds == 2


# What fails

CASES = [(step, forge) for step, many in FORGERIES.items() for forge in many]


@pytest.mark.parametrize(("step", "forge"), CASES, ids=[f"{step}-{forge.__name__}" for step, forge in CASES])
def test_a_forgery_fails_its_step_alone(step, forge):
    kit = valid_log(shows=False)
    expected = forge(kit)
    report = audit(kit)
    assert failed(report) == {step: expected}, [(one.name, one.findings[:3]) for one in report.steps]


def test_another_root_and_another_key_fail_v1():
    kit = valid_log()
    assert failed(audit(kit, root=Federation().root.der)) == {"V1": {0}}
    other = NoteKey(kit.log.key.name, NoteKind.LOG, WITNESS.public)
    assert failed(audit(kit, make_policy(other, [], 0))) == {"V1": {0}}
    elsewhere = NoteKey("lungs.example/log/other", NoteKind.LOG, LOG_SIGNER.public)
    assert failed(audit(kit, make_policy(elsewhere, [], 0))) == {"V1": set()}


def cosigned(kit, size, root):
    note = sign_checkpoint(LOG_SIGNER, kit.log.key, Checkpoint(kit.log.key.name, size, root))
    return cosign(WITNESS, COSIGNER, note, kit.now).encode()


def test_cosigned_checkpoints_have_to_be_of_this_history():
    kit = valid_log()
    policy, size = make_policy(kit.log.key, [COSIGNER], 1), 40
    assert failed(audit(kit, policy)) == {"V2": set()}
    kit.log.cosigned_note = cosigned(kit, size, kit.tree.root(size))
    report = audit(kit, policy)
    assert report.passed and report.witnessed == size
    for other in (cosigned(kit, size, bytes(32)), cosigned(kit, len(kit.log.bodies) + 1, bytes(32)), b"no note"):
        kit.log.cosigned_note = other
        assert failed(audit(kit, policy)) == {"V2": set()}
        assert failed(audit(kit)) == {"V2": set()}
    kit.log.cosigned_note = cosigned(kit, len(kit.log.bodies) + 1, bytes(32))
    assert skipped(audit(kit, policy)) == set(ALL[2:])  # entries of a log that lacks some are not read
    assert skipped(audit(kit)) == {"V7"}
    note = Note.parse(cosigned(kit, size, kit.tree.root(size)))
    key, own = note.signatures
    kit.log.cosigned_note = Note(note.text, (key, type(own)(own.name, own.id, bytes(72)))).encode()
    assert failed(audit(kit, policy)) == {"V2": set()}


@pytest.mark.parametrize("error", [LimitExceeded("too long"), FormatError("torn")])
def test_a_cosigned_checkpoint_that_cannot_be_read(error, monkeypatch):
    kit = valid_log()

    def cosigned():
        raise error

    monkeypatch.setattr(kit.log, "cosigned", cosigned)
    assert failed(audit(kit)) == {"V2": set()}


def test_checkpoints_that_were_given():
    kit = valid_log()
    assert audit(kit, checkpoints=(kit.note(), fork(kit, 30, kit.tree.root(30)))).passed
    for note in (fork(kit, 30), fork(kit, 1000), fork(kit, 30).replace(b"/hub", b"/pub"), b"nothing"):
        assert failed(audit(kit, checkpoints=(note,))) == {"V2": set()}


def test_heads_that_show_another_history_name_their_first_entry():
    kit = valid_log()
    kit.log.order(*range(30), *range(31, len(kit.log.bodies)))
    assert failed(audit(kit))["V2"] == {
        entry.seq for entry in kit.log.all() if entry.seq >= 30 and "head" in entry.data
    }


def entry_changed(kit):
    kit.log.hashes = list(kit.log.leaves(1000))
    kit.log.bodies[25] = kit.log.bodies[25].replace(b'"at":1', b'"at":2', 1)
    return {25}


def hash_changed(kit):
    kit.log.hashes = list(kit.log.leaves(1000))
    kit.log.hashes[25] = bytes(32)
    return {25}


def last_entries_gone(kit):
    del kit.log.bodies[-2:]
    return {len(kit.log.bodies)}


def last_hash_gone(kit):
    kit.log.hashes = list(kit.log.leaves(1000))[:-1]
    return {len(kit.log.bodies) - 1}


def exchanged_with_their_hashes(kit):
    kit.log.bodies[20], kit.log.bodies[21] = kit.log.bodies[21], kit.log.bodies[20]
    return set()


@pytest.mark.parametrize(
    "damage", [entry_changed, hash_changed, last_entries_gone, last_hash_gone, exchanged_with_their_hashes]
)
def test_damage_fails_v3_alone(damage):
    kit = valid_log()
    kit.log.signed = kit.log.note()
    expected = damage(kit)
    if damage is last_entries_gone:
        expected = set()
    report = audit(kit, receipts=tuple(kit.log.receipts))
    assert set(failed(report)) == {"V3"} and (failed(report)["V3"] or set()) == expected
    assert skipped(report) == {"V4", "V5", "V6", "V7", "V8"}


# V7


def receipt(kit, signer=None, **changes):
    old = Receipt.parse(kit.log.receipts[0])
    names = ("federation", "round", "plan_hash", "group", "member", "package", "deal")
    values = {**{name: getattr(old, name) for name in names}, **changes}
    return Receipt.make(signer or kit.log.server, **values).encode()


@pytest.mark.parametrize(
    "changes",
    [{"package": "ab" * 32}, {"deal": "ab" * 32}, {"plan_hash": "ab" * 32}],
    ids=["package", "deal", "plan"],
)
def test_a_receipt_for_something_else_names_the_contribution(changes):
    kit = valid_log()
    index = kit.log.find(EntryType.CONTRIBUTION, 1)
    assert failed(audit(kit, receipts=(*kit.log.receipts, receipt(kit, **changes)))) == {"V7": {index}}


def test_a_receipt_for_what_the_log_does_not_have():
    kit = valid_log()
    assert failed(audit(kit, receipts=(*kit.log.receipts, receipt(kit, group=77)))) == {"V7": set()}
    assert failed(audit(kit, receipts=(*kit.log.receipts, receipt(kit, signer=WITNESS)))) == {"V7": set()}
    elsewhere = receipt(kit, federation="hearts.example")
    assert failed(audit(kit, receipts=(*kit.log.receipts, elsewhere))) == {"V7": set()}
    assert failed(audit(kit, receipts=(*kit.log.receipts, b"nothing"))) == {"V7": set()}


def test_a_contribution_without_a_receipt_of_who_handed_in_theirs():
    kit = valid_log()
    report = audit(kit, receipts=tuple(kit.log.receipts[1:]))
    assert report.passed  # it is told, and no fault: a receipt may have been lost
    (told,) = next(step.findings for step in report.steps if step.name == "V7")
    assert told.indices == (kit.log.find(EntryType.CONTRIBUTION, 1),)
    mine = [data for data in kit.log.receipts if Receipt.parse(data).member == "north"]
    assert audit(kit, receipts=tuple(mine)).passed


# What is not run, and how much is told


def test_receipts_are_not_judged_in_a_copy_without_documents():
    kit = valid_log()
    kit.log.documents.clear()
    report = audit(kit, make_policy(kit.log.key, [], 0), documents=False, receipts=tuple(kit.log.receipts))
    assert report.passed and skipped(report) == {"V4", "V6", "V7", "V8"}


def test_a_step_that_rests_on_a_failed_one_is_not_run():
    kit = valid_log(shows=False)
    FORGERIES["V5"][0](kit)
    report = audit(kit, receipts=tuple(kit.log.receipts))
    assert set(failed(report)) == {"V5"} and skipped(report) == {"V6", "V7", "V8"}


def test_a_log_that_is_wrong_everywhere_is_told_in_so_many_words():
    kit = valid_log(shows=False)
    for number in range(FINDINGS_LIMIT + 10):
        kit.add(EntryType.SOFTWARE, name=f"x/{number}")
    kit.log.server = WITNESS
    kit.log.order(*range(len(kit.log.bodies)))
    (found,) = [step.findings for step in audit(kit).steps if step.name == "V4"]
    assert len(found) == FINDINGS_LIMIT + 1 and found[-1].indices == ()


def test_progress_is_told():
    told = []
    kit = valid_log()
    verify_log(kit.log, kit.log.root, None, Given(), lambda *words: told.append(words))
    size = len(kit.log.bodies)
    assert told[0] == ("entries", 0, size) and told[-1] == ("entries", size, size)


def test_an_auditor_needs_no_torch():
    code = (
        "import importlib, pkgutil, sys, fedspallm_secure.protocol.audit as audit\n"
        "for one in pkgutil.iter_modules(audit.__path__): importlib.import_module(f'{audit.__name__}.{one.name}')\n"
        "print(sorted({'torch', 'transformers', 'safetensors'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"
