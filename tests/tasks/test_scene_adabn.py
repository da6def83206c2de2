"""AdaBN on scenes: statistics of each domain by hand; the same domain twice changes nothing between them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from torchgraft.core.errors import OptionError
from torchgraft.core.progress import SILENT
from torchgraft.data import Samples
from torchgraft.fit import FitOptions
from torchgraft.tasks import _scene_adabn
from torchgraft.tasks._scene_adabn import adabn, follow
from torchgraft.tasks._scene_own import fresh
from torchgraft.tasks._scene_pixels import levels_at, pictures
from torchgraft.tasks._scene_rehearsal import PLAIN, Levels, Rehearsal, fitted
from torchgraft.tasks._scene_setting import Setting, prepared
from torchgraft.train.norm import set_norm


@pytest.fixture
def setting(streets: Callable[..., Samples]) -> Setting:
    """Eight scenes, and the first six of them as the target."""
    return prepared(FitOptions(target=str(streets(6).root), source=(str(streets(8).root),)), SILENT)


def _rehearsal(setting: Setting) -> Rehearsal:
    return Rehearsal(setting.source, setting.fit, setting.held, setting.c, 0.3)


def test_statistics_are_those_of_what_the_layer_sees(setting: Setting) -> None:
    """The first BatchNorm: mean and unbiased variance of the first convolution over all pixels of all scenes."""
    network = fresh(setting)
    set_norm(network.levels, "adapt")
    norm = next(layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))
    seen: list[torch.Tensor] = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    follow(network, setting.loaders[0], np.arange(5), None, 0)
    (z,) = seen  # one batch: all scenes are of one size
    assert len(z) == 5
    torch.testing.assert_close(norm.running_mean, z.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, z.transpose(0, 1).flatten(1).var(1), rtol=1e-4, atol=1e-5)


def test_a_look_is_what_the_statistics_are_of(setting: Setting) -> None:
    means = []
    for look in (None, lambda image, row: image, lambda image, row: image // 4):
        network = fresh(setting)
        set_norm(network.levels, "adapt")
        follow(network, setting.loaders[0], np.arange(8), look, 0)
        norm = next(layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))
        means.append(norm.running_mean.clone())
    torch.testing.assert_close(means[0], means[1])
    assert (means[0] - means[2]).abs().max() > 1e-3


def test_it_is_the_exact_probe_with_the_statistics_of_each_domain(setting: Setting) -> None:
    """By other means: torch's own cumulative statistics (momentum None) in place of `reestimate`."""
    found = adabn(setting, _rehearsal(setting))
    networks = []
    for loader in setting.loaders:
        network = fresh(setting)
        norms = [layer for layer in network.levels.modules() if isinstance(layer, nn.BatchNorm2d)]
        for layer in norms:
            layer.reset_running_stats()
            layer.momentum = None
            layer.train()
        with torch.no_grad():
            network(pictures(loader, np.arange(len(loader))))
        networks.append(network.eval())
    z = levels_at(networks[0], setting.loaders[0], setting.at[0])
    source = setting.source
    head = fitted(Levels({PLAIN: z}, source.y, source.anywhere, source.classes), np.arange(8), (), setting.c)
    there = levels_at(networks[1], setting.loaders[1], setting.at[1])
    said = head.logits(there.reshape(-1, there.shape[-1])).argmax(1)
    assert (found.p.reshape(len(said), -1).argmax(1) == said).mean() > 0.99
    assert found.counts.shape == found.base.shape == (len(setting.held), 3, 3)


def test_nothing_but_statistics_changes(setting: Setting) -> None:
    found, plain = adabn(setting, _rehearsal(setting)), setting.backbone.module.state_dict()
    changed = [
        name for name, t in found.network.levels.module.state_dict().items() if not torch.equal(t, plain[name].cpu())
    ]
    assert changed and all(name.rpartition(".")[2].startswith(("running_", "num_batches")) for name in changed)


def test_a_network_without_batch_norm_is_refused(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_scene_adabn, "set_norm", lambda module, policy: 0)
    with pytest.raises(OptionError, match="has no BatchNorm"):
        adabn(setting, _rehearsal(setting))
