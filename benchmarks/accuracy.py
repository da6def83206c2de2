"""How good is what `graft fit` ships with its defaults, and how far is the choice from the best rung?

Fits each set with `tg.fit`, then prints the test accuracy of the shipped graft, of every rung (fitted parts scored on
the same test samples, only to print), and the regret: best rung minus shipped, in points.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

import torchgraft as tg
from torchgraft.fit import run as fit_run
from torchgraft.fit.options import FitOptions

GOALS = {
    "hymenoptera": 0.94, "trec": 0.94, "sst2": 0.845, "cifar10_subset": 0.74,
    "trec, 8 a class": 0.55, "trec, 16 a class": 0.64, "trec, 64 a class": 0.77,
}  # fmt: skip


def main() -> None:
    """Fit the chosen sets and print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="*", default=list(GOALS), choices=list(GOALS))
    parser.add_argument("--seeds", type=int, default=5, help="draws of the few-label sets")
    parser.add_argument("--rungs", action="store_true", help="print every rung's test accuracy too")
    arguments = parser.parse_args()
    print("| set | goal | shipped (test) | interval | method | backbone | best rung | regret, points | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    regrets = []
    for name in arguments.sets:
        with tempfile.TemporaryDirectory() as folder:
            jobs = list(_jobs(name, arguments.data, Path(folder), arguments.seeds))
            rows = [_fit(options, arguments.rungs) for options in jobs]
        regrets += [row["regret"] for row in rows]
        mean = statistics.mean(row["accuracy"] for row in rows)
        spread = (
            f"{rows[0]['low']:.3f} to {rows[0]['high']:.3f}"
            if len(rows) == 1
            else f"sd {statistics.stdev(row['accuracy'] for row in rows):.3f}"
        )
        methods = ", ".join(dict.fromkeys(row["method"] for row in rows))
        backbones = ", ".join(dict.fromkeys(row["backbone"] for row in rows))
        best = statistics.mean(row["accuracy"] + row["regret"] / 100 for row in rows)
        print(
            f"| {name} | {GOALS[name]} | {mean:.3f} | {spread} | {methods} | {backbones} | {best:.3f} "
            f"| {statistics.mean(row['regret'] for row in rows):.1f} "
            f"| {statistics.mean(row['seconds'] for row in rows):.0f} |",
            flush=True,
        )
    print(f"\nMean regret of the choice over {len(regrets)} fits: {statistics.mean(regrets):.2f} points.")


def _jobs(name: str, data: Path, folder: Path, seeds: int):
    base = name.partition(",")[0]
    if base == name:
        target, test = _parts(data / base)
        yield FitOptions(target=str(target), test=test and str(test), out=str(folder / "run"))
        return
    shots = int(name.split()[1])
    for seed in range(seeds):
        path = folder / f"{shots}-{seed}.csv"
        _draw(data / base / "train.csv", path, shots, seed)
        yield FitOptions(
            target=str(path), test=str(data / base / "test.csv"), seed=seed, out=str(folder / f"run-{seed}")
        )


def _parts(path: Path) -> tuple[Path, Path | None]:
    if (path / "train").is_dir() and not (path / "test").is_dir():
        return path / "train", path / "val"
    return path, None


def _draw(source: Path, target: Path, shots: int, seed: int) -> None:
    rows = defaultdict(list)
    with source.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            rows[row["label"]].append(row["text"])
    rng = np.random.default_rng(seed)
    with target.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        for label, texts in sorted(rows.items()):
            writer.writerows([texts[i], label] for i in rng.permutation(len(texts))[:shots])


def _fit(options: FitOptions, every_rung: bool) -> dict:
    seen = {}
    choose = fit_run.choose

    def remember(entries, **rest):
        seen["entries"] = list(entries)
        return choose(entries, **rest)

    fit_run.choose = remember
    start = time.perf_counter()
    try:
        run = tg.fit(options)
    finally:
        fit_run.choose = choose
    seconds = time.perf_counter() - start
    report = run.report.data
    accuracy = report["test"]["accuracy"]
    scores = _score_rungs(options, seen["entries"])
    if every_rung:
        for label, value in scores:
            print(f"    {label}: {value:.3f}")
    return {
        "accuracy": accuracy["value"], "low": accuracy["low"], "high": accuracy["high"], "seconds": seconds,
        "method": report["verdict"]["method"], "backbone": report["verdict"]["backbone"] or "none",
        "regret": 100 * (max(value for _, value in scores) - accuracy["value"]),
    }  # fmt: skip


def _score_rungs(options: FitOptions, entries) -> list[tuple[str, float]]:
    from torchgraft.core.progress import SILENT
    from torchgraft.fit._inputs import backbone_names, load_data
    from torchgraft.fit._sources import gather
    from torchgraft.model import assemble

    samples, _ = load_data(options, SILENT)
    sources = gather(
        samples, backbone_names(options, samples.modality), engine="auto", deadline=float("inf"), progress=SILENT
    )
    test = np.flatnonzero(sources.samples.split == "test")
    blocks = {k: v[test] if isinstance(v, np.ndarray) else [v[i] for i in test] for k, v in sources.blocks.items()}
    y = sources.samples.y[test]
    found = []
    for entry in entries:
        z = assemble(entry.candidate.parts, blocks) if entry.candidate.parts else np.zeros((len(test), 0))
        found.append((entry.rung.name, float((entry.candidate.head.logits(z).argmax(1) == y).mean())))
    return found


if __name__ == "__main__":
    main()
