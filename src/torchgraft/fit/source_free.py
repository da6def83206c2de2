"""The main job where there is a model and a target without labels, and nothing of what the model was fitted on."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from torchgraft.core.errors import DataError
from torchgraft.core.progress import Progress
from torchgraft.core.runtime import versions
from torchgraft.data import Finding, ReadOptions, Samples, check, read
from torchgraft.evaluate import score, wilson
from torchgraft.fit import _guard
from torchgraft.fit.options import FitOptions
from torchgraft.fit.report import Report
from torchgraft.model import Graft, LinearHead, MlpHead, as_sure_as, assemble, load
from torchgraft.train.select import class_ami

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
    graft = load(options.from_model)
    target, findings = _target(options, graft, progress)
    blocks, kept, failed = graft.blocks(target, progress=progress)
    if len(kept) < 4:
        raise DataError(f"{options.target}: {len(kept)} samples can be used; 4 are needed.")
    target = target.take(kept)
    ladder, reason = _ladder(graft, blocks, options.seed, progress)
    index, tests, sentence = _choose(options, graft, ladder, blocks, reason)
    shipped = ladder[index].graft
    data = _report(options, graft, target, ladder, index, tests, sentence)
    data["data"]["findings"] = [dataclasses.asdict(one) for one in (*findings, *failed)]
    data["skipped"] = [{"method": "shot", "reason": reason}] if reason else []
    if options.test:
        held = _labelled(options.test, "--test", graft)
        found = shipped.predict(held, progress=progress)
        data["test"] = score(held.y[found.kept], found.probabilities, graft.classes, seed=options.seed)
    data["seconds"] = {"total": time.monotonic() - start}
    report = Report(path, data)
    shipped.save(path / "model", check=target.take(np.arange(min(len(target), 4))), card=report.card(shipped))
    report.write()


def _target(options: FitOptions, graft: Graft, progress: Progress) -> tuple[Samples, tuple[Finding, ...]]:
    target = read(options.target, ReadOptions(text=options.text, label=options.label))
    if target.modality != graft.modality:
        raise DataError(f"the model takes {graft.modality} samples, {options.target} holds {target.modality} samples.")
    unseen = dataclasses.replace(target, y=np.full(len(target), -1), classes=())
    samples, found = check(unseen, progress=progress)
    told = (one for one in target.findings if one.kind not in ("no_labels", "unlabelled"))
    return samples, (*told, *found)


def _labelled(path: str, flag: str, graft: Graft) -> Samples:
    samples = read(path, ReadOptions())
    place = [graft.classes.index(name) if name in graft.classes else -1 for name in samples.classes]
    y = np.array([place[label] if label >= 0 else -1 for label in samples.y], dtype=np.int64)
    if samples.modality != graft.modality or not (y >= 0).any():
        raise DataError(f"{flag} {path} holds no {graft.modality} sample with a class of the model.")
    return dataclasses.replace(samples, y=y, classes=graft.classes).take(y >= 0)


def _ladder(graft: Graft, blocks: Any, seed: int, progress: Progress) -> tuple[list[Rung], str]:
    """The model as it is, and SHOT on its features; or why there is no SHOT."""
    start = time.monotonic()
    base = np.exp(graft.log_probabilities(blocks))
    ladder = [Rung(name="as it is", graft=graft, probabilities=base, seconds=time.monotonic() - start)]
    z = assemble(graft.parts, blocks)
    if sparse.issparse(z) or not z.shape[1] or not isinstance(graft.head, LinearHead | MlpHead):
        return ladder, f"SHOT needs dense features and a linear or two-layer head; this model is {graft.method}"
    from torchgraft.adapt import adapt  # loads torch

    start, z = time.monotonic(), np.asarray(z, dtype=np.float32)
    found = adapt("shot", None, None, z, n_classes=len(graft.classes), start=graft.head, seed=seed, progress=progress)
    sure = as_sure_as(found.head.logits(z), base)
    adapted = dataclasses.replace(graft, head=found.head, method="shot", temperature=sure)
    probabilities = np.exp(adapted.log_probabilities(blocks))
    note = f"adapted from {graft.method}, head kept"
    took = time.monotonic() - start
    return [*ladder, Rung(name="shot", graft=adapted, probabilities=probabilities, seconds=took, note=note)], ""


def _choose(options, graft, ladder, blocks, reason) -> tuple[int, list[_guard.Test], str]:
    """SHOT where the classes are clusters of the target and its answers fit these better; else as it is."""
    if reason:
        return 0, [], f"Shipped: the model as it is. {reason}."
    base, adapted = ladder
    z = np.asarray(assemble(graft.parts, blocks), dtype=np.float64)
    prior = np.array(graft.prior or [1 / len(graft.classes)] * len(graft.classes))
    few = None
    if options.few_labels:
        held = _labelled(options.few_labels, "--few-labels", graft)
        answers = [one.graft.predict(held) for one in ladder]
        few = (held.y[answers[0].kept], *(one.probabilities for one in answers))
    evidence = _guard.Evidence(
        base=base.probabilities, adapted=adapted.probabilities, prior=prior, few=few, seed=options.seed
    )
    tests = [_clusters(z, base, adapted, options.seed), *_guard.tests(evidence)]
    refused = _guard.refusal(tests)
    decided = (refused or tests[-1]).name == "labels"
    unseen = "A few labels of the target decided." if decided else "No label of the target was used."
    if refused:
        return 0, tests, f"Shipped: the model as it is. shot is not: {refused.seen}. {unseen}"
    why = (tests[-1] if few else tests[0]).seen
    return 1, tests, f"Shipped: shot. Against the model as it is, {tests[1].seen}; {why}. {unseen}"


def _clusters(z: np.ndarray, base: Rung, adapted: Rung, seed: int) -> _guard.Test:
    """What SHOT assumes, which nothing but the target can show here: that the model's classes are clusters of it."""
    z = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    before, after = (class_ami(z, one.probabilities, seed) for one in (base, adapted))
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
