"""What to do next, read from the report: a few sentences, the most useful first."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from torchgraft.evaluate._classes import taken_for
from torchgraft.evaluate._format import count, percent, span, text
from torchgraft.evaluate._measures import of_pixels, scores

_MOST = 6

_GOOD_OVERLAP = 0.75
"""IoU from which on a weakest class needs no word: its outline is most of what is wrong."""


def next_steps(report: dict[str, Any]) -> list[str]:
    """At most six sentences of HTML."""
    steps = [
        *_ranked(report),
        *_findings(report),
        *_labels(report),
        *_more(report),
        *_weakest(report),
        *_unsure(report),
        *_no_test(report),
    ]
    return steps[:_MOST]


def _only_ranked(report: dict[str, Any]) -> bool:
    """Whether the page is about backbones alone: nothing was fitted."""
    return bool(report.get("ranking")) and not report.get("ladder")


def _ranked(report: dict[str, Any]) -> list[str]:
    if not _only_ranked(report):
        return []
    found = report["ranking"]
    name, where = found["advice"]["backbone"], report.get("data", {}).get("root") or "DATA"
    words = ["graft", "fit", name] if found.get("modality") == "array" else ["graft", "fit", where, "--backbone", name]
    return [f"<b>Fit on it:</b> <code>{text(shlex.join(words))}</code>"]


def _findings(report: dict[str, Any]) -> list[str]:
    rank = {"error": 0, "warning": 1}
    found = [f for f in report.get("data", {}).get("findings") or () if f.get("severity") in rank]
    found.sort(key=lambda f: rank[f["severity"]])
    words = " ".join(text(f["message"]) for f in found[:2])
    rest = f" And {len(found) - 2} more." if len(found) > 2 else ""
    return [f'<b>Look at <a href="#data">the data</a>.</b> {words}{rest}'] if found else []


def _labels(report: dict[str, Any]) -> list[str]:
    suspects = report.get("label_errors") or ()
    if not suspects:
        return []
    found = report.get("label_errors_found") or len(suspects)
    verb = "looks" if found == 1 else "look"
    shown = "listed below" if found <= len(suspects) else f"the {len(suspects)} likeliest are listed below"
    return [f'<b>Check {count(found, "label")}</b> that {verb} wrong (<a href="#labels">{shown}</a>), then fit again.']


def _more(report: dict[str, Any]) -> list[str]:
    curve = report.get("learning_curve") or {}
    return [f"<b>More labels?</b> {text(curve['sentence'])}"] if curve.get("sentence") else []


def _weakest(report: dict[str, Any]) -> list[str]:
    found, _ = scores(report)
    rows = [row for row in found.get("per_class") or () if row["support"] >= 5]
    if len(rows) < 2:
        return []
    return _least_overlap(rows, found) if of_pixels(found) else _least_found(rows)


def _least_found(rows: list[Any]) -> list[str]:
    worst = min(rows, key=lambda row: row["recall"]["value"])
    recall = worst["recall"]
    if recall["value"] >= 0.9:
        return []
    return [
        f"<b>{text(worst['class'])} is the weakest class.</b> Of {count(worst['support'], 'sample')} "
        f"{percent(recall['value'], 0)} were found [{span(recall)}]: label more of it first."
    ]


def _least_overlap(rows: list[Any], found: Mapping[str, Any]) -> list[str]:
    worst = min(rows, key=lambda row: row["iou"]["value"])
    if worst["iou"]["value"] >= _GOOD_OVERLAP:
        return []
    names = [row["class"] for row in found["per_class"]]
    own = names.index(worst["class"])
    name, iou = text(worst["class"]), worst["iou"]
    words = (
        f"<b>{name} is the weakest class.</b> IoU {percent(iou['value'])} [{span(iou)}]: "
        f"{percent(worst['accuracy']['value'], 0)} of its pixels are found, and of the pixels called {name} "
        f"{percent(worst['precision']['value'], 0)} are. "
    )
    if found.get("confusion"):
        other, share = taken_for(found["confusion"][own], own)
        words += f"{percent(share, 0)} of it is taken for {text(names[other])}. " if share >= 0.1 else ""
    return [words + "Label more images that show it first."]


def _unsure(report: dict[str, Any]) -> list[str]:
    rule = report.get("abstain") or {}
    if not rule or rule["threshold"] <= 0:
        return []
    return [
        f"<b>Let a person decide</b> where the confidence is under {rule['threshold']:.2f}: the other "
        f"{percent(rule['coverage'], 0)} were {percent(rule['accuracy'])} right on samples kept aside."
    ]


def _no_test(report: dict[str, Any]) -> list[str]:
    if report.get("test") or _only_ranked(report):
        return []
    if report.get("domains") and report.get("pictures"):
        return ["<b>Bring a test set</b> of the target with masks (<code>--test</code>): it tells how right it is."]
    if report.get("domains"):
        return [
            "<b>Label a few dozen samples of the target</b> and run again with <code>--few-labels</code>: they say "
            "more than any evidence without labels can. A test set (<code>--test</code>) tells how right it is."
        ]
    return [
        "<b>Bring a test set</b> (<code>--test</code>): these numbers come from samples that the choice was made on."
    ]
