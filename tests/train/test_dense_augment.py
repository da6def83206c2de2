from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from torchgraft.core.errors import DataError, OptionError
from torchgraft.data import IGNORE
from torchgraft.train.dense_augment import DenseAugment, DenseAugmentOptions

STILL = DenseAugmentOptions(flip=0.0, scale=(1.0, 1.0), colour=0.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def painted(n: int, height: int, width: int, classes: int = 6, cell: int = 1) -> tuple[Tensor, Tensor]:
    """Pictures that show their labels: the grey level is 40 times the class; patches of `cell` pixels."""
    labels = torch.randint(classes, (n, -(-height // cell), -(-width // cell)), generator=seeded(9))
    y = labels.repeat_interleave(cell, 1).repeat_interleave(cell, 2)[:, :height, :width].contiguous()
    return (40 * y)[..., None].expand(-1, -1, -1, 3).to(torch.uint8).contiguous(), y


@pytest.mark.parametrize("size", [(20, 30), (12, 50), (40, 16), (33, 47)])
def test_labels_follow_their_pixels_where_nothing_is_resized(size: tuple[int, int]) -> None:
    x, y = painted(16, 20, 30)
    augment = DenseAugment(DenseAugmentOptions(scale=(1.0, 1.0), colour=0.0), size, mean=(7, 7, 7))
    out, labels = augment(x, y, seeded())
    assert out.shape == (16, *size, 3)
    assert out.dtype == torch.uint8
    inside = labels != IGNORE
    assert torch.equal(out[inside], (40 * labels[inside])[:, None].expand(-1, 3).to(torch.uint8))
    assert (out[~inside] == 7).all()
    kept = min(size[0], 20) * min(size[1], 30)
    assert (inside.sum((1, 2)) == kept).all()


@pytest.mark.parametrize("scale", [(0.5, 2.0), (2.0, 2.0), (0.5, 0.5), (1.37, 1.37)])
def test_labels_follow_their_pixels_where_they_are_resized(scale: tuple[float, float]) -> None:
    """Away from borders between patches, the picture shows just the label's grey level."""
    x, y = painted(12, 96, 128, cell=16)
    augment = DenseAugment(DenseAugmentOptions(scale=scale, colour=0.0), (80, 72), mean=(3, 3, 3))
    out, labels = augment(x, y, seeded(1))
    shown = torch.where(labels == IGNORE, 3, 40 * labels)[..., None]
    plain = labels[:, None].float()
    flat = -functional.max_pool2d(-plain, 5, 1, 2) == functional.max_pool2d(plain, 5, 1, 2)
    assert flat.float().mean() > 0.2
    wrong = ((out.long() - shown).abs().amax(-1) > 1) & flat[:, 0]
    assert not wrong[:, 2:-2, 2:-2].any()
    assert ((labels == IGNORE).any() & (scale[0] < 1)) == (scale[0] < 1)


def test_zoomed_pictures_and_labels_show_the_same_place() -> None:
    """Red is the column, and so is the label: they differ by the rounding of labels, below a pixel of the source."""
    columns = torch.arange(200).expand(8, 100, 200)
    x = columns[..., None].expand(-1, -1, -1, 3).to(torch.uint8).contiguous()
    out, labels = DenseAugment(DenseAugmentOptions(colour=0.0), (60, 60))(x, columns.contiguous(), seeded(2))
    inside = functional.max_pool2d((labels == IGNORE).float()[:, None], 5, 1, 2)[:, 0] == 0
    assert ((out[..., 0].long() - labels).abs()[inside] <= 1).all()
    assert ((out[..., 0].float() - labels)[inside].mean()).abs() < 0.3


def test_zoom_makes_things_larger_or_smaller() -> None:
    x, y = painted(1, 64, 64)
    y.zero_()
    y[:, 24:40, 24:40] = 1
    for zoom in (0.5, 1.0, 2.0):
        augment = DenseAugment(DenseAugmentOptions(scale=(zoom, zoom), colour=0.0, flip=0.0), (128, 128))
        assert (augment(x, y, seeded())[1] == 1).sum() == (16 * zoom) ** 2


def test_the_same_generator_gives_the_same_batch_and_another_another() -> None:
    x, y = painted(4, 32, 32)
    augment = DenseAugment(DenseAugmentOptions(), (24, 24))
    first, again, other = (augment(x, y, seeded(s)) for s in (5, 5, 6))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_each_picture_has_its_own_draw_and_half_are_mirrored() -> None:
    x, y = painted(1, 16, 16)
    options = DenseAugmentOptions(scale=(1.0, 1.0), colour=0.0)
    _, labels = DenseAugment(options, (16, 16))(x.expand(200, -1, -1, -1), y.expand(200, -1, -1), seeded())
    mirrored = (labels == y.flip(2)).all(2).all(1)
    assert ((labels == y).all(2).all(1) | mirrored).all()
    assert 70 < mirrored.sum() < 130


def test_colour_changes_pixels_and_leaves_labels() -> None:
    x, y = painted(4, 16, 16)
    augment = DenseAugment(DenseAugmentOptions(flip=0.0, scale=(1.0, 1.0), colour=0.5), (16, 16))
    out, labels = augment(x, y, seeded())
    assert torch.equal(labels, y)
    assert out.dtype == torch.float32
    assert not torch.equal(out, x.float())
    assert out.min() >= 0
    assert out.max() <= 255


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_without_a_generator_it_is_plain(dtype: torch.dtype) -> None:
    x, y = painted(2, 11, 13)
    y = y.to(dtype)
    same = DenseAugment(DenseAugmentOptions(), (11, 13))(x, y, None)
    assert torch.equal(same[0], x)
    assert torch.equal(same[1], y)
    out, labels = DenseAugment(DenseAugmentOptions(), (15, 5), mean=(1, 2, 3))(x, y, None)
    assert labels.dtype == dtype
    assert torch.equal(out[:, 2:13], x[:, :, 4:9])
    assert torch.equal(labels[:, 2:13], y[:, :, 4:9])
    assert (labels[:, :2] == IGNORE).all()
    assert (out[:, 13:] == torch.tensor([1, 2, 3])).all()


def test_labels_that_are_ignored_stay_so_and_nothing_is_drawn_that_is_off() -> None:
    x, y = painted(2, 8, 8)
    y[:, :4] = IGNORE
    out, labels = DenseAugment(STILL, (8, 8))(x, y, seeded())
    assert torch.equal(out, x)
    assert torch.equal(labels, y)
    assert DenseAugment(DenseAugmentOptions(), (3, 3))(x[:0], y[:0], seeded())[1].shape == (0, 3, 3)


def test_options_say_all_that_is_wrong() -> None:
    with pytest.raises(OptionError) as told:
        DenseAugmentOptions(flip=2, scale=(2.0, 0.5), colour=-1)
    assert all(word in str(told.value) for word in ("flip", "scale", "colour"))
    for wrong in ({"size": (0, 4)}, {"size": (4, 4), "mean": (0, 0, 300)}):
        with pytest.raises(OptionError):
            DenseAugment(STILL, **wrong)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (torch.zeros(2, 4, 4, 3), torch.zeros(2, 4, 4, dtype=torch.int64)),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, 4, 4, dtype=torch.int64)),
        (torch.zeros(2, 4, 4, 3, dtype=torch.uint8), torch.zeros(2, 4, 5, dtype=torch.int64)),
        (torch.zeros(2, 4, 4, 3, dtype=torch.uint8), torch.zeros(2, 4, 4)),
    ],
)
def test_other_input_is_refused(x: Tensor, y: Tensor) -> None:
    with pytest.raises(DataError, match="B x H x W x 3"):
        DenseAugment(STILL, (4, 4))(x, y, seeded())
