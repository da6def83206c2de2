"""How good is each rung, on held-out rows and on test, before any choice among them is made?

Features come from the store (computed once, with the packaged backbones). Each rung is fitted on the training part,
or on draws of 8, 16, 64 labels a class, with the folds that `graft fit` uses. Prints one Markdown table a set: accuracy
and log loss at the temperature that the held-out rows ask for, held out and on test, and CPU seconds.

`--save DIR` writes `rungs_SET.npz` with, for each draw s: `s0/y`, `s0/y_test`, `s0/rows`, and for each rung its
`s0/oof/RUNG` (M x C) and `s0/test/RUNG` (T x C) logits ('/' in backbone names written as '.').
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from scipy.special import log_softmax

from torchgraft import backbones
from torchgraft.core import registry
from torchgraft.data import Samples, folds, read
from torchgraft.evaluate import fit_temperature
from torchgraft.features import extract
from torchgraft.fit import plan
from torchgraft.model.graft import assemble
from torchgraft.tune import Problem

SETS = ["hymenoptera", "trec", "sst2", "cifar10_subset", "trec:8", "trec:16", "trec:64"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="*", default=SETS, help="NAME, or NAME:LABELS_A_CLASS")
    parser.add_argument("--seeds", type=int, default=5, help="draws of the few-label sets")
    parser.add_argument("--save", type=Path, help="folder for the logits")
    arguments = parser.parse_args()
    for job in arguments.sets:
        name, _, shots = job.partition(":")
        rows, kept = {}, {}
        samples, blocks = _features(arguments.data / name)
        for seed in range(arguments.seeds if shots else 1):
            problem, test = _draw(samples, blocks, int(shots or 0), seed)
            for rung, (candidate, logits, seconds) in _climb(problem, test[0]).items():
                rows.setdefault(rung, []).append((*_score(problem, candidate, logits, test[1]), seconds))
                kept[f"s{seed}/oof/{rung.replace('/', '.')}"] = candidate.logits
                kept[f"s{seed}/test/{rung.replace('/', '.')}"] = logits
            kept |= {f"s{seed}/y": problem.y[problem.held_out], f"s{seed}/y_test": test[1]}
            kept[f"s{seed}/rows"] = problem.held_out
        _print(job, rows)
        if arguments.save:
            np.savez(arguments.save / f"rungs_{job.replace(':', '')}.npz", **kept)


def _features(path: Path) -> tuple[Samples, dict]:
    samples = read(path)
    offers = [o for o in backbones.offers(samples.modality) if o.name.startswith("packaged/")]
    offers.sort(key=lambda offer: offer.parameters)
    blocks = {offer.name: np.asarray(extract(samples, backbones.load(offer.name)).z) for offer in offers}
    if any(len(z) != len(samples) for z in blocks.values()):
        raise SystemExit(f"{path}: some samples can't be read; run `graft check {path}`.")
    return samples, blocks | ({"text": list(samples.x)} if samples.modality == "text" else {})


def _draw(samples: Samples, blocks: dict, shots: int, seed: int) -> tuple[Problem, tuple[dict, np.ndarray]]:
    test = "test" if (samples.split == "test").any() else "val"
    train = np.flatnonzero(samples.split == "train")
    if shots:
        rng = np.random.default_rng(seed)
        by_class = [train[samples.y[train] == c] for c in range(len(samples.classes))]
        train = np.sort(np.concatenate([rng.permutation(rows)[:shots] for rows in by_class]))
    held = np.flatnonzero(samples.split == test)
    y = samples.y[train]
    problem = Problem(blocks=_take(blocks, train), y=y, classes=samples.classes, folds=folds(y, seed=seed), seed=seed)
    return problem, (_take(blocks, held), samples.y[held])


def _take(blocks: dict, rows: np.ndarray) -> dict:
    return {s: v[rows] if isinstance(v, np.ndarray) else [v[i] for i in rows] for s, v in blocks.items()}


def _climb(problem: Problem, blocks: dict) -> dict:
    found = {}
    for rung in plan.rungs(plan.methods(plan.AUTO), problem.dense, {}):
        method = registry.get("tune", rung.method)
        if not method.applies(problem):
            start = time.process_time()
            candidate = method.fit(problem, rung.options)
            seconds = time.process_time() - start
            found[rung.name] = candidate, candidate.head.logits(assemble(candidate.parts, blocks)), seconds
    return found


def _score(problem: Problem, candidate, logits: np.ndarray, y: np.ndarray) -> tuple[float, ...]:
    seen = problem.y[candidate.rows]
    temperature = fit_temperature(seen, candidate.logits)
    return (*_measure(candidate.logits / temperature, seen), *_measure(logits / temperature, y))


def _measure(logits: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    log_p = log_softmax(logits, axis=1)
    return float((logits.argmax(axis=1) == y).mean()), -float(log_p[np.arange(len(y)), y].mean())


def _print(job: str, rows: dict) -> None:
    print(f"\n| {job} | held out | log loss | test | sd | log loss | CPU s |\n|---|---|---|---|---|---|---|")
    for rung, values in rows.items():
        held, held_loss, test, test_loss, seconds = np.mean(values, axis=0)
        spread = f"{np.std([value[2] for value in values]):.3f}" if len(values) > 1 else ""
        print(f"| {rung} | {held:.3f} | {held_loss:.3f} | {test:.3f} | {spread} | {test_loss:.3f} | {seconds:.2f} |")


if __name__ == "__main__":
    main()
