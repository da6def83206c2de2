from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from torchgraft.backbones._torchvision_ops import declare
from torchgraft.core.errors import DataError, OptionError
from torchgraft.data import IGNORE
from torchgraft.train.dense_loss import (
    LOSSES,
    DenseLoss,
    DenseLossOptions,
    dense_cross_entropy,
    dense_focal,
    dice,
    lovasz,
    tempered_weights,
)

COUNTS = [900, 90, 9, 1]


@pytest.fixture
def drawn() -> tuple[Tensor, Tensor]:
    """Logits 2 x 4 x 9 x 7 and labels, one in five ignored; class 3 doesn't occur."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 4, 9, 7, generator=generator)
    y = torch.randint(3, (2, 9, 7), generator=generator)
    y[torch.rand(2, 9, 7, generator=generator) < 0.2] = IGNORE
    return logits, y


def with_probabilities(p: list[list[float]]) -> Tensor:
    """Logits 1 x C x 2 x 2 whose softmax is p: four pixels of C."""
    return torch.tensor(p).log().T.reshape(1, -1, 2, 2)


@pytest.mark.parametrize("name", LOSSES)
def test_perfect_logits_cost_nothing_and_wrong_ones_much(drawn, name: str) -> None:
    _, y = drawn
    loss = DenseLoss(DenseLossOptions(name=name), COUNTS)
    truth = functional.one_hot(y.masked_fill(y == IGNORE, 0), 4).permute(0, 3, 1, 2).float()
    assert loss(50 * truth, y).item() == pytest.approx(0, abs=1e-6)
    assert loss(-50 * truth, y).item() > 0.9


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("value", [0.0, 100.0])
def test_a_batch_without_a_label_costs_nothing(name: str, value: float) -> None:
    logits = torch.full((2, 4, 3, 3), value, requires_grad=True)
    more = {"smoothing": 0.1, "class_weight": "balanced"} if name.startswith("ce") else {}
    loss = DenseLoss(DenseLossOptions(name=name, **more), COUNTS)(logits, torch.full((2, 3, 3), IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_ignored_has_no_say(drawn, name: str) -> None:
    logits, y = drawn
    loss = DenseLoss(DenseLossOptions(name=name, class_weight="none"), COUNTS)
    other = torch.where((y == IGNORE)[:, None], 5 * torch.randn_like(logits), logits).requires_grad_()
    torch.testing.assert_close(loss(other, y), loss(logits, y))
    loss(other, y).backward()
    assert not other.grad.permute(0, 2, 3, 1)[y == IGNORE].any()
    assert other.grad.permute(0, 2, 3, 1)[y != IGNORE].any()


@pytest.mark.parametrize("name", LOSSES)
def test_steps_downhill_cost_less_and_memory_layout_does_not_matter(drawn, name: str) -> None:
    logits, y = drawn
    loss = DenseLoss(DenseLossOptions(name=name), COUNTS)
    x = logits.clone().requires_grad_()
    loss(x, y).backward()
    assert loss(logits - 5 * x.grad, y) < loss(logits, y)
    last = logits.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(loss(last, y), loss(logits, y))
    assert loss(logits.bfloat16(), y).dtype == torch.float32


def test_cross_entropy_is_torch_s(drawn) -> None:
    logits, y = drawn
    weight = tempered_weights(COUNTS)
    torch.testing.assert_close(dense_cross_entropy(logits, y), functional.cross_entropy(logits, y, ignore_index=IGNORE))
    total = functional.cross_entropy(
        logits, y, weight=weight, ignore_index=IGNORE, label_smoothing=0.1, reduction="none"
    )
    expected = total.sum() / (y != IGNORE).sum()
    torch.testing.assert_close(dense_cross_entropy(logits, y, weight=weight, smoothing=0.1), expected)
    balanced = DenseLoss(DenseLossOptions(class_weight="balanced", smoothing=0.1), COUNTS)
    torch.testing.assert_close(balanced(logits, y), expected)


def test_focal_by_hand_and_without_focus(drawn) -> None:
    logits, y = drawn
    torch.testing.assert_close(dense_focal(logits, y, gamma=0), dense_cross_entropy(logits, y))
    weight = tempered_weights(COUNTS)
    torch.testing.assert_close(
        dense_focal(logits, y, gamma=0, weight=weight), dense_cross_entropy(logits, y, weight=weight)
    )
    four = with_probabilities([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.3, 0.7]])
    labels = torch.tensor([[[0, 0], [1, IGNORE]]])
    expected = -(0.01 * math.log(0.9) + 0.25 * math.log(0.5) + 0.04 * math.log(0.8)) / 3
    assert dense_focal(four, labels).item() == pytest.approx(expected, rel=1e-5)


def test_focal_is_torchvision_s_for_two_classes() -> None:
    declare()
    ops = pytest.importorskip("torchvision.ops")
    x = torch.linspace(-4, 4, 40).reshape(2, 4, 5)
    y = (torch.arange(40) % 3 == 0).long().reshape(2, 4, 5)
    theirs = ops.sigmoid_focal_loss(x, y.float(), alpha=0.25, gamma=2.0, reduction="mean")
    ours = dense_focal(torch.stack([torch.zeros_like(x), x], 1), y, weight=torch.tensor([0.75, 0.25]))
    torch.testing.assert_close(ours, theirs)


def test_focal_has_finite_gradients_for_sure_pixels() -> None:
    logits = torch.tensor([200.0, 0.0]).reshape(1, 2, 1, 1).requires_grad_()
    dense_focal(logits, torch.zeros(1, 1, 1, dtype=torch.int64), gamma=0.5).backward()
    assert torch.isfinite(logits.grad).all()


def test_dice_by_hand() -> None:
    four = with_probabilities([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.3, 0.7]])
    labels = torch.tensor([[[0, 0], [1, IGNORE]]])
    first = 2 * (0.9 + 0.5) / (0.81 + 0.25 + 0.04 + 2)
    second = 2 * 0.8 / (0.01 + 0.25 + 0.64 + 1)
    assert dice(four, labels).item() == pytest.approx(1 - (first + second) / 2, rel=1e-5)


def sorted_lovasz(logits: Tensor, y: Tensor) -> Tensor:
    """The paper's algorithm 1 for each class, in double precision, with the errors sorted."""
    p = logits.double().softmax(1).permute(0, 2, 3, 1)[y != IGNORE]  # N x C
    labels = y[y != IGNORE]
    losses = []
    for c in labels.unique().tolist():
        own = (labels == c).double()
        errors, order = (own - p[:, c]).abs().sort(descending=True)
        own = own[order]
        jaccard = 1 - (own.sum() - own.cumsum(0)) / (own.sum() + (1 - own).cumsum(0))
        losses.append(errors @ jaccard.diff(prepend=jaccard.new_zeros(1)))
    return torch.stack(losses).mean()


def test_lovasz_by_hand() -> None:
    """Errors of class 0: 0.5, 0.2, 0.1, where J is 1/2, 2/3 and 1; of class 1: 0.5, 0.2, 0.1 with 1/2, 1 and 1."""
    four = with_probabilities([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.3, 0.7]])
    labels = torch.tensor([[[0, 0], [1, IGNORE]]])
    first = 0.5 / 2 + 0.2 * (2 / 3 - 1 / 2) + 0.1 * (1 - 2 / 3)
    second = 0.5 / 2 + 0.2 / 2
    assert lovasz(four, labels).item() == pytest.approx((first + second) / 2, rel=1e-4)


def test_lovasz_is_the_sorted_one_and_so_is_its_gradient() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(2, 5, 40, 50, generator=generator)
    y = torch.randint(4, (2, 40, 50), generator=generator)
    y[:, :3] = IGNORE
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss, reference = lovasz(ours, y), sorted_lovasz(theirs, y)
    assert loss.item() == pytest.approx(reference.item(), abs=1 / 16384)
    loss.backward()
    reference.backward()
    assert (ours.grad - theirs.grad).norm() < 0.01 * theirs.grad.norm()


def test_lovasz_of_sure_answers_is_one_minus_iou() -> None:
    y = torch.tensor([[[0, 0, 0, 1], [1, 1, 2, IGNORE]]])
    said = torch.tensor([[[0, 0, 1, 1], [1, 2, 2, 0]]])
    logits = 60 * functional.one_hot(said, 3).permute(0, 3, 1, 2).float()
    assert lovasz(logits, y).item() == pytest.approx(1 - (2 / 3 + 2 / 4 + 1 / 2) / 3, abs=1e-5)


def test_they_agree_with_another_library(drawn) -> None:
    """Its Dice sums p where Milletari et al. sum p^2: the same for sure answers alone."""
    declare()
    theirs = pytest.importorskip("segmentation_models_pytorch.losses")
    logits, y = drawn
    torch.testing.assert_close(lovasz(logits, y), theirs.LovaszLoss("multiclass", ignore_index=IGNORE)(logits, y))
    y3 = y.clone()
    y3[0, 0] = 3
    sure = 60 * functional.one_hot(logits.argmax(1), 4).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(
        dice(sure, y3), theirs.DiceLoss("multiclass", ignore_index=IGNORE)(sure, y3), atol=1e-5, rtol=0
    )


def test_tempered_weights_by_hand_and_one_in_the_mean() -> None:
    share = np.array(COUNTS) / sum(COUNTS)
    raw = 1 / np.log(1.02 + share)
    w = tempered_weights(COUNTS).numpy()
    np.testing.assert_allclose(w, raw / (raw * share).sum(), rtol=1e-6)
    assert (w * share).sum() == pytest.approx(1)
    never = tempered_weights(torch.tensor([5, 0])).numpy()
    assert never[1] / never[0] == pytest.approx(math.log(2.02) / math.log(1.02), rel=1e-5)


@pytest.mark.parametrize("counts", [[], [0, 0], [1, -1], [1, math.nan], [[1, 2]]])
def test_counts_that_cannot_be_are_refused(counts) -> None:
    with pytest.raises(DataError, match="pixel counts"):
        tempered_weights(counts)


def test_all_that_is_wrong_with_options_is_said_together() -> None:
    with pytest.raises(OptionError) as told:
        DenseLossOptions(name="lovas", class_weight="even", smoothing=1.0, gamma=-1)
    assert all(word in str(told.value) for word in ("'lovasz'", "balanced", "smoothing", "gamma"))
    for name in ("dice", "lovasz"):
        with pytest.raises(OptionError, match="class_weight"):
            DenseLossOptions(name=name, class_weight="balanced")
    with pytest.raises(OptionError, match="smoothing"):
        DenseLossOptions(name="focal", smoothing=0.1)


@pytest.mark.parametrize(
    ("logits", "y"),
    [
        (torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 5, dtype=torch.int64)),
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.uint8)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(logits: Tensor, y: Tensor) -> None:
    with pytest.raises(DataError, match="B x C x H x W"):
        DenseLoss(DenseLossOptions(), [1, 1, 1])(logits, y)


def test_a_label_that_is_no_class_is_an_error() -> None:
    for name in LOSSES:
        with pytest.raises((DataError, IndexError)):
            DenseLoss(DenseLossOptions(name=name), [1, 1, 1])(torch.zeros(1, 3, 1, 1), torch.full((1, 1, 1), 7))


def test_it_holds_nothing_to_save_or_train() -> None:
    loss = DenseLoss(DenseLossOptions(class_weight="balanced"), COUNTS)
    assert not loss.state_dict()
    assert not list(loss.parameters())
