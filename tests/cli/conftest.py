"""The command line called in this process, and small models for it to use."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from torchgraft.cli import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def graft(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., Outcome]:
    """`graft("fit", path, ...)`: exit code, stdout and stderr of the command line."""

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["graft", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), said.out, said.err)

    return call


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 rows of 6 features in three classes that a linear head tells apart with few mistakes."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 50)
    x = rng.normal(size=(150, 6)) + 2.0 * np.eye(6)[y]
    path = tmp_path_factory.mktemp("data") / "rows.npz"
    np.savez(path, X=x.astype(np.float32), y=np.array(["ant", "bee", "cat"])[y])
    return path


@pytest.fixture(scope="session")
def run(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on `rows`."""
    from torchgraft.fit import FitOptions, fit

    out = tmp_path_factory.mktemp("runs") / "rows"
    return fit(FitOptions(target=str(rows), out=str(out), method="majority,lda,knn")).path


@pytest.fixture(scope="session")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model of texts that looks at words alone: warm things are good, cold things bad."""
    from torchgraft.features.tfidf import TfIdf
    from torchgraft.model import Graft, LinearHead, Part

    mapping = TfIdf.fit(["a warm coat", "a cold coat"] * 5)
    z = mapping.transform(["warm warm warm", "cold cold cold"]).toarray()
    head = LinearHead(20 * (np.array([[1.0, -1.0], [-1.0, 1.0]]) @ z), np.zeros(2))
    graft = Graft(
        parts=(Part("text", mapping),),
        head=head,
        classes=("good", "bad"),
        modality="text",
        method="tfidf",
        threshold=0.6,
    )
    path = tmp_path_factory.mktemp("models") / "sentences"
    graft.save(path)
    return path
