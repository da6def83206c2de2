from __future__ import annotations

import csv

import numpy as np
import pytest

from torchgraft.model.graft import assemble
from torchgraft.tune import tfidf


def test_learns_words_that_give_the_class_away(text_problem):
    candidate = tfidf.fit(text_problem, tfidf.Options())
    assert (candidate.logits.argmax(axis=1) == text_problem.y[candidate.rows]).mean() == 1.0
    assert [part.source for part in candidate.parts] == ["text"]
    assert tfidf.TRANSFER is False


def test_vocabulary_comes_from_the_fit_rows_of_a_fold(make_problem, monkeypatch):
    seen = []
    fit = tfidf.TfIdf.fit

    def spy(values, y):
        seen.append(tuple(values))
        return fit(values, y)

    monkeypatch.setattr(tfidf.TfIdf, "fit", spy)
    texts = [f"text {i}" for i in range(6)]
    folds = ((np.array([0, 1, 2, 3]), np.array([4, 5])),)
    tfidf.fit(make_problem({"text": texts}, np.arange(6) % 2, folds=folds), tfidf.Options())
    assert seen == [tuple(texts[:4]), tuple(texts)]


def test_says_why_it_does_not_apply(dense_problem, make_problem):
    assert "no texts" in tfidf.applies(dense_problem)
    assert "letter or a digit" in tfidf.applies(make_problem({"text": ["...", "!", "?", ""]}, np.array([0, 1, 0, 1])))


@pytest.mark.shared
def test_trec_level(shared_data, make_problem):
    """scikit-learn's TF-IDF of words 1-2 with LogisticRegression(C=10) gets 0.7825 of these 400 right."""
    with (shared_data / "trec" / "train.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))[:1400]
    y = np.array([int(row["label"]) for row in rows])
    folds = ((np.arange(1000), np.arange(1000, 1400)),)
    candidate = tfidf.fit(make_problem({"text": [row["text"] for row in rows]}, y, folds=folds), tfidf.Options())
    assert (candidate.logits.argmax(axis=1) == y[candidate.rows]).mean() > 0.7725
    assert assemble(candidate.parts, {"text": ["Who ?"]}).shape[1] == candidate.head.weight.shape[1]
