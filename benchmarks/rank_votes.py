"""Where the H-score must not vote in a ranking: text encoders, cut ever deeper, and an untrained network among photos.

First, probe, neighbours and H-score of a text encoder after each of its blocks, of few questions and sentences. Then
the same of MobileNetV1 as it is before any training, and of pretrained networks, on draws of the sets of `rank.py`; and
the order that a ranking of these four comes to.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from _rank_sets import LABELS, add_places, backbones, draw, split
from torchgraft import features, rank
from torchgraft.backbones import load
from torchgraft.core import registry
from torchgraft.core.runtime import keep_memory, one_thread, wait_passively
from torchgraft.data import ReadOptions, Samples, read
from torchgraft.evaluate.standings import Outcomes, Votes, standings
from torchgraft.fit._contest import SCORES, VOTE

TEXTS: Mapping[str, int] = {"trec": 64, "sst2": 100}
"""Set -> labels a class."""

ENCODERS = [*(f"first/{k}/packaged/minilm_l6" for k in range(1, 6)), "packaged/minilm_l6"]

TRAINED = ("efficientnet_lite0", "mobilenetv1_025_128", "mobilenetv1_100_224")
"""Beside the untrained network."""


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_places(parser)
    arguments = parser.parse_args()
    keep_memory()
    wait_passively()
    print("| texts | score | after block 1 | 2 | 3 | 4 | 5 | 6 (all) |\n|---|---|---|---|---|---|---|---|")
    for name, each in TEXTS.items():
        _print(name, split(name, 0, read(arguments.data / name, ReadOptions()), each, 0).samples, ENCODERS)
    trained = [name for name in backbones(arguments.weights, arguments.work) if _short(name) in TRAINED]
    names = [_untrained(arguments.work), *trained]
    print(f"\n| photos | score | {' | '.join(map(_short, names))} |\n|---|---|{'---|' * len(names)}")
    for name in LABELS:
        samples = draw(name, 0, arguments.data, arguments.work).samples
        outcomes, votes = _print(name, samples.take(samples.split == "train"), names)
        order = [one.name for one in standings(outcomes, votes=votes)]
        print(f"| {name} | place in the order | {' | '.join(str(order.index(one) + 1) for one in names)} |", flush=True)


def _print(name: str, samples: Samples, names: Sequence[str]) -> tuple[dict[str, Outcomes], Votes]:
    """A row for each score; what each backbone gets right, and the H-score's vote."""
    outcomes, vote = {}, {}
    for backbone in names:
        found = features.extract(samples, load(backbone), engine="torch")
        evidence = rank.Evidence(z=found.z, y=samples.y[found.kept], n_classes=len(samples.classes))
        with one_thread():
            outcomes[backbone] = {score: registry.get("rank", score).outcomes(evidence) for score in SCORES}
            vote[backbone] = registry.get("rank", VOTE).score(evidence)
    for score in SCORES:
        print(f"| {name} | {score} | {' | '.join(f'{outcomes[one][score].mean():.2f}' for one in names)} |")
    print(f"| {name} | {VOTE} | {' | '.join(f'{vote[one]:.2f}' for one in names)} |", flush=True)
    return outcomes, {VOTE: vote}


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
