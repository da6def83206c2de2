from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import fractional_matrix_power, sqrtm
from sklearn.svm import SVC

from torchgraft.align import Domains, coral
from torchgraft.core.errors import OptionError

PLAIN = coral.Options(standardise=False, align_means=False)
PUBLISHED = {"C>W": (46.4, 1e-3), "W>A": (36.0, 1.0), "W>D": (86.6, 1.0), "D>W": (84.7, 1.0)}


def test_a_domain_with_itself_stays(same):
    for align_means in (False, True):
        aligned = coral.fit(same, coral.Options(standardise=False, align_means=align_means))
        np.testing.assert_allclose(aligned.zs, same.xs, atol=1e-5)
    standardised = coral.fit(same, coral.Options())
    np.testing.assert_allclose(standardised.zs, standardised.zt, atol=1e-5)


def test_is_the_formula(domains):
    cs, ct = (np.cov(x, rowvar=False) + np.eye(6) for x in (domains.xs, domains.xt))
    reference = domains.xs @ fractional_matrix_power(cs, -0.5) @ sqrtm(ct)
    np.testing.assert_allclose(coral.fit(domains, PLAIN).zs, reference, atol=1e-4)


def test_without_a_ridge_the_covariances_agree(domains):
    aligned = coral.fit(domains, coral.Options(ridge=1e-9, standardise=False))
    np.testing.assert_allclose(np.cov(aligned.zs.T), np.cov(aligned.zt.T), atol=1e-3)
    np.testing.assert_allclose(aligned.zs.mean(axis=0), aligned.zt.mean(axis=0), atol=1e-4)
    np.testing.assert_array_equal(aligned.zt, domains.xt.astype(np.float32))


def test_hand_worked():
    """Variances 2 and 7 with lambda 1: the factor is sqrt(8 / 3)."""
    xt = np.array([[-1.0], [1]]) * np.sqrt(3.5)
    pair = Domains(xs=np.array([[-1.0], [1]]), xt=xt)
    np.testing.assert_allclose(coral.fit(pair, PLAIN).zs.ravel(), [-np.sqrt(8 / 3), np.sqrt(8 / 3)], rtol=1e-6)


def test_the_asymmetric_kernel_moves_one_side(domains):
    fitted, asked = coral.asymmetric_kernels(domains.xs, domains.xt)
    moved = coral.fit(domains, PLAIN).zs
    np.testing.assert_allclose(fitted, moved @ domains.xs.T, rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(asked, domains.xt @ moved.T, rtol=1e-3, atol=1e-2)
    assert np.abs(fitted - fitted.T).max() > 1e-3


def test_hurts_where_the_shift_is_not_affine():
    """One class more often than in the source: nothing is to align, and aligning costs accuracy."""
    rng = np.random.default_rng(0)
    centres = np.array([[4.0, 0], [0, 1.0]])
    ys, yt = np.arange(400) % 2, (np.arange(400) % 10 == 0).astype(int)
    xs, xt = (centres[y] + rng.normal(size=(400, 2)) * 0.4 for y in (ys, yt))
    aligned = coral.fit(Domains(xs=xs, ys=ys, xt=xt), coral.Options())
    before = SVC(kernel="linear").fit(xs, ys).score(xt, yt)
    after = SVC(kernel="linear").fit(aligned.zs, ys).score(aligned.zt, yt)
    assert after < before - 0.1


def test_ridge_is_checked(domains):
    with pytest.raises(OptionError, match="ridge expects"):
        coral.fit(domains, coral.Options(ridge=0.0))


@pytest.mark.shared
@pytest.mark.parametrize("task", PUBLISHED)
def test_published(surf, task):
    """Sun, Feng and Saenko (AAAI 2016), table 3: an SVM on the asymmetric kernel, at the C that their table implies."""
    domains, yt = surf(task)
    published, c = PUBLISHED[task]
    fitted, asked = coral.asymmetric_kernels(domains.xs, domains.xt)
    accuracy = SVC(C=c, kernel="precomputed").fit(fitted, domains.ys).score(asked, yt)
    assert 100 * accuracy == pytest.approx(published, abs=0.3)
