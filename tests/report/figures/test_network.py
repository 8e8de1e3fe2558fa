from __future__ import annotations

import xml.etree.ElementTree as ET

from matplotlib.patches import FancyBboxPatch, PathPatch

from hwnas.ops import OpSpec
from hwnas.report.figures.network import network
from hwnas.report.figures.style import light
from hwnas.report.figures.values import Slot
from hwnas.report.sections.networks import network_drawing

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
    return ET.fromstring(network_drawing(SLOTS, "network", "The network").svg)


def layers() -> dict[str, str]:
    """The style of each layer's shape by its tooltip, in order."""
    found = {}
    for group in drawn().iter(f"{SVG}g"):
        title, path = group.find(f"{SVG}title"), group.find(f"{SVG}path")
        if title is not None and path is not None:
            found[title.text or ""] = path.get("style", "")
    return found


def heights() -> list[float]:
    """The height of each layer's shape, in points."""
    shapes = network(SLOTS).axes[0].patches
    boxes = [one for one in shapes if str(one.get_gid()).startswith("layer-")]
    assert [one.get_gid() for one in boxes] == [f"layer-{n}" for n in range(len(SLOTS))]
    return [float(one.get_height()) for one in boxes if isinstance(one, FancyBboxPatch)]


def test_every_place_is_drawn_in_order_with_its_facts_in_a_tooltip() -> None:
    titles = list(layers())
    assert len(titles) == 5
    assert titles[1] == (
        f"layer1 = a\n{WIDE}\n"
        f"{WIDE.macs / 1e3:.0f}\u00a0k\u00a0MACs, {WIDE.params / 1e3:.2f}\u00a0k "
        "parameters\n0.250\u00a0ms in the latency table"
    )
    assert titles[2] == "layer2 = identity: skipped"
    assert "no row in the latency table" in titles[3]


def test_height_grows_with_expansion_and_the_colour_is_the_kernel() -> None:
    stem, wide, _, residual, _ = heights()
    assert stem < residual < wide
    assert residual - stem == 2 * (wide - residual) / 3  # expansions 1, 3, 6
    styles = list(layers().values())
    colors = [styles[place].split(";")[0] for place in (0, 1, 3)]
    assert colors == [f"fill: {light(name)}" for name in ("sky", "blue", "sky")]
    assert "dasharray" in styles[2]


def test_only_residual_blocks_and_the_legend_have_an_arc() -> None:
    arcs = [one for one in network(SLOTS).axes[0].patches if isinstance(one, PathPatch)]
    assert len(arcs) == 1 + 1


def test_bands_name_the_resolution_that_layers_read() -> None:
    words = [node.text for node in drawn().iter(f"{SVG}text")]
    assert [word for word in words if word and word.endswith("²")] == ["32²", "16²"]


def test_the_words_list_all_operations_and_skips() -> None:
    drawing = network_drawing(SLOTS, "network", "The network")
    for op in (STEM, WIDE, RESIDUAL, HEAD):
        assert str(op) in drawing.description
    assert "1 layer(s) were skipped" in drawing.description
    assert drawing.caption.startswith("n = 4 operations")
