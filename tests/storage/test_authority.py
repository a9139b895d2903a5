"""The authority's folder and its register: durable, private, and every number given out once."""

import os
import shutil
import sqlite3
from importlib.resources import files
from pathlib import Path

import pytest

from fedspallm_secure.app import authority as ca
from fedspallm_secure.app.showing import show_authority
from fedspallm_secure.crypto.certificates import Purpose, check_leaf, check_root, parse_leaf
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.passwords import Password
from fedspallm_secure.crypto.profiles import Profiles
from fedspallm_secure.crypto.revocation import Reason
from fedspallm_secure.errors import (
    ExposedKeyFile,
    FormatError,
    HostileFile,
    KeyFileExists,
    KeyStoreError,
    LimitExceeded,
    MissingInput,
    RecordDamaged,
    RunLocked,
    WrongPassword,
)
from fedspallm_secure.protocol.enrolment import Enrolment
from fedspallm_secure.storage import authority as store
from fedspallm_secure.storage import authority_register as registers
from fedspallm_secure.storage.authority import check_absent, open_authority
from fedspallm_secure.storage.authority_register import AuthorityRegister, open_register
from fedspallm_secure.storage.profiles import PROFILES_LIMIT, default_profiles, read_profiles
from tests.ceremony import CHEAP, FEDERATION, PASSWORD, Ceremony
from tests.faults import every_point, run_and_kill
from tests.storage.test_home import within_seconds

NORTH, SOUTH = Party.parse("member/north"), Party.parse("member/south")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Ceremony:
    """An authority that has enrolled two members.  Tests change copies only."""
    ceremony = Ceremony(tmp_path_factory.mktemp("federation"))
    ceremony.enrol("member/north")
    ceremony.enrol("member/south")
    return ceremony


@pytest.fixture
def folder(made: Ceremony, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.ca, tmp_path / "ca"))


def test_a_new_authority_has_all_it_needs(folder: Path):
    with open_authority(folder) as found:
        root = check_root(found.root.der, FEDERATION, 1_900_000_000)
        assert found.signer(PASSWORD).public == root.public
        assert found.profiles == Profiles.parse(default_profiles())
        assert ca.newest_list(found).number == 1
    for path in [folder, *folder.iterdir()]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_nothing_is_overwritten(folder: Path):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(KeyFileExists):
        ca.init(folder, FEDERATION, PASSWORD, None, CHEAP)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("federation", "profiles"), [("Lungs", None), ("a..b", None), (FEDERATION, "[root]"), (FEDERATION, "no TOML")]
)
def test_what_cannot_be_made_leaves_nothing(tmp_path: Path, federation: str, profiles: str | None):
    with pytest.raises(FormatError):
        ca.init(tmp_path / "ca", federation, PASSWORD, profiles, CHEAP)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_start_leaves_all_or_nothing(tmp_path: Path):
    def start(path: Path) -> None:
        ca.init(path, FEDERATION, PASSWORD, None, CHEAP)

    for point, _, when in every_point(lambda report: start(tmp_path / "spare"))[::6]:
        path = tmp_path / f"{point}-{when.value}"
        assert run_and_kill(lambda report, path=path: start(path), point, when).killed
        if not path.exists():
            start(path)
        with open_authority(path) as found:
            found.signer(PASSWORD)


def test_what_is_no_authority_is_refused(tmp_path: Path, folder: Path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(MissingInput, match="no authority's folder"), open_authority(path):
            pass
    folder.chmod(0o711)
    with pytest.raises(ExposedKeyFile), open_authority(folder):
        pass


def test_a_register_that_is_gone_is_not_begun_anew(folder: Path):
    """An empty one would give out the numbers of lists and rosters a second time."""
    (folder / store.REGISTER).unlink()
    with pytest.raises(MissingInput, match="register"), open_authority(folder):
        pass
    assert not (folder / store.REGISTER).exists()


def test_an_empty_register_is_not_filled(folder: Path):
    (folder / store.REGISTER).write_bytes(b"")
    with pytest.raises(RecordDamaged, match="other tables"), open_authority(folder):
        pass
    assert (folder / store.REGISTER).read_bytes() == b""


COUNTING = "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x LIMIT 300000) SELECT n FROM x"
FOREIGN = {
    "a view that takes its time": [
        "DROP VIEW issued",
        f"CREATE VIEW issued AS SELECT digest, party, signing_key, key_statement, answer, answer AS der, "
        f"(SELECT max(n) FROM ({COUNTING})) AS not_after, 'valid' AS status, NULL AS revoked, "
        "NULL AS reason, number FROM requests",
    ],
    "a trigger": ["CREATE TRIGGER t AFTER INSERT ON lists BEGIN DELETE FROM requests; END"],
    "a table more": ["CREATE TABLE more (n)"],
    "a table less": ["DROP TABLE rosters"],
    "an index": ["CREATE INDEX i ON requests (party)"],
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_register_of_somebody_else_is_refused_before_it_is_asked(folder: Path, case: str):
    change(folder, *FOREIGN[case])
    with within_seconds(5), pytest.raises(RecordDamaged, match="other tables"), open_authority(folder) as found:
        show_authority(found)


def change(folder: Path, *statements: str) -> None:
    with sqlite3.connect(folder / store.REGISTER) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


ROWS = {
    "a party": "UPDATE requests SET party = 'nonsense'",
    "a time": "UPDATE certificates SET not_after = 99999999999999",
    "a list": "UPDATE lists SET der = x'00'",
    "the number of a list": "UPDATE lists SET number = 9223372036854775807",
    "a roster": "INSERT INTO rosters VALUES (1, 0, x'00')",
    "a certificate": "UPDATE certificates SET der = x'00'",
    "a key statement": "UPDATE requests SET key_statement = x'00'",
    "a serial number": "UPDATE certificates SET serial = 'zz' || rowid, status = 'revoked', revoked = 1, "
    "reason = 'superseded'",
    "a reason": "UPDATE certificates SET status = 'revoked', revoked = 1, reason = 'x'",
    "a time of withdrawal": "UPDATE certificates SET status = 'revoked', revoked = 1 << 50, reason = 'superseded'",
}


@pytest.mark.parametrize("case", ROWS)
def test_a_row_that_was_never_written_is_named(folder: Path, case: str):
    change(folder, ROWS[case])
    with open_authority(folder) as found, pytest.raises(RecordDamaged, match=store.REGISTER):
        show_authority(found)
        ca.publish_list(found, PASSWORD)
        ca.publish_roster(found, PASSWORD)


def test_a_pipe_in_the_folder_is_not_waited_for(folder: Path):
    for name in (store.ROOT, store.PROFILES):
        data = (folder / name).read_bytes()
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with within_seconds(5), pytest.raises(HostileFile, match=name), open_authority(folder):
            pass
        (folder / name).unlink()
        (folder / name).write_bytes(data)


def test_a_folder_that_one_may_not_look_into_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def forbidden(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", forbidden)
    with pytest.raises(MissingInput, match="cannot look at"), open_authority(folder):
        pass


def test_what_killed_starts_left_is_swept(tmp_path: Path):
    old = tmp_path / ".ca.abcdefgh"
    others = [
        tmp_path / name for name in (".ca.whole_ca", ".ca.recently", ".ca.precious", ".cb.abcdefgh", ".ca.backup")
    ]
    for path in (old, *others):
        path.mkdir()
        (path / store.ROOT_KEY).write_bytes(b"key")
        (path / f".{store.ROOT}.new").write_bytes(b"")
    (others[0] / store.AUTHORITY).write_bytes(b"")
    (others[2] / "thesis.txt").write_bytes(b"mine")
    for path in (old, others[0], *others[2:]):
        os.utime(path, (0, 0))
    ca.init(tmp_path / "ca", FEDERATION, PASSWORD, None, CHEAP)
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "ca", *others])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def other_version(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"fedspallm-secure/1", b"fedspallm-secure/2"))


def spoil_a_page(path: Path) -> None:
    """The book-keeping inside of a page: reading goes on as if nothing were, so only a check of all of it notices."""
    with sqlite3.connect(path) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'certificates'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.close()
    data = bytearray(path.read_bytes())
    data[(page - 1) * size + 7] ^= 32  # its count of fragmented bytes
    path.write_bytes(data)


def overwrite(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100:2000] = b"\xff" * 1900
    path.write_bytes(data)


DAMAGES = {
    "root certificate": (store.ROOT, cut, RecordDamaged),
    "name": (store.AUTHORITY, cut, RecordDamaged),
    "of another version": (store.AUTHORITY, other_version, RecordDamaged),
    "a page of the register": (store.REGISTER, spoil_a_page, RecordDamaged),
    "register": (store.REGISTER, overwrite, RecordDamaged),
    "profiles": (store.PROFILES, lambda path: path.write_text("[root]\n"), FormatError),
    "profiles are no text": (store.PROFILES, lambda path: path.write_bytes(b"\xff"), FormatError),
    "profiles are huge": (store.PROFILES, lambda path: path.write_bytes(b"#" * (PROFILES_LIMIT + 1)), LimitExceeded),
    "profiles are gone": (store.PROFILES, Path.unlink, MissingInput),
    "root certificate is gone": (store.ROOT, Path.unlink, MissingInput),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(folder: Path, damage: str):
    name, spoil, error = DAMAGES[damage]
    spoil(folder / name)
    with pytest.raises(error, match=name), open_authority(folder):
        pass


def test_the_root_key_must_be_that_of_the_root(folder: Path, tmp_path: Path):
    Ceremony(tmp_path / "other")
    shutil.copy(tmp_path / "other/ca" / store.ROOT_KEY, folder / store.ROOT_KEY)
    with open_authority(folder) as found, pytest.raises(KeyStoreError, match="not the key of"):
        found.signer(PASSWORD)


def test_a_wrong_password_signs_nothing(folder: Path):
    with open_authority(folder) as found:
        with pytest.raises(WrongPassword):
            ca.publish_list(found, Password.from_text("open barley"))
        assert ca.newest_list(found).number == 1


def test_edited_profiles_count(folder: Path, made: Ceremony, tmp_path: Path):
    path = folder / store.PROFILES
    path.write_text(path.read_text().replace("validity_days = 365", "validity_days = 90").replace("= 60", "= 30"))
    request = made.request("auditor/watch", tmp_path / "watch")
    with open_authority(folder) as found:
        from fedspallm_secure.app.requests import review

        answer = Enrolment.parse(ca.sign(found, review(found, request.encode()), PASSWORD))
        leaf = parse_leaf(answer.signing_certificate, found.root, Purpose.SIGNING, request.party)
        check_leaf(leaf.der, found.root, request.party, Purpose.SIGNING, request.created, ca.newest_list(found))
        assert leaf.not_after - leaf.not_before == 90 * 86_400


def test_the_packaged_profiles_are_the_ones_in_certs():
    here = Path(__file__).parent.parent.parent / "certs/profiles.toml"
    assert default_profiles() == here.read_text() == (files("fedprune_certs") / "profiles.toml").read_text()
    assert read_profiles(here) == default_profiles()


# --- the register


@pytest.fixture
def register(folder: Path):
    with open_register(folder / store.REGISTER) as found:
        yield found


def test_a_transaction_is_all_or_nothing(register: AuthorityRegister):
    with pytest.raises(ZeroDivisionError), register.transaction():
        register.add_list(2, 0, b"two")
        register.revoke(NORTH, 0, Reason.SUPERSEDED)
        raise ZeroDivisionError
    assert register.newest_list()[0] == 1
    assert register.revoked() == []
    with register.transaction():
        register.add_list(2, 0, b"two")
    assert register.newest_list() == (2, b"two")


@pytest.mark.parametrize("table", ["lists", "rosters"])
def test_a_number_is_given_out_once(register: AuthorityRegister, table: str):
    add = register.add_list if table == "lists" else register.add_roster
    with register.transaction():
        add(7, 0, b"seven")
    with pytest.raises(RecordDamaged), register.transaction():
        add(7, 0, b"another seven")


def test_it_knows_what_was_answered(register: AuthorityRegister):
    north = register.newest(NORTH)
    assert north is not None
    assert register.answered(north.digest) == north
    assert register.answered("00" * 32) is None
    assert register.newest(Party.parse("member/west")) is None
    assert register.knows_key(north.signing_key)
    assert not register.knows_key("00" * 32)
    assert [issued.party for issued in register.parties()] == [NORTH, SOUTH]


def test_withdrawing_reaches_what_was_superseded(register: AuthorityRegister):
    """An old certificate that nobody needs any more could still be used by a thief."""
    north = register.newest(NORTH)
    assert north is not None
    leaf = parse_leaf_of(north.signing, register)
    with register.transaction():
        register._connection.execute("UPDATE certificates SET status = 'superseded' WHERE party = ?", (str(NORTH),))
        assert register.revoke(NORTH, north.not_after, Reason.KEY_COMPROMISE) == 2
        assert register.revoke(NORTH, north.not_after, Reason.KEY_COMPROMISE) == 0  # it is done
        assert register.revoke(SOUTH, north.not_after + 10**9, Reason.SUPERSEDED) == 2  # ended, or the clock is wrong
    found = {entry.serial: entry for entry in register.revoked()}
    assert len(found) == 4
    assert found[leaf].reason is Reason.KEY_COMPROMISE


def parse_leaf_of(der: bytes, register: AuthorityRegister) -> int:
    from fedspallm_secure.crypto.certificate_fields import read_certificate

    return read_certificate(der, "it").serial


def test_a_busy_register_is_waited_for_and_then_named(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registers, "_WAIT", 0.01)
    with open_register(folder / store.REGISTER) as first, open_register(folder / store.REGISTER) as second:
        with first.transaction(), pytest.raises(RunLocked), second.transaction():
            pass
        with second.transaction():
            pass


def test_it_is_as_durable_as_sqlite_can_be(flushing: None, register: AuthorityRegister):
    ask = register._connection.execute
    assert ask("PRAGMA journal_mode").fetchone() == ("wal",)
    assert ask("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert ask("PRAGMA foreign_keys").fetchone() == (1,)


def test_people_can_read_it(folder: Path):
    with sqlite3.connect(folder / store.REGISTER) as connection:
        rows = connection.execute("SELECT party, purpose, status FROM certificates ORDER BY party, purpose").fetchall()
    connection.close()
    assert rows == [(str(party), purpose, "valid") for party in (NORTH, SOUTH) for purpose in ("signing", "tls")]


def test_what_stops_an_authority_is_known_before_its_password(tmp_path: Path):
    check_absent(tmp_path / "ca", FEDERATION)
    with pytest.raises(KeyFileExists):
        check_absent(tmp_path, FEDERATION)
    with pytest.raises(FormatError):
        check_absent(tmp_path / "ca", "Lungs")


def test_an_authority_is_never_made_over_something(tmp_path: Path):
    made = Ceremony(tmp_path / "first")
    before = (made.ca / "root.key").read_bytes()
    with pytest.raises(KeyFileExists):
        Ceremony(tmp_path / "first")
    assert (made.ca / "root.key").read_bytes() == before
