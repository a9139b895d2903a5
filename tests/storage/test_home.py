"""A party's home on disk: what it gives, what it refuses, and that it never has some keys of each set."""

import errno
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.app import enrolment
from fedspallm_secure.crypto import passwords
from fedspallm_secure.crypto.certificates import signing_certificate
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.passwords import Password
from fedspallm_secure.errors import (
    DiskFull,
    ExposedKeyFile,
    FedSpaError,
    FormatError,
    HostileFile,
    KeyFileExists,
    KeyStoreError,
    MissingInput,
    RecordDamaged,
    RunLocked,
    UsageError,
    WrongPassword,
)
from fedspallm_secure.storage import home_folder as folder
from fedspallm_secure.storage.home import open_home
from fedspallm_secure.storage.home_folder import Identity
from fedspallm_secure.storage.pem import CERTIFICATE, encode_pem
from tests.ceremony import CHEAP, FEDERATION, PASSWORD, Ceremony
from tests.faults import When, every_point, failing, run_and_kill

NORTH = Party.parse("member/north")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Ceremony:
    """Two members and a server, enrolled, with a roster.  Tests change copies only."""
    ceremony = Ceremony(tmp_path_factory.mktemp("federation"))
    for name in ("member/north", "member/south", "server/hub"):
        ceremony.enrol(name)
    ceremony.take("member/north", ceremony.roster())
    return ceremony


@pytest.fixture
def home(made: Ceremony, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.home("member/north"), tmp_path / "north"))


def test_a_home_gives_what_packages_need(home: Path, made: Ceremony):
    found = open_home(home)
    assert (found.party, found.federation) == (NORTH, FEDERATION)
    assert found.root.fingerprint == made.root.fingerprint
    assert found.signer(PASSWORD).public == found.signing.public
    assert found.recipient_secrets(PASSWORD).keys() == found.reader.keys.keys()
    for name, secret in found.recipient_secrets(PASSWORD).items():
        assert secret.recipient_key.key_id == name
    public = found.tls_key(PASSWORD).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert public == found.tls.public
    assert found.reader.party == NORTH
    assert found.trust.roster.entry(NORTH).leaf == found.signing
    file, bundle = found.prekey_file(PASSWORD), found.prekeys
    assert bundle is not None
    assert file.public_leaves() == [leaf.raw for leaf in bundle.leaves]
    assert made.open("server/hub").tls.hosts == ("hub.lungs.example", "192.0.2.7")


def test_everything_in_it_is_private(home: Path):
    for path in [home, *home.iterdir()]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_what_is_no_home_is_refused(made: Ceremony, tmp_path: Path):
    with pytest.raises(MissingInput, match="nobody's home"):
        open_home(tmp_path)
    with pytest.raises(MissingInput, match="nobody's home"):
        open_home(tmp_path / "absent")
    made.request("auditor/watch", tmp_path / "watch")
    with pytest.raises(MissingInput, match="not enrolled yet"):
        open_home(tmp_path / "watch")
    with pytest.raises(MissingInput, match="no roster yet"):
        made.open("member/south").trust  # noqa: B018


def test_a_home_that_others_may_read_is_refused(home: Path):
    home.chmod(0o750)
    with pytest.raises(ExposedKeyFile, match="0750"):
        open_home(home)


PUBLIC = [
    folder.IDENTITY,
    folder.ROOT,
    folder.SIGNING,
    folder.TLS,
    folder.CRL,
    folder.KEY_STATEMENT,
    folder.PREKEYS,
    folder.ROSTER,
]


@pytest.mark.parametrize("name", PUBLIC)
@pytest.mark.parametrize("fault", ["flipped", "cut", "empty"])
def test_a_damaged_file_is_named(home: Path, name: str, fault: str):
    path = home / name
    data = path.read_bytes()
    middle = len(data) // 2
    changed = {
        "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "cut": data[:middle],
        "empty": b"",
    }
    path.write_bytes(changed[fault])
    with pytest.raises(RecordDamaged, match=name):
        open_home(home)


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != folder.IDENTITY])
def test_a_pipe_is_not_waited_for(home: Path, name: str):
    (home / name).unlink()
    os.mkfifo(home / name)
    with within_seconds(5), pytest.raises(HostileFile, match=name):
        open_home(home)


@contextmanager
def within_seconds(limit: int) -> Iterator[None]:
    """Give up, where a fault would wait for ever."""

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(limit)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_folder_that_one_may_not_look_into_is_named(home: Path, monkeypatch: pytest.MonkeyPatch):
    def forbidden(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", forbidden)
    with pytest.raises(MissingInput, match="cannot look at"):
        open_home(home)


def test_a_name_that_no_folder_can_have_is_nobodys_home(tmp_path: Path):
    with pytest.raises(MissingInput, match="nobody's home"):
        open_home(tmp_path / ("a" * 300))


def test_a_password_is_turned_into_a_key_once_for_a_salt(home: Path, monkeypatch: pytest.MonkeyPatch):
    count, derive = [], passwords.argon2id
    monkeypatch.setattr(passwords, "argon2id", lambda *given: (count.append(1), derive(*given))[1])
    enrolment.renew(home, PASSWORD, 1, CHEAP)
    assert len(count) == 2  # the files so far have one salt, the new ones another
    enrolment.refill(home, PASSWORD, 1, CHEAP)
    assert len(count) == 3
    with pytest.raises(WrongPassword):
        enrolment.refill(home, Password.from_text("open barley"), 1, CHEAP)


@pytest.mark.parametrize("name", [folder.ROOT, folder.SIGNING, folder.TLS, folder.CRL, folder.KEY_STATEMENT])
def test_a_missing_file_is_named(home: Path, name: str):
    (home / name).unlink()
    with pytest.raises(MissingInput):
        open_home(home)


@pytest.mark.parametrize("name", [folder.SIGNING, folder.TLS, folder.KEY_STATEMENT, folder.SIGNING_KEY, folder.TLS_KEY])
def test_somebody_elses_file_is_refused(home: Path, made: Ceremony, name: str):
    shutil.copy(made.home("member/south") / name, home / name)
    with pytest.raises((RecordDamaged, KeyStoreError)):
        found = open_home(home)
        found.signer(PASSWORD)
        found.tls_key(PASSWORD)


def test_a_key_without_its_certificate_is_refused(home: Path, made: Ceremony):
    other = Ceremony.request(made, "member/north", home.parent / "other")
    shutil.copy(home.parent / "other" / folder.PENDING / folder.SIGNING_KEY, home / folder.SIGNING_KEY)
    with pytest.raises(KeyStoreError, match="not the key of"):
        open_home(home).signer(PASSWORD)
    assert other.party == NORTH


def test_a_statement_by_another_key_of_the_party_is_refused(home: Path, made: Ceremony):
    other = made.request("member/north", home.parent / "other")
    (home / folder.KEY_STATEMENT).write_bytes(other.key_statement.encode())
    with pytest.raises(RecordDamaged, match=folder.KEY_STATEMENT):
        open_home(home)
    with made.authority() as authority:
        root = authority.signer(PASSWORD)
        der = signing_certificate(
            root, authority.root, NORTH, other.read_keys().signing, authority.profiles, other.created
        )
    (home / folder.SIGNING).write_bytes(encode_pem(CERTIFICATE, der))
    assert open_home(home).signing.der == der  # together they are a set


def test_a_wrong_password_opens_nothing(home: Path):
    with pytest.raises(WrongPassword):
        open_home(home).signer(Password.from_text("open barley"))


names = st.sampled_from(["server/hub", "member/north", "key-holder/k-1", "witness/w", "auditor/a0"])
hosts = st.lists(st.sampled_from(["hub.example", "a.b.c", "192.0.2.1", "2001:db8::1"]), unique=True, max_size=4)


@given(names, hosts)
def test_identities_come_back(name: str, given_hosts: list[str]):
    party = Party.parse(name)
    try:
        identity = Identity(FEDERATION, party, tuple(given_hosts))
    except UsageError:
        assert given_hosts
        assert not name.startswith("server/")
        return
    assert Identity.parse(identity.encode(), "it") == identity


@given(st.binary(max_size=200))
def test_anything_is_an_identity_or_one_of_our_errors(data: bytes):
    try:
        identity = Identity.parse(data, "it")
    except FedSpaError:
        return
    assert identity.encode() == data


@pytest.mark.parametrize(
    "change",
    [
        {"format": "fedspallm-secure/2 home"},
        {"hosts": [1]},
        {"hosts": ["hub.example"]},
        {"role": "king"},
        {"id": "North"},
        {"federation": "Lungs"},
        {"more": "x"},
    ],
    ids=str,
)
def test_an_identity_with_a_fault_is_refused(home: Path, change: dict[str, object]):
    from fedspallm_secure.crypto.encoding import canonical_json

    value = {**Identity(FEDERATION, NORTH).to_dict(), **change}
    (home / folder.IDENTITY).write_bytes(canonical_json(value) + b"\n")
    with pytest.raises(RecordDamaged, match=folder.IDENTITY):
        open_home(home)


def test_an_identity_is_one_whole_line(home: Path):
    path = home / folder.IDENTITY
    good = path.read_bytes()
    for wrong in (good[:-1], good[:-1] + b" ", good + b"\n"):
        path.write_bytes(wrong)
        with pytest.raises(RecordDamaged, match=folder.IDENTITY):
            open_home(home)


def test_hosts_are_bounded_and_real():
    hub = Party.parse("server/hub")
    for wrong in (("a.b", "a.b"), tuple(f"h{i}.example" for i in range(17)), ("Hub.example",), ("*.example",)):
        with pytest.raises(FedSpaError):
            Identity(FEDERATION, hub, wrong)


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(KeyFileExists, match="holds other things"):
        folder.prepare_home(tmp_path, Identity(FEDERATION, NORTH))
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_home_belongs_to_one_party(home: Path, made: Ceremony, tmp_path: Path):
    for other in (Identity(FEDERATION, Party.parse("member/south")), Identity("hearts.example", NORTH)):
        with pytest.raises(KeyFileExists, match="is the home of member/north"):
            folder.prepare_home(home, other)
    hub = made.identity("server/hub")
    with pytest.raises(KeyFileExists, match=r"with the hosts hub\.lungs\.example"):
        folder.prepare_home(made.home("server/hub"), Identity(hub.federation, hub.party, ("other.example",)))


def test_an_empty_folder_becomes_private(tmp_path: Path):
    path = tmp_path / "north"
    path.mkdir(mode=0o755)
    folder.prepare_home(path, Identity(FEDERATION, NORTH))
    assert path.stat().st_mode & 0o777 == 0o700


def test_one_works_alone_and_several_read(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(folder, "_WAIT", 0.0)
    with folder.held(home, exclusive=False):
        open_home(home)
        with pytest.raises(RunLocked), folder.held(home, exclusive=True):
            pass
    with folder.held(home, exclusive=True), pytest.raises(RunLocked):
        open_home(home)
    open_home(home)


# --- killed, or without space, at every call


def keys_of(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.iterdir() if path.is_file() and not path.name.startswith(".")}


@pytest.fixture(scope="module")
def renewing(made: Ceremony, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, bytes]]:
    """A home that waits for its renewal, the answer, and what the home holds when it is in."""
    folder_ = tmp_path_factory.mktemp("renewing")
    ceremony = Ceremony(folder_)
    ceremony.enrol("member/north")
    answer = ceremony.file(ceremony.sign(ceremony.renew("member/north")))
    after = Path(shutil.copytree(ceremony.home("member/north"), folder_ / "after"))
    take(after, answer)
    return ceremony.home("member/north"), answer, keys_of(after)


def take(home: Path, answer: Path) -> None:
    from fedspallm_secure.app.imports import import_files

    import_files(home, [answer], lambda root, pinned: None)


def check_old_or_new(home: Path, before: dict[str, bytes], after: dict[str, bytes]) -> bool:
    """Opening repairs what is half done; then all of it is old, or all of it is new.  True if new."""
    open_home(home).signer(PASSWORD)
    found = keys_of(home)
    assert found in (before, after)
    return found == after


def ask_again(home: Path) -> None:
    with pytest.raises(KeyFileExists, match="enrolled already"):
        enrolment.pending_request(home, Identity(FEDERATION, NORTH), None)


def test_every_command_finishes_what_a_killed_import_began(renewing, tmp_path: Path):
    waiting, answer, after = renewing
    for number, command in enumerate(
        (
            lambda home: take(home, answer),
            open_home,
            lambda home: enrolment.refill(home, PASSWORD, 1, CHEAP),
            lambda home: enrolment.renew(home, PASSWORD, 1, CHEAP),
            enrolment.pending_renewal,
            ask_again,
        )
    ):
        home = Path(shutil.copytree(waiting, tmp_path / str(number)))
        for name in (folder.ROOT, folder.SIGNING, folder.TLS, folder.CRL):
            (home / folder.PENDING / name).write_bytes(after[name])
        (home / folder.PENDING).rename(home / folder.INSTALLING)
        command(home)
        assert not (home / folder.INSTALLING).exists()
        assert (home / folder.SIGNING).read_bytes() == after[folder.SIGNING]


def killed_imports(renewing: tuple[Path, Path, dict[str, bytes]], tmp_path: Path, step: int) -> set[bool]:
    waiting, answer, after = renewing
    before, ends = keys_of(waiting), set()
    spare = Path(shutil.copytree(waiting, tmp_path / "spare"))
    for point, _, when in every_point(lambda report: take(spare, answer))[::step]:
        home = Path(shutil.copytree(waiting, tmp_path / f"{point}-{when.value}"))
        assert run_and_kill(lambda report, home=home: take(home, answer), point, when).killed
        ends.add(check_old_or_new(home, before, after))
        take(home, answer)  # and going on from there gives the new set
        assert check_old_or_new(home, before, after)
        shutil.rmtree(home)
    return ends


def test_a_killed_import_leaves_the_old_or_the_new_keys(renewing, tmp_path: Path):
    assert killed_imports(renewing, tmp_path, 5) == {False, True}


@pytest.mark.slow
def test_an_import_killed_anywhere_leaves_the_old_or_the_new_keys(renewing, tmp_path: Path):
    assert killed_imports(renewing, tmp_path, 1) == {False, True}


def test_a_full_disk_at_import_leaves_the_old_or_the_new_keys(renewing, tmp_path: Path):
    waiting, answer, after = renewing
    before = keys_of(waiting)
    spare = Path(shutil.copytree(waiting, tmp_path / "spare"))
    points = [point for point, _, when in every_point(lambda report: take(spare, answer)) if when is When.BEFORE]
    refused = 0
    for point in points[::2]:
        home = Path(shutil.copytree(waiting, tmp_path / str(point)))
        try:
            failing(lambda report, home=home: take(home, answer), point, errno.ENOSPC)
        except DiskFull:
            refused += 1
        check_old_or_new(home, before, after)
        take(home, answer)
        assert check_old_or_new(home, before, after)
    assert refused > len(points) // 4


def ask(home: Path) -> bytes:
    """Make a request, or find the one that was made."""
    identity = Identity(FEDERATION, NORTH)
    found = enrolment.pending_request(home, identity, 1)
    return (found or enrolment.make_request(home, identity, PASSWORD, 1, CHEAP)).encode()


def test_a_killed_request_is_made_again_or_found_again(made: Ceremony, tmp_path: Path):
    points = every_point(lambda report: report(ask(tmp_path / "spare")))
    shutil.rmtree(tmp_path / "spare", ignore_errors=True)
    for point, _, when in points[::4]:
        home = tmp_path / f"{point}-{when.value}"
        outcome = run_and_kill(lambda report, home=home: report(ask(home)), point, when)
        assert outcome.killed
        made_then = home / folder.PENDING / folder.REQUEST
        before = made_then.read_bytes() if made_then.exists() else None
        again = ask(home)
        assert again == (before or again)
        assert ask(home) == again
        assert not list(home.glob(f".{folder.PENDING}*"))


def test_a_full_disk_at_request_leaves_nothing_half(tmp_path: Path):
    points = [point for point, _, when in every_point(lambda report: ask(tmp_path / "spare")) if when is When.BEFORE]
    for point in points[::2]:
        home = tmp_path / str(point)
        with pytest.raises(DiskFull):
            failing(lambda report, home=home: ask(home), point, errno.ENOSPC, lasting=True)
        made_then = home / folder.PENDING / folder.REQUEST  # there, and whole, when only the last flush failed
        before = made_then.read_bytes() if made_then.exists() else None
        assert not (home / folder.PENDING).exists() or before
        assert ask(home) == (before or ask(home))


def test_a_lost_register_is_noticed(home: Path):
    with open_home(home).open_register() as register:
        assert register.next_sequence() == 1
    (home / folder.REGISTER).unlink()
    with pytest.raises(RecordDamaged, match="is gone"), open_home(home).open_register():
        pass
    assert not (home / folder.REGISTER).exists()


def test_hosts_of_a_server_are_strings():
    good = Identity(FEDERATION, Party.parse("server/hub"), ("hub.example",)).encode()
    assert Identity.parse(good, "it").hosts == ("hub.example",)
    for bad in (b"1", b"[]", b"true"):
        with pytest.raises(FormatError):
            Identity.parse(good.replace(b'"hub.example"', bad), "it")


def test_a_folder_that_is_not_there_is_missing(tmp_path: Path):
    with pytest.raises(MissingInput, match="cannot look at"):
        folder.check_private_folder(tmp_path / "nothing")
