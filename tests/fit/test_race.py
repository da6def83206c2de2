"""Races between contestants whose chance of being right is known."""

from __future__ import annotations

import numpy as np
import pytest

from torchgraft.fit import _race
from torchgraft.fit._race import race

CHANCES = {f"p{p}": p / 100 for p in (95, 90, 80, 70, 60, 50, 40, 30)}


def asked(log: dict[str, set], seed: int = 0):
    """Outcomes drawn once for each contestant and sample; `log` collects which rows each was asked."""
    rng = np.random.default_rng(seed)
    drawn = {name: (rng.random(1600) < chance).astype(float) for name, chance in CHANCES.items()}

    def ask(name: str, rows: np.ndarray):
        log.setdefault(name, set()).update(rows.tolist())
        return {"knn": drawn[name][rows], "probe": drawn[name][rows]}

    return ask


ROUNDS = [np.arange(200), np.arange(400), np.arange(800), np.arange(1600)]


@pytest.mark.parametrize("seed", range(5))
def test_the_best_wins_at_less_than_half_the_cost(seed: int) -> None:
    log: dict[str, set] = {}
    places = race(list(CHANCES), ROUNDS, asked(log, seed))
    assert places[0].standing.name == "p95"
    assert sum(map(len, log.values())) <= 0.5 * 8 * 1600
    assert sum(place.chance_best for place in places) == pytest.approx(1)
    assert [place.samples for place in places] == sorted((place.samples for place in places), reverse=True)


def test_one_round_is_a_full_ranking() -> None:
    log: dict[str, set] = {}
    places = race(list(CHANCES), ROUNDS[-1:], asked(log))
    assert [place.standing.name for place in places] == list(CHANCES)
    assert all(len(rows) == 1600 for rows in log.values())
    assert not any(place.let_go for place in places)


def test_equals_all_go_on() -> None:
    """Where nothing can be told, nobody is let go."""
    right = np.ones(1600)
    places = race("abcd", ROUNDS, lambda name, rows: {"knn": right[rows]})
    assert [place.samples for place in places] == [1600] * 4
    assert [place.chance_best for place in places] == pytest.approx([0.25] * 4)


def test_a_spent_budget_ends_it_with_what_is_known() -> None:
    places = race(list(CHANCES), ROUNDS, asked({}), deadline=0.0)
    assert places[0].standing.name == "p95"
    assert {place.samples for place in places} == {200}
    short = "the time was too short for more than 200 samples"
    assert [place.let_go for place in places][:3] == ["", short, short]
    assert {place.let_go for place in places[4:]} == {"in the lower half on 200 samples"}


def test_who_is_let_go_is_told_why(monkeypatch) -> None:
    monkeypatch.setattr(_race, "HOPE", 1.1)  # plain halving: 8, 4, 2, 1
    log: dict[str, set] = {}
    places = race(list(CHANCES), ROUNDS, asked(log))
    assert [len(log[name]) for name in CHANCES][:1] == [800]  # alone after three rounds: no need for the fourth
    assert sorted(map(len, log.values())) == [200] * 4 + [400] * 2 + [800] * 2
    assert [place.let_go for place in places[:3]] == ["", *(f"in the lower half on {n} samples" for n in (800, 400))]
    assert places[-1].let_go == "in the lower half on 200 samples"


def test_near_equals_go_by_the_table() -> None:
    """d is ahead of f by one sample of 100; f is the first of the table."""
    names = "abcdef"
    table = dict(zip(names, (0.45, 0.55, 0.62, 0.70, 0.77, 0.84), strict=True))
    right = dict(zip(names, (0.5, 0.6, 0.68, 0.84, 0.82, 0.83), strict=True))
    rng = np.random.default_rng(0)
    drawn = {name: (rng.permutation(100) < round(100 * p)).astype(float) for name, p in right.items()}
    none = lambda names: {}  # noqa: E731
    both = [
        race(names, [np.arange(100)], lambda name, rows: {"s": drawn[name][rows]}, votes=v)
        for v in (none, lambda names: {"t": table})
    ]
    assert [places[0].standing.name for places in both] == ["d", "f"]
    assert [places[0].standing.by for places in both] == [("s",), ("s", "t")]
    assert all(sum(place.chance_best for place in places) == pytest.approx(1) for places in both)


def test_the_table_votes_in_every_round() -> None:
    table = {name: 100 * chance for name, chance in CHANCES.items()}
    places = race(list(CHANCES), ROUNDS, asked({}), votes=lambda names: {"t": {name: table[name] for name in names}})
    assert len({place.samples for place in places}) > 1
    assert places[0].standing.name == "p95"
    assert places[0].standing.by == ("knn", "probe", "t")
    assert places[-1].standing.by == ("knn", "probe"), "it is so far behind that no vote counts"
