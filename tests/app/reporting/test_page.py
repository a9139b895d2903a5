"""The report: nothing in it but the run's own figures, nothing in it that could run, and sentences that stay true."""

import base64
import hashlib
import os
import re
import xml.etree.ElementTree as ET

import pytest

from fedspallm_secure.app.reporting import numbers, text
from fedspallm_secure.app.reporting import page as module
from fedspallm_secure.app.reporting.page import render_report, write_report
from fedspallm_secure.errors import StorageError
from tests.app.reporting.reports import make_result, perplexities

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></style></svg><script>x</script>",
    "{{ 7 * 7 }}{% raw %}&amp;' onload='x",
]


def parsed(page: str) -> ET.Element:
    """The page as a tree.  It is written to be well-formed XML too, so any escape from its place is an error here."""
    return ET.fromstring(page)


def words(element: ET.Element) -> str:
    """All text of an element, with plain and single spaces."""
    return " ".join("".join(element.itertext()).split())


def tables(page: str) -> list[list[list[str]]]:
    return [[[words(cell) for cell in row] for row in table.iter("tr")] for table in parsed(page).iter("table")]


def header(page: str) -> str:
    found = parsed(page).find("body/header")
    assert found is not None
    return words(found)


def without(*names: str) -> dict:
    result = make_result()
    for name in names:
        del result[name]
    return result


NO_COMPARISONS = ("standalone", "standalone_mean", "centralised", "random")


def test_the_table_shows_the_perplexities_of_the_result():
    result = make_result()
    table = tables(render_report(result))[0]
    assert table[0] == ["Test text", "Dense", "Federated", "Standalone, mean", "Centralised", "Random"]
    keys = ["dense", "federated", "standalone_mean", "centralised", "random"]
    for row, test in zip(table[1:4], [*result["settings"]["tests"], "mean"], strict=True):
        shown = [float(re.match(r"[\d.]+", cell)[0]) for cell in row[1:]]
        assert shown == [round(result[key][test], 2) for key in keys]
    least, most = result["standalone_mean"]["least"], result["standalone_mean"]["most"]
    assert table[3][3].endswith(f"{least:.2f} to {most:.2f}")
    assert table[4][2] == f"+{(result['federated']['mean'] / result['dense']['mean'] - 1) * 100:.1f} %"


def test_every_other_figure_is_that_of_the_result():
    result = make_result()
    page = render_report(result)
    body = words(parsed(page))
    assert "384 of 768 weights are zero, 50.0000 %, which is the target exactly" in body
    assert f"At {result['agreement']['unanimous'] * 100:.1f} % of the positions" in body
    assert f"At {result['agreement']['single'] * 100:.1f} % exactly one silo" in body
    assert "If they chose independently at random, 25.0 % would be." in body
    cells = {cell for table in tables(page) for row in table for cell in row}
    assert {"3,456", "3,457", "3,458", "5,000", "4,000", "310", "ab" * 32, "2.13.0", "1/100"} <= cells
    assert "300.0 MiB of memory" in body
    assert "1 min 02 s in all" in body


def test_the_outcome_is_one_sentence_with_its_numbers():
    assert header(render_report(make_result())).startswith(
        "Federated pruning report 3 silos together set 50.0 % of the weights in a model's layers to zero; perplexity "
        "rose from 28.28 to 30.92 on average over 2 test texts; pruning alone would have given 32.50 on average, "
        "pooling the data 29.87 and choosing weights at random 254.56. By the mean perplexity, the federated model "
        "did better than pruning alone (−4.8 %) and choosing weights at random (−87.9 %); worse than pooling the data "
        "(+3.5 %)."
    )


@pytest.mark.parametrize(
    ("federated", "said"),
    [
        (60.0, "worse than pruning alone (+84.6 %) and pooling the data (×2.0)"),
        (32.4952, "as well as pruning alone"),
        (6e303, "worse than pruning alone (× 1.85 × 10³⁰²)"),
        (25.0, "perplexity fell from 28.28 to 25.00"),
        (28.2842, "perplexity stayed at 28.28"),
    ],
)
def test_the_outcome_stays_true_whatever_came_out(federated, said):
    result = make_result()
    result["federated"] = {"news": federated, "alpha": federated, "mean": federated}
    assert said in header(render_report(result))


@pytest.mark.parametrize("missing", ["random", "centralised", "standalone", "all"])
def test_missing_comparisons_are_not_mentioned(missing):
    gone = {"standalone": NO_COMPARISONS[:2], "all": NO_COMPARISONS}.get(missing, (missing,))
    page = render_report(without(*gone))
    body = words(parsed(page))
    head = tables(page)[0][0]
    for name, title, doing in (
        ("standalone", "Standalone, mean", "pruning alone"),
        ("centralised", "Centralised", "pooling the data"),
        ("random", "Random", "choosing weights at random"),
    ):
        assert (title in head) is (name not in gone)
        assert (doing in header(page)) is (name not in gone)
    assert ("own model in" in body) is ("standalone" not in gone)
    assert ("No other way of pruning was measured" in body) is (missing == "all")


def test_pairs_count_every_silo_on_every_test():
    result = make_result()
    # Federated has +2.5 everywhere, silos alone +3, +4, +5: six of six; alpha alone on its own text is worse.
    assert "better than a silo's own model in 6 of 6 pairs" in text.pairs(result).replace("\xa0", " ")
    assert "pruning alone is better for 0 of 1 silo." in text.pairs(result).replace("\xa0", " ")
    result["standalone"]["alpha"]["alpha"] = 41.0
    assert "in 5 of 6 pairs" in text.pairs(result).replace("\xa0", " ")
    assert "pruning alone is better for 1 of 1 silo." in text.pairs(result).replace("\xa0", " ")


def test_a_pattern_is_explained_and_promises_no_speed():
    result = make_result()
    result["sparsity"]["pattern"] = "2:4"
    result["settings"]["schedule"] = ["2:4"]
    body = words(parsed(render_report(result)))
    assert "to zero in the 2:4 pattern (2 of every 4 neighbours stay)" in body
    assert "The target was the 2:4 pattern." in body
    assert "help only an engine that supports it" in body
    assert "Unstructured" not in body


@pytest.mark.parametrize(
    ("dropped", "size", "said"),
    [
        (385, 769, "which is the target rounded up to a whole weight."),
        (385, 768, "That is 1 weight more than the target:"),
        (380, 768, "That is 4 weights less than the target."),
    ],
)
def test_sparsity_is_compared_with_the_target_exactly(dropped, size, said):
    result = make_result()
    result["sparsity"] |= {"dropped": dropped, "size": size, "achieved": dropped / size}
    body = words(parsed(render_report(result)))
    assert f"{dropped} of {size} weights are zero" in body
    assert said in body


def test_several_rounds_show_who_pruned_which_layers_in_each():
    result = make_result()
    result["settings"]["schedule"], result["settings"]["sparsity"] = ["25 %", "50 %"], ["1/4", "1/2"]
    result["cohorts"] = [
        {"round": 1, "target": "25 %", "layers": {"0": ["alpha", "beta"], "2": ["alpha", "beta", "gamma"]}},
        {"round": 2, "target": "50 %", "layers": {"1": ["gamma"], "2": ["gamma"], "3": ["gamma"]}},
    ]
    page = render_report(result)
    body = words(parsed(page))
    assert "to zero, in 2 rounds;" in body
    assert "Round 1: to 25 % 2 layers, each pruned by 2 to 3 silos." in body
    assert "Round 2: to 50 % 3 layers, each pruned by 1 silo." in body
    assert "the last round that pruned it" in body
    assert "chose independently" not in body, "rounds that build on each other have no such simple figure"
    first, second = [table for table in tables(page) if table[0][-1] == "Which"]
    assert [row[-1] for row in first[1:]] == ["0, 2", "0, 2", "2"]
    assert [row[-1] for row in second[1:]] == ["none", "none", "1–3"]


def test_one_silo_and_one_test():
    result = make_result(["solo"], ["news"])
    page = render_report(result)
    body = words(parsed(page))
    assert "1 silo set 50.0 %" in body
    assert "on the test text news; pruning alone would have given 23.00, pooling" in body
    assert "Geometric mean" not in body and "mean perplexity" not in body
    assert "over the silos" not in body and "Counted one by one" not in body
    assert "Every layer was pruned by a single silo" in body
    assert "does not say which silo" not in body


@pytest.mark.parametrize(
    ("strategy", "pruner", "said"),
    [
        ("fedspallm", "sparsegpt", "the kept sum equals that silo's own weight, which its own text has shaped"),
        ("fedspallm", "wanda", "With wanda this is the value everybody had before"),
        ("votes", "wanda", "No sums of weights are sent."),
    ],
)
def test_what_single_keepers_reveal_depends_on_what_is_sent(strategy, pruner, said):
    result = make_result()
    result["settings"] |= {"strategy": strategy, "pruner": pruner}
    assert said in words(parsed(render_report(result)))


def test_unchanging_pruners_are_those_of_the_library():
    from fedspallm_secure.pruning.pruners import Pruner

    assert {str(p) for p in Pruner if not p.updates_survivors} == text.UNCHANGING_PRUNERS


def test_plain_aggregation_is_said_at_the_top_and_under_what_is_not_claimed():
    page = render_report(make_result())
    assert "Nothing was hidden from the server." in header(page)
    claims = parsed(page).find(".//*[@id='claims']")
    assert claims is not None
    for phrase in ("No privacy.", "plain aggregation in one process", "dense engine needs as much memory and time"):
        assert phrase in words(claims)
    assert parsed(page).find(".//a[@href='#claims']") is not None


def test_a_test_text_that_is_also_a_silos_text_is_pointed_out():
    result = make_result()
    assert "Warning" not in header(render_report(result))
    result["inputs"]["tests"]["news"] = result["inputs"]["silos"]["beta"]
    assert "test text news is the same file as the text of silo beta" in header(render_report(result))
    result["inputs"]["silos"]["gamma"] = result["inputs"]["silos"]["alpha"]
    assert "given to more than one silo: alpha and gamma" in header(render_report(result))


def hostile_result() -> dict:
    result = make_result(list(HOSTILE), list(HOSTILE))
    result["versions"] = {HOSTILE[0]: HOSTILE[1]}
    result["inputs"]["model"] = {HOSTILE[2]: HOSTILE[0]}
    result["settings"] |= {"fields": list(HOSTILE), "pruner": HOSTILE[0], "new": HOSTILE[1]}
    result["seconds"] = {HOSTILE[2]: 1.0}
    result["device"] = HOSTILE[3]
    matrices = result["sparsity"]["per_matrix"]
    result["sparsity"]["per_matrix"] = {f"{HOSTILE[0]}{name}": value for name, value in matrices.items()}
    return result


@pytest.mark.parametrize("result", [make_result(), hostile_result()], ids=["plain", "hostile"])
def test_nothing_in_the_page_can_run_or_be_fetched(result):
    page = render_report(result)
    tree = parsed(page)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & {e.tag for e in tree.iter()}
    for element in tree.iter():
        for name, value in element.attrib.items():
            assert not name.startswith("on") and name not in {"src", "style", "xlink:href"}
            assert name != "href" or value.startswith("#")
    assert "http:" not in page and "https:" not in page and "url(" not in page and "@import" not in page


def test_hostile_names_are_shown_as_they_are():
    page = render_report(hostile_result())
    column = [row[0] for row in tables(page)[0]]
    assert column[1:5] == [" ".join(name.split()) for name in HOSTILE]


def test_the_policy_names_the_one_style_sheet_by_digest():
    tree = parsed(render_report(make_result()))
    style = "".join(element.text or "" for element in tree.iter("style"))
    policy = tree.find(".//meta[@http-equiv='Content-Security-Policy']").attrib["content"]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "content-visibility: visible" in style, "folded tables open on paper"


def test_paths_of_the_machine_stay_out_of_the_page():
    assert "/somewhere/private" not in render_report(make_result())


def test_a_large_federation_folds_its_tables_and_keeps_its_drawings_within_a_page():
    silos = [f"silo-{number:02d}-" + "x" * 56 for number in range(30)]
    tests = [f"test-{number:02d}-" + "y" * 56 for number in range(12)]
    tree = parsed(render_report(make_result(silos, tests, layers=80)))
    assert all(float(drawing.attrib["width"]) <= 680 for drawing in tree.iter("svg"))
    assert any("open" not in fold.attrib for fold in tree.iter("details"))
    assert max(len(row) for row in tree.iter("tr")) <= 9
    assert all("open" in fold.attrib for fold in parsed(render_report(make_result())).iter("details"))


def test_huge_perplexities_are_written_as_powers_of_ten():
    result = make_result()
    result["random"] = perplexities(result["settings"]["tests"], 1e304, 1.5e300)
    body = words(parsed(render_report(result)))
    assert "1.00 × 10³⁰⁴" in body and "1.50 × 10³⁰⁰" in body


def test_a_failure_while_rendering_leaves_the_folder_as_it_was(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("the one before")
    with pytest.raises(KeyError):
        write_report(path, {"settings": {"silos": []}})
    assert path.read_text() == "the one before"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_failure_while_writing_leaves_no_half_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(5, "broken disk")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="broken disk"):
        write_report(tmp_path / "report.html", make_result())
    assert not list(tmp_path.iterdir())


def test_the_same_result_gives_the_same_bytes(tmp_path):
    write_report(tmp_path / "a.html", make_result())
    module._environment.cache_clear()
    write_report(tmp_path / "b.html", make_result())
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert (tmp_path / "a.html").read_bytes().startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("share", "said"),
    [(0, "0.0"), (1, "100.0"), (0.5, "50.0"), (0.99999, "99.999"), (1e-5, "0.001"), (2 / 3, "66.7")],
)
def test_a_percentage_is_0_or_100_only_when_that_is_true(share, said):
    assert numbers.percent(share).removesuffix("\xa0%") == said
