"""What a run tells: the object written as `report.json` and drawn as `report.html`."""

from __future__ import annotations

import base64
import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from torchgraft.core import registry
from torchgraft.core.errors import ArtifactError
from torchgraft.core.files import write_json, write_text
from torchgraft.core.runtime import versions
from torchgraft.data import Finding, Samples
from torchgraft.evaluate import finite, render
from torchgraft.fit._sources import Sources
from torchgraft.fit.ladder import Entry, Skipped
from torchgraft.fit.options import FitOptions
from torchgraft.fit.verdict import Verdict, leader
from torchgraft.model import Graft
from torchgraft.tune.base import Problem


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
    def frozen(self) -> Entry:
        """The shipped rung, or where that trains a backbone, too slow to be fitted ten times, the best of the rest."""
        entries = [entry for entry in self.entries if not entry.candidate.tuned]
        shipped = self.entries[self.verdict.index]
        if not shipped.candidate.tuned or not entries:
            return shipped
        return entries[leader(entries, seed=self.options.seed)]

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
        main = self.data.get("primary") or {"metric": "accuracy", "title": "accuracy"}
        if main["metric"] not in measured:
            sentence = self.data["verdict"]["sentence"]
            return f"{graft.card()}\n## How good\n\n{sentence}\n\nHow often it is right there was not measured.\n"
        where = "on the test split, touched once" if self.data["test"] else "on held-out samples that also chose it"
        found, title = measured[main["metric"]], main["title"]
        return (
            f"{graft.card()}\n## How good\n\n{self.data['verdict']['sentence']}\n\n"
            f"{title if title[1:] != title[1:].lower() else title.capitalize()} {found['value']:.3f}, "
            f"95 % interval {found['low']:.3f} to {found['high']:.3f}, {where}.\n\n"
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
    """What every run tells, and what its task adds; `path` is the run's folder."""
    entry = outcome.entries[outcome.verdict.index]
    problem, samples = outcome.problem, outcome.sources.samples
    task = registry.get("tasks", problem.task)
    data = {
        "schema": 1,
        "task": problem.task,
        "primary": {"metric": task.PRIMARY, "title": task.TITLE},
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
        **task.report(outcome),
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
        "note": "; ".join(filter(None, (entry.candidate.note, entry.rung.why))),
        "options": dict(entry.candidate.chosen),
        "held_out": len(entry.measured.rows),
        "training": [finite(one) for one in entry.candidate.history],
    }


def _how(problem: Problem) -> str:
    if len(problem.folds) > 1:
        return f"{len(problem.folds)}-fold cross-validation"
    return "a validation part"
