"""Where the H-score must not vote in a ranking: text encoders, cut ever deeper, and an untrained network among photos.

First, probe, neighbours and H-score of a text encoder after each of its blocks, of few questions and sentences. Then
the same of MobileNetV1 as it is before any training, and of pretrained networks, on draws of the sets of `rank.py`; and
the order that a ranking of these four comes to.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from _rank_sets import LABELS, add_places, backbones, draw
from torchgraft import features, rank
from torchgraft.backbones import load
from torchgraft.core import registry
from torchgraft.core.runtime import keep_memory, one_thread, wait_passively
from torchgraft.data import ReadOptions, Samples, check, read
from torchgraft.evaluate.standings import standings
from torchgraft.fit._contest import SCORES, VOTE

TEXTS: Mapping[str, int] = {"trec": 64, "sst2": 100}
"""Set -> labels a class."""

ENCODERS = [*(f"first/{k}/packaged/minilm_l6" for k in range(1, 6)), "packaged/minilm_l6"]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_places(parser)
    arguments = parser.parse_args()
    keep_memory()
    wait_passively()
    print("| texts | score | after block 1 | 2 | 3 | 4 | 5 | 6 (all) |\n|---|---|---|---|---|---|---|---|")
    for name, each in TEXTS.items():
        _texts(name, _few(read(arguments.data / name, ReadOptions()), each))
    names = [_untrained(arguments.work), *backbones(arguments.weights, arguments.work)]
    names = [name for name in names if name.endswith(("untrained", "025_128", "v1_100_224", "lite0"))]
    print(f"\n| photos | score | {' | '.join(map(_short, names))} |\n|---|---|{'---|' * len(names)}")
    for name in LABELS:
        samples = draw(name, 0, arguments.data, arguments.work).samples
        _photos(name, samples.take(samples.split == "train"), names)


def _texts(name: str, samples: Samples) -> None:
    evidence = [_evidence(samples, encoder) for encoder in ENCODERS]
    for score in (*SCORES, VOTE):
        print(f"| {name} | {score} | {_told(score, evidence)} |", flush=True)


def _photos(name: str, samples: Samples, names: Sequence[str]) -> None:
    evidence = [_evidence(samples, backbone) for backbone in names]
    for score in (*SCORES, VOTE):
        print(f"| {name} | {score} | {_told(score, evidence)} |")
    with one_thread():
        outcomes = {
            backbone: {score: registry.get("rank", score).outcomes(one) for score in SCORES}
            for backbone, one in zip(names, evidence, strict=True)
        }
        votes = {backbone: registry.get("rank", VOTE).score(one) for backbone, one in zip(names, evidence, strict=True)}
    order = [one.name for one in standings(outcomes, votes={VOTE: votes})]
    print(f"| {name} | place in the order | {' | '.join(str(order.index(one) + 1) for one in names)} |", flush=True)


def _told(score: str, evidence: Sequence[rank.Evidence]) -> str:
    with one_thread():
        return " | ".join(f"{registry.get('rank', score).score(one):.2f}" for one in evidence)


def _evidence(samples: Samples, backbone: str) -> rank.Evidence:
    found = features.extract(samples, load(backbone), engine="torch")
    return rank.Evidence(z=found.z, y=samples.y[found.kept], n_classes=len(samples.classes))


def _few(samples: Samples, each: int) -> Samples:
    samples, _ = check(samples)
    samples, rng = samples.take(samples.split != "test"), np.random.default_rng(0)
    rows = [rng.permutation(np.flatnonzero(samples.y == c))[:each] for c in range(len(samples.classes))]
    return samples.take(np.sort(np.concatenate(rows)))


def _untrained(folder: Path) -> str:
    """MobileNetV1 at its random start, as a backbone of its own."""
    place = folder / "untrained"
    place.mkdir(parents=True, exist_ok=True)
    lines = [
        'architecture = "timm/mobilenetv1_100"',
        'weights = "untrained.safetensors"',
        "size = 224",
        "mean = [0.5, 0.5, 0.5]",
        "std = [0.5, 0.5, 0.5]",
    ]
    (place / "backbone.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _random(place / "untrained.safetensors")
    return f"local/{place}"


def _random(path: Path) -> None:
    from torchgraft.backbones._torchvision_ops import declare

    declare()  # before timm loads torchvision
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_file(timm.create_model("mobilenetv1_100").state_dict(), path)


def _short(name: str) -> str:
    return name.rpartition("/")[2]


if __name__ == "__main__":
    main()
