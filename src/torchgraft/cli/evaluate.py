"""Measure a model on labelled data, or compare two models on the same data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from torchgraft.cli.base import JsonFlag, Terminal
from torchgraft.core.errors import OptionError

if TYPE_CHECKING:
    from torchgraft.data import Samples

EXAMPLES = (
    "graft evaluate runs/photos-1 new-photos/  # accuracy, F1, calibration, each class",
    "graft evaluate runs/photos-1 runs/photos-2 --data new-photos/  # is the second better beyond noise?",
    "graft evaluate runs/streets-1 streets/  # masks: mIoU, pixel accuracy, boundary F1, each class",
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
        str | None,
        typer.Option("--data", help="Labelled data: class folders, a table, a feature file, images with masks."),
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
    from torchgraft.cli._show import note_findings, show_pair, show_scores
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
    elif len(grafts) == 2:
        show_pair(terminal, scores, models)
    else:
        show_scores(terminal, scores)


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
