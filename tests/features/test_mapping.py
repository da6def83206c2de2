from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy import linalg
from sklearn import decomposition
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import Normalizer, StandardScaler

from torchgraft.core.errors import ArtifactError, DataError, OptionError
from torchgraft.features.mapping import (
    L2,
    LDA,
    PCA,
    Affine,
    Chain,
    Identity,
    Standardise,
    mapping_from_state,
    principal_axes,
    whitener,
)
from torchgraft.features.tfidf import TfIdf


@pytest.fixture
def z() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(40, 6)) @ rng.normal(size=(6, 6)) + 3).astype(np.float32)


@pytest.fixture
def y() -> np.ndarray:
    return np.arange(40) % 4


def same_up_to_sign(a, b, tolerance=1e-3):
    signs = np.sign((a * b).sum(axis=0))
    np.testing.assert_allclose(a, b * signs, atol=tolerance)


def test_identity_leaves_everything(z):
    np.testing.assert_array_equal(Identity.fit(z).transform(z), z)


def test_standardise_is_scikit_learns(z):
    mapped = Standardise.fit(z).transform(z)
    np.testing.assert_allclose(mapped, StandardScaler().fit_transform(z), atol=1e-5)
    assert mapped.dtype == np.float32


def test_standardise_hand_worked():
    mapping = Standardise.fit(np.array([[0.0, 7], [2, 7]], dtype=np.float32))
    np.testing.assert_array_equal(mapping.transform(np.array([[4.0, 9]])), [[3, 2]])


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6, -1e-6])
def test_standardise_of_a_constant_column_stays_small(value):
    z = np.full((50, 1), value, dtype=np.float32)
    np.testing.assert_allclose(Standardise.fit(z).transform(z), 0, atol=1e-2 * max(1, abs(value) * 1e-6))


def test_l2_is_scikit_learns_and_zero_rows_stay(z):
    np.testing.assert_allclose(L2.fit(z).transform(z), Normalizer().fit_transform(z), atol=1e-6)
    np.testing.assert_array_equal(L2().transform(np.zeros((1, 3))), np.zeros((1, 3)))


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("wide", [False, True])
def test_pca_is_scikit_learns(z, whiten, wide):
    z = z.T.copy() if wide else z
    reference = decomposition.PCA(3, whiten=whiten, svd_solver="full").fit(z)
    mapping = PCA.fit(z, k=3, whiten=whiten)
    same_up_to_sign(mapping.transform(z), reference.transform(z))
    assert (mapping.projection[np.abs(mapping.projection).argmax(axis=0), np.arange(3)] > 0).all()


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_pca_by_share_of_variance(z, share):
    reference = decomposition.PCA(share, svd_solver="full").fit(z)
    assert PCA.fit(z, k=share).projection.shape[1] == reference.n_components_


def test_pca_keeps_no_more_than_the_rank():
    z = np.outer(np.arange(5), [1.0, 2, 3]).astype(np.float32)
    assert PCA.fit(z, k=3).projection.shape == (3, 1)
    assert PCA.fit(z, k=1.0).projection.shape == (3, 1)
    assert PCA.fit(np.ones((5, 3)), k=2).transform(np.ones((2, 3))).shape == (2, 0)


@pytest.mark.parametrize("k", [0, -1, 1.5, 0.0, True])
def test_pca_refuses_other_k(z, k):
    with pytest.raises(OptionError, match="whole number"):
        PCA.fit(z, k=k)


def test_lda_is_scikit_learns(z, y):
    reference = LinearDiscriminantAnalysis(solver="eigen").fit(z.astype(float), y)
    ours, theirs = LDA.fit(z, y, shrinkage=0.0).transform(z), reference.transform(z)[:, :3]
    assert ours.shape == (40, 3)
    same_up_to_sign(ours, theirs - theirs.mean(axis=0), tolerance=1e-2)


@pytest.mark.parametrize("wide", [False, True])
def test_lda_solves_the_eigenproblem_of_the_shrunk_covariance(z, y, wide):
    z = np.hstack([z, np.random.default_rng(1).normal(size=(40, 60))]).astype(np.float32) if wide else z
    means = np.stack([z[y == c].mean(axis=0) for c in range(4)]).astype(float)
    within, between = z - means[y], means - z.mean(axis=0)
    s = within.T @ within / len(z)
    shrunk = 0.8 * s + 0.2 * np.trace(s) / len(s) * np.eye(len(s))
    _, axes = linalg.eigh(between.T @ between, shrunk)
    same_up_to_sign(LDA.fit(z, y, shrinkage=0.2).projection, axes[:, ::-1][:, :3])


def test_lda_whitens_the_shrunk_covariance(z, y):
    ours = LDA.fit(z, y, shrinkage=1e-6).transform(z)
    within = ours - np.stack([ours[y == c].mean(axis=0) for c in range(4)])[y]
    np.testing.assert_allclose(within.T @ within / len(z), np.eye(3), atol=1e-2)


def test_lda_chooses_its_shrinkage_and_needs_labels(z, y):
    assert LDA.fit(z[:8], y[:8]).transform(z).shape == (40, 3)
    with pytest.raises(DataError, match="class of each sample"):
        LDA.fit(z)


def test_lda_with_one_sample_a_class():
    z = np.eye(3, 5, dtype=np.float32)
    mapped = LDA.fit(z, np.arange(3)).transform(z)
    assert mapped.shape == (3, 2)
    assert np.isfinite(mapped).all()


def test_chain_is_one_after_the_other(z, y):
    chain = Chain.fit(z, y, steps=(Standardise.fit, partial(PCA.fit, k=2), L2.fit))
    first = Standardise.fit(z)
    expected = L2().transform(PCA.fit(first.transform(z), k=2).transform(first.transform(z)))
    np.testing.assert_allclose(chain.transform(z), expected, atol=1e-6)


def test_every_kind_survives_its_state(z, y):
    texts = ["a cat", "a dog", "two dogs"]
    fitted = [Identity(), L2(), Standardise.fit(z), PCA.fit(z, k=2), LDA.fit(z, y), TfIdf.fit(texts)]
    fitted += [Chain.fit(z, y, steps=(Standardise.fit, LDA.fit, L2.fit)), Chain.fit(texts, steps=(TfIdf.fit,))]
    for mapping in fitted:
        again = mapping_from_state(mapping.kind, *mapping.state())
        assert type(again) is type(mapping)
        values = texts if "tfidf" in str(mapping.state()[0]) or mapping.kind == "tfidf" else z
        a, b = mapping.transform(values), again.transform(values)
        np.testing.assert_array_equal(
            a.toarray() if hasattr(a, "toarray") else a, b.toarray() if hasattr(b, "toarray") else b
        )


def test_unknown_kind():
    with pytest.raises(ArtifactError, match=r"'umap'.*standardise"):
        mapping_from_state("umap", {}, {})


def test_another_width_is_told(z):
    with pytest.raises(DataError, match="N x 6, got shape 2 x 5"):
        Standardise.fit(z).transform(np.zeros((2, 5)))
    with pytest.raises(DataError, match="N x D"):
        L2().transform(np.zeros(5))


@pytest.mark.parametrize("shape", [(30, 8), (8, 30)])
def test_principal_axes_lose_nothing(shape):
    z = np.random.default_rng(0).normal(size=shape)
    z -= z.mean(axis=0)
    axes, variances = principal_axes(z)
    np.testing.assert_allclose(axes.T @ axes, np.eye(axes.shape[1]), atol=1e-8)
    np.testing.assert_allclose(z @ axes @ axes.T, z, atol=1e-8)
    np.testing.assert_allclose(((z @ axes) ** 2).mean(axis=0), variances, atol=1e-8)


@pytest.mark.parametrize("shape", [(30, 8), (8, 30)])
def test_whitener_is_the_inverse_root(shape):
    z = np.random.default_rng(0).normal(size=shape)
    s = z.T @ z / len(z)
    shrunk = 0.7 * s + 0.3 * np.trace(s) / len(s) * np.eye(len(s))
    root = whitener(z, 0.3)(np.eye(len(s)))
    np.testing.assert_allclose(root @ shrunk @ root.T, np.eye(len(s)), atol=1e-8)


def test_affine_hand_worked():
    mapping = Affine.of(np.array([1.0, 2]), np.array([[1.0, 0, 3], [0, 1, 0]]), np.array([10.0, 20, 30]))
    np.testing.assert_array_equal(mapping.transform(np.array([[1.0, 2], [2, 4]])), [[10, 20, 30], [11, 22, 33]])
    with pytest.raises(DataError, match="N x 2"):
        mapping.transform(np.zeros((1, 3)))


def test_affine_saves_and_keeps_precision_far_from_0(z):
    """The mean is taken off first: a large one costs no digits of the spread."""
    mapping = Affine.of(np.full(6, 1e4), np.eye(6))
    far = (z.astype(np.float64) + 1e4).astype(np.float32)
    np.testing.assert_allclose(mapping.transform(far), far.astype(np.float64) - 1e4, atol=1e-9)
    again = mapping_from_state("affine", *mapping.state())
    np.testing.assert_array_equal(again.transform(far), mapping.transform(far))


def test_standardise_leaves_a_dead_unit_at_nothing(z):
    z[:, 0] = 1e-33 * z[:, 1]
    assert np.abs(Standardise.fit(z).transform(z)[:, 0]).max() < 1e-30
