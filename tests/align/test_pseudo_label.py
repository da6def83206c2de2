from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from torchgraft.align import Domains, joined, pseudo_label
from torchgraft.core.errors import OptionError


def labels(aligned):
    return aligned.head.logits(aligned.zt).argmax(axis=1)


def test_a_domain_with_itself_keeps_the_classifier(same):
    reference = LogisticRegression(C=100).fit(same.xs, same.ys).predict(same.xs)
    assert (labels(pseudo_label.fit(same, pseudo_label.Options())) == reference).mean() > 0.97


def ring(rng, n, turn):
    """Four classes at right angles to each other on a circle of radius 4, turned by `turn` radians."""
    y = np.arange(n) % 4
    angle = np.pi / 2 * y + turn
    return 4 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + rng.normal(size=(n, 2)), y


def test_follows_a_turned_target():
    """Turned by 35 degrees: the source's borders cut off a fifth of each class, and guesses win part of it back."""
    before, after, freed = [], [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        (xs, ys), (xt, yt) = ring(rng, 200, 0.0), ring(rng, 200, np.radians(35))
        pair = Domains(xs=xs, ys=ys, xt=xt)
        before.append(LogisticRegression().fit(xs, ys).score(xt, yt))
        options = pseudo_label.Options(moments="mean"), pseudo_label.Options(moments="mean", source_weight=0.1)
        plain, light = (pseudo_label.fit(pair, o) for o in options)
        after.append((labels(plain) == yt).mean())
        freed.append((labels(light) == yt).mean())
    assert np.mean(after) > np.mean(before) + 0.05
    assert np.mean(freed) > np.mean(after) + 0.05


def test_surest_hand_worked():
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8], [0.45, 0.55]])
    rows, guessed = pseudo_label.surest(p, 0.5)
    assert rows.tolist() == [0, 2, 3] and guessed.tolist() == [0, 0, 1]
    assert pseudo_label.surest(p, 1.0)[0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("moments", ["variance", "mean", "l2", "none"])
def test_every_preprocessing_runs(domains, moments):
    aligned = pseudo_label.fit(domains, pseudo_label.Options(moments=moments, c=1.0))
    assert "C 1" in aligned.note


def test_options_are_checked(domains):
    with pytest.raises(OptionError, match="moments expects"):
        pseudo_label.fit(domains, pseudo_label.Options(moments="median"))
    with pytest.raises(OptionError, match="rounds expects.*source_weight expects"):
        pseudo_label.fit(domains, pseudo_label.Options(rounds=0, source_weight=2.0))


def test_words_beside_the_columns_are_learnt_from(make_shifted):
    """The columns tell nothing; a word of the class stands beside every source row, and every second target row."""
    xs, ys, xt, yt = make_shifted(gap=0.0)
    told = np.arange(97) % 2 == 0
    beside = sparse.csr_matrix(10.0 * np.eye(3)[ys]), sparse.csr_matrix(10.0 * np.eye(3)[yt] * told[:, None])
    found = pseudo_label.fit(Domains(xs=xs, ys=ys, xt=xt, beside=beside), pseudo_label.Options(moments="mean"))
    assert found.zt.shape == (97, 6) and found.head.weight.shape == (3, 9)
    answers = found.head.logits(joined(found.zt, beside[1])).argmax(axis=1)
    assert (answers == yt)[told].all()


def test_nothing_beside_and_empty_words_are_the_same(domains):
    empty = sparse.csr_matrix((90, 2)), sparse.csr_matrix((97, 2))
    options = pseudo_label.Options(moments="mean", c=3.0)
    plain = pseudo_label.fit(domains, options)
    beside = pseudo_label.fit(Domains(xs=domains.xs, ys=domains.ys, xt=domains.xt, beside=empty), options)
    np.testing.assert_array_equal(labels(plain), beside.head.logits(joined(beside.zt, empty[1])).argmax(axis=1))
