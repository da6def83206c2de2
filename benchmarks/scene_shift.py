"""Does `graft fit TARGET --source SOURCE` help scenes at night, in fog and out of focus, and does it never hurt?

Source: the 367 train scenes of CamVid with their masks. Target: its 101 val scenes without masks, changed like this
(x in 0..1, for each channel):

- clean: as they are;
- night: 0.35 x^2.5, times (0.8, 0.9, 1.25) in red, green and blue, then counted in steps of 1/200 with Poisson's noise
  and noise of spread 0.01 from reading;
- fog: x t + 0.82 (1 - t), t = exp(-0.25 - 2 d); the distance d falls from 1 at the top to 0 at 90 % of the height;
- blur: a Gaussian of 2 pixels (of 240 x 180);
- dusk: 0.7 x^1.4, times (1.1, 0.9, 0.8); grain: x with noise of spread 0.08. On these two no threshold was set.

mIoU is that of whole maps, by the target's masks ("oracle"), which nothing else reads. Run it with OMP_NUM_THREADS=1.
With `--method advent,adabn` these ways alone stand for choice, and each has a column of its own.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from torchgraft.core.progress import SILENT
from torchgraft.fit import FitOptions
from torchgraft.tasks import _scene_shift
from torchgraft.tasks._scene_shift_report import oracle_values

Shift = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def night(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """See above."""
    x = 0.35 * (image / 255) ** 2.5 * np.array([0.8, 0.9, 1.25])
    return _bytes(rng.poisson(200 * x) / 200 + rng.normal(0, 0.01, x.shape))


def fog(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """See above."""
    height = len(image)
    distance = np.clip(1 - np.arange(height) / (0.9 * height), 0, 1)[:, None, None]
    seen = np.exp(-0.25 - 2 * distance)
    return _bytes(image / 255 * seen + 0.82 * (1 - seen))


def blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """See above."""
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(2)))


def dusk(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """See above."""
    return _bytes(0.7 * (image / 255) ** 1.4 * np.array([1.1, 0.9, 0.8]))


def grain(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """See above."""
    return _bytes(image / 255 + rng.normal(0, 0.08, image.shape))


SHIFTS: dict[str, Shift] = {
    "clean": lambda image, rng: image, "night": night, "fog": fog, "blur": blur, "dusk": dusk, "grain": grain,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--shift", nargs="*", default=list(SHIFTS), choices=list(SHIFTS))
    parser.add_argument("--every", type=int, default=1, help="every so manyth scene alone, for a quick look")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--method", default="auto", help="ways, comma-separated, as `graft fit --method` takes them")
    parser.add_argument("--settings", default="", help="of advent, as `graft fit --settings` takes them")
    parser.add_argument("--budget", default="10m")
    arguments = parser.parse_args()
    asked = () if arguments.method == "auto" else tuple(arguments.method.split(","))
    columns = ["shift", "source-only", *asked, "shipped", "points", "best (oracle)", "what", "CPU s"]
    print(f"\n| {' | '.join(columns)} |")
    print(f"|{'---|' * len(columns)}", flush=True)
    told = []
    for name in arguments.shift:
        with tempfile.TemporaryDirectory() as folder:
            source, target = (Path(folder, part) for part in ("source", "target"))
            copied(arguments.data / "camvid", "train", source, every=arguments.every)
            copied(arguments.data / "camvid", "val", target, SHIFTS[name], every=arguments.every)
            told.append(_row(name, asked, FitOptions(
                target=str(target), source=(str(source),), oracle_labels=True, seed=arguments.seed,
                method=arguments.method, settings=arguments.settings, budget=arguments.budget,
            )))  # fmt: skip
    print("\n" + "\n\n".join(told), flush=True)


def copied(data: Path, part: str, folder: Path, shift: Shift = SHIFTS["clean"], *, every: int = 1) -> None:
    """One part of CamVid as a data set of its own, its images changed; saved without loss."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    shutil.copy(data / "classes.txt", folder)
    for path in sorted((data / part / "images").iterdir())[::every]:
        with Image.open(path) as image:
            Image.fromarray(shift(np.asarray(image.convert("RGB")), rng)).save(folder / "images" / f"{path.stem}.png")
        shutil.copy(next((data / part / "masks").glob(f"{path.stem}.*")), folder / "masks")


def _row(name: str, asked: tuple[str, ...], options: FitOptions) -> str:
    """Print the row of one shift, with a column for each way asked for; what is told below the table."""
    start = time.process_time()
    found = _scene_shift.run(options, SILENT)
    took = time.process_time() - start
    miou = [100 * one for one in oracle_values(found.oracle_counts)]
    base, shipped = miou[0], miou[found.index]
    best = max(range(len(miou)), key=miou.__getitem__)
    by_name = {one.name: f"{value:.1f}" for one, value in zip(found.ladder, miou, strict=True)}
    own = "".join(f" {by_name.get(way, 'no time')} |" for way in asked)
    print(
        f"| {name} | {base:.1f} |{own} {shipped:.1f} | {shipped - base:+.1f} | {miou[best]:.1f} "
        f"({found.ladder[best].name}) | {found.ladder[found.index].name} | {took:.0f} |",
        flush=True,
    )
    ways = ", ".join(
        f"{one.name} {value:.1f} (rehearsed {100 * gain['miou']['value']:+.1f})"
        for one, value, gain in zip(found.ladder, miou, found.gains, strict=True)
    )
    tests = "; ".join(f"{one.name} {'passed' if one.passed else 'NOT passed'}: {one.seen}" for one in found.tests)
    return f"{name}: {ways}. {tests}. {found.sentence}"


def _bytes(x: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(255 * x), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
