"""The members of a committee, what each answers, and the rehearsal that sends some of them out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from torchgraft.align import Domains, _members, centroids
from torchgraft.align._classify import Logistic, joined
from torchgraft.align._members import (
    MEMBERS,
    SOURCE_ONLY,
    Answer,
    Member,
    Rehearsal,
    able,
    answer,
    penalty,
    rehearse,
    unable,
    weights,
)
from torchgraft.core import registry

NONE, MEAN = MEMBERS[0], MEMBERS[1]
FEW = (NONE, MEAN, Member("coral"))


def probabilities(logits):
    return np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


def with_words(domains, yt, strength=1.0):
    """A word for each class beside the columns, in the rows of that class."""
    words = [sparse.csr_matrix(strength * np.eye(3)[y]) for y in (domains.ys, yt)]
    return Domains(xs=domains.xs, ys=domains.ys, xt=domains.xt, beside=tuple(words))


def test_names_hand_worked():
    assert Member("coral").name == "coral"
    assert Member("standardise", (("moments", "mean"),)).name == "standardise(mean)"
    assert Member("centroids", (("align_means", True),)).name == "centroids(align_means)"


def test_the_first_is_source_only_and_all_are_different():
    assert MEMBERS[0].method == SOURCE_ONLY
    assert len({one.name for one in MEMBERS}) == len(MEMBERS)
    assert {one.method for one in MEMBERS} <= set(registry.names("align"))
    assert "committee" not in {one.method for one in MEMBERS}


def test_the_penalty_is_that_of_the_source_alone(domains):
    chosen = Logistic(domains.xs, 3).choose(domains.xs, domains.ys)
    assert penalty(domains) == chosen
    assert penalty(Domains(xs=domains.xs, ys=domains.ys, xt=domains.xt + 100)) == chosen


def test_source_only_answers_as_scikit_learn(domains):
    found = answer(domains, NONE, 10.0)
    mean, scale = domains.xs.mean(axis=0), np.sqrt(domains.xs.var(axis=0).sum())
    reference = LogisticRegression(C=10.0, tol=1e-3, max_iter=300).fit((domains.xs - mean) / scale, domains.ys)
    expected = reference.predict_proba((domains.xt - mean) / scale)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-4)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)


def test_a_head_of_the_methods_own_is_taken(domains):
    found = answer(domains, Member("centroids"), 10.0)
    own = centroids.fit(domains, centroids.Options())
    np.testing.assert_array_equal(found.probabilities.argmax(1), own.head.logits(own.zt).argmax(1))
    assert found.head is found.aligned.head


def test_sample_weights_reach_the_classifier(domains):
    found = answer(domains, Member("kmm"), 3.0)
    head = Logistic(found.aligned.zs, 3).fit(found.aligned.zs, domains.ys, 3.0, found.aligned.weights)
    np.testing.assert_allclose(found.head.weight, head.weight, atol=1e-6)


def test_the_given_penalty_reaches_methods_with_a_classifier(domains):
    assert answer(domains, Member("pseudo_label"), 0.3).aligned.note.endswith("C 0.3")


@pytest.mark.parametrize("member", [NONE, Member("coral"), Member("pseudo_label")], ids=lambda m: m.name)
def test_what_is_beside_is_read_by_the_classifier(make_shifted, member):
    xs, ys, xt, yt = make_shifted(gap=0.0)  # the columns know nothing
    blind = Domains(xs=xs, ys=ys, xt=xt)
    seeing = with_words(blind, yt, 10.0)
    right = [(answer(one, member, 10.0).probabilities.argmax(1) == yt).mean() for one in (blind, seeing)]
    assert right[0] < 0.6
    assert right[1] == 1


def test_a_head_on_the_aligned_columns_alone_is_not_given_more(domains):
    seeing = with_words(domains, np.arange(97) % 3)
    plain, beside = (answer(one, Member("centroids"), 1.0).probabilities for one in (domains, seeing))
    np.testing.assert_array_equal(plain, beside)


def test_able_leaves_out_who_needs_classes(domains):
    one_class = Domains(xs=domains.xs, xt=domains.xt, ys=np.zeros(90, dtype=int))
    kept = able(one_class, MEMBERS)
    assert NONE in kept and Member("jda") not in kept
    assert "single class" in unable(one_class, Member("jda"))
    assert able(domains, MEMBERS) == list(MEMBERS)


def test_kinds_count_alike_hand_worked():
    """Two of one kind, one of a kind of its own, two settings of one method without a kind: a third for each."""
    p = np.full((2, 2), 0.5)
    members = (
        Member("coral", kind="covariances"), Member("linear_ot", kind="covariances"), Member("tca"),
        Member("pseudo_label", (("moments", "mean"),)), Member("pseudo_label", (("moments", "l2"),)),
    )  # fmt: skip
    found = weights([Answer(one, p) for one in members])
    np.testing.assert_allclose(found, [1 / 6, 1 / 6, 1 / 3, 1 / 6, 1 / 6])
    assert weights([Answer(members[0], p)]).tolist() == [1]
    assert weights([Answer(one, p) for one in MEMBERS]).sum() == pytest.approx(1)


def test_passing_hand_worked():
    """Of 100 rows source-only has 90 right: at a margin of 2 points 88 pass and 87 don't."""
    right = np.arange(100) < np.array([90, 88, 87, 100, 91])[:, None]
    found = Rehearsal(right, np.arange(100), np.zeros((100, 2)), ())
    assert found.passing(0.02) == [0, 1, 3, 4]
    assert found.passing(0.0) == [0, 3, 4]
    assert found.passing(0.03) == [0, 1, 2, 3, 4]
    assert found.passing(1.0) == [0, 1, 2, 3, 4]


def test_the_rehearsal_is_two_fits_on_halves(domains):
    """Source-only's part is scikit-learn's logistic regression, fitted on each half and asked of the other."""
    found = rehearse(domains, FEW)
    sides = np.zeros(90, dtype=int)
    for asked, part, c, answers in found.halves:
        sides += asked
        held, kept = found.rows[asked], found.rows[~asked]
        assert Counter(domains.ys[held].tolist()) == {0: 15, 1: 15, 2: 15}
        np.testing.assert_array_equal(part.xt, domains.xs[held])
        assert c == penalty(part)
        mean, scale = domains.xs[kept].mean(axis=0), np.sqrt(domains.xs[kept].var(axis=0).sum())
        reference = LogisticRegression(C=c, tol=1e-3, max_iter=300)
        reference.fit((domains.xs[kept] - mean) / scale, domains.ys[kept])
        expected = reference.predict_proba((domains.xs[held] - mean) / scale)
        np.testing.assert_allclose(found.probabilities[asked], expected, atol=1e-4)
        for i, one in enumerate(answers):
            np.testing.assert_array_equal(found.right[i, asked], one.probabilities.argmax(1) == domains.ys[held])
    assert (sides == 1).all()
    np.testing.assert_array_equal(found.right[0], found.probabilities.argmax(1) == domains.ys)


def test_the_rehearsal_sees_nothing_of_the_target(domains):
    moved = Domains(xs=domains.xs, ys=domains.ys, xt=1000 - 7 * domains.xt)
    one, two = rehearse(domains, FEW), rehearse(moved, FEW)
    np.testing.assert_array_equal(one.right, two.right)
    np.testing.assert_array_equal(one.probabilities, two.probabilities)


def test_the_seed_alone_decides_the_halves(domains):
    one, two, other = (rehearse(domains, FEW[:1], seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.halves[0][0], two.halves[0][0])
    assert (one.halves[0][0] != other.halves[0][0]).any()


def test_without_a_gap_no_linear_alignment_does_harm(domains):
    assert rehearse(domains, FEW).passing(0.02) == [0, 1, 2]


def test_who_trusts_in_clusters_is_sent_out_where_there_are_none():
    """The class is the side of a long thin cloud: a border parts it, k-means cuts it the other way."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2)) * [10, 1]
    pair = Domains(xs=x, ys=(x[:, 1] > 0).astype(int), xt=x + 1)
    plain = Member("centroids", (("normalise", False),))
    found = rehearse(pair, (NONE, plain))
    assert found.right[0].mean() > 0.95 and found.right[1].mean() < 0.9
    assert found.passing(0.02) == [0]


def test_many_samples_are_rehearsed_on_a_part(domains, monkeypatch):
    monkeypatch.setattr(_members, "_MOST", 40)
    found = rehearse(domains, FEW[:2])
    assert len(found.rows) == 40 == len(set(found.rows.tolist()))
    assert found.right.shape == (2, 40) and found.probabilities.shape == (40, 3)


def test_what_is_beside_is_rehearsed_too(make_shifted):
    xs, ys, xt, yt = make_shifted(gap=0.0)
    found = rehearse(with_words(Domains(xs=xs, ys=ys, xt=xt), yt, 10.0), FEW[:2])
    assert found.right.all()
    assert found.halves[0][1].beside[0].shape == (45, 3)


@dataclass(frozen=True)
class Stubborn:
    """Answers class 1 whatever it is asked."""

    name: str = "stubborn"
    method: str = "stubborn"

    def answer(self, domains):
        return Answer(self, np.tile([0.0, 1.0, 0.0], (len(domains.xt), 1)))


def test_a_voter_that_is_no_method_takes_part(domains):
    members = (NONE, Stubborn())
    assert able(domains, members) == list(members)
    found = rehearse(domains, members)
    np.testing.assert_array_equal(found.right[1], domains.ys == 1)
    assert found.passing(0.02) == [0]
    alone = answer(domains, Stubborn(), 1.0)
    assert alone.aligned is None
    np.testing.assert_allclose(weights([answer(domains, NONE, 1.0), alone]), [0.5, 0.5])


def test_joined_rows_are_those_the_classifier_was_fitted_on(domains):
    seeing = with_words(domains, np.arange(97) % 3)
    found = answer(seeing, MEAN, 3.0)
    expected = probabilities(found.head.logits(joined(found.aligned.zt, seeing.beside[1])))
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-9)
