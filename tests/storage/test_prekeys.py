"""One-time keys: each is handed out once, in order, whoever asks, whatever fails, and wherever a process is killed."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fedspallm_secure.crypto.key_records import PrekeySecrets, Purpose, SigningSeed, prekeys_from
from fedspallm_secure.crypto.keyfiles import unlock
from fedspallm_secure.crypto.passwords import KdfParameters, Password, PasswordKey
from fedspallm_secure.crypto.sealing import RecipientKey, unwrap, wrap
from fedspallm_secure.errors import (
    DiskFull,
    ExposedKeyFile,
    FedSpaError,
    KeyFileExists,
    KeyStoreError,
    LimitExceeded,
    PrekeysExhausted,
    RolledBack,
    RunLocked,
    StorageError,
    WrongPassword,
)
from fedspallm_secure.storage import prekeys
from fedspallm_secure.storage.keystore import create_key_file
from fedspallm_secure.storage.prekeys import PrekeyFile
from tests.faults import Report, count_points, every_point, failing, run_and_kill

WORDS = "correct horse battery staple"
PASSWORD = Password.from_text(WORDS)
KEY = PasswordKey.new(PASSWORD, KdfParameters(memory_kib=64, passes=1, lanes=1))
OWNER = "spiffe://lungs.example/member/north"


def make(folder: Path, count: int = 4, first: int = 10) -> PrekeyFile:
    return PrekeyFile.create(folder / "prekeys.key", OWNER, count, first, KEY)


def held(path: Path) -> PrekeySecrets:
    """What the file holds, read by the format alone."""
    record, _ = unlock(path.read_bytes(), KEY, Purpose.PREKEYS, OWNER)
    assert isinstance(record, PrekeySecrets)
    return record


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# In order, each once


def test_prekeys_are_handed_out_in_order_and_each_is_the_published_one(tmp_path):
    file = make(tmp_path)
    leaves = file.public_leaves()
    assert [len(leaf) for leaf in leaves] == [1248] * 4
    for number, index in enumerate(range(10, 14)):
        assert (file.next_index(), file.remaining()) == (index, 4 - number)
        assert file.public_leaves() == leaves[number:]
        secret = file.burn(index)
        assert secret.index == index
        assert secret.leaf == leaves[number]
        wrapped = wrap(bytes(32), RecipientKey(secret.recipient.kem, secret.leaf[32:]), b"info")
        assert unwrap(wrapped, secret.recipient, b"info") == bytes(32)
    assert (file.next_index(), file.remaining(), file.public_leaves()) == (14, 0, [])
    with pytest.raises(PrekeysExhausted, match=r"prekeys\.key holds no prekey any more"):
        file.burn(14)


def test_a_burned_secret_is_not_in_the_file_when_it_is_handed_out(tmp_path, monkeypatch):
    file = make(tmp_path)
    before = held(tmp_path / "prekeys.key")
    secret = file.burn(10)
    assert held(tmp_path / "prekeys.key") == PrekeySecrets(11, before.keys[1:])
    assert secret == before.keys[0]
    assert listing(tmp_path) == [".prekeys.key.lock", "prekeys.key"]


@pytest.mark.parametrize(("index", "tells"), [(-1, "10"), (0, "10"), (9, "10"), (14, "13"), (15, "13"), (2**60, "13")])
def test_only_a_prekey_that_is_there_is_burned(tmp_path, index, tells):
    file = make(tmp_path)
    before = (tmp_path / "prekeys.key").read_bytes()
    with pytest.raises(KeyStoreError, match=f"prekey {index} .* {tells}"):
        file.burn(index)
    assert (tmp_path / "prekeys.key").read_bytes() == before


def test_those_before_a_burned_prekey_are_burned_with_it(tmp_path):
    """A server goes on after a plan that was never accepted, and what was left out is never asked for again."""
    file = make(tmp_path)
    secrets, leaves = held(tmp_path / "prekeys.key").keys, file.public_leaves()
    assert file.burn(12) == secrets[2]
    assert held(tmp_path / "prekeys.key") == PrekeySecrets(13, secrets[3:])
    assert (file.next_index(), file.remaining(), file.public_leaves()) == (13, 1, leaves[3:])
    for index in (10, 11, 12):
        with pytest.raises(KeyStoreError, match=f"prekey {index} was used up before"):
            file.burn(index)
    assert file.burn(13) == secrets[3]
    with pytest.raises(PrekeysExhausted):
        file.burn(14)


def test_a_copy_from_before_a_gap_is_noticed(tmp_path):
    file = make(tmp_path)
    copy = (tmp_path / "prekeys.key").read_bytes()
    file.burn(12)
    (tmp_path / "prekeys.key").write_bytes(copy)
    with pytest.raises(RolledBack, match="from prekey 13 to prekey 10"):
        file.burn(13)


def test_a_burned_prekey_is_never_burned_again(tmp_path):
    file = make(tmp_path, count=1)
    file.burn(10)
    with pytest.raises(KeyStoreError, match="used up before") as caught:
        file.burn(10)
    assert not isinstance(caught.value, PrekeysExhausted)


def test_a_refill_goes_on_with_the_indices(tmp_path):
    file = make(tmp_path, count=2)
    file.burn(10)
    assert file.extend(2) == 12
    assert [key.index for key in held(tmp_path / "prekeys.key").keys] == [11, 12, 13]
    assert len(file.public_leaves(12)) == 2
    assert file.public_leaves()[1:] == file.public_leaves(12)
    for index in (11, 12, 13):
        file.burn(index)
    assert file.extend(1) == 14  # nor are they used again when none is left
    assert file.burn(14).index == 14


def test_a_reopened_file_goes_on_where_it_was(tmp_path):
    make(tmp_path).burn(10)
    file = PrekeyFile.open(tmp_path / "prekeys.key", PASSWORD, OWNER)
    assert file.next_index() == 11
    assert file.burn(11).index == 11


@pytest.mark.parametrize("count", [-1, 0, 257])
def test_bundles_are_bounded(tmp_path, count):
    with pytest.raises(LimitExceeded, match="1 to 256 at a time"):
        make(tmp_path, count=count)
    assert listing(tmp_path) == []
    file = make(tmp_path)
    with pytest.raises(LimitExceeded):
        file.extend(count)


def test_the_file_is_bounded(tmp_path, monkeypatch):
    file = make(tmp_path)
    monkeypatch.setattr(prekeys, "PREKEYS_HELD_LIMIT", 5)
    with pytest.raises(LimitExceeded, match="more than 5 prekeys"):
        file.extend(2)
    assert file.extend(1) == 14


# What is refused


def test_the_file_is_private_and_never_overwritten(tmp_path):
    file = make(tmp_path)
    before = (tmp_path / "prekeys.key").read_bytes()
    with pytest.raises(KeyFileExists):
        make(tmp_path)
    assert (tmp_path / "prekeys.key").read_bytes() == before
    for _ in range(2):
        for name in listing(tmp_path):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        file.burn(file.next_index())
    (tmp_path / "prekeys.key").chmod(0o644)
    with pytest.raises(ExposedKeyFile):
        file.burn(12)


def test_a_wrong_password_another_owner_and_another_purpose_are_refused(tmp_path):
    make(tmp_path)
    path = tmp_path / "prekeys.key"
    with pytest.raises(WrongPassword):
        PrekeyFile.open(path, Password.from_text("wrong"), OWNER)
    with pytest.raises(KeyStoreError, match="belongs to"):
        PrekeyFile.open(path, PASSWORD, OWNER.replace("north", "south"))
    create_key_file(tmp_path / "signing.key", Purpose.SIGNING, OWNER, SigningSeed(bytes(32)), KEY)
    with pytest.raises(KeyStoreError, match="holds a signing key"):
        PrekeyFile.open(tmp_path / "signing.key", PASSWORD, OWNER)


def test_an_older_copy_is_noticed_while_the_file_is_open(tmp_path):
    file, path = make(tmp_path), tmp_path / "prekeys.key"
    old = path.read_bytes()
    file.burn(10)
    path.write_bytes(old)
    for use in (lambda: file.burn(10), lambda: file.extend(1), file.next_index, file.public_leaves):
        with pytest.raises(RolledBack, match="put back from prekey 11 to prekey 10"):
            use()
    assert path.read_bytes() == old


def test_a_damaged_file_hands_out_nothing(tmp_path):
    file, path = make(tmp_path, count=1), tmp_path / "prekeys.key"
    good = path.read_bytes()
    for position in range(0, len(good), 3):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        with pytest.raises(FedSpaError):
            file.burn(10)


# Several processes

BURNER = """
import sys
from pathlib import Path
from fedspallm_secure.crypto.keyfiles import Password
from fedspallm_secure.errors import KeyStoreError, PrekeysExhausted
from fedspallm_secure.storage.prekeys import PrekeyFile
file = PrekeyFile.open(Path(sys.argv[1]), Password.from_text(sys.argv[2]), sys.argv[3])
sys.stdin.readline()
while True:
    try:
        print(file.burn(file.next_index()).index)
    except PrekeysExhausted:
        break
    except KeyStoreError:
        continue
"""


def test_processes_never_get_the_same_prekey(tmp_path):
    file = make(tmp_path, count=60)
    arguments = [sys.executable, "-c", BURNER, str(tmp_path / "prekeys.key"), WORDS, OWNER]
    others = [subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for other in others:
        assert other.stdin is not None
        other.stdin.write("\n")
        other.stdin.flush()
    found = [other.communicate(timeout=60)[0].split() for other in others]
    assert all(other.returncode == 0 for other in others)
    assert sorted(int(index) for indices in found for index in indices) == list(range(10, 70))
    assert file.remaining() == 0


def test_who_cannot_get_the_lock_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(prekeys, "LOCK_WAIT", 0.1)
    file, other = make(tmp_path), PrekeyFile.open(tmp_path / "prekeys.key", KEY, OWNER)
    with file._held():
        for use in (lambda: other.burn(10), lambda: other.extend(1)):
            with pytest.raises(RunLocked, match=r"another process is using .*prekeys\.key"):
                use()
        assert other.next_index() == 10  # looking needs no lock: the file is replaced as a whole
    assert other.burn(10).index == 10


# Killed, and failing


def burn_and_report(file: PrekeyFile, report: Report) -> None:
    secret = file.burn(10)
    report(secret.exchange)


def test_wherever_burning_is_killed_no_prekey_is_handed_out_twice(tmp_path):
    path = tmp_path / "prekeys.key"
    make(tmp_path)
    full, secrets = path.read_bytes(), held(path).keys
    reported = kept = 0

    def action(report: Report) -> None:
        burn_and_report(PrekeyFile.open(path, KEY, OWNER), report)

    points = every_point(action)
    assert {"open", "write", "fsync", "replace"} <= {name for _, name, _ in points}
    for point, name, when in [*points, (len(points) + 1, "none", points[0][2])]:
        path.write_bytes(full)
        outcome = run_and_kill(action, point, when)
        assert outcome.killed == (name != "none")
        after = held(path)  # whole, at every moment
        assert after in (PrekeySecrets(10, secrets), PrekeySecrets(11, secrets[1:]))
        handed_out = outcome.reported == [secrets[0].exchange]
        reported += handed_out
        kept += after.next == 10
        file = PrekeyFile.open(path, KEY, OWNER)
        again = file.burn(file.next_index())
        assert not (handed_out and again.index == 10)
        assert again == secrets[again.index - 10]
        assert listing(tmp_path) == [".prekeys.key.lock", "prekeys.key"]
    assert reported == 1  # only the child that lived
    assert 0 < kept < len(points)  # some died before the file was replaced, and some after


def test_wherever_a_refill_is_killed_no_index_is_used_twice(tmp_path):
    path = tmp_path / "prekeys.key"
    make(tmp_path)
    full = path.read_bytes()

    def action(report: Report) -> None:
        PrekeyFile.open(path, KEY, OWNER).extend(2)

    for point, _, when in every_point(action):
        path.write_bytes(full)
        assert run_and_kill(action, point, when).killed
        end = held(path).end
        assert end in {14, 16}
        assert PrekeyFile.open(path, KEY, OWNER).extend(1) == end
        assert [key.index for key in held(path).keys] == list(range(10, end + 1))


def test_wherever_making_them_is_killed_there_are_all_or_none(tmp_path):
    path = tmp_path / "prekeys.key"
    points = every_point(lambda report: make(tmp_path))
    path.unlink()
    for point, _, when in points:
        assert run_and_kill(lambda report: make(tmp_path), point, when).killed
        if path.exists():
            assert len(held(path).keys) == 4
            path.unlink()
        assert make(tmp_path).remaining() == 4
        assert listing(tmp_path) == ["prekeys.key"]
        path.unlink()


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize(("code", "error"), [(errno.ENOSPC, DiskFull), (errno.EIO, StorageError)])
def test_where_the_disk_fails_nothing_is_handed_out_and_nothing_is_torn(tmp_path, monkeypatch, code, error, lasting):
    path = tmp_path / "prekeys.key"
    monkeypatch.setattr(prekeys, "LOCK_WAIT", 0.2)
    make(tmp_path)
    full, secrets = path.read_bytes(), held(path).keys
    handed_out: list[bytes] = []

    def action(report: Report) -> None:
        burn_and_report(PrekeyFile.open(path, KEY, OWNER), handed_out.append)

    names = count_points(action)
    for point, name in enumerate(names, start=1):
        if name == "mkdir":  # the lock's library makes the folder, which is there
            continue
        path.write_bytes(full)
        (tmp_path / ".prekeys.key.lock").unlink()
        with pytest.raises(error) as caught:
            failing(action, point, code, lasting=lasting)
        assert type(caught.value) is error
        assert str(path) in str(caught.value)
        assert handed_out == []
        after = held(path)
        assert after in (PrekeySecrets(10, secrets), PrekeySecrets(11, secrets[1:]))
        file = PrekeyFile.open(path, KEY, OWNER)
        assert file.burn(after.next) == secrets[after.next - 10]  # the disk is well again
        assert listing(tmp_path) == [".prekeys.key.lock", "prekeys.key"]


def test_a_prekey_is_on_disk_as_burned_before_it_is_handed_out(tmp_path, monkeypatch):
    """Content, name and folder are flushed, in that order, before `burn` returns."""
    file = make(tmp_path)
    order = []
    fsync, replace = os.fsync, os.replace

    def recording_fsync(descriptor):
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        fsync(descriptor)

    def recording_replace(*names):
        order.append("name")
        replace(*names)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "replace", recording_replace)
    file.burn(10)
    assert order == ["content", "name", "folder"]


def test_no_two_prekeys_are_alike():
    made = prekeys_from(0, 20)
    assert len({key.exchange for key in made} | {key.recipient.secret[:32] for key in made}) == 40
