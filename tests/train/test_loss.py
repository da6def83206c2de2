from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import Tensor, nn
from torch.nn import functional

from torchgraft.core.errors import DataError, OptionError, UserError
from torchgraft.train.loss import (
    ClassLoss,
    LossOptions,
    balanced_weights,
    bss,
    co_tuning,
    co_tuning_relation,
    cross_entropy,
    effective_weights,
    focal,
    l2_sp,
    log_prior,
)

COUNTS = [60, 30, 10]


@pytest.fixture
def drawn() -> tuple[Tensor, Tensor]:
    """Logits 8 x 3 and 8 classes."""
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(8, 3, generator=generator), torch.randint(3, (8,), generator=generator)


def soft(n: int = 8, n_classes: int = 3) -> Tensor:
    return torch.rand(n, n_classes, generator=torch.Generator().manual_seed(2)).softmax(1)


def by_formula(logits: Tensor, q: Tensor, weight: list[float], smoothing: float, shift: list[float]) -> float:
    """The mean of `ClassLoss`'s docstring, one term at a time."""
    log_p = log_softmax(logits.double().numpy() + np.array(shift), axis=1)
    above = 0.0
    for b in range(len(q)):
        for c in range(q.shape[1]):
            smoothed = (1 - smoothing) * float(q[b, c]) + smoothing / q.shape[1]
            above -= weight[c] * smoothed * log_p[b, c]
    return above / len(q)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("class_weight", ["none", "balanced"])
@pytest.mark.parametrize("tau", [0.0, 1.5])
def test_class_loss_is_its_formula(drawn, smoothing: float, class_weight: str, tau: float) -> None:
    logits, y = drawn
    loss = ClassLoss(LossOptions(smoothing=smoothing, class_weight=class_weight, logit_adjustment=tau), COUNTS)
    weight = [100 / (3 * n) for n in COUNTS] if class_weight == "balanced" else [1.0] * 3
    shift = [tau * math.log(n / 100) for n in COUNTS]
    hot = functional.one_hot(y, 3).float()
    expected = by_formula(logits, hot, weight, smoothing, shift)
    assert loss(logits, y).item() == pytest.approx(expected, rel=1e-5)
    assert loss(logits, hot).item() == pytest.approx(expected, rel=1e-5)
    assert loss(logits, soft()).item() == pytest.approx(by_formula(logits, soft(), weight, smoothing, shift), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_it_agrees_with_torch(drawn, smoothing: float) -> None:
    logits, y = drawn
    weight = balanced_weights(COUNTS)
    for w in (None, weight):
        expected = functional.cross_entropy(logits, y, weight=w, label_smoothing=smoothing, reduction="sum") / len(y)
        torch.testing.assert_close(cross_entropy(logits, y, weight=w, smoothing=smoothing), expected)
        hot = functional.one_hot(y, 3).float()
        torch.testing.assert_close(cross_entropy(logits, hot, weight=w, smoothing=smoothing), expected)


def test_pieces_of_a_batch_cost_what_the_batch_does(drawn) -> None:
    logits, y = drawn
    loss = ClassLoss(LossOptions(smoothing=0.1, class_weight="balanced"), COUNTS)
    pieces = sum(loss(a, b) * len(b) for a, b in ((logits[:3], y[:3]), (logits[3:], y[3:]))) / len(y)
    torch.testing.assert_close(pieces, loss(logits, y))


def test_mixed_targets_mix_the_losses(drawn) -> None:
    logits, y = drawn
    other = y.roll(1)
    q = 0.3 * functional.one_hot(y, 3).float() + 0.7 * functional.one_hot(other, 3)
    expected = 0.3 * cross_entropy(logits, y) + 0.7 * cross_entropy(logits, other)
    torch.testing.assert_close(cross_entropy(logits, q), expected)


def test_equal_logits_cost_log_c() -> None:
    loss = ClassLoss(LossOptions(smoothing=0.1, class_weight="balanced"), [5, 5, 5])
    assert loss(torch.zeros(4, 3), torch.tensor([0, 1, 2, 2])).item() == pytest.approx(math.log(3))


def test_adjusted_logits_that_are_the_prior_cost_its_entropy() -> None:
    """With logits 0 and tau 1 the model says the class frequencies."""
    loss = ClassLoss(LossOptions(logit_adjustment=1.0), COUNTS)
    y = torch.tensor([0] * 6 + [1] * 3 + [2])
    entropy = -sum(p * math.log(p) for p in (0.6, 0.3, 0.1))
    assert loss(torch.zeros(10, 3), y).item() == pytest.approx(entropy, rel=1e-5)


def test_class_loss_holds_nothing_to_save_or_train() -> None:
    loss = ClassLoss(LossOptions(class_weight="balanced", logit_adjustment=1.0), COUNTS)
    assert not loss.state_dict()
    assert not list(loss.parameters())
    assert loss.double().weight.dtype == torch.float64


def test_half_precision_logits_are_summed_in_float32(drawn) -> None:
    logits, y = drawn
    loss = ClassLoss(LossOptions(), COUNTS)(logits.bfloat16(), y)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, functional.cross_entropy(logits.bfloat16().float(), y))


def test_balanced_weights_are_scikit_learn_s() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    y = np.repeat([0, 1, 2], COUNTS)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=y)
    np.testing.assert_allclose(balanced_weights(COUNTS).numpy(), expected, rtol=1e-6)


def test_a_class_without_a_sample_counts_as_one() -> None:
    assert torch.isfinite(balanced_weights([4, 0])).all()
    assert torch.isfinite(log_prior(np.array([4, 0]))).all()
    loss = ClassLoss(LossOptions(smoothing=0.1, class_weight="balanced", logit_adjustment=1.0), [4, 0])
    assert torch.isfinite(loss(torch.randn(3, 2), torch.zeros(3, dtype=torch.int64)))


def test_effective_weights_by_hand_and_at_their_ends() -> None:
    raw = [(1 - 0.9) / (1 - 0.9**n) for n in (1, 2)]  # 1 and 0.1 / 0.19
    expected = [2 * w / sum(raw) for w in raw]
    assert effective_weights([1, 2], beta=0.9).tolist() == pytest.approx(expected)
    assert effective_weights(COUNTS, beta=0.0).tolist() == pytest.approx([1, 1, 1])
    near_one = effective_weights(COUNTS, beta=1 - 1e-9)
    inverse = torch.tensor([1 / n for n in COUNTS])
    torch.testing.assert_close(near_one, 3 * inverse / inverse.sum(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("counts", [[], [0, 0], [3, -1], [[1, 2]], [1, float("nan")]])
def test_wrong_counts(counts) -> None:
    with pytest.raises(DataError, match="class counts"):
        ClassLoss(LossOptions(), counts)


def test_all_wrong_options_stand_in_one_error() -> None:
    with pytest.raises(OptionError) as error:
        LossOptions(smoothing=1.0, class_weight="balance", logit_adjustment=-1)
    assert all(word in str(error.value) for word in ("smoothing", "Did you mean 'balanced'", "logit_adjustment"))


def test_focal_loss_with_gamma_0_is_cross_entropy(drawn) -> None:
    logits, y = drawn
    torch.testing.assert_close(focal(logits, y, gamma=0.0), functional.cross_entropy(logits, y))


def test_focal_loss_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])  # p = 3/4 and 1/2
    y = torch.tensor([0, 1])
    expected = (0.25**2 * -math.log(0.75) + 0.5**2 * -math.log(0.5)) / 2
    assert focal(logits, y).item() == pytest.approx(expected, rel=1e-5)
    weighted = (0.25 * 0.25**2 * -math.log(0.75) + 0.75 * 0.5**2 * -math.log(0.5)) / 2
    assert focal(logits, y, alpha=torch.tensor([0.25, 0.75])).item() == pytest.approx(weighted, rel=1e-5)


def test_focal_loss_agrees_with_torchvision(drawn) -> None:
    from torchgraft.backbones import torchvision

    torchvision.library()
    ops = pytest.importorskip("torchvision.ops")
    x = drawn[0][:, 0]
    y = (drawn[1] > 0).long()
    theirs = ops.sigmoid_focal_loss(x, y.float(), alpha=0.25, gamma=2.0, reduction="mean")
    ours = focal(torch.stack([torch.zeros_like(x), x], 1), y, alpha=torch.tensor([0.75, 0.25]))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_has_finite_gradients_for_sure_samples(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    focal(logits, torch.tensor([0, 0]), gamma=gamma).backward()
    assert torch.isfinite(logits.grad).all()


def test_l2_sp_by_hand_and_its_gradient() -> None:
    backbone, head = nn.Linear(2, 1), nn.Linear(1, 1, bias=False)
    start = {name: p.detach().clone() for name, p in backbone.named_parameters()}
    with torch.no_grad():
        backbone.weight.add_(torch.tensor([[3.0, 4.0]]))
        head.weight.fill_(2.0)
    loss = l2_sp(backbone, start, alpha=0.1, beta=0.01, head=head)
    assert loss.item() == pytest.approx(0.1 / 2 * 25 + 0.01 / 2 * 4, rel=1e-5)
    loss.backward()
    torch.testing.assert_close(backbone.weight.grad, 0.1 * torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(head.weight.grad, torch.tensor([[0.02]]))


def test_l2_sp_is_zero_at_the_start_and_leaves_frozen_parameters_out() -> None:
    backbone = nn.Linear(2, 2)
    start = {name: p.detach().clone() for name, p in backbone.named_parameters()}
    assert l2_sp(backbone, start, 1.0, 1.0).item() == 0
    with torch.no_grad():
        backbone.bias.add_(1.0)
    backbone.bias.requires_grad_(False)
    assert l2_sp(backbone, start, 1.0, 1.0).item() == 0
    assert l2_sp(backbone.requires_grad_(False), {}, 1.0, 1.0).item() == 0


def test_l2_sp_says_what_does_not_fit() -> None:
    backbone = nn.Linear(2, 2)
    with pytest.raises(UserError, match=r"weight expects shape .*; bias is missing"):
        l2_sp(backbone, {"weight": torch.zeros(1)}, 1.0, 1.0)
    with pytest.raises(UserError, match="not a copy"):
        l2_sp(backbone, backbone.state_dict(), 1.0, 1.0)


def test_bss_by_hand() -> None:
    z = torch.diag(torch.tensor([3.0, 1.0, 2.0]))
    assert [round(bss(z, k).item(), 4) for k in (1, 2, 3, 9)] == [1, 5, 14, 14]


@pytest.mark.parametrize("shape", [(5, 12), (12, 5)])
def test_bss_agrees_with_scipy(shape: tuple[int, int]) -> None:
    from scipy.linalg import svdvals

    z = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    expected = np.sort(svdvals(z.double().numpy()))[:2]
    assert bss(z, 2).item() == pytest.approx(float((expected**2).sum()), rel=1e-4)
    assert bss(z, 5).item() == pytest.approx(z.square().sum().item(), rel=1e-5)  # all of them: the Frobenius norm


@pytest.mark.parametrize("z", [torch.eye(4), torch.ones(4, 6), torch.zeros(3, 5)])
def test_bss_has_finite_gradients_for_equal_singular_values(z: Tensor) -> None:
    z = z.clone().requires_grad_()
    bss(z, 2).backward()
    assert torch.isfinite(z.grad).all()


def test_bss_s_gradient_is_that_of_small_differences() -> None:
    z = torch.randn(3, 4, dtype=torch.float32, generator=torch.Generator().manual_seed(1)).requires_grad_()
    bss(z).backward()
    step = torch.zeros(3, 4)
    step[1, 2] = 1e-2
    slope = (bss(z.detach() + step) - bss(z.detach() - step)) / 2e-2
    assert z.grad[1, 2].item() == pytest.approx(slope.item(), rel=1e-2)


def test_bss_of_exploded_features_is_nan_and_of_half_ones_works() -> None:
    assert torch.isnan(bss(torch.tensor([[1.0, float("inf")]])))
    assert bss(torch.eye(2).bfloat16()).item() == pytest.approx(1)
    with pytest.raises(OptionError, match="k expects"):
        bss(torch.eye(2), 0)


def test_the_relation_by_hand() -> None:
    p = torch.tensor([[0.8, 0.2], [0.4, 0.6], [0.1, 0.9]])
    relation = co_tuning_relation(p, torch.tensor([0, 0, 1]), 3)
    expected = torch.tensor([[0.6, 0.4], [0.1, 0.9], [1.3 / 3, 1.7 / 3]])  # no sample of the last class: the mean
    torch.testing.assert_close(relation, expected)
    torch.testing.assert_close(relation.sum(1), torch.ones(3))


def test_the_relation_s_temperature_is_that_of_the_logits() -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 1, 0, 1, 1, 0])
    tempered = co_tuning_relation(logits.softmax(1), y, 2, temperature=2.5)
    torch.testing.assert_close(tempered, co_tuning_relation((logits / 2.5).softmax(1), y, 2))


def test_the_relation_takes_arrays() -> None:
    assert co_tuning_relation(np.array([[0.5, 0.5]]), np.array([0]), 1).shape == (1, 2)


def test_co_tuning_by_formula_and_least_at_the_relation() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, y = torch.randn(4, 3, generator=generator), torch.tensor([0, 1, 1, 0])
    relation = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    log_p = log_softmax(logits.double().numpy(), axis=1)
    expected = -np.mean([(relation[c].numpy() * log_p[b]).sum() for b, c in enumerate(y.tolist())])
    assert co_tuning(logits, y, relation).item() == pytest.approx(expected, rel=1e-5)
    at_best = co_tuning(relation[y].log(), y, relation)
    entropy = -(relation[y] * relation[y].log()).sum(1).mean()
    torch.testing.assert_close(at_best, entropy)
    assert at_best < co_tuning(logits, y, relation)


def test_co_tuning_of_soft_targets_mixes() -> None:
    logits, relation = torch.randn(2, 3), torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    y = torch.tensor([0, 1])
    hot = functional.one_hot(y, 2).float()
    torch.testing.assert_close(co_tuning(logits, hot, relation), co_tuning(logits, y, relation))


@pytest.mark.parametrize(
    ("p", "y", "C", "error"),
    [
        (torch.ones(2, 2) / 2, torch.tensor([0]), 1, DataError),
        (torch.ones(2, 2) / 2, torch.tensor([0, 3]), 2, DataError),
        (torch.ones(0, 2), torch.ones(0), 2, DataError),
    ],
)
def test_wrong_relations(p: Tensor, y: Tensor, C: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="expected"):
        co_tuning_relation(p, y, C)
    with pytest.raises(OptionError, match="temperature"):
        co_tuning_relation(torch.ones(1, 1), torch.zeros(1), 1, temperature=0)
