"""What `graft fit` can be told."""

from __future__ import annotations

from dataclasses import dataclass, field


def _option(default: object, help: str) -> object:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """The options of one run; `run.toml` holds them, resolved. Times are like 90s, 10m, 1h."""

    target: str = field(metadata={"help": "Your labelled data: a folder of class folders, a table of texts, or a feature file."})
    test: str | None = _option(None, "Labelled data that is touched once, after the choice. Without it a part of TARGET is kept aside.")
    text: str | None = _option(None, "Column that holds the texts (tables). Found by itself where it is clear.")
    label: str | None = _option(None, "Column that holds the labels (tables, metadata files).")
    group: str | None = _option(None, "Column, or for image folders a regular expression on the path, naming what must stay in one split.")
    backbone: str = _option("auto", "Backbones to try, comma-separated (see `graft list backbones`), or auto.")
    method: str = _option("auto", "Methods to try, comma-separated (see `graft list methods`), or auto.")
    class_weight: str = _option("none", "none, or balanced: rare classes count as much as frequent ones.")
    budget: str = _option("10m", "Wall-clock time that a run may take.")
    engine: str = _option("auto", "What runs the backbone: auto (measured here), torch, onnxruntime or openvino.")
    seed: int = _option(0, "Seed of the splits and of every method.")
    out: str | None = _option(None, "Folder of the run. Default: runs/NAME-N.")
