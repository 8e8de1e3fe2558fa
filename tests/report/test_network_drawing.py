from __future__ import annotations

import xml.etree.ElementTree as ET

from hwnas.ops import OpSpec
from hwnas.report.facts import Slot
from hwnas.report.network_drawing import network_drawing
from hwnas.report.theme import light

SVG = "{http://www.w3.org/2000/svg}"
STEM = OpSpec.make("conv", (3, 32, 32), 8, kernel=3)
WIDE = OpSpec.make("mbconv", (8, 32, 32), 16, kernel=5, stride=2, hidden=48)
RESIDUAL = OpSpec.make("mbconv", (16, 16, 16), 16, kernel=3, hidden=48, residual=True)
HEAD = OpSpec.make("head", (16, 16, 16), 10, hidden=64)
SLOTS = (
    Slot("", STEM, 0.1),
    Slot("layer1 = a", WIDE, 0.25),
    Slot("layer2 = identity", None),
    Slot("layer3 = b", RESIDUAL),
    Slot("", HEAD, 0.2),
)


def drawn() -> ET.Element:
    return ET.fromstring(network_drawing(SLOTS).svg)


def layers() -> dict[str, ET.Element]:
    """The group of each layer by its hover text."""
    return {
        title.text or "": group
        for group in drawn().iter(f"{SVG}g")
        if (title := group.find(f"{SVG}title")) is not None
    }


def rect(group: ET.Element) -> ET.Element:
    found = group.find(f"{SVG}rect")
    assert found is not None
    return found


def test_every_place_is_drawn_in_order_with_its_facts_on_hovering() -> None:
    titles = list(layers())
    assert len(titles) == 5
    assert titles[1] == (
        f"layer1 = a\n{WIDE}\n"
        f"{WIDE.macs / 1e3:.0f}\u00a0k\u00a0MACs, {WIDE.params / 1e3:.2f}\u00a0k "
        "parameters\n0.250\u00a0ms in the latency table"
    )
    assert titles[2] == "layer2 = identity: skipped"
    assert "no row in the latency table" in titles[3]
    lefts = [float(rect(group).get("x", "")) for group in layers().values()]
    assert lefts == sorted(lefts)


def test_height_grows_with_expansion_and_colour_tells_the_kernel() -> None:
    stem, wide, skipped, residual, _ = layers().values()
    heights = [float(rect(one).get("height", "")) for one in (stem, residual, wide)]
    assert heights == sorted(heights)
    assert heights[1] - heights[0] == 2 * (heights[2] - heights[1]) / 3  # expansions 1, 3, 6
    colors = [rect(one).get("style", "").split(";")[0] for one in (stem, wide, residual)]
    assert colors == [f"fill: {light(name)}" for name in ("sky", "blue", "sky")]
    assert "dasharray" in rect(skipped).get("style", "")


def test_only_residual_blocks_have_an_arc() -> None:
    arcs = [group.find(f"{SVG}path") is not None for group in layers().values()]
    assert arcs == [False, False, False, True, False]


def test_bands_name_the_resolution_that_layers_read() -> None:
    words = [node.text for node in drawn().iter(f"{SVG}text")]
    assert [word for word in words if word and word.endswith("²")] == ["32²", "16²"]


def test_the_words_list_all_operations_and_skips() -> None:
    drawing = network_drawing(SLOTS)
    for op in (STEM, WIDE, RESIDUAL, HEAD):
        assert str(op) in drawing.description
    assert "1 layer(s) were skipped" in drawing.description
    assert drawing.caption.startswith("n = 4 operations")
