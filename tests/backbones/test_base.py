from __future__ import annotations

import torch
from torch import nn

from torchgraft.backbones import Backbone, Network
from torchgraft.core.types import ImagePreprocessing


def test_a_backbone_tells_what_it_is() -> None:
    made = []

    def build() -> Network:
        made.append(1)
        return Network(module=nn.Conv2d(3, 4, 2), classifier=nn.Linear(4, 10))

    backbone = Backbone(
        name="local/x",
        layout="map",
        width=4,
        pooling="avg",
        preprocessing=ImagePreprocessing(size=8, resize=9, mean=(0.5,) * 3, std=(0.5,) * 3),
        licence="mit",
        revision="r",
        parameters=52,
        build=build,
    )
    assert backbone.modality == "image"
    assert not made, "nothing is built before it is asked for"
    assert backbone.module(torch.zeros(1, 3, 8, 8)).shape == (1, 4, 7, 7)
    assert backbone.classifier(torch.zeros(1, 4)).shape == (1, 10)
    assert backbone.tokenizer is None
    assert len(made) == 1
    assert backbone.describe() == {"name": "local/x", "revision": "r", "licence": "mit", "width": 4, "parameters": 52}
