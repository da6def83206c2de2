"""How good are scenes segmented, at which cost? CamVid, 240 x 180, fitted on train, measured on val, 11 classes.

`--part ladder`: what `graft fit` does with its defaults (or `--budget`, `--method`): each rung's mIoU on val and CPU
seconds, the shipped one class by class. `--part random`: the shipped recipe from random weights, with as many CPU
seconds for training. `--part steps`: training steps a second against a plain loop with the same network, in turns in
one process, medians.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from torchgraft.backbones import Network, load
from torchgraft.core import registry
from torchgraft.core.journal import Journal
from torchgraft.core.progress import SILENT
from torchgraft.core.runtime import keep_memory
from torchgraft.data import IGNORE
from torchgraft.evaluate.overlap import iou, miou
from torchgraft.fit._inputs import load_data
from torchgraft.fit._sources import gather
from torchgraft.fit.options import FitOptions
from torchgraft.fit.run import make_resources
from torchgraft.model.scene_network import SceneNetwork
from torchgraft.train.dense_loss import DenseLoss, DenseLossOptions
from torchgraft.train.groups import parameter_groups
from torchgraft.train.loop import LoopOptions, train
from torchgraft.train.norm import set_norm
from torchgraft.train.step import Phase
from torchgraft.tune import scene_lp_ft
from torchgraft.tune._dense_training import DenseRecipe, PixelClassifier, _augment, _Training
from torchgraft.tune._scenes import scenes
from torchgraft.tune.base import Problem

BACKBONE = "packaged/efficientnet_lite0"
BATCH = 8


def main() -> None:
    """Print one part's numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--part", default="ladder", choices=("ladder", "random", "steps"))
    parser.add_argument("--budget", default="30m", help="of --part ladder")
    parser.add_argument("--method", default="auto", help="of --part ladder")
    parser.add_argument("--epochs", type=int, default=8, help="of --part random")
    parser.add_argument("--steps", type=int, default=8, help="of --part steps: steps in a turn")
    parser.add_argument("--turns", type=int, default=9, help="of --part steps")
    arguments = parser.parse_args()
    {"ladder": _ladder, "random": _random, "steps": _steps}[arguments.part](arguments)


def _ladder(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "torchgraft", "fit", str(arguments.data / "camvid"), "--out", f"{out}/run"]
        start = time.monotonic()
        more = ["--budget", arguments.budget, "--method", arguments.method]
        subprocess.run([*command, *more], check=True, stdout=subprocess.DEVNULL)
        wall = time.monotonic() - start
        report = json.loads(Path(out, "run", "report.json").read_text())
    print("| rung | mIoU on val | pixels right | CPU s | note |\n|---|---|---|---|---|")
    for row in report["ladder"]:
        found = row["metrics"]["miou"]
        miou_ = f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
        right = row["metrics"]["pixel_accuracy"]["value"]
        bold = "**" if row["chosen"] else ""
        print(f"| {bold}{row['method']}{bold} | {miou_} | {right:.3f} | {row['cpu_seconds']:.0f} | {row['note']} |")
    total = sum(row["cpu_seconds"] for row in report["ladder"])
    print(
        f"\n{report['verdict']['sentence']}\nCPU seconds of all rungs {total:.0f}, wall time of the run {wall:.0f} s.\n"
    )
    classes = ", ".join(f"{row['class']} {row['iou']['value']:.2f}" for row in report["held_out"]["per_class"])
    print(f"IoU of the shipped rung: {classes}.")


def _problem(arguments: argparse.Namespace) -> Problem:
    """CamVid as `graft fit` sees it, with the backbone at hand."""
    options = FitOptions(target=str(arguments.data / "camvid"), backbone=BACKBONE)
    samples, _ = load_data(options, SILENT)
    sources = gather(samples, (BACKBONE,), engine="torch", deadline=float("inf"), progress=SILENT, pooled=False)
    problem, _ = registry.get("tasks", samples.task).make_problem(sources, 0)
    return replace(problem, resources=make_resources(sources, None, Journal()))


def _random(arguments: argparse.Namespace) -> None:
    """The same network, decoder, loss, rate and augmentation; train alone.

    Real weights begin at the probe. Random ones begin at a random decoder, with statistics of BatchNorm from their own
    batches, and train for as many epochs as take the CPU seconds of the others, their probe included.
    """
    problem = _problem(arguments)
    backbone = problem.resources.backbones[BACKBONE]
    print("| weights | epochs | mIoU on val | CPU s | IoU of each class |\n|---|---|---|---|---|")
    took = _trained("ImageNet", problem, backbone, arguments.epochs, probe=True)
    once = _trained("", problem, _randomised(backbone), 1, probe=False)
    _trained("random", problem, _randomised(backbone), max(round(took / once), 1), probe=False)


def _trained(name: str, problem: Problem, backbone, epochs: int, *, probe: bool) -> float:
    """Train on the fit rows, measure on val, print a row where there is a name; CPU seconds of training."""
    resources = replace(problem.resources, backbones={BACKBONE: backbone}, shared={}, journal=Journal())
    options, recipe = scene_lp_ft.Options(epochs=epochs), DenseRecipe(decoder="linear", encoder=True)
    training = _Training(replace(problem, resources=resources), options, recipe, name or "once")
    (fit, held), start = problem.folds[0], time.process_time()
    if probe:
        step = training._step(training.setting.probe.heads[0], fit)
    else:
        torch.manual_seed(0)
        loss = DenseLoss(_loss(), problem.masks.counts[fit].sum(0))
        step = PixelClassifier(SceneNetwork.of(backbone, "linear", len(problem.classes)), loss)
        training._groups = _all_layers
    training._train(step, fit, held if probe else None, epochs, "train")
    took = time.process_time() - start
    counts = training.setting.answer(step.network, held).counts.sum(0)
    classes = " ".join(f"{value:.2f}" for value in iou(counts))
    if name:
        print(f"| {name} | {epochs} | {miou(counts):.3f} | {took:.0f} | {classes} |", flush=True)
    return took


def _loss() -> DenseLossOptions:
    """That of a run with its defaults."""
    options = scene_lp_ft.Options()
    return DenseLossOptions(name=options.loss, class_weight=options.class_weight)


def _all_layers(step: PixelClassifier):
    set_norm(step.network.levels, "train")
    return parameter_groups(step.network.levels, step.network.decoder, decay=0.01)


def _randomised(backbone):
    """The same architecture, weights drawn anew, statistics of BatchNorm at 0 and 1."""

    def build() -> Network:
        torch.manual_seed(0)
        module = load(BACKBONE).network.module
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out")
            elif isinstance(part, nn.BatchNorm2d):
                part.reset_parameters()
        return Network(module=module)

    return replace(backbone, revision="random", build=build)


def _steps(arguments: argparse.Namespace) -> None:
    """Medians of turns: ours (the loop as it is in a run), and a plain loop as a tutorial writes it."""
    keep_memory()
    problem = _problem(arguments)
    backbone, classes = problem.resources.backbones[BACKBONE], len(problem.classes)
    loader, counts = scenes(problem, 512), problem.masks.counts.sum(0)
    loader = loader.augmented(_augment(scene_lp_ft.Options(), loader, backbone.preprocessing))
    plain_set = [(problem.blocks["image"][i], problem.masks.paths[i]) for i in range(len(loader))]
    ours, plain = [], []
    for turn in range(arguments.turns):
        ours.append(_our_rate(backbone, classes, loader, counts, arguments.steps, turn))
        plain.append(_plain_rate(backbone, classes, plain_set, counts, arguments.steps, turn))
    ratio = np.median(np.array(ours) / np.array(plain))
    print(f"steps a second, batch {BATCH}: ours {np.median(ours):.2f}, plain {np.median(plain):.2f}, ratio {ratio:.2f}")


def _our_rate(backbone, classes: int, loader, counts: np.ndarray, steps: int, turn: int) -> float:
    network = SceneNetwork.of(backbone, "linear", classes)
    step = PixelClassifier(network, DenseLoss(DenseLossOptions(class_weight="balanced"), counts))  # the plain loop's

    def groups(step: PixelClassifier):
        set_norm(step.network.levels, "affine")
        return parameter_groups(step.network.levels, step.network.decoder, decay=0.01)

    phase = Phase(name="all layers", epochs=1, rate=1e-4, groups=groups, norm="none")
    marks: list[float] = []
    load_ = loader.load

    class Marked:
        def __len__(self) -> int:
            return len(loader)

        def plan(self, batch: int, seed: int | None, among: np.ndarray | None = None) -> list[np.ndarray]:
            return loader.plan(batch, seed, among)

        def load(self, rows: np.ndarray, generator: torch.Generator | None):
            marks.append(time.perf_counter())
            return load_(rows, generator)

    train(step, [phase], Marked(), options=LoopOptions(batch=BATCH, leg=steps + 1, legs=1, seed=turn))
    return (len(marks) - 2) / (marks[-1] - marks[1])


def _plain_rate(backbone, classes: int, files: list, counts: np.ndarray, steps: int, turn: int) -> float:
    """A data set that opens files, a DataLoader, float images in the usual layout, AdamW, cross entropy."""
    network = SceneNetwork.of(backbone, "linear", classes).to(memory_format=torch.contiguous_format)
    network.train().requires_grad_(True)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (backbone.preprocessing.mean, backbone.preprocessing.std))

    class Files(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, i: int):
            image = torch.from_numpy(np.array(Image.open(files[i][0]).convert("RGB"))).permute(2, 0, 1).float() / 255
            labels = torch.from_numpy(np.array(Image.open(files[i][1]))).long()
            labels[labels >= classes] = IGNORE
            if torch.rand(()) < 0.5:
                image, labels = image.flip(2), labels.flip(1)
            return (image - mean) / std, labels

    torch.manual_seed(turn)
    batches = torch.utils.data.DataLoader(Files(), batch_size=BATCH, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    weight = torch.ones(classes)
    marks: list[float] = []
    for x, y in batches:
        marks.append(time.perf_counter())
        if len(marks) > steps + 1:
            break
        maps = network.levels(nn.functional.pad(x, (0, -x.shape[3] % 32, 0, -x.shape[2] % 32)))
        size = (x.shape[2] + -x.shape[2] % 32, x.shape[3] + -x.shape[3] % 32)
        logits = network.decoder(maps, size)[:, :, : x.shape[2], : x.shape[3]]
        loss = nn.functional.cross_entropy(logits, y, weight=weight, ignore_index=IGNORE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (len(marks) - 2) / (marks[-1] - marks[1])


if __name__ == "__main__":
    main()
