"""The climb: every rung measured on the same rows, stopped by the clock with the reason."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from torchgraft.core.types import Estimate
from torchgraft.data import folds
from torchgraft.evaluate import softmax
from torchgraft.fit import ladder, plan
from torchgraft.fit.ladder import Entry, climb
from torchgraft.model import assemble
from torchgraft.tune import lda, levels, linear_probe
from torchgraft.tune.base import Problem, Resources, Skip, TooLong, take


@pytest.fixture
def problem() -> Problem:
    """90 rows of 6 features in three classes that overlap a little."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    z = (rng.normal(size=(90, 6)) + 1.5 * np.eye(6)[y]).astype(np.float32)
    return Problem(blocks={"array": z}, y=y, classes=("a", "b", "c"), folds=folds(y, seed=0))


def _rungs(problem: Problem, *names: str) -> list[plan.Rung]:
    return plan.rungs(names, problem.dense, {})


def test_every_rung_is_measured_on_the_held_out_rows(problem: Problem) -> None:
    entries, skipped = climb(problem, _rungs(problem, "majority", "lda", "knn"))
    assert [entry.rung.method for entry in entries] == ["majority", "lda", "knn"]
    assert not skipped
    for entry in entries:
        assert sorted(entry.candidate.rows) == list(range(90))
        np.testing.assert_allclose(
            entry.measured.probabilities, softmax(entry.candidate.logits / entry.measured.temperature)
        )
        right = (entry.measured.probabilities.argmax(1) == problem.y[entry.candidate.rows]).mean()
        assert entry.metrics["accuracy"].value == pytest.approx(right)
        assert isinstance(entry.metrics["accuracy"], Estimate)
    assert [entry.transfer for entry in entries] == [False, True, True]
    assert [entry.backbone for entry in entries] == ["", "array", "array"]


def test_a_spent_budget_skips_the_rest_with_the_reason(problem: Problem) -> None:
    entries, skipped = climb(problem, _rungs(problem, "majority", "lda", "knn"), deadline=time.monotonic() - 1)
    assert [entry.rung.method for entry in entries] == ["majority"], "one rung is always measured"
    assert [(one.name, one.reason) for one in skipped] == [
        ("lda(array)", "the budget is spent"),
        ("knn(array)", "the budget is spent"),
    ]


def test_the_budget_can_end_between_two_rungs(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("torchgraft.fit.ladder.time.monotonic", lambda: now[0])
    entries, skipped = climb(
        problem,
        _rungs(problem, "majority", "lda", "knn"),
        deadline=10.0,
        after_each=lambda so_far: now.__setitem__(0, 6.0 * len(so_far)),
    )
    assert [entry.rung.method for entry in entries] == ["majority", "lda"]
    assert [one.name for one in skipped] == ["knn(array)"]


def test_a_method_that_does_not_apply_is_skipped_with_its_reason(problem: Problem) -> None:
    entries, skipped = climb(problem, _rungs(problem, "tfidf", "majority"))
    assert [entry.rung.method for entry in entries] == ["majority"]
    assert skipped[0].name == "tfidf"
    assert skipped[0].reason
    assert skipped[0].reason != "the budget is spent"


def test_what_was_found_is_told_after_each_rung(problem: Problem) -> None:
    seen: list[int] = []
    threads: list[set[int]] = []

    def after_each(entries: list[Entry]) -> None:
        seen.append(len(entries))
        threads.append({pool["num_threads"] for pool in threadpool_info()})

    climb(problem, _rungs(problem, "majority", "lda"), after_each=after_each)
    assert seen == [1, 2]
    assert threads == [{1}, {1}]


def test_the_candidate_is_the_graft_on_all_rows(problem: Problem) -> None:
    (entry,), _ = climb(problem, _rungs(problem, "lda"))
    logits = entry.candidate.head.logits(assemble(entry.candidate.parts, problem.blocks))
    assert (logits.argmax(1) == problem.y).mean() > 0.7


def test_rows_of_arrays_and_lists() -> None:
    rows = np.array([2, 0])
    np.testing.assert_array_equal(take(np.arange(6).reshape(3, 2), rows), [[4, 5], [0, 1]])
    assert take(["a", "b", "c"], rows) == ["c", "a"]
    assert take(("a", "b", "c"), rows) == ["c", "a"]


def test_training_is_not_begun_where_it_could_not_be_shown_to_pay(problem: Problem) -> None:
    trains = type("Trains", (), {"TRAINS": True})
    apart = problem.blocks["array"] + np.eye(6, dtype=np.float32)[problem.y]
    problem = replace(problem, blocks={"array": apart})
    (entry,), _ = climb(problem, _rungs(problem, "lda"))
    wrong = entry.measured.mistakes
    assert 0 < wrong < ladder._WORTH, "the blobs overlap a little only"
    rung = plan.Rung(method="lp_ft", source=None, options=None)
    assert f"wrong on {wrong} of 90" in ladder._hopeless(problem, rung, trains, [entry])
    assert ladder._hopeless(problem, replace(rung, asked=True), trains, [entry]) == "", "asked for by name"
    assert f"wrong on {wrong} of 90" in ladder._hopeless(problem, rung, levels, [entry])
    assert ladder._hopeless(problem, rung, lda, [entry]) == "", "it runs no backbone"
    few = replace(entry.measured, rows=np.arange(9), y=np.zeros(9, int), probabilities=np.eye(3)[np.zeros(9, int)])
    part = replace(entry, measured=few)
    assert ladder._hopeless(problem, rung, trains, [part]) == "", "few answers have few mistakes"
    (floor,), _ = climb(problem, _rungs(problem, "majority"))
    assert ladder._hopeless(problem, rung, trains, [floor]) == "", "60 mistakes"


@pytest.fixture
def placing(problem: Problem) -> tuple[Problem, plan.Rung, type]:
    """Three backbones, the cheapest first, of which the first sees noise and the others the same; what is to train."""
    noise = np.random.default_rng(1).normal(size=(90, 6)).astype(np.float32)
    z = problem.blocks["array"]
    problem = replace(problem, blocks={"blind": noise, "lean": z, "heavy": z + 0.001 * noise})
    problem = replace(problem, resources=Resources(backbones=dict.fromkeys(problem.blocks), poolings={}))
    rung = plan.Rung(method="lp_ft", source=None, options=linear_probe.Options())
    return problem, rung, type("Trains", (), {"TRAINS": True})


def test_what_trains_begins_on_the_cheapest_within_half_a_point(placing: tuple) -> None:
    problem, rung, trains = placing
    entries, _ = climb(problem, _rungs(problem, "linear_probe"))
    blind, lean, heavy = (entry.metrics["accuracy"].value for entry in entries)
    assert lean > blind + ladder.NEAR
    assert heavy <= lean + ladder.NEAR
    places = ladder._places(problem, rung, trains, entries)
    assert [place.source for place in places] == ["lean", "blind"], "then what costs less"
    assert [place.options.source for place in places] == ["lean", "blind"]
    assert places[0].why.startswith("trains lean, the cheapest of those within half a point of the best by linear")
    assert places[1].why == "trains blind: the time is too short for lean"
    (looks, cheaper) = ladder._places(problem, rung, levels, entries)
    assert looks.why.startswith("looks through lean, the cheapest of those within half a point of the best by linear")
    assert cheaper.why == "looks through blind: the time is too short for lean"
    alone = replace(problem, resources=replace(problem.resources, backbones={"lean": None}))
    assert [place.why for place in ladder._places(alone, rung, trains, entries)] == [""], "there was no choice"


def test_what_trains_goes_by_the_mean_of_probe_and_neighbours(problem: Problem) -> None:
    def entry(method: str, source: str, accuracy: float) -> SimpleNamespace:
        rung = plan.Rung(method=method, source=source, options=None)
        return SimpleNamespace(rung=rung, metrics={"accuracy": Estimate(accuracy, 0.0, 1.0)})

    sources = ["lean", "heavy", "huge"]
    probes = [entry("linear_probe", source, value) for source, value in zip(sources, (0.90, 0.90, 0.93), strict=True)]
    neighbours = [entry("knn", source, value) for source, value in zip(sources, (0.80, 0.84, 0.82), strict=True)]
    others = [entry("lda", "lean", 0.99), entry("fusion", None, 1.0)]
    found, why = ladder._knee(problem, sources, [*probes, *neighbours, *others])
    assert found == "heavy", "0.85, 0.87 and 0.875: half a point to the sample is near enough"
    assert why == "the cheapest of those within half a point of the best by linear_probe and knn (87.0 %)"
    assert ladder._knee(problem, sources, probes)[0] == "huge"
    assert ladder._knee(problem, sources, [*probes, *neighbours[:2]])[0] == "heavy", "huge was asked once only"
    assert ladder._knee(problem, sources, others) == ("lean", "the cheapest")


def test_what_a_ranking_picked_trains(placing: tuple) -> None:
    problem, rung, trains = placing
    entries, _ = climb(problem, _rungs(problem, "linear_probe"))
    places = ladder._places(problem, rung, trains, entries, "heavy")
    assert [place.source for place in places] == ["heavy", "lean", "blind"]
    places = ladder._places(problem, rung, trains, entries, "gone")
    assert [place.source for place in places] == ["lean", "blind"], "the time was too short for its features"


def test_where_nothing_was_scouted_the_cheapest_trains(placing: tuple) -> None:
    problem, rung, trains = placing
    assert [place.source for place in ladder._places(problem, rung, trains, [])] == ["blind"]
    named = replace(rung, source="heavy")
    assert ladder._places(problem, named, trains, []) == [named], "asked for"
    assert ladder._places(problem, rung, lda, []) == [rung], "it trains nothing"


def test_where_the_time_is_too_short_a_cheaper_backbone_trains(placing: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, rung, trains = placing
    entries, _ = climb(problem, _rungs(problem, "linear_probe"))
    asked: list[str] = []

    def measure(problem: Problem, rung: plan.Rung, method: type) -> str:
        asked.append(rung.source)
        if rung.source in refused:
            raise refused[rung.source]
        return rung.source

    said: list[str] = []
    progress = type("Told", (), {"say": lambda self, line: said.append(line)})()
    problem = replace(problem, resources=replace(problem.resources, progress=progress))
    monkeypatch.setattr(ladder, "_measure", measure)
    refused: dict[str, Skip] = {"lean": TooLong("it would take up to 9 s")}
    lean, blind = ladder._places(problem, rung, trains, entries)
    assert ladder._tried(problem, rung, trains, entries) == (blind, "blind", "")
    assert asked == ["lean", "blind"]
    assert "lp_ft(lean): it would take up to 9 s. A cheaper backbone is tried." in said
    refused["blind"] = TooLong("it would take up to 5 s")
    assert ladder._tried(problem, rung, trains, entries) == (blind, None, "it would take up to 5 s")
    refused["lean"] = Skip("no epoch beats the start")
    assert ladder._tried(problem, rung, trains, entries) == (lean, None, "no epoch beats the start")
    assert asked[4:] == ["lean"], "another reason is no reason to try another backbone"
