"""What a run between two domains of scenes tells: `report.json` without a number of the target that nobody measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from torchgraft.data import IGNORE
from torchgraft.evaluate import finite, miou, overlap_summary, wilson
from torchgraft.evaluate.pictures import embedded
from torchgraft.features import gap
from torchgraft.model import SceneGraft
from torchgraft.model.prior import estimate_prior
from torchgraft.tasks import _scene_guard
from torchgraft.tasks._scene_maps import maps
from torchgraft.tasks._scene_pictures import errors
from torchgraft.tasks._scene_rehearsal import PLAIN, SOURCE_ONLY

_ROWS = 2000
"""Pixels of each domain that the gap of classes is measured on."""

_DRAWN = 300
"""Pixels of each domain on the map."""

_EACH = 2
"""Scenes shown of those that changed most, in the middle, and least."""


def told(shift: Any, options: Any) -> dict[str, Any]:
    """The report but for what the run adds: time, environment, options."""
    setting, chosen = shift.setting, shift.ladder[shift.index]
    source, target = setting.domains.source, setting.domains.target
    few, graft, (distances, places) = setting.domains.few, shift.graft, _gap(shift)
    return {
        "schema": 1,
        "task": "segmentation",
        "primary": {"metric": "miou", "title": "mIoU"},
        "name": Path(options.target).resolve().stem,
        "data": {
            "modality": "image",
            "classes": list(source.classes),
            "counts": {"source": len(source), "target": len(target)} | ({"few": len(few)} if few else {}),
            "root": str(target.root),
            "findings": [dataclasses.asdict(one) for one in setting.domains.findings],
        },
        "domains": {
            "sources": [str(one) for one in options.source],
            "several": [],
            "gap": distances,
            "map": places,
            "tests": [dataclasses.asdict(one) for one in shift.tests],
            "oracle": setting.domains.oracle is not None,
        },
        "ladder": [_row(i, shift) for i in range(len(shift.ladder))],
        "comparisons": [],
        "verdict": {
            "rung": shift.index,
            "method": chosen.name,
            "backbone": graft.source,
            "sentence": shift.sentence,
        },
        "test": None,
        "mistakes": [],
        "label_errors": [],
        "pictures": _pictures(shift),
        "legend": [{"class": c, "colour": list(own)} for c, own in zip(graft.classes, graft.colours, strict=True)],
        "skipped": [{"method": name, "reason": reason} for name, reason in shift.skipped],
    }


def _row(i: int, shift: Any) -> dict[str, Any]:
    one, base = shift.ladder[i], shift.ladder[0]
    rehearsed = overlap_summary(one.counts)
    changed = one.p.argmax(-1) != base.p.argmax(-1)
    metrics = {
        "source_miou": rehearsed["miou"].to_dict(),
        "source_accuracy": rehearsed["pixel_accuracy"].to_dict(),
        "changed": wilson(int(changed.sum()), changed.size).to_dict(),
    }
    if shift.oracle_counts is not None:
        seen = overlap_summary(shift.oracle_counts[i])
        metrics |= {"oracle_miou": seen["miou"].to_dict(), "oracle_accuracy": seen["pixel_accuracy"].to_dict()}
    return {
        "rung": i,
        "method": one.name,
        "backbone": shift.graft.source if i == shift.index else shift.setting.backbone.name,
        "metrics": metrics,
        "seconds": one.seconds,
        "chosen": i == shift.index,
        "transfer": True,
        "passed": i == 0 or _scene_guard.harmless(shift.gains[i]),
        "note": _note(one, shift.asked),
        "training": [],
    }


def _note(one: Any, asked: Sequence[str]) -> str:
    way = one.way
    parts = [f"also learnt under {', '.join(way.looks)}"] if way.looks else []
    parts += ["each channel with the source's mean and spread"] if way.standardised else []
    parts += ["its own surest answers on the target learnt too"] if way.taught else []
    parts += [one.own.note] if one.own else []
    parts += ["not asked for: it votes"] if way.name not in (SOURCE_ONLY, *asked) else []
    return "; ".join(parts)


def _gap(shift: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """How far apart the domains are, scenes by their mean levels and classes by single pixels; and a map of pixels."""
    setting, base, chosen = shift.setting, shift.ladder[0], shift.ladder[shift.index]
    here, there = shift.means
    test = gap.mmd_test(here, there, seed=setting.seed)
    z, y = setting.source.uniform(PLAIN, np.arange(len(setting.source.y))), setting.source.anywhere.ravel()
    rng = np.random.default_rng(setting.seed)
    some = np.sort(rng.permutation(np.flatnonzero(y < setting.source.classes))[:_ROWS])
    others = np.sort(rng.permutation(base.p[..., 0].size)[:_ROWS])
    z, target = z.reshape(-1, here.shape[1])[some], setting.target.reshape(-1, here.shape[1])[others]
    y, scale = y[some].astype(np.int64), 1 / np.maximum(z.std(0), 1e-6)
    p, said = (one.p.reshape(-1, setting.source.classes)[others] for one in (base, chosen))
    drawn = setting.source.y[setting.source.y != IGNORE]  # the probe assumes the frequencies that it was fitted to
    assumed = np.bincount(drawn, minlength=setting.source.classes) + 1e-6
    found = {
        "mmd2": test.mmd2,
        "p": test.p_value,
        "coral_distance": gap.coral_distance(here, there),
        "a_distance": gap.proxy_a_distance(here, there, seed=setting.seed),
        "class_gaps": finite(gap.class_gaps(z * scale, y, target * scale, p).tolist()),
        "prior_source": shift.prior.tolist(),
        "prior_target": estimate_prior(p, assumed / assumed.sum()).prior.tolist(),
    }
    return found, _map(z * scale, y, target * scale, said.argmax(1))


def _map(z: np.ndarray, y: np.ndarray, target: np.ndarray, said: np.ndarray) -> dict[str, Any]:
    """Pixels of both domains on the two principal axes of the means of all classes and of the target."""
    means = np.array([*(z[y == c].mean(0) for c in np.unique(y)), target.mean(0)])
    axes = np.linalg.svd(means - means.mean(0), full_matrices=False)[2][:2]
    return {
        name: [[*map(float, row @ axes.T), int(c)] for row, c in zip(rows[:_DRAWN], labels[:_DRAWN], strict=True)]
        for name, rows, labels in (("source", z, y), ("target", target, said))
    }


def _pictures(shift: Any) -> list[dict[str, Any]]:
    """Scenes of the target: the image, what source-only and the shipped way say, and where they differ."""
    setting, base, chosen = shift.setting, shift.ladder[0], shift.ladder[shift.index]
    changed = (base.p.argmax(-1) != chosen.p.argmax(-1)).mean(1)
    order = np.argsort(-changed, kind="stable")
    middle = max((len(order) - _EACH) // 2, 0)
    places = {"most": order[:_EACH], "median": order[middle : middle + _EACH], "least": order[::-1][:_EACH]}
    shown: dict[int, str] = {}
    for name, rows in places.items():
        for row in rows.tolist():
            shown.setdefault(row, name)
    rows = np.array(list(shown))
    called = dict(maps(setting, [base, chosen], setting.loaders[1], rows))
    return [
        {
            "id": setting.domains.target.ids[row],
            "note": f"{name}: {100 * changed[row]:.1f} % of the pixels answered otherwise than by source_only",
            "pictures": _four(setting.loaders[1].picture(row)[0], *called[row], shift.graft),
        }
        for row, name in shown.items()
    ]


def _four(image: np.ndarray, before: np.ndarray, after: np.ndarray, graft: SceneGraft) -> list[dict[str, Any]]:
    named = (
        ("image", image),
        ("source_only", graft.coloured(before)),
        ("shipped", graft.coloured(after)),
        ("changed", errors(image, before, after)),
    )
    return [{"title": title, "thumbnail": embedded(picture)} for title, picture in named]


def oracle_values(counts: np.ndarray) -> list[float]:
    """The mIoU of each of K ways on the target."""
    return [miou(one.sum(0)) for one in counts]
