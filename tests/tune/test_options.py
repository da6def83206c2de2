from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from torchgraft.core import registry
from torchgraft.tune._options import TrainOptions, applies
from torchgraft.tune.base import Problem, Resources


def test_without_a_backbone_nothing_can_be_trained() -> None:
    problem = Problem(blocks={"array": np.zeros((4, 2), np.float32)}, y=np.arange(4) % 2, classes=("a", "b"), folds=())
    assert "no backbone" in applies(problem)
    assert "no backbone" in applies(dataclasses.replace(problem, resources=Resources(backbones={}, poolings={})))


def test_planning_a_whole_ladder_loads_no_torch() -> None:
    code = (
        "import sys; from torchgraft.fit import plan, FitOptions;"
        "plan.rungs(plan.methods('auto'), ('packaged/a',), FitOptions(target='x').for_methods());"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", [n for n in registry.names("tune") if registry.constant("tune", n, "TRAINS", False)])
def test_every_method_that_trains_knows_rate_and_epochs(name: str) -> None:
    fields = registry.get("tune", name).Options.__dataclass_fields__
    assert {"source", "rate", "epochs", "batch"} <= set(fields)


def test_nothing_is_set_unless_asked() -> None:
    plain = TrainOptions()
    assert (plain.rate, plain.epochs, plain.ema, plain.wise, plain.tracker) == (0.0, 0, 0.0, 1.0, "")
