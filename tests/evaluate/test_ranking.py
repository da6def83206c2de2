"""The section "Which backbone": what it shows, what it leaves out, and that all text is escaped."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from torchgraft.evaluate import render
from torchgraft.evaluate._ranking import which_backbone

EVIL = "</script><img src=x onerror=alert(1)>\"'&"


def row(name: str, **more: Any) -> dict[str, Any]:
    estimate = {"value": 0.969, "low": 0.938, "high": 1.0}
    return {
        "backbone": name, "accuracy": estimate, "expected": estimate, "knn": estimate,
        "rank": 1.0, "chance_best": 0.25, "by": ["linear_probe", "knn", "h_score"],
        "samples": 194, "let_go": "", "parameters": 4_135_680,
        "bytes": 21_946_926, "licence": "Apache-2.0", "imagenet": 76.7,
        "latency_ms": 13.04, "images_per_second": 1711.0, "engine": "torch", "seconds": 0.7,
        "scores": {"logme": 0.1188, "leep": None}, "front": False, "knee": False, **more,
    }  # fmt: skip


@pytest.fixture
def report() -> dict[str, Any]:
    rows = [row("packaged/lite1", front=True, knee=True), row("packaged/lite2", let_go="in the lower half", samples=64)]
    found = {
        "backbones": rows, "advice": {"backbone": "packaged/lite1", "sentence": "Start from lite1."},
        "skipped": [{"backbone": "timm/large", "reason": "its size is 900 MB"}], "samples": 194,
        "classes": ["ants", "bees"], "modality": "image", "seconds": 3.0,
    }  # fmt: skip
    return {"name": "photos", "data": {"root": "my photos"}, "ranking": found}


def cells(html: str) -> list[list[str]]:
    """The rows of the table, as plain text."""
    lines = re.findall(r"<tr.*?</tr>", html, re.DOTALL)
    return [[re.sub(r"<[^>]+>", "", one) for one in re.findall(r"<t[hd].*?</t[hd]>", line)] for line in lines]


def test_the_table_has_a_row_for_each_and_a_column_for_all_that_is_known(report: dict[str, Any]) -> None:
    head, first, second = cells(which_backbone(report))
    assert head == [
        "", "right", "nearest neighbours", "chance best", "ms a sample", "ImageNet top-1", "logme", "leep",
    ]  # fmt: skip
    assert (
        first[0]
        == "packaged/lite1 start here4.1\u00a0M weights\u00a0\u00b7 22\u00a0MB\u00a0\u00b7 Apache-2.0\u00a0\u00b7 torch"
    )
    assert first[1].startswith("96.9\u00a0%") and "93.8" in first[1]
    assert first[3:] == ["25\u00a0%", "13.0 1,711 a second", "76.7\u00a0%", "0.119", "\u2013"]
    assert second[0].endswith("let go early: in the lower half")


def test_the_words_around_it(report: dict[str, Any]) -> None:
    html = which_backbone(report)
    assert "<h2>Which backbone</h2>" in html
    assert "<b>Start from lite1.</b>" in html
    assert "194 photos of 2 classes" in html
    assert "<b>timm/large</b>: its size is 900 MB" in html
    assert html.count('class="plot front"') == 1
    assert "trained ones may end in another order" in html


def test_the_note_names_the_table_where_it_counts(report: dict[str, Any]) -> None:
    said = "by a linear probe, the nearest neighbours, the H-score and the ImageNet table together, over draws of the "
    assert said not in which_backbone(report)
    first, second = report["ranking"]["backbones"]
    first["by"] += ["imagenet"]
    assert said + "samples and of how much each of these counts." in which_backbone(report)
    first["by"] = second["by"] = ["linear_probe", "knn"]
    assert "by a linear probe and the nearest neighbours together, over draws of the samples." in which_backbone(report)


def test_the_sentence_is_not_said_twice(report: dict[str, Any]) -> None:
    report["verdict"] = {"sentence": "Start from lite1."}
    assert render(report).split('<script type="application/json"')[0].count("Start from lite1.") == 1


def test_feature_files_are_dots_by_name(report: dict[str, Any]) -> None:
    unknown = dict.fromkeys(("parameters", "bytes", "licence", "imagenet", "latency_ms", "images_per_second", "engine"))
    found = report["ranking"]
    found |= {"modality": "array", "backbones": [{**one, **unknown} for one in found["backbones"]]}
    html = which_backbone(report)
    assert 'class="plot front"' not in html
    assert html.count('class="bar') == 2
    head, first, _ = cells(html)
    assert head == ["", "right", "nearest neighbours", "chance best", "logme", "leep"]
    assert first[0] == "packaged/lite1 start here"
    assert "194 samples" in html


def test_a_run_brings_backbones_and_advice_alone(report: dict[str, Any]) -> None:
    report["ranking"] = {key: report["ranking"][key] for key in ("backbones", "advice")}
    report["data"] = {"modality": "text", "classes": ["a", "b", "c"]}
    assert "194 texts of 3 classes" in which_backbone(report)
    report["data"] = {}
    html = which_backbone(report)
    assert "features, 194 samples: a linear probe and nearest neighbours." in html and "Left out" not in html


def test_without_a_ranking_there_is_no_section(report: dict[str, Any]) -> None:
    assert which_backbone({}) == which_backbone({"ranking": {"backbones": []}}) == ""
    del report["ranking"]
    assert "Which backbone" not in render(report)


def test_it_stands_after_the_ladder(report: dict[str, Any]) -> None:
    metrics = {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}}
    report["ladder"] = [{"rung": 0, "method": "lda", "backbone": "x", "metrics": metrics, "seconds": 1.0}]
    report["test"] = {"accuracy": metrics["accuracy"], "per_class": []}
    html = render(report)
    assert html.index("<h2>The ladder</h2>") < html.index("<h2>Which backbone</h2>") < html.index("<h2>On the test set")
    assert "Fit on it" not in html


def test_a_page_about_backbones_alone_says_what_to_type(report: dict[str, Any]) -> None:
    html = render(report)
    assert "<code>graft fit &#x27;my photos&#x27; --backbone packaged/lite1</code>" in html
    assert "--test" not in html.split('<script type="application/json"')[0]
    report["ranking"] |= {"modality": "array"}
    assert "<code>graft fit packaged/lite1</code>" in render(report)


def test_every_text_is_escaped_and_every_element_closed(report: dict[str, Any]) -> None:
    found = report["ranking"]
    found["advice"] = {"backbone": EVIL, "sentence": EVIL}
    found["skipped"] = [{"backbone": EVIL, "reason": EVIL}]
    found["backbones"][1] |= {"samples": 194}
    found["backbones"][0] |= {
        "backbone": EVIL,
        "licence": EVIL,
        "engine": EVIL,
        "let_go": EVIL,
        "samples": 9,
        "scores": {EVIL: 0.1},
    }
    given = copy.deepcopy(report)
    html = which_backbone(report)
    assert "<img" not in html and "<script" not in html
    closed(html)
    assert report == given


def closed(html: str) -> None:
    """Every element that is opened is closed, in order."""

    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag != "wbr":
                self.open.append(tag)

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            pass

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    reader = Reader()
    reader.feed(html)
    assert not reader.open
