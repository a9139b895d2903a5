"""The drawings: bars are as long as their values, cuts are shown, and shares add up."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.app.reporting.charts import Bar, perplexity_limit, perplexity_panel, ticks
from fedspallm_secure.app.reporting.layer_charts import (
    CLASSES,
    Votes,
    agreement_chart,
    class_of,
    heat_map,
    keep_count_chart,
    layer_strip,
)
from fedspallm_secure.app.reporting.numbers import duration, perplexity, runs, size

positive = st.floats(1, 1e304)


def rects(drawing: str, css: str) -> list[dict[str, str]]:
    return [e.attrib for e in ET.fromstring(drawing).iter("rect") if e.attrib["class"].startswith(css)]


def bars(dense: float, federated: float, random: float) -> list[Bar]:
    return [Bar("Dense", dense, "dense"), Bar("Federated", federated, "federated"), Bar("Random", random)]


@given(positive, positive, positive)
def test_bars_are_proportional_and_only_a_long_alternative_is_cut(dense, federated, random):
    drawing = perplexity_panel("here", bars(dense, federated, random))
    widths = [float(rect["width"]) for rect in rects(drawing, "b-")]
    cut = random > 3 * max(dense, federated)
    assert ('class="gap"' in drawing) is cut
    values = [dense, federated, *([] if cut else [random])]
    longest = max(values)
    full = widths[values.index(longest)]
    assert all(abs(width - full * (value / longest)) <= 0.2 for width, value in zip(widths, values, strict=False))
    if cut:
        assert widths[2] > max(widths[:2]), "a cut bar is still the longest"
    assert all(float(rect["x"]) + float(rect["width"]) < 400 for rect in rects(drawing, "b-"))


def test_the_range_of_the_silos_counts_for_the_axis_unless_it_is_far_out():
    near = [Bar("Dense", 10, "dense"), Bar("Federated", 11, "federated"), Bar("Alone", 12, least=11, most=20)]
    assert perplexity_limit(near) == 20
    far = [*near[:2], Bar("Alone", 12, least=11, most=1e9)]
    assert perplexity_limit(far) == 12
    assert perplexity_panel("here", far).count('class="whisker"') == 2, "no end mark where the range goes on"
    assert perplexity_panel("here", near).count('class="whisker"') == 3


def test_every_number_is_said_to_those_who_cannot_see_it():
    title = ET.fromstring(perplexity_panel("on news", bars(10, 12, 99))).find("title")
    assert title is not None
    assert title.text == "Perplexity on news: Dense 10.00; Federated 12.00; Random 99.00"


@given(st.floats(1e-6, 1e304))
def test_ticks_are_few_and_within_the_axis(limit):
    found = ticks(limit)
    assert 2 <= len(found) <= 7
    assert found[0] == 0
    assert found[-1] <= limit * 1.001


@given(st.lists(st.lists(st.integers(0, 10**9), min_size=2, max_size=31), min_size=1, max_size=80))
def test_the_classes_of_every_layer_add_up_to_its_column(histograms):
    layers = [Votes(number, histogram) for number, histogram in enumerate(histograms)]
    for votes in layers:
        assert sum(votes.classes) == votes.total
        assert votes.classes[1] == votes.histogram[1]
    drawn = rects(agreement_chart(layers), "k-")
    assert len(drawn) == 4 * len(layers)
    for place, votes in enumerate(layers):
        tall = sum(float(rect["height"]) for rect in drawn[4 * place : 4 * place + 4])
        assert tall == pytest.approx(150 if votes.total else 0, abs=0.3)


def test_a_weight_kept_by_the_only_silo_counts_as_kept_by_one():
    assert [CLASSES[class_of(kept, 1)] for kept in (0, 1)] == ["none", "one"]
    assert [CLASSES[class_of(kept, 2)] for kept in (0, 1, 2)] == ["none", "one", "all"]
    assert [CLASSES[class_of(kept, 4)] for kept in range(5)] == ["none", "one", "some", "some", "all"]


@pytest.mark.parametrize("silos", [1, 2, 3, 30])
def test_keep_counts_have_one_column_each(silos):
    histogram = [10 * (number + 1) for number in range(silos + 1)]
    drawn = rects(keep_count_chart(histogram), "k-")
    tall = [float(rect["height"]) for rect in drawn]
    assert tall == pytest.approx([150 * weights / histogram[-1] for weights in histogram], abs=0.1)
    assert keep_count_chart([0] * (silos + 1)), "an empty layer is drawn, not divided by"


def test_the_heat_map_is_darker_where_there_are_more_zeros():
    cells = rects(heat_map({"q": {0: 0.5, 1: 0.6}, "k": {0: 0.55}}), "heat")
    shades = [float(cell["fill-opacity"]) for cell in cells]
    assert shades[0] < shades[2] < shades[1]
    assert len(rects(heat_map({"q": dict.fromkeys(range(200), 0.5)}), "heat")) == 200


def test_a_long_name_of_a_matrix_is_shortened_and_kept_in_the_tooltip():
    name = "block.experts.gate_and_up_projection_of_everything.<w>"
    drawing = ET.fromstring(heat_map({name: {0: 0.5}}))
    assert any(title.text == name for title in drawing.iter("title"))
    assert all(len(text.text or "") <= 32 for text in drawing.iter("text"))


def test_a_strip_tells_own_layers_from_others_and_from_those_not_in_the_round():
    kinds = [rect["class"] for rect in rects(layer_strip(4, [0, 1, 2], [1]), "s-")]
    assert kinds == ["s-others", "s-mine", "s-others", "s-outside"]


@given(st.sets(st.integers(0, 100)))
def test_runs_name_every_layer_once(layers):
    found: set[int] = set()
    for part in runs(layers).split(", ") if layers else []:
        first, _, last = part.partition("–")
        span = set(range(int(first), int(last or first) + 1))
        assert not span & found
        found |= span
    assert found == layers
    assert runs([]) == "none"


@pytest.mark.parametrize(
    ("value", "said"),
    [(1, "1.00"), (999.99, "999.99"), (999.996, "1,000"), (12345.6, "12,346"), (999999.7, "1.00 × 10⁶")],
)
def test_perplexities_change_notation_without_a_gap(value, said):
    assert perplexity(value).replace("\xa0", " ") == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0.00 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (3600, "1 h 00 min")]
)
def test_durations(seconds, said):
    assert duration(seconds).replace("\xa0", " ") == said


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (1 << 60, "1,048,576.0 TiB")]
)
def test_sizes(number, said):
    assert size(number).replace("\xa0", " ") == said
