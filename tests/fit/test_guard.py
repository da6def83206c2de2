"""Each test of the guard on evidence made for it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.special import softmax

from torchgraft.fit import _guard

N = 120
Y = np.arange(N) % 3
SHIFTED = np.where(np.arange(N) < 40, (Y + 1) % 3, Y)
"""A third of the answers are others: 40 of 120, and still even."""


def sure(y: np.ndarray, p: float = 0.9, classes: int = 3) -> np.ndarray:
    return (p - (1 - p) / (classes - 1)) * np.eye(classes)[y] + (1 - p) / (classes - 1)


def made(**changes: object) -> _guard.Evidence:
    """Evidence for which every test passes: a gap, a third answered otherwise, all votes for it, the source kept."""
    values = {
        "base": sure(SHIFTED),
        "adapted": sure(Y),
        "votes": np.tile(Y, (3, 1)),
        "source": np.ones((2, 60), dtype=bool),
        "prior": np.full(3, 1 / 3),
        "p_gap": 0.005,
    }
    values |= changes
    if "weights" not in values:  # one kind each
        values["weights"] = np.full(len(values["votes"]), 1 / len(values["votes"]))
    return _guard.Evidence(**values)


def seen(evidence: _guard.Evidence) -> dict[str, _guard.Test]:
    return {one.name: one for one in _guard.tests(evidence)}


def test_all_pass_on_clear_evidence() -> None:
    found = _guard.tests(made())
    assert [one.name for one in found] == ["gap", "changes", "collapse", "source", "agreement"]
    assert all(one.passed for one in found)
    assert _guard.refusal(found) is None


@pytest.mark.parametrize(("p", "passed"), [(0.005, True), (0.0499, True), (0.05, False), (1.0, False)])
def test_no_gap_nothing_to_adapt_to(p: float, passed: bool) -> None:
    one = seen(made(p_gap=p))["gap"]
    assert one.passed is passed
    assert f"p = {p:.3f}" in one.seen and ("nothing to adapt to" in one.seen) is not passed


@pytest.mark.parametrize(("changed", "passed"), [(0, False), (1, True), (40, True)])
def test_changes_are_counted(changed: int, passed: bool) -> None:
    """1 of 120 is 0.83 %, over the half per cent under which the simpler one does."""
    base = np.where(np.arange(N) < changed, (Y + 1) % 3, Y)
    found = seen(made(base=sure(base)))
    assert found["changes"].passed is passed
    assert f"{100 * changed / N:.1f} %" in found["changes"].seen
    assert ("agreement" in found) is passed, "votes on what both answer alike say nothing"


def test_few_changes_among_many_samples() -> None:
    y = np.arange(1000) % 3
    other = np.where(np.arange(1000) < 4, (y + 1) % 3, y)
    one = seen(made(base=sure(other), adapted=sure(y), votes=np.tile(y, (3, 1))))["changes"]
    assert not one.passed and one.seen.startswith("it changes 0.4 %")


def test_a_swallowed_class_is_a_collapse() -> None:
    one = seen(made(adapted=sure(np.where(Y == 2, 0, Y)), votes=np.tile(np.where(Y == 2, 0, Y), (3, 1))))["collapse"]
    assert not one.passed
    assert "class 2" in one.seen and "vanished" in one.seen


def test_a_collapse_of_both_is_no_fault_of_the_adaptation() -> None:
    base, adapted = np.where(np.arange(N) % 2, 0, 1), np.where(np.arange(N) % 2, 1, 0)
    one = seen(made(base=sure(base), adapted=sure(adapted), votes=np.tile(adapted, (3, 1))))["collapse"]
    assert one.passed and one.seen.endswith("so it was before adaptation")


@pytest.mark.parametrize(("lost", "passed"), [(0, True), (3, True), (30, False)])
def test_the_source_has_to_be_kept(lost: int, passed: bool) -> None:
    before, after = np.ones(200, dtype=bool), np.arange(200) >= lost
    one = seen(made(source=np.stack([before, after])))["source"]
    assert one.passed is passed
    assert f"{100 * lost / 200:.1f} points" in one.seen


def test_what_the_source_gains_is_called_a_gain() -> None:
    one = seen(made(source=np.stack([np.arange(100) >= 10, np.ones(100, dtype=bool)])))["source"]
    assert one.passed and "gains 10.0 points" in one.seen


def test_votes_for_it_and_against_it() -> None:
    with_it = seen(made())["agreement"]
    assert with_it.passed
    assert "100 %" in with_it.seen and " 0 % with source-only" in with_it.seen
    against = seen(made(votes=np.tile(SHIFTED, (3, 1))))["agreement"]
    assert not against.passed
    assert "100 % with source-only" in against.seen


def test_votes_count_what_their_kind_counts() -> None:
    """Three of one kind side with source-only, one of another with it: by heads it loses, by kinds it is even."""
    votes = np.stack([SHIFTED, SHIFTED, SHIFTED, Y])
    by_heads = seen(made(votes=votes))["agreement"]
    assert not by_heads.passed and by_heads.seen.endswith("25 % of the methods side with it, 75 % with source-only")
    by_kinds = seen(made(votes=votes, weights=np.array([1, 1, 1, 3]) / 6))["agreement"]
    assert "50 % of the methods side with it, 50 % with source-only, and" in by_kinds.seen
    assert seen(made(votes=votes, weights=np.array([0, 0, 0, 1])))["agreement"].passed


def test_votes_are_counted_where_both_differ_alone() -> None:
    """Elsewhere the others may say what they like."""
    votes = np.tile(np.where(np.arange(N) < 40, Y, (Y + 2) % 3), (3, 1))
    assert seen(made(votes=votes))["agreement"] == seen(made())["agreement"]


@pytest.mark.parametrize(("p", "passed"), [(0.99, True), (0.6, False)])
def test_even_votes_leave_it_to_clearness(p: float, passed: bool) -> None:
    """Half of the methods for each side: answers as varied and clearer, or more vague, than source-only's at 0.9."""
    votes = np.stack([Y, Y, SHIFTED, SHIFTED])
    one = seen(made(base=sure(SHIFTED), adapted=sure(Y, p), votes=votes))["agreement"]
    assert one.passed is passed
    assert "50 %" in one.seen
    assert ("clearer and as varied" in one.seen) is passed


def test_one_alone_has_no_vote_for_itself() -> None:
    clear, vague = (seen(made(adapted=sure(Y, p), votes=Y[None]))["agreement"] for p in (0.99, 0.6))
    assert clear.passed and not vague.passed
    assert "%" not in clear.seen


def test_a_single_sample_of_noise_is_not_enough() -> None:
    """Three differ, two votes to one for the adapted: the interval holds 0, so clearness decides."""
    base = np.where(np.arange(N) < 3, (Y + 1) % 3, Y)
    votes = np.stack([Y, np.where(np.arange(N) == 0, base, Y)])
    votes[:, 1] = base[1]
    one = seen(made(base=sure(base), adapted=sure(Y, 0.95), votes=votes))["agreement"]
    assert "clearer" in one.seen


def few(n: int, base_right: int, adapted_right: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y = np.arange(n) % 3
    answers = [np.where(np.arange(n) < right, y, (y + 1) % 3) for right in (base_right, adapted_right)]
    return y, *(sure(one) for one in answers)


@pytest.mark.parametrize(("base", "adapted", "passed", "points"), [
    (8, 10, True, "+20.0"), (8, 8, True, "+0.0"), (9, 7, False, "-20.0"),
])  # fmt: skip
def test_a_few_labels_decide(base: int, adapted: int, passed: bool, points: str) -> None:
    found = seen(made(few=few(10, base, adapted), votes=np.tile(SHIFTED, (3, 1))))
    assert ("agreement" in found) is (base == adapted), "no vote is taken where labels tell"
    assert found["labels"].passed is passed
    assert found["labels"].seen.startswith(f"on 10 labelled target samples {points} points [")


def test_without_a_source_only_what_needs_none_is_asked() -> None:
    unknown = {"votes": None, "weights": None, "source": None, "p_gap": None}
    assert [one.name for one in _guard.tests(made(**unknown))] == ["changes", "collapse"]
    found = _guard.tests(made(**unknown, few=few(10, 8, 9)))
    assert [one.name for one in found] == ["changes", "collapse", "labels"]


def test_the_first_that_fails_is_the_reason() -> None:
    found = _guard.tests(made(p_gap=0.5, source=np.stack([np.ones(60, dtype=bool), np.zeros(60, dtype=bool)])))
    assert [one.name for one in found if not one.passed] == ["gap", "source"]
    assert _guard.refusal(found).name == "gap"


def test_what_is_found_can_be_written_as_json() -> None:
    every = [made(), made(votes=np.tile(SHIFTED, (3, 1))), made(votes=Y[None]), made(few=few(10, 8, 9))]
    for one in (test for evidence in every for test in _guard.tests(evidence)):
        assert {type(value) for value in dataclasses.astuple(one)} <= {bool, str}


def test_the_seed_makes_it_repeatable() -> None:
    rng = np.random.default_rng(0)
    evidence = made(adapted=softmax(rng.normal(size=(N, 3)), axis=1), votes=np.stack([Y, SHIFTED, Y]))
    assert _guard.tests(evidence) == _guard.tests(evidence)
