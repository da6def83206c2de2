"""Edges beside the levels: they tell apart what a blind network can't, and are left alone where they don't pay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from torchgraft.core.errors import OptionError
from torchgraft.model.joined import joined_network
from torchgraft.tune import _pixel_probe, _saliency_probe, pixel_probe, saliency_probe
from torchgraft.tune._dense import Setting
from torchgraft.tune.base import Problem, Skip


@pytest.fixture
def striped(scene_problem: Callable[..., Problem], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Problem:
    """Things 1 and 2 have one mean colour; 1 is striped from side to side, 2 from top to bottom; no strong colours.

    The network sees colours averaged over 8 x 8 pixels, so it can't tell them apart.
    """
    monkeypatch.setattr(_pixel_probe, "PENALTIES", (1.0, 10.0))
    problem, images = scene_problem(), []
    rng = np.random.default_rng(0)
    for i in range(len(problem.y)):
        labels = problem.masks.read(i)
        x = np.where(labels == 0, 60, 120)[..., None] + rng.integers(-5, 6, (*labels.shape, 3))
        wave = np.where(np.arange(48) % 4 < 2, 40, -40)
        x[labels == 1] += np.broadcast_to(wave[:40, None], labels.shape)[labels == 1][:, None]
        x[labels == 2] += np.broadcast_to(wave, labels.shape)[labels == 2][:, None]
        images.append(tmp_path / f"striped{i}.png")
        Image.fromarray(np.clip(x, 0, 255).astype(np.uint8)).save(images[-1])
    (backbone,) = problem.resources.backbones.values()
    blind = nn.Sequential(nn.AvgPool2d(8, 8), nn.Conv2d(3, 6, 1)), nn.Conv2d(6, 6, 2, 2)
    torch.manual_seed(0)
    module = nn.Sequential(*blind).requires_grad_(False).eval()
    seen = replace(backbone, revision="blind", build=lambda: replace(backbone.network, module=module))
    resources = replace(problem.resources, backbones={backbone.name: seen})
    return replace(problem, blocks={"image": images}, resources=resources)


def _right(counts: np.ndarray) -> float:
    return np.trace(counts.sum(0)) / counts.sum()


def test_edges_tell_stripes_apart(striped: Problem) -> None:
    plain = pixel_probe.fit(striped, pixel_probe.Options(per_scene=80))
    found = saliency_probe.fit(striped, saliency_probe.Options(per_scene=80))
    assert found.saliency == ("edges",) and found.sources == ("test/scene",)
    assert _right(found.counts) > _right(plain.counts) + 0.03
    assert found.chosen["C"] == plain.chosen["C"] and "edges" in found.note
    again = saliency_probe.fit(striped, saliency_probe.Options(per_scene=80))
    assert all(np.array_equal(a, again.decoder.arrays[name]) for name, a in found.decoder.arrays.items())


def test_what_is_fitted_is_what_the_network_reads(striped: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows at the drawn pixels, times the head, are the logits of the network that ships."""
    seen, true = [], _saliency_probe.fitted

    def fitted(problem, z, pixels, *rest, **more):
        seen.append((z, pixels, true(problem, z, pixels, *rest, **more)))
        return seen[-1][2]

    monkeypatch.setattr(_saliency_probe, "fitted", fitted)
    found = saliency_probe.fit(striped, saliency_probe.Options(per_scene=40, least=0.0))
    (z, pixels, probe), setting = seen[0], Setting(striped, saliency_probe.Options())
    network = joined_network([setting.backbone], "linear", 3, saliency=("edges",)).requires_grad_(False)
    network.load_state_dict(
        {f"decoder.{k}": torch.from_numpy(v) for k, v in found.decoder.arrays.items()}, strict=False
    )
    logits = network(setting.loader.load(np.arange(3), None).inputs[0]).flatten(2).permute(0, 2, 1).numpy()
    expected = probe.heads[-1].logits(z[:3].reshape(-1, z.shape[-1])).reshape(3, 40, 3)
    np.testing.assert_allclose(np.take_along_axis(logits, pixels.at[:3, :, None], 1), expected, atol=1e-3)


def test_maps_that_save_too_little_are_left_alone(striped: Problem) -> None:
    with pytest.raises(Skip, match=r"edges save less than 99.0% of the probe's log loss"):
        saliency_probe.fit(striped, saliency_probe.Options(per_scene=40, least=0.99))


def test_what_can_not_be_used_is_said() -> None:
    with pytest.raises(OptionError, match="least"):
        saliency_probe.Options(least=1.5)
    assert "no backbone" in saliency_probe.applies(Problem(blocks={}, y=np.zeros(0), classes=(), folds=()))
