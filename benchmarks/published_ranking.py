"""What is the ImageNet table worth as a vote in a ranking? Held against fine-tunings that others published.

First, eleven networks on eleven sets (Shao et al., ECCV 2022): weighted Kendall tau of each score with the fine-tuned
accuracy as printed there, and of the ImageNet accuracy. Then ten networks on five sets (TLLib), of which the scores
themselves are printed: mean ranks of scores of frozen features, with and without the table as one more vote.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from _rank_sets import told
from torchgraft.rank import regret, weighted_tau

TABLES = Path(__file__).parent.parent / "tests" / "reference"


def main() -> None:
    """Print both tables."""
    eleven, ten = (_read(name) for name in ("sfda_ranking.toml", "tllib_ranking.toml"))
    names = [name for name, found in eleven.items() if isinstance(found, dict)]
    print(f"| score | {' | '.join(names)} | mean |\n|---|{'---|' * (len(names) + 1)}")
    for score in eleven[names[0]]["weighted_tau"]:
        _row(score, [eleven[name]["weighted_tau"][score] for name in names])
    _row("ImageNet accuracy", [weighted_tau(eleven["imagenet"], eleven[name]["accuracy"]) for name in names])

    known = dict(zip(map(str.lower, eleven["models"]), eleven["imagenet"], strict=True))
    table = [known[model.lower()] for model in ten["models"]]
    names = [name for name, found in ten.items() if isinstance(found, dict)]
    scores = ("hscore", "leep", "logme", "nce")
    print(f"\n| votes | {' | '.join(names)} | mean tau | mean regret |\n|---|{'---|' * (len(names) + 2)}")
    _votes("the table", {name: [table] for name in names}, ten)
    for size in (1, 2):
        for voted in combinations(scores, size):
            votes = {name: [ten[name][score] for score in voted] for name in names}
            _votes(" and ".join(voted), votes, ten)
            _votes(f"{', '.join(voted)} and the table", {name: [*votes[name], table] for name in names}, ten)


def _read(name: str) -> dict:
    return tomllib.loads((TABLES / name).read_text(encoding="utf-8"))


def _row(title: str, taus: Sequence[float]) -> None:
    print(f"| {title} | {' | '.join(f'{tau:.2f}' for tau in taus)} | **{np.mean(taus):.3f}** |")


def _votes(title: str, votes: Mapping[str, Sequence[Sequence[float]]], truth: Mapping) -> None:
    """One row: tau and regret of the mean rank of all votes."""
    orders = {name: -sum(rankdata(-np.array(vote)) for vote in found) for name, found in votes.items()}
    pairs = [(order, truth[name]["accuracy"]) for name, order in orders.items()]
    print(told(title, [weighted_tau(*pair) for pair in pairs], [regret(*pair) for pair in pairs], digits=2))


if __name__ == "__main__":
    main()
