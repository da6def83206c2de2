"""Networks of their own are measured as the frozen one is: with its own weights they give its own numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from torchgraft.core.progress import SILENT
from torchgraft.data import Samples
from torchgraft.fit import FitOptions
from torchgraft.model import LinearHead
from torchgraft.tasks._scene_own import filled, fresh, held_levels, measured
from torchgraft.tasks._scene_pixels import probabilities
from torchgraft.tasks._scene_rehearsal import PLAIN, SOURCE_ONLY, Rehearsal, Way, fitted
from torchgraft.tasks._scene_setting import Setting, prepared


@pytest.fixture
def setting(streets: Callable[..., Samples]) -> Setting:
    """Eight and six scenes."""
    return prepared(FitOptions(target=str(streets(6).root), source=(str(streets(8).root),)), SILENT)


@pytest.fixture
def rehearsal(setting: Setting) -> Rehearsal:
    """Of self-training's share, which is not used here."""
    return Rehearsal(setting.source, setting.fit, setting.held, setting.c, 0.3)


def _head(setting: Setting, rows: np.ndarray) -> LinearHead:
    return fitted(setting.source, rows, (), setting.c)


def test_an_unchanged_network_is_source_only(setting: Setting, rehearsal: Rehearsal) -> None:
    everything = np.arange(8)
    looks = (PLAIN, *setting.looks)
    base = rehearsal.carried(Way(name=SOURCE_ONLY), "fda")
    final = fresh(setting), _head(setting, everything)
    found = measured(setting, rehearsal, final, ((look, fresh(setting), base) for look in looks), "the same")
    np.testing.assert_array_equal(found.counts, found.base)
    np.testing.assert_allclose(found.p, probabilities(final[1], setting.target), atol=1e-5)
    assert found.note == "the same" and found.temperature > 0


def test_what_is_only_sharper_is_no_clearer(setting: Setting, rehearsal: Rehearsal) -> None:
    """Logits times 5 answer alike; the temperature takes it back on the target's pixels."""
    base, final = rehearsal.carried(Way(name=SOURCE_ONLY), "fda"), _head(setting, np.arange(8))
    sharp, shipped = (LinearHead(5 * one.weight, 5 * one.bias) for one in (base, final))
    plain = measured(setting, rehearsal, (fresh(setting), final), [(PLAIN, fresh(setting), base)], "")
    found = measured(setting, rehearsal, (fresh(setting), shipped), [(PLAIN, fresh(setting), sharp)], "")
    assert found.temperature == pytest.approx(5 * plain.temperature, rel=0.1)
    np.testing.assert_allclose(found.p, plain.p, atol=0.05)


def test_levels_of_held_out_scenes_are_those_of_the_setting(setting: Setting) -> None:
    for look in (PLAIN, "camera"):
        own = held_levels(setting, setting.network, look)
        np.testing.assert_allclose(own, setting.source.z[look][setting.held], rtol=1e-4, atol=1e-4)


def test_a_filled_network_holds_the_head(setting: Setting) -> None:
    head = _head(setting, setting.fit)
    network = filled(fresh(setting), head)
    weight, bias = network.decoder.head()
    np.testing.assert_allclose(weight, head.weight, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(bias, head.bias, rtol=1e-5)
    assert not network.training and not any(p.requires_grad for p in network.parameters())
