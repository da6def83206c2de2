from __future__ import annotations

import numpy as np
import pytest

from torchgraft.align import Domains, jda, tca
from torchgraft.align._classify import nearest
from torchgraft.core.errors import OptionError

PUBLISHED = {
    30: {"C>D": 49.0, "W>A": 29.8, "W>D": 92.4, "D>W": 89.2},
    100: {"C>D": 45.22, "W>A": 32.78, "W>D": 89.17, "D>W": 89.49},
}


def test_equal_domains_get_equal_rows(same):
    aligned = jda.fit(same, jda.Options(k=3))
    np.testing.assert_allclose(aligned.zs, aligned.zt, atol=1e-6)


def test_one_round_is_tca(domains):
    one, reference = jda.fit(domains, jda.Options(k=4, rounds=1)), tca.fit(domains, tca.Options(k=4))
    np.testing.assert_array_equal(one.zt, reference.zt)


@pytest.mark.parametrize("classifier", ["nearest", "logistic"])
def test_classes_come_together(make_shifted, classifier):
    xs, ys, xt, yt = make_shifted(150, 8, 3)
    aligned = jda.fit(Domains(xs=xs, ys=ys, xt=xt), jda.Options(k=5, ridge=0.1, classifier=classifier))
    before = (nearest(xs, ys, xt) == yt).mean()
    after = (nearest(aligned.zs.astype(float), ys, aligned.zt.astype(float)) == yt).mean()
    assert after > before + 0.05


@pytest.mark.parametrize(("name", "value"), [("kernel", "rbf"), ("classifier", "tree")])
def test_words_are_checked(domains, name, value):
    with pytest.raises(OptionError, match=f"{name} expects"):
        jda.fit(domains, jda.Options(**{name: value}))


@pytest.mark.shared
@pytest.mark.parametrize("k", PUBLISHED)
def test_published(surf, k):
    """k = 30: Wang et al. (ACM MM 2018); k = 100: the table of Long et al. (ICCV 2013). Ten rounds, lambda = 1."""
    for task, published in PUBLISHED[k].items():
        domains, yt = surf(task)
        aligned = jda.fit(domains, jda.Options(k=k))
        accuracy = (nearest(aligned.zs.astype(float), domains.ys, aligned.zt.astype(float)) == yt).mean()
        assert 100 * accuracy == pytest.approx(published, abs=0.3), task
