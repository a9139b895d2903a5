"""THREAT_MODEL section 3, "Crashes, disks, clocks, screens, suppliers"."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from fedprune_cli.console import LiveProgress

from fedspallm_secure.app import packages
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.crypto.passwords import PasswordKey
from fedspallm_secure.errors import (
    DiskFull,
    InputError,
    OutputExists,
    PackageExpired,
    ReplayedPackage,
    RevocationListStale,
    RunLocked,
    StorageError,
    TileMismatch,
)
from fedspallm_secure.storage.drafts import draft, draft_of
from fedspallm_secure.storage.keystore import FileSigner
from tests.attacks.stage import RECIPIENT, Parts, Stage
from tests.ceremony import CHEAP, PASSWORD, Ceremony, Clock
from tests.faults import count_points, every_point, failing, run_and_kill
from tests.parties import DAY, Federation
from tests.threats.bench import deliver, not_sealed, refused, refuses
from tests.threats.conftest import Fedprune

PLAIN = b"plaintext" * 3000
OWNER = "spiffe://lungs.example/member/north"


def take_in(stage: Stage, name: str = "first") -> None:
    """Open the package on the medium, and leave the plaintext there."""
    south = stage.federation[RECIPIENT]
    path = stage.medium / "p.fspkg"
    packages.open_sealed(stage.desk(RECIPIENT), south.reader, south.secrets, path, stage.out / name, Silent())


def put(stage: Stage) -> Stage:
    (stage.medium / "p.fspkg").write_bytes(stage.seal(PLAIN))
    return stage


def plaintexts(stage: Stage) -> list[str]:
    """Everything in the output folder that has a final name, which must be whole."""
    found = [path for path in sorted(stage.out.iterdir()) if not path.name.startswith(".")]
    assert all(path.read_bytes() == PLAIN for path in found)
    return [path.name for path in found]


@pytest.fixture
def stages(tmp_path: Path) -> Iterator[Iterator[Stage]]:
    """One after another, in folders of their own, of one federation."""
    federation = Federation(now=int(time.time()))

    def make() -> Iterator[Stage]:
        for number in count():
            (tmp_path / str(number)).mkdir()
            with Stage(tmp_path / str(number), federation) as made:
                yield made

    with closing(make()) as made:
        yield made


@pytest.mark.parametrize("again", ["first", "second"])
def test_opening_killed_at_any_moment_publishes_once_or_not_at_all(stages: Iterator[Stage], again: str):
    """THREAT_MODEL T89: and the command that is given again, with the same output or another, completes it."""
    counted = put(next(stages))
    points = every_point(lambda _: take_in(counted))
    assert len(points) > 10
    for point, name, when in points:
        stage = put(next(stages))
        assert run_and_kill(lambda _, stage=stage: take_in(stage), point, when).killed
        there = plaintexts(stage)
        try:
            take_in(stage, again)
        except ReplayedPackage:
            assert there == ["first"], (name, when)
        assert len(plaintexts(stage)) == 1, (name, when)
        with refused(ReplayedPackage, untouched=stage.out):
            take_in(stage, "third")


def test_sealing_killed_at_any_moment_never_uses_a_number_twice(stages: Iterator[Stage]):
    """THREAT_MODEL T90: nothing half has the final name, and whatever was seen, the next number is another."""
    counted = next(stages)
    points = every_point(lambda _: counted.seal(PLAIN))
    for point, name, when in points:
        stage, seen = next(stages), []
        assert run_and_kill(lambda _, stage=stage: stage.seal(PLAIN), point, when).killed
        for path in stage.home.glob("*made.fspkg*"):
            if path.name == "made.fspkg":
                assert deliver(stage, path.read_bytes()) == PLAIN
            try:
                seen.append(packages.inspect(path).context.sequence)
            except InputError:  # a draft without its head
                assert path.name.startswith("."), (name, when)
        (stage.home / "made.fspkg").unlink(missing_ok=True)
        assert Parts.of(stage.seal(PLAIN)).fields["ctx"]["seq"] not in seen


def test_content_is_on_disk_before_its_name_is(stages: Iterator[Stage], tmp_path: Path):
    """THREAT_MODEL T91: for outputs, packages and key files: write, flush, name, flush the folder."""
    opening, sealing, key = put(next(stages)), next(stages), PasswordKey.new(PASSWORD, CHEAP)
    for action, naming in (
        (lambda _: take_in(opening), "rename"),
        (lambda _: sealing.seal(PLAIN), "rename"),
        (lambda _: FileSigner.create(tmp_path / "signing.key", OWNER, key), "link"),
    ):
        calls = count_points(action)
        named = calls.index(naming)
        written = max(number for number, name in enumerate(calls) if name in {"write", "pwrite"})
        assert written < calls.index("fsync") < named
        assert "fsync" in calls[named:]


def test_two_runs_never_mix_and_nothing_is_overwritten(stage: Stage):
    """THREAT_MODEL T92: another run writes the same output at this moment; something has that name already."""
    put(stage)
    with draft(stage.out / "first"), refused(RunLocked, untouched=stage.out):
        take_in(stage)
    with draft(stage.home / "made.fspkg"), pytest.raises(RunLocked):
        stage.seal(b"x")
    (stage.out / "first").write_bytes(b"precious")
    with refused(OutputExists, untouched=stage.out):
        take_in(stage)
    (stage.home / "made.fspkg").write_bytes(b"precious")
    with refused(OutputExists, untouched=stage.home):
        stage.seal(b"x")


def test_a_full_disk_leaves_nothing_behind(stages: Iterator[Stage], monkeypatch: pytest.MonkeyPatch):
    """THREAT_MODEL T93: full before the work, and full at any call during the work; then there is room again."""
    stage = put(next(stages))

    class Full:
        f_bavail, f_frsize = 6, 4096

    with monkeypatch.context() as patched, refused(DiskFull, untouched=stage.out):
        patched.setattr(os, "fstatvfs", lambda descriptor: Full)
        take_in(stage)
    stage = put(next(stages))
    calls = count_points(lambda _: take_in(stage))
    for point, _ in enumerate(calls, start=1):
        stage = put(next(stages))
        with pytest.raises(DiskFull):
            failing(lambda _, stage=stage: take_in(stage), point, errno.ENOSPC)
        assert {path.name for path in stage.out.iterdir()} <= {draft_of(Path("first")).name}
        take_in(stage)
        assert [path.name for path in stage.out.iterdir()] == plaintexts(stage) == ["first"]


def test_a_bad_body_does_not_use_up_the_number_of_a_good_one(stage: Stage):
    """THREAT_MODEL T94: somebody delivers a damaged copy first."""
    data = stage.seal(b"x")
    refuses(stage, data[:-1] + bytes([data[-1] ^ 1]), TileMismatch)
    assert deliver(stage, data) == b"x"


def test_a_package_or_a_list_from_the_future_is_refused(stage: Stage, clock: Clock):
    """THREAT_MODEL T95: more than a day ahead; by a clock behind the newest list nothing is opened or sealed."""
    refuses(stage, stage.write(b"x", created=clock.now + DAY + 60), PackageExpired)
    federation = stage.federation
    data = stage.write(b"x")
    federation.now += 30 * DAY
    federation.crl = federation.revoke([], number=2)  # as a reader has it whose clock was set back since
    refuses(stage, data, RevocationListStale)
    not_sealed(stage, RevocationListStale)


NASTY = [
    b"\x1b]0;owned\x07\x1b[2J.x",
    b"\xc2\x9b2J\x7f.x",
    b"\xff\xfe.x",
    "\u202egkp\u200b.x".encode(),
    b"a\rb\nc.x",
    b"[red]x[blink].x",
]


@pytest.mark.parametrize("name", NASTY)
def test_a_file_name_cannot_write_to_the_terminal(
    made: Ceremony,
    fedprune: Fedprune,
    name: bytes,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    """THREAT_MODEL T96: control codes, mark-up, text that runs backwards; in messages, results, JSON and progress."""
    roster = made.roster()
    for party in ("member/north", "member/south"):
        made.take(party, roster)
    folder, inbox = made.folder / "inbox", made.folder / os.fsdecode(name)
    folder.mkdir()
    path, bad = (folder / os.fsdecode(start + name + b".fspkg") for start in (b"", b"bad"))
    (made.folder / "plain").write_bytes(b"x")
    bad.write_bytes(b"no package")
    home = ["--home", "member-south"]
    south = ["package", "seal", "plain", "--to", "member/south", "--home", "member-north", "--out", str(path)]
    document = made.folder / os.fsdecode(b"roster" + name)
    document.write_bytes(roster)
    runs = [
        south,
        ["package", "inspect", str(folder)],
        ["package", "verify", str(folder), *home],
        ["package", "open", str(folder), "--into", str(inbox), *home],
        ["package", "open", str(folder), "--into", str(inbox), *home],
        ["certs", "import", str(document), *home],
        ["certs", "show", str(document)],
        ["certs", "prekeys", "--count", "1", "--out", str(document) + "2", *home],
        ["certs", "init", "a.example", "--ca", str(document) + "3"],
    ]
    monkeypatch.setenv("FEDPRUNE_DEBUG", "1")  # tracebacks repeat the messages
    for words in [*runs, *([*words, "--json"] for words in runs), ["package", "inspect", str(bad)]]:
        _, said = fedprune(*words)
        assert said
        assert all(character.isprintable() or character == "\n" for character in said), words
    with LiveProgress() as bars:
        bars.update(os.fsdecode(name), 1, 1, "MiB")
        bars.say(os.fsdecode(name))
    said = "".join(capfd.readouterr())
    assert "\x1b]" not in said and "\u202e" not in said
    assert said.count("[red]x[blink]") == (2 if b"[red]" in name else 0)


def test_a_file_planted_as_a_draft_gets_no_content(stage: Stage):
    """THREAT_MODEL T97: under the name of the draft lies a link, a pipe, a locked file, or a second name of a file."""
    put(stage)
    treasure, planted = stage.folder / "treasure", draft_of(stage.out / "first")
    treasure.write_bytes(b"precious")
    for make in (lambda: planted.symlink_to(treasure), lambda: os.mkfifo(planted)):
        make()
        with refused(StorageError, untouched=stage.out):
            take_in(stage)
        planted.unlink()
    planted.hardlink_to(treasure)
    with treasure.open() as locked, refused(RunLocked, untouched=stage.out):
        fcntl.flock(locked, fcntl.LOCK_EX)
        take_in(stage)
    take_in(stage)
    assert treasure.read_bytes() == b"precious"
    assert (stage.out / "first").read_bytes() == PLAIN
    assert (stage.out / "first").stat().st_nlink == 1
    assert not planted.exists()
