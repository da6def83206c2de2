"""What `graft rank` prints for people: the table, who was let go and why, the advice, what to type next."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from torchgraft.cli._show import estimate, show_findings, table
from torchgraft.evaluate import voters

if TYPE_CHECKING:
    from torchgraft.cli.base import Terminal
    from torchgraft.fit import Ranking, RankOptions

Row = Mapping[str, Any]

_LEFT = ("backbone", "licence", "")
"""Columns set flush left; all others hold numbers."""

_GOING = (
    *(
        "alike",
        "samples seen",
        "probe min",
        "samples /s",
        "M weights",
        "ImageNet %",
        "tune min",
        "licence",
        "kNN %",
        "MB",
    ),
    *("", "ms each"),
)
"""What goes first where the terminal is narrow, the least needed first; '' stands for the scores asked for."""

_STAYING = ("backbone", "% right [95 %]", "chance best", "")

_GAP = 2
"""Characters between two columns."""


def show_ranking(terminal: Terminal, ranking: Ranking, options: RankOptions, page: Path) -> None:
    """The findings, the table, who is not in it, the advice, and what to type next."""
    found = ranking.to_dict()
    show_findings(terminal, [dataclasses.asdict(one) for one in ranking.findings if one.severity != "note"])
    shown = columns(found["backbones"], terminal.out.width)
    terminal.show(drawn(found, shown))
    missing = [name for name in found["backbones"][0]["scores"] if name not in shown]
    if missing:
        terminal.show(f"no room for: {', '.join(missing)}: see the report, or --json")
    most = max(row["samples"] for row in found["backbones"])
    for row in found["backbones"]:
        if row["samples"] < most:
            terminal.show(Text(f"let go early: {row['backbone']}: {row['let_go']}", style="dim"))
    if most < found["samples"]:
        why = dict.fromkeys(row["let_go"] for row in found["backbones"] if row["samples"] == most and row["let_go"])
        terminal.show(f"ended after {most} of {found['samples']} samples: one was left (the others: {'; '.join(why)})")
    for one in found["skipped"]:
        terminal.show(f"left out: {one['backbone']}: {one['reason']}")
    terminal.show(found["advice"]["sentence"])
    terminal.show(f"\nReport  {page}\n")
    terminal.show(f"Next:   {following(found, options)}")


def drawn(found: Mapping[str, Any], columns: Mapping[str, Sequence[str]]) -> Table:
    """The backbones, best first: the one to start from green, those let go early dim."""
    numbers = tuple(_head(name) for name in columns if name not in _LEFT)
    shown = table(*map(_head, columns), right=numbers)
    rows = found["backbones"]
    most = max(row["samples"] for row in rows)
    for i, row in enumerate(rows):
        style = "bold green" if row["knee"] else "dim" if row["samples"] < most else ""
        shown.add_row(*(Text(cells[i]) for cells in columns.values()), style=style)
    shown.title = f"By {voters(rows)}, on {most} samples"
    shown.title_justify = "left"
    return shown


def columns(rows: Sequence[Row], width: int) -> dict[str, list[str]]:
    """Title -> cells, from left to right, in at most `width` characters: the least needed ones go where it is narrow.

    Names longer than two fifths of it stand in two or more lines.
    """
    found = _columns(rows)
    found["backbone"] = [_folded(name, max(2 * width // 5, 16)) for name in found["backbone"]]
    scores = [name for name in found if name not in (*_GOING, *_STAYING)][::-1]
    going = [name for known in _GOING for name in ([known] if known else scores) if name in found]
    while going and sum(_GAP + _width(name, cells) for name, cells in found.items()) - _GAP > width:
        del found[going.pop(0)]
    return found


def following(found: Mapping[str, Any], options: RankOptions) -> str:
    """The command that fits on the backbone to start from; for feature files, on that file."""
    name, arrays = found["advice"]["backbone"], found["modality"] == "array"
    words = ["graft", "fit", name if arrays else options.data]
    words += [] if arrays else ["--backbone", name]
    for flag in ("text", "label"):
        value = getattr(options, flag)
        words += [f"--{flag}", value] if value is not None else []
    return shlex.join(words)


def _columns(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Title -> the cells, from left to right; what is known of no row is no column."""
    asked = dict.fromkeys(name for row in rows for name in row["scores"])
    written: dict[str, Callable[[Row], str]] = {
        "backbone": lambda row: row["backbone"],
        "% right [95 %]": lambda row: estimate(row["accuracy"]),
        "kNN %": lambda row: f"{100 * row['knn']['value']:.1f}",
        "chance best": lambda row: f"{100 * row['chance_best']:.0f} %",
        **{name: lambda row, name=name: _number(row["scores"].get(name), "{:.3f}") or "-" for name in asked},
        "M weights": lambda row: _number(row["parameters"], "{:.1f}", 1e-6),
        "MB": lambda row: _number(row["bytes"] or None, "{:.1f}", 1e-6),
        "licence": lambda row: row["licence"] or "",
        "ms each": lambda row: _number(row["latency_ms"], "{:.1f}"),
        "samples /s": lambda row: _number(row["images_per_second"], "{:.0f}"),
        "ImageNet %": lambda row: _number(row["imagenet"], "{:.1f}"),
        "probe min": lambda row: _number(row["minutes_to_probe"], "{:.1f}"),
        "tune min": lambda row: _number(row["minutes_to_fine_tune"], "{:.1f}"),
        "alike": lambda row: _number(row["similarity"], "{:.2f}"),
        "samples seen": lambda row: str(row["samples"]) if len({one["samples"] for one in rows}) > 1 else "",
        "": lambda row: "pick" if row["knee"] else "",
    }
    cells = {name: [write(row) for row in rows] for name, write in written.items()}
    return {name: column for name, column in cells.items() if any(column)}


def _folded(name: str, most: int) -> str:
    """The name in lines of at most `most` letters, broken after a sign where there is one."""
    lines = []
    while len(name) > most:
        signs = [at + 1 for at, letter in enumerate(name[:most]) if letter in "/._-"]
        end = signs[-1] if signs else most
        lines.append(name[:end])
        name = name[end:]
    return "\n".join([*lines, name])


def _width(name: str, cells: Sequence[str]) -> int:
    return max(len(line) for text in (_head(name), *cells) for line in text.split("\n"))


def _head(name: str) -> str:
    """The title over two lines where it has two words and stands over numbers that are short."""
    return name if name == "% right [95 %]" else name.replace(" ", "\n")


def _number(value: float | None, form: str, scale: float = 1.0) -> str:
    return "" if value is None else form.format(scale * value)
