"""`fedprune simulate` with secure aggregation, and of the protocol alone: output, errors, help."""

import json
from io import StringIO
from pathlib import Path

import pytest
from fedprune_cli import summary
from fedprune_cli.simulate import _GROUPS, simulate
from fedprune_cli.summary import print_result, print_round
from rich.console import Console

from tests.app.reporting.reports import make_result, make_secure_result
from tests.cli.test_commands import invoke, refused
from tests.ground import Ground, make_ground

FIVE = ("north", "south", "west", "east", "mid")
ALONE = ("simulate", "--members", "5", "--vector", "64")
HALF = ("--sparsity", "0.5", "--compare", "")


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Ground:
    """Five silos; every test has an output folder of its own."""
    return make_ground(tmp_path_factory.mktemp("five"), FIVE)


def secagg(ground: Ground, out: Path, *more: str) -> list[str]:
    return ground.arguments(*HALF, "--aggregation", "secagg", *more, out=str(out))


def test_people_get_the_facts_and_programs_one_object(shared: Ground, tmp_path, capfd):
    words = secagg(
        shared, tmp_path / "out", "--drop", "unmask:mid", "--profile", "two-trip-witnessed", "--sum-bits", "16"
    )
    code, out, err = invoke(capfd, *words)
    assert code == 0
    for told in (
        "Secure aggregation (two-trip-witnessed)",
        "silos in the sums  all of every cohort",
        "mid fell silent after contributing in round 1",
        "colluders assumed  1; every sum mixes at least 4 honest silos",
        "keep counts        equal to plain ones on all",
        "as bf16; no value was clipped",
        "not hidden         anything from this machine",
        "What each silo sent (fedspallm)",
    ):
        assert told in out
    assert "secure aggregation: 5 silos" in err
    code, out, _ = invoke(capfd, *words, "--json")
    (found,) = json.loads(out)["secagg"]
    assert code == 0
    assert found["answered"] == ["east", "north", "south", "west"] and found["groups"][0]["sum_bits"] == 16
    page = (tmp_path / "out/report.html").read_text()
    assert "Secure aggregation does not claim" in page and "No privacy." not in page


def test_a_round_that_cannot_end_is_one_line_with_the_reason(shared: Ground, tmp_path, capfd):
    words = secagg(shared, tmp_path / "out", "--drop", "contribution:mid", "--drop", "contribution:west")
    assert "group 0 ended without a sum: TOO_FEW_CONTRIBUTIONS (3 of 5, 4 needed)" in refused(capfd, 110, *words)


BAD_WORDS = {
    "drop of nobody": (2, ["--drop", "unmask:lost"], "--drop names lost, which is not a silo"),
    "drop without stage": (2, ["--drop", "mid"], "--drop is STAGE:NAME with STAGE one of contribution, endorsement"),
    "no endorsements": (2, ["--profile", "two-trip", "--drop", "endorsement:mid"], "no silo endorses anything"),
    "colluders below none": (2, ["--collude", "-1"], "--collude must be 0 or more, got -1"),
    "too many colluders": (30, ["--collude", "3"], "with 3 colluders a sum needs 6 survivors"),
    "silos that differ": (104, ["--rounds", "2", "--drop", "contribution:mid"], "round 2, layer 0"),
    "unknown profile": (2, ["--profile", "one-trip"], "--profile"),
    "unknown width": (2, ["--sum-bits", "8"], "--sum-bits"),
}


@pytest.mark.parametrize("case", BAD_WORDS)
def test_bad_words_end_in_one_clear_line(shared: Ground, tmp_path, capfd, case):
    code, more, told = BAD_WORDS[case]
    assert told in refused(capfd, code, *secagg(shared, tmp_path / "out", *more))


@pytest.mark.parametrize(
    "more", [["--drop", "unmask:mid"], ["--collude", "0"], ["--profile", "three-trip"], ["--sum-bits", "32"]]
)
def test_options_of_secure_aggregation_need_it(shared: Ground, tmp_path, capfd, more):
    err = refused(capfd, 2, *shared.arguments(*HALF, *more, out=str(tmp_path / "out")))
    assert f"{more[0]} without --aggregation secagg" in err


def test_the_protocol_alone_is_a_page_of_facts(capfd):
    code, out, _ = invoke(capfd, *ALONE, "--strategy", "votes")
    assert code == 0
    for told in (
        "Secure round (three-trip): 5 members, 64 weights",
        "in the sum          5 of 5 members, 4 needed",
        "neighbours          4 of each; 4 shares open a secret",
        "sums                equal to plain ones, bit for bit",
        "bytes, 32 of them the vector",
    ):
        assert told in out


def test_the_protocol_alone_as_one_object(capfd):
    code, out, err = invoke(capfd, *ALONE, "--json", "--drop", "contribution:m-0004", "--profile", "two-trip-witnessed")
    found = json.loads(out)
    assert code == 0
    assert (found["survivors"], found["equal_to_plain"], found["strategy"]) == (4, True, "fedspallm")
    assert found["vector_bytes"] == 32 + 4 * 64
    assert "enrol: 5 members" in err and "contribute: 5 members" in err


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (["simulate", "--members", "5"], 2, "--members and --vector go together"),
        (["simulate", "--vector", "5"], 2, "--members and --vector go together"),
        ([*ALONE, "--model", "x"], 2, "leave --model, --silo and --out away"),
        ([*ALONE, "--out", "x"], 2, "leave --model, --silo and --out away"),
        (["simulate", "--members", "2", "--vector", "5"], 2, "--members must lie between 3 and 1000"),
        ([*ALONE, "--drop", "unmask:mid"], 2, "silos: m-0001, m-0002, m-0003, m-0004, m-0005"),
        ([*ALONE, "--drop", "unmask:m-0001", "--drop", "unmask:m-0002"], 110, "TOO_FEW_RESPONSES (3 of 5, 4 needed)"),
        (["simulate", "--sparsity", "0.5"], 2, "--model and --out are needed"),
    ],
)
def test_what_cannot_be_measured_is_one_clear_line(capfd, more, code, told):
    assert told in refused(capfd, code, *more)


def test_help_groups_every_option_once(capfd):
    code, out, _ = invoke(capfd, "simulate", "-h")
    assert code == 0
    for title in (*_GROUPS, "Options"):
        assert f"\n{title}:\n" in out
    for option in simulate.params:
        shown = sorted(option.opts, key=len)[-1]
        assert out.count(f"\n  {shown} ") == 1, shown
    assert "fedprune simulate --members 100 --vector 10000" in out.split("Options:")[-1]


def printed(monkeypatch, width: int, show, found: dict) -> list[str]:
    console = Console(width=width, highlight=False, record=True, file=StringIO())
    monkeypatch.setattr(summary, "printer", lambda: console)
    show(found)
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_lines_fit_the_terminal_and_break_between_words(monkeypatch, width):
    result = make_secure_result(rounds=2)
    result["secagg"][0]["groups"][0]["survivors"].remove("beta")
    lines = printed(monkeypatch, width, print_result, result)
    assert max(map(len, lines)) <= width
    assert not any(line.endswith(" ") for line in lines)
    start = lines.index("Secure aggregation (three-trip, 2 rounds)")
    facts = [line for line in lines[start + 1 :] if line.strip()]
    facts = facts[: next(n for n, line in enumerate(facts) if line.startswith(("The zeros", "Model")))]
    said = dict.fromkeys(line[:17].strip() for line in facts if not line.startswith(" "))
    assert list(said) == [
        *("silos in the sums", "colluders assumed", "keep counts", "kept sums", "what counts tell"),
        *("guessing a choice", "on the wire", "time", "not hidden"),
    ]
    told = " ".join(line[19:].strip() for line in facts)
    assert "all but 1 at most of a cohort" in told
    assert "0; every sum mixes at least 2 honest silos" in told
    assert "means within 0.500 quantisation steps of plain ones; 0.12% differ as bf16; no value was clipped" in told
    assert "95.7% right from the counts, 90.2% from the public model in the last round" in told
    assert "252.0 KiB in 36 packages" in told


def test_plain_results_have_no_such_facts(monkeypatch):
    lines = printed(monkeypatch, 120, print_result, make_result())
    assert not any("Secure" in line for line in lines)
    assert "What each silo would send (fedspallm)" in lines


def test_a_round_alone_fits_eighty_columns(monkeypatch):
    found = {
        **{"profile": "two-trip-witnessed", "members": 1000, "weights": 1 << 24, "survivors": 999, "degree": 166},
        **{"survivors_needed": 900, "colluders": 100, "shares": 115, "contribution_bytes": 83_001_234},
        **{"vector_bytes": 83_886_080, "member_seconds": 1.2345, "server_seconds": 99.5, "peak_rss_bytes": 3 << 30},
    }
    lines = printed(monkeypatch, 80, print_round, found)
    assert max(map(len, lines)) <= 80
    assert "time of a member    1.234 s" in "\n".join(lines) or "time of a member    1.235 s" in "\n".join(lines)
