from __future__ import annotations

import numpy as np
import pytest
import torch

from torchgraft.train.step import Batch, Phase, Step


def test_a_batch_has_as_many_samples_as_rows() -> None:
    batch = Batch((torch.zeros(3, 2),), None, np.arange(3))
    assert len(batch) == 3
    assert batch.to(torch.device("cpu")) is batch


def test_a_batch_moves_with_all_its_tensors() -> None:
    batch = Batch((torch.zeros(2, 2), torch.ones(2, 1)), torch.tensor([0, 1]), np.arange(2))
    moved = batch.to(torch.device("meta"))
    assert {x.device.type for x in (*moved.inputs, moved.y)} == {"meta"}
    assert Batch((torch.zeros(1),), None, np.arange(1)).to(torch.device("meta")).y is None
    assert moved.rows is batch.rows


def test_a_step_says_that_it_lacks_its_loss() -> None:
    with pytest.raises(NotImplementedError):
        Step()(Batch((torch.zeros(1),), None, np.arange(1)), 0.0)
    Step().before_epoch(0)


def test_a_phase_warms_up_and_cools_down_with_frozen_statistics(tiny) -> None:
    phase = Phase(name="all", epochs=1, rate=0.1, groups=tiny.everything)
    assert (phase.norm, phase.schedule(0.0), phase.schedule(0.1)) == ("frozen", 0.0, 1.0)
    assert phase.schedule(1.0) == pytest.approx(0.0)
    assert phase.groups(tiny.Net())[-1].name == "head (no decay)"
