"""The options of a run: values checked, all problems at once."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from torchgraft.core.errors import OptionError
from torchgraft.core.options import build, from_toml, to_toml
from torchgraft.fit.options import CLASS_WEIGHTS, ENGINES, FitOptions, RankOptions


def test_every_option_has_help() -> None:
    assert all(one.metadata["help"].endswith((".", "auto.")) for one in fields(FitOptions))


def test_only_the_target_is_needed() -> None:
    options = FitOptions(target="photos")
    assert (options.backbone, options.method, options.budget, options.seed) == ("auto", "auto", "10m", 0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("weight", CLASS_WEIGHTS)
def test_known_values_pass(engine: str, weight: str) -> None:
    assert FitOptions(target="x", engine=engine, class_weight=weight).engine == engine


def test_all_problems_stand_in_one_message() -> None:
    with pytest.raises(OptionError) as caught:
        FitOptions(target="x", engine="onnx", class_weight="balance", budget="soon", seed=2**32)
    message = str(caught.value)
    assert "--engine expects auto or torch or onnxruntime or openvino, got 'onnx'" in message
    assert "--class-weight expects none or balanced, got 'balance'. Did you mean 'balanced'?" in message
    assert "--budget expects a time" in message
    assert "--seed expects a whole number from 0 to 4294967295" in message


def test_unknown_methods_stand_in_the_same_message() -> None:
    with pytest.raises(OptionError) as caught:
        FitOptions(target="x", method="foo,lda,ldaa", engine="bar", budget="banana", settings="rate")
    message = str(caught.value)
    assert "--method: there is no 'foo'. --method: there is no 'ldaa'. Did you mean 'lda'" in message
    assert "See `graft list methods`." in message
    for other in ("--engine expects", "--budget expects", "--settings expects"):
        assert other in message


def test_methods_between_domains_are_others() -> None:
    assert FitOptions(target="x", source=("s",), method="coral,dann").method == "coral,dann"
    assert FitOptions(target="x", source=("s",), method="committee").method == "committee"
    with pytest.raises(OptionError, match=r"there is no 'lda'.*for runs with --source.*--budget|--budget.*no 'lda'"):
        FitOptions(target="x", source=("s",), method="lda", budget="banana")
    with pytest.raises(OptionError, match="there is no 'coral'"):
        FitOptions(target="x", method="coral")


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_the_range_of_seeds(seed: int) -> None:
    assert FitOptions(target="x", seed=seed).seed == seed


def test_they_come_back_from_the_run_file(tmp_path: Path) -> None:
    options = FitOptions(target='a "b" \\ é', group=r"^(\w+)/", budget="1h", seed=7)
    to_toml(tmp_path / "run.toml", {"fit": options})
    assert build(FitOptions, from_toml(tmp_path / "run.toml")["fit"]) == options


def test_a_run_file_without_a_target_is_refused() -> None:
    with pytest.raises(OptionError, match="target is missing"):
        build(FitOptions, {"seed": 1})


def test_few_labels_are_not_the_test() -> None:
    with pytest.raises(OptionError, match="name the same data"):
        FitOptions(target="x", source=("s",), few_labels="a/../b.csv", test="b.csv")


def test_limits_go_with_auto() -> None:
    assert FitOptions(target="x", max_size="20MB", max_latency="0.5s", licence="permissive").backbone == "auto"
    with pytest.raises(OptionError, match="go with --backbone auto"):
        FitOptions(target="x", backbone="packaged/efficientnet_lite0", max_latency="20ms")
    with pytest.raises(OptionError, match=r"--max-latency expects.*like 20ms.*--max-size expects a size like 20MB"):
        FitOptions(target="x", max_latency="fast", max_size="small")


def test_every_wrong_option_of_a_ranking_is_named_at_once() -> None:
    with pytest.raises(OptionError, match=r"--engine.*--licence expects any or permissive.*--download.*--budget"):
        RankOptions(data="x", engine="e", licence="free", download="tiny", budget="soon")
