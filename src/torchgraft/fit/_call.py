"""The room as a function: `torchgraft.fit` names both, and importing the room would hide a function of that name."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from torchgraft.core.errors import OptionError
from torchgraft.core.options import build
from torchgraft.core.progress import SILENT, Progress
from torchgraft.fit.options import FitOptions

if TYPE_CHECKING:
    from torchgraft.fit.run import Run


class CallableRoom(ModuleType):
    """A module whose call runs its `fit`."""

    def __call__(self, target: str | Path | FitOptions, *, progress: Progress = SILENT, **options: Any) -> Run:
        """Fit on `target`: a folder of class folders, a table of texts, a feature file, or ready `FitOptions`.

        `options` are the other fields of `FitOptions`, as `graft fit --help` lists them. Raises `OptionError` naming
        every option that is unknown or of the wrong type, and whatever `torchgraft.fit.fit` raises.
        """
        if isinstance(target, FitOptions):
            if options:
                raise OptionError(f"FitOptions hold all options already; got {', '.join(options)} beside them.")
            return self.fit(target, progress=progress)
        values = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
        return self.fit(build(FitOptions, {"target": str(target), **values}), progress=progress)
