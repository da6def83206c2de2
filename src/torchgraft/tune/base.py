"""What a method for a labelled target is given, and what it gives back.

A method is one file in this room. It offers:

- `Options`: a frozen, keyword-only dataclass of what can be set (its docstring lists units and ranges);
- `fit(problem: Problem, options: Options) -> Candidate` (of dense tasks: `DenseCandidate`);
- `TRANSFER: bool`: whether it uses a pretrained network;
- `applies(problem: Problem) -> str`: empty where the method can run, else the reason why not, for people;
- `AUTO: bool` (left out: True): whether it is tried without being asked for by name;
- `FLOOR: bool` (left out: False): whether it looks at no sample, so that anything better than it is shipped instead;
- `TASK: str` (left out: single_label): what labels it learns from;
- `TRAINS: bool` (left out: False): whether it trains a backbone. Such a method is given one source, the best at hand;
- `LOOKS: bool` (left out: False): whether it runs a frozen backbone over the samples once more; it is given one, too.

`fit` is deterministic: the same problem and options give the same candidate to the bit on one machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from torchgraft.backbones import Backbone
from torchgraft.core.journal import Journal
from torchgraft.core.progress import SILENT, Progress
from torchgraft.data import Masks
from torchgraft.model import Decoder, Head, Part, Tuned

Fold = tuple[np.ndarray, np.ndarray]
"""(rows to fit on, rows held out), both positions in 0..N-1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Resources:
    """What a method that trains a backbone needs beside features.

    `backbones`: the networks behind the dense blocks, by source, and `poolings` how each is pooled. `folder`: where
    checkpoints go (None: nowhere), `logs`: where trackers write (None: beside these). `deadline`: the
    `time.monotonic()` by which the method has to be done. `engine`: what runs frozen networks. `journal`: asked for
    whatever the clock decides. `on_leg`: told plain values (see `train.History.to_dict`) while it trains. `shared`:
    what one method found that others begin at, by a name that says all it depends on.
    """

    backbones: Mapping[str, Backbone]
    poolings: Mapping[str, str]
    folder: Path | None = None
    logs: Path | None = None
    deadline: float = float("inf")
    engine: str = "auto"
    journal: Journal = field(default_factory=Journal)
    progress: Progress = SILENT
    on_leg: Callable[[Mapping[str, Any]], None] = lambda history: None
    shared: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """N labelled samples, what is known of each, and which rows are held out when.

    `blocks` maps a source to its values for the N samples: the name of a backbone to its pooled features
    (N x D float32), `array` to the user's own features (N x D float32), `text` and `image` to the texts and paths.
    `y` holds N class indices in 0..C-1. `folds` is one (fit, held-out) pair, or K of them whose held-out parts
    are disjoint: every number a ladder compares comes from held-out rows. `resources` are for methods that train a
    backbone; without them (None) such methods don't apply. `task` says what a label is: where it is one for each
    pixel, `masks` holds them and `y` is of no use; `views` holds further pictures of the scenes (see `data.Samples`).
    """

    blocks: Mapping[str, np.ndarray | Sequence[str]]
    y: np.ndarray
    classes: tuple[str, ...]
    folds: tuple[Fold, ...]
    seed: int = 0
    resources: Resources | None = None
    task: str = "single_label"
    masks: Masks | None = None
    views: Mapping[str, Sequence[Path | None]] | None = None

    @cached_property
    def held_out(self) -> np.ndarray:
        """The held-out rows of all folds, one after the other (M,)."""
        return np.concatenate([held for _, held in self.folds])

    @property
    def dense(self) -> tuple[str, ...]:
        """The sources whose values are feature arrays."""
        return tuple(name for name, values in self.blocks.items() if isinstance(values, np.ndarray))


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """A fitted graft in parts, and what it said of the samples that it had not seen.

    `parts` and `head` are fitted on all N rows with the hyper-parameters in `chosen`. `logits` (M x C float64,
    natural-log scale, not yet calibrated) are those of grafts fitted on each fold's rows for its held-out rows, in
    the order of `rows` (M positions in 0..N-1). `note` tells people in a few words what was chosen. `tuned` holds, for
    every source that is a backbone with weights of its own, these weights; `pooled`, for every source that is pooled in
    another way than the blocks, (backbone, pooling); `history` how its training went, fold by fold and at last on all
    rows (see `train.History.to_dict`).
    """

    parts: tuple[Part, ...]
    head: Head
    rows: np.ndarray
    logits: np.ndarray
    chosen: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    tuned: Mapping[str, Tuned] = field(default_factory=dict)
    pooled: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """Where its features come from: backbones, those trained further under names of their own, or the samples."""
        return tuple(self.pooled.get(part.source, (part.source,))[0] for part in self.parts)


@dataclass(frozen=True, kw_only=True, eq=False)
class DenseCandidate:
    """A fitted network that answers for each pixel, and what it said of the scenes that it had not seen.

    `decoder` is fitted on all N rows, on the backbone called `source` (None: on none), for scenes at `scale` times
    their size. `counts` (M x C x C int64, row the truth, column the answer) are pixels of the scenes in `rows` under
    networks fitted on each fold's rows; `logits` (P x C) and their classes `labels` (P,) are of some of these pixels,
    drawn evenly, and `answers` the M maps of answers as PNG files.
    `views` names the further views that it takes, in order, `joined` the backbones whose levels it reads beside those
    of `source`, `saliency` the maps made of pixels that it reads too. The rest as in `Candidate`.
    """

    source: str | None
    decoder: Decoder
    scale: float
    rows: np.ndarray
    counts: np.ndarray
    logits: np.ndarray
    labels: np.ndarray
    answers: tuple[bytes, ...] = ()
    views: tuple[str, ...] = ()
    joined: tuple[str, ...] = ()
    saliency: tuple[str, ...] = ()
    chosen: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    tuned: Mapping[str, Tuned] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The backbones, if it has some."""
        return () if self.source is None else (self.source, *self.joined)


class Skip(Exception):
    """A method that was begun and is no candidate; the message tells people why."""


class TooLong(Skip):
    """Its training does not fit the time that is left; that of a cheaper backbone may."""


def take(values: Any, rows: np.ndarray) -> Any:
    """The values of some rows of a block: an array's rows, or a list's items."""
    return values[rows] if isinstance(values, np.ndarray) else [values[i] for i in rows]
