"""The rules of the house, read from the source: imports go down, files stay small, all is tested."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from torchgraft.core import registry

TOP = Path(__file__).parent.parent
PACKAGE = TOP / "src" / "torchgraft"
TESTS = TOP / "tests"
FLOORS = {
    "core": 0, "data": 1, "backbones": 1, "features": 2, "model": 3,
    "train": 4, "tune": 5, "align": 5, "adapt": 5, "rank": 5, "evaluate": 6, "tasks": 7,
    "fit": 8, "serve": 9, "cli": 10,
}  # fmt: skip
REGISTRIES = ("adapt", "align", "backbones", "cli", "data", "rank", "tasks", "tune")

TESTED_BY = {
    "evaluate/_sections.py": "evaluate/test_report.py",
    "features/_network.py": "features/test_engine.py",
    "features/_onnxruntime.py": "features/test_engine.py",
    "features/_openvino.py": "features/test_engine.py",
    "features/_pool_modules.py": "features/test_pooling.py",
    "features/_torch.py": "features/test_engine.py",
}
"""Private files that are one piece with another, and tested through it."""

SOURCES = sorted(PACKAGE.rglob("*.py"))
FILES = [path for folder in ("src", "tests", "benchmarks", "scripts") for path in sorted((TOP / folder).rglob("*.py"))]


def _name(path: Path) -> str:
    return str(path.relative_to(PACKAGE if PACKAGE in path.parents else TOP))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _modules(path: Path) -> Iterator[str]:
    """Every module of the package that a file imports, at the top or inside a function."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "torchgraft")
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{_name(path)} line {node.lineno}: write imports in full"
            if (node.module or "").partition(".")[0] == "torchgraft":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _faults_of_imports(path: Path, room: str) -> list[str]:
    faults = []
    for module in _modules(path):
        _, other, *rest = module.split(".")
        if other not in FLOORS or other == room:
            continue
        if FLOORS[other] >= FLOORS[room]:
            faults.append(f"{room} (floor {FLOORS[room]}) imports {module} (floor {FLOORS[other]})")
        if any(part.startswith("_") for part in rest):
            faults.append(f"{room} imports {module}, which is private to {other}")
    return faults


def test_every_room_has_its_floor() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == set(FLOORS)
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}
    assert not list(PACKAGE.glob("*/*/*.py")), "rooms have no rooms inside"


@pytest.mark.parametrize("room", FLOORS)
def test_imports_go_down_and_respect_privacy(room: str) -> None:
    faults = {_name(path): found for path in (PACKAGE / room).glob("*.py") if (found := _faults_of_imports(path, room))}
    assert not faults


def test_the_rule_of_imports_finds_what_breaks_it(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(
        "from torchgraft import backbones\nfrom torchgraft.core import files\nfrom torchgraft.data._walk import walk\n"
        "def late():\n    import torchgraft.cli\n    from torchgraft.fit.run import fit\n"
    )
    faults = _faults_of_imports(path, "data")
    assert len(faults) == 3
    assert all(word in " ".join(faults) for word in ("backbones", "torchgraft.cli", "torchgraft.fit.run.fit"))
    private = _faults_of_imports(path, "features")[0]
    assert private == "features imports torchgraft.data._walk.walk, which is private to data"


@pytest.mark.parametrize("room", ["train", "evaluate", "fit", "serve"])
def test_rooms_know_no_task_by_name(room: str) -> None:
    """What depends on what a label is, is asked of the task's own file; so a new task needs no change in these."""
    tasks = [name for name in registry.names("tasks") if name != "single_label"]
    for path in (PACKAGE / room).glob("*.py"):
        named = [module for module in _modules(path) for word in (*tasks, "scene") if word in module.lower()]
        assert not named, f"{_name(path)} imports {named}"
        asked = [word for word in tasks if re.search(rf"""["']{word}["']""", path.read_text(encoding="utf-8"))]
        assert not asked, f"{_name(path)} asks for {asked}"


def test_files_stay_small() -> None:
    lines = {str(path.relative_to(TOP)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert not {name: n for name, n in lines.items() if n > 400}


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    total = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node) is not None:
        total -= node.body[0].end_lineno - node.body[0].lineno + 1
    return total


def test_functions_stay_small() -> None:
    long = {}
    for path in SOURCES:
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _length(node) > 50:
                long[f"{_name(path)}:{node.name}"] = _length(node)
    assert not long


_UNPICKLERS = {"pickle", "cPickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}
_SAFE = {"allow_pickle": False, "weights_only": True}


def _faults_of_loading(tree: ast.Module) -> list[str]:
    faults = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        faults += [f"imports {name}" for name in names if name.partition(".")[0] in _UNPICKLERS]
        if not isinstance(node, ast.Call):
            continue
        given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
        faults += [f"{word}={given[word]}" for word, safe in _SAFE.items() if given.get(word, safe) is not safe]
        call = ast.unparse(node.func)
        if call == "torch.load" and given.get("weights_only") is not True:
            faults.append("torch.load without weights_only=True")
        if call.endswith(("read_pickle", "load_state_dict_from_url")) or call.partition(".")[0] in _UNPICKLERS:
            faults.append(call)
    return faults


def test_nothing_is_unpickled() -> None:
    assert not {_name(path): faults for path in SOURCES if (faults := _faults_of_loading(_tree(path)))}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=wanted)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "pandas.read_pickle(path)",
    ],
)
def test_the_rule_of_loading_finds_what_breaks_it(line: str) -> None:
    assert _faults_of_loading(ast.parse(line))


def test_every_file_begins_with_a_docstring() -> None:
    assert not [_name(path) for path in SOURCES if not (ast.get_docstring(_tree(path)) or "").partition("\n")[0]]


@pytest.mark.parametrize("room", REGISTRIES)
def test_every_entry_has_its_own_test(room: str) -> None:
    own = {path.stem for path in (PACKAGE / room).glob("*.py")}
    entries = [name for name in registry.names(room) if name in own]
    assert entries
    assert not [name for name in entries if not (TESTS / room / f"test_{name}.py").is_file()]


def test_every_source_file_has_its_test() -> None:
    missing = []
    for path in PACKAGE.glob("*/*.py"):
        mirrored = TESTS / path.parent.name / f"test_{path.stem.removeprefix('_')}.py"
        if path.stem in ("__init__", "base") or mirrored.is_file() or _name(path) in TESTED_BY:
            continue
        missing.append(_name(path))
    assert not missing


def test_what_is_tested_elsewhere_is_still_there() -> None:
    for source, test in TESTED_BY.items():
        assert (PACKAGE / source).is_file()
        assert (TESTS / test).is_file()


def _loaded(code: str) -> set[str]:
    """Which heavy modules a fresh process has loaded after `code`."""
    heavy = ("torch", "numpy", "sklearn", "timm", "transformers", "PIL")
    ending = f"\nimport sys; sys.stderr.write(' '.join(name for name in {heavy} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code + ending], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not _loaded("import torchgraft")


def test_reading_data_loads_no_torch() -> None:
    assert not _loaded("import torchgraft.data") & {"torch", "timm", "transformers"}


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"], ["--version"]])
def test_help_loads_no_torch(arguments: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['graft', *{arguments!r}]\nfrom torchgraft.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
    )
    assert not _loaded(code) & {"torch", "timm", "transformers", "sklearn"}
