import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from torchgraft.evaluate import (
    abstain,
    calibration,
    finite,
    fit_temperature,
    label_errors,
    learning_curve,
    paired,
    render,
    score,
    softmax,
    summary,
    worst_mistakes,
)

PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
RUNGS = (
    ("majority", "", False, 0.0, "always crane fly"),
    ("knn", "packaged/efficientnet_lite0", True, 2.1, "k = 7"),
    ("lda", "packaged/efficientnet_lite0", True, 2.5, "shrinkage 0.3"),
    ("linear_probe", "packaged/efficientnet_lite0", True, 2.9, "C = 0.1"),
    ("fusion", "packaged/efficientnet_lite0 + packaged/efficientnet_lite2", True, 3.1, "two backbones"),
)


def sample_report(classes=("ant", "bee", "crane fly", "dragonfly"), m=243, seed=4):
    """A report as a run on small photos of insects would write it."""
    rng = np.random.default_rng(seed)
    y = rng.choice(len(classes), size=m, p=np.linspace(2, 1, len(classes)) / np.linspace(2, 1, len(classes)).sum())
    noise = rng.normal(size=(m, len(classes)))
    logits = [s * np.eye(len(classes))[y] + noise + 0.4 * rng.normal(size=noise.shape) for s in (0, 2.2, 2.6, 3.4, 3.5)]
    y[:3] = (y[:3] + 1) % len(classes)  # three wrong labels
    probabilities = [softmax(z, fit_temperature(y, z)) for z in logits]
    ids = [f"{classes[c]}/IMG_{i:04d}.jpg" for i, c in enumerate(y)]
    shipped = 3
    ladder = [
        {
            "rung": k,
            "method": method,
            "backbone": backbone,
            "metrics": {name: e.to_dict() for name, e in summary(y, probabilities[k]).items()},
            "seconds": seconds,
            "chosen": k == shipped,
            "note": note,
            "transfer": transfer,
        }
        for k, (method, backbone, transfer, seconds, note) in enumerate(RUNGS)
    ]
    comparisons = [
        {"rung": k, "against": shipped, "beats": False, **paired(y, probabilities[shipped], probabilities[k])}
        for k in range(len(RUNGS))
        if k != shipped
    ]
    power = {n: np.clip(0.93 - 1.2 * n**-0.5 + rng.normal(0, 0.01), 0, 1) for n in range(1, m + 1)}
    return {
        "schema": 1,
        "task": "single_label",
        "name": "insects",
        "data": {
            "modality": "image",
            "task": "single_label",
            "classes": list(classes),
            "counts": {"train": m, "test": m},
            "root": "photos/insects",
            "content_hash": "8c1f5f0de2f24d0b8c6b",
            "findings": [
                {
                    "kind": "unreadable",
                    "severity": "warning",
                    "count": 3,
                    "message": "3 of 489 images can't be read.",
                    "action": "Left out.",
                    "examples": ["bee/10870992.jpg: truncated JPEG", "ant/broken.png: not an image"],
                },
                {
                    "kind": "leak",
                    "severity": "warning",
                    "count": 2,
                    "message": "2 test images are near copies of training images.",
                    "action": "Removed from test.",
                    "examples": ["test/bee/4.jpg = train/bee/19.jpg"],
                },
                {
                    "kind": "imbalance",
                    "severity": "note",
                    "count": 4,
                    "message": "The largest class has twice the smallest.",
                },
            ],
            "held_out": {"how": "5-fold cross-validation", "n": m},
        },
        "ladder": ladder,
        "comparisons": comparisons,
        "verdict": {
            "rung": shipped,
            "method": "linear_probe",
            "backbone": "packaged/efficientnet_lite0",
            "sentence": "A linear probe on EfficientNet-Lite0 is shipped: it beats everything simpler, "
            "and nothing that was tried beats it beyond noise.",
        },
        "calibration": calibration(y, logits[shipped]),
        "abstain": abstain(y, probabilities[shipped]),
        "learning_curve": learning_curve(np.arange(m), y, lambda rows: rng.random(m) < power[len(rows)], seed=1),
        "test": score(
            y,
            softmax(1.1 * (logits[shipped] + 0.2 * rng.normal(size=noise.shape)), fit_temperature(y, logits[shipped])),
            classes,
        ),
        "mistakes": [
            {**e, "thumbnail": PIXEL} for e in worst_mistakes(y, probabilities[shipped], classes, ids, limit=8)
        ],
        "label_errors": [
            {**e, "thumbnail": PIXEL} for e in label_errors(y, probabilities[shipped], classes, ids, limit=4)
        ],
        "skipped": [{"method": "full", "reason": "would take about 25 min; the budget is 10 min"}],
        "seconds": {"total": 41.3, "read and check": 3.2, "features": 24.8, "ladder": 11.9},
        "environment": {"python": "3.11.9", "torch": "2.13.0", "cores": "2"},
        "options": {"target": "photos/insects", "budget": "10m", "seed": 0, "test": None},
    }


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that what is opened is closed."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr", "wbr"})

    def __init__(self, page):
        super().__init__()
        self.stack, self.tags, self.attributes, self.words = [], [], [], ""
        self.feed(page)
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if not self.stack or self.stack[-1] not in ("script", "style"):
            self.words += data


@pytest.fixture(scope="module")
def report():
    return sample_report()


@pytest.fixture(scope="module")
def page(report):
    return render(report)


def test_the_page_says_the_verdict_first_and_holds_every_part(report, page):
    parsed = Page(page)
    words = parsed.words
    assert words.index(report["verdict"]["sentence"]) < words.index("What to do next") < words.index("The ladder")
    for part in ("On the test set", "Can its confidence be trusted?", "Would more labels help?", "The worst mistakes"):
        assert part in words
    assert report["learning_curve"]["sentence"] in words
    assert f"{100 * report['test']['accuracy']['value']:.1f}\u00a0%" in words
    assert "3 of 489 images can't be read." in words and "Left out." in words
    assert "the budget is 10 min" in words
    assert words.count("against the shipped rung") == len(RUNGS) - 1


def test_nothing_is_loaded_and_no_script_runs(page):
    parsed = Page(page)
    assert not {"link", "iframe", "object"} & set(parsed.tags)
    assert parsed.tags.count("script") == 1 and ("type", "application/json") in parsed.attributes
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    links = [value for name, value in parsed.attributes if name in ("src", "href")]
    assert all(link.startswith(("data:image/", "#")) for link in links)
    assert "url(" not in page and "@import" not in page
    assert dict(parsed.attributes)["http-equiv"] == "Content-Security-Policy"


def test_the_report_can_be_read_back_from_the_page(report, page):
    inner = re.search(r'<script type="application/json" id="report">(.*?)</script>', page, re.S)[1]
    back = json.loads(inner)
    assert back["verdict"] == report["verdict"] and back["test"] == report["test"]
    assert "thumbnail" not in back["mistakes"][0]


def test_names_labels_and_texts_are_escaped():
    evil = "</script><img src=x onerror=alert(1)>\"'&"
    report = sample_report(classes=(evil, "b", "c"), m=80)
    report["name"] = report["verdict"]["sentence"] = report["data"]["root"] = evil
    report["data"]["findings"][0].update(message=evil, action=evil, examples=[evil])
    report["ladder"][1].update(method=evil, note=evil, backbone=evil)
    report["skipped"][0].update(method=evil, reason=evil)
    report["options"] = report["environment"] = {evil: evil}
    report["learning_curve"]["sentence"] = evil
    report["mistakes"][0].update(id=evil, text=evil, thumbnail="javascript:alert(1)")
    report["label_errors"] = [{"id": evil, "given": evil, "suggested": evil, "confidence": 0.9, "text": evil}]
    page = render(report)
    assert "<img src=x" not in page and "javascript:" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)
    parsed = Page(page)
    assert parsed.tags.count("script") == 1
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert evil in parsed.words


@pytest.mark.parametrize(
    "missing", ["test", "learning_curve", "mistakes", "label_errors", "calibration", "abstain", "skipped"]
)
def test_a_missing_part_is_left_out(report, missing):
    for changed in ({**report, missing: None}, {k: v for k, v in report.items() if k != missing}):
        assert Page(render(changed)).words


def test_without_a_test_set_the_number_is_of_the_held_out_samples(report):
    words = Page(render({**report, "test": None})).words
    assert "held-out samples (5-fold cross-validation)" in words and "Bring a test set" in words
    assert "On the test set" not in words


def test_all_right_is_no_certainty(report):
    """The temperature then makes the calibration error of these samples larger, and the page says why."""
    y = np.tile([0, 1], 9)
    right = calibration(y, 900.0 * np.eye(2)[y])
    assert right["ece_after"] > right["ece_before"]
    assert "All 18 are right; the next may not be" in Page(render({**report, "calibration": right})).words
    assert "are right; the next may not be" not in Page(render(report)).words


def test_a_nearly_empty_report_renders():
    words = Page(render({"schema": 1, "name": "x", "verdict": {"sentence": "Nothing was fitted."}})).words
    assert "Nothing was fitted." in words


def test_many_classes_fold_away():
    classes = tuple(f"species {c:03d}" for c in range(60))
    words = Page(render(sample_report(classes=classes, m=600))).words
    assert "The 20 weakest of 60 classes" in words and "The other 40" in words


def test_texts_are_shown_as_quotes(report):
    mistakes = [{"id": "row 7", "truth": "good", "predicted": "bad", "confidence": 0.93, "text": "not bad at all"}]
    page = render({**report, "mistakes": mistakes})
    assert "<blockquote>not bad at all</blockquote>" in page


def test_cost_and_fewer_held_out_samples_stand_in_the_ladder(report, rung):
    plain = [{**row, "held_out": 243} for row in report["ladder"]]
    same = Page(render({**report, "ladder": plain})).words
    assert "the same for every rung, simplest first" in same and "of the 243" not in same
    words = Page(render({**report, "ladder": [*plain, {**rung, "rung": 5}]})).words.replace("\u00a0", " ")
    assert "on 200 of the 243 held-out samples" in words and "the same for every rung but where it is said" in words
    assert "CPU 1 min 03 s, 1.2 GB" in words


def test_sections_of_training_come_after_the_ladder(report, rung):
    steps = [{**row, "against": 0, "rung": 1} for row in report["comparisons"][:1]]
    report = {**report, "ladder": [*report["ladder"], {**rung, "rung": 5}]}
    words = Page(render({**report, "comparisons": [*report["comparisons"], *steps]})).words
    order = [words.index(title) for title in ("The ladder", "Before and after", "How it trained", "On the test set")]
    assert order == sorted(order)
    assert "Under way" not in words and "Running" not in words


def test_a_run_under_way_says_so_and_loads_itself(report, rung, make_history):
    running = {"what": "lp_ft, fold 2 of 5", "seconds": 75.0, "at": "12:03:05", "history": make_history("fold 2 of 5")}
    part = {key: report[key] for key in ("name", "data", "ladder")} | {"running": running}
    page = render(part)
    words = Page(page).words.replace("\u00a0", " ")
    assert '<meta http-equiv="refresh" content="5">' in page
    assert words.strip().startswith("insects: torchgraft report")
    assert "Running lp_ft, fold 2 of 5" in words and "1 min 15 s so far, written at 12:03:05" in words
    assert f"Nothing is decided yet: {len(RUNGS)} rungs measured so far." in words and "best so far" in words
    assert words.index("Under way: lp_ft, fold 2 of 5") < words.index("The ladder")
    assert "What to do next" not in words and "shipped against" not in words
    assert "Ended before it was done" in Page(render({**part, "running": {**running, "ended": "no space"}})).words
    assert "refresh" not in render({**part, "running": {**running, "ended": "no space"}})
    assert "refresh" not in render(report)


@pytest.mark.parametrize("running", [{"what": "x"}, {"seconds": 0.0}, {"history": {}}, {"history": {"legs": []}}])
def test_a_run_that_has_hardly_begun_renders(running):
    assert "Running" in Page(render({"name": "x", "running": running})).words


def test_numbers_that_json_has_no_word_for_become_null(report):
    values = {"a": [1.0, float("nan"), (float("inf"), "x")], "b": {"c": -float("inf"), "d": None, "e": True}}
    assert finite(values) == {"a": [1.0, None, [None, "x"]], "b": {"c": None, "d": None, "e": True}}
    page = render({**report, "more": values})
    inner = re.search(r'id="report">(.*?)</script>', page, re.S)[1]
    assert "NaN" not in inner and json.loads(inner)["more"] == finite(values)


def test_a_report_on_pixels_stands_on_its_own_metric(dense_report):
    words = Page(render(dense_report)).words.replace("\u00a0", " ")
    value = dense_report["ladder"][2]["metrics"]["miou"]["value"]
    assert f"{100 * value:.1f} %mIoU on 12 held-out samples (a validation part)" in words
    assert "mIoU on 12 held-out samples (a validation part), the same for every rung" in words
    assert words.count("against the shipped rung") == 2 and "worse: \u2212" in words
    for tile in ("pixel accuracy", "mean recall", "12held out"):
        assert tile in words
    order = ["What to do next", "What it sees", "The ladder", "Before and after", "On the held-out samples", "Details"]
    assert [words.index(one) for one in order] == sorted(words.index(one) for one in order)
    assert "Accuracy on" not in words and "macro F1" not in words


def test_a_test_split_of_pixels_counts_its_images(tested_dense):
    words = Page(render(tested_dense)).words
    assert "mIoU on 7 test images, looked at once" in words and "7of the test split" in words
    assert "boundary F1" in words and "On the held-out samples" not in words


def test_pictures_are_in_the_page_once(dense_report):
    page = render(dense_report)
    back = json.loads(re.search(r'id="report">(.*?)</script>', page, re.S)[1])
    assert back["pictures"][0]["pictures"][3] == {"title": "wrong"} and back["legend"] == dense_report["legend"]
    assert page.count("data:image/") == 8


def test_a_run_on_pixels_under_way(dense_report, make_history):
    part = {key: dense_report[key] for key in ("name", "data")}
    for rows in ([], dense_report["ladder"][:2]):
        running = {"what": "scene_lp_ft", "history": make_history("fold 1 of 1")}
        words = Page(render({**part, "ladder": rows, "running": running})).words
        assert "Under way: scene_lp_ft" in words and "Nothing is decided yet" in words
    assert "mIoU on 12 held-out samples" in words and "a quick check on a part of them" in words
