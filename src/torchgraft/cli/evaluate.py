"""Measure a model on labelled data, or compare two models on the same data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchgraft.cli.base import JsonFlag, Terminal
from torchgraft.core.errors import OptionError

if TYPE_CHECKING:
    from torchgraft.data import Samples

EXAMPLES = (
    "graft evaluate runs/photos-1 new-photos/  # accuracy, F1, calibration, each class",
    "graft evaluate runs/photos-1 runs/photos-2 --data new-photos/  # is the second better beyond noise?",
    "graft evaluate runs/reviews-1 test.csv --label stars --json",
)


def run(
    terminal: Terminal,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL [MODEL2] [DATA]", help="A model and data; or two models, with --data.", show_default=False
        ),
    ],
    data: Annotated[
        str | None, typer.Option("--data", help="Labelled data: class folders, a table, a feature file.")
    ] = None,
    split: Annotated[
        str, typer.Option("--split", help="Part of the data: train, val, test, all; auto: test, else val, else all.")
    ] = "auto",
    text: Annotated[str | None, typer.Option("--text", help="Column that holds the texts.")] = None,
    label: Annotated[str | None, typer.Option("--label", help="Column that holds the labels.")] = None,
    json: JsonFlag = False,
) -> None:
    """Every number comes with its 95 % interval. Two models are compared sample by sample (paired), which sees much
    smaller differences than two separate intervals do.
    """
    models, where = _given(paths, data)
    from torchgraft.cli._show import note_findings
    from torchgraft.data import ReadOptions, read
    from torchgraft.model import load
    from torchgraft.serve import compare, evaluate, held_out

    grafts = [load(path) for path in models]
    samples, part = held_out(_labelled(terminal, read(where, ReadOptions(text=text, label=label))), split)
    terminal.progress.say(f"{len(samples)} samples of {where}" + (f", the {part} part" if part != "all" else ""))
    measure = compare if len(grafts) == 2 else evaluate
    scores, failed = measure(*grafts, samples, progress=terminal.progress)
    note_findings(terminal, failed)
    if json:
        terminal.show_json(scores)
    else:
        _show(terminal, scores, models)


def _given(paths: list[str], data: str | None) -> tuple[list[str], str]:
    """Which of the arguments are models, and where the data is."""
    if data is None and len(paths) == 2:
        return paths[:1], paths[1]
    if data is not None and len(paths) in (1, 2):
        return paths, data
    raise OptionError(
        f"expected MODEL DATA, or MODEL MODEL2 --data DATA; got {len(paths)} arguments{' and --data' if data else ''}."
    )


def _labelled(terminal: Terminal, samples: Samples) -> Samples:
    """The samples with a label, where there are any; the others are told of."""
    labelled = samples.y >= 0
    if labelled.all() or not labelled.any():
        return samples
    terminal.note(f"warning: {int((~labelled).sum())} samples have no label (left out)")
    return samples.take(labelled)


def _show(terminal: Terminal, scores: dict[str, Any], models: list[str]) -> None:
    from torchgraft.cli._show import estimate, show_changes, show_scores

    if len(models) == 1:
        show_scores(terminal, scores)
        return
    for name, key in zip(models, ("a", "b"), strict=True):
        terminal.show(
            f"{name}: accuracy {estimate(scores[key]['accuracy'])} %, macro F1 {estimate(scores[key]['macro_f1'])} %"
        )
    paired = scores["paired"]
    terminal.show(
        f"Difference in accuracy, second minus first: {estimate(paired['accuracy'])} points; "
        f"{paired['fixed']} samples are right with the second alone, {paired['broken']} with the first alone "
        f"(McNemar's p = {paired['p']:.3g})."
    )
    show_changes(terminal, paired)
    low, high = paired["accuracy"]["low"], paired["accuracy"]["high"]
    sure = (
        "The second is better."
        if low > 0
        else "The first is better."
        if high < 0
        else "The difference is within the noise."
    )
    terminal.show(sure)
