from __future__ import annotations

from torch import nn

from torchgraft.backbones import Backbone
from torchgraft.core.types import ImagePreprocessing


def test_a_backbone_tells_what_it_is() -> None:
    backbone = Backbone(
        name="local/x",
        module=nn.Conv2d(3, 4, 2),
        layout="map",
        width=4,
        pooling="avg",
        preprocessing=ImagePreprocessing(size=8, resize=9, mean=(0.5,) * 3, std=(0.5,) * 3),
        licence="mit",
        revision="r",
        classifier=nn.Linear(4, 10),
    )
    assert backbone.modality == "image"
    assert backbone.parameters == 4 * 3 * 2 * 2 + 4  # the classifier is not counted
    assert backbone.describe() == {"name": "local/x", "revision": "r", "licence": "mit", "width": 4, "parameters": 52}
