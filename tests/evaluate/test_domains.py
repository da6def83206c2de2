"""The sections of a run with two domains: what they show, what they leave out, and that all text is escaped."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from torchgraft.evaluate import render
from torchgraft.evaluate._domains import domain_gap, tried

EVIL = "<b>ant</b> & 'co'"


def share(value: float) -> dict[str, float]:
    return {"value": value, "low": max(value - 0.1, 0), "high": min(value + 0.1, 1)}


def rung(i: int, method: str, *, changed: float, oracle: float | None = None, **more: Any) -> dict[str, Any]:
    metrics = {"source_accuracy": share(0.9), "changed": share(changed)}
    if oracle is not None:
        metrics["oracle_accuracy"] = share(oracle)
    row = {"rung": i, "method": method, "backbone": "array", "metrics": metrics, "seconds": 0.2, "chosen": False,
           "transfer": True, "passed": True, "note": "", "training": []}  # fmt: skip
    return {**row, **more}


@pytest.fixture
def report() -> dict[str, Any]:
    """As a run writes it: three rungs, a class whose gap is not known, a guard that was passed."""
    return {
        "schema": 1,
        "name": "pots",
        "data": {"modality": "array", "classes": [EVIL, "bee", "cat"], "counts": {"source": 4, "target": 3},
                 "findings": []},
        "domains": {
            "sources": ["coats.npz"],
            "gap": {"mmd2": 0.0421, "p": 0.005, "coral_distance": 0.1, "a_distance": 1.25, "temperature": 1.0,
                    "class_gaps": [0.5, 2.25, None], "prior_source": [0.5, 0.3, 0.2], "prior_target": [0.1, 0.2, 0.7],
                    "threshold": 0.5, "unsure_source": 0.1, "unsure_target": 0.2},
            "map": {"source": [[0.0, 0.0, 0], [10.0, 0.0, 1], [0.0, 5.0, 2], [10.0, 5.0, 0]],
                    "target": [[5.0, 2.5, 0], [10.0, 5.0, 1], [0.0, 0.0, 2]]},
            "tests": [{"name": "gap", "passed": True, "seen": "the domains differ"},
                      {"name": "agreement", "passed": False, "seen": "34 % side with <it>"}],
            "oracle": False,
        },
        "ladder": [
            rung(0, "source-only", changed=0.0, chosen=True),
            rung(1, "coral", changed=0.125, passed=False, note="a & b"),
            rung(2, "committee", changed=0.25, note="2 of 3 methods"),
        ],
        "verdict": {"rung": 0, "method": "source-only", "backbone": "array", "sentence": "Shipped: source-only."},
        "test": None,
    }  # fmt: skip


def cells(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", html, flags=re.S)
    return [re.findall(r"<t[dh]>(.*?)</t[dh]>", row, flags=re.S) for row in rows]


def test_nothing_is_shown_of_a_run_with_one_domain() -> None:
    assert domain_gap({"ladder": []}) == tried({"ladder": []}) == ""
    assert 'id="gap"' not in render({"schema": 1, "name": "x"})


def test_the_gap_hand_worked(report: dict) -> None:
    html = domain_gap(report)
    assert "The domains differ: MMD\u00b2 0.0421, p = 0.005" in html
    assert "A-distance 1.25" in html
    report["domains"]["gap"]["p"] = 0.4
    assert "No difference between the domains can be seen" in domain_gap(report)


def test_a_row_for_each_class_the_largest_gap_first(report: dict) -> None:
    head, *rows = cells(domain_gap(report))
    assert len(head) == 4
    assert rows == [
        ["bee", "2.25", "30.0\u00a0%", "20.0\u00a0%"],
        ["&lt;b&gt;ant&lt;/b&gt; &amp; &#x27;co&#x27;", "0.50", "50.0\u00a0%", "10.0\u00a0%"],
        ["cat", "", "20.0\u00a0%", "70.0\u00a0%"],
    ]


def test_many_classes_are_cut(report: dict) -> None:
    gap = report["domains"]["gap"]
    report["data"]["classes"] = [f"c{i}" for i in range(40)]
    gap["class_gaps"] = [i / 10 for i in range(40)]
    gap["prior_source"] = gap["prior_target"] = [1 / 40] * 40
    rows = cells(domain_gap(report))[1:]
    assert [row[0] for row in rows] == [f"c{i}" for i in range(39, 27, -1)]


def test_every_sample_of_the_map_is_inside_the_picture(report: dict) -> None:
    html = domain_gap(report)
    circles = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="(.*?)" cy="(.*?)"', html)]
    assert circles == [(12, 348), (548, 348), (12, 12), (548, 12)], "y grows upwards"
    assert html.count("<path") == 3
    colours = re.findall(r'stroke="hsl\((\d+) 65% 50%\)"', html)
    assert colours == ["0", "120", "240", "0", "0", "120", "240"], "a colour for each class in both domains"


def test_points_on_one_spot_and_no_map(report: dict) -> None:
    report["domains"]["map"] = {"source": [[1.0, 1.0, 0]], "target": [[1.0, 1.0, 1]]}
    assert 'cx="12.0" cy="348.0"' in domain_gap(report)
    report["domains"]["map"] = None
    assert "<svg" not in domain_gap(report)


def test_the_rungs_hand_worked(report: dict) -> None:
    head, *rows = cells(tried(report))
    assert head == ["method", "right in rehearsal", "target answered otherwise"]
    assert [re.sub(r"(<.*?>)+", "|", row[0]).strip("|") for row in rows] == [
        "source-only| |shipped", "coral| |sent out|a &amp; b", "committee|2 of 3 methods",
    ]  # fmt: skip
    assert "12.5\u00a0%" in rows[1][2] and "2.5\u2009\u2013\u200922.5" in rows[1][2]


def test_the_oracle_has_a_column_where_it_was_asked_for(report: dict) -> None:
    assert "oracle" not in tried(report)
    report["domains"]["oracle"] = True
    report["ladder"] = [rung(0, "source-only", changed=0, oracle=0.8), rung(1, "coral", changed=0.1, oracle=0.9)]
    head, *rows = cells(tried(report))
    assert head[-1] == "right on the target (oracle)"
    assert rows[1][-1].startswith("90.0\u00a0%")
    assert "It chose nothing" in tried(report)


def test_what_the_guard_said_is_escaped(report: dict) -> None:
    html = tried(report)
    assert "<li><b>gap</b>: passed; the domains differ</li>" in html
    assert "<li><b>agreement</b>: not passed; 34 % side with &lt;it&gt;</li>" in html
    assert "No label of the target was used" in html
    report["domains"]["tests"] = []
    assert "<li>" not in tried(report)


def test_labels_that_were_used_are_owned_up_to(report: dict) -> None:
    report["domains"]["tests"][1] = {"name": "labels", "passed": True, "seen": "+3.0 points"}
    assert "No label of the target" not in tried(report)


class Balanced(HTMLParser):
    """Every element that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in ("meta", "br", "link", "img", "input", "hr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_escapes_class_names(report: dict) -> None:
    before = copy.deepcopy(report)
    page = render(report)
    assert report == before
    assert "<b>ant</b>" not in page and "&lt;b&gt;ant&lt;/b&gt;" in page
    assert 'id="gap"' in page and 'id="tried"' in page
    parser = Balanced()
    parser.feed(page)
    assert not parser.open


def test_the_advice_is_to_label_a_few(report: dict) -> None:
    assert "--few-labels" in render(report)


def test_what_each_of_several_sources_counts(report: dict[str, Any]) -> None:
    assert "By source" not in domain_gap(report)
    report["domains"]["several"] = [
        {"name": EVIL, "samples": 30, "gap": 0.04, "weight": 1.0},
        {"name": "mugs", "samples": 20, "gap": 0.01, "weight": 4.0},
    ]
    html = domain_gap(report)
    assert EVIL not in html
    _, first, second, *_ = cells(html)
    assert first == ["mugs", "20", "0.0100", "4.0"] and second[1:] == ["30", "0.0400", "1.0"]


def many(n: int, chosen: int) -> list[dict[str, Any]]:
    """`n` rungs; the later one is, the better its rehearsal; the last but one was sent out."""
    rungs = [rung(i, f"m{i}", changed=0.1, chosen=i == chosen, passed=i != n - 2) for i in range(n)]
    for i, row in enumerate(rungs):
        row["metrics"]["source_accuracy"] = share(0.5 + 0.01 * i)
    return rungs


def names(html: str) -> list[str]:
    return re.findall(r"<td><b>(.*?)</b>", html)


def test_of_many_rungs_the_best_are_shown_and_the_rest_is_folded(report: dict[str, Any]) -> None:
    """Of 16: the first, the shipped, the last, and the three best that passed; nothing is lost, nothing comes twice."""
    report["ladder"] = many(16, chosen=3)
    shown, folded = tried(report).split("<details>")
    assert names(shown) == ["m0", "m3", "m11", "m12", "m13", "m15"]
    assert sorted(names(shown) + names(folded)) == sorted(f"m{i}" for i in range(16))
    assert "<summary>10 others that were tried</summary>" in folded and "</details>" in folded


def test_few_rungs_are_all_shown(report: dict[str, Any]) -> None:
    report["ladder"] = many(8, chosen=0)
    assert "<details>" not in tried(report)
    assert len(names(tried(report))) == 8


def test_rungs_without_a_rehearsal_fold_too(report: dict[str, Any]) -> None:
    report["ladder"] = many(9, chosen=4)
    for row in report["ladder"]:
        row["metrics"].pop("source_accuracy")
    shown, folded = tried(report).split("<details>")
    assert names(shown) == ["m0", "m1", "m2", "m3", "m4", "m8"] and names(folded) == ["m5", "m6", "m7"]
