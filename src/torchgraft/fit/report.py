"""What a run tells: the object written as `report.json` and drawn as `report.html`."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from torchgraft.core.errors import ArtifactError
from torchgraft.core.files import write_json, write_text
from torchgraft.core.runtime import versions
from torchgraft.data import Finding, Samples
from torchgraft.evaluate import (
    abstain,
    calibration,
    finite,
    label_errors,
    learning_curve,
    render,
    score,
    worst_mistakes,
)
from torchgraft.fit._sources import Sources
from torchgraft.fit.ladder import Entry, Skipped, refit
from torchgraft.fit.options import FitOptions
from torchgraft.fit.verdict import Verdict, leader
from torchgraft.model import Graft
from torchgraft.tune.base import Problem, take

_CURVE_SECONDS = 60.0
"""A learning curve may take this long. Parts of the labels are drawn three times where that fits, else once."""

_SHOWN = 24
"""Samples in each gallery."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """Everything that a finished climb knows. `rows` are the positions of the problem's rows in `sources.samples`.

    `start`, `extracted` (when all features were there) and `deadline` are values of `time.monotonic`. `ranking`: of the
    backbones, where there was a race (see `ranking.Ranking.to_dict`).
    """

    options: FitOptions
    findings: tuple[Finding, ...]
    sources: Sources
    problem: Problem
    rows: np.ndarray
    entries: Sequence[Entry]
    skipped: tuple[Skipped, ...]
    verdict: Verdict
    graft: Graft
    extracted: float
    start: float
    deadline: float
    ranking: Mapping[str, Any] | None = None

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time of reading and checking the data, of features, and in all until now."""
        features = sum(self.sources.seconds.values())
        data = self.extracted - self.start - features
        return {"data": data, "features": features, "total": time.monotonic() - self.start}


@dataclass(frozen=True)
class Report:
    """The report of one run: `data` is `report.json`, `path` the run's folder. A notebook shows it as a page."""

    path: Path
    data: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read `report.json` of a run. Raises `ArtifactError` where it is missing or damaged."""
        try:
            data = json.loads((path / "report.json").read_text(encoding="utf-8"))
            if "ladder" not in data:
                raise ValueError("it has no ladder")
            return cls(path, data)
        except (OSError, ValueError, TypeError) as error:
            raise ArtifactError(
                f"{path} holds no readable report.json ({error}). Expected the folder of a run."
            ) from error

    @property
    def html(self) -> Path:
        """Where the page lies."""
        return self.path / "report.html"

    def write(self) -> None:
        """Write `report.json` and `report.html`."""
        write_json(self.path / "report.json", self.data)
        write_text(self.html, render(self.data))

    def card(self, graft: Graft) -> str:
        """The model card: what the graft is, how good it was found to be, and on what."""
        measured = self.data["test"] or self.chosen["metrics"]
        if "accuracy" not in measured:
            sentence = self.data["verdict"]["sentence"]
            return f"{graft.card()}\n## How good\n\n{sentence}\n\nHow often it is right there was not measured.\n"
        where = "on the test split, touched once" if self.data["test"] else "on held-out samples that also chose it"
        accuracy = measured["accuracy"]
        return (
            f"{graft.card()}\n## How good\n\n{self.data['verdict']['sentence']}\n\n"
            f"Accuracy {accuracy['value']:.3f}, 95 % interval {accuracy['low']:.3f} to {accuracy['high']:.3f}, "
            f"{where}.\n\n"
            "`check.safetensors` holds a few of the training samples as they are, for the self-check at load.\n"
        )

    @cached_property
    def chosen(self) -> dict[str, Any]:
        """The shipped rung's row of the ladder."""
        return next(row for row in self.data["ladder"] if row["chosen"])

    def __str__(self) -> str:
        return self.data["verdict"]["sentence"]

    def _repr_html_(self) -> str:
        """The page in a frame of its own, so that its style and the notebook's leave each other alone."""
        page = base64.b64encode(render(self.data).encode("utf-8", "backslashreplace")).decode()
        return f'<iframe src="data:text/html;base64,{page}" style="width:100%;height:720px;border:0"></iframe>'


def report_of(outcome: Outcome, path: Path) -> Report:
    """Measure the test split (once), draw the curves, gather the galleries; `path` is the run's folder."""
    entry = outcome.entries[outcome.verdict.index]
    problem, samples = outcome.problem, outcome.sources.samples
    y = problem.y[entry.candidate.rows]
    held = samples.take(outcome.rows[entry.candidate.rows])
    test, test_mistakes = _test(outcome)
    suspects = label_errors(y, entry.probabilities, problem.classes, held.ids, limit=len(y))
    data = {
        "schema": 1,
        "task": "single_label",
        "name": Path(outcome.options.target).resolve().stem,
        "data": {
            **data_of(samples, problem),
            "findings": [dataclasses.asdict(finding) for finding in outcome.findings],
        },
        "ladder": [row_of(i, e, chosen=e is entry) for i, e in enumerate(outcome.entries)],
        "comparisons": list(outcome.verdict.comparisons),
        "verdict": {
            "rung": outcome.verdict.index,
            "method": entry.rung.method,
            "backbone": entry.backbone,
            "sentence": outcome.verdict.sentence,
        },
        "calibration": calibration(y, entry.candidate.logits),
        "abstain": abstain(y, entry.probabilities),
        "learning_curve": _curve(problem, _frozen(outcome), outcome.deadline - time.monotonic()),
        "test": test,
        "mistakes": test_mistakes
        or _gallery(worst_mistakes(y, entry.probabilities, problem.classes, held.ids, limit=_SHOWN), held),
        "label_errors": _gallery(suspects[:_SHOWN], held),
        "label_errors_found": len(suspects),
        "skipped": [{"method": one.name, "reason": one.reason} for one in outcome.skipped],
        **({"ranking": outcome.ranking} if outcome.ranking else {}),
        "seconds": outcome.seconds,
        "environment": {**versions(), "engines": outcome.sources.engines},
        "options": dataclasses.asdict(outcome.options),
    }
    return Report(path, data)


def data_of(samples: Samples, problem: Problem) -> dict[str, Any]:
    """What the report says of the data, but for the findings."""
    return {**samples.spec().to_dict(), "held_out": {"how": _how(problem), "n": len(problem.held_out)}}


def row_of(i: int, entry: Entry, *, chosen: bool) -> dict[str, Any]:
    """The row of one rung in the report's ladder, as JSON can hold it: a loss that was no number is None."""
    return {
        "rung": i,
        "method": entry.rung.method,
        "backbone": entry.backbone,
        "metrics": {name: estimate.to_dict() for name, estimate in entry.metrics.items()},
        "seconds": entry.seconds,
        "cpu_seconds": entry.cpu_seconds,
        "memory": entry.memory,
        "chosen": chosen,
        "transfer": entry.transfer,
        "note": entry.candidate.note,
        "options": dict(entry.candidate.chosen),
        "held_out": len(entry.candidate.rows),
        "training": [finite(one) for one in entry.candidate.history],
    }


def _how(problem: Problem) -> str:
    if len(problem.folds) > 1:
        return f"{len(problem.folds)}-fold cross-validation"
    return f"a validation part of {len(problem.held_out)} samples"


def _test(outcome: Outcome) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    samples = outcome.sources.samples
    rows = np.flatnonzero(samples.split == "test")
    if not len(rows):
        return None, []
    part = samples.take(rows)
    graft = outcome.graft
    if graft.tuned:  # its features are not among those that the ladder stands on
        probabilities = graft.predict(part).probabilities
    else:
        blocks = {name: take(values, rows) for name, values in outcome.sources.blocks.items()}
        probabilities = np.exp(graft.log_probabilities(blocks))
    worst = worst_mistakes(part.y, probabilities, part.classes, part.ids, limit=_SHOWN)
    return score(part.y, probabilities, part.classes, seed=outcome.options.seed), _gallery(worst, part)


def _frozen(outcome: Outcome) -> Entry:
    """The shipped rung, or where that trains a backbone, too slow to be fitted ten times, the best of the others."""
    entries = [entry for entry in outcome.entries if not entry.candidate.tuned]
    shipped = outcome.entries[outcome.verdict.index]
    if not shipped.candidate.tuned or not entries:
        return shipped
    return entries[leader(entries, outcome.problem.y, seed=outcome.options.seed)]


def _curve(problem: Problem, entry: Entry, left: float) -> dict[str, Any] | None:
    """Accuracy of the entry's method on the held-out samples with 10, 25, 50 and 100 % of the labels.

    None where `left`, the seconds of the budget, are too few, or the method looks at no sample.
    """
    once = 1.5 * entry.seconds  # 10, 25 and 50 % of the labels, with something to spare
    if not entry.candidate.parts or entry.candidate.tuned or once > min(left, _CURVE_SECONDS):
        return None
    repeats = 3 if 3 * once < min(left, _CURVE_SECONDS) else 1

    def right(part: np.ndarray) -> np.ndarray:
        if len(part) == len(problem.y):
            return entry.probabilities.argmax(1) == problem.y[entry.candidate.rows]
        return refit(problem, entry, part)

    return learning_curve(np.arange(len(problem.y)), problem.y, right, repeats=repeats, seed=problem.seed)


def _gallery(entries: list[dict[str, Any]], samples: Samples) -> list[dict[str, Any]]:
    """Add to each entry what a person needs to judge it: a small picture, or the text."""
    shown = []
    for entry in entries:
        item = samples.x[entry["row"]]
        own = {key: value for key, value in entry.items() if key != "row"}
        if samples.modality == "image":
            own["thumbnail"] = thumbnail(item)
        elif samples.modality == "text":
            own["text"] = str(item)[:600]
        shown.append(own)
    return shown


def thumbnail(path: Path, side: int = 128) -> str:
    """A JPEG of at most `side` pixels as a data URI; empty where the picture can't be read any more."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * side, 2 * side))
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((side, side))
    except (OSError, ValueError, Image.DecompressionBombError):
        return ""
    out = io.BytesIO()
    small.save(out, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
