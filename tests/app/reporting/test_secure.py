"""The part of the report about secure aggregation: its figures are those of the result, its claims are bounded."""

import re
from pathlib import Path

import pytest

from fedspallm_secure.app.reporting.page import render_report
from fedspallm_secure.app.reporting.secure import fewest_honest
from tests.app.reporting.reports import SILOS, make_result, make_secure_result, secure_round
from tests.app.reporting.test_page import HOSTILE, header, parsed, tables, words


def body(result: dict) -> str:
    return words(parsed(render_report(result)))


def table(result: dict, first: str) -> list[list[str]]:
    return next(found for found in tables(render_report(result)) if found[0][0] == first)


def test_plain_aggregation_has_no_such_section_and_says_that_nothing_was_hidden():
    told = body(make_result())
    assert "Secure aggregation Who is in the sums" not in told and "Secure aggregation claims" not in told
    assert "No privacy." in told and "No measured traffic." in told
    assert "Nothing was hidden from the server." in told
    assert "Secure aggregation would not change this" in told
    assert ["aggregation", "plain"] in table(make_result(), "Setting")


def test_secure_aggregation_says_neither_of_it_and_that_all_lay_on_one_machine():
    result = make_secure_result()
    told = body(result)
    for gone in ("No privacy.", "No measured traffic.", "Nothing was hidden from the server", "would not change this"):
        assert gone not in told
    assert "whoever ran it held everybody's text and keys" in header(render_report(result))
    assert "No secrecy from whoever ran this. In this simulation all parties lay on one machine" in told
    assert "No network." in told and "No differential privacy was in effect." in told
    assert "Secure aggregation does not change this" in told


def test_the_claim_and_what_is_not_claimed_stand_next_to_each_other():
    told = body(make_secure_result())
    claim, not_claimed = told.index("Secure aggregation claims"), told.index("Secure aggregation does not claim")
    assert 0 < not_claimed - claim < 1200
    assert "If no silo works with the server, it learns of the other silos' contributions" in told
    assert "A sum opens only if at least 3 silos are in it and 3 of its cohort answer" in told
    assert "every honest silo is mixed with at least 2 other honest ones" in told
    assert "Nobody outside the project has reviewed it." in told
    page = parsed(render_report(make_secure_result()))
    lists = [section for section in page.iter("section") if words(section).startswith("Secure aggregation does not")]
    spec = (
        (Path(__file__).parents[3] / "docs/SPEC.md")
        .read_text(encoding="utf-8")
        .split("## 18.")[1]
        .split("**Not claimed**")[1]
    )
    assert len(lists) == 1
    assert len(list(lists[0].iter("li"))) == len(re.findall(r"^\d+\. ", spec, re.MULTILINE)), "as in SPEC section 18"


@pytest.mark.parametrize(
    ("changes", "colluders", "said"),
    [
        ({"shares": 4, "survivors_needed": 4}, 1, "If at most 1 silo works with the server, both learn"),
        ({"shares": 5, "survivors_needed": 6}, 2, "If at most 2 silos work with the server, it and they learn"),
        ({"shares": 5, "survivors_needed": 6}, 2, "mixed with at least 3 other honest ones"),
        # A sparse graph: k + 1 - t, which is less than n_min - c - 1 here.
        (
            {"cohort": 300, "degree": 40, "shares": 31, "survivors_needed": 270},
            20,
            "with at least 10 other honest ones",
        ),
    ],
)
def test_the_claim_has_the_numbers_of_the_plan(changes, colluders, said):
    result = make_secure_result()
    for found in result["secagg"]:
        found["colluders"] = colluders
        for group in found["groups"]:
            group |= {"degree": changes.get("cohort", 3) - 1, **changes}
    assert said in body(result)


def test_different_lists_weaken_the_claim_of_two_trips():
    result = make_secure_result()
    result["secagg"][0]["profile"] = "two-trip"
    told = body(result)
    assert "A server that shows silos different lists learns sums over at least 3 honest silos." in told
    assert "mixed with at least" not in told
    assert "Profile two-trip: nobody compared the lists" in told


def test_who_is_in_the_sums_layers_that_are_alike_in_one_row():
    result = make_secure_result(rounds=2)
    for layer in (1, 3):
        result["secagg"][1]["groups"][layer]["survivors"].remove("beta")
    rows = table(result, "Round")
    assert rows[1:] == [
        ["1", "0–3", "3 of 3", "3", "3", "nobody"],
        ["2", "0, 2", "3 of 3", "3", "3", "nobody"],
        ["2", "1, 3", "2 of 3", "3", "3", "beta"],
    ]


def test_silence_and_blame_are_told_once_for_rounds_that_are_alike():
    result = make_secure_result(rounds=2)
    for found in result["secagg"]:
        found["answered"].remove("gamma")
    result["secagg"][1]["blamed"] = [
        {"silo": "alpha", "check": "S3", "layer": "2"},
        {"silo": "beta", "check": "R2", "layer": "*"},
    ]
    told = body(result)
    assert told.count("fell silent") == 1
    assert "gamma fell silent after contributing in rounds 1–2; the sums hold what it sent" in told
    assert "alpha sent what did not pass check S3 in round 2, layer 2." in told
    assert "beta sent what did not pass check R2 in round 2." in told
    assert "fell silent" not in body(make_secure_result())


def test_every_party_is_named_with_what_it_learned_and_what_not():
    rows = table(make_secure_result(), "Party")
    assert [row[0] for row in rows[1:]] == [
        "Server",
        "Another silo",
        "Witness",
        "Auditor with the server's files",
        "Courier or network",
    ]
    assert "the keep counts and the kept sums over all silos" in rows[1][1]
    assert rows[3][1].endswith("None took part in this run.")
    assert "kept sums" not in table(make_secure_result(strategy="votes"), "Party")[1][1]
    witnessed = make_secure_result()
    witnessed["secagg"][0]["seconds"]["witness"] = 0.1
    witnessed["secagg"][0]["wire"]["by_type"]["endorsement"] = {"packages": 1, "bytes": 9}
    assert "None took part" not in table(witnessed, "Party")[3][1]


def test_exactness_over_all_rounds_the_worst_and_the_share():
    result = make_secure_result(rounds=2)
    result["secagg"][1]["exactness"] |= {"worst_steps": 0.5, "bf16_differs": 0.0}
    result["secagg"][1]["clipped"] = 1234
    told = body(result)
    assert "Every keep count is the plain one, on all 1,536 weights of all rounds." in told
    assert "within 0.500 quantisation steps of the plain mean" in told
    assert "0.06 % of the means would be another number in a bf16 checkpoint." in told
    assert "1,234 values were too large for their words and were clipped." in told
    result["secagg"][0]["exactness"]["bf16_differs"] = 0.0
    assert "No mean would be another number" in body(result)


def test_votes_have_no_sums_to_be_exact_about():
    told = body(make_secure_result(strategy="votes"))
    assert "No sums of weights were sent." in told
    assert "quantisation" not in told and "clipped" not in told


def test_the_chart_and_the_table_show_the_same_figures():
    result = make_secure_result()
    page = render_report(result)
    (title,) = [e.text for e in parsed(page).iter("title") if (e.text or "").startswith("What the counts tell")]
    assert title.replace("\xa0", " ") == (
        "What the counts tell: all silos agree 93.8 %; one silo kept it 6.2 %; guessed: model 90.2 %; "
        "guessed: counts 95.7 %"
    )
    rows = [found for found in tables(page) if found[0][-1] == "More"]
    # 95.66 less 90.24 is 5.42; shown is the difference of what is shown, so that nobody finds an error of rounding.
    assert rows[0][1] == ["1", "93.8 %", "6.2 %", "90.2 %", "95.7 %", "5.5 points"]
    assert "5.5 percentage points more." in words(parsed(page))
    widths = {
        float(e.attrib["width"]): e[0].text
        for e in parsed(page).iter("rect")
        if e.attrib["class"] in ("b-other", "b-dense", "b-federated")
        and re.match("all silos agree|one silo kept", e[0].text or "")
    }
    longest, shortest = sorted(widths, reverse=True)
    assert longest / shortest == pytest.approx(0.9375 / 0.0625, rel=0.02), "bars are as long as their shares"


def test_bytes_and_seconds_add_up_over_rounds():
    result = make_secure_result(rounds=2)
    rows = table(result, "Message")
    assert [row[0] for row in rows[1:]] == ["plan", "contribution", "unmask-response", "all"]
    assert rows[2][2:] == ["24", "240,000", "234.4 KiB"] and rows[-1][2:] == ["36", "258,000", "252.0 KiB"]
    told = body(result)
    assert "Seconds by stage: plans are checked 0.50 s; silos seal 3.00 s; server adds up 1.00 s" in told
    assert "one after the other: 4.50 s in all." in told
    assert "silos enrol" in told and "sums are checked" in told, "phases of the run"
    sent = next(found for found in tables(render_report(result)) if found[0][-1] == "All packages, bytes")
    assert [row[-1] for row in sent[1:]] == ["82,000", "82,002", "82,004"]


@pytest.mark.parametrize("width", [16, 32])
def test_settings_are_told_in_words(width):
    result = make_secure_result()
    drops = {"contribution": ["beta"], "unmask": ["alpha", "gamma"]}
    result["settings"]["secure"] |= {"sum_bits": width, "drops": drops}
    rows = dict(row for row in table(result, "Setting") if len(row) == 2)
    assert rows["aggregation"] == "secure, three-trip"
    assert rows["silos that may work with the server"] == "(n - 1) / 3 of n"
    assert rows["bits of a kept sum"] == str(width)
    assert rows["silos made to fall silent"] == "beta, from contributing on; alpha, gamma, from unmasking on"
    assert "secure" not in rows
    assert f"a small count and a {width}-bit sum per weight" in body(result)
    result["settings"]["secure"] |= {"colluders": 2, "drops": {}}
    rows = dict(row for row in table(result, "Setting") if len(row) == 2)
    assert (rows["silos that may work with the server"], rows["silos made to fall silent"]) == ("2", "none")


def test_the_fewest_honest_silos_of_all_sums_count():
    result = make_secure_result()
    assert fewest_honest(result) == 3
    result["secagg"][0]["groups"][2]["survivors"].pop()
    assert fewest_honest(result) == 2
    result = make_secure_result()
    result["secagg"][0]["groups"][0] |= {
        "cohort": 300,
        "degree": 40,
        "shares": 41,
        "survivors": list(map(str, range(290))),
    }
    assert fewest_honest(result) == 1, "k + 2 - t in a sparse graph"


def test_hostile_names_are_escaped_here_too():
    result = make_result(HOSTILE)
    drops = {"unmask": HOSTILE}
    result["settings"]["secure"] = {"profile": "three-trip", "colluders": None, "sum_bits": 32, "drops": drops}
    result["secagg"] = [secure_round(result, missing=tuple(HOSTILE[:1]))]
    result["secagg"][0]["answered"] = []
    result["secagg"][0]["blamed"] = [{"silo": HOSTILE[1], "check": "S3", "layer": "0"}]
    page = render_report(result)
    assert not {"script", "img"} & {element.tag for element in parsed(page).iter()}
    assert not re.search(r"<(script|img)", page)
    assert " ".join(HOSTILE[0].split()) in words(parsed(page))


def test_many_rounds_fold_their_charts():
    result = make_secure_result(rounds=8)
    page = parsed(render_report(result))
    assert "Charts of the other 2 rounds" in words(page)
    assert words(page).count("What the counts tell: all silos agree") == 8
    assert set(SILOS) <= set(result["secagg"][7]["answered"])
