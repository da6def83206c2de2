"""Pictures in the page: what is shown, what is never loaded, what is left out of the JSON."""

from __future__ import annotations

import re

import pytest

from torchgraft.evaluate._gallery import labels, mistakes, pictures, without_thumbnails

EVIL = "</script><img src=x onerror=alert(1)>\"'&"


def test_scenes_stand_in_rows_of_four_with_their_legend(dense_report) -> None:
    html = pictures(dense_report)
    assert html.startswith('<section id="pictures"><h2>What it sees</h2>')
    assert html.count('<div class="scene">') == 2 and html.count("<img ") == 8
    assert html.index("worst: mIoU 40.0 %") < html.index("best: mIoU 80.0 %")
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", html)
    assert captions == ["image", "truth", "answer", "wrong"] * 2
    assert html.count('class="swatch"') == 4 and "rgb(128 64 128)" in html
    assert "&lt;sky&gt;" in html and "a/&lt;1&gt;.png" in html and "<1>" not in html


@pytest.mark.parametrize("address", ["javascript:alert(1)", "https://x/y.png", "", None, 5])
def test_only_pictures_inside_the_page_are_shown(dense_report, address) -> None:
    first = dense_report["pictures"][0]
    first["pictures"][2]["thumbnail"] = address
    assert pictures({"pictures": [first]}).count("<img ") == 3
    for one in first["pictures"]:
        one["thumbnail"] = address
    assert pictures({"pictures": [first]}) == ""


def test_everything_that_names_is_escaped(dense_report) -> None:
    scene = {"id": EVIL, "note": EVIL, "pictures": [{"title": EVIL, "thumbnail": "data:image/" + EVIL}]}
    html = pictures({"pictures": [scene], "legend": [{"class": EVIL, "colour": EVIL}]})
    assert "<img src=x" not in html and html.count("<img ") == 1 and "swatch" not in html


def test_without_pictures_there_is_no_section(dense_report) -> None:
    for found in (None, [], [{}], [{"id": "a", "pictures": None}]):
        assert pictures({**dense_report, "pictures": found}) == ""
    assert mistakes({}) == labels({"label_errors": None}) == ""


def test_thumbnails_at_any_depth_are_left_out(dense_report) -> None:
    plain = without_thumbnails(dense_report["pictures"])
    assert plain[0] == {
        "id": "a/<1>.png",
        "note": "worst: mIoU 40.0 %",
        "pictures": [{"title": title} for title in ("image", "truth", "answer", "wrong")],
    }
    assert without_thumbnails(None) is None and without_thumbnails([{"a": 1, "thumbnail": "x"}]) == [{"a": 1}]


def test_mistakes_and_labels_are_cards() -> None:
    wrong = {"id": "a.jpg", "truth": "ant", "predicted": "bee", "confidence": 0.93, "text": "not a bee"}
    assert "said <b>bee</b><br>is <b>ant</b>" in mistakes({"mistakes": [wrong]})
    suspect = {"id": "a.jpg", "given": "ant", "suggested": "bee", "confidence": 0.9, "thumbnail": "data:image/x"}
    html = labels({"label_errors": [suspect], "label_errors_found": 9})
    assert "These are the 1 likeliest of 9." in html and '<img src="data:image/x"' in html
