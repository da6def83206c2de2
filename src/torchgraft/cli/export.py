"""Write a fitted model as one ONNX file, checked against the model itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchgraft.cli.base import JsonFlag, Terminal
from torchgraft.core.errors import OptionError

if TYPE_CHECKING:
    from torchgraft.serve import Written

EXAMPLES = (
    "graft export runs/photos-1 --out model.onnx  # photos in, probabilities out",
    "graft export runs/streets-1 --out streets.onnx  # images of any size in, the class of each pixel out",
    "graft export runs/streets-1 --out streets.onnx --size 480x640  # for images of one size",
)

_SUFFIX = ".onnx"


def run(
    terminal: Terminal,
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="The folder of a run, or of a saved model.", show_default=False)
    ],
    out: Annotated[
        str, typer.Option("--out", help="File to write, NAME.onnx (replaced in one step).", show_default=False)
    ],
    size: Annotated[
        str | None,
        typer.Option("--size", help="HEIGHTxWIDTH, where answers are maps: for images of this size alone."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """The file holds normalisation, network, head and calibration: pixels or numbers go in, probabilities come out. It
    runs in ONNX Runtime and whatever else reads ONNX. Its metadata hold classes, preprocessing, temperature, threshold.

    The samples that were stored with the model are answered by both: where probabilities differ by more than 0.001 (in
    maps: more than 0.1 % of the pixels get another class), nothing is written. Models of texts or of nearest neighbours
    can't be exported.
    """
    _refuse(out)
    asked = _size(size)
    from torchgraft import serve
    from torchgraft.model import load
    from torchgraft.model.artifact import read

    graft = load(model)
    written = serve.export(graft, out, check=read(Path(model)).check, size=asked, progress=terminal.progress)
    if json:
        terminal.show_json(_as_json(written))
    else:
        _show(terminal, written)


def _refuse(out: str) -> None:
    if Path(out).is_dir():
        raise OptionError(f"--out {out} is a folder. Expected the name of a file to write, like {out}/model{_SUFFIX}.")
    if Path(out).suffix.lower() != _SUFFIX:
        raise OptionError(f"--out expects a name that ends in {_SUFFIX}, got {out}.")


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})[xX]([1-9]\d{0,4})", text)
    if not found:
        raise OptionError(f"--size expects HEIGHTxWIDTH in pixels, like 480x640; got {text!r}.")
    return int(found[1]), int(found[2])


def _show(terminal: Terminal, written: Written) -> None:
    kind = "stored" if written.stored else "made-up"
    terminal.show(f"{written.path}  {written.size / 1e6:.1f} MB, checked on {written.samples} {kind} samples")
    for what, tensors in (("input", written.inputs), ("output", written.outputs)):
        for one in tensors:
            apart = f"  {_apart(one.type, written.differences[one.name])}" if what == "output" else ""
            shape = " x ".join(map(str, one.shape))
            terminal.show(f"{what:<7} {one.name}  {one.type} {shape}{apart}")
    terminal.show()
    terminal.show(written.usage)


def _apart(kind: str, value: float) -> str:
    if "float" in kind:
        return f"largest difference {value:.1e}"
    return f"{value:.3%} of the pixels differ"


def _as_json(written: Written) -> dict[str, Any]:
    tensors = {
        what: [{"name": one.name, "type": one.type, "shape": list(one.shape)} for one in found]
        for what, found in (("inputs", written.inputs), ("outputs", written.outputs))
    }
    return {
        "path": str(written.path),
        "bytes": written.size,
        **tensors,
        "differences": dict(written.differences),
        "samples": written.samples,
        "stored": written.stored,
        "metadata": dict(written.metadata),
        "usage": written.usage,
    }
