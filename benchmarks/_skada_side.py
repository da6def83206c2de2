"""What `against_skada.py` runs in an interpreter that has skada: `python _skada_side.py JOB`, a JSON file; prints JSON.

A pair of domains: skada's methods, each with a small grid, behind its pooled standardisation and before a logistic
regression; the candidate is chosen over all of them by its own scorers. The strength of the regression comes from
cross-validation on the source, as SKADA-Bench chooses its base estimators. The label of no target sample is in reach.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from skada import (
    CORALAdapter,
    EntropicOTMappingAdapter,
    JDOTClassifier,
    LinearOTMappingAdapter,
    OTMappingAdapter,
    PerDomain,
    Shared,
    SubspaceAlignmentAdapter,
    TransferComponentAnalysisAdapter,
    make_da_pipeline,
)
from skada.metrics import CircularValidation, ImportanceWeightedScorer
from skada.model_selection import SourceTargetShuffleSplit
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""C of the logistic regression; 1 is the default."""


class _Timed:
    """A scorer that knows the CPU seconds it took: both are asked in one search, and each counts its own alone."""

    spent = 0.0

    def _score(self, *args: Any, **options: Any) -> float:
        start = time.process_time()
        try:
            return super()._score(*args, **options)
        finally:
            self.spent += time.process_time() - start


class Circular(_Timed, CircularValidation):
    """Trained back from the target's predicted labels: how right is that on the source?"""


class ImportanceWeighted(_Timed, ImportanceWeightedScorer):
    """How right on held-out source samples, those that look like the target counting more?"""


SCORERS = {"circular": Circular, "importance": ImportanceWeighted}


def main() -> None:
    warnings.simplefilter("ignore")  # each fold that a candidate can't be fitted on; it is then out of the choice
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(json.dumps(_scale(job) if "align" in job else _pair(job)))


def _pair(job: dict) -> dict:
    """For each scorer the predictions on the target, CPU seconds of all that led to them, and what was chosen."""
    with np.load(job["features"]) as held:
        xs, ys, xt = held["xs"].astype(np.float64), held["ys"].astype(int), held["xt"].astype(np.float64)
    domain = np.repeat([1, -2], [len(xs), len(xt)])
    data = np.concatenate([xs, xt]), np.concatenate([ys, np.full(len(xt), -1)]), domain
    start = time.process_time()
    candidates = _candidates(_strength(xs, ys))
    seconds = {name: {"strength": time.process_time() - start} for name in SCORERS}
    found: dict[str, list] = {name: [] for name in SCORERS}
    for method, (steps, grid) in candidates.items():
        pipeline = make_da_pipeline(StandardScaler(), *steps)
        for name, (scored, took) in _searched(pipeline, grid, data, job["splits"]).items():
            seconds[name][method] = took
            found[name] += [(score, method, clone(pipeline).set_params(**values), values) for score, values in scored]
    chosen = {name: _refitted(one, data, xt) for name, one in found.items()}
    for name, one in chosen.items():
        one["cpu"] += sum(seconds[name].values())
    return {"by_method": seconds["circular"], "chosen": chosen}


def _searched(pipeline: Pipeline, grid: dict, data: tuple, splits: int) -> dict[str, tuple[list, float]]:
    """For each scorer its (score, values) over the grid, and the CPU seconds without those of the other scorer."""
    x, y, domain = data
    scorers = {name: scorer() for name, scorer in SCORERS.items()}
    cv = SourceTargetShuffleSplit(splits, test_size=0.3, random_state=0)
    start = time.process_time()
    search = GridSearchCV(pipeline, grid, scoring=scorers, refit=False, cv=cv).fit(x, y, sample_domain=domain)
    alone = time.process_time() - start - sum(one.spent for one in scorers.values())
    results = search.cv_results_
    return {
        name: (list(zip(results[f"mean_test_{name}"], results["params"], strict=True)), alone + scorers[name].spent)
        for name in scorers
    }


def _strength(xs: np.ndarray, ys: np.ndarray) -> float:
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(pipeline, {"logisticregression__C": list(STRENGTHS)}, cv=3)
    return float(search.fit(xs, ys).best_params_["logisticregression__C"])


def _candidates(c: float) -> dict[str, tuple[list, dict]]:
    """Steps after the standardisation, and the grid, by the name of the method."""

    def last() -> LogisticRegression:
        return LogisticRegression(C=c).set_score_request(sample_weight=True)

    jdot = JDOTClassifier(last()).set_score_request(sample_weight=True)
    return {
        "source-only": ([last()], {}),
        "coral": ([CORALAdapter(), last()], {"coraladapter__assume_centered": [False, True]}),
        "sa": (
            [SubspaceAlignmentAdapter(random_state=0), last()],
            {"subspacealignmentadapter__n_components": [10, 20, 50, 100]},
        ),
        "tca": (
            [TransferComponentAnalysisAdapter(), last()],
            {"transfercomponentanalysisadapter__n_components": [20, 100]},
        ),
        "ot": ([OTMappingAdapter(norm="median"), last()], {}),
        "sinkhorn": (
            [EntropicOTMappingAdapter(norm="median"), last()],
            {"entropicotmappingadapter__reg_e": [0.1, 1.0]},
        ),
        "linear_ot": ([LinearOTMappingAdapter(reg=0.1), last()], {}),
        "jdot": ([jdot], {"jdotclassifier__alpha": [0.1, 0.5]}),
    }


def _refitted(found: list[tuple], data: tuple, xt: np.ndarray) -> dict:
    """The best candidate on all rows of both domains."""
    start = time.process_time()
    _, method, pipeline, values = found[int(np.nanargmax([score for score, *_ in found]))]
    x, y, domain = data
    predicted = pipeline.fit(x, y.copy(), sample_domain=domain).predict(xt, sample_domain=np.full(len(xt), -2))
    what = " ".join([method, *(str(value) for value in values.values())])
    return {"predicted": predicted.tolist(), "what": what, "cpu": time.process_time() - start}


def _scale(job: dict) -> dict:
    xs, xt = (np.load(job[name]) for name in ("xs", "xt"))
    _aligned(job["align"], xs[:200, :20], xt[:200, :20], 10)  # what a first call loads is not counted
    start = time.process_time()
    _aligned(job["align"], xs, xt, job["k"])
    return {"cpu": time.process_time() - start}


def _aligned(name: str, xs: np.ndarray, xt: np.ndarray, k: int) -> Any:
    methods: dict[str, Callable[[], Any]] = {
        "standardise": lambda: PerDomain(StandardScaler()),
        "pca": lambda: Shared(PCA(k, random_state=0)),
        "coral": CORALAdapter,
        "sa": lambda: SubspaceAlignmentAdapter(k, random_state=0),
    }
    domain = np.repeat([1, -2], [len(xs), len(xt)])
    return methods[name]().fit_transform(np.concatenate([xs, xt]), sample_domain=domain)


if __name__ == "__main__":
    main()
