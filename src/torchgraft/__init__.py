"""torchgraft: transfer learning that says how sure it is.

Every name is loaded when it is first used: `import torchgraft` alone loads neither torch nor NumPy.
`fit` is a room and can be called: `tg.fit("photos/")` runs the main job.
"""

from torchgraft.core.lazy import lazy

__version__ = "0.1.0"

_HOMES = {
    "DataError": "torchgraft.core.errors",
    "FitOptions": "torchgraft.fit",
    "Graft": "torchgraft.model",
    "GraftError": "torchgraft.core.errors",
    "Predictions": "torchgraft.model",
    "ReadOptions": "torchgraft.data",
    "Report": "torchgraft.fit",
    "Run": "torchgraft.fit",
    "Samples": "torchgraft.data",
    "TransferClassifier": "torchgraft.fit",
    "UserError": "torchgraft.core.errors",
    "check": "torchgraft.data",
    "fit": "torchgraft.fit",
    "load": "torchgraft.model",
    "paired": "torchgraft.evaluate",
    "read": "torchgraft.data",
    "score": "torchgraft.evaluate",
}

__all__ = sorted([*_HOMES, "__version__"])
__getattr__ = lazy(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
