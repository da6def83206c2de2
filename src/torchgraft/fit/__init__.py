"""The main job: from data to the graft that the evidence supports, with a report. Called, the room runs it.

    run = torchgraft.fit("photos/", budget="2m")

Names are loaded when they are first used, so that the command line can show the options without loading torch.
"""

from __future__ import annotations

import sys

from torchgraft.core.lazy import lazy
from torchgraft.fit._call import CallableRoom
from torchgraft.fit.options import FitOptions

__all__ = ["FitOptions", "Report", "Run", "TransferClassifier", "fit", "repeat", "resume"]

__getattr__ = lazy(
    __name__,
    {
        "Report": "torchgraft.fit.report",
        "Run": "torchgraft.fit.run",
        "TransferClassifier": "torchgraft.fit.estimator",
        "fit": "torchgraft.fit.run",
        "repeat": "torchgraft.fit.run",
        "resume": "torchgraft.fit.run",
    },
)

sys.modules[__name__].__class__ = CallableRoom
