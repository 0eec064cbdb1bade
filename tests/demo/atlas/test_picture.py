"""The drawing itself: valid, safe, nothing on top of anything else."""

import struct
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import pytest
import vl_convert

from ayni.demo.atlas import picture, svg
from ayni.demo.atlas.kinship import Kinship, average_linkage, circular_order
from ayni.demo.atlas.wheel import GROUPS, ROOT, SMALL, TIPS, Leaf, Wheel, group_colours, group_runs

SVG = "{http://www.w3.org/2000/svg}"


def wheel_of(leaves: list[Leaf]) -> Wheel:
    distance = np.abs(np.subtract.outer(np.arange(len(leaves)), np.arange(len(leaves)))) + 0.0
    merges = average_linkage(distance)
    return Wheel(leaves, merges, circular_order(merges, distance))


def draw(leaves: list[Leaf]) -> str:
    wheel = wheel_of(leaves)
    return picture.draw(leaves, wheel.merges, wheel.order, Kinship(1, 2, 0.1))


def some(count: int, label: str = "Mapudungun") -> list[Leaf]:
    members = ("CL", None, "MX", "CO")
    return [Leaf(label, "Cusco", members[k % 4], f"G{k // 5}", "note") for k in range(count)]


@pytest.mark.parametrize("count", [3, 8, 130, 400])
def test_any_number_of_languages_makes_a_valid_picture(count: int) -> None:
    root = ET.fromstring(draw(some(count)))
    assert root.tag == f"{SVG}svg"
    names = [element for element in root.iter(f"{SVG}tspan") if element.text == "Cusco"]
    assert len(names) == count
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(set(ids)) == len(ids)


def test_a_hostile_name_stays_text() -> None:
    hostile = '</text><script>alert("1")</script>&'
    root = ET.fromstring(draw(some(4, hostile)))
    assert not list(root.iter(f"{SVG}script"))
    assert [e.text for e in root.iter(f"{SVG}text") if (e.text or "").startswith(hostile)]


def test_names_do_not_touch_their_neighbours_or_the_arcs() -> None:
    for count in (130, 400):
        wheel = wheel_of(some(count, "Chinanteco muy largo de nombre"))
        root = ET.fromstring(f'<svg xmlns="http://www.w3.org/2000/svg">{wheel.draw()}</svg>')
        for element in root.iter(f"{SVG}text"):
            if "Chinanteco" not in (element.text or ""):
                continue
            size, start = float(element.get("font-size", "")), abs(float(element.get("x", "")))
            bold = element.get("font-weight") == "bold"
            long = svg.width(element.text or "", size, bold) + svg.width("Cusco", size * 0.8)
            assert TIPS + start + long < GROUPS
            assert size < 2 * np.pi * TIPS / count


def test_branches_stay_between_the_root_and_the_rim_and_point_outward() -> None:
    wheel = wheel_of(some(60))
    for k, merge in enumerate(wheel.merges):
        parent = wheel.nodes[60 + k]
        assert parent.radius >= ROOT - 1e-9
        assert parent.radius < wheel.nodes[merge.left].radius
        assert parent.radius < wheel.nodes[merge.right].radius
    assert wheel.nodes[-1].radius == pytest.approx(ROOT)


def test_a_run_is_at_least_two_neighbours_of_one_group() -> None:
    found = group_runs(["A", "A", None, None, "B", "A", "B", "B"])
    assert [run.group for run in found] == ["A", "B"]
    assert found[0].end == pytest.approx(np.pi / 2)
    assert found[1].start == pytest.approx(3 * np.pi / 2)


def test_large_groups_have_colours_of_their_own() -> None:
    colours = group_colours(["A"] * 5 + ["B"] * 3 + ["C"] * 2 + ["D", None])
    assert colours["A"] != colours["B"]
    assert colours["C"] == SMALL
    assert "D" not in colours


def test_the_text_is_drawn_with_the_font_that_travels_with_the_renderer() -> None:
    def pixels(family: str) -> bytes:
        page = svg.element("svg", svg.text(9, 40, "Ñandú", 30, font_family=family),
                           xmlns="http://www.w3.org/2000/svg", width=200, height=60)  # fmt: skip
        return vl_convert.svg_to_png(page)

    assert pixels(svg.FONT) != pixels("No such family")


def test_packing_harder_changes_no_pixel() -> None:
    before = vl_convert.svg_to_png(draw(some(8)))
    after = picture.recompress(before)
    assert len(after) < len(before)
    assert _pixels(after) == _pixels(before)


def _pixels(png: bytes) -> tuple[bytes, bytes]:
    data, at = b"", 8
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, chunk = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        (check,) = struct.unpack_from(">I", png, at + 8 + length)
        assert check == zlib.crc32(kind + chunk)
        data += chunk if kind == b"IDAT" else b""
        at += 12 + length
    assert kind == b"IEND"
    return png[16:29], zlib.decompress(data)
