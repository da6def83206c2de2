from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from torchgraft.core.errors import OptionError
from torchgraft.core.journal import Journal
from torchgraft.features import compose
from torchgraft.features.mapping import L2
from torchgraft.tune import _contrastive, contrastive, linear_probe
from torchgraft.tune.base import Candidate, Skip

FAST = {"rate": 1e-2, "epochs": 4}


def tuned_features(problem, candidate) -> np.ndarray:
    """N x D features of the backbone with the candidate's weights."""
    (tuned,) = candidate.tuned.values()
    backbone = tuned.backbone(problem.resources.backbones[tuned.base])
    rows = backbone.tokenizer(list(problem.blocks["text"]))
    width = max(map(len, rows))
    ids = torch.tensor([row + [backbone.tokenizer.padding] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    with torch.inference_mode():
        return compose(backbone, "mean")(ids, mask).numpy()


def within(z: np.ndarray, y: np.ndarray) -> float:
    """Mean cosine distance of the pairs of one class over that of the pairs of two."""
    z = L2().transform(z)
    distance, alike = 1 - z @ z.T, y[:, None] == y
    return float(distance[alike & ~np.eye(len(y), dtype=bool)].mean() / distance[~alike].mean())


@pytest.mark.parametrize("loss", ["supcon", "cosine"])
def test_classes_draw_together_and_the_head_is_their_exact_probe(trained_text, loss) -> None:
    problem = trained_text()
    candidate = contrastive.fit(problem, contrastive.Options(loss=loss, **FAST))
    z = tuned_features(problem, candidate)
    assert within(z, problem.y) < within(problem.blocks["test/text"], problem.y) - 0.1
    probe = linear_probe.fit(problem, linear_probe.Options(source="test/text"))
    right = [(one.logits.argmax(1) == problem.y[one.rows]).mean() for one in (probe, candidate)]
    assert right[1] >= right[0]
    z = candidate.parts[0].mapping.transform(z).astype(np.float64)
    one = z / np.sqrt(z.var(axis=0).sum())
    reference = LogisticRegression(C=candidate.chosen["C"], tol=1e-8, max_iter=5000).fit(one, problem.y)
    np.testing.assert_allclose(softmax(candidate.head.logits(z), axis=1), reference.predict_proba(one), atol=2e-3)


def test_what_the_candidate_says_of_itself(hard_text) -> None:
    problem = hard_text(k=3)
    candidate = contrastive.fit(problem, contrastive.Options(**FAST))
    assert candidate.parts[0].source == "tuned/test/text"
    assert set(candidate.chosen) == {"rate", "epochs", "of", "folds", "C"}
    assert (candidate.chosen["of"], candidate.chosen["folds"]) == (4, 3)
    assert len(candidate.history) == 4
    np.testing.assert_array_equal(candidate.rows, problem.held_out)
    assert candidate.logits.shape == (60, 3)


def test_weights_that_do_not_move_give_the_linear_probe(trained_text) -> None:
    problem = trained_text()
    running = _contrastive.Contrasting(problem, contrastive.Options(rate=1e-12, epochs=1), ["test/text"])
    runs = list(running._on_folds(problem.folds, 1e-12, 1))
    best = running._best_epoch(1e-12, runs, problem.folds)
    probe = linear_probe.fit(problem, linear_probe.Options(source="test/text"))
    assert best.probe.chosen == probe.chosen
    np.testing.assert_allclose(best.probe.logits, probe.logits, atol=1e-2)
    assert best.probe.rows.shape == probe.rows.shape


def test_where_nothing_is_gained_both_rates_are_tried_and_it_is_said(trained_text, monkeypatch) -> None:
    monkeypatch.setattr(_contrastive, "RATES", (1e-13, 1e-14))
    histories: list = []
    problem = trained_text(on_leg=histories.append)
    with pytest.raises(Skip, match=r"on 60 held-out samples no epoch at rate 1.0e-13 or 1.0e-14 beats"):
        contrastive.fit(problem, contrastive.Options(epochs=1))
    assert {round(history["phases"][0]["rate"] * 1e14) for history in histories} == {1, 10}


def test_the_same_problem_gives_the_same_bits_interrupted_or_not(trained_text, tmp_path) -> None:
    def fit() -> Candidate:
        journal = Journal(tmp_path / "journal")
        problem = trained_text(folder=tmp_path, journal=journal, on_leg=legs.append)
        return contrastive.fit(problem, contrastive.Options(**FAST))

    legs: list = []
    whole = contrastive.fit(trained_text(), contrastive.Options(**FAST))
    again = fit()
    (tmp_path / "contrastive-test-text-all-samples.safetensors").unlink()
    legs.clear()
    resumed = fit()
    assert {leg["phases"][0]["name"] for leg in legs} == {"contrastive, all samples"}
    for other in (again, resumed):
        np.testing.assert_array_equal(whole.logits, other.logits)
        np.testing.assert_array_equal(whole.head.weight, other.head.weight)
        for name, array in whole.tuned["tuned/test/text"].arrays.items():
            np.testing.assert_array_equal(array, other.tuned["tuned/test/text"].arrays[name])


def test_a_short_budget_gives_up_folds_or_says_how_long_it_would_take(trained_text) -> None:
    with pytest.raises(Skip, match="the budget has 0 s left"):
        contrastive.fit(trained_text(deadline=time.monotonic()), contrastive.Options(**FAST))
    told = Journal()
    told.once("contrastive:test/text", lambda: {"epochs": 2, "folds": 1})
    candidate = contrastive.fit(trained_text(journal=told), contrastive.Options(rate=3e-3))
    assert (candidate.chosen["folds"], len(candidate.rows)) == (1, 30)


def test_epochs_that_are_wanted_fall_with_the_samples(trained_text) -> None:
    problem = trained_text()
    for batch, epochs in ((24, 4), (60, 12), (4, 2)):
        running = _contrastive.Contrasting(problem, contrastive.Options(batch=batch), ["test/text"])
        assert running._decide()["epochs"] == epochs


def test_wrong_options_are_told(trained_text) -> None:
    with pytest.raises(OptionError, match=r"supcon or cosine, got 'supcom'.*mean 'supcon'"):
        contrastive.fit(trained_text(), contrastive.Options(loss="supcom"))
    with pytest.raises(OptionError, match="above 0"):
        contrastive.fit(trained_text(), contrastive.Options(temperature=0.0))
    with pytest.raises(OptionError, match="test/text"):
        contrastive.fit(trained_text(), contrastive.Options(source="test/tex"))


def test_it_says_what_it_is_not_for(trained_text, trained_photos, dense_problem) -> None:
    problem = trained_text()
    assert contrastive.applies(problem) == ""
    assert "no backbone to train" in contrastive.applies(dense_problem)
    assert "made for texts" in contrastive.applies(trained_photos())
    many = replace(problem, y=np.repeat(np.arange(3), 40))
    assert "32 a class and 1000 in all; with 40 a class and 120 in all" in contrastive.applies(many)
    assert "1020 in all" in contrastive.applies(replace(problem, y=np.repeat(np.arange(102), 10)))
    assert "no class has two texts" in contrastive.applies(replace(problem, y=np.arange(60)))
