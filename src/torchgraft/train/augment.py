"""Augmentation of image batches: what a picture may look like while its label stays.

Every picture of a batch gets its own draw, and every draw comes from the generator given. One picture is worked on at
a time, so that it stays in the processor's cache.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from torchgraft.core.errors import DataError, OptionError, did_you_mean
from torchgraft.train import _colour, _geometry
from torchgraft.train._erasing import erase
from torchgraft.train._geometry import STILL, Placement, Sampler, then
from torchgraft.train._randaugment import Change, randaugment

CROPS = ("centre", "random", "resized")
_DRAWS = 15  # random numbers a picture needs beside those of RandAugment

SMALL = 64
"""Pictures with a shorter side than this many pixels are cropped gently: a third less leaves too little to see."""
FEW, SOME = 16, 256
"""Pictures a class: below the first only crops and flips, below the second also colour, from there RandAugment."""


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """What is done to training pictures; by default nothing, that is the centre crop of evaluation.

    crop: centre; random (a window of the network's size anywhere in the picture); resized (a window whose area is a
    share in `scale` of the picture and whose sides are 3:4 to 4:3, resized; Szegedy et al. 2015). shift: centre and
    random windows are moved by up to this share of their side (0 to 0.5), edges mirrored. flip, vertical_flip,
    erasing: probabilities (0 to 1). rotation: up to so many degrees (0 to 180) either way. colour: brightness,
    contrast and saturation are multiplied by 1 - colour to 1 + colour (0 to 1). noise: standard deviation in grey
    levels (0 to 255). erasing covers a rectangle of 2 to 33 % with the picture's mean colour (Zhong et al. 2020).
    randaugment: magnitude, 0 (off) to 10, of `randaugment_ops` changes drawn anew for each picture (Cubuk et al.
    2020).

    Raises `OptionError` that names every value that can't be used.
    """

    crop: str = "centre"
    scale: tuple[float, float] = (0.5, 1.0)
    shift: float = 0.0
    flip: float = 0.0
    vertical_flip: float = 0.0
    rotation: float = 0.0
    colour: float = 0.0
    noise: float = 0.0
    erasing: float = 0.0
    randaugment: float = 0.0
    randaugment_ops: int = 2

    def __post_init__(self) -> None:
        problems = []
        if self.crop not in CROPS:
            problems.append(f"crop expects {', '.join(CROPS)}, got {self.crop!r}.{did_you_mean(self.crop, CROPS)}")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 1:
            problems.append(f"scale expects two shares of the area, 0 < low <= high <= 1, got {self.scale!r}.")
        limits = {
            "shift": 0.5, "flip": 1, "vertical_flip": 1, "rotation": 180, "colour": 1, "noise": 255, "erasing": 1,
            "randaugment": 10,
        }  # fmt: skip
        for name, limit in limits.items():
            if not 0 <= getattr(self, name) <= limit:
                problems.append(f"{name} expects a number from 0 to {limit}, got {getattr(self, name)!r}.")
        if self.randaugment_ops < 1:
            problems.append(f"randaugment_ops expects a whole number from 1, got {self.randaugment_ops!r}.")
        if problems:
            raise OptionError(" ".join(problems))

    @property
    def off(self) -> bool:
        """Whether pictures stay as evaluation sees them."""
        moved = self.crop != "centre" or self.shift or self.flip or self.vertical_flip
        return not (moved or self.erasing or self.changes_values)

    @property
    def changes_values(self) -> bool:
        """Whether values between whole grey levels arise, so that the result is float32."""
        return bool(self.rotation or self.colour or self.noise or self.randaugment)


class ImageAugment:
    """B x H x W x 3 uint8 on the CPU, H and W at least `size` -> B x size x size x 3 in 0..255.

    uint8 where pixels are only cut, flipped, resized or erased; float32 where colours, noise, rotation or RandAugment
    are asked. Pictures should be a little larger than `size` (256 for 224): they are sampled without antialiasing
    where they are turned. Order: crop, flips, rotation and the geometry of RandAugment as one resampling, then
    colour, RandAugment's colours, noise, erasing.

    What is worked on lies in buffers that are kept, so one object serves one thread; results are new tensors.
    """

    def __init__(self, options: AugmentOptions, size: int) -> None:
        if size < 1:
            raise OptionError(f"size expects a whole number from 1, got {size}.")
        self.options = options
        self.size = size
        self._sampler = Sampler(size)
        self._dtype = torch.float32 if options.changes_values else torch.uint8
        self._noise = torch.empty(size, size, 3) if options.noise else torch.empty(0)

    def plain(self, x: Tensor) -> Tensor:
        """The centre crop, uint8, a view of x: what evaluation sees."""
        self._check(x)
        top, left = _geometry.centred(*x.shape[1:3], self.size)
        return x[:, top : top + self.size, left : left + self.size]

    @torch.no_grad()
    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """An augmented batch; the same generator state gives the same batch. Raises `DataError` on other input."""
        if self.options.off:
            return self.plain(x)
        self._check(x)
        out = torch.empty(len(x), self.size, self.size, 3, dtype=self._dtype)
        ops = self.options.randaugment_ops if self.options.randaugment else 0
        draws = torch.rand(len(x), _DRAWS + 2 * ops, generator=generator).tolist()
        for picture, result, draw in zip(x, out, draws, strict=True):
            self._one(picture, result, draw, generator)
        return out

    def _one(self, picture: Tensor, out: Tensor, draw: list[float], generator: torch.Generator) -> None:
        options = self.options
        matrix, changes = _geometry.rotate(options.rotation * (2 * draw[4] - 1)) if options.rotation else STILL, []
        if options.randaugment:
            moved, changes = randaugment(draw[_DRAWS:], options.randaugment, self.size)
            matrix = then(matrix, moved)
        self._sampler(picture, self._place(picture, draw, matrix), out)
        if options.colour:
            self._jitter(out, draw[7:10])
        _apply(changes, out)
        if options.noise:
            out.add_(self._noise.normal_(0, options.noise, generator=generator)).clamp_(0, 255)
        if draw[10] < options.erasing:
            erase(out, *draw[11:15])

    def _place(self, picture: Tensor, draw: list[float], matrix: _geometry.Matrix) -> Placement:
        options, size = self.options, self.size
        height, width = picture.shape[:2]
        if options.crop == "resized":
            box = _geometry.resized_box(height, width, options.scale, *draw[:4])
        else:
            top, left = _geometry.centred(height, width, size)
            if options.crop == "random":
                top, left = int(draw[0] * (height - size + 1)), int(draw[1] * (width - size + 1))
            far = round(options.shift * size)
            box = (top + int(draw[2] * (2 * far + 1)) - far, left + int(draw[3] * (2 * far + 1)) - far, size, size)
        return Placement(*box, draw[5] < options.flip, draw[6] < options.vertical_flip, matrix)

    def _jitter(self, out: Tensor, draw: list[float]) -> None:
        factors = [1 + self.options.colour * (2 * u - 1) for u in draw]
        for change, factor in zip((_colour.brightness, _colour.contrast, _colour.saturation), factors, strict=True):
            change(out, factor)

    def _check(self, x: Tensor) -> None:
        right = x.ndim == 4 and x.shape[-1] == 3 and x.dtype == torch.uint8 and x.device.type == "cpu"
        if not right or min(x.shape[1:3]) < self.size:
            raise DataError(
                f"expected pictures as B x H x W x 3 uint8 on the CPU, sides of {self.size} or more; "
                f"got {' x '.join(map(str, x.shape))} {x.dtype} on {x.device}. Decode them at that size or larger."
            )


def _apply(changes: list[Change], out: Tensor) -> None:
    for change, *strength in changes:
        change(out, *strength)


def suggest(
    n_samples: int, classes: int, size_in: tuple[int, int], *, asymmetric: bool = False
) -> tuple[AugmentOptions, str]:
    """Augmentation for `n_samples` pictures of `classes` classes, about `size_in` = (height, width); and why.

    The less there is, the less is changed: a short training on few pictures learns them before strong changes pay
    (crops and flips alone are the rule of Kolesnikov et al. 2020, BiT, below 20 000 pictures; strength that grows with
    the data is the finding of Cubuk et al. 2020). `asymmetric`: mirrored pictures are of another class or of none
    (digits, letters, arrows); `flip_is_safe` tells from features. Raises `OptionError` on numbers below 1.
    """
    if min(n_samples, classes, *size_in) < 1:
        raise OptionError(f"expected numbers from 1, got {n_samples} samples, {classes} classes, size {size_in}.")
    per, small = n_samples / classes, min(size_in) < SMALL
    gentle = {"crop": "random", "shift": 0.125} if small else {"crop": "random"}
    if per < FEW:
        level, chosen = "so few that strong changes would slow learning more than they teach: crops", gentle
    elif per < SOME:
        level, chosen = "enough for slight changes of colour beside crops", {"colour": 0.2}
        chosen |= gentle if small else {"crop": "resized", "scale": (0.6, 1.0)}
    else:
        level = "enough for RandAugment (two random changes of colour or geometry) and erasing beside crops"
        chosen = {"randaugment": 4.0 if small else 6.0, "erasing": 0.1}
        chosen |= gentle if small else {"crop": "resized", "scale": (0.35, 1.0)}
    words = f"{per:.0f} pictures a class are {level}" if per >= 1 else f"less than one picture a class is {level}"
    words += ", no mirroring (left and right differ)." if asymmetric else ", and mirroring."
    if small:
        words += f" Pictures of {size_in[1]} x {size_in[0]} pixels are small: shifted by up to an eighth, never zoomed."
    return AugmentOptions(flip=0.0 if asymmetric else 0.5, **chosen), words


def flip_is_safe(z: np.ndarray, z_flipped: np.ndarray, y: np.ndarray) -> bool:
    """Whether mirrored pictures keep their class: features N x D, those of the mirrored pictures, labels N.

    Each picture, and its mirror image, goes to the nearest class mean of the other pictures. Safe, unless pictures
    lost by mirroring outnumber those gained beyond chance (McNemar 1947, exact and one-sided at 5 %: five lost and
    none gained are too many). Classes of one picture can't be judged; where there are only such, the answer is False.

    Raises `DataError` where shapes don't fit or features aren't finite.
    """
    z, z_flipped, y = np.asarray(z, np.float64), np.asarray(z_flipped, np.float64), np.asarray(y)
    if z.ndim != 2 or z.shape != z_flipped.shape or y.shape != z.shape[:1]:
        raise DataError(f"expected features N x D twice and N labels, got {z.shape}, {z_flipped.shape} and {y.shape}.")
    if not (np.isfinite(z).all() and np.isfinite(z_flipped).all()):
        raise DataError("expected finite features, got NaN or infinite ones; leave those pictures out.")
    _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    judged = counts[codes] > 1
    if not judged.any() or len(counts) < 2:
        return False
    before, after = (_nearest(z, query, codes, counts)[judged] == codes[judged] for query in (z, z_flipped))
    lost, gained = int((before & ~after).sum()), int((after & ~before).sum())
    return _upper_tail(lost, lost + gained) >= 0.05


def _upper_tail(k: int, n: int) -> float:
    """Chance of k heads or more in n tosses."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])  # of the factorials
    heads = np.arange(k, n + 1)
    return float(np.exp(logs[n] - logs[heads] - logs[n - heads] - n * math.log(2)).sum())


def _nearest(z: np.ndarray, query: np.ndarray, codes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The class whose mean of z is nearest to each row of `query`; row i of z is left out for row i."""
    sums = np.zeros((len(counts), z.shape[1]))
    np.add.at(sums, codes, z)
    means = sums / counts[:, None]
    distances = (means**2).sum(1) - 2 * query @ means.T  # and |query|^2, the same for all classes
    own = (sums[codes] - z) / np.maximum(counts[codes] - 1, 1)[:, None]
    distances[np.arange(len(z)), codes] = (own**2).sum(1) - 2 * (query * own).sum(1)
    return distances.argmin(1)
