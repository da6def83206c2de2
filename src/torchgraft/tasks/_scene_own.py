"""Ways to the target with a network of their own: rehearsed and measured as those on the frozen one are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from torchgraft.core.progress import SILENT, Progress
from torchgraft.data import IGNORE
from torchgraft.evaluate import fit_temperature
from torchgraft.model import LinearHead
from torchgraft.model.scene_network import SceneNetwork
from torchgraft.tasks._scene_pixels import levels_at, probabilities, weighed_counts
from torchgraft.tasks._scene_rehearsal import SOURCE_ONLY, Rehearsal, Way
from torchgraft.tasks._scene_setting import Setting, network_of

Rehearsed = tuple[str, SceneNetwork, LinearHead]
"""A look (or `PLAIN`), and the network and head as they would be for a target that looks so."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Own:
    """What such a way ships: `network` (frozen, its decoder filled). `p`: its answers for the target's drawn pixels
    (M x P x C); `counts` and `base` (n x C x C): pixels of held-out source scenes as it and as source-only answers
    them, summed over what both were asked about; `note` tells what was done.
    """

    network: SceneNetwork
    p: np.ndarray
    counts: np.ndarray
    base: np.ndarray
    temperature: float
    note: str


def measured(
    setting: Setting,
    rehearsal: Rehearsal,
    final: tuple[SceneNetwork, LinearHead],
    rehearsed: Iterable[Rehearsed],
    note: str,
    progress: Progress = SILENT,
) -> Own:
    """`final` on the target's pixels, and what was fitted without the held-out scenes on these.

    `p` is as sharp as source-only is where both are measured, on held-out scenes: training to the end makes all answers
    sharper, and how clear they are on the target is what is compared. So its logits are multiplied by source-only's
    temperature over its own.
    """
    counts, logits, own = [], [], []
    plain, labels = Way(name=SOURCE_ONLY), setting.source.anywhere[setting.held].ravel()
    for look, network, head in rehearsed:
        z = held_levels(setting, network, look, progress)
        counts.append((_counted(setting, head, z), rehearsal.counts(plain, look)))
        own.append(_anywhere(setting, head, z))
        logits.append(_anywhere(setting, rehearsal.carried(plain, look), setting.source.z[look][setting.held]))
    y = np.tile(labels[labels != IGNORE].astype(np.int64), len(own))
    temperature, before = (fit_temperature(y, np.concatenate(some)) for some in (own, logits))
    network, head = final
    z = levels_at(network, setting.loaders[1], setting.at[1], words="levels (target)", progress=progress)
    share = before / temperature
    return Own(
        network=filled(network, head),
        p=probabilities(LinearHead(head.weight * share, head.bias * share), z),
        counts=sum(one for one, _ in counts),
        base=sum(one for _, one in counts),
        temperature=temperature,
        note=note,
    )


def fresh(setting: Setting) -> SceneNetwork:
    """A copy of the backbone's network to change."""
    return network_of(setting.backbone, setting.source.classes)


def filled(network: SceneNetwork, head: LinearHead) -> SceneNetwork:
    """The network with the head as its decoder, frozen."""
    network.decoder.from_head(head.weight, head.bias)
    return network.eval().requires_grad_(False)


def held_levels(setting: Setting, network: SceneNetwork, look: str, progress: Progress = SILENT) -> np.ndarray:
    """What a linear decoder reads of the held-out scenes under a look: n x (P + U) x D."""
    words = f"levels (held out, {look})"
    seen = setting.looks.get(look)
    return levels_at(
        network, setting.loaders[0], setting.at[0], seen, rows=setting.held, words=words, progress=progress
    )


def _counted(setting: Setting, head: LinearHead, z: np.ndarray) -> np.ndarray:
    source, held = setting.source, setting.held
    drawn = z[:, : source.y.shape[1]]
    said = head.logits(drawn.reshape(-1, drawn.shape[-1])).argmax(1).reshape(len(held), -1)
    return weighed_counts(source.y[held], said, source.weights[held], source.classes)


def _anywhere(setting: Setting, head: LinearHead, z: np.ndarray) -> np.ndarray:
    """Logits of the labelled ones of those pixels of held-out scenes that were drawn anywhere."""
    y = setting.source.anywhere[setting.held].ravel()
    return head.logits(z[:, setting.source.y.shape[1] :].reshape(len(y), -1)[y != IGNORE])
