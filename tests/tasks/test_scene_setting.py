"""What is drawn of both domains: how much of it, at which scale, by which network."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from torchgraft.core.errors import OptionError
from torchgraft.core.progress import SILENT
from torchgraft.data import IGNORE, Samples
from torchgraft.tasks import _scene_setting
from torchgraft.tasks._scene_pixels import levels_at
from torchgraft.tasks._scene_rehearsal import PLAIN
from torchgraft.tasks._scene_setting import Setting, prepared


@pytest.fixture
def make(streets: Callable[..., Samples]) -> Callable[..., Setting]:
    """Eight and six scenes."""
    source, target = streets(8).root, streets(6).root

    def setting(**more: object) -> Setting:
        plain = {"target": str(target), "source": (str(source),), "group": None, "few_labels": None, "method": "auto"}
        plain |= {"settings": "", "budget": "10m", "oracle_labels": False, "seed": 0, "backbone": "auto"}
        return prepared(SimpleNamespace(**(plain | more)), SILENT)

    return setting


def test_every_look_of_the_source_and_the_target_as_it_is(make: Callable[..., Setting]) -> None:
    found = make()
    assert list(found.source.z) == [PLAIN, "fda", "moments", "camera"] and not found.skipped
    assert {z.shape for z in found.source.z.values()} == {(8, 130, 512)}
    assert found.target.shape == (6, 200, 512)
    assert found.backbone.name == "packaged/efficientnet_lite0"
    np.testing.assert_array_equal(np.sort(np.concatenate([found.fit, found.held])), np.arange(8))


def test_the_drawn_places_are_kept(make: Callable[..., Setting]) -> None:
    """What is seen there again, under a look too, is what was drawn."""
    found = make()
    assert [at.shape for at in found.at] == [(8, 130), (6, 200)] and list(found.looks) == ["fda", "moments", "camera"]
    again = levels_at(found.network, found.loaders[0], found.at[0], found.looks["camera"])
    np.testing.assert_array_equal(again, found.source.z["camera"])
    np.testing.assert_array_equal(levels_at(found.network, found.loaders[1], found.at[1]), found.target)


def test_labels_are_those_at_the_drawn_places(make: Callable[..., Setting]) -> None:
    found = make()
    assert (found.source.y != IGNORE).all()
    weights, known = found.source.weights, (found.loaders[0].picture(0)[1] != IGNORE).sum()
    assert abs(weights[0].sum() - known) <= weights.shape[1] / 2  # each is rounded
    labels = set(found.source.anywhere.ravel().tolist())
    assert labels <= {0, 1, 2, IGNORE} and len(labels) >= 3


def test_a_budget_that_is_too_short_leaves_looks_out_but_the_first(make: Callable[..., Setting]) -> None:
    found = make(budget="0.001s")
    assert found.skipped == ("moments", "camera") and found.source.looks == ("fda",) == tuple(found.looks)


def test_large_sets_are_drawn_from_more_thinly(make: Callable[..., Setting], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_scene_setting, "_PIXELS", 160)
    monkeypatch.setattr(_scene_setting, "_TARGET_PIXELS", 120)
    found = make()
    assert found.source.y.shape == (8, 20) and found.source.anywhere.shape == (8, 6)
    assert found.target.shape[:2] == (6, 20)


def test_a_backbone_of_several_is_refused(make: Callable[..., Setting]) -> None:
    with pytest.raises(OptionError, match="one network"):
        make(backbone="packaged/efficientnet_lite0,packaged/efficientnet_lite2")
