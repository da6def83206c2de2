"""A rung that trained a backbone, as a run writes it: two folds, of which one was repaired, and all samples.

And a report on one class for each pixel, of made counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from torchgraft.evaluate import overlap_score, overlap_summary, paired_overlap
from torchgraft.train.history import History

LAYERS = ("embeddings", "blocks.0", "blocks.1", "blocks.2", "head")
EPOCHS = (1, 3)
STEPS = 20


def made_history(name: str, *, held_out: bool = True, seed: int = 0, explodes: bool = False) -> dict[str, Any]:
    """Two phases, the head and then all layers, 20 steps an epoch; `explodes` undoes an epoch and halves the rate."""
    rng = np.random.default_rng(seed)
    history = History()
    if held_out:
        history.legs.append({"phase": "before", "step": 0, "rate": 0.0, "train_loss": None, **_score(0, rng)})
    factor, done = 1.0, 0
    for index, epochs in enumerate(EPOCHS):
        what = ("head", "all layers")[index]
        phase = f"lp_ft, {name}: {what}"
        history.phases.append(_phase(phase, index, epochs))
        left = epochs
        while left:
            for step in range(STEPS):
                part = (epochs - left + step / STEPS) / epochs
                loss = 1.2 * np.exp(-0.5 * (done + step / STEPS)) + 0.2 + 0.05 * rng.normal()
                history.add_point(float(loss), 3e-4 * factor * (1 - part))
            row = {"phase": phase, "step": history.steps, "train_loss": history.smooth, "rate": 3e-4 * factor}
            if explodes and done == 2:
                reason, explodes, factor = "the held-out loss went from 0.9 to 5.2", False, 0.1
                history.legs.append(row | {"loss": 5.2, "accuracy": 0.2, "base": 1.8})
                repair = {"phase": phase, "step": history.steps, "kind": "explosion", "reason": reason}
                history.repairs.append(repair | {"factor": factor})
                continue
            done, left = done + 1, left - 1
            history.legs.append(row | (_score(done, rng) if held_out else {}))
            history.best = len(history.legs) - 1
    history.seconds, history.cpu_seconds, history.average = 12.5, 21.0, "last"
    return history.to_dict()


def _score(epoch: int, rng: np.random.Generator) -> dict[str, float]:
    return {
        "loss": 1.1 - 0.1 * epoch + 0.01 * rng.normal(),
        "accuracy": 0.7 + 0.03 * epoch + 0.005 * rng.normal(),
        "base": 1.8,
    }


def _phase(name: str, index: int, epochs: int) -> dict[str, Any]:
    groups = [{"name": "head", "rate": 3e-4}] if not index else []
    for depth, layer in enumerate(LAYERS if index else ()):
        rate = 3e-4 * 0.65 ** (len(LAYERS) - 1 - depth)
        groups += [{"name": layer, "rate": rate}, {"name": f"{layer} (no decay)", "rate": rate}]
    return {
        "name": name,
        "rate": 3e-4,
        "norm": ("frozen", "affine")[index],
        "epochs": epochs,
        "steps": epochs * STEPS,
        "trained": 22_700_000 if index else 2_310,
        "parameters": 22_700_000,
        "groups": groups,
    }


@pytest.fixture(scope="session")
def make_history() -> Callable[..., dict[str, Any]]:
    """`made_history`."""
    return made_history


@pytest.fixture
def rung() -> dict[str, Any]:
    """Two folds and all samples; the third epoch is the one that is kept."""
    return {
        "rung": 1,
        "method": "lp_ft",
        "backbone": "tuned/packaged/minilm_l6",
        "metrics": {"accuracy": {"value": 0.8, "low": 0.75, "high": 0.85}},
        "seconds": 41.0,
        "cpu_seconds": 63.0,
        "memory": 1_234_000_000,
        "held_out": 200,
        "options": {"rate": 3e-4, "epochs": 3, "of": 4, "folds": 2},
        "note": "rate 3.0e-04, epoch 3 of 4, 2 folds",
        "training": [
            made_history("fold 1 of 2", seed=1),
            made_history("fold 2 of 2", seed=2, explodes=True),
            made_history("all samples", seed=3, held_out=False),
        ],
    }


SCENE_CLASSES = ("road", "<sky>", "pole", "boat")
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="


def _pixel_counts(right: tuple[float, ...]) -> np.ndarray:
    """12 images: half road, four tenths sky, a tenth pole (wrong ones are called road), no boat; so many are right."""
    rng = np.random.default_rng(0)
    counts = np.zeros((12, 4, 4), dtype=np.int64)
    for c, pixels in enumerate((500, 400, 100)):
        wrong = rng.binomial(pixels, 1 - right[c], size=12)
        counts[:, c, c] = pixels - wrong
        counts[:, c, 1 if c == 0 else 0] += wrong
    return counts


def _scene(name: str, note: str) -> dict[str, Any]:
    titles = ("image", "truth", "answer", "wrong")
    return {"id": name, "note": note, "pictures": [{"title": title, "thumbnail": PIXEL} for title in titles]}


@pytest.fixture
def dense_report() -> dict[str, Any]:
    """Three rungs on 12 held-out images without a test split; the last one is shipped."""
    methods = ("pixel_majority", "pixel_probe", "scene_lp_ft")
    found = [_pixel_counts(right) for right in ((1.0, 0.0, 0.0), (0.9, 0.9, 0.2), (0.97, 0.97, 0.3))]
    pairs = [(0, 2), (1, 0), (1, 2), (2, 1)]
    colours = ((128, 64, 128), (0, 0, 255), (192, 192, 0), (1, 2, 3))
    return {
        "schema": 1,
        "primary": {"metric": "miou", "title": "mIoU"},
        "name": "streets",
        "data": {
            "modality": "image",
            "classes": list(SCENE_CLASSES),
            "counts": {"train": 30, "val": 12},
            "held_out": {"how": "a validation part", "n": 12},
        },
        "ladder": [
            {"rung": k, "method": name, "backbone": "b" if k else "", "transfer": bool(k), "chosen": k == 2,
             "seconds": 1.0, "held_out": 12, "training": [],
             "metrics": {key: one.to_dict() for key, one in overlap_summary(found[k]).items()}}
            for k, name in enumerate(methods)
        ],
        "comparisons": [
            {"rung": a, "against": b, **paired_overlap(found[b], found[a], SCENE_CLASSES)} for a, b in pairs
        ],
        "verdict": {"rung": 2, "sentence": "scene_lp_ft is shipped."},
        "test": None,
        "held_out": overlap_score(found[2], SCENE_CLASSES),
        "pictures": [_scene("a/<1>.png", "worst: mIoU 40.0 %"), _scene("a/2.png", "best: mIoU 80.0 %")],
        "legend": [{"class": n, "colour": list(c)} for n, c in zip(SCENE_CLASSES, colours, strict=True)],
        "seconds": {"total": 12.0},
    }  # fmt: skip


@pytest.fixture
def tested_dense(dense_report) -> dict[str, Any]:
    """The same with a test split of 7 images, whose outlines were measured too."""
    outline = {"value": 0.61, "low": 0.5, "high": 0.7}
    rows = [{**row, "boundary_f1": outline} for row in dense_report["held_out"]["per_class"]]
    test = {**dense_report["held_out"], "per_class": rows, "boundary_f1": outline, "images": 7}
    return {**dense_report, "test": test}
