"""How good is a model on an unlabelled target? Scores that need no label of it, LARGER IS BETTER for all.

No function here takes a target label. None of the scores is safe by itself: each can be led astray by a model that
collapsed. So ask `collapsed` first, keep "no adaptation" among the candidates, and let several scores agree. `p_t` are
N x C predictions for the target (rows sum to 1), `z_t` N x D features, suffix `_s` is the source. Float64 throughout.
Bad input raises `DataError` with everything that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import entr

from torchgraft.core.errors import OptionError
from torchgraft.train._select_clusters import ClusterTest, clustered, clusters_agree
from torchgraft.train._select_guard import Kept, agreement, bootstrap_gain, collapsed, source_kept
from torchgraft.train._select_inputs import Inputs
from torchgraft.train._select_weights import DomainWeights, dev, domain_weights, effective_size, iwv

__all__ = [
    "ClusterTest",
    "DomainWeights",
    "Kept",
    "agreement",
    "bnm",
    "bootstrap_gain",
    "class_ami",
    "clearness",
    "clusters_agree",
    "collapsed",
    "dev",
    "domain_weights",
    "effective_size",
    "entropy",
    "information_maximisation",
    "iwv",
    "mixval",
    "reverse_validation",
    "snd",
    "source_kept",
]

Predict = Callable[[np.ndarray], np.ndarray]
"""N x D features -> N class indices."""

_CELLS = 1 << 21  # similarities held at once: 16 MiB


def entropy(p_t: np.ndarray) -> float:
    """Mean entropy of the predictions in nats, NEGATED: (1/N) sum_n sum_c p_nc ln p_nc, -ln C..0. Larger is better.

    0 where all predictions are sure, right or wrong: one class for everything is its best (Morerio, Cavazza and Murino,
    ICLR 2018).
    """
    return -_mean_entropy(_predictions(p_t))


def information_maximisation(p_t: np.ndarray) -> float:
    """IM = H(mean p) - mean H(p) in nats, 0..ln C. Larger is better: sure of each sample, diverse over all.

    The mutual information of sample and class (Shi and Sha, ICML 2012; the loss of SHOT, Liang et al., ICML 2020, is
    its negative). 0 for equal rows; ln C for sure predictions, all classes equally often.
    """
    p = _predictions(p_t)
    return max(float(entr(p.mean(axis=0)).sum()) - _mean_entropy(p), 0.0)


def clearness(p_t: np.ndarray, prior_s: np.ndarray) -> float:
    """Information maximisation of N x C predictions, and nan where `collapsed` says that they have, given the source's
    C class frequencies `prior_s`: what settings and epochs are chosen by. Rows are first brought to sum 1.
    """
    p = np.asarray(p_t, dtype=np.float64)
    p = p / p.sum(axis=1, keepdims=True)
    return float("nan") if collapsed(p, prior_s) else information_maximisation(p)


def bnm(p_t: np.ndarray) -> float:
    """||P||_* / N, the nuclear norm (sum of singular values) of the N x C predictions. Larger is better.

    0..sqrt(min(N, C) / N), so compare models on the same samples. Equal rows p give ||p||_2 / sqrt(N); sure predictions
    with N_c samples of class c give sum_c sqrt(N_c) / N. The singular values are roots of the eigenvalues of the C x C
    Gram matrix, exact to about 1e-8. Cui et al., CVPR 2020, whose loss is its negative.
    """
    p = _predictions(p_t)
    gram = p.T @ p if p.shape[1] <= len(p) else p @ p.T
    return float(np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0.0)).sum()) / len(p)


def snd(p_t: np.ndarray, temperature: float = 0.05) -> float:
    """Soft neighbourhood density: (1/N) sum_i H(softmax over j != i of cos(p_i, p_j) / T), 0..ln(N - 1), in nats.

    Larger is better: each sample has many neighbours that are equally near. `temperature` T above 0; N of 2 or more.
    On the softmax outputs; a few rows of the N x N similarities at a time (time N^2 C, memory flat). The official code
    keeps the diagonal with cosine -1 and adds 1e-5 inside the logarithm: the same up to about 1e-5 N. A model that
    gives all samples one answer has the largest value there is. Saito et al., ICCV 2021.
    """
    p = _predictions(p_t, least=2)
    if not temperature > 0:
        raise OptionError(f"temperature expects a number above 0, got {temperature!r}.")
    z, n, total = p / np.linalg.norm(p, axis=1, keepdims=True), len(p), 0.0
    step = max(1, _CELLS // n)
    for start in range(0, n, step):
        s = z[start : start + step] @ z.T / temperature
        rows = np.arange(len(s))
        s[rows, rows + start] = -np.inf
        s -= s.max(axis=1, keepdims=True)
        w = np.exp(s)
        s[rows, rows + start] = 0.0  # 0 * -inf is no number
        mass = w.sum(axis=1)
        total += float((np.log(mass) - (w * s).sum(axis=1) / mass).sum())
    return max(total / n, 0.0)


def class_ami(z_t: np.ndarray, p_t: np.ndarray, seed: int = 0) -> float:
    """Adjusted mutual information of k-means clusters of the features with the predicted classes; larger is better.

    About 0 for clusters that know nothing of the classes (it may go under), 1 for the same partition. `z_t` N x D, as
    they are: k-means hears large features; `p_t` N x C. C clusters (N where that is less), the best of 4 starts from
    `seed`. 0 by definition where a single class is predicted. ClassAMI of Musgrave, Belongie and Lim (2022); AMI of
    Vinh, Epps and Bailey, JMLR 2010.
    """
    from sklearn.metrics import adjusted_mutual_info_score

    z, p = _both(z_t, p_t)
    labels = p.argmax(axis=1)
    if (labels == labels[0]).all():
        return 0.0
    return float(adjusted_mutual_info_score(labels, clustered(z, p.shape[1], seed)))


def reverse_validation(
    fit: Callable[[np.ndarray, np.ndarray], Predict],
    z_s: np.ndarray,
    y_s: np.ndarray,
    z_t: np.ndarray,
    p_t: np.ndarray,
) -> float:
    """Source accuracy, 0..1, of a classifier fitted on the target as the model labels it. Larger is better.

    `fit(z, y)` fits a classifier on N x D rows and N class indices (classes may be missing; never only one) and returns
    a function from rows to class indices. `z_s` Ns x D and `y_s` (Ns,) source rows, best those the model has not seen;
    `z_t` Nt x D; `p_t` Nt x C the model's predictions. A model that predicts one class gets that class's share of the
    source. Zhong et al., ECML PKDD 2010; used by DANN (Ganin et al., JMLR 2016). It favours what is easy to learn back:
    a consistent swap of classes fails here, a model that moves nothing may pass.
    """
    given = Inputs()
    p = given.probabilities("p_t", p_t)
    z_s, z_t = given.features("z_s", z_s), given.features("z_t", z_t)
    y_s = given.labels("y_s", y_s, p.shape[1]) if p.size else y_s
    given.same_rows("z_s", "y_s")
    given.same_rows("z_t", "p_t")
    given.same_width(z_s=z_s, z_t=z_t)
    given.check()
    labels = p.argmax(axis=1)
    if (labels == labels[0]).all():
        return float((y_s == labels[0]).mean())
    return float((_answers(fit(z_t, labels), z_s, p.shape[1]) == y_s).mean())


def mixval(predict: Predict, z_t: np.ndarray, p_t: np.ndarray, seed: int = 0, *, share: float = 0.55) -> float:
    """How often mixed target samples keep the class of the larger part: the mean of two accuracies, 0..1.

    Larger is better. Each sample a is mixed, `share` a + (1 - share) b (share between 0.5 and 1), with a b of the same
    predicted class (intra), and with one of another (inter); `predict` has to answer a's predicted class. `z_t` N x D
    are what `predict` takes, `p_t` N x C the model's predictions of them. Where no class has two samples inter stands
    alone; a model that predicts a single class gets 0 by definition. Intra is 1 for every linear classifier of `z_t`:
    its regions are convex. Hu et al., NeurIPS 2023, who average the ranks of both instead.
    """
    z, p = _both(z_t, p_t)
    if not 0.5 < share < 1:
        raise OptionError(f"share expects a number between 0.5 and 1, got {share!r}.")
    labels = p.argmax(axis=1)
    if (labels == labels[0]).all():
        return 0.0
    rng = np.random.default_rng(seed)
    kept = []
    for partner in (_within(labels, rng), _across(labels, rng)):
        rows = np.flatnonzero(partner >= 0)
        if len(rows):
            mixed = share * z[rows] + (1 - share) * z[partner[rows]]
            kept.append(float((_answers(predict, mixed, p.shape[1]) == labels[rows]).mean()))
    return float(np.mean(kept))


def _within(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each sample another of its class, at random; -1 where there is none."""
    partner = np.full(len(labels), -1)
    for c in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == c))
        if len(members) > 1:
            partner[members] = np.roll(members, 1)
    return partner


def _across(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each sample one of another class, at random."""
    partner = np.empty(len(labels), dtype=int)
    for c in np.unique(labels):
        partner[labels == c] = rng.choice(np.flatnonzero(labels != c), int((labels == c).sum()))
    return partner


def _answers(predict: Predict, z: np.ndarray, n_classes: int) -> np.ndarray:
    given = Inputs()
    given.rows["rows asked"] = len(z)
    answers = given.labels("the answers of predict", predict(z), n_classes)
    given.same_rows("rows asked", "the answers of predict")
    given.check()
    return answers


def _mean_entropy(p: np.ndarray) -> float:
    return float(entr(p).sum(axis=1).mean())


def _predictions(p_t: np.ndarray, least: int = 1) -> np.ndarray:
    given = Inputs(least=least)
    p = given.probabilities("p_t", p_t)
    given.check()
    return p


def _both(z_t: np.ndarray, p_t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    given = Inputs(least=2)
    z, p = given.features("z_t", z_t), given.probabilities("p_t", p_t)
    given.same_rows("z_t", "p_t")
    given.check()
    return z, p
