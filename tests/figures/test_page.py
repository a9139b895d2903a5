"""What a run writes: its own section, and nothing else of the page."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = ROOT / "docs/SECURITY_FIGURES.md"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import security_figures

    yield security_figures
    for name in (
        "security_figures",
        "secagg_figures",
        "station_figures",
        "audit_figures",
        "he_figures",
        "figure_table",
    ):
        sys.modules.pop(name, None)


@pytest.fixture
def runs(script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run the script with one suite in each section; gives its exit code and the page."""

    def run(only: str, holds: bool = True, text: str | None = None) -> tuple[int, str]:
        figure = script.Figure("what", "measured anew", "command", holds)
        monkeypatch.setattr(script, "SUITES", {"mutations": lambda: [figure]})
        monkeypatch.setattr(script, "SECAGG", {"secagg-reuse": lambda: [figure]})
        out = tmp_path / "page.md"
        out.write_text(DOCUMENT.read_text() if text is None else text)
        monkeypatch.setattr(sys, "argv", ["security_figures.py", "--only", only, "--out", str(out)])
        return script.main(), out.read_text()

    return run


def sections(script, text: str) -> tuple[str, str]:
    first, _, second = text.partition(script.SECTION)
    return first, second


def test_a_section_of_which_nothing_was_run_stays_as_it_is(script, runs):
    before = sections(script, DOCUMENT.read_text())
    code, text = runs("secagg")
    after = sections(script, text)
    assert code == 0
    assert after[0].rstrip() == before[0].rstrip()
    assert "| what | measured anew | `command` |" in after[1]
    after = sections(script, runs("mutations")[1])
    assert "| what | measured anew | `command` |" in after[0]
    assert after[1] == before[1]


def test_nothing_of_the_page_changes_if_nothing_is_run(runs):
    assert runs("none of them")[1] == DOCUMENT.read_text()


def test_a_page_that_is_not_there_is_begun(script, runs):
    text = runs("secagg", text="")[1]
    assert text.index(script.SECTION) < text.index("measured anew")


def test_what_does_not_hold_is_said_and_ends_with_one(runs):
    code, text = runs("", holds=False)
    assert code == 1
    assert text.count("measured anew — **DOES NOT HOLD**") == 2


def test_every_figure_of_rounds_is_found_by_one_word(script):
    assert all(name.startswith("secagg-") for name in script.SECAGG) and len(script.SECAGG) >= 12
    assert not any("secagg" in name for name in script.SUITES)


def test_the_section_of_the_stations_is_left_alone(script, runs):
    import station_figures

    kept = f"{station_figures.STATION_SECTION}\nwhat stands there\n"
    text = f"# Security figures\n\n{script.SECTION}\nold\n\n{kept}"
    assert runs("secagg", text=text)[1].endswith(f"\n\n{kept}")
    assert runs("mutations", text=text)[1].endswith(f"\n\n{script.SECTION}\nold\n\n{kept}")


def test_the_stations_write_their_section_alone(script, monkeypatch, tmp_path):
    import station_figures

    out = tmp_path / "page.md"
    out.write_text(f"# Security figures\n\n{script.SECTION}\nold\n\n{station_figures.STATION_SECTION}\nold\n")
    figure = script.Figure("what", "measured anew", "command", True)
    monkeypatch.setattr(station_figures, "STATIONS", {"station-kills": lambda: [figure]})
    monkeypatch.setattr(sys, "argv", ["station_figures.py", "--only", "kills", "--out", str(out)])
    assert station_figures.main() == 0
    text = out.read_text()
    assert text.startswith(f"# Security figures\n\n{script.SECTION}\nold\n\n{station_figures.STATION_SECTION}")
    assert "| what | measured anew | `command` |" in text and text.count("old\n") == 1


def test_the_audit_writes_its_section_alone(script, monkeypatch, tmp_path):
    import audit_figures
    import station_figures

    out = tmp_path / "page.md"
    out.write_text(
        f"# Security figures\n\n{station_figures.STATION_SECTION}\nold\n\n{audit_figures.AUDIT_SECTION}\nold\n"
    )
    figure = script.Figure("what", "measured anew", "command", True)
    monkeypatch.setattr(audit_figures, "AUDIT", {"tampering": lambda: [figure]})
    monkeypatch.setattr(sys, "argv", ["audit_figures.py", "--only", "tamper", "--out", str(out)])
    assert audit_figures.main() == 0
    text = out.read_text()
    assert text.startswith(
        f"# Security figures\n\n{station_figures.STATION_SECTION}\nold\n\n{audit_figures.AUDIT_SECTION}"
    )
    assert "| what | measured anew | `command` |" in text and text.count("old\n") == 1
    section = text.partition(audit_figures.AUDIT_SECTION)[2]
    monkeypatch.setattr(station_figures, "STATIONS", {"station-kills": lambda: [figure]})
    monkeypatch.setattr(sys, "argv", ["station_figures.py", "--only", "kills", "--out", str(out)])
    assert station_figures.main() == 0
    assert out.read_text().partition(audit_figures.AUDIT_SECTION)[2] == section


def test_every_figure_of_the_audit_is_told(script):
    import audit_figures

    counts = {"changes": 3, "read": 2, "found": 2, "a byte of hashes: V3, exit code 203": 2, "not read: not read": 1}
    told = audit_figures.tampering({"entries": 1000, "logs": 1, "counts": counts, "failures": []})
    assert "3 changes" in told and "of the other 2 found 2 (100.00%)" in told and "V3, exit code 203" in told
    counts = {"meetings": 2, "member by packages: a proof": 2}
    told = audit_figures.split_views({"seeds": 1, "ways": 18, "counts": counts, "failures": ["one"]})
    assert "2 meetings" in told and "1 without a proof" in told and "member by packages — 2 a proof" in told
    told = audit_figures.log_tails({"seeds": 1, "counts": {"kills": 4, "kills of a service": 4}, "failures": []})
    assert told.startswith("4 kills (4 a service)") and "0 with an entry lost" in told
