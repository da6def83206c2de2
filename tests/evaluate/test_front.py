"""Accuracy over latency: where dots stand, what the line says, that labels keep apart."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from torchgraft.evaluate import _front
from torchgraft.evaluate._front import front, limits


def row(name: str, latency: float | None, value: float, **more: Any) -> dict[str, Any]:
    accuracy = {"value": value, "low": max(value - 0.02, 0), "high": min(value + 0.02, 1)}
    own = {"backbone": name, "latency_ms": latency, "expected": accuracy, "front": False, "knee": False, "samples": 9}
    return {**own, **more}


def places(svg: str) -> dict[str, tuple[float, float]]:
    """Name -> the place of its dot."""
    dots = [one for one in ElementTree.fromstring(svg).iter("circle") if one.find("title") is not None]
    return {one.find("title").text.partition(":")[0]: (float(one.get("cx")), float(one.get("cy"))) for one in dots}


def boxes(svg: str) -> list[tuple[float, float, float, float]]:
    """The labels of an svg, as wide as the letters are thought to be."""
    names = [one for one in ElementTree.fromstring(svg).iter("text") if "label" in one.get("class")]
    return [
        (float(one.get("x")), float(one.get("y")) - 10, float(one.get("x")) + 6.6 * len(one.text), float(one.get("y")))
        for one in names
    ]


def apart(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_the_axis_of_time_is_logarithmic_and_up_is_right() -> None:
    at = places(front([row("x/a", 1.0, 0.8), row("x/b", 10.0, 0.8), row("x/c", 100.0, 0.9)]))
    (ax, ay), (bx, by), (cx, cy) = (at[f"x/{name}"] for name in "abc")
    assert bx - ax == pytest.approx(cx - bx, abs=0.2)
    assert ay == by > cy


def test_the_front_never_goes_down() -> None:
    """`a` was let go early and stands above `b`, which it does not beat: the line passes over `b`."""
    rows = [
        row("a", 1.0, 0.8, front=True, samples=5),
        row("b", 10.0, 0.7, front=True),
        row("c", 100.0, 0.9, front=True),
    ]
    svg = front(rows)
    at = places(svg)
    (path,) = [one.get("d") for one in ElementTree.fromstring(svg).iter("path")]
    x0, y0, x1, y1, _ = (float(n) for n in re.fullmatch(r"M(\S+) (\S+)H(\S+)V(\S+)H(\S+)", path).groups())
    assert (x0, y0, x1, y1) == (*at["a"], *at["c"])


def test_the_front_goes_level_then_up() -> None:
    rows = [row("a", 1.0, 0.8, front=True), row("b", 10.0, 0.7), row("c", 100.0, 0.9, front=True, knee=True)]
    svg = front(rows)
    at = places(svg)
    (path,) = [one.get("d") for one in ElementTree.fromstring(svg).iter("path")]
    x0, y0, x1, y1, end = (float(n) for n in re.fullmatch(r"M(\S+) (\S+)H(\S+)V(\S+)H(\S+)", path).groups())
    assert (x0, y0, x1, y1) == (*at["a"], *at["c"])
    assert end == _front.WIDTH - _front.RIGHT
    kept = [one for one in ElementTree.fromstring(svg).iter("circle") if one.get("class") == "kept"]
    assert [(float(one.get("cx")), float(one.get("cy"))) for one in kept] == [at["c"]]


def test_who_was_let_go_is_hollow_and_who_is_far_down_is_an_arrow() -> None:
    rows = [row("a", 1.0, 0.95, front=True), row("b", 2.0, 0.9, samples=5), row("c", 3.0, 0.2)]
    svg = ElementTree.fromstring(front(rows))
    kinds = {one.find("title").text[0]: one.get("class") for one in svg.iter() if one.find("title") is not None}
    assert kinds == {"a": "dot on", "b": "dot off hollow", "c": "away"}


def test_limits_hold_the_intervals_but_for_what_is_far_down() -> None:
    low, high = limits([row("", 1, 0.9)["expected"], row("", 1, 0.8)["expected"]])
    assert (low, high) == pytest.approx((0.77, 0.93))
    assert limits([row("", 1, 0.9)["expected"], row("", 1, 0.1)["expected"]])[0] == pytest.approx(0.5)
    assert limits([row("", 1, 1.0)["expected"]])[1] == 1.0


def test_without_a_latency_there_is_no_picture() -> None:
    assert front([row("a", None, 0.9)]) == "" == front([])
    assert places(front([row("a", None, 0.9), row("b", 1.0, 0.9)])).keys() == {"b"}


@pytest.mark.parametrize("seed", range(6))
def test_labels_keep_apart_and_off_the_dots_and_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [row(f"timm/{'n' * int(rng.integers(4, 20))}{i}", float(rng.uniform(5, 60)), float(rng.uniform(0.85, 0.97)))
            for i in range(12)]  # fmt: skip
    rows[3] |= {"knee": True, "front": True}
    svg = front(rows)
    shown = boxes(svg)
    assert len(shown) >= 6
    assert all(apart(a, b) for a, b in combinations(shown, 2))
    dots = [(x - 5, y - 5, x + 5, y + 5) for x, y in places(svg).values()]
    assert all(apart(a, b) for a in shown for b in dots)
    assert all(a[0] >= _front.LEFT and a[2] <= _front.WIDTH and a[1] >= 0 for a in shown)
    strong = [one.text for one in ElementTree.fromstring(svg).iter("text") if one.get("class") == "label strong"]
    assert strong == [rows[3]["backbone"].partition("/")[2]]


@pytest.mark.parametrize("latencies", [(8.0, 8.0, 8.0), (0.02, 3.0, 9000.0), (13.0, 14.0, 15.0)])
def test_times_on_the_axis_are_few_and_round(latencies: tuple[float, ...]) -> None:
    svg = ElementTree.fromstring(front([row(str(i), latency, 0.9) for i, latency in enumerate(latencies)]))
    words = [one.text for one in svg.iter("text") if one.get("class") == "tick" and one.get("text-anchor") == "middle"]
    assert 1 <= len(words) <= 8
    assert all(word.strip("0.")[0] in "125" for word in words)


def test_names_are_escaped() -> None:
    evil = "</svg><script>alert(1)</script>\"'&"
    svg = front([row(evil, 2.0, 0.9, front=True, knee=True)])
    assert "<script>" not in svg
    ElementTree.fromstring(svg)
