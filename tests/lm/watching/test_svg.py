"""Charts: whole documents, within their frame, that lose no spike."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.lm.watching.svg import HEIGHT, WIDTH, Chart, Line, draw, number, thinned, ticks

FINITE = st.floats(-1e12, 1e12)
SVG = "{http://www.w3.org/2000/svg}"


def chart(*lines: Line, zero: bool = False) -> Chart:
    return Chart("Loss <b>", "what & why", "tokens", "nats", lines, zero=zero)


def names(text: str) -> list[str]:
    return [e.text or "" for e in ElementTree.fromstring(text).iter(f"{SVG}text")]


@given(FINITE, st.floats(0, 1e12))
def test_ticks_are_round_and_enclose(low: float, span: float) -> None:
    high = low + span
    found = ticks(low, high)
    step = found[1] - found[0]
    assert 2 <= len(found) <= 10
    assert found[0] <= low + step * 1e-3 and found[-1] >= high - step * 1e-3
    assert found == sorted(set(found))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.1 + 0.2, "0.3"), (12_000, "12k"), (-2.5e6, "-2.5M"), (3e9, "3G"), (1e-17, "0")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


@given(st.lists(st.tuples(FINITE, FINITE), max_size=3000))
def test_thinning_keeps_order_and_every_extreme(points: list[tuple[float, float]]) -> None:
    points.sort()
    found = thinned(points)
    assert len(found) <= 402
    assert found == sorted(found, key=lambda point: point[0])
    assert set(found) <= set(points)
    if points:
        heights = [y for _, y in points]
        assert {min(heights), max(heights)} <= {y for _, y in found}


ANY = st.floats(allow_nan=True, allow_infinity=True, width=32)
TEXT = st.text(max_size=30)


@given(st.lists(st.builds(Line, TEXT, st.lists(st.tuples(ANY, ANY), max_size=8)), max_size=12))
def test_whatever_is_drawn_is_a_document_within_its_frame(lines: list[Line]) -> None:
    text = draw(chart(*lines))
    root = ElementTree.fromstring(text)
    assert root.attrib["role"] == "img"
    assert [e.text for e in root[:2]] == ["Loss <b>", "what & why"]
    for path in root.iter(f"{SVG}path"):
        for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path.attrib["d"]):
            assert 0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT


def test_lines_are_told_by_name_colour_and_dashes() -> None:
    text = draw(chart(Line("es", [(0, 3), (9, 2)]), Line("quy", [(0, 4), (9, 2.001)])))
    assert {"es", "quy"} <= set(names(text))
    heights = [float(y) for y in re.findall(r'class="n\d" x="[\d.]+" y="([\d.]+)"', text)]
    assert abs(heights[0] - heights[1]) >= 15
    assert ".c1{stroke-dasharray" in text and "prefers-color-scheme: dark" in text


def test_of_many_lines_some_are_named_and_all_are_drawn() -> None:
    lines = [Line(f"l{n}", [(0, n), (1, n)]) for n in range(30)]
    text = draw(chart(*lines))
    assert "and 22 others" in names(text)
    assert text.count('class="line rest"') == 22


def test_what_is_not_finite_is_a_gap_and_nothing_is_said_so() -> None:
    text = draw(chart(Line("es", [(0, 3), (1, math.nan), (2, 2), (3, 1)])))
    path, _ = re.findall(r'class="line c0" d="([^"]+)"', text)  # the other is its key
    assert path.count("M") == 2
    assert "no data yet" in names(draw(chart()))


def test_an_axis_that_begins_at_nothing_does() -> None:
    line = Line("es", [(5, 90), (9, 100)])
    assert "0" not in names(draw(chart(line)))
    assert "0" in names(draw(chart(line, zero=True)))
