"""What a ranking leaves on disk: the page and its numbers, and where."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from torchgraft.core.errors import StorageError
from torchgraft.fit import Ranking, RankOptions, rank_backbones, ranking_folder, write_ranking


@pytest.fixture(scope="module")
def ranking(tmp_path_factory: pytest.TempPathFactory) -> Ranking:
    path, rng = tmp_path_factory.mktemp("features") / "rows.npz", np.random.default_rng(0)
    y = np.repeat([0, 1], 20)
    np.savez(path, X=(rng.normal(size=(40, 3)) + 2 * np.eye(3)[y]).astype(np.float32), y=np.array(["<i>", "bee"])[y])
    return rank_backbones(RankOptions(data=str(path)))


def test_the_page_and_its_numbers(ranking: Ranking, tmp_path: Path) -> None:
    page = write_ranking(ranking, tmp_path / "new" / "folder")
    assert page == tmp_path / "new" / "folder" / "report.html"
    html = page.read_text(encoding="utf-8")
    assert "<title>rows: which backbone: torchgraft report</title>" in html
    assert "Start from " in html and "<h2>Which backbone</h2>" in html
    assert "<i>" not in html
    assert not {"http:", "https:", "<link", "<img"} & set(html.split('"'))
    assert json.loads((page.parent / "report.json").read_text(encoding="utf-8")) == ranking.to_dict()


def test_writing_again_replaces_it(ranking: Ranking, tmp_path: Path) -> None:
    assert write_ranking(ranking, tmp_path) == write_ranking(ranking, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_a_folder_that_cannot_be_made(ranking: Ranking, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="can't be written"):
        write_ranking(ranking, tmp_path / "file" / "below")


def test_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ranking_folder(RankOptions(data="some/photos/")) == Path("runs/photos-rank-1")
    Path("runs/photos-rank-1").mkdir(parents=True)
    assert ranking_folder(RankOptions(data="some/photos/")) == Path("runs/photos-rank-2")
    assert ranking_folder(RankOptions(data="a.npz")) == Path("runs/a-rank-1")
    assert ranking_folder(RankOptions(data="a.npz", out="here")) == Path("here")
