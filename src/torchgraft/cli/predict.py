"""Predict files, folders, tables or lines of text with a fitted model."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from torchgraft.cli.base import Terminal
from torchgraft.core.errors import DataError, OptionError, StorageError, UnknownName
from torchgraft.core.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torchgraft.model import Graft, SceneGraft
    from torchgraft.serve import Inputs, Item, MapRow, Row

EXAMPLES = (
    "graft predict runs/photos-1 new/ --out predictions.csv  # every photo below new/",
    "graft predict runs/photos-1 a.jpg b.jpg  # a table on stdout",
    "graft predict runs/reviews-1 new.csv --text comment --out predictions.jsonl",
    "graft predict runs/streets-1 new/ --out masks --overlay  # a mask for each image, and a picture of it",
    "echo 'how tall is it?' | graft predict runs/questions-1 -  # texts, one a line",
)

_FORMATS = ("csv", "jsonl")
_ROWS = "predictions.csv"
"""The file beside the maps."""


def run(
    terminal: Terminal,
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="The folder of a run, or of a saved model.", show_default=False)
    ],
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Photos or folders of them; tables or .txt files of texts; feature files; or - for texts on stdin.",
            show_default=False,
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option("--out", help="File to write (replaced in one step; default: stdout); for maps, a folder."),
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", help="csv or jsonl. Default: by the name of --out, else csv.")
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", help="Column that holds the texts. Found by itself where it is clear.")
    ] = None,
    label_shift: Annotated[
        bool,
        typer.Option("--label-shift", help="Classes may be more or less frequent here than in training: estimate it."),
    ] = False,
    adapt: Annotated[
        bool,
        typer.Option("--adapt", help="Photos look unlike those of training (another camera, blur): adapt to them."),
    ] = False,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Where answers are maps: also each image half covered with its map.")
    ] = False,
) -> None:
    """Write one row for each sample: id, label, confidence, abstained, the probability of every class, error.

    "abstained" marks samples that the model is not sure enough about (the threshold was set when it was fitted). A
    sample that can't be read gets a row with the reason, and is counted on stderr.

    A model of scenes writes a mask for each image into the folder --out instead: a PNG of the image's size whose values
    are classes and whose palette shows them in colour. predictions.csv beside them has a row for each image: the share
    of every class, and the mean confidence.
    """
    kind = _format(format, out)
    from torchgraft.cli._show import note_findings
    from torchgraft.model import load

    graft = load(model)
    if graft.gives == "map":
        _refuse_for_maps(out, {"--format": format, "--text": text, "--label-shift": label_shift, "--adapt": adapt})
        inputs = _inputs(paths, graft, None)
        counts = _write_maps(terminal, graft, inputs, Path(out), overlay)
    else:
        _refuse_for_rows(out, overlay=overlay, both=adapt and label_shift)
        inputs = _inputs(paths, graft, text)
        counts = _write(terminal, graft, _rows(terminal, graft, inputs.items, label_shift, adapt), kind, out)
    note_findings(terminal, inputs.findings)
    _sum_up(terminal, counts, out)


def _refuse_for_maps(out: str | None, given: Mapping[str, object]) -> None:
    """Raise `OptionError`, with all that is wrong, for what a model that gives maps can't do."""
    unused = [name for name, value in given.items() if value]
    wrong = [f"{', '.join(unused)} can't be used with it"] if unused else []
    if out is None:
        wrong.append("--out FOLDER is needed, to write them into")
    elif Path(out).exists() and not Path(out).is_dir():
        wrong.append(f"--out {out} is a file, and a folder is needed to write them into")
    if wrong:
        raise OptionError(f"this model answers each image with a map of classes: {'; '.join(wrong)}.")


def _refuse_for_rows(out: str | None, *, overlay: bool, both: bool) -> None:
    if both:
        raise OptionError("--adapt and --label-shift each explain all of the change by one cause. Give one of them.")
    if overlay:
        raise OptionError("--overlay draws maps; this model gives each sample one label. Leave it out.")
    if out and Path(out).is_dir():
        raise OptionError(f"--out {out} is a folder. Expected the name of a file to write.")


def _inputs(paths: list[str], graft: Graft | SceneGraft, text: str | None) -> Inputs:
    from torchgraft.data import ReadOptions
    from torchgraft.serve import open_inputs

    stdin = sys.stdin.buffer if "-" in paths else None
    return open_inputs(paths, graft.modality, options=ReadOptions(text=text), stdin=stdin)


def _rows(terminal: Terminal, graft: Graft, items: Iterable[Item], label_shift: bool, adapt: bool) -> Iterable[Row]:
    from torchgraft import serve

    if adapt:
        rows, done = serve.adapted(graft, items, progress=terminal.progress)
        terminal.note(done)
        return rows
    rows = serve.predict(graft, items, progress=terminal.progress)
    if label_shift:
        rows, prior = serve.shifted(graft, rows)
        shares = zip(graft.classes, graft.prior, prior, strict=True)
        terminal.progress.say("Class frequencies: " + ", ".join(f"{c} {a:.0%} -> {b:.0%}" for c, a, b in shares))
    return rows


def _write(terminal: Terminal, graft: Graft, rows: Iterable[Row], kind: str, out: str | None) -> dict[str, int]:
    from torchgraft import serve

    write = serve.write_jsonl if kind == "jsonl" else serve.write_csv
    counts = {"predicted": 0, "abstained": 0, "unreadable": 0}
    with _stream(out) as stream:
        for row in write(stream, rows, graft.classes):
            _count(terminal, counts, row)
    return counts


def _write_maps(terminal: Terminal, graft: SceneGraft, inputs: Inputs, folder: Path, overlay: bool) -> dict[str, int]:
    from torchgraft import serve

    counts = {"predicted": 0, "abstained": 0, "unreadable": 0}
    rows = serve.predict_maps(
        graft, inputs.items, folder, root=inputs.root, overlay=overlay, progress=terminal.progress
    )
    with _stream(str(folder / _ROWS), keep=True) as stream:
        for row in serve.write_maps_csv(stream, rows, graft.classes):
            _count(terminal, counts, row)
    return counts


def _count(terminal: Terminal, counts: dict[str, int], row: Row | MapRow) -> None:
    counts["abstained"] += getattr(row, "abstained", False)
    counts["unreadable" if row.error else "predicted"] += 1
    if row.error and counts["unreadable"] <= 10:
        terminal.note(f"unreadable: {row.id}: {row.error}")


def _sum_up(terminal: Terminal, counts: dict[str, int], out: str | None) -> None:
    if not counts["predicted"]:
        raise DataError(f"nothing could be predicted: {counts['unreadable']} samples given, none readable.")
    parts = [f"{counts['predicted']} predicted"]
    parts += [f"{counts['abstained']} of them abstained on"] if counts["abstained"] else []
    parts += [f"{counts['unreadable']} unreadable"] if counts["unreadable"] else []
    terminal.progress.say(", ".join(parts) + (f" -> {out}" if out else ""))


def _format(asked: str | None, out: str | None) -> str:
    if asked is None:
        return "jsonl" if out and Path(out).suffix.lower() in (".jsonl", ".ndjson") else "csv"
    if asked not in _FORMATS:
        raise UnknownName("--format", asked, _FORMATS)
    return asked


@contextmanager
def _stream(out: str | None, *, keep: bool = False) -> Iterator[IO[str]]:
    """Standard output, or a file that takes its place when all is written; names that are not UTF-8 pass unchanged.

    `keep`: what was written before it was stopped takes its place too.
    """
    if out is None:
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")  # type: ignore[union-attr]
        yield sys.stdout
        return
    stopped = None
    with (
        replacing(Path(out)) as draft,
        draft.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        try:
            yield stream
        except (KeyboardInterrupt, StorageError) as error:
            if not keep:
                raise
            stopped = error
        stream.flush()
        os.fsync(stream.fileno())
    if stopped:
        raise stopped
