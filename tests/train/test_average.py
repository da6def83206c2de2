from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from torchgraft.core.errors import OptionError, UserError
from torchgraft.train.average import Ema, interpolate


def made(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    net.train()(torch.randn(5, 2))
    return net


def state(net: nn.Module) -> dict[str, Tensor]:
    return {name: z.clone() for name, z in net.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def one_weight(value: float) -> nn.Module:
    net = nn.Linear(1, 1, bias=False).requires_grad_(False)
    net.weight.fill_(value)
    return net


def test_the_average_by_hand() -> None:
    net = one_weight(1.0)
    ema = Ema(net, 0.5)
    average, expected = lambda: ema.state()["average.weight"].item(), 1.0
    for t, theta in enumerate([3.0, 5.0, 2.0, -4.0, 8.0, 1.0, 0.0, 6.0, 7.0, 2.0, 3.0]):
        net.weight.fill_(theta)
        ema.update(net)
        m = min(0.5, (1 + t) / (10 + t))  # 0.1, 2/11, 3/12, ... reaches 0.5 at t = 8
        expected = m * expected + (1 - m) * theta
        assert average() == pytest.approx(expected, rel=1e-6)
    assert ema.updates == 11


def test_decay_zero_is_the_module_itself() -> None:
    net = made()
    ema = Ema(net, 0.0)
    with torch.no_grad():
        net[0].weight.add_(1.0)
    ema.update(net)
    copied = made(1)
    ema.copy_to(copied)
    assert equal(state(copied), state(net))


def test_it_agrees_with_torch_s_averaged_model() -> None:
    net = made()
    theirs = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.05), use_buffers=True
    )
    theirs.update_parameters(net)  # the first update copies
    ema = Ema(net, 0.05)  # below the warmup's 0.1: the same decay from the first update on
    for seed in range(4):
        net.load_state_dict(made(seed + 1).state_dict())
        ema.update(net)
        theirs.update_parameters(net)
    ema.copy_to(net)
    for (_, ours), (_, other) in zip(net.named_parameters(), theirs.module.named_parameters(), strict=True):
        torch.testing.assert_close(ours, other)


def test_counters_are_copied_and_constants_stay_to_the_bit() -> None:
    net = made()
    ema = Ema(net, 0.999)
    before = state(net)
    for _ in range(30):
        net[1].num_batches_tracked.add_(3)
        ema.update(net)
    ema.copy_to(net)
    assert int(net[1].num_batches_tracked) == int(before["1.num_batches_tracked"]) + 90
    assert torch.equal(net[0].weight, before["0.weight"])
    assert net[1].num_batches_tracked.dtype == torch.int64


def test_applied_gives_the_average_and_then_the_own_weights_back() -> None:
    net = made()
    ema = Ema(net, 0.9)
    start = state(net)
    net.load_state_dict(made(1).state_dict())
    own = state(net)
    for _ in range(2):
        with ema.applied(net) as inside:
            assert inside is net
            assert equal(state(net), start)
        assert equal(state(net), own)


def test_applied_gives_the_own_weights_back_after_an_error() -> None:
    net = made()
    ema = Ema(net, 0.9)
    net.load_state_dict(made(1).state_dict())
    own = state(net)
    with pytest.raises(ZeroDivisionError), ema.applied(net):
        raise ZeroDivisionError
    assert equal(state(net), own)
    ema.update(net)


def test_no_update_while_applied() -> None:
    net = made()
    ema = Ema(net, 0.9)
    with ema.applied(net), pytest.raises(RuntimeError, match="leave `applied`"):
        ema.update(net)


def test_memory_is_allocated_once() -> None:
    net = made()
    ema = Ema(net, 0.9)
    places = {name: z.data_ptr() for name, z in ema.state().items() if name != "updates"}
    theirs = {name: z.data_ptr() for name, z in net.state_dict().items()}
    ema.update(net)
    with ema.applied(net):
        pass
    ema.copy_to(net)
    ema.load_state({name: z.clone() for name, z in ema.state().items()})
    assert {name: z.data_ptr() for name, z in ema.state().items() if name != "updates"} == places
    assert {name: z.data_ptr() for name, z in net.state_dict().items()} == theirs


def test_a_resumed_average_goes_on_to_the_bit(tmp_path) -> None:
    net = made()
    whole = Ema(net, 0.99)
    for seed in range(3):
        net.load_state_dict(made(seed).state_dict())
        whole.update(net)
    save_file(whole.state(), tmp_path / "ema.safetensors")
    resumed = Ema(made(7), 0.99)
    resumed.load_state(load_file(tmp_path / "ema.safetensors"))
    for seed in range(3, 6):
        net.load_state_dict(made(seed).state_dict())
        whole.update(net)
        resumed.update(net)
    assert equal(whole.state(), resumed.state())


def test_states_of_another_network_are_errors() -> None:
    ema = Ema(made(), 0.9)
    with pytest.raises(UserError, match=r"the module lacks .*1\.weight"):
        ema.update(nn.Sequential(nn.Linear(2, 3)))
    with pytest.raises(UserError, match="shape"):
        ema.load_state(Ema(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), 0.9).state())


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_decay_out_of_range(decay: float) -> None:
    with pytest.raises(OptionError, match="decay"):
        Ema(made(), decay)


def test_the_ends_of_the_line_are_the_states_to_the_bit() -> None:
    before, after = state(made(0)), state(made(1))
    after["1.num_batches_tracked"] += 5
    assert equal(interpolate(before, after, 0.0), before)
    assert equal(interpolate(before, after, 1.0), after)
    after["0.bias"][0] = float("nan")
    assert equal(interpolate(before, after, 0.0), before)


def test_interpolation_by_hand() -> None:
    before = {"w": torch.tensor([0.0, 4.0]), "n": torch.tensor(3)}
    after = {"w": torch.tensor([8.0, 0.0]), "n": torch.tensor(9)}
    mixed = interpolate(before, after, 0.25)
    assert mixed["w"].tolist() == [2.0, 3.0]
    assert int(mixed["n"]) == 3
    assert int(interpolate(before, after, 0.75)["n"]) == 9


def test_a_line_between_equal_ends_stays() -> None:
    net = made()
    assert equal(interpolate(state(net), copy.deepcopy(net).state_dict(), 0.3), state(net))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_interpolation_gives_new_tensors_without_gradients(alpha: float) -> None:
    before, after = dict(made(0).named_parameters()), dict(made(1).named_parameters())
    mixed = interpolate(before, after, alpha)
    taken = {z.data_ptr() for z in (*before.values(), *after.values())}
    assert not any(z.requires_grad or z.data_ptr() in taken for z in mixed.values())


def test_wrong_ends_are_errors() -> None:
    with pytest.raises(OptionError, match="alpha"):
        interpolate({}, {}, 1.2)
    with pytest.raises(UserError, match="after lacks b; before lacks c"):
        interpolate({"a": torch.ones(1), "b": torch.ones(1)}, {"a": torch.ones(1), "c": torch.ones(1)}, 0.5)
