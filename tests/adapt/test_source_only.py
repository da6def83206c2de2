from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from torchgraft.adapt import DomainBatch, Target, adapt, source_only


def test_the_target_changes_nothing(net, batch) -> None:
    """Not the loss, and not the statistics of BatchNorm either."""
    other = copy.deepcopy(net)
    far = DomainBatch(batch.source, Target((batch.target.inputs[0] + 100,), batch.target.rows))
    one, two = (source_only.build(n, source_only.Options())(b, 0.5).item() for n, b in ((net, batch), (other, far)))
    assert one == two
    torch.testing.assert_close(net.bottleneck[1].running_mean, other.bottleneck[1].running_mean)


def test_is_the_cross_entropy(net, batch) -> None:
    step = source_only.build(net, source_only.Options())
    log_p = net.logits(batch.source.inputs).log_softmax(1)
    expected = -log_p[torch.arange(10), batch.y].mean()
    torch.testing.assert_close(step(batch, 0.0), expected)
    with torch.no_grad():
        nn.init.zeros_(net.head.weight)
        nn.init.zeros_(net.head.bias)
    assert step(batch, 0.0).item() == pytest.approx(np.log(3))


def test_learns_the_source_as_logistic_regression_does(shift, quick) -> None:
    found = adapt("source_only", shift.xs, shift.ys, shift.xt, n_classes=3, options=quick)
    reference = LogisticRegression().fit(shift.xs, shift.ys).score(shift.xs, shift.ys)
    assert (found.head.logits(shift.xs).argmax(1) == shift.ys).mean() >= reference - 0.03
