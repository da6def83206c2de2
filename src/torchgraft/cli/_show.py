"""What verbs print for people: the ladder of a run, findings, scores."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from torchgraft.cli.base import Terminal
    from torchgraft.data import Finding
    from torchgraft.fit import Run

_CHANGED = 8
"""Classes that are named as gained, and as lost."""

_PACKAGED = re.compile(r"(?<![^ /])packaged/")
"""The provider of a backbone that came with a package, which is left out of a table: so it fits 80 columns."""

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
        n = sum(map(sum, report["test"]["confusion"]))
        accuracy, f1 = (estimate(report["test"][name]) for name in ("accuracy", "macro_f1"))
        terminal.show(f"Test, touched once, {n} samples: accuracy {accuracy} %, macro F1 {f1} %.")
    elif "domains" in report:
        terminal.show("How right it is on the target was not measured: that takes labels (--test, or --few-labels).")
    model = shlex.quote(str(run.path))
    terminal.show(f"\nReport  {run.report.html}\nModel   {run.path / 'model'}\n")
    terminal.show(f"Next:   graft predict {model} {_something(report['data']['modality'])}")


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
        changed = [f"{one['class']} ({one['fixed']} fixed, {one['broken']} broken)" for one in paired[word]]
        if changed:
            more = f", and {len(changed) - _CHANGED} more" if len(changed) > _CHANGED else ""
            terminal.show(f"{word:7}{', '.join(changed[:_CHANGED])}{more}")


def note_findings(terminal: Terminal, findings: Iterable[Finding]) -> None:
    """The same on stderr, a line each, for verbs whose stdout is data."""
    for one in findings:
        action = f" ({one.action})" if one.action else ""
        terminal.note(f"{one.severity}: {one.message}{action}")


def show_scores(terminal: Terminal, scores: Mapping[str, Any]) -> None:
    """The scores over all samples, then a row for each class."""
    for name in ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1"):
        terminal.show(f"{name.replace('_', ' '):18} {estimate(scores[name])} %")
    for name in ("brier", "ece", "log_loss"):
        terminal.show(f"{name.replace('_', ' '):18} {estimate(scores[name], percent=False)}")
    numbers = ("precision", "recall", "F1", "samples")
    drawn = table("class", *numbers, right=numbers)
    for row in scores["per_class"]:
        cells = (estimate(row[name]) for name in ("precision", "recall", "f1"))
        drawn.add_row(Text(row["class"]), *cells, str(row["support"]))
    terminal.show(drawn)


def _ladder(report: Mapping[str, Any]) -> Table:
    numbers = ("% right [95 %]", "s", "CPU")
    drawn = table("", "method", "backbone", *numbers, "", right=numbers)
    for row in report["ladder"]:
        style = "bold green" if row["chosen"] else ""
        cells = (
            str(row["rung"]),
            row["method"],
            _PACKAGED.sub("", row["backbone"]).replace(" + ", "\n"),
            estimate(row["metrics"]["accuracy"]),
            _seconds(row["seconds"]),
            _seconds(row.get("cpu_seconds")),
            "shipped" if row["chosen"] else "",
        )
        drawn.add_row(*map(Text, cells), style=style)
    held = report["data"]["held_out"]
    drawn.title = f"The ladder, measured by {held['how']} ({held['n']} samples)"
    drawn.title_justify = "left"
    return drawn


_TITLES = {"source_accuracy": "rehearsal % [95 %]", "changed": "% otherwise", "oracle_accuracy": "oracle %"}
"""What is shown of a rung that no label of the target was used for, as far as it was measured."""


def _domains(report: Mapping[str, Any]) -> Table:
    """The rungs of a run without labels of the target; the gap is the title where there is one."""
    gap = report["domains"].get("gap")
    shown = [name for name in _TITLES if name in report["ladder"][0]["metrics"]]
    numbers = (*(_TITLES[name] for name in shown), "s")
    drawn = table("", "method", *numbers, "", right=numbers)
    for row in report["ladder"]:
        values = [row["metrics"][name] for name in shown]
        cells = [
            estimate(v) if name == "source_accuracy" else f"{100 * v['value']:.1f}"
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


def _seconds(value: float | None) -> str:
    """`0.4`, `13`, `318`: short, so that the table fits 80 columns."""
    return "" if value is None else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _done(finding: Mapping[str, Any]) -> str:
    return f" ({finding['action']})" if finding["action"] else ""


def _something(modality: str) -> str:
    return {"image": "new-photos/ --out predictions.csv", "text": "new.csv --out predictions.csv"}.get(
        modality, "new.npz"
    )
