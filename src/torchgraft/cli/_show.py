"""What verbs print for people: the ladder of a run, findings, scores."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from torchgraft.evaluate import LOSSES, TITLES

if TYPE_CHECKING:
    from torchgraft.cli.base import Terminal
    from torchgraft.data import Finding
    from torchgraft.fit import Run

_CHANGED = 8
"""Classes that are named as gained, and as lost."""

_PACKAGED = re.compile(r"(?<![^ /])packaged/")
"""The provider of a backbone that came with a package, which is left out of a table: so it fits 80 columns."""

_ACCURACY = {"metric": "accuracy", "title": "accuracy"}
"""What a report is about that doesn't say it."""

_TOLD = ("accuracy", "miou", "macro_f1", "pixel_accuracy", "boundary_f1")
"""Scores that a line about a model names, as far as it has them."""

_PIXEL_RATES = {"accuracy": "recall", "precision": "precision", "boundary_f1": "boundary F1"}
"""What is told of a class of pixels beside its IoU, as far as it is known."""

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    """An empty table; the columns named in `right` are set flush right."""
    drawn = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for i, name in enumerate(columns):
        drawn.add_column(
            name, justify="right" if name in right else "left", no_wrap=i == 0 or name in right, overflow="fold"
        )
    return drawn


def estimate(value: Mapping[str, float], *, percent: bool = True) -> str:
    """`93.5 [89.5, 96.7]` (percent), or three decimals."""
    if percent:
        return f"{100 * value['value']:.1f} [{100 * value['low']:.1f}, {100 * value['high']:.1f}]"
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def show_run(terminal: Terminal, run: Run) -> None:
    """The ladder, the verdict, the test result, where everything lies, and what to type next."""
    report = run.report.data
    show_findings(terminal, [one for one in report["data"]["findings"] if one["severity"] != "note"])
    terminal.show(_domains(report) if "domains" in report else _ladder(report))
    for one in report["skipped"]:
        terminal.show(f"left out: {one['method']}: {one['reason']}")
    for row in report["ladder"]:
        show_repairs(terminal, row)
    terminal.show(report["verdict"]["sentence"])
    if report["test"]:
        found = report["test"]
        n = f"{found['images']} images" if "images" in found else f"{sum(map(sum, found['confusion']))} samples"
        terminal.show(f"Test, touched once, {n}: {told(found)}.")
    elif "domains" in report:
        way = "--test" if "pictures" in report else "--test, or --few-labels"
        terminal.show(f"How right it is on the target was not measured: that takes labels ({way}).")
    model = shlex.quote(str(run.path))
    terminal.show(f"\nReport  {run.report.html}\nModel   {run.path / 'model'}\n")
    terminal.show(f"Next:   graft predict {model} {_something(report)}")


def show_findings(terminal: Terminal, findings: Iterable[Mapping[str, Any]]) -> None:
    """Each finding in a paragraph: how many, what, what was done, a few names."""
    for one in findings:
        terminal.show(
            Text.assemble((one["severity"], _COLOURS[one["severity"]]), f" {one['kind']}: ", one["message"], _done(one))
        )
        shown = one["examples"][:3]
        for name in shown:
            terminal.show(f"    {name}")
        if one["examples"] and one["count"] > len(shown):
            terminal.show(f"    ... {one['count']} in all")


def show_repairs(terminal: Terminal, row: Mapping[str, Any]) -> None:
    """One line for a rung whose training had to be repaired: how often, and why the first time."""
    repairs = [repair for history in row.get("training") or () for repair in history.get("repairs") or ()]
    if repairs:
        times = "once" if len(repairs) == 1 else f"{len(repairs)} times"
        first = "" if len(repairs) == 1 else "first: "
        terminal.show(f"repaired: {row['method']} {times}; {first}{repairs[0]['phase']}: {repairs[0]['reason']}")


def show_changes(terminal: Terminal, paired: Mapping[str, Any]) -> None:
    """Which classes gained and lost between two models that answered the same samples, the largest changes first."""
    for word in ("gained", "lost"):
        changed = [f"{one['class']} ({_change(one)})" for one in paired[word]]
        if changed:
            more = f", and {len(changed) - _CHANGED} more" if len(changed) > _CHANGED else ""
            terminal.show(f"{word:7}{', '.join(changed[:_CHANGED])}{more}")


def note_findings(terminal: Terminal, findings: Iterable[Finding]) -> None:
    """The same on stderr, a line each, for verbs whose stdout is data."""
    for one in findings:
        action = f" ({one.action})" if one.action else ""
        terminal.note(f"{one.severity}: {one.message}{action}")


def told(scores: Mapping[str, Any]) -> str:
    """The scores that matter most: `accuracy 93.5 [89.5, 96.7] %, macro F1 ...`."""
    return ", ".join(f"{TITLES[name]} {estimate(scores[name])} %" for name in _TOLD if name in scores)


def show_scores(terminal: Terminal, scores: Mapping[str, Any]) -> None:
    """The scores over all samples, then a row for each class."""
    for name, title in TITLES.items():
        if name in scores:
            share = name not in (*LOSSES, "ece")
            terminal.show(f"{title:18} {estimate(scores[name], percent=share)}{' %' if share else ''}")
    terminal.show(_of_pixels(scores["per_class"]) if "pixel_accuracy" in scores else _of_samples(scores["per_class"]))


def show_pair(terminal: Terminal, scores: Mapping[str, Any], names: Iterable[str]) -> None:
    """Two models on the same samples: `{"a": scores, "b": scores, "paired": how much better b is}`."""
    for name, key in zip(names, ("a", "b"), strict=True):
        terminal.show(f"{name}: {told(scores[key])}")
    paired = scores["paired"]
    main = next(name for name in _TOLD if name in paired)
    words = f"Difference in {TITLES[main]}, second minus first: {estimate(paired[main])} points"
    if "fixed" in paired:
        words += f"; {paired['fixed']} samples are right with the second alone, {paired['broken']} with the first alone"
        words += f" (McNemar's p = {paired['p']:.3g})"
    terminal.show(f"{words}.")
    show_changes(terminal, paired)
    if paired[main]["low"] > 0:
        terminal.show("The second is better.")
    elif paired[main]["high"] < 0:
        terminal.show("The first is better.")
    else:
        terminal.show("The difference is within the noise.")


def _of_samples(rows: Iterable[Mapping[str, Any]]) -> Table:
    numbers = ("precision", "recall", "F1", "samples")
    drawn = table("class", *numbers, right=numbers)
    for row in rows:
        cells = (estimate(row[name]) for name in ("precision", "recall", "f1"))
        drawn.add_row(Text(row["class"]), *cells, str(row["support"]))
    return drawn


def _of_pixels(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The weakest class first; intervals of the IoU alone, so that the table fits 80 columns."""
    rates = {name: title for name, title in _PIXEL_RATES.items() if name in rows[0]}
    numbers = ("IoU % [95 %]", *rates.values(), "of all pixels")
    drawn = table("class", *numbers, right=numbers)
    total = max(sum(row["support"] for row in rows), 1)
    for row in sorted(rows, key=lambda row: (not row["support"], row["iou"]["value"])):
        there = row["support"] > 0
        cells = [estimate(row["iou"]), *(f"{100 * row[name]['value']:.1f}" for name in rates)]
        cells = cells if there else [""] * len(cells)
        drawn.add_row(Text(row["class"]), *cells, f"{100 * row['support'] / total:.1f} %" if there else "none")
    return drawn


def _ladder(report: Mapping[str, Any]) -> Table:
    main = report.get("primary") or _ACCURACY
    right = "% right" if main["metric"] == "accuracy" else f"{main['title']} %"
    numbers = (f"{right} [95 %]", "s", "CPU")
    drawn = table("", "method", "backbone", *numbers, "", right=numbers)
    for row in report["ladder"]:
        style = "bold green" if row["chosen"] else ""
        cells = (
            str(row["rung"]),
            row["method"],
            _PACKAGED.sub("", row["backbone"]).replace("tuned/", "tuned ").replace(" + ", "\n"),
            estimate(row["metrics"][main["metric"]]),
            _seconds(row["seconds"]),
            _seconds(row.get("cpu_seconds")),
            "shipped" if row["chosen"] else "",
        )
        drawn.add_row(*map(Text, cells), style=style)
    held = report["data"]["held_out"]
    drawn.title = f"The ladder, measured by {held['how']} ({held['n']} samples)"
    drawn.title_justify = "left"
    return drawn


_TITLES = {
    "source_accuracy": "rehearsal % [95 %]",
    "source_miou": "rehearsal mIoU % [95 %]",
    "changed": "% otherwise",
    "oracle_accuracy": "oracle %",
    "oracle_miou": "oracle mIoU %",
}
"""What is shown of a rung that no label of the target was used for, as far as it was measured."""


def _domains(report: Mapping[str, Any]) -> Table:
    """The rungs of a run without labels of the target; the gap is the title where there is one."""
    gap = report["domains"].get("gap")
    main = (report.get("primary") or {}).get("metric", "accuracy")
    asked = (f"source_{main}", "changed", f"oracle_{main}")
    shown = [name for name in _TITLES if name in asked and name in report["ladder"][0]["metrics"]]
    numbers = (*(_TITLES[name] for name in shown), "s")
    drawn = table("", "method", *numbers, "", right=numbers)
    for row in report["ladder"]:
        values = [row["metrics"][name] for name in shown]
        cells = [
            estimate(v) if name.startswith("source_") else f"{100 * v['value']:.1f}"
            for name, v in zip(shown, values, strict=True)
        ]
        last = "shipped" if row["chosen"] else "" if row["passed"] else "sent out"
        cells = (str(row["rung"]), row["method"], *cells, _seconds(row["seconds"]), last)
        drawn.add_row(*map(Text, cells), style="bold green" if row["chosen"] else "")
    title = "'otherwise': answers on the target that differ from the first rung's"
    if gap:
        seen = "the domains differ" if gap["p"] < 0.05 else "no gap can be seen"
        title = (
            f"Gap: MMD\u00b2 {gap['mmd2']:.4f} (p = {gap['p']:.3f}), A-distance {gap['a_distance']:.2f} of 2: {seen}.\n"
            f"Rehearsed on the source; {title}"
        )
    drawn.title, drawn.title_justify = title, "left"
    return drawn


def _change(one: Mapping[str, Any]) -> str:
    """How much a class changed: in samples, or in points of the IoU."""
    if "fixed" in one:
        return f"{one['fixed']} fixed, {one['broken']} broken"
    return f"{100 * one['iou']['value']:+z.1f} points of IoU"


def _seconds(value: float | None) -> str:
    """`0.4`, `13`, `318`: short, so that the table fits 80 columns."""
    return "" if value is None else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _done(finding: Mapping[str, Any]) -> str:
    return f" ({finding['action']})" if finding["action"] else ""


def _something(report: Mapping[str, Any]) -> str:
    if "pictures" in report:  # answers are pictures too, one for each scene
        return "new-photos/ --out masks/"
    return {"image": "new-photos/ --out predictions.csv", "text": "new.csv --out predictions.csv"}.get(
        report["data"]["modality"], "new.npz"
    )
