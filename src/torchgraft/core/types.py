"""What crosses floors: estimates with intervals, the description of a data set, preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A measured number with its 95 % interval: low <= value <= high, in the metric's unit."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Plain numbers for `report.json`."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


State = tuple[dict[str, Any], "dict[str, np.ndarray]"]
"""A fitted part as plain values (for `graft.json`) and arrays (for `model.safetensors`); nothing in it is code."""

Result = Mapping[str, Estimate]
"""Metric name -> estimate: `{"accuracy": Estimate(0.94, 0.90, 0.97), ...}`."""


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """What a data set is, without its samples.

    `modality` is image, text or array; `task` the kind of label (single_label); `counts` the number of samples
    of each split; `content_hash` changes when any sample, label or split does.
    """

    modality: str
    task: str
    classes: tuple[str, ...]
    counts: Mapping[str, int]
    root: str
    content_hash: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `report.json`."""
        return {**asdict(self), "classes": list(self.classes), "counts": dict(self.counts)}


@dataclass(frozen=True, kw_only=True)
class ImagePreprocessing:
    """How a photo becomes the tensor that a backbone was trained on.

    The short side is resized to `resize` (antialiased, `interpolation` bicubic or bilinear), the centre
    `size` x `size` is cut out, scaled to [0, 1], and normalised as (x - mean) / std for each channel.
    """

    size: int
    resize: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    modality: str = field(default="image", init=False)


@dataclass(frozen=True, kw_only=True)
class TextPreprocessing:
    """How a text becomes tokens: the tokenizer's identity (content hash) and where it cuts."""

    tokenizer: str
    max_tokens: int
    modality: str = field(default="text", init=False)


Preprocessing = ImagePreprocessing | TextPreprocessing
