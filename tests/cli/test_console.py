"""Progress on a terminal and elsewhere: what it says of bytes and rates, and how much room it takes."""

import io

import pytest
from fedprune_cli import console
from fedprune_cli.services import broken, text_table
from rich.console import Console


@pytest.fixture
def bars(monkeypatch):
    """Bars, not started; `drawn` draws them as they would be drawn now."""
    clock = [100.0]
    made = console.LiveProgress()
    made._bars.get_time = lambda: clock[0]
    made.clock = clock
    return made


def drawn(bars, width=120):
    out = Console(file=io.StringIO(), width=width)
    out.print(bars._bars.get_renderable())
    return [" ".join(line.split()) for line in out.file.getvalue().splitlines()]


def test_layers_have_a_rate(bars):
    for done in range(1, 4):
        bars.update("prune", done, 8, "layers")
        bars.clock[0] += 4.0
    (line,) = drawn(bars)
    assert "3 of 8 layers" in line and "15.0 layers/min" in line


def test_bytes_are_shown_as_mebibytes_a_second(bars):
    for done in range(4):
        bars.update("up: contribution 7", done << 20, 8 << 20, "bytes")
        bars.clock[0] += 0.5
    (line,) = drawn(bars)
    assert "3.0 MiB of 8.0 MiB" in line and "2.0 MiB/s" in line


def test_what_is_slow_has_a_rate_too(bars):
    """Of the last half minute there is one measure at most: then it is the mean since the beginning."""
    for done in range(1, 4):
        bars.update("prune", done, 8, "layers")
        bars.clock[0] += 60.0
    assert "40.0 layers/h" in drawn(bars)[0]


def test_what_was_there_before_counts_for_no_rate(bars):
    bars.update("up: contribution 7", 6 << 20, 8 << 20, "bytes")
    bars.clock[0] += 1.0
    bars.update("up: contribution 7", 7 << 20, 8 << 20, "bytes")
    assert "1.0 MiB/s" in drawn(bars)[0]


def test_few_bars_of_what_is_over_stay(bars):
    bars.update("prune", 1, 8, "layers")
    for number in range(20):
        bars.update(f"layer {number}", 0, 1, "files")
        bars.update(f"layer {number}", 1, 1, "files")
    lines = drawn(bars)
    assert len(lines) == 7
    assert lines[0].startswith("prune") and lines[-1].startswith("layer 19")


def test_what_is_given_up_leaves_no_bar(bars):
    bars.update("up", 1, 8, "bytes")
    bars.drop("up")
    bars.drop("never heard of")
    assert drawn(bars) == [] or drawn(bars) == [""]
    bars.update("up", 8, 8, "bytes")
    bars.drop("up")  # it is over, and stays for a look
    assert len(drawn(bars)) == 1


def test_bars_fit_into_80_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    bars = console.LiveProgress()
    for task, unit in (("prune, round 12", "bytes"), ("up: contribution 7, round 3, server/hub", "bytes")):
        bars.update(task, 100 << 20, 300 << 20, unit)
        bars.update(task, 200 << 20, 300 << 20, unit)
    (first, second) = drawn(bars, 80)
    assert "prune" in first and "200.0 MiB of 300.0 MiB" in second and "/s left" in second


@pytest.mark.parametrize(
    ("speed", "unit", "text"),
    [
        (0.0, "layers", ""),
        (-1.0, "bytes", ""),
        (12.34, "layers", "12.3 layers/s"),
        (0.25, "layers", "15.0 layers/min"),
        (0.01, "layers", "36.0 layers/h"),
        (512.0, "bytes", "512 B/s"),
        (3.5 * (1 << 20), "bytes", "3.5 MiB/s"),
    ],
)
def test_rates(speed, unit, text):
    assert console.rate(speed, unit) == text


def test_lines_say_bytes_as_people_read_them(capsys):
    lines = console.PlainProgress()
    lines.update("mask", 0, 3 << 20, "bytes")
    lines.update("mask", 3 << 20, 3 << 20, "bytes")
    lines.update("read", 1, 1, "files")
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("mask: 3.0 MiB in ") and said[1].startswith("read: 1 file in ")


PATH = "/srv/federations/lungs.example/anchors/member-north-6037b0df01eaab42.json"


def test_a_path_in_a_table_is_broken_behind_its_separators():
    out = Console(width=60, record=True, color_system=None, file=io.StringIO())
    out.print(text_table(["Check", "Problem"], [["anchor", f"none: {PATH} can be written"]]))
    found = [line[6:].strip() for line in out.export_text().splitlines()[1:]]
    assert found == [
        "none: /srv/federations/lungs.example/anchors/",
        "member-north-6037b0df01eaab42.json can be written",
    ]


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("", 5, [""]),
        ("one two", 7, ["one two"]),
        ("one two", 6, ["one", "two"]),
        ("see /a/b now", 6, ["see", "/a/b", "now"]),  # it fits on a line of its own
        ("see /a/b/c/d", 6, ["see", "/a/b/", "c/d"]),
        ("https://hub.example.org:8443", 22, ["https://", "hub.example.org:8443"]),
        ("abcdefgh", 3, ["abcdefgh"]),  # rich folds it
    ],
)
def test_lines(text, width, lines):
    assert list(broken(text, width)) == lines


def test_a_word_longer_than_a_line_is_folded_and_nothing_is_cut():
    out = Console(width=20, record=True, color_system=None, file=io.StringIO())
    out.print(text_table(["digest"], [["ab" * 32], ["\x1b[2J"]]))
    found = out.export_text().split()
    assert "".join(found[1:-1]) == "ab" * 32 and found[-1] == "\\x1b[2J"
