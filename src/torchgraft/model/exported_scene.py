"""What of a graft of scenes goes into an exported file: photos of any size in, the class of each pixel out."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from torchgraft.core.errors import OptionError
from torchgraft.features.decode import SMALLEST, pixels, resized, scaled_shape
from torchgraft.model.exported import Case, Exported, metadata, random_photo
from torchgraft.model.scene import SceneGraft
from torchgraft.model.scene_network import SceneNetwork
from torchgraft.model.tiles import predict_map

_USAGE = (
    "import numpy as np, onnxruntime\n"
    "from PIL import Image, ImageOps\n"
    'image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB"){resized}\n'
    "session = onnxruntime.InferenceSession(MODEL)\n"
    'classes, probability = session.run(None, {{"image": np.asarray(image).transpose(2, 0, 1)[None]}})'
)


class SceneAnswer(nn.Module):
    """1 x 3 x H x W uint8 -> the class of each pixel H x W uint8, and its probability H x W float32.

    As `SceneNetwork`, written so that exporters keep H and W free: they round whole numbers below 0 another way.
    """

    def __init__(self, network: SceneNetwork, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Classes and probability."""
        net, unit = self.network, self.network.multiple
        height, width = x.shape[2:]
        z = x.float() * net.scale - net.shift
        z = pad(z, (0, (unit - width % unit) % unit, 0, (unit - height % unit) % unit))
        logits = net.decoder(net.levels(z), tuple(z.shape[2:]))[0, :, :height, :width]
        p = (logits / self.temperature).softmax(0)
        return p.argmax(0).to(torch.uint8), p.amax(0)


def export_scene(graft: SceneGraft, check: Mapping[str, np.ndarray], size: tuple[int, int] | None = None) -> Exported:
    """A graft of scenes: an image at `graft.scale` times its size -> classes and probabilities of that size.

    `size` (H, W): for images of that size alone. `check` holds the images that were stored with the graft.
    Raises `OptionError` for grafts of several views, for those that see nothing, and for a size under 32.
    """
    _refuse(graft, size)
    free, maps = ({}, {}) if size else ({2: "H", 3: "W"}, {0: "H", 1: "W"})
    images = _images(graft, check, size)
    about = {"scale": str(graft.scale), "colours": json.dumps([list(colour) for colour in graft.colours])}
    return Exported(
        module=SceneAnswer(graft.network, graft.temperature).eval(),
        inputs={"image": free},
        outputs={"classes": maps, "probability": maps},
        cases=tuple(_case(graft, image) for image in images),
        samples=len(images) - (size is None),
        stored="input.0" in check,
        metadata=metadata(graft, _preprocessing(graft, size)) | about,
        usage=_USAGE.format(resized=_in_python(graft, size)),
        fixable=size is None,
    )


def _refuse(graft: SceneGraft, size: tuple[int, int] | None) -> None:
    problems = []
    if graft.views:
        problems.append(f"it joins the image with further views ({', '.join(graft.views)}), and only one is exported")
    if graft.source is None:
        problems.append("it sees nothing: its answer is the same for every pixel")
    if size is not None and min(size) < SMALLEST:
        problems.append(f"a size of {SMALLEST} x {SMALLEST} pixels or more was expected, got {size[0]}x{size[1]}")
    if problems:
        raise OptionError(f"this model ({graft.method}) can't be exported: {'; '.join(problems)}.")


def _images(graft: SceneGraft, check: Mapping[str, np.ndarray], size: tuple[int, int] | None) -> list[np.ndarray]:
    """Images as the file will be given them; where sizes are free, of several sizes."""
    stored = [pixels(check[name].tobytes()) for name in sorted(check) if name.startswith("input.")]
    images = stored or [random_photo(np.random.default_rng(0), (150, 203))]
    if size is not None:
        return [resized(image, size) for image in images]
    scaled = [resized(image, scaled_shape(image.shape, graft.scale)) for image in images]
    height, width = (max(side * 3 // 4 - 1, SMALLEST) for side in scaled[0].shape[:2])
    return [*scaled, scaled[0][:height, :width]]


def _case(graft: SceneGraft, image: np.ndarray) -> Case:
    """What the graft answers, its probabilities unrounded."""
    p = np.empty(image.shape[:2], dtype=np.float32)
    classes, p = predict_map(graft.network, image, temperature=graft.temperature, confidence=p)
    x = np.ascontiguousarray(image.transpose(2, 0, 1))[None]
    return {"image": x}, {"classes": classes, "probability": p}


def _preprocessing(graft: SceneGraft, size: tuple[int, int] | None) -> dict[str, object]:
    how = graft.backbone.preprocessing
    sides = f"{size[0]} x {size[1]}" if size else f"scale times its size, each side at least {SMALLEST}"
    return {
        "image": {
            "outside": f"upright (EXIF), RGB, resized (antialiased, bilinear) to {sides}",
            "layout": "1 x 3 x H x W uint8",
            "inside": "(x / 255 - mean) / std, filled up with zeros; the maps are cut to H x W",
            "mean": list(how.mean),
            "std": list(how.std),
        }
    }


def _in_python(graft: SceneGraft, size: tuple[int, int] | None) -> str:
    if size is not None:
        return f".resize(({size[1]}, {size[0]}), Image.Resampling.BILINEAR)"
    if graft.scale == 1:
        return ""
    return f"\nimage = image.resize([round({graft.scale} * side) for side in image.size], Image.Resampling.BILINEAR)"
