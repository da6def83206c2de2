"""Maps of several ways in one pass are what each way's own graft answers; counts are over whole scenes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from torchgraft import backbones
from torchgraft.data import Samples
from torchgraft.model import LinearHead
from torchgraft.tasks._scene_maps import counted, maps
from torchgraft.tasks._scene_setting import network_of
from torchgraft.train.dense_loader import DenseLoader


def test_each_way_s_own_answers_in_order(streets: Callable[..., Samples]) -> None:
    """Heads that always say one class, on the frozen network and on networks of their own."""
    scenes = streets(3)
    network = network_of(backbones.load("packaged/efficientnet_lite0"), 3)
    loader = DenseLoader(scenes.x, scenes.masks, scale=1.0)
    columns = sum(network.levels.channels)

    def way(k: int, own: bool) -> SimpleNamespace:
        head = LinearHead(np.zeros((3, columns)), np.eye(3)[k])
        return SimpleNamespace(head=head, own=SimpleNamespace(network=network) if own else None)

    ladder = [way(2, False), way(0, True), way(1, False), way(2, True)]
    setting = SimpleNamespace(network=network, loaders=(loader, loader), source=SimpleNamespace(classes=3))
    for _, called in maps(setting, ladder, loader):
        assert [np.unique(one).tolist() for one in called] == [[2], [0], [1], [2]]
    assert [row for row, _ in maps(setting, ladder, loader, np.array([1]))] == [1]
    counts = counted(setting, ladder, scenes)
    truth = np.stack([np.bincount(scenes.masks.read(i).ravel(), minlength=256)[:3] for i in range(3)])
    for k, answer in enumerate((2, 0, 1, 2)):
        np.testing.assert_array_equal(counts[k][:, :, answer], truth)
        assert counts[k].sum() == truth.sum()
