"""THREAT_MODEL section 3, "Keys at rest": stolen, exchanged, exposed and rolled-back key files."""

import json
import os
import shutil
import traceback
from pathlib import Path
from typing import Any
from unittest import mock

import click
import pytest
from fedprune_cli.main import cli

from fedspallm_secure.app import authority as ca
from fedspallm_secure.crypto import keyfiles, passwords
from fedspallm_secure.crypto.encoding import canonical_json, encode_base64
from fedspallm_secure.crypto.key_records import SigningSeed
from fedspallm_secure.crypto.keyfiles import LockedKey, Purpose
from fedspallm_secure.crypto.passwords import DEFAULT_KDF, KdfParameters, Password, PasswordKey
from fedspallm_secure.errors import (
    ExposedKeyFile,
    FedSpaError,
    FormatError,
    HostileFile,
    KeyFileExists,
    KeyStoreError,
    UsageError,
    WrongPassword,
)
from fedspallm_secure.storage.home import Home
from fedspallm_secure.storage.keystore import FileSigner
from fedspallm_secure.storage.prekeys import PrekeyFile
from tests.ceremony import CHEAP, FEDERATION, PASSWORD, Ceremony
from tests.faults import Report, every_point, run_and_kill
from tests.threats.bench import refused
from tests.threats.conftest import Fedprune

OWNER = "spiffe://lungs.example/member/north"
NORTH = "member/north"


@pytest.fixture
def home(made: Ceremony) -> Home:
    return made.open(NORTH)


def test_each_guess_at_a_password_costs_what_the_file_says(home: Home):
    """THREAT_MODEL T78: one Argon2id for each guess, and none of them helps with another file."""
    path = home.path / "signing.key"
    guesses = ["Open sesame", "open sesame ", "open barley"]
    with mock.patch.object(passwords, "argon2id", wraps=passwords.argon2id) as slow:
        for guess in guesses:
            with refused(WrongPassword, untouched=home.path):
                home.signer(Password.from_text(guess))
    assert [call.args[1:] for call in slow.call_args_list] == [(salt_of(path), CHEAP)] * len(guesses)
    assert salt_of(path) != PasswordKey.new(PASSWORD, CHEAP).salt
    assert KdfParameters(memory_kib=256 << 10, passes=3, lanes=4) == DEFAULT_KDF


def salt_of(path: Path) -> bytes:
    return LockedKey.parse(path.read_bytes(), "it").salt


def edited(path: Path, **changes: Any) -> None:
    """Change members of a key file; those of `kdf` too."""
    value = json.loads(path.read_bytes())
    kdf = {name: changes.pop(name, found) for name, found in value["kdf"].items()}
    path.write_bytes(canonical_json({**value, "kdf": kdf, **changes}) + b"\n")


@pytest.mark.parametrize(
    "change",
    [{"memory_kib": (2 << 20) + 1}, {"memory_kib": 2**52}, {"memory_kib": 7}, {"passes": 11}, {"lanes": 17}],
    ids=str,
)
def test_a_key_file_cannot_make_its_reader_compute_for_ever(home: Home, change: dict[str, int]):
    """THREAT_MODEL T79: terabytes, passes without end; refused before anything is computed."""
    edited(home.path / "signing.key", **change)
    with (
        mock.patch.object(passwords, "argon2id", side_effect=AssertionError("it computes")),
        refused(FormatError, untouched=home.path),
    ):
        home.signer(PASSWORD)


def test_a_key_file_does_not_pass_for_another(made: Ceremony, home: Home, tmp_path: Path):
    """THREAT_MODEL T80: of another purpose, owner or enrolment; with its fields edited; with any bit changed."""
    path = home.path / "signing.key"
    good = path.read_bytes()
    made.request(NORTH, home=tmp_path / "other")
    for other in (
        home.path / "tls.key",
        made.home("member/south") / "signing.key",
        tmp_path / "other/pending/signing.key",
    ):
        shutil.copy(other, path)
        with refused(KeyStoreError, untouched=home.path):
            home.signer(PASSWORD)
    for name, change in (
        ("tls.key", {"purpose": "signing"}),
        ("../member-south/signing.key", {"owner": OWNER}),
        ("signing.key", {"passes": 2}),
        ("signing.key", {"file_salt": encode_base64(bytes(32))}),
    ):
        path.write_bytes(good if name == "signing.key" else (home.path / name).read_bytes())
        edited(path, **change)
        with refused(WrongPassword, untouched=home.path):
            home.signer(PASSWORD)
    for position in range(0, len(good), 7):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        with refused(WrongPassword, FormatError, KeyStoreError, untouched=home.path):
            home.signer(PASSWORD)


def test_an_exposed_key_file_is_not_used(made: Ceremony, home: Home, monkeypatch: pytest.MonkeyPatch):
    """THREAT_MODEL T81: others may read or change the file or its folder; it is another user's, a link, a pipe."""
    path = home.path / "signing.key"
    for mode in (0o640, 0o604, 0o620, 0o700, 0o4600):
        path.chmod(mode)
        with refused(ExposedKeyFile, untouched=home.path):
            home.signer(PASSWORD)
    path.chmod(0o600)
    user = os.geteuid()
    with monkeypatch.context() as patched, refused(ExposedKeyFile, untouched=home.path):
        patched.setattr(os, "geteuid", lambda: user + 1)
        home.signer(PASSWORD)
    moved = path.rename(made.folder / "moved")
    for make in (lambda: path.symlink_to(moved), lambda: os.mkfifo(path)):
        make()
        with refused(HostileFile, untouched=home.path):
            home.signer(PASSWORD)
        path.unlink()
    for folder in (home.path, made.ca):
        folder.chmod(0o755)
    with refused(ExposedKeyFile, untouched=home.path):
        made.open(NORTH)
    with refused(ExposedKeyFile, untouched=made.ca):
        made.roster()


def test_a_key_is_never_overwritten(made: Ceremony, home: Home):
    """THREAT_MODEL T82: by a new key in its place, a new party in its home, a new authority in its folder."""
    key = PasswordKey.new(PASSWORD, CHEAP)
    with refused(KeyFileExists, untouched=home.path):
        FileSigner.create(home.path / "signing.key", OWNER, key)
    with refused(KeyFileExists, untouched=home.path):
        PrekeyFile.create(home.path / "prekeys.key", OWNER, 1, 0, key)
    with refused(KeyFileExists, untouched=home.path):
        made.request("member/west", home=home.path)
    with refused(KeyFileExists, untouched=made.ca):
        ca.init(made.ca, FEDERATION, PASSWORD, None, CHEAP)


def test_a_prekey_is_never_handed_out_twice_wherever_the_run_is_killed(tmp_path: Path):
    """THREAT_MODEL T83: killed before, within and after every call that changes the disk."""
    path, key = tmp_path / "prekeys.key", PasswordKey.new(PASSWORD, CHEAP)
    PrekeyFile.create(path, OWNER, 2, 0, key)
    full = path.read_bytes()

    def burn(report: Report) -> None:
        report(PrekeyFile.open(path, key, OWNER).burn(0).exchange)

    points = every_point(burn)
    assert len(points) > 8
    for point, name, when in points:
        path.write_bytes(full)
        handed_out = run_and_kill(burn, point, when).reported
        file = PrekeyFile.open(path, key, OWNER)
        if handed_out or file.next_index() == 1:
            with refused(KeyStoreError, untouched=tmp_path):
                file.burn(0)
        assert file.burn(file.next_index()).exchange not in handed_out, (name, when)


def test_no_two_writings_of_a_key_file_use_the_same_key(tmp_path: Path):
    """THREAT_MODEL T85: under a fixed nonce, every writing has a key of its own."""
    key = PasswordKey.new(PASSWORD, CHEAP)
    with mock.patch.object(keyfiles, "encrypt", wraps=keyfiles.encrypt) as cipher:
        files = {keyfiles.lock(Purpose.SIGNING, OWNER, SigningSeed(bytes(32)), key) for _ in range(50)}
    assert len(files) == len({call.args[0] for call in cipher.call_args_list}) == 50
    assert len({LockedKey.parse(data, "it").file_salt for data in files}) == 50


def commands(group: click.Command = cli, *words: str) -> list[tuple[list[str], click.Command]]:
    if not isinstance(group, click.Group):
        return [([*words], group)]
    return [found for name, child in group.commands.items() for found in commands(child, *words, name)]


def test_no_command_takes_a_password_as_an_argument(fedprune: Fedprune):
    """THREAT_MODEL T86: every user of the machine can read the arguments of a process."""
    allowed = {"--password-file", "--password-fd", "--password-command"}
    for words, command in commands():
        options = {name for parameter in command.params for name in parameter.opts if "pass" in name}
        assert options <= allowed, words
        for given in (["--password", "open sesame"], ["--password=open sesame"], ["-p", "open sesame"]):
            code, said = fedprune(*words, *given)
            assert (code, "sesame" in said) == (UsageError.exit_code, False), (words, given, said)


def test_no_secret_shows_in_errors_or_printed_objects(made: Ceremony, home: Home, fedprune: Fedprune):
    """THREAT_MODEL T87: nor in tracebacks, and not in what the commands print."""
    signer, keys = home.signer(PASSWORD), home.recipient_secrets(PASSWORD)
    prekey = home.prekey_file(PASSWORD).burn(0)
    seed, password_key = signer._signer._secret[:32], PasswordKey.new(PASSWORD, CHEAP)
    secrets = [PASSWORD.encoded, seed, password_key.key, prekey.exchange, prekey.recipient.secret]
    secrets += [key.secret for key in keys.values()]
    shown = [repr(made) for made in (home, signer, keys, prekey, PASSWORD, password_key, SigningSeed(seed))]
    for path in sorted(home.path.glob("*.key")):
        good = path.read_bytes()
        for damaged in (good[:-9] + b"A" * 7 + good[-2:], good[:40], good.replace(b"lungs", b"hearts")):
            path.write_bytes(damaged)
            for use in (home.signer, home.tls_key, home.recipient_secrets, home.prekey_file):
                try:
                    use(PASSWORD)
                except FedSpaError as error:
                    shown.append("".join(traceback.format_exception(error)) + error.hint)
        path.write_bytes(good)
    shown += [
        fedprune("certs", "renew", "--home", str(home.path), "--prekeys", "1", *more)[1] for more in ([], ["--json"])
    ]
    shown.append(fedprune("certs", "show", str(home.path))[1])
    assert len(shown) > 20
    said = "\n".join(shown)
    for secret in secrets:
        for spelling in (secret.hex(), encode_base64(secret)[:-4], repr(secret)[2:-1]):
            assert spelling not in said
