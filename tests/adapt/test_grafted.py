"""A graft as a network and back: the same logits, and only what changed is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from torchgraft import backbones
from torchgraft.adapt import net_of, unfit, with_network
from torchgraft.backbones import timm
from torchgraft.features import compose
from torchgraft.features.mapping import L2, PCA, Affine, Chain, Identity, Standardise
from torchgraft.features.pooling import width
from torchgraft.model import Graft, KNNHead, LinearHead, MlpHead, Part, Tuned


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> backbones.Backbone:
    """The smallest MobileNetV3, random weights."""
    folder: Path = tmp_path_factory.mktemp("backbone")
    torch.manual_seed(0)
    save_file(timm.build("mobilenetv3_small_050").state_dict(), folder / "weights.safetensors")
    (folder / "backbone.toml").write_text(
        'architecture = "timm/mobilenetv3_small_050"\nweights = "weights.safetensors"\n'
        "size = 32\nmean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\n"
    )
    return backbones.load(f"local/{folder}")


def graft(backbone: backbones.Backbone, mapping: object, head: object) -> Graft:
    return Graft(
        parts=(Part(backbone.name, mapping),),
        head=head,
        classes=("a", "b", "c"),
        modality="image",
        method="linear_probe",
        temperature=2.0,
        backbones={backbone.name: {**backbone.describe(), "pooling": "avg"}},
    )


def mapped(backbone: backbones.Backbone) -> list[tuple[object, object]]:
    """Every mapping that has a module, and both heads, each once."""
    rng = np.random.default_rng(0)
    d, x = backbone.width, rng.normal(size=(40, backbone.width))
    linear = LinearHead(rng.normal(size=(3, d)), rng.normal(size=3))
    narrow = LinearHead(rng.normal(size=(3, 4)), rng.normal(size=3))
    hidden = MlpHead(rng.normal(size=(5, d)), rng.normal(size=5), rng.normal(size=(3, 5)), rng.normal(size=3))
    affine = Affine.of(x[0], rng.normal(size=(d, 4)), np.ones(4))
    return [
        (Identity(), linear), (L2(), hidden), (Standardise.fit(x), linear), (PCA.fit(x, k=4), narrow),
        (Chain((L2(), affine)), narrow),
    ]  # fmt: skip


def of_levels(backbone: backbones.Backbone) -> Graft:
    rng, d = np.random.default_rng(0), width(backbone, "levels")
    about = {**backbone.describe(), "name": "levels/net", "base": backbone.name, "pooling": "levels"}
    return replace(
        graft(backbone, Identity(), LinearHead(rng.normal(size=(3, d)), rng.normal(size=3))),
        parts=(Part("levels/net", Standardise.fit(rng.normal(size=(40, d)))),),
        backbones={"levels/net": about},
    )


def images(n: int = 6) -> torch.Tensor:
    return torch.randint(0, 255, (n, 32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_the_network_says_what_the_graft_says(backbone: backbones.Backbone) -> None:
    with torch.no_grad():
        z = compose(backbone, "avg")(images()).numpy()
    for mapping, head in mapped(backbone):
        one = graft(backbone, mapping, head)
        assert unfit(one) == ""
        with torch.no_grad():
            logits = net_of(one).eval().logits((images(),)).numpy()
        wanted = head.logits(mapping.transform(z)) / 2
        np.testing.assert_allclose(logits, wanted, rtol=1e-3, atol=1e-3)


def test_a_graft_on_levels_learns_on_and_comes_back(backbone: backbones.Backbone) -> None:
    one = of_levels(backbone)
    assert unfit(one) == ""
    net = net_of(one).eval()
    with torch.no_grad():
        z = compose(backbone, "levels")(images()).numpy()
        logits = net.logits((images(),)).numpy()
        next(net.network[0].module.parameters()).add_(0.1)
    wanted = one.head.logits(one.parts[0].mapping.transform(z)) / 2
    np.testing.assert_allclose(logits, wanted, rtol=1e-3, atol=1e-3)
    changed = with_network(one, net, method="tent")
    (part,), (tuned,) = changed.parts, changed.tuned.values()
    assert part.source == f"tuned/{backbone.name}"
    assert changed.backbones[part.source]["pooling"] == "levels"
    assert len(tuned.arrays) == 1 and next(iter(tuned.arrays)) in backbone.module.state_dict()
    with torch.no_grad():
        again = compose(changed.loaded[part.source], "levels")(images()).numpy()
        np.testing.assert_allclose(net.network[0](images()).numpy(), again, rtol=1e-4, atol=1e-4)
    assert np.abs(again - z).max() > 1e-3


def test_what_changed_comes_back_and_nothing_else(backbone: backbones.Backbone) -> None:
    one = graft(backbone, *mapped(backbone)[0])
    net = net_of(one)
    assert Tuned.of(backbone, net.network[0].module).arrays == {}
    name, p = next(iter(net.network[0].module.named_parameters()))
    with torch.no_grad():
        p.mul_(1.5)
    adapted = with_network(one, net, method="tent")
    (tuned,) = adapted.tuned.values()
    assert list(tuned.arrays) == [name] and adapted.method == "tent"
    assert adapted.parts[0].source == tuned.name and set(adapted.backbones) == {tuned.name}
    assert adapted.backbones[tuned.name]["revision"] == tuned.digest == adapted.loaded[tuned.name].revision
    again = net_of(adapted)
    assert torch.equal(dict(again.network[0].module.named_parameters())[name], p)
    assert not torch.equal(dict(backbone.module.named_parameters())[name], p), "what was given stays as it is"
    twice = with_network(adapted, again, method="tent")
    assert twice.tuned[tuned.name].base == backbone.name, "changes are counted from the backbone that comes with it"


def test_what_has_no_such_network_is_told(backbone: backbones.Backbone) -> None:
    one = graft(backbone, *mapped(backbone)[0])
    knn = KNNHead(np.zeros((4, backbone.width), dtype=np.float32), np.zeros(4, dtype=np.int64), 1, 3)
    assert "takes text samples" in unfit(replace(one, modality="text"))
    assert "looks at no feature" in unfit(replace(one, parts=()))
    two = unfit(replace(one, parts=(*one.parts, Part("array", Identity()))))
    assert "has 2 sources of features" in two and "of array, which is no backbone" in two
    assert "its head is of the kind knn" in unfit(replace(one, head=knn))
