"""Two networks of which each is blind to something: joined they see both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from torchgraft.core.errors import OptionError
from torchgraft.model import SceneGraft
from torchgraft.tune import _backbone_fusion, _pixel_probe, backbone_fusion, pixel_probe
from torchgraft.tune._dense_options import DenseOptions
from torchgraft.tune.base import Problem, Skip


class _Only(nn.Module):
    """One colour of the picture, for all three."""

    def __init__(self, colour: int) -> None:
        super().__init__()
        self.colour = colour

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.colour : self.colour + 1].expand(-1, 3, -1, -1)


@pytest.fixture
def two_networks(scene_problem: Callable[..., Problem], monkeypatch: pytest.MonkeyPatch) -> Problem:
    """Class 1 is red and class 2 blue; one network sees red alone, the other blue."""
    for room in (_pixel_probe, _backbone_fusion):
        monkeypatch.setattr(room, "PENALTIES", (1.0, 10.0))
    problem = scene_problem(n=16)
    (backbone,) = problem.resources.backbones.values()
    seen = {}
    for name, colour in (("test/red", 0), ("test/blue", 2)):
        module = nn.Sequential(_Only(colour), *backbone.module).requires_grad_(False).eval()
        network = replace(backbone.network, module=module)
        seen[name] = replace(backbone, name=name, revision=name, build=lambda network=network: network)
    return replace(problem, resources=replace(problem.resources, backbones=seen))


def _right(counts: np.ndarray) -> float:
    return np.trace(counts.sum(0)) / counts.sum()


def _graft(problem: Problem, found) -> SceneGraft:
    names = list(problem.resources.backbones)
    return SceneGraft(
        source=names[0], decoder=found.decoder, scale=found.scale, classes=problem.classes,
        colours=problem.masks.colours, method="backbone_fusion", joined=found.joined,
        backbones={name: {"name": name, "revision": name, "licence": "none"} for name in names},
    )  # fmt: skip


@pytest.mark.parametrize("fusion", ["concat", "attention"])
def test_joined_they_see_what_neither_does(two_networks: Problem, fusion: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = [
        pixel_probe.fit(two_networks, pixel_probe.Options(source=n, per_scene=60))
        for n in two_networks.resources.backbones
    ]
    found = backbone_fusion.fit(two_networks, backbone_fusion.Options(per_scene=60, joining=fusion))
    assert found.sources == ("test/red", "test/blue") and found.decoder.name == fusion
    assert _right(found.counts) > max(_right(one.counts) for one in alone) + 0.01

    monkeypatch.setattr("torchgraft.model.scene.loaded", lambda name, *_: two_networks.resources.backbones[name])
    graft = SceneGraft.from_state(*_graft(two_networks, found).state())
    scene = next(graft.scenes(two_networks.blocks["image"][:1]))
    truth = two_networks.masks.read(0)
    assert (scene.classes == truth)[truth < 3].mean() > 0.9


@pytest.mark.parametrize("fusion", ["concat", "attention"])
def test_what_is_fitted_is_what_the_network_reads(two_networks: Problem, fusion: str) -> None:
    """Rows times the head are the logits of the network, at pixels in the middle of places: gates are not linear."""
    made = _backbone_fusion.Joining(two_networks, DenseOptions(per_scene=50))
    joined, everything = made._joined(fusion, len(two_networks.folds)), np.arange(16)
    network = made.fitted(fusion, joined, everything, 1.0)
    head = _pixel_probe._Rows(joined.z, made.pixels, everything, 3).solve(1.0)
    with torch.no_grad():
        logits = network(made.setting.loader.load(np.arange(4), None).inputs[0]).flatten(2).permute(0, 2, 1).numpy()
    found = np.take_along_axis(logits, made.pixels.at[:4, :, None], 1)
    expected = head.logits(joined.z[:4].reshape(-1, joined.z.shape[-1])).reshape(found.shape)
    assert np.abs(found - expected).max() < (1e-3 if fusion == "concat" else 1.5)
    assert (found.argmax(-1) == expected.argmax(-1)).mean() > 0.97


def test_auto_takes_the_least_loss_and_folds_repeat(two_networks: Problem) -> None:
    options = backbone_fusion.Options(per_scene=40)
    found = backbone_fusion.fit(two_networks, options)
    losses = found.chosen["losses"]
    assert set(losses) == {"concat", "attention"}
    assert found.decoder.name == min(losses, key=losses.get) == found.chosen["fusion"]
    again = backbone_fusion.fit(replace(two_networks, resources=replace(two_networks.resources, shared={})), options)
    assert np.array_equal(found.counts, again.counts)
    assert all(np.array_equal(a, again.decoder.arrays[name]) for name, a in found.decoder.arrays.items())


def test_it_says_when_there_is_nothing_to_join(scene_problem, two_networks: Problem) -> None:
    problem = scene_problem()
    assert "--backbone A,B" in backbone_fusion.applies(problem)
    assert backbone_fusion.applies(two_networks) == ""
    with pytest.raises(Skip, match="one backbone"):
        backbone_fusion.fit(problem, backbone_fusion.Options())
    with pytest.raises(OptionError, match="attention"):
        backbone_fusion.Options(joining="attend")
    with pytest.raises(OptionError, match="per_scene"):
        backbone_fusion.Options(per_scene=0)
