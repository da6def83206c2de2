"""From options to rungs."""

from __future__ import annotations

import pytest

from torchgraft.core import registry
from torchgraft.core.errors import OptionError, UnknownName
from torchgraft.fit import plan
from torchgraft.tasks import single_label


def test_auto_tries_what_need_not_be_asked_for_simplest_first() -> None:
    assert plan.methods("auto") == single_label.LADDER
    dense = {name for name in registry.names("tune") if hasattr(registry.get("tune", name), "TASK")}
    others = set(registry.names("tune")) - set(single_label.LADDER) - dense
    assert {"full", "lora", "gradual"} <= others
    assert not any(registry.get("tune", name).AUTO for name in others)


def test_a_method_that_trains_gives_one_rung_and_is_told_its_settings() -> None:
    (rung,) = plan.rungs(("lp_ft",), ("packaged/a", "packaged/b"), {"class_weight": "none", "rate": 1e-3, "epochs": 2})
    assert (rung.source, rung.options.rate, rung.options.epochs) == (None, 1e-3, 2)


def test_a_method_that_looks_again_gives_one_rung_too() -> None:
    (rung,) = plan.rungs(("levels",), ("packaged/a", "packaged/b"), {"class_weight": "none"})
    assert (rung.name, rung.source) == ("levels", None)


def test_a_setting_that_no_method_knows_gets_a_near_miss() -> None:
    with pytest.raises(OptionError, match=r"setting 'layer_dekay'. Did you mean 'layer_decay'"):
        plan.rungs(("lda", "lp_ft"), ("packaged/a",), {"class_weight": "none", "layer_dekay": 0.5})


def test_asked_methods_come_in_the_order_of_simplicity() -> None:
    assert plan.methods("fusion, majority") == ("majority", "fusion")


def test_a_method_that_trains_never_stands_alone() -> None:
    assert plan.methods("lp_ft") == ("linear_probe", "lp_ft")
    assert plan.methods("full,lda") == ("lda", "full")


def test_a_mistyped_method_gets_a_near_miss() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'linear_probe'"):
        plan.methods("linear_prob")


def test_an_empty_method_is_refused() -> None:
    with pytest.raises(OptionError, match="--method expects auto"):
        plan.methods(" , ")


def test_a_method_on_one_source_gives_a_rung_for_each() -> None:
    rungs = plan.rungs(("majority", "lda"), ("packaged/a", "packaged/b"), {"class_weight": "none"})
    assert [rung.name for rung in rungs] == ["majority", "lda(packaged/a)", "lda(packaged/b)"]
    assert rungs[1].options.source == "packaged/a"


def test_options_reach_the_methods_that_know_them() -> None:
    (probe,) = plan.rungs(("linear_probe",), ("array",), {"class_weight": "balanced"})
    assert probe.options.class_weight == "balanced"


def test_ways_of_tasks_can_be_asked_for_with_a_source() -> None:
    assert {"fda", "self_training", "adabn", "advent"} <= set(plan.ways())
    assert plan.unknown("fda,self_training", source=True) == []
    assert "there is no 'fda'" in plan.unknown("fda", source=False)[0]
    assert "Did you mean 'moments'" in plan.unknown("momets", source=True)[0]


def test_a_name_of_two_kinds_is_offered_once() -> None:
    """`advent` is a method for photos and a way between scenes."""
    said = plan.unknown("advnt", source=True)[0]
    assert said.count("'advent'") == 1
