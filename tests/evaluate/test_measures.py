"""The metric that a page stands on."""

from __future__ import annotations

import pytest

from torchgraft.evaluate._measures import Main, chosen, main_metric, of_pixels, scores


@pytest.mark.parametrize(
    ("report", "metric", "title"),
    [
        ({}, "accuracy", "accuracy"),
        ({"primary": None, "ladder": None}, "accuracy", "accuracy"),
        ({"primary": {"metric": "miou", "title": "mIoU"}}, "miou", "mIoU"),
        ({"primary": {"metric": "miou"}}, "miou", "mIoU"),
        ({"primary": {"metric": "rmse", "title": "error"}}, "rmse", "error"),
        ({"ladder": [{"metrics": {"accuracy": {}, "ece": {}}}]}, "accuracy", "accuracy"),
        ({"ladder": [{"metrics": {"pixel_accuracy": {}, "miou": {}}}]}, "miou", "mIoU"),
        ({"ladder": [{"metrics": {"source_accuracy": {}}}, {}]}, "accuracy", "accuracy"),
    ],
)
def test_the_main_metric(report, metric, title) -> None:
    assert main_metric(report) == Main(metric, title)


def test_a_name_begins_a_sentence_as_it_is_written() -> None:
    assert [Main("", title).opening for title in ("accuracy", "mIoU", "IoU")] == ["Accuracy", "mIoU", "IoU"]
    assert Main("miou", "mIoU").meaning and not Main("accuracy", "accuracy").meaning


def test_scores_are_of_the_test_split_else_of_what_was_held_out() -> None:
    test, held = {"miou": 1, "images": 3}, {"miou": 2, "per_class": []}
    assert scores({"test": test, "held_out": held}) == (test, True)
    assert scores({"test": None, "held_out": held}) == (held, False)
    ladder = [{"metrics": {"miou": 4}}, {"metrics": {"miou": 3}, "chosen": True}]
    assert scores({"held_out": held, "ladder": ladder}) == ({"miou": 3, "per_class": []}, False), "as the ladder says"
    assert scores({}) == ({}, False)
    assert chosen({"ladder": ladder}) is ladder[1] and chosen({}) is None


def test_what_counts_pixels() -> None:
    assert of_pixels({"pixel_accuracy": {}}) and not of_pixels({"accuracy": {}})
