"""The main job: from data to the graft that the evidence supports, with a report. Called, the room runs it.

    run = torchgraft.fit("photos/", budget="2m")

Names are loaded when they are first used, so that the command line can show the options without loading torch.
"""

from __future__ import annotations

import sys

from torchgraft.core.lazy import lazy
from torchgraft.fit._call import CallableRoom
from torchgraft.fit.options import FitOptions, RankOptions

__all__ = [
    "FitOptions",
    "RankOptions",
    "Ranking",
    "Report",
    "Run",
    "TransferClassifier",
    "fit",
    "rank_backbones",
    "ranking_folder",
    "repeat",
    "resume",
    "write_ranking",
]

__getattr__ = lazy(
    __name__,
    {
        "Ranking": "torchgraft.fit.ranking",
        "Report": "torchgraft.fit.report",
        "Run": "torchgraft.fit.run",
        "TransferClassifier": "torchgraft.fit.estimator",
        "fit": "torchgraft.fit.run",
        "rank_backbones": "torchgraft.fit.ranking",
        "ranking_folder": "torchgraft.fit._ranking_page",
        "repeat": "torchgraft.fit.run",
        "resume": "torchgraft.fit.run",
        "write_ranking": "torchgraft.fit._ranking_page",
    },
)

sys.modules[__name__].__class__ = CallableRoom
