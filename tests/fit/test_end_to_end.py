"""A method of `adapt` through a backbone: the weights that change, the time it keeps, and the graft that is shipped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from torchgraft import backbones
from torchgraft.core.errors import OptionError
from torchgraft.core.progress import SILENT
from torchgraft.fit import FitOptions, _end_to_end, adaptation, fit
from torchgraft.fit._end_to_end import Task, held_out, train
from torchgraft.model import Tuned, load
from torchgraft.tune.base import Skip


@pytest.fixture(scope="module")
def backbone(small_backbone: Callable[[int], str]) -> str:
    return small_backbone(32)


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reddish and bluish pictures, bright ones (`day`) and dark ones (`night`), 24 of each class."""
    folder = tmp_path_factory.mktemp("rooms")
    rng = np.random.default_rng(0)
    for place, light in (("day", 100), ("night", 0)):
        for name, tint in (("red", (60, 0, 0)), ("blue", (0, 0, 60))):
            (folder / place / name).mkdir(parents=True)
            for i in range(24):
                pixels = rng.integers(0, 60, (32, 32, 3)) + np.array(tint) + light
                Image.fromarray(pixels.astype(np.uint8)).save(folder / place / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def task(rooms: Path, backbone: str) -> Task:
    """Source `day`, target `night`, features by chance: only their shapes matter here."""
    loaded = backbones.load(backbone)
    rng = np.random.default_rng(1)
    day, night = (sorted(map(str, (rooms / name).rglob("*.png"))) for name in ("day", "night"))
    ys = np.array(["red" in Path(path).parent.name for path in day]).astype(np.int64)
    zs, zt = (rng.normal(size=(48, loaded.width)).astype(np.float32) + ys[:, None] for _ in range(2))
    return Task(
        backbone=loaded, pooling="avg", source=day, target=night, ys=ys, zs=zs, zt=zt, n_classes=2,
        held=held_out(ys, 0),
    )  # fmt: skip


def test_held_out_is_one_in_five_of_each_class() -> None:
    y = np.repeat([0, 1, 2], [20, 10, 4])
    held = held_out(y, 0)
    assert np.bincount(y[held], minlength=3).tolist() == [4, 2, 0]
    assert (np.diff(held) > 0).all()
    np.testing.assert_array_equal(held, held_out(y, 0))
    assert not len(held_out(np.array([0, 1]), 0))


def test_the_backbone_learns_and_its_changes_are_kept(task: Task) -> None:
    before = {name: tensor.clone() for name, tensor in task.backbone.module.state_dict().items()}
    settings = {"epochs": 2, "batch": 16, "width": 8, "rate": 0.05}
    found = train(task, "dann", settings, seed=0, deadline=time.monotonic() + 300, progress=SILENT)
    assert found.probabilities.shape == (48, 2) and found.right.shape == (len(task.held),)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-6)
    assert "of 2, the clearest" in found.note
    for name, tensor in task.backbone.module.state_dict().items():
        assert torch.equal(tensor, before[name]), "the backbone that was given stays as it is"
    if "epoch 0" not in found.note:
        assert any("running" not in name for name in found.tuned.arrays)
        assert not any("running" in name for name in found.tuned.arrays), "BatchNorm keeps its statistics"


def test_fixmatch_sees_the_target_augmented_twice(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    adapted = _end_to_end.adapt_network
    monkeypatch.setattr(_end_to_end, "adapt_network", lambda *a, **k: given.append(k["strong"]) or adapted(*a, **k))
    settings = {"epochs": 1, "batch": 16, "width": 8}
    for method in ("pseudo_label", "mcc"):
        train(task, method, settings, seed=0, deadline=time.monotonic() + 300, progress=SILENT)
    strong, none = given
    assert none is None and len(strong) == 48
    rows = np.arange(4)
    plain = _end_to_end._loader(task, task.target, None, SILENT)
    pictures = [one.load(rows, torch.Generator().manual_seed(0)).inputs[0] for one in (strong, plain)]
    assert pictures[0].shape == pictures[1].shape
    assert not torch.equal(*pictures)


def test_changes_of_a_module_are_those_tensors(task: Task) -> None:
    module = _end_to_end._network(task).module
    assert Tuned.of(task.backbone, module).arrays == {}
    name, p = next(iter(module.named_parameters()))
    with torch.no_grad():
        p.add_(1)
    tuned = Tuned.of(task.backbone, module)
    assert list(tuned.arrays) == [name] and tuned.base == task.backbone.name
    np.testing.assert_array_equal(tuned.arrays[name], p.detach().numpy())


def test_epochs_that_fit_by_hand(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """48 target samples are 6 updates of 8 a domain; at 1 s each an epoch is 6 s and 1.2 s of measuring, with a margin
    of 1.3 9.4 s; 3.5 s are kept for the first measuring, and for a last update and its own.
    """
    monkeypatch.setattr(_end_to_end, "_seconds_an_update", lambda net, loaders, half: 1.0)
    measured = 0.35 / 16 * (48 + len(task.held))
    each, kept = 1.3 * (6 + measured), 1 + 2 * measured

    def plan(epochs: int, left: float) -> int:
        return _end_to_end._plan(task, None, None, 16, epochs, left)[0]

    assert plan(0, 1e6) == 20, "300 updates would be 50 epochs, 20 are the most"
    assert plan(7, 1e6) == 7
    assert plan(7, kept + 3.5 * each) == 3
    with pytest.raises(Skip, match=f"would take {kept + each:.0f} s, the budget has 5 s left"):
        plan(0, 5.0)


def test_an_epoch_that_collapses_or_loses_the_source_is_not_kept(task: Task) -> None:
    class First:
        kept = 0
        source_logits = np.eye(2)[task.ys[task.held]][None]

    score = _end_to_end._score(First, task)
    good = 0.9 * np.eye(2)[np.arange(48) % 2] + 0.05
    assert score(good, 1.0) > score(0.4 * np.eye(2)[np.arange(48) % 2] + 0.3, 1.0) > 0
    assert math.isnan(score(good, 0.9)), "10 points of the source are lost"
    assert math.isnan(score(np.tile([0.99, 0.01], (48, 1)), 1.0)), "one answer for all"


def _options(rooms: Path, backbone: str, **changes: object) -> FitOptions:
    values = {"settings": "end_to_end=true,batch=16,width=8", "epochs": 2, "method": "dann", "backbone": backbone}
    return FitOptions(
        target=str(rooms / "night"), source=(str(rooms / "day"),), **{"oracle_labels": True, **values, **changes}
    )


def passing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard that lets everything pass, and the last epoch: what is asked here is whether it can be shipped."""
    epochs = iter(range(1_000))
    monkeypatch.setattr(adaptation._guard, "refusal", lambda tests: None)
    monkeypatch.setattr(_end_to_end, "_score", lambda first, task: lambda probabilities, accuracy: next(epochs))


def test_what_is_shipped_predicts_with_its_own_weights(
    rooms: Path, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passing(monkeypatch)
    out, test = tmp_path / "run", str(rooms / "night")
    run = fit(_options(rooms, backbone, out=str(out), test=test, few_labels=str(rooms / "day")))
    data = run.report.data
    assert data["verdict"]["method"] == "dann" and data["verdict"]["backbone"].startswith("tuned/local/")
    row = data["ladder"][-1]
    assert row["chosen"] and "epoch 2 of 2" in row["note"]
    graft = load(out)
    assert graft.tuned and graft.method == "dann"
    predicted = graft.predict(sorted((rooms / "night").rglob("*.png")))
    truth = [path.parent.name for path in sorted((rooms / "night").rglob("*.png"))]
    right = np.mean([a == b for a, b in zip(predicted.labels, truth, strict=True)])
    assert right == pytest.approx(row["metrics"]["oracle_accuracy"]["value"])
    assert data["test"]["accuracy"]["value"] == pytest.approx(right)


def test_where_the_time_is_short_it_is_left_out_and_said(
    rooms: Path, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_end_to_end, "_seconds_an_update", lambda net, loaders, half: 1e6)
    run = adaptation.run(_options(rooms, backbone), SILENT)
    assert run.ladder[-1].tuned is None
    (left,) = [one for one in run.skipped if one.name == "dann"]
    assert "an epoch through the backbone would take" in left.reason


def test_feature_arrays_have_no_backbone(pair: Path) -> None:
    options = FitOptions(
        target=str(pair / "bare.npz"), source=(str(pair / "source.npz"),), method="dann", settings="end_to_end=true"
    )
    with pytest.raises(OptionError, match="trains a backbone, and feature arrays have none"):
        adaptation.run(options, SILENT)
