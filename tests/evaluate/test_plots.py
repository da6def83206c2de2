from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from torchgraft.evaluate import _plots

ESTIMATE = {"value": 0.8, "low": 0.7, "high": 0.9}


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.5, 1.0), (0.88, 0.97), (0, 0.001), (0.3, 0.3)])
def test_ticks_are_few_round_and_inside(low, high):
    marks = _plots.ticks(low, high)
    assert len(marks) <= 6 and all(low - 1e-9 <= t <= high + 1e-9 for t in marks)
    assert len({round(b - a, 9) for a, b in pairwise(marks)}) <= 1


def test_a_dot_stands_where_its_value_is():
    track = ElementTree.fromstring(_plots.track(ESTIMATE, 0.6, 1.0, chosen=True, hollow=False))
    assert track.find("circle").get("cx") == "50.00%"
    bar = track.findall("line")[-1]
    assert (bar.get("x1"), bar.get("x2")) == ("25.00%", "75.00%")


def test_what_is_far_off_is_an_arrow():
    track = ElementTree.fromstring(_plots.track(ESTIMATE, 0.85, 1.0, chosen=False, hollow=True))
    assert track.find("circle") is None and track.find("path") is not None


def test_a_difference_stands_around_zero():
    track = ElementTree.fromstring(_plots.zero_track({"value": 0.05, "low": 0.0, "high": 0.1}, 0.1))
    assert track.find("circle").get("cx") == "75.00%"
    kinds = [
        ElementTree.fromstring(_plots.zero_track({"value": v, "low": v - 0.01, "high": v + 0.01}, 0.1))
        .find("circle")
        .get("class")
        for v in (-0.05, 0.0, 0.05)
    ]
    assert kinds == ["dot bad", "dot off", "dot on"]
    words = [one.text for one in ElementTree.fromstring(_plots.zero_axis(0.1)).iter("text")]
    assert words == ["\u221210", "\u22125", "0", "+5", "+10"]


@pytest.mark.parametrize("value", [-0.5, 0.5])
def test_a_difference_beyond_the_edge_is_an_arrow(value):
    track = ElementTree.fromstring(_plots.zero_track({"value": value, "low": value, "high": value}, 0.1))
    assert track.find("circle") is None
    assert track.find("svg").get("x") == ("0" if value < 0 else "100%")


def test_every_plot_is_well_formed_and_names_are_escaped():
    points = [{"fraction": f, "n": int(100 * f), "accuracy": ESTIMATE} for f in (0.1, 0.5, 1.0)]
    ahead = {"n": 200, "accuracy": ESTIMATE, "gain": ESTIMATE, "fitted": [{"n": n, **ESTIMATE} for n in (10, 100, 200)]}
    rule = {
        "threshold": 0.5,
        "coverage": 0.5,
        "accuracy": 1.0,
        "wanted": 0.95,
        "curve": [{"coverage": 1.0, "accuracy": 0.9}],
    }
    names = ["<b>&\"'"] + [f"class {c}" for c in range(4)]
    for svg in (
        _plots.learning_curve({"points": points, "forecast": ahead}),
        _plots.learning_curve({"points": points[:1], "forecast": None}),
        _plots.reliability([{"confidence": 0.9, "accuracy": 0.8, "n": 5}]),
        _plots.reliability([]),
        _plots.coverage(rule),
        _plots.confusion(np.arange(25).reshape(5, 5).tolist(), names),
        _plots.confusion(np.eye(60, dtype=int).tolist(), [str(c) for c in range(60)]),
        _plots.track_axis(0.5, 1.0),
    ):
        ElementTree.fromstring(svg)


def test_a_share_is_a_bar_with_its_interval():
    bar = ElementTree.fromstring(_plots.bar({"value": 0.4, "low": -0.1, "high": 0.6}))
    assert [rect.get("width") for rect in bar.findall("rect")] == ["100%", "40.00%"]
    assert (bar.find("line").get("x1"), bar.find("line").get("x2")) == ("0.00%", "60.00%")


def test_a_confusion_is_in_counts_or_in_shares():
    matrix = [[996, 3, 1], [1, 3, 0], [0, 0, 0]]
    counts, shares = (_plots.confusion(matrix, ("a", "b", "c"), shares=shares) for shares in (False, True))
    written = [[one.text for one in ElementTree.fromstring(svg).iter("text") if "number" in one.get("class")]
               for svg in (counts, shares)]  # fmt: skip
    assert written == [["996", "3", "1", "1", "3"], ["100", "25", "75"]], "less than half a per cent is not written"
    assert "<title>b called a: 25.0\u00a0%</title>" in shares
