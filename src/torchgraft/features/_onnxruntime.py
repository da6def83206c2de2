"""ONNX Runtime as the engine; the network is exported once and kept on disk."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

from torchgraft.core.files import replacing
from torchgraft.features._torch import quiet

Inputs = tuple[np.ndarray, ...]


class OnnxRuntimeEngine:
    """Runs an ONNX file on the processor with one thread per call; many threads may call at once."""

    name = form = "onnxruntime"

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._names = [found.name for found in self._session.get_inputs()]

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        """B x D float32 features of one batch."""
        return self._session.run(None, dict(zip(self._names, inputs, strict=True)))[0]


def build(network: nn.Module, example: Inputs, folder: Path, threads: int) -> OnnxRuntimeEngine:
    """Load the export in `folder`, or make it: by TorchScript (under a second), where that fails by torch.export."""
    path = folder / "onnxruntime" / "model.onnx"
    with contextlib.suppress(Exception):  # absent, damaged, or of another version: exported again below
        return OnnxRuntimeEngine(path)
    with replacing(path.parent) as new:
        new.mkdir()
        _export(network, example, new / path.name)
    return OnnxRuntimeEngine(path)


def _export(network: nn.Module, example: Inputs, path: Path) -> None:
    tensors = tuple(torch.from_numpy(x) for x in example)
    names = ["x"] if len(tensors) == 1 else ["ids", "mask"]
    axes = {0: "B"} if len(tensors) == 1 else {0: "B", 1: "T"}
    with quiet():
        try:
            torch.onnx.export(
                network,
                tensors,
                str(path),
                dynamo=False,
                input_names=names,
                output_names=["z"],
                dynamic_axes={**dict.fromkeys(names, axes), "z": {0: "B"}},
                opset_version=17,
            )
        except Exception:  # the older exporter lacks operators, and will be gone one day
            shapes = {axis: torch.export.Dim(name) for axis, name in axes.items()}
            torch.onnx.export(
                network, tensors, str(path), dynamo=True, input_names=names, dynamic_shapes=(shapes,) * len(tensors)
            )
