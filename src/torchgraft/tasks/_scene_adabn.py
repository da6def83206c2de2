"""The pixel probe on a network whose BatchNorm has each domain's own statistics (AdaBN, Li et al. 2016)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from torchgraft.core.errors import OptionError
from torchgraft.core.progress import SILENT, Progress
from torchgraft.model.scene_network import SceneNetwork
from torchgraft.tasks._scene_own import Own, Rehearsed, fresh, measured
from torchgraft.tasks._scene_pixels import Look, levels_at, pictures
from torchgraft.tasks._scene_rehearsal import PLAIN, Levels, Rehearsal, fitted
from torchgraft.tasks._scene_setting import Setting
from torchgraft.train.dense_loader import DenseLoader
from torchgraft.train.norm import reestimate, set_norm

_BATCH = 16


def adabn(setting: Setting, rehearsal: Rehearsal, progress: Progress = SILENT) -> Own:
    """The exact probe on source scenes seen with the source's statistics, shipped with those of the target.

    In the rehearsal each look of the held-out scenes has statistics of its own. Raises `OptionError` for a network
    without BatchNorm.
    """
    network, (source, target) = fresh(setting), setting.loaders
    if not set_norm(network.levels, "adapt"):
        raise OptionError(f"--method adabn: {setting.backbone.name} has no BatchNorm. Use another network or way.")
    everything = np.arange(len(source))
    follow(network, source, everything, None, setting.seed)
    z = levels_at(network, source, setting.at[0], words="levels (source, its own statistics)", progress=progress)
    own = Levels({PLAIN: z}, setting.source.y, setting.source.anywhere, setting.source.classes)
    head = fitted(own, setting.fit, (), setting.c)

    def rehearsed() -> Iterator[Rehearsed]:
        for name, look in setting.looks.items():
            follow(network, source, setting.held, look, setting.seed)
            yield name, network, head

    final = fresh(setting)
    set_norm(final.levels, "adapt")
    follow(final, target, np.arange(len(target)), None, setting.seed)
    note = "each domain's own statistics of BatchNorm"
    return measured(setting, rehearsal, (final, fitted(own, everything, (), setting.c)), rehearsed(), note, progress)


def follow(network: SceneNetwork, loader: DenseLoader, rows: np.ndarray, look: Look | None, seed: int) -> None:
    """Give the network the statistics of some scenes under a look. In a shuffled order: the frames of one drive, that
    lie side by side, would give each batch statistics of its own.
    """
    shuffled = np.random.default_rng(seed).permutation(rows)

    def batches() -> Iterator[Tensor]:
        for some in loader.plan(_BATCH, None, shuffled):
            yield pictures(loader, some, look)

    reestimate(network, batches())
