"""A backbone with weights of its own: only what changed is kept, and it fits nothing but its base."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from torchgraft.backbones import Backbone, Network
from torchgraft.core.errors import ArtifactError
from torchgraft.core.types import ImagePreprocessing
from torchgraft.features.mapping import L2
from torchgraft.model import Graft, LinearHead, Part, Tuned


def _build() -> Network:
    torch.manual_seed(0)
    return Network(module=nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval())


@pytest.fixture
def base() -> Backbone:
    return Backbone(
        name="tests/tiny",
        layout="map",
        width=4,
        pooling="avg",
        parameters=112,
        preprocessing=ImagePreprocessing(size=8, resize=8, mean=(0.5,) * 3, std=(0.5,) * 3),
        licence="none",
        revision="r1",
        build=_build,
    )


@pytest.fixture
def tuned() -> Tuned:
    return Tuned(base="tests/tiny", revision="r1", arrays={"0.bias": np.arange(4, dtype=np.float32)})


def test_what_changed_is_filled_in_and_the_rest_is_the_base_s(base: Backbone, tuned: Tuned) -> None:
    own = tuned.backbone(base)
    assert own.name == tuned.name == "tuned/tests/tiny"
    assert own.revision == tuned.digest != base.revision
    assert own.module[0].bias.tolist() == [0, 1, 2, 3]
    assert torch.equal(own.module[0].weight, base.module[0].weight)
    assert base.module[0].bias.tolist() != [0, 1, 2, 3], "the base stays as it is"


def test_what_differs_is_found_and_fills_the_base_to_the_same(base: Backbone) -> None:
    module = copy.deepcopy(base.module)
    assert Tuned.of(base, module).arrays == {}
    with torch.no_grad():
        module[0].bias += 1
    found = Tuned.of(base, module.to(memory_format=torch.channels_last))
    assert (found.base, found.revision, set(found.arrays)) == ("tests/tiny", "r1", {"0.bias"})
    assert torch.equal(found.backbone(base).module[0].bias, module[0].bias)
    with torch.no_grad():
        module[0].bias += 1
    assert (found.arrays["0.bias"] == base.module[0].bias.detach().numpy() + 1).all(), "a copy of what it was then"


def test_no_change_gives_the_same_outputs_under_another_revision(base: Backbone) -> None:
    same = Tuned(base="tests/tiny", revision="r1", arrays={}).backbone(base)
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(same.module(x), base.module(x))


def test_the_digest_tells_values_and_names_apart(tuned: Tuned) -> None:
    other = replace(tuned, arrays={"0.bias": np.arange(4, dtype=np.float32)[::-1].copy()})
    named = replace(tuned, arrays={"0.other": np.arange(4, dtype=np.float32)})
    assert len({tuned.digest, other.digest, named.digest}) == 3
    assert replace(tuned).digest == tuned.digest


def test_another_base_is_refused(base: Backbone, tuned: Tuned) -> None:
    with pytest.raises(ArtifactError, match=r"other weights here \(revision r2\)"):
        tuned.backbone(replace(base, revision="r2"))


@pytest.mark.parametrize("arrays", [{"0.bias": np.zeros(5, np.float32)}, {"9.bias": np.zeros(4, np.float32)}])
def test_tensors_that_do_not_fit_are_named(base: Backbone, tuned: Tuned, arrays: dict) -> None:
    with pytest.raises(ArtifactError, match=next(iter(arrays))):
        _ = replace(tuned, arrays=arrays).backbone(base).module


def test_a_graft_saves_and_loads_it(tuned: Tuned) -> None:
    graft = Graft(
        parts=(Part(tuned.name, L2()),),
        head=LinearHead(np.ones((2, 4)), np.zeros(2)),
        classes=("a", "b"),
        modality="image",
        method="lp_ft",
        backbones={tuned.name: {"name": tuned.name, "base": tuned.base, "revision": tuned.digest, "pooling": "avg"}},
        tuned={tuned.name: tuned},
    )
    config, arrays = graft.state()
    again = Graft.from_state(config, arrays)
    assert again.tuned[tuned.name].digest == tuned.digest
    assert set(again.backbones) == {tuned.name}
