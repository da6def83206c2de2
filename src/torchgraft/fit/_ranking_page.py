"""The page of a ranking, with the table and the picture, and its numbers as JSON."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from torchgraft.core.files import write_json, write_text
from torchgraft.core.runtime import versions
from torchgraft.evaluate import render
from torchgraft.fit._inputs import default_folder

if TYPE_CHECKING:
    from torchgraft.fit.options import RankOptions
    from torchgraft.fit.ranking import Ranking


def ranking_folder(options: RankOptions) -> Path:
    """Where a ranking is written: the folder asked for, or `runs/NAME-rank-N` with the first N that is free."""
    return Path(options.out) if options.out else default_folder(f"{Path(options.data).resolve().stem or 'run'}-rank")


def write_ranking(ranking: Ranking, folder: Path) -> Path:
    """Write `report.html`, one self-contained page, and `report.json` (`Ranking.to_dict`); give the page's path.

    Raises `StorageError` where the folder can't be written.
    """
    found, samples = ranking.to_dict(), ranking.samples
    name = Path(samples.root).resolve().stem
    report = {
        "name": f"{name}: which backbone",
        "data": {**samples.spec().to_dict(), "findings": [dataclasses.asdict(one) for one in ranking.findings]},
        "verdict": {"sentence": ranking.sentence},
        "ranking": found,
        "environment": versions(),
    }
    write_json(folder / "report.json", found)
    write_text(folder / "report.html", render(report))
    return folder / "report.html"
