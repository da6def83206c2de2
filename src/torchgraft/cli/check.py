"""Look a data set over: unreadable files, duplicates, leaks between splits, rare classes, odd labels."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from torchgraft.cli.base import JsonFlag, Terminal

EXAMPLES = (
    "graft check photos/  # the same check runs inside graft fit",
    "graft check train.csv --label category",
    "graft check photos/ --strict && graft fit photos/  # stop where there are errors",
)


def run(
    terminal: Terminal,
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="Class folders, a table of texts, or a feature file.", show_default=False),
    ],
    text: Annotated[str | None, typer.Option("--text", help="Column that holds the texts.")] = None,
    label: Annotated[str | None, typer.Option("--label", help="Column that holds the labels.")] = None,
    group: Annotated[
        str | None,
        typer.Option("--group", help="Column, or regular expression on the path, that names what belongs together."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End with exit code 2 where a finding is an error.")] = False,
    json: JsonFlag = False,
) -> None:
    """Reads every sample once. Nothing is changed on disk; what "graft fit" would leave out is said."""
    from torchgraft.cli._show import show_findings
    from torchgraft.data import ReadOptions, check, read

    samples = read(data, ReadOptions(text=text, label=label, group=group))
    kept, checked = check(samples, progress=terminal.progress)
    findings = [dataclasses.asdict(finding) for finding in (*samples.findings, *checked)]
    if json:
        terminal.show_json({"data": kept.spec().to_dict(), "findings": findings})
    else:
        counts = ", ".join(f"{name} {count}" for name, count in kept.spec().counts.items())
        classes = f"{len(kept.classes)} classes" if kept.classes else "no labels"
        terminal.show(f"{data}: {len(kept)} usable {kept.modality} samples ({counts}), {classes}.")
        show_findings(terminal, findings)
        terminal.show("" if findings else "Nothing to remark.")
    if strict and any(finding["severity"] == "error" for finding in findings):
        raise typer.Exit(2)
