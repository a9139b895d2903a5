"""Passwords reach the program from every source, from one at a time, and show up nowhere else."""

import errno
import fcntl
import hashlib
import os
import pty
import select
import subprocess
import sys
import termios
import time
import traceback
import warnings
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from fedprune_cli import passwords
from fedprune_cli.passwords import VARIABLE, PasswordSource, password_options

from fedspallm_secure.errors import FedSpaError, MissingInput, NoPassword, UsageError

SECRET = "correct horse battery stäple"


def source_of(tmp_path: Path, content: bytes, mode: int = 0o600) -> PasswordSource:
    path = tmp_path / "password"
    path.write_bytes(content)
    path.chmod(mode)
    return PasswordSource(file=path)


def read(source: PasswordSource) -> str:
    return source.read("my.key").encoded.decode()


def refused(source: PasswordSource, error: type[FedSpaError]) -> str:
    """Demand this error, without a trace of the password in it or behind it."""
    with pytest.raises(error) as caught:
        source.read("my.key")
    assert type(caught.value) is error
    assert caught.value.hint
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__dict__)
    context = caught.value.__context__
    while context is not None:
        shown += repr(context) + repr(context.__dict__) + repr(context.args)
        context = context.__context__
    assert "horse" not in shown
    return str(caught.value)


# From a file


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\nsecond line", b"\n\n"])
def test_the_first_line_of_a_file_is_the_password(tmp_path, ending):
    assert read(source_of(tmp_path, SECRET.encode() + ending)) == SECRET


def test_spaces_belong_to_the_password(tmp_path):
    assert read(source_of(tmp_path, b"  a b \t\n")) == "  a b \t"


BAD = {
    "empty": (b"", "the password is empty"),
    "empty line": (b"\nhorse", "the password is empty"),
    "not UTF-8": (b"horse \xff", "not valid UTF-8"),
    "half a surrogate": (b"horse \xed\xa0\x80", "not valid UTF-8"),
    "too long": (b"horse" * 300, "longer than 1024 bytes"),
    "far too long": (b"horse" * 300_000, "longer than 1024 bytes"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_what_is_no_password_is_refused_and_not_repeated(tmp_path, content, message):
    assert message in refused(source_of(tmp_path, content), UsageError)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        assert str(path) in refused(PasswordSource(file=path), MissingInput)


def test_an_endless_file_is_read_to_a_bound():
    assert "longer than" in refused(PasswordSource(file=Path("/dev/zero")), UsageError)


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, True), (0o604, True), (0o400, False)])
def test_a_file_that_others_may_read_is_warned_about(tmp_path, capsys, mode, warned):
    assert read(source_of(tmp_path, b"x", mode)) == "x"
    out, err = capsys.readouterr()
    assert out == ""
    assert ("fedprune: warning: other users may read" in err) == warned


# From a descriptor


def test_a_descriptor_is_read_to_the_end_of_the_line_and_not_a_byte_further():
    reader, writer = os.pipe()
    os.write(writer, SECRET.encode() + b"\nwhat follows")
    assert read(PasswordSource(descriptor=reader)) == SECRET
    assert os.read(reader, 100) == b"what follows"
    os.close(writer)
    assert "is empty" in refused(PasswordSource(descriptor=reader), UsageError)
    os.close(reader)
    assert "--password-fd" in refused(PasswordSource(descriptor=reader), MissingInput)


# From a command


def python(code: str) -> str:
    return f'{sys.executable} -c "{code}"'


def test_the_first_line_that_a_command_prints_is_the_password(tmp_path):
    path = tmp_path / "a file with $HOME; and more"
    path.write_text(f"{SECRET}\nuser: north\n")
    assert read(PasswordSource(command=f"cat '{path}'")) == SECRET


def test_a_command_is_run_without_a_shell(tmp_path):
    command = f"echo $HOME `id` ; touch {tmp_path / 'made'} > {tmp_path / 'out'}"
    assert read(PasswordSource(command=command)).startswith("$HOME `id` ; touch")
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_fails_gives_no_password_even_if_it_printed_one():
    said = refused(PasswordSource(command=python("print('horse'); raise SystemExit(3)")), NoPassword)
    assert "it ended with code 3" in said


def test_what_cannot_be_run_is_named_without_its_arguments(tmp_path):
    said = refused(PasswordSource(command=f"{tmp_path / 'missing'} horse"), MissingInput)
    assert "missing: No such file" in said
    assert "horse" not in said


@pytest.mark.parametrize("command", ["", "   ", "echo 'horse"])
def test_what_is_no_command_is_refused(command):
    assert "--password-command" in refused(PasswordSource(command=command), UsageError)


@pytest.mark.parametrize(
    "code",
    ["import time; time.sleep(60)", "import os, time; print('horse'); os.close(1); time.sleep(60)"],
    ids=["silent", "closed"],
)
def test_a_command_that_does_not_end_is_ended(monkeypatch, code):
    monkeypatch.setattr(passwords, "COMMAND_SECONDS", 0.5)
    start = time.monotonic()
    refused(PasswordSource(command=python(code + "  # horse")), NoPassword)
    assert time.monotonic() - start < 20


def test_a_command_that_prints_without_end_is_ended():
    assert "prints more than 65536 bytes" in refused(PasswordSource(command="yes horse"), NoPassword)


# From the environment, and from one place alone


def test_the_environment_may_hold_it():
    assert read(PasswordSource(variable=SECRET)) == SECRET
    assert "is empty" in refused(PasswordSource(variable=""), UsageError)
    refused(PasswordSource(variable="horse\udcff"), UsageError)


SOURCES = {"file": Path("x"), "descriptor": 0, "command": "echo", "variable": "horse"}


@pytest.mark.parametrize("first", SOURCES)
@pytest.mark.parametrize("second", SOURCES)
def test_two_sources_contradict_each_other(first, second):
    chosen = {name: SOURCES[name] for name in (first, second)}
    if first == second:
        assert "horse" not in repr(PasswordSource(**chosen))
        return
    with pytest.raises(UsageError, match=r"from one place, not from .* and ") as caught:
        PasswordSource(**chosen)
    assert "horse" not in str(caught.value)


@click.command(context_settings={"auto_envvar_prefix": "FEDPRUNE"})
@click.option("--before")
@password_options
@click.option("--after")
def show(before: str | None, after: str | None, password: PasswordSource) -> None:
    """Print the password's digest and how everything looks when it is printed."""
    found = password.read("my.key")
    click.echo(f"{before} {after} {hashlib.sha256(found.encoded).hexdigest()} {found!r} {password!r}")


DIGEST = hashlib.sha256(SECRET.encode()).hexdigest()


@pytest.mark.parametrize("kind", ["file", "command"])
@pytest.mark.parametrize("given", ["option", "environment"])
def test_options_and_environment_lead_to_the_same_password(tmp_path, monkeypatch, kind, given):
    path = tmp_path / "password"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    value = str(path) if kind == "file" else f"cat {path}"
    words = ["--before", "1", "--after", "2"]
    if given == "option":
        words += [f"--password-{kind}", value]
    else:
        monkeypatch.setenv(f"{VARIABLE}_{kind.upper()}", value)
    result = CliRunner().invoke(show, words, catch_exceptions=False)
    assert result.exit_code == 0
    assert result.output.startswith(f"1 2 {DIGEST} Password() PasswordSource(")
    assert "horse" not in result.output


def test_the_variable_itself_is_read_and_contradicts_an_option(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, SECRET)
    result = CliRunner().invoke(show, [], catch_exceptions=False)
    assert DIGEST in result.output
    assert "horse" not in result.output
    with pytest.raises(UsageError, match=f"--password-file and {VARIABLE}"):
        CliRunner().invoke(show, ["--password-file", "x"], catch_exceptions=False)


def test_no_option_takes_the_password_itself():
    for word in ("--password", "--password=horse", "-p"):
        assert CliRunner().invoke(show, [word, "horse"]).exit_code == 2
    names = {name for option in show.params for name in option.opts}
    assert names == {"--before", "--after", "--password-file", "--password-fd", "--password-command"}


def test_help_says_where_passwords_come_from():
    text = CliRunner().invoke(show, ["--help"]).output
    for word in ("--password-file", "--password-fd", "--password-command", VARIABLE):
        assert word in text


# From a person

ASK = """
import sys
from fedprune_cli.passwords import PasswordSource
from fedspallm_secure.errors import FedSpaError
try:
    found = PasswordSource().read("my.key", new=sys.argv[1] == "new")
    print("got", len(found.encoded), found, open("/proc/self/cmdline").read().count("ho" + "rse"))
except FedSpaError as error:
    print(type(error).__name__, error)
"""


def at_terminal(kind: str, typed: list[bytes]) -> tuple[str, str]:
    """Run ASK at a terminal of its own; returns what the terminal showed, and what went to stdout."""
    master, slave = pty.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    child = subprocess.Popen(
        [sys.executable, "-c", ASK, kind],
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=slave,
        start_new_session=True,
        preexec_fn=take_terminal,
    )
    os.close(slave)
    shown = b""
    for line in typed:
        seen = len(shown)
        while b": " not in shown[seen:]:
            tile = from_terminal(master)
            assert tile, "nobody asks"
            shown += tile
        os.write(master, line)
    out = child.communicate(timeout=30)[0]
    while tile := from_terminal(master):
        shown += tile
    os.close(master)
    return shown.decode(), out.decode()


def from_terminal(master: int) -> bytes:
    if not select.select([master], [], [], 30)[0]:
        raise AssertionError("the terminal stays silent")
    try:
        return os.read(master, 1000)
    except OSError as error:  # what Linux says when the other side is closed
        assert error.errno == errno.EIO
        return b""


def test_a_terminal_is_asked_and_does_not_show_what_is_typed():
    shown, out = at_terminal("old", [SECRET.encode() + b"\n"])
    assert "Password for my.key: " in shown
    assert "horse" not in shown
    assert out == f"got {len(SECRET.encode())} Password() 0\n"


def test_a_new_password_is_typed_twice():
    shown, out = at_terminal("new", [SECRET.encode() + b"\n"] * 2)
    assert "New password for my.key: " in shown
    assert "The same again: " in shown
    assert "horse" not in shown
    assert out.startswith("got")
    shown, out = at_terminal("new", [SECRET.encode() + b"\n", b"horses\n"])
    assert out == "UsageError the two passwords differ\n"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (b"\n", "UsageError the password is empty\n"),
        (b"horse \xff\n", "UsageError the password is not valid UTF-8\n"),
        (b"\x04", "NoPassword no password was typed\n"),
    ],
    ids=["empty", "not UTF-8", "end of file"],
)
def test_what_a_person_may_not_type(typed, said):
    shown, out = at_terminal("old", [typed])
    assert out == said
    assert "horse" not in shown


def test_without_a_terminal_nobody_is_asked():
    result = subprocess.run(
        [sys.executable, "-c", ASK, "old"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        start_new_session=True,
    )
    assert result.stdout == "NoPassword there is no password for my.key, and no terminal to ask at\n"
    assert result.stderr == ""


@pytest.mark.parametrize("stdin", [None, "closed"])
def test_a_missing_stdin_is_no_terminal(monkeypatch, stdin):
    if stdin == "closed":
        stdin = open(os.devnull)  # noqa: SIM115, PTH123
        stdin.close()
    monkeypatch.setattr(sys, "stdin", stdin)
    refused(PasswordSource(), NoPassword)


def test_a_terminal_that_cannot_hide_is_not_used(monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(passwords.getpass, "getpass", passwords.getpass.fallback_getpass)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "cannot hide" in refused(PasswordSource(), NoPassword)


# Nowhere else


@pytest.mark.parametrize("kind", ["file", "fd", "command", "variable"])
def test_the_arguments_of_the_process_never_hold_it(tmp_path, kind):
    path = tmp_path / "password"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    value = {"file": str(path), "fd": "0", "command": f"cat {path}", "variable": ""}[kind]
    code = (
        "import sys; from tests.cli.test_passwords import show; "
        "sys.argv[0] = 'show'; show(standalone_mode=False); print(repr(open('/proc/self/cmdline').read()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *([f"--password-{kind}", value] if value else [])],
        input=SECRET + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=os.environ | ({VARIABLE: SECRET} if kind == "variable" else {}),
        cwd=Path(__file__).parent.parent.parent,
    )
    assert DIGEST in result.stdout
    assert "horse" not in result.stdout + result.stderr


def test_a_new_password_is_not_a_short_one():
    short = PasswordSource(variable="seven77")
    with pytest.raises(UsageError, match="at least 8 characters"):
        short.read("the key", new=True)
    assert short.read("the key").encoded == b"seven77"  # what locks something already has to open it
    assert PasswordSource(variable="eight888").read("the key", new=True).encoded == b"eight888"
    with pytest.raises(UsageError, match="at least 8 characters"):
        PasswordSource(variable="ééééééé").read("the key", new=True)  # characters, not bytes
