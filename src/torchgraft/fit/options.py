"""What `graft fit` and `graft rank` can be told."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torchgraft.backbones import SIZES
from torchgraft.core.errors import OptionError, did_you_mean
from torchgraft.core.options import latency, seconds, size
from torchgraft.fit import plan

ENGINES = ("auto", "torch", "onnxruntime", "openvino")
CLASS_WEIGHTS = ("none", "balanced")
LICENCES = ("any", "permissive")
DOWNLOADS = ("", *SIZES)


def _option(default: object, help: str, flag: str = "") -> object:
    return field(default=default, metadata={"help": help, "flag": flag})


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
    source: tuple[str, ...] = _option(
        (), "Labelled data of another domain, same classes; TARGET's own labels are then not looked at. Repeatable."
    )
    from_model: str | None = _option(
        None, "A model to adapt to TARGET, whose labels are not looked at; without the data it was fitted on.", "--from"
    )
    few_labels: str | None = _option(
        None, "With --source or --from: a few labelled samples like TARGET, which decide at the end."
    )
    oracle_labels: bool = _option(
        False, "With --source: print how right each rung is on TARGET's own labels. For benchmarks; chooses nothing."
    )
    text: str | None = _option(None, "Column that holds the texts (tables). Found by itself where it is clear.")
    label: str | None = _option(None, "Column that holds the labels (tables, metadata files).")
    group: str | None = _option(
        None, "Column, or for image folders a regular expression on the path, naming what must stay in one split."
    )
    backbone: str = _option("auto", "Backbones to try, comma-separated (see `graft list backbones`), or auto.")
    max_latency: str = _option(
        "", "With --backbone auto: leave out what takes longer for one sample on this machine, like 20ms."
    )
    max_size: str = _option("", "With --backbone auto: leave out weights that are larger, like 20MB.")
    licence: str = _option("any", "With --backbone auto: any, or permissive (Apache, MIT, BSD and the like).")
    method: str = _option(
        "auto",
        "Methods to try, comma-separated, or auto: `graft list methods`; with --source `graft list alignments` and "
        "adaptations; with --from shot, adabn and tent.",
    )
    class_weight: str = _option("none", "none, or balanced: rare classes count as much as frequent ones.")
    rate: float = _option(
        0.0, "Learning rate of methods that train (0: found by trials; with --source and --from the method's own)."
    )
    epochs: int = _option(
        0, "Epochs of methods that train (0: as many as pay and fit the budget; --source, --from: the method's own)."
    )
    settings: str = _option(
        "",
        "Other settings of methods, those of --source and --from too: layer_decay=0.65,ema=0.99 (see `graft list "
        "METHOD`).",
    )
    budget: str = _option("10m", "Wall-clock time that a run may take.")
    engine: str = _option("auto", "What runs the backbone: auto (measured here), torch, onnxruntime or openvino.")
    seed: int = _option(0, "Seed of the splits and of every method.")
    out: str | None = _option(None, "Folder of the run. Default: runs/NAME-N.")

    def __post_init__(self) -> None:
        problems = [
            *_unknown("--engine", self.engine, ENGINES),
            *_unknown("--class-weight", self.class_weight, CLASS_WEIGHTS),
            *_unknown("--licence", self.licence, LICENCES),
            *_unreadable(seconds, self.budget),
            *_unreadable(latency, self.max_latency),
            *_unreadable(size, self.max_size),
            *([] if self.from_model else plan.unknown(self.method, source=bool(self.source))),
            *_unreadable(lambda _: self.for_methods(), self.settings),
        ]
        limited = self.max_latency or self.max_size or self.licence != "any"
        if limited and (self.backbone != "auto" or self.source or self.from_model):
            problems.append(
                "--max-latency, --max-size and --licence go with --backbone auto, and with labels of TARGET: "
                "elsewhere nothing is ranked."
            )
        if not 0 <= self.rate < 1:
            problems.append(f"--rate expects a number from 0, below 1, got {self.rate!r}.")
        if self.epochs < 0:
            problems.append(f"--epochs expects a whole number from 0, got {self.epochs}.")
        if not 0 <= self.seed < 2**32:
            problems.append(f"--seed expects a whole number from 0 to {2**32 - 1}, got {self.seed}.")
        if self.source and self.from_model:
            problems.append("--source and --from are two ways: adapt with the source's data, or from a model alone.")
        if self.few_labels and not (self.source or self.from_model):
            problems.append("--few-labels goes with --source or --from: without these TARGET's labels are used.")
        if self.few_labels and self.test and Path(self.few_labels).resolve() == Path(self.test).resolve():
            problems.append("--few-labels and --test name the same data: what decides cannot tell how right it is.")
        if self.oracle_labels and not self.source:
            problems.append("--oracle-labels goes with --source.")
        if problems:
            raise OptionError(" ".join(problems))

    def for_methods(self) -> dict[str, Any]:
        """What methods are told: class weight, and rate, epochs and other settings where they were given.

        Raises `OptionError` where `settings` is not name=value, comma-separated.
        """
        values: dict[str, Any] = {"class_weight": self.class_weight}
        values |= {name: value for name in ("rate", "epochs") if (value := getattr(self, name))}
        for piece in filter(None, (piece.strip() for piece in self.settings.split(","))):
            name, equals, value = (part.strip() for part in piece.partition("="))
            if not equals or not name or not value:
                raise OptionError(f"--settings expects name=value,name=value, got {piece!r}.")
            values[name.replace("-", "_")] = plain(value)
        return values


@dataclass(frozen=True, kw_only=True)
class RankOptions:
    """The options of a ranking. Raises `OptionError` that names every value that can't be used."""

    data: str = field(
        metadata={"help": "Your labelled data: a folder of class folders, a table of texts, or a feature file."}
    )
    text: str | None = _option(None, "Column that holds the texts (tables).")
    label: str | None = _option(None, "Column that holds the labels (tables, metadata files).")
    backbones: str = _option(
        "auto",
        "Backbones, comma-separated, or auto: all that need no download. For a feature file: others with the same "
        "samples in the same order.",
    )
    download: str = _option("", "Also well-kept backbones of this size from their hubs: small, medium or large.")
    yes: bool = _option(False, "With --download: fetch what is not here without asking.")
    scores: str = _option("", "Other scores to print, comma-separated (see `graft list scores`), or all.")
    max_latency: str = _option("", "Leave out what takes longer for one sample on this machine, like 20ms.")
    max_size: str = _option("", "Leave out weights that are larger, like 20MB.")
    licence: str = _option("any", "any, or permissive (Apache, MIT, BSD and the like).")
    full: bool = _option(False, "Every backbone on all samples, instead of letting the hopeless ones go early.")
    budget: str = _option("2m", "Wall-clock time that the ranking may take.")
    engine: str = _option("auto", "What runs the backbones: auto, torch, onnxruntime or openvino.")
    seed: int = _option(0, "Seed of the draws and folds.")
    out: str | None = _option(None, "Folder of the report. Default: runs/NAME-rank-N.")

    def __post_init__(self) -> None:
        problems = [
            *_unknown("--engine", self.engine, ENGINES),
            *_unknown("--licence", self.licence, LICENCES),
            *_unknown("--download", self.download, DOWNLOADS),
            *_unreadable(seconds, self.budget),
            *_unreadable(latency, self.max_latency),
            *_unreadable(size, self.max_size),
        ]
        if not 0 <= self.seed < 2**32:
            problems.append(f"--seed expects a whole number from 0 to {2**32 - 1}, got {self.seed}.")
        if problems:
            raise OptionError(" ".join(problems))


def _unknown(flag: str, value: str, known: tuple[str, ...]) -> list[str]:
    if value in known:
        return []
    return [f"{flag} expects {' or '.join(filter(None, known))}, got {value!r}.{did_you_mean(value, known)}"]


def _unreadable(parse: Callable[[str], Any], text: str) -> list[str]:
    try:
        parse(text)
    except OptionError as error:
        return [str(error)]
    return []


def plain(text: str) -> Any:
    """A number or true/false where the text is one, as TOML spells them."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
