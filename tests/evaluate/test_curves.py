"""Charts of a training: where points stand, what is a gap, and which layers trained when."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from torchgraft.evaluate._curves import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    SHARE,
    WIDTH,
    Line,
    Scale,
    chart,
    layer_names,
    short_names,
    strip,
)

EVIL = "</svg><script>alert(1)</script>\"'&"


def _tags(svg: str, tag: str, kind: str = "") -> list[ElementTree.Element]:
    return [one for one in ElementTree.fromstring(svg).iter(tag) if kind in one.get("class", "")]


def _places(line: ElementTree.Element) -> list[tuple[float, float]]:
    return [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]


def test_a_curve_goes_from_edge_to_edge() -> None:
    svg = chart([Line(points=[(0, 1.0), (10, 0.0)], on=True)], x_name="step", label="x", scale=Scale(zero=True))
    ((x0, y0), (x1, y1)) = _places(_tags(svg, "polyline")[0])
    assert (x0, x1) == (LEFT, WIDTH - RIGHT)
    assert y1 == HEIGHT - BOTTOM and y0 < y1


def test_what_is_not_finite_is_a_gap() -> None:
    points = [(0, 1.0), (1, 0.9), (2, math.nan), (3, math.inf), (4, 0.8), (5, 0.7), (6, math.nan), (7, 0.6)]
    svg = chart([Line(points=points)], x_name="step", label="x")
    assert [len(_places(line)) for line in _tags(svg, "polyline")] == [2, 2]
    assert len(_tags(svg, "circle")) == 1, "a point by itself is a dot"


@pytest.mark.parametrize("points", [[], [(0, math.nan)]])
def test_nothing_to_draw_is_no_chart(points) -> None:
    assert chart([Line(points=points)], x_name="step", label="x") == ""


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-5, 1e9])
@pytest.mark.parametrize("scale", [Scale(), Scale(zero=True), SHARE])
def test_a_flat_curve_and_a_single_point_are_drawn(value: float, scale: Scale) -> None:
    for points in ([(0, value)], [(0, value), (1, value)]):
        assert _tags(chart([Line(points=points, dots=True)], x_name="epoch", label="x", scale=scale), "circle")


def test_an_explosion_does_not_flatten_the_rest() -> None:
    calm = [(k, 1.0 - 0.05 * k) for k in range(10)]
    drawn = _places(_tags(chart([Line(points=[*calm, (10, 1e6)])], x_name="step", label="x"), "polyline")[0])
    spread = max(y for _, y in drawn[:-1]) - min(y for _, y in drawn[:-1])
    assert spread > 15, "the calm part keeps a visible share of the height"
    assert drawn[-1][1] == min(y for _, y in drawn)


def test_repairs_phases_and_the_kept_point_are_marked() -> None:
    svg = chart(
        [Line(points=[(0, 1.0), (10, 0.5)])],
        x_name="step",
        label="x",
        ring=(10, 0.5),
        marks=[(5, "fold 1: the loss is nan")],
        splits=[2],
    )
    assert _tags(svg, "path", "mended")[0].find("title").text == "fold 1: the loss is nan"
    assert len(_tags(svg, "line", "mend")) == len(_tags(svg, "line", "split")) == len(_tags(svg, "circle", "kept")) == 1


def test_ticks_of_steps_are_whole() -> None:
    svg = chart([Line(points=[(0, 1.0), (1, 0.5)])], x_name="epoch", label="x", scale=SHARE)
    words = [one.text for one in _tags(svg, "text")]
    assert "0" in words and "1" in words and "0.2" not in words and "epoch" in words


def _phase(rates: dict[str, float], *, width: float = 10, frozen: bool = False) -> dict:
    return {"rates": rates, "width": width, "frozen": frozen}


def test_the_strip_has_a_cell_for_each_layer_and_phase() -> None:
    svg = strip([_phase({"head": 1e-3}, frozen=True), _phase({"stem": 1e-4, "block": 5e-4, "head": 1e-3}, width=30)])
    titles = [one.find("title").text for one in _tags(svg, "rect")]
    assert titles == [
        "head: 1e\u22123",
        "block: frozen",
        "stem: frozen",
        "head: 1e\u22123",
        "block: 5e\u22124",
        "stem: 1e\u22124",
    ]
    strong = [float(one.get("fill-opacity")) for one in _tags(svg, "rect", "hit")]
    assert strong[0] == 1.0 and strong[1:] == sorted(strong[1:], reverse=True)
    widths = [float(one.get("width")) for one in _tags(svg, "rect")]
    assert widths[0] < widths[-1], "the longer phase is wider"


def test_what_never_trained_is_a_row_of_its_own() -> None:
    svg = strip([_phase({"head": 1e-3}, frozen=True), _phase({"block": 1e-4, "head": 1e-3}, frozen=True)])
    assert [one.text for one in _tags(svg, "text") if one.text not in "12"] == ["head", "block", "everything else"]


def test_many_layers_share_the_height() -> None:
    few, hundreds = ({f"layer {k}": 1e-4 for k in range(n)} for n in (18, 300))
    heights = [float(ElementTree.fromstring(strip([_phase(one)])).get("viewBox").split()[3]) for one in (few, hundreds)]
    assert heights[0] < 330 and heights[1] < 1600
    assert len(_tags(strip([_phase(hundreds)]), "text")) < 150


def test_layers_stand_in_the_order_of_the_fullest_phase() -> None:
    assert layer_names([{"head": 1}, {"a": 1, "b": 1, "head": 1}, {"adapter": 1}]) == ["a", "b", "head", "adapter"]
    assert layer_names([]) == [] and strip([]) == "" and strip([_phase({})]) == ""


def test_names_are_escaped() -> None:
    for svg in (
        chart([Line(points=[(0, 1.0)], title=EVIL)], x_name=EVIL, label=EVIL, marks=[(0, EVIL)]),
        strip([_phase({EVIL: 0.0})]),
    ):
        assert not _tags(svg, "script") and "<script" not in svg


def test_layers_lose_what_all_names_share() -> None:
    deep = [f"module.model.encoder.layer.{k}" for k in range(3)]
    assert short_names([*deep, "module.model.embeddings", "head"])[-3:] == ["encoder.layer.2", "embeddings", "head"]
    assert short_names([*deep, "head"]) == ["layer.0", "layer.1", "layer.2", "head"]
    assert short_names(["blocks.0", "head"]) == ["blocks.0", "head"]
    assert short_names(["a_very_long_name_of_a_layer"]) == ["\u2026name_of_a_layer"]
    assert short_names([]) == []
