"""Numbers class by class: counts of samples, or shares of pixels."""

from __future__ import annotations

import html as markup
import re

import numpy as np

from torchgraft.evaluate import score
from torchgraft.evaluate._classes import numbers, taken_for


def _words(html: str) -> str:
    return re.sub(r"\s+", " ", markup.unescape(re.sub(r"<[^>]*>", " ", html))).replace("\u00a0", " ")


def test_what_a_class_is_taken_for() -> None:
    assert taken_for([5, 1, 4], 0) == (2, 0.4)
    assert taken_for([5, 1, 4], 2) == (0, 0.5)
    assert taken_for([0, 0], 1) == (0, 0.0)


def test_without_scores_there_is_no_section() -> None:
    assert numbers({}) == numbers({"test": None, "held_out": None}) == ""


def test_without_a_test_split_it_says_what_was_measured(dense_report) -> None:
    html = numbers(dense_report)
    assert html.startswith('<section id="held-out"><h2>On the held-out samples</h2>')
    words = _words(html)
    assert "There is no test split, so these are the held-out samples (a validation part)." in words
    value = dense_report["ladder"][2]["metrics"]["miou"]
    assert f"mIoU {100 * value['value']:.1f} % {100 * value['low']:.1f}" in words
    assert "boundary F1" not in words


def test_classes_of_pixels_are_bars_the_weakest_first(dense_report) -> None:
    html = numbers(dense_report)
    words = _words(html)
    table = words[words.index("By class") : words.index("What is taken for what")]
    assert table.index("pole") < table.index("road") < table.index("boat no pixel of it")
    assert "IoU recall precision of all pixels" in table
    assert "10.0 %" in table and "50.0 %" in table, "shares of pixels, not counts"
    assert html.count('<rect class="fill"') == 3 and html.count('<line class="reach"') == 3
    pole = dense_report["held_out"]["per_class"][2]["iou"]
    assert f'<rect class="fill" width="{100 * pole["value"]:.2f}%"' in html
    assert 'style="background:rgb(192 192 0)"' in html
    assert "<sky>" not in html and "&lt;sky&gt;" in html


def test_confusions_of_pixels_are_shares(dense_report) -> None:
    html = numbers(dense_report)
    row = dense_report["held_out"]["confusion"][2]
    words = _words(html)
    assert f"<b>pole</b> for <b>road</b> ({100 * row[0] / sum(row):.0f}\u00a0% of its pixels)" in html
    assert "Numbers are per cent of the truth's pixels." in words
    inside = re.findall(r'class="number [a-z]+"[^>]*>(\d+)<', html)
    assert inside and max(map(int, inside)) <= 100
    matrix = [[1000, 1, 0], [0, 500, 0], [0, 0, 0]]
    fine = numbers({**dense_report, "held_out": {**dense_report["held_out"], "confusion": matrix}})
    assert "No class is taken for another in more than 1 % of its pixels." in _words(fine)


def test_the_test_split_comes_first_and_has_outlines(tested_dense) -> None:
    words = _words(numbers(tested_dense))
    assert "On the test set Samples that were looked at once" in words and "no test split" not in words
    assert "IoU recall precision boundary F1 of all pixels" in words and words.count("61.0 %") == 4


def test_many_classes_of_pixels_fold_away(dense_report) -> None:
    rows = [{**dense_report["held_out"]["per_class"][0], "class": f"c{k}"} for k in range(25)]
    words = _words(
        numbers({**dense_report, "held_out": {**dense_report["held_out"], "per_class": rows, "confusion": None}})
    )
    assert "The 20 weakest of 25 classes." in words and "The other 5" in words


def test_classes_of_samples_are_counted() -> None:
    proba = np.array([[0.9, 0.1]] * 7 + [[0.2, 0.8]] * 5)
    words = _words(numbers({"test": score(np.array([0] * 8 + [1] * 4), proba, ("ant", "bee"))}))
    assert "precision recall F1 n" in words and "Most often mistaken: ant for bee (1)." in words
    assert "per cent" not in words and "accuracy 91.7 %" in words
