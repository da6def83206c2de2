"""The report of a run between two domains: plain values, a page, and no number that nobody measured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import pytest

from torchgraft.core.progress import SILENT
from torchgraft.data import Samples
from torchgraft.evaluate import render
from torchgraft.fit import FitOptions
from torchgraft.tasks._scene_shift import Shift, run
from torchgraft.tasks._scene_shift_report import oracle_values, told


@pytest.fixture
def options(streets: Callable[..., Samples]) -> FitOptions:
    """Both domains look alike."""
    source, target = streets(8).root, streets(6).root
    return FitOptions(
        target=str(target), source=(str(source),), oracle_labels=True, backbone="packaged/efficientnet_lite0"
    )


@pytest.fixture
def shift(options: FitOptions) -> Shift:
    return run(options, SILENT)


def test_it_is_json_and_a_page(shift: Shift, options: FitOptions) -> None:
    report = told(shift, options)
    json.dumps(report, allow_nan=False)
    page = render({**report, "seconds": {"total": 1.0}, "environment": {}, "options": {}})
    assert "What was tried" in page and "source_only" in page
    assert page.count("data:image/jpeg") >= 4
    assert report["domains"]["oracle"] and "oracle_miou" in report["ladder"][0]["metrics"]
    assert [row["chosen"] for row in report["ladder"]].count(True) == 1
    assert len(report["domains"]["gap"]["class_gaps"]) == 3
    assert sum(report["domains"]["gap"]["prior_target"]) == pytest.approx(1)
    assert len(report["domains"]["map"]["target"]) == 300


def test_without_being_asked_no_number_of_the_target_is_printed(shift: Shift, options: FitOptions) -> None:
    domains = dataclasses.replace(shift.setting.domains, oracle=None)
    setting = dataclasses.replace(shift.setting, domains=domains)
    report = told(dataclasses.replace(shift, setting=setting, oracle_counts=None), options)
    assert not report["domains"]["oracle"] and report["test"] is None
    assert not [name for row in report["ladder"] for name in row["metrics"] if name.startswith("oracle")]


def test_the_oracle_s_values_are_the_miou_of_each_way() -> None:
    perfect, swapped = np.eye(2, dtype=int) * 7, np.eye(2, dtype=int)[::-1] * 7
    assert oracle_values(np.stack([[perfect, perfect], [swapped, swapped]])) == [1.0, 0.0]
