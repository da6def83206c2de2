from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from torchgraft.backbones import torchvision
from torchgraft.core.errors import DataError, OptionError, UserError
from torchgraft.train import norm
from torchgraft.train.norm import choose_norm, norm_policy, reestimate, set_norm

torchvision.library()  # declares what timm needs where torchvision was built for another torch
norm_act = pytest.importorskip("timm.layers.norm_act")


class Net(nn.Module):
    """Every kind of BatchNorm that a CPU runs in one small network: B x 3 x 4 x 4 -> B x 5."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(5)
        self.act = norm_act.BatchNormAct2d(5)
        self.bn3 = nn.BatchNorm3d(5)
        self.bn1 = nn.BatchNorm1d(5)

    def forward(self, x: Tensor) -> Tensor:
        z = self.act(self.bn2(self.conv(x)))
        return self.bn1(self.bn3(z[..., None]).mean((2, 3, 4)))


N_LAYERS = 4


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    made = Net()
    for layer in (made.bn2, made.act, made.bn3, made.bn1):
        nn.init.normal_(layer.weight, 1, 0.2)
        nn.init.normal_(layer.bias)
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
    return made


def batch(n: int = 6, seed: int = 1) -> Tensor:
    return 3 * torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) + 1


def train_five(module: nn.Module) -> None:
    """Five steps with rate 0 (and weight decay), in training mode."""
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.0, weight_decay=0.1)
    for seed in range(5):
        optimizer.zero_grad()
        module(batch(seed=seed)).square().mean().backward()
        optimizer.step()


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: z.clone() for name, z in module.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def copied(net: nn.Module) -> nn.Module:
    return copy.deepcopy(net)


def trained_again(net: nn.Module) -> nn.Module:
    return net.eval().train().train(True)


def woken(net: nn.Module) -> nn.Module:
    return net.requires_grad_(True).train()


def forced(net: nn.Module) -> nn.Module:
    for part in net.modules():
        part.training = True
    return net


def moved(net: nn.Module) -> nn.Module:
    return net.to(torch.float64).to(torch.float32, memory_format=torch.channels_last)


@pytest.mark.parametrize("change", [lambda net: net, copied, trained_again, woken, forced, moved])
def test_frozen_statistics_and_features_stand_still(net: Net, change: Callable[[nn.Module], nn.Module]) -> None:
    """Trap: `requires_grad=False` leaves running statistics moving, and `.eval()` is undone by `.train()`."""
    assert set_norm(net, "frozen") == N_LAYERS
    net = change(net)
    before = snapshot(net)
    train_five(net)
    assert equal(before, snapshot(net))
    x = batch(8)
    alone = torch.cat([net(x[i : i + 1]) for i in range(8)])
    torch.testing.assert_close(net(x), alone)
    assert all(p.grad is None for name, p in net.named_parameters() if not name.startswith("conv"))
    assert {name for name, _ in net.named_parameters()} == {"conv.weight", "conv.bias"}


def test_frozen_survives_saving_and_loading(net: Net, tmp_path) -> None:
    expected = net.eval()(batch())
    set_norm(net, "frozen")
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    fresh = Net()
    set_norm(fresh, "frozen")
    fresh.load_state_dict(load_file(tmp_path / "net.safetensors"))
    before = snapshot(fresh)
    train_five(fresh)
    assert equal(before, snapshot(fresh))
    torch.testing.assert_close(fresh(batch()), expected)
    plain = Net()
    plain.load_state_dict(load_file(tmp_path / "net.safetensors"))
    assert torch.equal(plain.eval()(batch()), expected)


def test_frozen_equals_eval_mode_to_the_bit(net: Net) -> None:
    expected = copy.deepcopy(net).eval()(batch())
    set_norm(net, "frozen")
    assert torch.equal(net.train()(batch()), expected)


def test_ordinary_batchnorm_falls_into_the_trap(net: Net) -> None:
    """What the policy is for: freezing by `requires_grad` and `.eval()` alone moves the statistics."""
    net.requires_grad_(False).eval()
    before = snapshot(net)
    net.train()(batch())
    assert not torch.equal(before["bn2.running_mean"], net.bn2.running_mean)


def test_affine_trains_gamma_and_beta_with_fixed_statistics(net: Net) -> None:
    net.requires_grad_(False)
    set_norm(net, "affine")
    trained = {name for name, p in net.named_parameters() if p.requires_grad}
    assert trained == {f"{bn}.{part}" for bn in ("bn2", "act", "bn3", "bn1") for part in ("weight", "bias")}
    before = snapshot(net)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    net.train()(batch()).square().mean().backward()
    optimizer.step()
    after = snapshot(net)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == trained
    torch.testing.assert_close(net(batch())[:1], net(batch()[:1]))


def test_adapt_moves_statistics_alone(net: Net) -> None:
    set_norm(net, "adapt")
    before = snapshot(net)
    train_five(net)
    after = snapshot(net)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if "running" in name or "tracked" in name}


@pytest.mark.parametrize("policy", norm.POLICIES)
def test_policies_can_be_undone(net: Net, policy: str) -> None:
    kinds = [type(part) for part in net.modules()]
    state, identity = snapshot(net), [id(part) for part in net.modules()]
    expected = copy.deepcopy(net).train()(batch())
    for name in (policy, policy, "frozen", policy):
        assert set_norm(net, name) == N_LAYERS
        assert norm_policy(net) == name
        assert list(net.state_dict()) == list(state)
    set_norm(net, "train")
    assert norm_policy(net) == "train"
    assert [type(part) for part in net.modules()] == kinds
    assert [id(part) for part in net.modules()] == identity
    assert equal(state, snapshot(net))
    assert len(list(net.parameters())) == 2 + 2 * N_LAYERS
    assert all(p.requires_grad for p in net.parameters())
    assert torch.equal(net.train()(batch()), expected)


def test_the_root_and_sync_batchnorm_are_layers_too() -> None:
    assert set_norm(nn.BatchNorm1d(3), "frozen") == 1
    layer = nn.SyncBatchNorm(3)
    set_norm(layer, "frozen")
    assert isinstance(layer, nn.SyncBatchNorm)
    assert not layer.train().training
    assert layer(torch.randn(2, 3)).shape == (2, 3)


def test_layers_without_gamma_keep_none() -> None:
    layer = nn.BatchNorm1d(3, affine=False)
    for policy in ("frozen", "train"):
        set_norm(layer, policy)
        assert layer.weight is None
        assert list(layer.state_dict()) == ["running_mean", "running_var", "num_batches_tracked"]


def test_other_norms_are_left_alone() -> None:
    net = nn.Sequential(nn.LayerNorm(3), nn.GroupNorm(1, 3), nn.InstanceNorm1d(3))
    kinds = [type(part) for part in net]
    assert set_norm(net, "frozen") == 0
    assert [type(part) for part in net] == kinds
    assert norm_policy(net) == "none"


def test_none_does_nothing(net: Net) -> None:
    assert set_norm(net, "none") == N_LAYERS
    assert norm_policy(net) == "train"


def test_mixed_policies_are_said(net: Net) -> None:
    set_norm(net.act, "frozen")
    assert norm_policy(net) == "mixed"


def test_the_policy_is_chosen_by_batch_and_freezing(net: Net) -> None:
    assert choose_norm(net, batch=64, backbone_frozen=True)[0] == "frozen"
    policy, why = choose_norm(net, batch=15, backbone_frozen=False)
    assert policy == "frozen"
    assert "15 is under 16" in why
    assert choose_norm(net, batch=16, backbone_frozen=False)[0] == "train"
    assert choose_norm(nn.Linear(1, 1), batch=2, backbone_frozen=True)[0] == "none"


def test_reestimated_statistics_are_those_of_all_samples() -> None:
    layer = nn.BatchNorm1d(2, momentum=0.3)
    x = torch.tensor([[0.0, 1.0], [2.0, 5.0], [4.0, 3.0], [6.0, 7.0], [8.0, -1.0], [10.0, 9.0]])
    assert reestimate(layer, [x[:4], x[4:]]) == 1
    torch.testing.assert_close(layer.running_mean, x.mean(0))
    var = (4 * x[:4].var(0) + 2 * x[4:].var(0)) / 6
    torch.testing.assert_close(layer.running_var, var)
    assert layer.momentum == 0.3
    assert int(layer.num_batches_tracked) == 2


def test_reestimating_agrees_with_torch_s_update_bn(net: Net) -> None:
    theirs = copy.deepcopy(net)
    batches = [batch(6, seed) for seed in range(3)]
    torch.optim.swa_utils.update_bn(batches, theirs)
    net.eval()
    assert reestimate(net, batches) == N_LAYERS
    assert not any(part.training for part in net.modules())
    for name, z in theirs.state_dict().items():
        torch.testing.assert_close(net.state_dict()[name], z)


def test_reestimating_takes_tuples_and_turns_dropout_off() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(2)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return self.norm(self.drop(x) * mask)

    net = Two().train()
    x = torch.randn(8, 2)
    reestimate(net, ((x, torch.ones(8, 1)) for _ in range(1)))
    torch.testing.assert_close(net.norm.running_mean, x.mean(0))
    assert net.drop.training


def test_reestimating_leaves_frozen_layers(net: Net) -> None:
    set_norm(net, "frozen")
    before = snapshot(net)
    assert reestimate(net, [batch()]) == 0
    set_norm(net, "adapt")
    assert reestimate(net, [batch()]) == N_LAYERS
    set_norm(net, "frozen")
    assert not torch.equal(before["bn2.running_mean"], net.bn2.running_mean)
    assert torch.equal(before["bn2.weight"], net.bn2.weight)


def test_reestimating_without_batches_is_an_error_that_changes_nothing(net: Net) -> None:
    before = snapshot(net)
    with pytest.raises(DataError, match="at least one batch"):
        reestimate(net, [])
    assert equal(before, snapshot(net))


def test_an_unknown_policy_gets_a_near_miss(net: Net) -> None:
    with pytest.raises(OptionError, match=r"Did you mean 'frozen'"):
        set_norm(net, "freeze")


def test_layers_without_statistics_cannot_be_frozen() -> None:
    net = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False))
    with pytest.raises(UserError, match="keep none"):
        set_norm(net, "frozen")
    assert set_norm(net, "adapt") == 1
