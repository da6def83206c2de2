"""What do maps on the way through a network add to its last features? `levels` beside the linear probe and LDA.

On draws of few labels (those of `rank_truth.py`), accuracy on the test part, and what LP-FT reached there.
"""

from __future__ import annotations

import argparse
from types import SimpleNamespace

import numpy as np

from _rank_sets import LABELS, add_places, backbones, draw
from rank_truth import RESULTS, problem_of, rows
from torchgraft.core import registry
from torchgraft.core.runtime import keep_memory
from torchgraft.tasks.single_label import make_graft, measure

METHODS = ("linear_probe", "lda", "levels")


def main() -> None:
    """Print one row for each set and backbone, the mean of the draws in %."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_places(parser)
    parser.add_argument("--sets", nargs="*", default=list(LABELS), choices=list(LABELS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--backbones", nargs="*", default=["efficientnet_lite0", "mobilenetv1_100_224"])
    arguments = parser.parse_args()
    keep_memory()
    names = [n for n in backbones(arguments.weights, arguments.work) if n.endswith(tuple(arguments.backbones))]
    trained = {(r["set"], r["seed"], r["backbone"]): r["lp_ft"] for r in rows(RESULTS)}
    print(f"| set | backbone | {' | '.join(METHODS)} | levels better by | fine-tuned |\n|---|---|{'---|' * 5}")
    for name in arguments.sets:
        for backbone in names:
            short = backbone.rpartition("/")[2]
            found = [_accuracies(draw(name, s, arguments.data, arguments.work), backbone) for s in arguments.seeds]
            means, gains = 100 * np.mean(found, axis=0), [100 * (one[-1] - max(one[:-1])) for one in found]
            tuned = np.mean([100 * trained.get((name, seed, short), np.nan) for seed in arguments.seeds])
            cells = " | ".join(f"{value:.1f}" for value in means)
            each = ", ".join(f"{gain:+.1f}" for gain in gains)
            print(f"| {name} | {short} | {cells} | {each} | {tuned:.1f} |", flush=True)


def _accuracies(drawn, backbone: str) -> list[float]:
    problem, sources = problem_of(drawn, backbone)
    test = sources.samples.take(np.flatnonzero(sources.samples.split == "test"))
    found = []
    for name in METHODS:
        method = registry.get("tune", name)
        candidate = method.fit(problem, method.Options())
        rung = SimpleNamespace(method=name, options=method.Options())
        entry = SimpleNamespace(candidate=candidate, rung=rung, measured=measure(problem, candidate))
        labels = make_graft(entry, problem, sources).predict(test).probabilities.argmax(1)
        found.append(float((labels == test.y).mean()))
    return found


if __name__ == "__main__":
    main()
