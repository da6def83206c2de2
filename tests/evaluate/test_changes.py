"""Before and after: each rung against the one before, and the shipped one against what it has to beat."""

from __future__ import annotations

import html as markup
import re
from typing import Any

import numpy as np
import pytest

from torchgraft.evaluate import paired
from torchgraft.evaluate._changes import before_after, class_name, turned

EVIL = "</script><img src=x onerror=alert(1)>\"'&"
METHODS = ("majority", "lda", "linear_probe", "lp_ft")


def _words(html: str) -> str:
    return re.sub(r"\s+", " ", markup.unescape(re.sub(r"<[^>]*>", " ", html)))


def _probabilities(y: np.ndarray, right: float, rng: np.random.Generator) -> np.ndarray:
    said = np.where(rng.random(len(y)) < right, y, (y + 1) % 3)
    return 0.1 + 0.7 * np.eye(3)[said]


@pytest.fixture
def report() -> dict[str, Any]:
    """Four rungs on 200 samples; the last one is shipped, compared as a run compares."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 3
    found = [_probabilities(y, right, rng) for right in (0.33, 0.7, 0.75, 0.9)]
    pairs = [(1, 0), (2, 1), (3, 2), (0, 3), (1, 3), (2, 3)]
    return {
        "data": {"classes": ["ant", "bee", "crane fly"]},
        "ladder": [
            {"rung": k, "method": name, "backbone": "" if not k else "b", "held_out": 200, "chosen": k == 3,
             "metrics": {"accuracy": {"value": (p.argmax(1) == y).mean(), "low": 0.0, "high": 1.0}}}
            for k, (name, p) in enumerate(zip(METHODS, found, strict=True))
        ],
        "comparisons": [{"rung": a, "against": b, **paired(y, found[b], found[a])} for a, b in pairs],
        "verdict": {"rung": 3},
    }  # fmt: skip


def test_a_comparison_turned_twice_is_itself(report) -> None:
    row = report["comparisons"][3]
    back = turned(turned(row))
    assert {key: row[key] for key in back} == back
    other = turned(row)
    assert (other["rung"], other["against"]) == (3, 0)
    assert other["accuracy"]["value"] == -row["accuracy"]["value"] > 0
    assert other["accuracy"]["low"] < other["accuracy"]["value"] < other["accuracy"]["high"]
    assert (other["fixed"], other["broken"]) == (row["broken"], row["fixed"])
    assert all(one["fixed"] > one["broken"] for one in other["gained"])


def test_every_step_and_the_shipped_rung_are_told(report) -> None:
    html = before_after(report)
    words = _words(html)
    shipped, _, steps = words.partition("Each rung against the one before")
    assert "lp_ft against linear_probe" in shipped and "lp_ft against majority" in shipped
    for now, before in ((1, 0), (2, 1), (3, 2)):
        assert f"{METHODS[now]} against {METHODS[before]}" in steps
    row = report["comparisons"][2]
    assert f"{row['fixed']} fixed, {row['broken']} broken p < 0.001" in steps
    value = f"+{100 * row['accuracy']['value']:.1f}"
    assert shipped.count(value) == 1 and value in steps
    best = row["gained"][0]
    assert f"{report['data']['classes'][best['class']]} +{best['fixed'] - best['broken']}" in steps


def test_the_majority_goes_off_the_line(report) -> None:
    html = before_after(report)
    assert html.count('class="away on"') == 2
    only = {**report, "comparisons": report["comparisons"][:1], "verdict": {}}
    assert 'class="away' not in before_after(only), "but not where it is all there is"


def test_losses_and_fewer_samples_are_said(report) -> None:
    report["ladder"][3]["held_out"] = 80
    report["comparisons"][2] = {**turned(report["comparisons"][2]), "rung": 3, "against": 2}
    words = _words(before_after(report))
    assert "lp_ft against linear_probe , on 80 samples" in words.replace(
        "against linear_probe,", "against linear_probe ,"
    )
    assert "lost:" in words and 'class="bar bad"' in before_after(report)


def test_the_same_method_twice_is_told_apart_by_its_backbone(report) -> None:
    report["ladder"][1]["method"], report["ladder"][1]["backbone"] = "linear_probe", "other"
    assert "linear_probe on b against linear_probe on other" in _words(before_after(report))


def test_many_classes_are_cut_short(report) -> None:
    gained = [{"class": c, "fixed": 9 - c, "broken": 0} for c in range(8)]
    report["comparisons"][1]["gained"] = gained
    assert "gained: ant +9, bee +8, crane fly +7 and 5 more" in _words(before_after(report))


def test_a_class_is_an_index_or_a_name() -> None:
    assert [class_name(c, ("ant", "bee")) for c in (1, "wasp", 7)] == ["bee", "wasp", "7"]


@pytest.mark.parametrize("missing", ["ladder", "comparisons"])
def test_without_data_there_is_no_section(report, missing) -> None:
    for changed in ({**report, missing: None}, {k: v for k, v in report.items() if k != missing}, {}):
        assert before_after(changed) == ""


def test_partial_data(report) -> None:
    bare = {**report, "verdict": None, "data": None}
    bare["comparisons"] = [{k: row[k] for k in ("rung", "against", "accuracy")} for row in report["comparisons"]]
    assert "Each rung against the one before" in before_after(bare)
    assert "The one that is shipped" not in before_after(bare)
    assert "lda against majority" in _words(before_after({**report, "ladder": report["ladder"][:2]}))


def test_names_are_escaped(report) -> None:
    report["data"]["classes"] = [EVIL] * 3
    for rung in report["ladder"]:
        rung.update(method=EVIL, backbone=EVIL)
    html = before_after(report)
    assert "<img" not in html and "&lt;img" in html


def test_differences_of_the_main_metric_are_told(dense_report) -> None:
    words = _words(before_after(dense_report))
    shipped, _, steps = words.partition("Each rung against the one before")
    assert "scene_lp_ft against pixel_probe" in shipped and "scene_lp_ft against pixel_majority" in shipped
    row = dense_report["comparisons"][3]
    value = f"+{100 * row['miou']['value']:.1f}"
    assert value in shipped and value in steps
    assert "fixed" not in words and "broken" not in words and "points its IoU changed" in words
    best = row["gained"][0]
    assert f"gained: {best['class']} +{100 * best['iou']['value']:.1f}" in steps
    assert before_after(dense_report).count('class="away on"') == 2, "the majority goes off the line"


def test_the_side_that_was_measured_is_taken(dense_report) -> None:
    row = dense_report["comparisons"][3]
    row["p"] = 0.0321
    assert _words(before_after(dense_report)).count("p = 0.032") == 2
    dense_report["comparisons"].pop()
    assert "p = " not in _words(before_after(dense_report)), "whether one is better says nothing of the other"


def test_a_comparison_of_pixels_turned_twice_is_itself(dense_report) -> None:
    row = dense_report["comparisons"][0]
    back = turned(turned(row))
    assert {key: row[key] for key in back} == back
    other = turned(row)
    assert other["miou"]["value"] == -row["miou"]["value"] > 0 and other["miou"]["low"] < other["miou"]["high"]
    assert [one["class"] for one in other["gained"]] == [one["class"] for one in row["lost"]]
    assert all(one["iou"]["low"] > 0 for one in other["gained"])


def test_rungs_without_the_main_metric_are_passed_over(dense_report) -> None:
    assert before_after({**dense_report, "primary": {"metric": "accuracy", "title": "accuracy"}}) == ""
    del dense_report["ladder"][0]["metrics"]["miou"]
    assert "pixel_majority" not in before_after(dense_report)
