from __future__ import annotations

import numpy as np
import pytest

from torchgraft.align import bda, jda, tca
from torchgraft.core.errors import OptionError


def test_half_and_half_is_jda(domains):
    one, reference = bda.fit(domains, bda.Options(k=4)), jda.fit(domains, jda.Options(k=4))
    np.testing.assert_allclose(one.zt, reference.zt, atol=1e-5)


def test_without_classes_it_is_tca(domains):
    one, reference = bda.fit(domains, bda.Options(k=4, balance=0.0)), tca.fit(domains, tca.Options(k=4))
    np.testing.assert_array_equal(one.zt, reference.zt)


def test_classes_alone_are_something_else(domains):
    one, two = bda.fit(domains, bda.Options(k=4, balance=1.0)), bda.fit(domains, bda.Options(k=4))
    assert np.abs(one.zt - two.zt).max() > 1e-3


def test_equal_domains_get_equal_rows(same):
    aligned = bda.fit(same, bda.Options(k=3, balance=0.8))
    np.testing.assert_allclose(aligned.zs, aligned.zt, atol=1e-6)


def test_balance_is_checked(domains):
    with pytest.raises(OptionError, match=r"balance expects a number in \[0, 1\], got 2"):
        bda.fit(domains, bda.Options(balance=2.0))
