"""Does fine-tuning earn its place: what `graft fit` ships with few labels, beside the linear probe and plain `full`?

For each set and draw: the whole run with its defaults within the budget, and the linear probe alone on the same draw
and backbone. `--part full` holds lp_ft against `full` fine-tuning from a random head, each with the same budget;
`--part trec` fits all of TREC. Test accuracy is looked at only to print.
"""

from __future__ import annotations

import argparse
import atexit
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from _rank_sets import spectrograms
from torchgraft.core import options as core_options
from torchgraft.core import registry
from torchgraft.core.journal import Journal
from torchgraft.core.progress import SILENT
from torchgraft.data import ReadOptions, Samples, read
from torchgraft.fit._inputs import load_data
from torchgraft.fit._sources import gather
from torchgraft.fit.options import FitOptions
from torchgraft.fit.run import make_resources
from torchgraft.tasks.single_label import make_graft, make_problem, measure
from torchgraft.tune._recipe import RATES
from torchgraft.tune.base import Skip

SETS = {"hymenoptera": 0, "cifar10_subset": 64, "spectrograms": 20, "trec": 64, "sst2": 64}
"""Name -> labels a class (0: all)."""

GOALS = {"hymenoptera": None, "cifar10_subset": 3.0, "spectrograms": None, "trec": 5.0, "sst2": None}
"""Points over the linear probe that are wanted; None: not under it by more than its interval."""

BACKBONES = {"image": "packaged/efficientnet_lite0", "text": "packaged/minilm_l6"}


def main() -> None:
    """Fit the chosen sets and print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--backbone", default="", help="for the whole run (default: all that are packaged)")
    parser.add_argument("--part", default="ladder", choices=("ladder", "full", "trec"))
    parser.add_argument("--epochs", type=int, default=0, help="of --part full, in place of a budget")
    arguments = parser.parse_args()
    {"ladder": _ladder, "full": _full, "trec": _trec}[arguments.part](arguments)


def _ladder(arguments: argparse.Namespace) -> None:
    print(f"Budget {arguments.budget} a fit, {os.cpu_count()} cores.\n")
    print("| set | draw | probe [95 %] | shipped [95 %] | points | method | lp_ft said | wall s | CPU s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in arguments.sets:
        gains = []
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as folder:
                options = _draw(_path(name, arguments.data), SETS[name], seed, Path(folder))
                probe = _fit([*options, "--backbone", BACKBONES[_modality(name)], "--method", "linear_probe"], seed)
                more = ["--backbone", arguments.backbone] if arguments.backbone else []
                found = _fit([*options, *more, "--budget", arguments.budget], seed)
            a, b = probe["test"]["accuracy"], found["test"]["accuracy"]
            gains.append(100 * (b["value"] - a["value"]))
            under = " (under the probe's interval)" if b["value"] < a["low"] else ""
            print(
                f"| {name} | {seed} | {_shown(a)} | {_shown(b)} | {gains[-1]:+.1f}{under} "
                f"| {found['verdict']['method']} | {_said(found)} "
                f"| {found['seconds']['total']:.0f} | {found['cpu']:.0f} |",
                flush=True,
            )
        goal = "" if GOALS[name] is None else f" (wanted: {GOALS[name]:+.0f})"
        spread = f", sd {statistics.stdev(gains):.1f}" if len(gains) > 1 else ""
        print(
            f"| **{name}** | mean of {len(gains)} | | | **{statistics.mean(gains):+.1f}**{goal}{spread} | | | | |",
            flush=True,
        )


def _full(arguments: argparse.Namespace) -> None:
    """Both in this process on one problem, since a run's report has the test accuracy of what it ships only."""
    print("| set | draw | linear probe | lp_ft | CPU s | full, random head | CPU s | points |")
    print("|---|---|---|---|---|---|---|---|")
    for name in arguments.sets:
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as folder:
                target, _, test = _draw(_path(name, arguments.data), SETS[name], seed, Path(folder))
                options = FitOptions(target=target, test=test, seed=seed, backbone=BACKBONES[_modality(name)])
                found = _methods(options, ("linear_probe", "lp_ft", "full"), arguments)
            (probe, _), (ours, cpu), (plain, other) = (found[key] for key in ("linear_probe", "lp_ft", "full"))
            print(
                f"| {name} | {seed} | {probe:.3f} | {ours:.3f} | {cpu:.0f} | {plain:.3f} | {other:.0f} "
                f"| {100 * (ours - plain):+.1f} |",
                flush=True,
            )


def _methods(
    options: FitOptions, names: tuple[str, ...], arguments: argparse.Namespace
) -> dict[str, tuple[float, float]]:
    """Test accuracy and CPU seconds of each method; of the probe's where lp_ft says that no epoch beats it.

    With `--epochs` both train that long on one fold and on all samples, at their first rate: the same work for each,
    however busy the machine is.
    """
    budget = float("inf") if arguments.epochs else core_options.seconds(arguments.budget)
    samples, _ = load_data(options, SILENT)
    sources = gather(samples, (options.backbone,), engine="auto", deadline=float("inf"), progress=SILENT)
    problem, _ = make_problem(sources, options.seed)
    test = sources.samples.take(np.flatnonzero(sources.samples.split == "test"))
    resources = make_resources(sources, None, Journal())
    given = {"rate": RATES[0], "epochs": arguments.epochs} if arguments.epochs else {}
    problem = replace(problem, folds=problem.folds[: 1 if arguments.epochs else None])
    found: dict[str, tuple[float, float]] = {}
    for name in names:
        method, start = registry.get("tune", name), time.process_time()
        timed = replace(problem, resources=replace(resources, deadline=time.monotonic() + budget))
        chosen = method.Options(**({} if name == "linear_probe" else given))
        try:
            candidate = method.fit(timed, chosen)
            rung = SimpleNamespace(method=name, options=chosen)
            entry = SimpleNamespace(candidate=candidate, rung=rung, measured=measure(problem, candidate))
            graft = make_graft(entry, problem, sources)
            accuracy = float((graft.predict(test).probabilities.argmax(1) == test.y).mean())
        except Skip as skip:
            print(f"    {name}: {skip}")
            accuracy = found["linear_probe"][0]
        found[name] = (accuracy, time.process_time() - start)
    return found


def _modality(name: str) -> str:
    return "text" if name in ("trec", "sst2") else "image"


def _trec(arguments: argparse.Namespace) -> None:
    data = arguments.data / "trec"
    options = [str(data / "train.csv"), "--test", str(data / "test.csv"), "--budget", arguments.budget]
    found = _fit([*options, "--method", "lda,linear_probe,fusion,lp_ft"], 0)
    for row in found["ladder"]:
        held_out = row["metrics"]["accuracy"]["value"]
        print(f"{row['method']}: held-out {held_out:.3f}, CPU {row['cpu_seconds']:.0f} s, {row['note']}")
    shipped, test = found["verdict"]["method"], _shown(found["test"]["accuracy"])
    print(f"All of TREC, shipped {shipped}: test {test}, CPU {found['cpu']:.0f} s")


def _fit(options: list[str], seed: int) -> dict:
    """The report of one `graft fit` in a process of its own, with `cpu`: its CPU seconds."""
    with tempfile.TemporaryDirectory() as out:
        command = [
            sys.executable,
            "-m",
            "torchgraft",
            "fit",
            *options,
            "--seed",
            str(seed),
            "--out",
            f"{out}/run",
            "--quiet",
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(command)} ended with {status}")
        report = json.loads(Path(out, "run", "report.json").read_text(encoding="utf-8"))
    return report | {"cpu": usage.ru_utime + usage.ru_stime}


@cache
def _path(name: str, data: Path) -> Path:
    """Where a set is; the recordings of fsdd are written as pictures first, once."""
    if name != "spectrograms":
        return data / name
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    return spectrograms(data / "fsdd", folder / name)


def _draw(path: Path, shots: int, seed: int, folder: Path) -> list[str]:
    """TARGET and --test of one draw: `shots` labels a class (0: all) out of train, the whole test part."""
    if path.name in ("trec", "sst2"):
        train = read(path / "train.csv", ReadOptions())
        with (folder / "train.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["text", "label"])
            writer.writerows([train.x[i], train.classes[train.y[i]]] for i in _rows(train, shots, seed))
        return [str(folder / "train.csv"), "--test", str(path / "test.csv")]
    test = path / ("test" if (path / "test").is_dir() else "val")
    train = read(path / "train", ReadOptions())
    for i in _rows(train, shots, seed):
        link = folder / "train" / train.classes[train.y[i]] / Path(train.x[i]).name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(train.x[i]).resolve())
    return [str(folder / "train"), "--test", str(test)]


def _rows(samples: Samples, shots: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(np.flatnonzero(samples.y == c)) for c in range(len(samples.classes))]
    return np.concatenate([some[:shots] if shots else some for some in rows])


def _shown(value: dict) -> str:
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _said(report: dict) -> str:
    rows = [row["note"] for row in report["ladder"] if row["method"] == "lp_ft"]
    skipped = [one["reason"] for one in report["skipped"] if one["method"].startswith("lp_ft")]
    return (rows or skipped or [""])[0]


if __name__ == "__main__":
    main()
