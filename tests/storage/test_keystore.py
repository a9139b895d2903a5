"""Key files on disk: for their owner alone, never overwritten, never links, whole wherever their writer is killed."""

import errno
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from fedspallm_secure.crypto.certificates import generate_tls_key
from fedspallm_secure.crypto.key_records import Purpose, RecipientSecrets, SigningSeed, TlsSecret
from fedspallm_secure.crypto.keyfiles import KEY_FILE_LIMIT, authority_uri, unlock
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.passwords import KdfParameters, Password, PasswordKey
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret
from fedspallm_secure.crypto.signing import Ed25519Signer, Signer, sign, verify
from fedspallm_secure.errors import (
    DiskFull,
    ExposedKeyFile,
    FormatError,
    HostileFile,
    KeyFileExists,
    KeyStoreError,
    LimitExceeded,
    MissingInput,
    StorageError,
    WrongPassword,
)
from fedspallm_secure.storage import keystore
from fedspallm_secure.storage.keystore import (
    FileSigner,
    create_key_file,
    describe_key_file,
    load_recipient_secrets,
    load_tls_key,
    open_key_file,
    read_key_file,
)
from tests.faults import count_points, every_point, failing, run_and_kill

PASSWORD = Password.from_text("correct horse battery staple")
KEY = PasswordKey.new(PASSWORD, KdfParameters(memory_kib=64, passes=1, lanes=1))
OWNER = "spiffe://lungs.example/member/north"
SEED = SigningSeed(bytes(range(32)))


def make(path: Path) -> Path:
    create_key_file(path, Purpose.SIGNING, OWNER, SEED, KEY)
    return path


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# What they are for


def test_a_signer_from_a_file_signs_as_its_key_does(tmp_path):
    path = tmp_path / "signing.key"
    made: Signer = FileSigner.create(path, OWNER, KEY)
    for secret in (PASSWORD, KEY):
        opened: Signer = FileSigner.open(path, secret, OWNER)
        assert opened.public == made.public
        signature = sign(opened, Label.SIGN_ROSTER, b"text")
        assert signature == sign(made, Label.SIGN_ROSTER, b"text")
        verify(made.public, Label.SIGN_ROSTER, b"text", signature, "the text")
    assert listing(tmp_path) == ["signing.key"]


def test_the_root_has_a_signer_too_and_it_is_not_a_partys(tmp_path):
    path, owner = tmp_path / "root.key", authority_uri("lungs.example")
    made = FileSigner.create(path, owner, KEY, Purpose.ROOT)
    assert FileSigner.open(path, PASSWORD, owner, Purpose.ROOT).public == made.public
    with pytest.raises(KeyStoreError, match=r"root\.key holds a root key, not a signing key"):
        FileSigner.open(path, PASSWORD, owner)


def test_a_signer_does_not_show_its_key(tmp_path):
    signer = FileSigner(tmp_path / "signing.key", SEED)
    assert signer.public == Ed25519Signer(SEED.seed).public
    assert repr(signer) == f"FileSigner({str(tmp_path / 'signing.key')!r})"


def test_tls_and_recipient_keys_come_back(tmp_path):
    tls, recipient = (
        TlsSecret(generate_tls_key()),
        RecipientSecrets(tuple(RecipientSecret.generate(kem) for kem in Kem)),
    )
    create_key_file(tmp_path / "tls.key", Purpose.TLS, OWNER, tls, KEY)
    create_key_file(tmp_path / "recipient.key", Purpose.RECIPIENT, OWNER, recipient, KEY)
    key = load_tls_key(tmp_path / "tls.key", PASSWORD, OWNER)
    assert isinstance(key, EllipticCurvePrivateKey)
    assert key.private_numbers() == tls.load().private_numbers()
    assert load_recipient_secrets(tmp_path / "recipient.key", PASSWORD, OWNER) == list(recipient.keys)
    with pytest.raises(KeyStoreError):
        load_tls_key(tmp_path / "recipient.key", PASSWORD, OWNER)
    with pytest.raises(KeyStoreError):
        load_recipient_secrets(tmp_path / "tls.key", PASSWORD, OWNER)


def test_a_wrong_password_names_the_file(tmp_path):
    path = make(tmp_path / "signing.key")
    with pytest.raises(WrongPassword, match=r"signing\.key does not open"):
        FileSigner.open(path, Password.from_text("wrong"), OWNER)


def test_another_partys_key_is_refused(tmp_path):
    path = make(tmp_path / "signing.key")
    with pytest.raises(KeyStoreError, match="belongs to"):
        FileSigner.open(path, PASSWORD, OWNER.replace("north", "south"))
    assert FileSigner.open(path, PASSWORD, None).public


def test_a_damaged_file_is_refused_by_name(tmp_path):
    path = make(tmp_path / "signing.key")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(FormatError, match=r"signing\.key: "):
        describe_key_file(path)


def test_what_a_file_claims_can_be_read_without_its_password(tmp_path):
    claim = describe_key_file(make(tmp_path / "signing.key"))
    assert (claim.purpose, claim.owner) == (Purpose.SIGNING, OWNER)


# Who may read them


def test_files_are_born_private(tmp_path):
    before = os.umask(0)
    try:
        path = make(tmp_path / "signing.key")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_private_files_are_read(tmp_path, mode):
    path = make(tmp_path / "signing.key")
    path.chmod(mode)
    assert FileSigner.open(path, PASSWORD, OWNER).public


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o660, 0o644, 0o777, 0o700, 0o4600])
def test_files_with_any_other_permission_are_refused(tmp_path, mode):
    path = make(tmp_path / "signing.key")
    path.chmod(mode)
    with pytest.raises(ExposedKeyFile, match=rf"signing\.key has mode {mode:04o}") as caught:
        read_key_file(path)
    assert "chmod 600" in caught.value.hint


def test_a_file_of_another_user_is_refused(tmp_path, monkeypatch):
    path = make(tmp_path / "signing.key")
    monkeypatch.setattr(keystore.os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(ExposedKeyFile, match="belongs to another user"):
        read_key_file(path)


# What is not a key file


def test_a_symbolic_link_is_not_followed(tmp_path):
    make(tmp_path / "real.key")
    for target in ("real.key", "missing"):
        (tmp_path / "signing.key").unlink(missing_ok=True)
        (tmp_path / "signing.key").symlink_to(tmp_path / target)
        with pytest.raises(HostileFile, match="symbolic link"):
            read_key_file(tmp_path / "signing.key")


def test_a_pipe_a_socket_a_folder_and_a_device_are_refused_and_do_not_wait(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(0o700)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "pipe", tmp_path / "folder", tmp_path / "socket", Path("/dev/null")):
            with pytest.raises(HostileFile, match="is not a plain file"):
                read_key_file(path)


@pytest.mark.parametrize("name", ["missing", "file/a", "x" * 300])
def test_what_cannot_be_read_is_missing_by_name(tmp_path, name):
    make(tmp_path / "file")
    with pytest.raises(MissingInput, match=name) as refused:
        read_key_file(tmp_path / name)
    assert ("enrol again in a new --home" in refused.value.hint) == (name == "missing")


def test_files_are_read_up_to_a_bound(tmp_path, monkeypatch):
    path = tmp_path / "signing.key"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse
    path.chmod(0o600)
    with pytest.raises(LimitExceeded, match=f"at most {KEY_FILE_LIMIT}"):
        read_key_file(path)
    monkeypatch.setattr(keystore, "_check_key_file", lambda *_: None)  # it grows after the check
    with pytest.raises(LimitExceeded, match=f"larger than {KEY_FILE_LIMIT}"):
        read_key_file(path)


def test_an_error_of_the_disk_is_missing_input(tmp_path, monkeypatch):
    path = make(tmp_path / "signing.key")

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(keystore.os, "read", fail)
    with pytest.raises(MissingInput, match="Input/output error"):
        read_key_file(path)


# Never overwritten, never half


def test_a_key_file_is_never_overwritten(tmp_path):
    path = make(tmp_path / "signing.key")
    before = path.read_bytes()
    for create in (make, lambda path: FileSigner.create(path, OWNER, KEY)):
        with pytest.raises(KeyFileExists, match=r"signing\.key already exists"):
            create(path)
    assert path.read_bytes() == before
    assert listing(tmp_path) == ["signing.key"]


CREATOR = """
import sys
from pathlib import Path
from fedspallm_secure.crypto.keyfiles import KdfParameters, Password, PasswordKey
from fedspallm_secure.errors import KeyFileExists, RunLocked
from fedspallm_secure.storage.keystore import FileSigner
key = PasswordKey.new(Password.from_text("correct horse battery staple"), KdfParameters(64, 1, 1))
sys.stdin.readline()
try:
    print(FileSigner.create(Path(sys.argv[1]), sys.argv[2], key).public.hex())
except (KeyFileExists, RunLocked):
    print("refused")
"""


def test_of_many_processes_one_makes_the_key(tmp_path):
    path = tmp_path / "signing.key"
    others = [
        subprocess.Popen(
            [sys.executable, "-c", CREATOR, str(path), OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for other in others:
        assert other.stdin is not None
        other.stdin.write("\n")
        other.stdin.flush()
    answers = [other.communicate(timeout=60)[0].strip() for other in others]
    made = [answer for answer in answers if answer != "refused"]
    assert made == [FileSigner.open(path, PASSWORD, OWNER).public.hex()]
    assert listing(tmp_path) == ["signing.key"]


def test_a_killed_creation_leaves_a_whole_key_file_or_none(tmp_path):
    path = tmp_path / "signing.key"

    def action(report):
        report(FileSigner.create(path, OWNER, KEY).public)

    points = every_point(action)
    path.unlink()
    assert [name for _, name, _ in points if name == "link"]
    for point, _, when in points:
        outcome = run_and_kill(action, point, when)
        assert outcome.killed
        assert not outcome.reported  # the last call comes before the signer is handed out
        if path.exists():
            assert FileSigner.open(path, PASSWORD, OWNER).public
            with pytest.raises(KeyFileExists):
                make(path)
            path.unlink()
        make(path)
        assert open_key_file(path, KEY, Purpose.SIGNING, OWNER)[0] == SEED
        assert listing(tmp_path) == ["signing.key"]
        path.unlink()


@pytest.mark.parametrize(("code", "error"), [(errno.ENOSPC, DiskFull), (errno.EIO, StorageError)])
def test_a_failing_disk_leaves_no_key_file_and_no_signer(tmp_path, code, error):
    path = tmp_path / "signing.key"

    def action(report):
        report(FileSigner.create(path, OWNER, KEY).public)

    names = count_points(action)
    path.unlink()
    for point, name in enumerate(names, start=1):
        if name == "unlink":  # the second name; the next creation removes it
            assert failing(action, point, code) == [FileSigner.open(path, PASSWORD, OWNER).public]
            path.unlink()
            continue
        with pytest.raises(error) as caught:
            failing(action, point, code)
        assert type(caught.value) is error
        assert not path.exists()
    make(path)
    assert listing(tmp_path) == ["signing.key"]


def test_the_bytes_on_disk_are_those_of_the_format(tmp_path):
    path = make(tmp_path / "signing.key")
    assert unlock(path.read_bytes(), PASSWORD, Purpose.SIGNING, OWNER)[0] == SEED
    assert SEED.seed not in path.read_bytes()
