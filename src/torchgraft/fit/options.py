"""What `graft fit` can be told."""

from __future__ import annotations

from dataclasses import dataclass, field

from torchgraft.core.errors import OptionError, did_you_mean
from torchgraft.core.options import seconds

ENGINES = ("auto", "torch", "onnxruntime", "openvino")
CLASS_WEIGHTS = ("none", "balanced")


def _option(default: object, help: str) -> object:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """The options of one run; `run.toml` holds them, resolved. Times are like 90s, 10m, 1h.

    Raises `OptionError` that names every value that can't be used.
    """

    target: str = field(
        metadata={"help": "Your labelled data: a folder of class folders, a table of texts, or a feature file."}
    )
    test: str | None = _option(
        None, "Labelled data that is touched once, after the choice. Without it a part of TARGET is kept aside."
    )
    text: str | None = _option(None, "Column that holds the texts (tables). Found by itself where it is clear.")
    label: str | None = _option(None, "Column that holds the labels (tables, metadata files).")
    group: str | None = _option(
        None, "Column, or for image folders a regular expression on the path, naming what must stay in one split."
    )
    backbone: str = _option("auto", "Backbones to try, comma-separated (see `graft list backbones`), or auto.")
    method: str = _option("auto", "Methods to try, comma-separated (see `graft list methods`), or auto.")
    class_weight: str = _option("none", "none, or balanced: rare classes count as much as frequent ones.")
    budget: str = _option("10m", "Wall-clock time that a run may take.")
    engine: str = _option("auto", "What runs the backbone: auto (measured here), torch, onnxruntime or openvino.")
    seed: int = _option(0, "Seed of the splits and of every method.")
    out: str | None = _option(None, "Folder of the run. Default: runs/NAME-N.")

    def __post_init__(self) -> None:
        problems = [
            f"{flag} expects {' or '.join(known)}, got {value!r}.{did_you_mean(value, known)}"
            for flag, value, known in (
                ("--engine", self.engine, ENGINES),
                ("--class-weight", self.class_weight, CLASS_WEIGHTS),
            )
            if value not in known
        ]
        try:
            seconds(self.budget)
        except OptionError as error:
            problems.append(str(error))
        if not 0 <= self.seed < 2**32:
            problems.append(f"--seed expects a whole number from 0 to {2**32 - 1}, got {self.seed}.")
        if problems:
            raise OptionError(" ".join(problems))
