"""Which metric a report stands on, and what each metric is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Report = Mapping[str, Any]

TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "macro_f1": "macro F1",
    "miou": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean recall",
    "frequency_weighted_iou": "IoU by frequency",
    "boundary_f1": "boundary F1",
    "brier": "Brier score",
    "ece": "calibration error",
    "log_loss": "log loss",
}
"""Every metric's name for people, in the order in which they are shown."""

LOSSES = ("brier", "log_loss")
"""Metrics that are no shares."""

_MAIN = ("accuracy", "miou")
"""What a report that doesn't say it stands on: the first of these that its ladder has."""

_MEANING = {
    "miou": "IoU: of all pixels that the truth or the answer gives a class, the share on which both agree. "
    "mIoU: its mean over the classes, rare ones counting as much as frequent ones."
}


@dataclass(frozen=True)
class Main:
    """The metric that rungs are chosen by: its key in `metrics`, and its name for people."""

    metric: str
    title: str

    @property
    def opening(self) -> str:
        """The name as a sentence begins: `Accuracy`, but `mIoU`."""
        return self.title.capitalize() if self.title.islower() else self.title

    @property
    def meaning(self) -> str:
        """What it says, where that isn't plain from its name."""
        return _MEANING.get(self.metric, "")


def main_metric(report: Report) -> Main:
    """What the report says under `primary`; in older ones and those of a run under way, what the ladder has."""
    said = report.get("primary")
    if said:
        return Main(said["metric"], said.get("title") or TITLES.get(said["metric"], said["metric"]))
    measured = {name for rung in report.get("ladder") or () for name in rung.get("metrics") or ()}
    metric = next((name for name in _MAIN if name in measured), _MAIN[0])
    return Main(metric, TITLES[metric])


def chosen(report: Report) -> Mapping[str, Any] | None:
    """The row of the ladder that is shipped, or the best so far."""
    return next((rung for rung in report.get("ladder") or () if rung.get("chosen")), None)


def scores(report: Report) -> tuple[Mapping[str, Any], bool]:
    """What is known of each class, and whether it was measured on a test split: else on the held-out samples.

    Overall numbers of held-out samples are those of the ladder, so that one page says one interval.
    """
    if report.get("test"):
        return report["test"], True
    held = report.get("held_out") or {}
    return ({**held, **((chosen(report) or {}).get("metrics") or {})} if held else {}), False


def of_pixels(found: Mapping[str, Any]) -> bool:
    """Whether scores count pixels, whose number says nothing to people: shares are shown in place of counts."""
    return "pixel_accuracy" in found
