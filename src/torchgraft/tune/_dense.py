"""Networks for labels of each pixel: the frozen probe, and decoders that begin where it ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import nn

from torchgraft.backbones import Backbone
from torchgraft.core.errors import OptionError, did_you_mean
from torchgraft.model import Decoder, LinearHead
from torchgraft.model.scene_network import SceneNetwork
from torchgraft.train.dense_loader import DenseLoader
from torchgraft.tune._dense_options import DenseOptions
from torchgraft.tune._pixel_probe import Probe, probe
from torchgraft.tune._scenes import Answered, answer, even, scenes
from torchgraft.tune.base import DenseCandidate, Problem


class Setting:
    """What every method needs: the backbone, the scenes, and the probe on both, fitted when it is first asked for."""

    def __init__(self, problem: Problem, options: DenseOptions) -> None:
        self.problem, self.options = problem, options
        self.classes = len(problem.classes)
        self.backbone = _backbone(problem, options.source)
        self.loader: DenseLoader = scenes(problem, options.longest)
        self.pixels = even(self.loader, self.classes, problem.seed)

    @property
    def probe(self) -> Probe:
        """See `_pixel_probe.probe`."""
        revision, per_scene = self.backbone.revision, self.options.per_scene
        return probe(self.problem, self.network, self.loader, revision, per_scene=per_scene)

    @property
    def network(self) -> SceneNetwork:
        """The network with a linear decoder of random weights."""
        return SceneNetwork.of(self.backbone, "linear", self.classes)

    def linear(self, head: LinearHead) -> SceneNetwork:
        """The frozen network with a fitted head."""
        network = self.network
        network.decoder.from_head(head.weight, head.bias)
        return network.requires_grad_(False)

    def answer(self, network: SceneNetwork, rows: np.ndarray) -> Answered:
        """What a network says of some scenes."""
        return answer(network.eval(), self.loader, rows, self.pixels, self.classes)


def frozen_probe(problem: Problem, options: DenseOptions) -> DenseCandidate:
    """The candidate of `pixel_probe`."""
    setting = Setting(problem, options)
    found = setting.probe
    parts = [
        setting.answer(setting.linear(head), held) for head, (_, held) in zip(found.heads, problem.folds, strict=False)
    ]
    return candidate(
        setting,
        Answered.joined(parts),
        problem.held_out,
        Decoder(name="linear", arrays=arrays_of(setting.linear(found.heads[-1]).decoder)),
        chosen={"C": found.penalty, "pixels": found.per_scene},
        note=f"C {found.penalty:.3g}, {found.per_scene} pixels a scene",
    )


def candidate(
    setting: Setting, answered: Answered, rows: np.ndarray, decoder: Decoder, **more: object
) -> DenseCandidate:
    """A candidate on the setting's backbone."""
    made = DenseCandidate(
        source=setting.backbone.name,
        decoder=decoder,
        scale=setting.loader.scale,
        rows=rows,
        counts=answered.counts,
        logits=answered.logits,
        labels=answered.labels,
        answers=answered.maps,
    )
    return replace(made, **more)


def arrays_of(module: nn.Module) -> dict[str, np.ndarray]:
    """A module's tensors by name, as arrays of their own."""
    return {name: t.detach().cpu().contiguous().numpy().copy() for name, t in module.state_dict().items()}


def _backbone(problem: Problem, asked: str | None) -> Backbone:
    known = problem.resources.backbones
    name = next(iter(known)) if asked is None else asked
    if name not in known:
        raise OptionError(f"source expects one of {', '.join(known)}, got {name!r}.{did_you_mean(name, known)}")
    return known[name]
