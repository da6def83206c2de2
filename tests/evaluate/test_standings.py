"""Standings: by hand, by symmetry, and against a chance that is known."""

from __future__ import annotations

import numpy as np
import pytest

from torchgraft.evaluate import wilson
from torchgraft.evaluate.standings import standings


def test_by_hand() -> None:
    """One sample: every draw of it is the same."""
    right, wrong = np.ones(1), np.zeros(1)
    found = standings(
        {
            "a": {"knn": right, "probe": right},  # first by kNN, level first by the probe
            "b": {"knn": wrong, "probe": right},  # level last, level first
            "c": {"knn": wrong, "probe": wrong},  # level last, last
        }
    )
    assert [one.name for one in found] == ["a", "b", "c"]
    assert [one.rank for one in found] == [(1 + 1.5) / 2, (2.5 + 1.5) / 2, (2.5 + 3) / 2]
    assert found[0].scores["knn"].value == 1
    assert [one.expected.value for one in found] == [1, 0.5, 0]
    assert sum(one.chance_best for one in found) == pytest.approx(1)


def test_near_equals_have_nearly_one_rank_and_the_other_score_decides() -> None:
    """a is ahead of b by one sample of 400 under one score, and b of a by 40 under the other: the mean of plain ranks
    would be the same.
    """
    base = np.zeros(400)
    base[:200] = 1
    a, b = base.copy(), base.copy()
    a[200] = 1
    ahead = base.copy()
    ahead[300:340] = 1
    found = standings({"a": {"s": a, "t": base}, "b": {"s": b, "t": ahead}})
    assert [one.name for one in found] == ["b", "a"]
    s = 2 - np.exp(-1) / 2  # second, but level in the draws that leave that one sample out
    assert found[0].rank == pytest.approx((s + 1) / 2, abs=0.02)
    assert found[0].rank + found[1].rank == pytest.approx(3)


def test_all_right_is_no_certainty() -> None:
    """Resampling 18 of 18 shows no spread: Wilson's interval for 18 of 18, [0.824, 1]."""
    (found,) = standings({"a": {"knn": np.ones(18), "probe": np.ones(18)}})
    for estimate in (found.scores["knn"], found.scores["probe"], found.expected):
        assert (estimate.value, estimate.high) == (1, 1)
        assert estimate.low == pytest.approx(18 / (18 + 1.96**2), abs=1e-4)


def test_intervals_are_wilsons() -> None:
    right = np.repeat([1.0, 0.0], [90, 10])
    (found,) = standings({"a": {"knn": right}}, draws=50_000)
    expected = wilson(90, 100)
    assert (found.scores["knn"].low, found.scores["knn"].high) == pytest.approx((expected.low, expected.high), abs=2e-3)


def test_equals_share_the_chance() -> None:
    right = np.random.default_rng(0).integers(0, 2, 50).astype(float)
    found = standings({name: {"knn": right} for name in "abcd"})
    assert [one.chance_best for one in found] == pytest.approx([0.25] * 4)
    assert [one.rank for one in found] == [2.5] * 4


def test_a_sure_winner_is_sure() -> None:
    rng = np.random.default_rng(1)
    good, bad = (rng.random(400) < p for p in (0.9, 0.5))
    found = standings({"bad": {"knn": bad.astype(float)}, "good": {"knn": good.astype(float)}})
    assert found[0].name == "good"
    assert found[0].chance_best > 0.999


def test_the_chance_is_that_of_the_sign_of_a_mean() -> None:
    """b beats a on 12 samples and loses on 8 of 200: the bootstrapped difference is near normal, mean 4, sd 4.46."""
    a, b = np.zeros(200), np.zeros(200)
    b[:12], a[12:20] = 1, 1
    found = {one.name: one for one in standings({"a": {"s": a}, "b": {"s": b}}, draws=20_000)}
    assert found["b"].chance_best == pytest.approx(0.815, abs=0.03)  # Phi(4 / 4.46), half of the ties counted
    assert found["b"].rank == pytest.approx(2 - found["b"].chance_best), "first where it is the best, else second"
    assert found["a"].scores["s"].low <= 0.04 <= found["a"].scores["s"].high
    assert found["a"].expected.value == pytest.approx(0.04, abs=0.001)
    assert found["a"].expected.low == pytest.approx(found["a"].scores["s"].low, abs=0.006)


RIGHT, WRONG = np.ones(400), np.repeat([0.0, 1.0], [40, 360])
"""One is better in every draw of the samples, and not so much that votes wouldn't count."""


def test_a_vote_counts_as_all_scores_by_hand() -> None:
    """By the scores a is first and level first, b level last and level first, c level last and last."""
    right, wrong = RIGHT, WRONG
    outcomes = {
        "a": {"knn": right, "probe": right},
        "b": {"knn": wrong, "probe": right},
        "c": {"knn": wrong, "probe": wrong},
    }
    found = {one.name: one for one in standings(outcomes, votes={"t": {"a": 60.0, "b": 70.0, "c": 75.0}})}
    assert {name: one.rank for name, one in found.items()} == pytest.approx(
        {"a": (1.25 + 3) / 2, "b": (2 + 2) / 2, "c": (2.75 + 1) / 2}
    )
    assert {one.by for one in found.values()} == {("knn", "probe", "t")}
    shares = [found[name].expected.value for name in "abc"]
    assert shares == pytest.approx([1, 0.95, 0.9], abs=0.002), "of the samples alone"


def test_whom_a_vote_does_not_know_keeps_its_rank() -> None:
    """Two of four are known: first and second of two stand for 1.5 and 3.5 of four."""
    right = {name: {"s": RIGHT if name in "ab" else WRONG} for name in "abcd"}
    plain, voted = ({s.name: s for s in standings(right, votes=v)} for v in (None, {"t": {"a": 70.0, "c": 75.0}}))
    assert {name: one.rank for name, one in plain.items()} == {"a": 1.5, "b": 1.5, "c": 3.5, "d": 3.5}
    assert {name: one.rank for name, one in voted.items()} == {"a": 2.5, "b": 1.5, "c": 2.5, "d": 3.5}
    assert [voted[name].by for name in "abcd"] == [("s", "t"), ("s",), ("s", "t"), ("s",)]


@pytest.mark.parametrize("table", [{}, {"a": 70.0}, {"other": 70.0, "one": 60.0}])
def test_a_vote_on_one_says_nothing(table: dict[str, float]) -> None:
    outcomes = {name: {"s": (np.random.default_rng(ord(name)).random(50) < 0.7).astype(float)} for name in "abc"}
    assert standings(outcomes, votes={"t": table}) == standings(outcomes)


def test_a_vote_for_all_alike_leaves_the_order_alone() -> None:
    outcomes = {name: {"s": (np.random.default_rng(ord(name)).random(50) < 0.7).astype(float)} for name in "abc"}
    level = standings(outcomes, votes={"t": dict.fromkeys("abc", 70.0)})
    assert [one.name for one in level] == [one.name for one in standings(outcomes)]


def test_that_all_voices_agree_is_no_certainty() -> None:
    outcomes = {name: {"s": RIGHT if name == "a" else WRONG} for name in "abcd"}
    order = {name: -float(i) for i, name in enumerate("abcd")}
    found = standings(outcomes, votes={"h": order, "t": order})
    assert [one.name for one in found] == list("abcd")
    assert 0.8 < found[0].chance_best < 0.95
    assert all(one.chance_best > 0.001 for one in found)


@pytest.mark.parametrize(("votes", "chance"), [(0, 1.0), (1, 1 / 2), (2, 5 / 16), (3, 3 / 16)])
def test_a_lonely_voice_wins_as_often_as_it_weighs_more_than_half(votes: int, chance: float) -> None:
    """a is first by the score, b by k votes, one of both by lot: a is the best where its weights are more than 1/2, w_1
    or w_1 + w_2 of k + 2: (1/2)^(k + 1), and the upper half of Beta(2, k).
    """
    outcomes = {"a": {"s": RIGHT}, "b": {"s": WRONG}}
    found = standings(outcomes, votes={f"v{i}": {"a": 1.0, "b": 2.0} for i in range(votes)}, draws=20_000)
    assert {one.name: one.chance_best for one in found} == pytest.approx({"a": chance, "b": 1 - chance}, abs=0.015)
    assert {one.name: one.rank for one in found} == pytest.approx({"a": 2 - 1 / (votes + 1), "b": 1 + 1 / (votes + 1)})


def test_no_vote_lifts_who_is_far_behind() -> None:
    """c has 40 of 100 where a has 80, b 75: votes may put b before a, and c is last whatever they say."""
    rng = np.random.default_rng(0)
    outcomes = {name: {"s": rng.permutation(100) < n} for name, n in (("a", 80), ("b", 75), ("c", 40))}
    outcomes = {name: {"s": one["s"].astype(float)} for name, one in outcomes.items()}
    votes = {"h": {"a": 1.0, "b": 2.0, "c": 3.0}, "t": {"b": 70.0, "c": 80.0}}
    found = standings(outcomes, votes=votes)
    assert [one.name for one in found] == ["b", "a", "c"]
    assert found[-1].chance_best == 0.0
    assert [one.by for one in found] == [("s", "h", "t"), ("s", "h"), ("s",)]
    alone = standings({name: outcomes[name] for name in "ac"}, votes={"h": {"a": 1.0, "c": 3.0}, "t": {"c": 80.0}})
    assert [(one.name, one.rank) for one in alone] == [("a", 1.0), ("c", 2.0)]


def test_few_samples_are_no_proof_that_one_is_far_behind() -> None:
    """Nine of twelve against six: a quarter of the samples, and not beyond doubt."""
    outcomes = {name: {"s": np.arange(12) < n} for name, n in (("a", 9), ("b", 6))}
    outcomes = {name: {"s": one["s"].astype(float)} for name, one in outcomes.items()}
    found = standings(outcomes, votes={"h": {"a": 1.0, "b": 2.0}, "t": {"a": 60.0, "b": 70.0}})
    assert [one.name for one in found] == ["b", "a"]
