"""Do several views of a scene pay? CamVid, 240 x 180, fitted on train, measured on val, 11 classes, Lite0 frozen.

The views are made. The first is the image; `dark` is another exposure of it: each level x becomes 255 (x / 255)^2. In
each scene one of four halves (left, right, top, bottom; drawn once, by seed 0, for train and val alike) is blanked to
grey 128 in a damaged image, and the other half in a damaged dark view, so that both together show everything once.

`--part halves`: both damaged; `--part one`: the image damaged, the dark view whole; `--part none`: neither damaged;
`--part edges`: the whole image, and its edge response (Sobel, of the grey picture) as a view. Each: the probe on either
view alone, each way of joining both, and the joined one when a view is missing at prediction. The seconds of a joined
row leave out the levels of both views, which are computed once for all of them.

`--part backbones`: of the clean image alone, a probe on each of `--backbones`, and on all of them joined; here, too,
joined rows leave out the levels.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from torchgraft.core import registry
from torchgraft.core.journal import Journal
from torchgraft.core.progress import SILENT
from torchgraft.evaluate.overlap import miou, paired_overlap
from torchgraft.fit._inputs import load_data
from torchgraft.fit._sources import gather
from torchgraft.fit.options import FitOptions
from torchgraft.fit.run import make_resources
from torchgraft.tune import backbone_fusion, pixel_probe, view_fusion
from torchgraft.tune._pixel_probe import _Rows
from torchgraft.tune._scenes import answer
from torchgraft.tune._view_fusion import _Fusing
from torchgraft.tune.base import Problem

BACKBONE = "packaged/efficientnet_lite0"
GREY = 128
FUSIONS = ("gated", "concat", "attention")

Draw = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(image H x W x 3, its blanked half H x W) -> a view."""


def main() -> None:
    """Print one part's numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--part", default="halves", choices=("halves", "one", "none", "edges", "backbones"))
    parser.add_argument("--fusion", nargs="+", default=FUSIONS, choices=FUSIONS)
    parser.add_argument("--backbones", nargs="+", default=(BACKBONE, "packaged/efficientnet_lite1"))
    arguments = parser.parse_args()
    if arguments.part == "backbones":
        _backbones(_problem(arguments.data, tuple(arguments.backbones)))
        return
    with tempfile.TemporaryDirectory() as folder:
        _part(arguments, Path(folder))


def _part(arguments: argparse.Namespace, folder: Path) -> None:
    plain = _problem(arguments.data, (BACKBONE,))
    first, second = {
        "halves": (_blanked, lambda x, half: _blanked(_dark(x, half), ~half)),
        "one": (_blanked, _dark),
        "none": (None, _dark),
        "edges": (None, _edges),
    }[arguments.part]
    name = "edges" if arguments.part == "edges" else "dark"
    files = plain.blocks["image"]
    other = _written(files, second, folder / "views" / name)
    images = files if first is None else _written(files, first, folder / "images")
    both = replace(plain, blocks={**plain.blocks, "image": images}, views={name: other})
    clean = _fitted("clean image", plain, pixel_probe.fit, pixel_probe.Options(), None)
    if first is not None:
        _fitted("image", both, pixel_probe.fit, pixel_probe.Options(), clean)
    alone = replace(plain, blocks={**plain.blocks, "image": other})
    _fitted(f"{name} view", alone, pixel_probe.fit, pixel_probe.Options(), clean)
    joining = _Fusing(both, view_fusion.Options())
    for fusion in arguments.fusion:
        _joined(joining, fusion, name, clean)


def _backbones(problem: Problem) -> None:
    """Each backbone alone, and all of them joined."""
    clean = None
    for name in problem.resources.backbones:
        options = pixel_probe.Options(source=name)
        found = _fitted(name.rpartition("/")[2], problem, pixel_probe.fit, options, clean, fresh=False)
        clean = found if clean is None else clean
    for fusion in backbone_fusion.FUSIONS[1:]:
        options = backbone_fusion.Options(joining=fusion)
        _fitted(f"joined, {fusion}", problem, backbone_fusion.fit, options, clean, fresh=False)


def _fitted(
    what: str, problem: Problem, fit: Callable, options, clean: np.ndarray | None, *, fresh: bool = True
) -> np.ndarray:
    if fresh:
        problem = replace(problem, resources=replace(problem.resources, shared={}, journal=Journal()))
    start = time.process_time()
    found = fit(problem, options)
    _row(what, found.counts, clean, problem.classes, f"{time.process_time() - start:.0f}", found.note)
    return found.counts


def _joined(joining: _Fusing, fusion: str, name: str, clean: np.ndarray) -> None:
    """Fitted on train as the method does it, measured on val: with both views, and with either one missing."""
    problem, loader, setting = joining.problem, joining.loader, joining.setting
    fit, held = problem.folds[0]
    start = time.process_time()
    joined, penalty, loss = joining.first(fusion)
    network = joined.network(_Rows(joined.z, joining.pixels, fit, joining.classes).solve(penalty))
    seconds, there = time.process_time() - start, loader.there
    for what, mask in (("", [1, 1]), (f", {name} view missing", [1, 0]), (", image missing", [0, 1])):
        loader.there = there & np.array(mask, dtype=bool)
        counts = answer(network, loader, held, setting.pixels, setting.classes).counts
        note = "" if what else f"C {penalty:.3g}, log loss on drawn pixels {loss:.3f}"
        _row(f"both, {fusion}{what}", counts, clean, problem.classes, "" if what else f"{seconds:.0f}", note)
    loader.there = there


def _row(what: str, counts: np.ndarray, clean: np.ndarray | None, classes, seconds: str, note: str) -> None:
    against = ""
    if clean is None:
        print("| views | mIoU on val | against the clean image | CPU s | note |\n|---|---|---|---|---|")
    else:
        found = paired_overlap(clean, counts, classes)["miou"]
        against = f"{found['value']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"
    print(f"| {what} | {miou(counts.sum(0)):.3f} | {against} | {seconds} | {note} |", flush=True)


def _problem(data: Path, backbones: tuple[str, ...]) -> Problem:
    """CamVid as `graft fit` sees it, with the backbones at hand."""
    options = FitOptions(target=str(data / "camvid"), backbone=",".join(backbones))
    samples, _ = load_data(options, SILENT)
    sources = gather(samples, backbones, engine="torch", deadline=float("inf"), progress=SILENT, pooled=False)
    problem, _ = registry.get("tasks", samples.task).make_problem(sources, 0)
    return replace(problem, resources=make_resources(sources, None, Journal()))


def _written(files: list[Path], draw: Draw, folder: Path) -> list[Path]:
    """A view of each image as a PNG file; the same halves whatever is drawn."""
    rng, made = np.random.default_rng(0), []
    folder.mkdir(parents=True)
    for file in files:
        x = np.asarray(Image.open(file).convert("RGB"))
        made.append(folder / f"{Path(file).stem}.png")
        Image.fromarray(draw(x, _half(x.shape[:2], int(rng.integers(4))))).save(made[-1])
    return made


def _half(shape: tuple[int, int], side: int) -> np.ndarray:
    """Left, right, top or bottom."""
    half = np.zeros(shape, dtype=bool)
    height, width = shape
    box = (np.s_[:, : width // 2], np.s_[:, width // 2 :], np.s_[: height // 2], np.s_[height // 2 :])[side]
    half[box] = True
    return half


def _blanked(x: np.ndarray, half: np.ndarray) -> np.ndarray:
    return np.where(half[..., None], GREY, x).astype(np.uint8)


def _dark(x: np.ndarray, half: np.ndarray) -> np.ndarray:
    return (255 * (x / 255) ** 2).round().astype(np.uint8)


def _edges(x: np.ndarray, half: np.ndarray) -> np.ndarray:
    grey = x.mean(-1)
    response = np.hypot(ndimage.sobel(grey, 0), ndimage.sobel(grey, 1)) / 4
    return np.repeat(np.clip(response, 0, 255).astype(np.uint8)[..., None], 3, -1)


if __name__ == "__main__":
    main()
