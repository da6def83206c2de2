"""OpenVINO as the engine; the network is converted once and kept on disk."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import numpy as np
from torch import nn

from torchgraft.core.files import replacing
from torchgraft.features._torch import quiet, trace

Inputs = tuple[np.ndarray, ...]


class OpenVinoEngine:
    """Runs an OpenVINO model on the processor: one stream of one thread for each of `threads` callers."""

    name = form = "openvino"

    def __init__(self, path: Path, threads: int) -> None:
        import openvino

        core = openvino.Core()
        settings = {
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the processor has it, and other features
            "ENABLE_CPU_PINNING": False,  # the callers decode between two calls, on any core
        }
        self._compiled = core.compile_model(core.read_model(path), "CPU", settings)
        self._own = threading.local()

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        """B x D float32 features of one batch."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        found = self._own.request.infer(list(inputs), share_inputs=True, share_outputs=True)
        return found[0].copy()


def build(network: nn.Module, example: Inputs, folder: Path, threads: int) -> OpenVinoEngine:
    """Load the converted model in `folder`, or make it."""
    path = folder / "openvino" / "model.xml"
    with contextlib.suppress(Exception):  # absent, damaged, or of another version: converted again below
        return OpenVinoEngine(path, threads)
    import openvino

    shapes = [_dynamic(x) for x in example]
    traced = trace(network, example)
    with quiet():
        model = openvino.convert_model(traced, example_input=example, input=shapes)
    with replacing(path.parent) as new:
        new.mkdir()
        openvino.save_model(model, new / path.name, compress_to_fp16=False)
    return OpenVinoEngine(path, threads)


def _dynamic(x: np.ndarray) -> list[int]:
    """Any batch size; for token ids any length too."""
    return [-1, -1] if x.ndim == 2 else [-1, *x.shape[1:]]
