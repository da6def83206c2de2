"""A committee: who passes the rehearsal votes, and one classifier is taught the answer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.special import softmax
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression

from torchgraft.align import Domains, Member, align, answer, committee, penalty, rehearse, rehearsed, teach
from torchgraft.align._classify import Logistic, joined
from torchgraft.align._members import Answer
from torchgraft.core.errors import DataError, OptionError

NONE, MEAN, CENTROIDS = Member("none"), Member("standardise", (("moments", "mean"),)), Member("centroids")


def labels(aligned, beside=None):
    return aligned.head.logits(joined(aligned.zt, beside)).argmax(axis=1)


@pytest.fixture
def turned(make_shifted):
    """Domains whose source-only classifier is often wrong, and the target's labels."""
    xs, ys, xt, yt = make_shifted(gap=4.0)
    return Domains(xs=xs, ys=ys, xt=xt + np.array([6.0, -6, 0, 0, 0, 0])), yt


def test_one_answer_is_taught_as_it_is(domains):
    for member in (NONE, MEAN, Member("coral"), CENTROIDS):
        one = answer(domains, member, 10.0)
        taught = teach(domains, [one], 10.0)
        assert (labels(taught) == one.probabilities.argmax(1)).mean() > 0.95, member.name


def test_the_mean_of_the_answers_is_taught(domains):
    """Two sure voices against one: what two say is learnt; and one loud voice against two that hardly know."""
    truth = answer(domains, MEAN, 10.0).probabilities.argmax(1)
    sure, wrong = 0.98 * np.eye(3)[truth] + 0.02 / 3, 0.98 * np.eye(3)[(truth + 1) % 3] + 0.02 / 3
    unsure = 0.1 * np.eye(3)[(truth + 1) % 3] + 0.9 / 3
    for voices in ((sure, sure, wrong), (sure, unsure, unsure)):
        taught = teach(domains, [Answer(MEAN, p) for p in voices], 10.0)
        assert (labels(taught) == truth).mean() > 0.95


def test_kinds_vote_alike(domains):
    """Three settings of one method say one thing, two other methods another: the three have one vote."""
    truth = answer(domains, MEAN, 10.0).probabilities.argmax(1)
    right, wrong = (0.9 * np.eye(3)[y] + 0.1 / 3 for y in (truth, (truth + 1) % 3))
    loud = [Member("pseudo_label", (("moments", name),)) for name in ("mean", "variance", "l2")]
    voices = [*(Answer(one, wrong) for one in loud), Answer(MEAN, right), Answer(NONE, right)]
    assert (labels(teach(domains, voices, 10.0)) == truth).mean() > 0.95


def test_the_student_is_logistic_regression_on_both_domains(domains):
    """scikit-learn on the same rows: each domain without its own mean, all scaled to variance 1."""
    one = answer(domains, MEAN, 10.0)
    taught = teach(domains, [one], 10.0)
    rows = np.concatenate([domains.xs - domains.xs.mean(axis=0), domains.xt - domains.xt.mean(axis=0)])
    y = np.concatenate([domains.ys, one.probabilities.argmax(1)])
    scaled = rows / np.sqrt(rows.var(axis=0).sum())
    reference = LogisticRegression(C=10.0, tol=1e-3, max_iter=300).fit(scaled, y)
    np.testing.assert_array_equal(labels(taught), reference.predict(scaled[90:]))
    np.testing.assert_allclose(taught.zt, rows[90:], atol=1e-5)


def test_the_student_is_as_sure_as_the_committee(domains):
    one = answer(domains, MEAN, 10.0)
    vague = Answer(MEAN, one.probabilities**0.3 / (one.probabilities**0.3).sum(axis=1, keepdims=True))
    taught = [teach(domains, [voice], 10.0) for voice in (one, vague)]
    found = [softmax(student.head.logits(student.zt), axis=1).max(1).mean() for student in taught]
    assert found[0] == pytest.approx(one.probabilities.max(1).mean(), abs=0.06)
    assert found[1] == pytest.approx(vague.probabilities.max(1).mean(), abs=0.06)


def test_clusters_are_scikit_learns_k_means(domains):
    z = domains.xt / np.linalg.norm(domains.xt, axis=1, keepdims=True)
    start = np.random.default_rng(0).integers(0, 3, 97)
    means = np.stack([z[start == c].mean(axis=0) for c in range(3)])
    reference = KMeans(3, init=means, n_init=1, algorithm="lloyd", tol=0).fit(z)
    np.testing.assert_array_equal(committee._clusters(domains.xt, start), reference.labels_)


def test_clusters_keep_the_names_of_the_classes(domains):
    """Class 1 of 0..2 is not there: two clusters, called 0 and 2."""
    found = committee._clusters(domains.xt, np.where(np.arange(97) % 2, 2, 0))
    assert set(found.tolist()) <= {0, 2}


def test_clusters_mend_a_few_wrong_labels():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = np.where(y[:, None] == 0, [5.0, 0], [0.0, 5]) + 0.3 * rng.normal(size=(60, 2))
    y_wrong = np.where(np.arange(60) < 10, 1 - y, y)
    np.testing.assert_array_equal(committee._clusters(x, y_wrong), y)
    pair = Domains(xs=x, ys=y, xt=x)
    p = 0.8 * np.eye(2)[y_wrong] + 0.1
    refined = teach(pair, [Answer(CENTROIDS, p)], 1.0, note="one")
    np.testing.assert_array_equal(labels(refined), y)
    assert refined.note == "one, refined by k-means"


def test_fit_beats_source_only(turned):
    pair, yt = turned
    before = (answer(pair, NONE, penalty(pair)).probabilities.argmax(1) == yt).mean()
    found = committee.fit(pair, committee.Options())
    assert before < 0.8 < 0.9 < (labels(found) == yt).mean()
    assert "of 15 methods passed the rehearsal" in found.note
    later = found.head.logits(found.transform(pair.xt[:5])).argmax(1)
    np.testing.assert_array_equal(later, labels(found)[:5])


def test_who_fails_the_rehearsal_has_no_vote():
    """The class is the side of a long thin cloud: clusters and nearest neighbours see it worse than a border does."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 2)) * [10, 1]
    pair = Domains(xs=x, ys=(x[:, 1] > 0).astype(int), xt=rng.normal(size=(150, 2)) * [10, 1] + 1)
    strict, all_in = (committee.fit(pair, committee.Options(margin=m)) for m in (0.02, 1.0))
    assert all_in.note == "15 of 15 methods passed the rehearsal, refined by k-means"
    assert int(strict.note.split()[0]) < 15
    truth = pair.xt[:, 1] > 1
    assert (labels(strict) == truth).mean() > (labels(all_in) == truth).mean() + 0.05


def test_rehearsed_is_the_student_of_the_halves(domains):
    rehearsal = rehearse(domains, (NONE, MEAN, Member("coral")))
    found = rehearsed(rehearsal, [0, 1, 2], domains.ys)
    for asked, part, c, answers in rehearsal.halves:
        taught = teach(part, answers, c)
        np.testing.assert_array_equal(found[asked], labels(taught) == domains.ys[rehearsal.rows[asked]])
    assert found.mean() > 0.9
    alone = rehearsed(rehearsal, [0], domains.ys)
    assert (alone == rehearsal.right[0]).mean() > 0.95, "one of one teaches what it said itself"


def test_what_is_beside_is_taught_too(make_shifted):
    xs, ys, xt, yt = make_shifted(gap=0.0)
    words = tuple(sparse.csr_matrix(10.0 * np.eye(3)[y]) for y in (ys, yt))
    pair = Domains(xs=xs, ys=ys, xt=xt, beside=words)
    found = teach(pair, [answer(pair, one, 10.0) for one in (NONE, MEAN)], 10.0)
    assert found.head.weight.shape == (3, 9)
    np.testing.assert_array_equal(labels(found, words[1]), yt)
    rehearsal = rehearse(pair, (NONE, MEAN))
    assert rehearsed(rehearsal, [0, 1], ys).all()


def test_a_class_that_nobody_answers(domains):
    """It stays a class of the source: the head knows it, the target need not have it."""
    p = np.eye(3)[np.arange(97) % 2] * 0.9 + 0.1 / 3
    found = teach(domains, [Answer(MEAN, p)], 1.0)
    assert found.head.weight.shape == (3, 6)
    assert np.isfinite(found.head.logits(found.zt)).all()
    fresh = Logistic(domains.xs, 4).fit(domains.xs, domains.ys, 1.0)
    assert fresh.weight.shape == (4, 6)


def test_when_it_can_run(domains):
    assert committee.applies(domains) == ""
    assert "none are given" in committee.applies(Domains(xs=domains.xs, xt=domains.xt))
    one = Domains(xs=domains.xs[:2], xt=domains.xt, ys=np.array([1, 1]))
    assert "single class" in committee.applies(one)
    single = Domains(xs=domains.xs[:3], xt=domains.xt, ys=np.arange(3))
    assert committee.applies(single) == "no class of the source has two samples"
    with pytest.raises(DataError, match="committee can't run: no class"):
        align("committee", domains.xs[:3], np.arange(3), domains.xt)


def test_the_margin_is_checked(domains):
    with pytest.raises(OptionError, match=r"margin expects a number in \[0, 1\], got 2"):
        committee.fit(domains, committee.Options(margin=2))
