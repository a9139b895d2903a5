"""Packages from end to end: what is sealed opens as it was; what goes wrong is refused and leaves nothing behind."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedspallm_secure import errors
from fedspallm_secure.app import packages
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.crypto.body import BodyEncryptor, body_length
from fedspallm_secure.crypto.encoding import parse_canonical_json
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.sealing import Kem
from fedspallm_secure.protocol.receiving import Awaited, Reader, Slot
from fedspallm_secure.storage.drafts import draft_of
from fedspallm_secure.storage.package_reader import open_package
from fedspallm_secure.storage.package_writer import Source, write_package
from fedspallm_secure.storage.register import open_register
from tests.parties import NOW, Federation

MIB = 1 << 20
SIZES = [0, 1, 16383, 16384, 16385, MIB - 72, MIB, MIB + 1, 3 * MIB + 12345]


@pytest.fixture(scope="module")
def lungs() -> Federation:
    return Federation()


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr("fedspallm_secure.app.packages.time.time", lambda: NOW)


class Desks:
    """Sender and recipient, each with a register of its own."""

    def __init__(self, federation: Federation, folder: Path) -> None:
        self.federation, self.folder = federation, folder

    def desk(self, name: str, register) -> packages.Desk:
        actor = self.federation[name]
        return packages.Desk(actor.party, self.federation.trust, register, self.folder / "evidence")

    def seal(self, data: bytes, recipient="member/south", sender="member/north", kem=None, name="p.fspkg") -> Path:
        plain, path = self.folder / "plain", self.folder / name
        plain.write_bytes(data)
        with open_register(self.folder / f"{sender.replace('/', '-')}.sqlite") as register:
            packages.seal(
                self.desk(sender, register),
                plain,
                path,
                Party.parse(recipient),
                self.federation[sender].signer,
                3600,
                kem,
                Silent(),
            )
        return path

    def open(self, path: Path, recipient="member/south", output: Path | None = None, **options):
        actor = self.federation[recipient]
        with open_register(self.folder / f"{recipient.replace('/', '-')}.sqlite") as register:
            return packages.open_sealed(
                self.desk(recipient, register),
                actor.reader,
                actor.secrets,
                path,
                output or self.folder / "out",
                Silent(),
                **options,
            )

    def left_behind(self) -> set[str]:
        known = {"plain", "p.fspkg", "q.fspkg", "evidence"}
        names = {entry.name for entry in self.folder.iterdir()}
        return {name for name in names if name not in known and ".sqlite" not in name}


@pytest.fixture
def desks(lungs, tmp_path) -> Desks:
    return Desks(lungs, tmp_path)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kem", list(Kem))
def test_what_is_sealed_opens_as_it_was(desks, size, kem):
    data = os.urandom(size)
    path = desks.seal(data, kem=kem)
    head, output = desks.open(path)
    assert output.read_bytes() == data
    assert output.stat().st_mode & 0o777 == 0o600
    assert head.context.kem is kem
    assert head.size == path.stat().st_size
    assert head.header.body_length == body_length(size)
    assert desks.left_behind() == {"out"}


@given(st.binary(max_size=40_000))
@settings(max_examples=15)
def test_any_bytes_come_back(lungs, tmp_path_factory, data):
    desks = Desks(lungs, tmp_path_factory.mktemp("any"))
    assert desks.open(desks.seal(data))[1].read_bytes() == data


def test_hybrid_is_the_default(desks):
    desks.seal(b"x")
    assert packages.inspect(desks.folder / "p.fspkg").context.kem is Kem.HYBRID


def test_two_packages_of_one_sender_have_different_numbers(desks):
    first, second = desks.seal(b"1"), desks.seal(b"2", name="q.fspkg")
    numbers = [packages.inspect(path).context.sequence for path in (first, second)]
    assert numbers == [1, 2]


def test_into_a_folder_the_name_is_the_digest(desks):
    folder = desks.folder / "inbox"
    folder.mkdir()
    head, output = desks.open(desks.seal(b"x"), output=folder)
    assert output == folder / f"{head.digest.hex()}.body"


def test_sealing_never_overwrites(desks):
    path = desks.seal(b"1")
    before = path.read_bytes()
    with pytest.raises(errors.OutputExists):
        desks.seal(b"2")
    assert path.read_bytes() == before


def test_opening_never_overwrites(desks):
    (desks.folder / "out").write_bytes(b"precious")
    with pytest.raises(errors.OutputExists):
        desks.open(desks.seal(b"1"))
    assert (desks.folder / "out").read_bytes() == b"precious"


def test_the_source_must_be_a_file_that_holds_still(desks, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with open_register(tmp_path / "r.sqlite") as register, pytest.raises(errors.UsageError):
        packages.seal(
            desks.desk("member/north", register),
            tmp_path / "pipe",
            tmp_path / "never",
            Party.parse("member/south"),
            desks.federation["member/north"].signer,
            60,
            None,
            Silent(),
        )
    with open_register(tmp_path / "r.sqlite") as register, pytest.raises(errors.MissingInput):
        packages.seal(
            desks.desk("member/north", register),
            tmp_path / "nothing",
            tmp_path / "never",
            Party.parse("member/south"),
            desks.federation["member/north"].signer,
            60,
            None,
            Silent(),
        )
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(("said", "word"), [(10, "shorter"), (3, "longer")])
def test_a_source_that_changes_is_not_sealed(lungs, tmp_path, said, word):
    plain = tmp_path / "plain"
    plain.write_bytes(b"12345")
    key = lungs["member/south"].entry.key_statement.keys[0]
    descriptor = os.open(plain, os.O_RDONLY)
    try:
        with pytest.raises(errors.InputError, match=word):
            write_package(
                tmp_path / "p.fspkg",
                Source(descriptor, said, "plain"),
                lungs.context(kem=key.kem),
                key,
                lungs["member/north"].signer,
                lambda _: None,
            )
    finally:
        os.close(descriptor)
    assert list(tmp_path.iterdir()) == [plain]


def test_a_source_larger_than_its_type_allows_is_not_sealed(lungs, tmp_path):
    key = lungs["member/south"].entry.key_statement.keys[0]
    with pytest.raises(errors.NotAllowed):
        write_package(
            tmp_path / "p.fspkg",
            Source(0, (1 << 36) + 1, "plain"),
            lungs.context(kem=key.kem),
            key,
            lungs["member/north"].signer,
            lambda _: None,
        )
    assert list(tmp_path.iterdir()) == []


def test_sealing_needs_sender_and_recipient_in_the_roster(desks, lungs):
    with pytest.raises(errors.UnknownSender):
        desks.seal(b"x", recipient="member/nobody")
    other = Federation(now=NOW)
    (desks.folder / "plain").write_bytes(b"x")
    with open_register(desks.folder / "r.sqlite") as register, pytest.raises(errors.UnknownSender):
        packages.seal(
            desks.desk("member/north", register),
            desks.folder / "plain",
            desks.folder / "never",
            Party.parse("member/south"),
            other["member/north"].signer,
            60,
            None,
            Silent(),
        )


def test_a_second_time_it_is_a_replay(desks):
    path = desks.seal(b"x")
    desks.open(path)
    with pytest.raises(errors.ReplayedPackage):
        desks.open(path, output=desks.folder / "again")
    assert not (desks.folder / "again").exists()


def test_for_somebody_else_it_stays_closed(desks):
    path = desks.seal(b"x")
    with pytest.raises(errors.WrongRecipient):
        desks.open(path, recipient="member/west")
    assert desks.left_behind() == set()


def test_two_packages_under_one_number_leave_a_proof(desks, lungs):
    """The sender's counter went back: both headers are kept, and each carries the sender's signature."""
    desks.open(desks.seal(b"first"))
    (desks.folder / "member-north.sqlite").unlink()
    second = desks.seal(b"second", name="q.fspkg")
    with pytest.raises(errors.Equivocation, match=r"the proof is in .*\.json"):
        desks.open(second, output=desks.folder / "again")
    with pytest.raises(errors.Equivocation):
        desks.open(second, output=desks.folder / "again")  # and the proof is not written twice
    (proof,) = (desks.folder / "evidence").iterdir()
    found = parse_canonical_json(proof.read_bytes().removesuffix(b"\n"), "proof")
    assert len(found["packages"]) == 2
    from fedspallm_secure.crypto.encoding import decode_base64
    from fedspallm_secure.crypto.labels import Label
    from fedspallm_secure.crypto.signing import verify

    headers = [decode_base64(package["header"], "header") for package in found["packages"]]
    assert headers[0] != headers[1]
    for package, header in zip(found["packages"], headers, strict=True):
        signature = decode_base64(package["signature"], "signature")
        verify(lungs["member/north"].leaf.public, Label.SIGN_PACKAGE, header, signature, "proof")
    assert not (desks.folder / "again").exists()


def test_a_refused_body_does_not_use_up_the_number(desks):
    """Somebody who damages a package on the way must not keep the true one out."""
    path = desks.seal(b"x" * 100)
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(errors.TileMismatch):
        desks.open(path)
    assert desks.left_behind() == set()
    path.write_bytes(good)
    desks.open(path)


def test_a_run_killed_after_the_claim_is_repeated(desks):
    path = desks.seal(b"x")
    head = packages.inspect(path)
    with open_register(desks.folder / "member-south.sqlite") as register:
        register.fill(head, str(desks.folder / "out"), NOW)
    draft_of(desks.folder / "out").touch()
    _, output = desks.open(path)
    assert output.read_bytes() == b"x"
    with pytest.raises(errors.ReplayedPackage):
        desks.open(path, output=desks.folder / "again")


def test_a_run_killed_after_the_name_was_given_is_repeated(desks):
    path = desks.seal(b"x")
    head = packages.inspect(path)
    (desks.folder / "out").write_bytes(b"x")
    with open_register(desks.folder / "member-south.sqlite") as register:
        register.fill(head, str(desks.folder / "out"), NOW)
    assert desks.open(path)[1].read_bytes() == b"x"
    with open_register(desks.folder / "member-south.sqlite") as register:
        assert register.received(Slot.of(head.context)).published


def test_a_run_killed_after_the_name_was_given_is_not_repeated_elsewhere(desks):
    path = desks.seal(b"x")
    head = packages.inspect(path)
    with open_register(desks.folder / "member-south.sqlite") as register:
        register.fill(head, str(desks.folder / "first"), NOW)
    (desks.folder / "first").write_bytes(b"x")
    with pytest.raises(errors.ReplayedPackage, match="first"):
        desks.open(path)
    assert desks.left_behind() == {"first"}
    with open_register(desks.folder / "member-south.sqlite") as register:
        assert register.received(Slot.of(head.context)).published


def test_what_was_taken_away_after_a_kill_does_not_come_again(desks):
    """Killed after the name was given and before that was noted: the plaintext went on its way in between."""
    path = desks.seal(b"x")
    head = packages.inspect(path)
    with open_register(desks.folder / "member-south.sqlite") as register:
        register.fill(head, str(desks.folder / "out"), NOW)
    for _ in range(2):
        with pytest.raises(errors.ReplayedPackage):
            desks.open(path)
    assert desks.left_behind() == set()


def test_a_name_that_cannot_be_noted_is_taken_back(desks, monkeypatch):
    """The disk of the register is full at the very last moment: then the plaintext has no name, and may come again."""
    path = desks.seal(b"x")

    def full(self, head, give_name):
        give_name()
        raise errors.DiskFull("no space left")

    def full_too(self, head, output):
        raise errors.DiskFull("no space left")

    for lasting in (True, False):
        with monkeypatch.context() as patch:
            patch.setattr("fedspallm_secure.storage.register.SqliteRegister.publish", full)
            if lasting:
                patch.setattr("fedspallm_secure.storage.register.SqliteRegister.empty", full_too)
            with pytest.raises(errors.DiskFull):
                desks.open(path)
        assert desks.left_behind() == ({draft_of(desks.folder / "out").name} if lasting else set())
    assert desks.open(path)[1].read_bytes() == b"x"
    assert desks.left_behind() == {"out"}


def test_a_party_that_enrolled_again_counts_from_one_again(desks, lungs, monkeypatch):
    """It lost its home, so it has new keys: its number 1 is another than the number 1 before."""
    desks.open(desks.seal(b"before"))
    again = lungs.actor("member/north")
    monkeypatch.setitem(lungs.actors, "member/north", again)
    monkeypatch.setattr(lungs, "roster", lungs.new_roster(2))
    (desks.folder / "member-north.sqlite").unlink()
    path = desks.seal(b"after", name="q.fspkg")
    assert packages.inspect(path).context.sequence == 1
    assert desks.open(path, output=desks.folder / "after")[1].read_bytes() == b"after"
    assert not (desks.folder / "evidence").exists()


def test_an_output_may_have_a_name_that_is_no_text(desks):
    output = desks.folder / os.fsdecode(b"\xff.bin")
    assert desks.open(desks.seal(b"x"), output=output)[1].read_bytes() == b"x"


def test_another_file_under_the_claimed_name_is_left_alone(desks):
    path = desks.seal(b"x")
    with open_register(desks.folder / "member-south.sqlite") as register:
        register.fill(packages.inspect(path), str(desks.folder / "out"), NOW)
    (desks.folder / "out").write_bytes(b"precious")
    with pytest.raises(errors.OutputExists):
        desks.open(path)
    assert (desks.folder / "out").read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("awaited", "expected"),
    [
        (Awaited(types=frozenset({"plan"})), errors.NotAwaited),
        (Awaited(round=3), errors.NotAwaited),
        (Awaited(plan_hash="00" * 32), errors.NotAwaited),
        (Awaited(group="1"), errors.NotAwaited),
        (Awaited(plaintext_length=2), errors.NotAwaited),
    ],
)
def test_what_is_not_awaited_is_refused(desks, awaited, expected):
    path = desks.seal(b"x")
    with pytest.raises(expected):
        desks.open(path, awaited=awaited)
    assert desks.left_behind() == set()
    desks.open(path, awaited=Awaited(frozenset({"file"}), 0, "*", "*", 1))


def test_verifying_takes_nothing_in(desks, lungs):
    path = desks.seal(b"x" * 50)
    for reader in (lungs["member/south"].reader, Reader()):
        for _ in range(2):
            packages.verify(path, reader, lungs.trust, Silent(), Awaited())
    desks.open(path)
    packages.verify(path, Reader(), lungs.trust, Silent(), Awaited())


def test_an_observer_refuses_a_recipient_that_is_not_in_the_roster(desks, lungs):
    path = desks.seal(b"x")
    other = Federation(names=("member/north",), now=NOW)
    other.actors["member/north"] = lungs["member/north"]
    other.root, other.root_signer, other.crl = lungs.root, lungs.root_signer, lungs.crl
    other.roster = other.new_roster(1)
    with pytest.raises(errors.WrongRoster):
        packages.verify(path, Reader(), other.trust, Silent(), Awaited())


def test_a_full_disk_is_told_before_the_work(desks, monkeypatch):
    path = desks.seal(b"x" * 1000)

    class Full:
        f_bavail, f_frsize = 0, 4096

    monkeypatch.setattr("os.fstatvfs", lambda descriptor: Full)
    with pytest.raises(errors.DiskFull):
        desks.open(path)
    assert desks.left_behind() == set()
    with pytest.raises(errors.DiskFull):
        desks.seal(b"x", name="q.fspkg")
    assert desks.left_behind() == set()


def test_a_file_that_grows_while_it_is_read_is_refused(desks):
    path = desks.seal(b"x" * 10)
    with open_package(path) as package:
        with path.open("ab") as file:
            file.write(b"more")
        with pytest.raises(errors.TrailingBytes):
            package.verify_body(lambda _: None)


def test_a_file_that_shrinks_while_it_is_read_is_refused(desks):
    path = desks.seal(b"x" * 10)
    with open_package(path) as package:
        os.truncate(path, path.stat().st_size - 1)
        with pytest.raises(errors.Truncated):
            package.verify_body(lambda _: None)


def test_progress_is_told_in_mebibytes(desks, monkeypatch):
    told = []

    class Telling(Silent):
        def update(self, task, done, total, unit):
            told.append((task, done, total, unit))

    monkeypatch.setattr("tests.storage.test_packages.Silent", Telling)
    desks.open(desks.seal(bytes(2 * MIB)))
    assert told == [
        *[("seal plain", done, 3, "MiB") for done in (1, 2, 3)],
        *[("open p.fspkg", done, 3, "MiB") for done in (1, 2, 3)],
    ]


def test_the_encryptor_is_the_library_format():
    assert len(BodyEncryptor(bytes(32), b"").finish()) == 72


@pytest.mark.parametrize("withdrawn", ["member/north", "member/south"])
def test_nothing_is_sealed_by_or_for_the_withdrawn(lungs, tmp_path, monkeypatch, withdrawn):
    monkeypatch.setattr(lungs, "crl", lungs.revoke([withdrawn], number=2))
    with pytest.raises(errors.CertificateRevoked):
        Desks(lungs, tmp_path).seal(b"x")


def test_nothing_is_sealed_under_a_stale_list(lungs, tmp_path, monkeypatch):
    monkeypatch.setattr(lungs, "crl", lungs.revoke([], number=2, valid=3600))
    with pytest.raises(errors.RevocationListStale):
        Desks(lungs, tmp_path).seal(b"x")


def test_nothing_is_sealed_with_a_list_older_than_the_roster_demands(lungs, tmp_path, monkeypatch):
    monkeypatch.setattr(lungs, "roster", lungs.new_roster(2, crl_number=2))
    with pytest.raises(errors.RevocationListStale):
        Desks(lungs, tmp_path).seal(b"x")


def test_nothing_is_sealed_to_keys_past_their_time(tmp_path):
    short = Federation(names=("member/north",))
    short.actors["member/south"] = short.actor("member/south", until=NOW - 1)
    short.roster = short.new_roster(1)
    with pytest.raises(errors.CertificateExpired):
        Desks(short, tmp_path).seal(b"x")
