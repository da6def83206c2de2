"""AdvEnt on scenes: what it begins with, what it is given, what the budget allows, and what it ends with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from torchgraft.adapt.advent import Options
from torchgraft.core.options import build
from torchgraft.core.progress import SILENT
from torchgraft.data import IGNORE, Samples
from torchgraft.fit import FitOptions
from torchgraft.tasks import _scene_advent
from torchgraft.tasks._scene_advent import DEFAULTS, Augmented, Probe, SceneAdvent
from torchgraft.tasks._scene_own import Own
from torchgraft.tasks._scene_rehearsal import Rehearsal, Way, fitted
from torchgraft.tasks._scene_setting import Setting, prepared
from torchgraft.train.dense_augment import DenseAugment, DenseAugmentOptions

QUICK = {"epochs": 1, "batch": 4, "hidden": 4}
SIZE = (32, 32)
"""What scenes of 16 x 12 pixels are enlarged to."""
STILL = DenseAugmentOptions(flip=0, scale=(1, 1), colour=0)


@pytest.fixture
def setting(streets: Callable[..., Samples]) -> Setting:
    """Eight and six scenes."""
    return prepared(FitOptions(target=str(streets(6).root), source=(str(streets(8).root),)), SILENT)


def _advent(setting: Setting, way: Way | None = None, **more: object) -> SceneAdvent:
    return SceneAdvent(setting, way or Way(name="advent"), build(Options, DEFAULTS | QUICK | more))


def _heads(setting: Setting) -> Probe:
    return lambda rows, looks=(): fitted(setting.source, rows, looks, setting.c)


def _run(setting: Setting, **more: object) -> Own | str:
    rehearsal = Rehearsal(setting.source, setting.fit, setting.held, setting.c, 0.3)
    return _advent(setting, **more).run(rehearsal, _heads(setting))


def test_scenes_are_seen_as_they_are_and_under_each_look(setting: Setting) -> None:
    loader = setting.loaders[0]
    loader = Augmented(loader, [lambda image, row: 255 - image], DenseAugment(STILL, loader.largest))
    rows = np.arange(8)
    batch = loader.load(rows, torch.Generator().manual_seed(0))
    assert batch.inputs[0].shape == (8, 3, *SIZE) and batch.y.shape == (8, *SIZE)
    turned = 0
    for x, y, row in zip(batch.inputs[0], batch.y, rows.tolist(), strict=True):
        image, labels = loader.loader.picture(row)
        np.testing.assert_array_equal(y, labels)
        seen = x.permute(1, 2, 0).numpy()
        assert (seen == image).all() or (seen == 255 - image).all()
        turned += (seen == 255 - image).all()
    assert 0 < turned < 8
    plain = loader.load(rows, None)
    np.testing.assert_array_equal(plain.inputs[0], loader.loader.load(rows, None).inputs[0])


def test_both_domains_are_augmented_and_the_target_has_no_label(setting: Setting) -> None:
    loader = setting.loaders[1]
    drawn = Augmented(loader, (), DenseAugment(DenseAugmentOptions(scale=(0.5, 2.0)), loader.largest))
    batch = drawn.load(np.arange(6), torch.Generator().manual_seed(0))
    assert batch.y is None and batch.inputs[0].shape == (6, 3, *SIZE)
    again = drawn.load(np.arange(6), torch.Generator().manual_seed(0))
    torch.testing.assert_close(batch.inputs, again.inputs, rtol=0, atol=0)
    assert not torch.equal(batch.inputs[0], loader.load(np.arange(6), None).inputs[0].float())


def test_it_begins_with_the_probe_s_answers(setting: Setting) -> None:
    head = _heads(setting)(setting.fit)
    step = _advent(setting)._step(head, setting.fit)
    network = setting.network
    network.decoder.from_head(head.weight, head.bias)
    x = setting.loaders[1].load(np.arange(6), None).inputs[0]
    with torch.no_grad():
        torch.testing.assert_close(step.eval().network(x), network(x))


def test_network_and_decoder_train_and_statistics_stay(setting: Setting) -> None:
    found = _run(setting)
    assert isinstance(found, Own)
    before, after = setting.backbone.module.state_dict(), found.network.levels.module.state_dict()
    changed = {name for name, t in after.items() if not torch.equal(t, before[name])}
    assert changed and not [name for name in changed if name.rpartition(".")[2].startswith("running_")]
    assert found.counts.shape == found.base.shape == (len(setting.held), 3, 3)
    assert found.counts.sum() == found.base.sum() > 0
    assert found.p.shape == (*setting.target.shape[:2], 3) and "1 epochs" in found.note


def test_the_same_run_gives_the_same_bits(setting: Setting) -> None:
    one, other = (_run(setting) for _ in range(2))
    np.testing.assert_array_equal(one.p, other.p)
    for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_labels_held_out_are_not_trained_on_in_the_rehearsal(setting: Setting) -> None:
    """With other masks of the held-out scenes the first training gives the same network."""
    advent, head = _advent(setting), _heads(setting)(setting.fit)
    plain, _ = advent._trained(head, setting.fit, (), 1, "")
    kept = setting.loaders[0].kept
    for row in setting.held.tolist():
        kept[row] = (kept[row][0], np.full_like(kept[row][1], 1))
    other, _ = advent._trained(head, setting.fit, (), 1, "")
    for a, b in zip(plain.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("looks", "about"),
    [((), ["fda", "moments", "camera"]), (("fda", "camera"), ["moments"]), (("fda", "moments", "camera"), ["camera"])],
)
def test_looks_that_were_trained_with_are_not_asked_about(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, looks: tuple[str, ...], about: list[str]
) -> None:
    asked, trained = [], []

    def noted(setting, rehearsal, final, rehearsed, note, progress) -> str:
        asked.extend(look for look, _, _ in rehearsed)
        return note

    def training(self, head, rows, looks, epochs, name):
        trained.append((len(rows), tuple(looks)))
        return self._step(head, rows), False

    monkeypatch.setattr(_scene_advent, "measured", noted)
    monkeypatch.setattr(SceneAdvent, "_trained", training)
    rehearsal = Rehearsal(setting.source, setting.fit, setting.held, setting.c, 0.3)
    _advent(setting, Way(name="advent", looks=looks)).run(rehearsal, _heads(setting))
    assert asked == about and not set(about) & set(trained[0][1])
    assert trained == [(len(setting.fit), trained[0][1]), (8, looks)]


def test_a_budget_that_is_too_short_is_said(setting: Setting) -> None:
    late = replace(setting, deadline=time.monotonic() + 0.2)
    assert "the budget" in _run(late)


def test_where_time_is_short_there_are_fewer_epochs(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_scene_advent, "train", lambda *given, **more: None)
    ticks = iter([0.0, 3.0, 3.0])  # three updates in 3 s, so 1.2 s each with the margin
    monkeypatch.setattr(_scene_advent.time, "monotonic", lambda: next(ticks))
    head = _heads(setting)(setting.fit)
    steps = sum(len(_advent(setting)._loader(rows).plan(4, 0)) for rows in (setting.fit, np.arange(8)))
    advent = _advent(replace(setting, deadline=3 + 1.2 * steps * 12.5), epochs=0)
    assert advent._planned(head) == 12
    ticks = iter([0.0, 3.0, 3.0])
    short = _advent(replace(setting, deadline=3 + 1.2 * steps * 0.5), epochs=0)
    assert "it would take up to" in short._planned(head)


def test_pixels_without_a_label_are_none_of_a_class(setting: Setting) -> None:
    loader = setting.loaders[0]
    drawn = Augmented(loader, (), DenseAugment(STILL, (40, 48)))
    y = drawn.load(np.arange(2), torch.Generator().manual_seed(0)).y
    assert y.shape == (2, 40, 48) and (y == IGNORE).sum() >= 2 * (40 * 48 - 32 * 32)
