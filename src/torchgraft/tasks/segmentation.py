"""One class for each pixel of a scene."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from torchgraft.core.errors import DataError, shorten
from torchgraft.core.progress import SILENT, Progress
from torchgraft.data import Finding, Samples, check, scene_folds, split
from torchgraft.evaluate import boundary_counts, boundary_score, fit_temperature, overlap_score, paired_overlap
from torchgraft.evaluate.overlap import summary
from torchgraft.model import Scene, SceneGraft
from torchgraft.tasks._overlap import Overlap
from torchgraft.tasks._scene_pictures import decoded, gallery
from torchgraft.train.dense_counts import confusions
from torchgraft.tune.base import DenseCandidate, Problem

TITLE = "mIoU"
PRIMARY = "miou"
POOLED = False
BACKBONES = 1
BASE = "pixel_probe"
SCOUTS = ("pixel_probe",)
LADDER = (
    "pixel_majority", "pixel_probe", "saliency_probe", "flow_probe", "backbone_fusion", "view_fusion", "decoder",
    "scene_lp_ft",
)  # fmt: skip
"""Simplest first: no network, a linear classifier on a frozen one (with maps made of pixels; of several networks; of
several views), a trained decoder on it, everything trained."""
WAYS = ("standardise", "fda", "moments", "camera", "looks", "self_training", "adabn", "advent")
"""What `--method` may name between two domains, beside source-only, which always stands for choice."""


_LEFT_OUT = ("unreadable", "unreadable_mask", "mask_size", "all_void")
"""Kinds of findings about scenes that can't be measured."""


def prepare(samples: Samples, *, seed: int, test: bool) -> Samples:
    """Say for each scene whether it is train, val or test (see `data.split`), and what is odd about holding some out.

    Raises `DataError` for one class, and where nothing can be held out.
    """
    samples = split(samples, seed=seed, test=test)
    counts = samples.masks.counts
    present = counts[samples.split != "test"].sum(0) > 0
    if present.sum() < 2:
        raise DataError(f"{samples.root} has pixels of one class only to learn from. Expected at least two.")
    _, found = scene_folds(samples.take(samples.split != "test"), seed)
    return replace(samples, findings=(*samples.findings, *found))


def make_problem(sources: Any, seed: int) -> tuple[Problem, np.ndarray]:
    """The problem made of every scene that is not test, and the positions of its rows in `sources.samples`."""
    samples = sources.samples
    rows = np.flatnonzero(samples.split != "test")
    part = samples.take(rows)
    pairs, _ = scene_folds(part, seed)
    problem = Problem(
        blocks={part.modality: part.x},
        y=part.y,
        classes=samples.classes,
        folds=pairs,
        seed=seed,
        task=samples.task,
        masks=part.masks,
        views=part.views,
    )
    return problem, rows


def measure(problem: Problem, candidate: DenseCandidate) -> Overlap:
    """Overlap of the answers with the truth, and the temperature that fits the logits of some pixels best."""
    return Overlap(
        rows=candidate.rows,
        counts=candidate.counts,
        classes=problem.classes,
        temperature=fit_temperature(candidate.labels.astype(np.int64), candidate.logits),
        metrics=summary(candidate.counts),
    )


def make_graft(entry: Any, problem: Problem, sources: Any) -> SceneGraft:
    """The entry's network, with the temperature that its held-out pixels ask for."""
    candidate, about = entry.candidate, {}
    for name in candidate.sources:
        tuned = candidate.tuned.get(name)
        about[name] = dict(sources.about[tuned.base if tuned else name])
        if tuned:
            about[name] |= {"name": name, "base": tuned.base, "revision": tuned.digest}
    return SceneGraft(
        source=candidate.source,
        decoder=candidate.decoder,
        scale=candidate.scale,
        classes=problem.classes,
        colours=problem.masks.colours,
        method=entry.rung.method,
        temperature=entry.measured.temperature,
        backbones=about,
        tuned=candidate.tuned,
        views=candidate.views,
        joined=candidate.joined,
        saliency=candidate.saliency,
    )


def report(outcome: Any) -> dict[str, Any]:
    """The test split, measured once; and scenes of it, or else held-out ones as the shipped network answers them."""
    samples, graft = outcome.sources.samples, outcome.graft
    rows = np.flatnonzero(samples.split == "test")
    entry, test = outcome.entries[outcome.verdict.index], None
    if len(rows):
        part = samples.take(rows)
        answers, counts, outlines = _answers(graft, part)
        test = _scores(counts, outlines, samples.classes, outcome.options.seed)
    else:
        counts, part = entry.measured.counts, samples.take(outcome.rows[entry.measured.rows])
        answers = [decoded(one) for one in entry.candidate.answers]
    legend = [{"class": name, "colour": list(c)} for name, c in zip(graft.classes, graft.colours, strict=True)]
    return {
        "test": test,
        "held_out": overlap_score(entry.measured.counts, samples.classes, seed=outcome.options.seed),
        "pictures": gallery(part, answers, counts, graft) if answers else [],
        "legend": legend,
    }


def evaluate(
    graft: SceneGraft, samples: Samples, *, progress: Progress = SILENT
) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """mIoU, pixel accuracy, boundary F1 and each class on scenes with masks; and what could not be used.

    Raises `DataError` where there is no mask, or the classes are others than the graft's.
    """
    samples, findings = _as_known(graft, samples, progress)
    _, counts, outlines = _answers(graft, samples, progress)
    return _scores(counts, outlines, graft.classes, 0), findings


def compare(
    a: SceneGraft, b: SceneGraft, samples: Samples, *, progress: Progress = SILENT
) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """`{"a": scores, "b": scores, "paired": how much better b is than a}`. Both must know the same classes."""
    if a.classes != b.classes:
        raise DataError(f"two grafts are compared where they know the same classes: {shorten(a.classes)}.")
    samples, findings = _as_known(a, samples, progress)
    (_, of_a, lines_a), (_, of_b, lines_b) = _answers(a, samples, progress), _answers(b, samples, progress)
    scores = [_scores(counts, lines, a.classes, 0) for counts, lines in ((of_a, lines_a), (of_b, lines_b))]
    return {"a": scores[0], "b": scores[1], "paired": paired_overlap(of_a, of_b, a.classes)}, findings


def between_domains(options: Any, progress: Progress) -> tuple[SceneGraft, Samples, dict[str, Any]]:
    """The run with labels of other scenes: what ships, a few scenes for its self-check, its report."""
    from torchgraft.tasks import _scene_shift  # here: it loads torch

    return _scene_shift.between_domains(options, progress)


def _answers(
    graft: SceneGraft, samples: Samples, progress: Progress = SILENT
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """The answers for N scenes with masks, their counts N x C x C, and those of their outlines N x C x 4."""
    width = len(graft.classes)
    answers, counts, outlines = [], [], []
    for i, scene in enumerate(_scenes(graft, samples, progress)):
        truth = samples.masks.read(i)
        answers.append(scene.classes)
        counts.append(confusions(truth, scene.classes, width))
        outlines.append(boundary_counts(truth, scene.classes, width))
    return answers, np.stack(counts), np.stack(outlines)


def _scenes(graft: SceneGraft, samples: Samples, progress: Progress) -> Iterator[Scene]:
    for scene in graft.scenes(samples.x, views=samples.views, progress=progress):
        if scene.error:
            raise DataError(f"{scene.id}: {scene.error}.")
        yield scene


def _scores(counts: np.ndarray, outlines: np.ndarray, classes: tuple[str, ...], seed: int) -> dict[str, Any]:
    found = overlap_score(counts, classes, seed=seed)
    lines = boundary_score(outlines, classes, seed=seed)
    for row, line in zip(found["per_class"], lines["per_class"], strict=True):
        row["boundary_f1"] = line["f1"]
    return {**found, "boundary_f1": lines["boundary_f1"], "images": len(counts)}


def _as_known(graft: SceneGraft, samples: Samples, progress: Progress) -> tuple[Samples, tuple[Finding, ...]]:
    """The scenes that have masks and can be read, their classes in the graft's order; and what was left out.

    Raises `DataError` where the classes are others, or nothing is left.
    """
    if samples.task != graft.task:
        raise DataError(f"{samples.root} holds no masks. Expected images/ and masks/ with files of the same names.")
    if samples.numbered:
        values = tuple(range(len(graft.classes)))
        masks = replace(samples.masks, values=values, colours=graft.colours, counts=None)
        samples = replace(samples, masks=masks, classes=graft.classes)
    if set(samples.classes) != set(graft.classes):
        raise DataError(
            f"{samples.root} has the classes {shorten(samples.classes)}; this graft knows {shorten(graft.classes)}."
        )
    order = [samples.classes.index(name) for name in graft.classes]
    masks = replace(samples.masks, values=tuple(samples.masks.values[i] for i in order), counts=None)
    labelled = replace(samples, masks=masks, classes=graft.classes).take(samples.y >= 0)
    if not len(labelled):
        raise DataError(f"{samples.root} has no mask.")
    usable, findings = check(labelled, progress=progress)
    return usable, tuple(one for one in findings if one.kind in _LEFT_OUT)
