"""What a run with two domains tells: `report.json` without an accuracy that nobody could measure."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np

from torchgraft.core.runtime import versions
from torchgraft.data import Finding
from torchgraft.evaluate import score, wilson
from torchgraft.fit._domains import SOURCE, TARGET, TEST
from torchgraft.fit.adaptation import Adaptation, Candidate
from torchgraft.fit.options import FitOptions
from torchgraft.fit.report import Report
from torchgraft.tune.base import take

_DRAWN = 300
"""Samples of each domain on the map."""

_ABSENT = 0.1
"""A class that gets less than this share of what it has in the source may be missing from the target."""


def report_of(found: Adaptation, options: FitOptions, path: Path) -> Report:
    """The report; the test split is looked at here, once, where there is one."""
    samples = found.sources.samples
    chosen = found.ladder[found.index]
    counts = {name: len(found.rows(part)) for name, part in (("source", SOURCE), ("target", TARGET), ("test", TEST))}
    data = {
        "schema": 1,
        "task": "single_label",
        "name": Path(options.target).resolve().stem,
        "data": {
            "modality": samples.modality,
            "classes": list(samples.classes),
            "counts": {name: n for name, n in counts.items() if n},
            "root": str(samples.root),
            "findings": [dataclasses.asdict(one) for one in (*found.domains.findings, *found.sources.findings,
                                                             *_doubts(found))],
        },
        "domains": {
            "sources": [str(one) for one in options.source],
            "several": [dataclasses.asdict(one) for one in found.several],
            "gap": found.gap,
            "map": _map(found),
            "tests": [dataclasses.asdict(one) for one in found.tests],
            "oracle": found.domains.oracle is not None,
        },
        "ladder": [_row(i, one, found) for i, one in enumerate(found.ladder)],
        "comparisons": [],
        "verdict": {
            "rung": found.index,
            "method": chosen.name,
            "backbone": _backbones(found),
            "sentence": found.sentence,
        },
        "test": _test(found, options),
        "mistakes": [],
        "label_errors": [],
        "skipped": [{"method": one.name, "reason": one.reason} for one in found.skipped],
        "seconds": {**found.seconds, "total": time.monotonic() - found.start},
        "environment": {**versions(), "engines": found.sources.engines},
        "options": dataclasses.asdict(options),
    }  # fmt: skip
    return Report(path, data)


def _row(i: int, one: Candidate, found: Adaptation) -> dict[str, Any]:
    base = found.ladder[0].probabilities.argmax(1)
    changed = int((one.probabilities.argmax(1) != base).sum())
    metrics = {"source_accuracy": wilson(int(one.right.sum()), len(one.right)), "changed": wilson(changed, len(base))}
    if found.domains.oracle is not None:
        y = found.domains.oracle[found.rows(TARGET)]
        metrics["oracle_accuracy"] = wilson(int((one.probabilities.argmax(1) == y).sum()), len(y))
    return {
        "rung": i,
        "method": one.name,
        "backbone": _backbones(found),
        "metrics": {name: estimate.to_dict() for name, estimate in metrics.items()},
        "seconds": one.seconds,
        "chosen": i == found.index,
        "transfer": True,
        "passed": one.passed,
        "note": one.note,
        "training": [],
    }


def _backbones(found: Adaptation) -> str:
    return " + ".join(part.source for part in found.graft.parts)


def _test(found: Adaptation, options: FitOptions) -> dict[str, Any] | None:
    rows = found.rows(TEST)
    if not len(rows):
        return None
    samples = found.sources.samples
    if found.graft.tuned:  # its features are not among those that all others stand on
        probabilities = found.graft.predict(samples.take(rows)).probabilities
    else:
        blocks = {name: take(values, rows) for name, values in found.sources.blocks.items()}
        probabilities = np.exp(found.graft.log_probabilities(blocks))
    return score(samples.y[rows], probabilities, samples.classes, seed=options.seed)


def _map(found: Adaptation) -> dict[str, Any]:
    """Both domains on the plane that parts the source's classes and the domains best: two principal axes of the
    means of all classes and of the target.
    """
    rng = np.random.default_rng(0)
    source, target = found.rows(SOURCE), found.rows(TARGET)
    y = found.sources.samples.y
    means = [found.x[source][y[source] == c].mean(axis=0) for c in np.unique(y[source])]
    means.append(found.x[target].mean(axis=0))
    spread = np.array(means) - np.mean(means, axis=0)
    axes = np.linalg.svd(spread, full_matrices=False)[2][:2]
    axes = np.pad(axes, ((0, 2 - len(axes)), (0, 0)))  # a single feature spans no plane
    some = [np.sort(rng.permutation(rows)[:_DRAWN]) for rows in (source, target)]
    said = found.ladder[found.index].probabilities.argmax(1)
    place = {row: i for i, row in enumerate(target)}
    return {
        "source": [[*map(float, found.x[row] @ axes.T), int(y[row])] for row in some[0]],
        "target": [[*map(float, found.x[row] @ axes.T), int(said[place[row]])] for row in some[1]],
    }


def _doubts(found: Adaptation) -> list[Finding]:
    """What may be different in kind: classes that the target lacks, and samples of classes that the source lacks."""
    classes, gap = found.sources.samples.classes, found.gap
    prior = np.array(gap["prior_source"])
    shares = found.ladder[found.index].probabilities.mean(axis=0)
    absent = [classes[c] for c in np.flatnonzero((shares < _ABSENT * prior) & (prior * len(found.rows(TARGET)) >= 5))]
    doubts = []
    if absent:
        message = f"hardly a sample of the target is taken for {', '.join(absent)}: these classes may be missing there"
        doubts.append(Finding(kind="partial", severity="warning", count=len(absent), message=message))
    if gap["open_set"]:
        message = (
            f"{100 * gap['unsure_target']:.0f} % of the target is answered with less confidence than "
            f"{100 * gap['unsure_source']:.0f} % of the source: there may be classes that the source lacks"
        )
        count = round((gap["unsure_target"] - gap["unsure_source"]) * len(found.rows(TARGET)))
        action = "look at those that source-only is least sure of: what is adapted gives them to known classes"
        doubts.append(Finding(kind="open_set", severity="warning", count=count, message=message, action=action))
    return doubts


def ship(found: Adaptation, options: FitOptions, path: Path) -> None:
    """Write the model, the report and the page into the run's folder."""
    report = report_of(found, options, path)
    check = found.sources.samples.take(found.rows(TARGET)[:4])
    found.graft.save(path / "model", check=check, card=report.card(found.graft))
    report.write()
