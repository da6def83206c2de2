"""How fast does a photo network train, beside the loop that one would write by hand, and on two processes?

The plain loop: a `Dataset` that decodes with Pillow, crops and mirrors, a `DataLoader`, NCHW, the default allocator,
torch's AdamW. Ours: `torchgraft.train.loop.train` with `ImageLoader`, channels_last and kept memory. Both: EfficientNet
Lite0 with frozen BatchNorm, batches of 16, everything trains. Every number comes from a fresh process; processes
alternate; medians are printed, as markdown.

    python benchmarks/training.py --data ../shared/data/hymenoptera --part rate
    python benchmarks/training.py --part ddp
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PARTS = ("rate", "ddp")
LITE0 = "packaged/efficientnet_lite0"
WARM, SEED = 4, 0
FIRST = 20
"""Steps whose losses are compared."""

WIDE = 64
"""The global batch of two processes: with 8 samples each, what a step costs whatever its size would be most of it."""

EXACT = 12
"""Steps in double precision, which takes ten times as long."""

SLOW = 3e-6
"""A rate at which rounding stays rounding: AdamW divides a gradient by its own size, also one that is only noise."""


def main() -> None:
    options = _options()
    if options.cell:
        CELLS[options.cell](options)
        return
    for part in options.part:
        print(f"\n## {part}\n")
        globals()[f"part_{part}"](options)


def part_rate(options: argparse.Namespace) -> None:
    """Samples and CPU seconds; then the first losses without augmentation."""
    found: dict[str, list[dict]] = {"ours": [], "plain": []}
    for _ in range(options.runs):
        for name, runs in found.items():
            runs.append(_child(options, name))
    print("| loop | samples a second | CPU seconds a step |\n|---|---|---|")
    for name, runs in found.items():
        print(f"| {name} | {_median(runs, 'rate'):.1f} | {_median(runs, 'cpu'):.2f} |")
    for what, words in (("rate", "Ratio of rates"), ("cpu", "Ratio of CPU seconds")):
        ratios = [a[what] / b[what] for a, b in zip(found["ours"], found["plain"], strict=True)]
        print(f"\n{words} (median of neighbours): {statistics.median(ratios):.2f}")
    print(f"\nFirst {FIRST} losses without augmentation, apart by at most (target: 1e-5):\n")
    for rate, like, words in (
        (options.rate, ("--alike",), "the plain loop with our memory layout and AdamW's fused step"),
        (options.rate, (), "the plain loop as it is: kernels round otherwise, and AdamW's first steps blow that up"),
        (SLOW, (), "the plain loop as it is"),
    ):
        more = ("--still", "--steps", str(FIRST), "--rate", str(rate), *like)
        pair = [_child(options, name, *more)["losses"] for name in found]
        print(f"- rate {rate:g}, {words}: {_apart(*pair):.1e}")


def part_ddp(options: argparse.Namespace) -> None:
    """Two processes of one thread against one of one thread, the same global batch."""
    os.environ |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    more = ("--still", "--rate", str(SLOW), "--batch", str(WIDE))
    ones, twos = [], []
    for _ in range(options.runs):
        ones.append(_child(options, "ours", *more))
        twos.append(_child(options, "ours", *more, launcher=launcher))
    print("| processes | samples a second |\n|---|---|")
    print(f"| 1 | {_median(ones, 'rate'):.1f} |\n| 2 | {_median(twos, 'rate'):.1f} |")
    ratio = statistics.median(b["rate"] / a["rate"] for a, b in zip(ones, twos, strict=True))
    apart = max(_apart(a["losses"], b["losses"]) for a, b in zip(ones, twos, strict=True))
    print(f"\nRatio: {ratio:.2f} (target: 1.7). Losses apart by {apart:.1e} at most (target: 1e-4, at rate {SLOW:g})")
    exact = ("--still", "--steps", str(EXACT), "--double")
    pair = [_child(options, "ours", *exact, launcher=how)["losses"] for how in ((), launcher)]
    print(f"At rate {options.rate:g} in double precision, {EXACT} steps: {_apart(*pair):.1e}")


def _child(options: argparse.Namespace, cell: str, *more: str, launcher: tuple[str, ...] = ()) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile(prefix="torchgraft-benchmark-", suffix=".json") as file:
        command = [sys.executable, "-W", "ignore", *launcher, __file__, "--cell", cell, "--data", str(options.data)]
        command += ["--out", file.name, "--rate", str(options.rate), "--steps", str(options.steps)]
        command += ["--batch", str(options.batch), *more]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return json.loads(Path(file.name).read_text())


def ours(options: argparse.Namespace) -> None:
    """The loop of the package."""
    from torchgraft.core.runtime import keep_memory

    keep_memory()
    import torch
    from torch import nn
    from torch.nn import functional

    from torchgraft import backbones
    from torchgraft.features import compose
    from torchgraft.train.augment import AugmentOptions
    from torchgraft.train.groups import parameter_groups
    from torchgraft.train.loader import ImageLoader
    from torchgraft.train.loop import LoopOptions, train
    from torchgraft.train.schedule import constant
    from torchgraft.train.step import Phase, Step

    class Photos(Step):
        def __init__(self, backbone: backbones.Backbone) -> None:
            super().__init__()
            self.network = compose(backbone, "avg").to(memory_format=torch.channels_last)
            torch.manual_seed(SEED)
            self.head = nn.Linear(backbone.width, 2)
            if options.double:
                self.double()
            self.losses: list[float] = []
            self.clocks: list[tuple[float, float]] = []

        def forward(self, batch, progress):
            self.clocks.append((time.perf_counter(), time.process_time()))
            z = self.network(*batch.inputs).to(self.head.weight.dtype)
            loss = functional.cross_entropy(self.head(z), batch.y)
            self.losses.append(loss.item())
            return loss

    backbone = backbones.load(LITE0)
    paths, y = _photos(options.data)
    augment = AugmentOptions() if options.still else AugmentOptions(crop="random", flip=0.5)
    loader = _Ordered(ImageLoader(paths, y, backbone.preprocessing, classes=2).augmented(augment), options)
    step = Photos(backbone)
    phase = Phase(
        name="all", epochs=1, rate=options.rate, schedule=constant(),
        groups=lambda step: parameter_groups(step.network, step.head, decay=0.01),
    )  # fmt: skip
    done = train(step, [phase], loader, options=LoopOptions(batch=options.batch, clip=0.0, seed=SEED))
    curve = [loss for _, loss, _ in done.history.curve]
    losses = [curve[0], *((b - 0.9 * a) / 0.1 for a, b in itertools.pairwise(curve))]
    _report(options, step.clocks, losses)


def plain(options: argparse.Namespace) -> None:
    """The loop one would write."""
    import torch
    from PIL import Image
    from torch import nn
    from torch.nn import functional
    from torch.utils.data import DataLoader, Dataset

    from torchgraft import backbones
    from torchgraft.features.decode import decode
    from torchgraft.train.norm import set_norm

    backbone = backbones.load(LITE0)
    how = backbone.preprocessing
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (how.mean, how.std))
    paths, y = _photos(options.data)

    def decoded(path: Path) -> torch.Tensor:
        if options.still:  # the same pixels as ours: the losses are compared, not the time
            return decode(path.read_bytes(), how)
        image = Image.open(path).convert("RGB")
        scale = how.resize / min(image.size)
        image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)
        left, top = (int(np.random.randint(side - how.size + 1)) for side in image.size)
        image = image.crop((left, top, left + how.size, top + how.size))
        if np.random.rand() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)

    class Photos(Dataset):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
            x = decoded(paths[i]).float()
            x = x * (1 / (255 * std)) - mean / std if options.alike else (x / 255 - mean) / std
            return x, int(y[i])

    network = backbone.module
    torch.manual_seed(SEED)
    head = nn.Linear(backbone.width, 2)
    network.train().requires_grad_(True)
    set_norm(network, "frozen")
    params = [*network.parameters(), *head.parameters()]
    flat = [p for p in params if p.ndim <= 1]
    weights = [p for p in params if p.ndim > 1]
    if options.alike:
        network.to(memory_format=torch.channels_last)
    engine = torch.optim.AdamW(
        [{"params": weights, "weight_decay": 0.01}, {"params": flat, "weight_decay": 0.0}],
        lr=options.rate,
        fused=options.alike or None,
    )
    order = [rows.tolist() for rows in _order(len(paths), options)]
    losses, clocks = [], []
    for x, labels in DataLoader(Photos(), batch_sampler=order):
        clocks.append((time.perf_counter(), time.process_time()))
        engine.zero_grad()
        loss = functional.cross_entropy(head(network(x).mean((2, 3))), labels)
        loss.backward()
        engine.step()
        losses.append(loss.item())
    _report(options, clocks, losses)


CELLS = {"ours": ours, "plain": plain}


class _Ordered:
    """A loader of which `steps` batches are an epoch, in an order that does not depend on the seed."""

    def __init__(self, loader: Any, options: argparse.Namespace) -> None:
        self.loader, self.options, self.load = loader, options, loader.load

    def __len__(self) -> int:
        return len(self.loader)

    def plan(self, batch: int, seed: int | None, among: np.ndarray | None = None) -> list[np.ndarray]:
        return _order(len(self), self.options)


def _order(n: int, options: argparse.Namespace) -> list[np.ndarray]:
    rng, total = np.random.default_rng(SEED), options.steps * options.batch
    rows = np.concatenate([rng.permutation(n) for _ in range(-(-total // n))])
    return np.split(rows[:total], options.steps)


def _photos(data: Path) -> tuple[list[Path], np.ndarray]:
    paths = sorted(path for path in (data / "train").rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    names = sorted({path.parent.name for path in paths})
    return paths, np.array([names.index(path.parent.name) for path in paths])


def _report(options: argparse.Namespace, clocks: list[tuple[float, float]], losses: list[float]) -> None:
    if int(os.environ.get("RANK", "0")):
        return
    steps = len(clocks) - 1 - WARM
    wall, cpu = (clocks[-1][i] - clocks[WARM][i] for i in (0, 1))
    Path(options.out).write_text(
        json.dumps({"rate": options.batch * steps / wall, "cpu": cpu / steps, "losses": losses})
    )


def _median(runs: list[dict], what: str) -> float:
    return statistics.median(run[what] for run in runs)


def _apart(one: list[float], other: list[float]) -> float:
    return float(np.abs(np.array(one) - np.array(other)).max())


def _options() -> argparse.Namespace:
    data = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="*", choices=PARTS, default=list(PARTS), help="parts to run (default: all)")
    parser.add_argument("--data", type=Path, default=data / "hymenoptera", help="folder with train/CLASS/*.jpg")
    parser.add_argument("--steps", type=int, default=24, help="steps of a run")
    parser.add_argument("--rate", type=float, default=3e-4, help="learning rate")
    parser.add_argument("--batch", type=int, default=16, help="samples of an update")
    parser.add_argument("--runs", type=int, default=3, help="processes per variant")
    parser.add_argument("--cell", choices=CELLS, help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    parser.add_argument("--double", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--alike", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--still", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
