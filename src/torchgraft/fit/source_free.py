"""The main job where there is a model and a target without labels, and nothing of what the model was fitted on."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from torchgraft.core.errors import DataError, OptionError
from torchgraft.core.options import seconds
from torchgraft.core.progress import Progress
from torchgraft.core.runtime import versions
from torchgraft.data import Finding, ReadOptions, Samples, check, read
from torchgraft.evaluate import score, wilson
from torchgraft.fit import _guard
from torchgraft.fit._asked import asked_of_model
from torchgraft.fit._domains import one_class_each
from torchgraft.fit.options import FitOptions
from torchgraft.fit.plan import AUTO
from torchgraft.fit.report import Report
from torchgraft.model import Graft, LinearHead, MlpHead, as_sure_as, assemble, load
from torchgraft.train.select import class_ami

_BATCH = 64
"""Photos that are normalised together."""

_CLUSTERED = 0.6
"""Adjusted mutual information of the model's answers with k-means from which its classes count as clusters."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rung:
    """A model as it is, or adapted: its graft, and its probabilities for the target (Nt x C)."""

    name: str
    graft: Graft
    probabilities: np.ndarray
    seconds: float
    note: str = ""


def ship(options: FitOptions, path: Path, progress: Progress) -> None:
    """Adapt the model to the target, choose without its labels, write model and report into the run's folder."""
    start = time.monotonic()
    wanted = asked_of_model(options)
    graft = load(options.from_model)
    if not isinstance(graft, Graft):
        raise DataError(f"--from {options.from_model} is a {graft.task} model; expected one that gives a class.")
    target, findings = _target(options, graft, progress)
    blocks, kept, failed = graft.blocks(target, progress=progress)
    if len(kept) < 4:
        raise DataError(f"{options.target}: {len(kept)} samples can be used; 4 are needed.")
    target = target.take(kept)
    ladder, reason = _ladder(graft, blocks, target, wanted, options, progress)
    index, tests, sentence = _choose(options, graft, ladder, blocks, reason)
    shipped = ladder[index].graft
    data = _report(options, graft, target, ladder, index, tests, sentence)
    data["data"]["findings"] = [dataclasses.asdict(one) for one in (*findings, *failed)]
    data["skipped"] = [{"method": wanted[0][0], "reason": reason}] if reason else []
    if options.test:
        held = _labelled(options.test, "--test", graft)
        found = shipped.predict(held, progress=progress)
        data["test"] = score(held.y[found.kept], found.probabilities, graft.classes, seed=options.seed)
    data["seconds"] = {"total": time.monotonic() - start}
    report = Report(path, data)
    shipped.save(path / "model", check=target.take(np.arange(min(len(target), 4))), card=report.card(shipped))
    report.write()


def _target(options: FitOptions, graft: Graft, progress: Progress) -> tuple[Samples, tuple[Finding, ...]]:
    target = read(options.target, ReadOptions(text=options.text, label=options.label, every_label=True))
    one_class_each(options.target, target)
    if target.modality != graft.modality:
        raise DataError(f"the model takes {graft.modality} samples, {options.target} holds {target.modality} samples.")
    unseen = dataclasses.replace(target, y=np.full(len(target), -1), classes=())
    samples, found = check(unseen, progress=progress)
    told = (one for one in target.findings if one.kind not in ("no_labels", "unlabelled"))
    return samples, (*told, *found)


def _labelled(path: str, flag: str, graft: Graft) -> Samples:
    samples = read(path, ReadOptions(every_label=True))
    one_class_each(path, samples)
    place = [graft.classes.index(name) if name in graft.classes else -1 for name in samples.classes]
    y = np.array([place[label] if label >= 0 else -1 for label in samples.y], dtype=np.int64)
    if samples.modality != graft.modality or not (y >= 0).any():
        raise DataError(f"{flag} {path} holds no {graft.modality} sample with a class of the model.")
    return dataclasses.replace(samples, y=y, classes=graft.classes).take(y >= 0)


def _ladder(graft, blocks, target, wanted, options, progress) -> tuple[list[Rung], str]:
    """The model as it is, and each method that is `wanted`; or why there is none, where it was left to the run.

    Raises `OptionError` for a method asked for by name that can't adapt this model.
    """
    start = time.monotonic()
    base = np.exp(graft.log_probabilities(blocks))
    ladder = [Rung(name="as it is", graft=graft, probabilities=base, seconds=time.monotonic() - start)]
    for name, settings in wanted:
        reason = _unfit(name, graft, blocks)
        if reason and options.method == AUTO:
            return ladder, reason
        if reason:
            raise OptionError(f"--method {name} can't adapt {options.from_model}: {reason}.")
        if name == "shot":
            ladder.append(_shot(graft, blocks, base, settings, options.seed, progress))
        else:
            ladder.append(_by_norms(name, graft, target, settings, options, progress))
    return ladder, ""


def _unfit(name: str, graft: Graft, blocks: Any) -> str:
    """Why a method can't adapt a model; empty where it can."""
    from torchgraft.adapt import WORKS, unfit  # loads torch

    if name != "shot":
        reason = unfit(graft)
        return f"{name} changes BatchNorm in the backbone, and {reason}. {WORKS[:-1]}" if reason else ""
    z = assemble(graft.parts, blocks)
    if sparse.issparse(z) or not z.shape[1] or not isinstance(graft.head, LinearHead | MlpHead):
        return f"SHOT needs dense features and a linear or two-layer head; this model is {graft.method}"
    return ""


def _shot(graft: Graft, blocks: Any, base: np.ndarray, settings: dict, seed: int, progress: Progress) -> Rung:
    """On the model's features, with its head kept; as sure as the model was."""
    from torchgraft.adapt import adapt  # loads torch

    start, z = time.monotonic(), np.asarray(assemble(graft.parts, blocks), dtype=np.float32)
    found = adapt(
        "shot", None, None, z, n_classes=len(graft.classes), start=graft.head, options=settings, seed=seed,
        progress=progress,
    )  # fmt: skip
    sure = as_sure_as(found.head.logits(z), base)
    adapted = dataclasses.replace(graft, head=found.head, method="shot", temperature=sure)
    probabilities = np.exp(adapted.log_probabilities(blocks))
    note = f"adapted from {graft.method}, head kept"
    return Rung(name="shot", graft=adapted, probabilities=probabilities, seconds=time.monotonic() - start, note=note)


def _by_norms(name: str, graft: Graft, target: Samples, settings: dict, options, progress: Progress) -> Rung:
    """AdaBN or TENT through the backbone: BatchNorm alone changes."""
    from torchgraft.adapt import adapt_network, net_of, with_network  # loads torch
    from torchgraft.train.loader import ImageLoader

    start, net = time.monotonic(), net_of(graft)
    part = graft.parts[0]
    loader = ImageLoader(target.x, None, graft.loaded[part.source].preprocessing, progress=progress)
    settings = {"norm": "train", "batch": _BATCH, **settings}
    found = adapt_network(
        name, net.network, net.head.in_features, None, loader, n_classes=len(graft.classes), start=net,
        options=settings, seed=options.seed, deadline=start + seconds(options.budget), progress=progress,
    )  # fmt: skip
    adapted = with_network(graft, found.net, method=name)
    probabilities = adapted.predict(target, progress=progress).probabilities
    note = f"adapted from {graft.method}, BatchNorm alone"
    return Rung(name=name, graft=adapted, probabilities=probabilities, seconds=time.monotonic() - start, note=note)


def _choose(options, graft, ladder, blocks, reason) -> tuple[int, list[_guard.Test], str]:
    """Of the methods that pass every test the one whose answers fit the target's clusters best; else as it is."""
    if reason:
        return 0, [], f"Shipped: the model as it is. {reason}."
    z = np.asarray(assemble(graft.parts, blocks), dtype=np.float64)
    z = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    fits = [class_ami(z, one.probabilities, options.seed) for one in ladder]
    held = _labelled(options.few_labels, "--few-labels", graft) if options.few_labels else None
    found = [_tested(options, graft, (ladder[0], one), (fits[0], fit), held) for one, fit in _rest(ladder, fits)]
    passing = [i for i, tests in enumerate(found) if not _guard.refusal(tests)]
    if not passing:
        tests = found[0]
        refused = _guard.refusal(tests)
        others = "".join(f" Nor is {one.name}: {_guard.refusal(other).seen}." for one, other in _rest(ladder, found, 2))
        seen = f"{ladder[1].name} is not: {refused.seen}.{others}"
        return 0, tests, f"Shipped: the model as it is. {seen} {_decided(refused)}"
    best = max(passing, key=lambda i: fits[i + 1])
    tests, name = found[best], ladder[best + 1].name
    why = (tests[-1] if held is not None else tests[0]).seen
    sentence = f"Shipped: {name}. Against the model as it is, {tests[1].seen}; {why}. {_decided(tests[-1])}"
    return best + 1, tests, sentence


def _rest(ladder: list[Rung], beside: list, first: int = 1) -> list[tuple[Rung, Any]]:
    """The rungs from `first` on, each with what goes with it in `beside`, which ends with the last rung's."""
    return list(zip(ladder[first:], beside[len(beside) - len(ladder) + first :], strict=True))


def _decided(test: _guard.Test) -> str:
    return "A few labels of the target decided." if test.name == "labels" else "No label of the target was used."


def _tested(options, graft, rungs, fits, held) -> list[_guard.Test]:
    """What the guard says of a rung beside the model as it is."""
    base, adapted = rungs
    prior = np.array(graft.prior or [1 / len(graft.classes)] * len(graft.classes))
    few = None
    if held is not None:
        answers = [one.graft.predict(held) for one in rungs]
        few = (held.y[answers[0].kept], *(one.probabilities for one in answers))
    evidence = _guard.Evidence(
        base=base.probabilities, adapted=adapted.probabilities, prior=prior, few=few, seed=options.seed
    )
    return [_clusters(*fits), *_guard.tests(evidence)]


def _clusters(before: float, after: float) -> _guard.Test:
    """What SHOT assumes, which nothing but the target can show here: that the model's classes are clusters of it.

    Adjusted mutual information of its answers with k-means, `before` and `after`.
    """
    if before < _CLUSTERED:
        seen = f"its classes are no clusters of the target (AMI {max(before, 0.0):.2f})"
        return _guard.Test(name="clusters", passed=False, seen=seen)
    words = "better" if after > before else "no better"
    seen = f"its answers fit the clusters of the target {words} (AMI {before:.2f}, then {after:.2f})"
    return _guard.Test(name="clusters", passed=bool(after > before), seen=seen)


def _report(options, graft, target, ladder, index, tests, sentence) -> dict[str, Any]:
    base = ladder[0].probabilities.argmax(1)
    backbone = " + ".join(part.source for part in graft.parts)
    rows = [
        {
            "rung": i, "method": one.name, "backbone": backbone,
            "metrics": {"changed": wilson(int((one.probabilities.argmax(1) != base).sum()), len(base)).to_dict()},
            "seconds": one.seconds, "chosen": i == index, "transfer": True, "passed": True, "note": one.note,
            "training": [],
        }
        for i, one in enumerate(ladder)
    ]  # fmt: skip
    return {
        "schema": 1,
        "task": "single_label",
        "name": Path(options.target).resolve().stem,
        "data": {"modality": graft.modality, "classes": list(graft.classes), "counts": {"target": len(target)},
                 "root": str(target.root)},
        "domains": {"sources": [], "model": options.from_model, "tests": [dataclasses.asdict(one) for one in tests],
                    "oracle": False},
        "ladder": rows,
        "comparisons": [],
        "verdict": {"rung": index, "method": ladder[index].name, "backbone": backbone, "sentence": sentence},
        "test": None,
        "mistakes": [],
        "label_errors": [],
        "environment": versions(),
        "options": dataclasses.asdict(options),
    }  # fmt: skip
