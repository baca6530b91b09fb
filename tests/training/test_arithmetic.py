"""Faster arithmetic: the same function, true float32, and only where it is safe."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW, NAdam, Optimizer, RMSprop
from torch.utils._python_dispatch import TorchDispatchMode

from ganbench.contract.types import DataSpec
from ganbench.runs.registry import discover
from ganbench.training import arithmetic
from ganbench.training.arithmetic import (
    choose_products,
    copy_all,
    fuse,
    load,
    placed,
    put_setting,
    state_of,
    want_channels_last,
)
from ganbench.training.networks import build_variant

CPU = torch.device("cpu")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))


class Own(Adam):
    """A stranger's optimizer."""


@pytest.mark.parametrize("kind", [Adam, AdamW])
def test_a_fused_optimizer_goes_the_same_way(kind: type[Optimizer]) -> None:
    ways = []
    for fused in (False, True):
        torch.manual_seed(0)
        D = nn.Linear(6, 4)
        optimizer = kind(D.parameters(), lr=1e-2)  # type: ignore[call-arg]
        if fused:
            fuse({"D": optimizer}, CPU)
            assert all(group["fused"] for group in optimizer.param_groups)
        for _ in range(20):
            optimizer.zero_grad()
            D(torch.eye(6)).sub(torch.arange(4.0) + 2).square().mean().backward()  # no gradient comes near zero
            optimizer.step()
        ways.append([p.detach() for p in D.parameters()])
    for plain, fast in zip(*ways, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-6)


def test_only_what_is_known_is_fused() -> None:
    D = network()
    double = nn.Linear(2, 2).double()
    others: dict[str, Optimizer] = {
        "own": Own(D.parameters()),
        "sgd": SGD(D.parameters(), 0.1),
        "rmsprop": RMSprop(D.parameters()),
        "foreach": Adam(D.parameters(), foreach=True),
        "differentiable": Adam(D.parameters(), differentiable=True),
        "double": Adam(double.parameters()),
    }
    fuse(others, CPU)
    assert not any(group.get("fused") for optimizer in others.values() for group in optimizer.param_groups)
    mine = {"D": Adam(D.parameters())}
    fuse(mine, torch.device("mps"))
    assert not mine["D"].param_groups[0]["fused"]


def test_on_cuda_more_is_fused_and_all_of_pytorchs_own_can_be_captured() -> None:
    D, cuda = network(), torch.device("cuda")
    plain: dict[str, Optimizer] = {
        kind.__name__: kind(D.parameters(), 0.1) for kind in (Adam, AdamW, SGD, Adagrad, RMSprop, NAdam)
    }
    strange: dict[str, Optimizer] = {
        "own": Own(D.parameters()),
        "differentiable": Adam(D.parameters(), differentiable=True),
        "foreach": SGD(D.parameters(), 0.1, foreach=True),
        "double": SGD(nn.Linear(2, 2).double().parameters(), 0.1),
    }
    fuse(plain | strange, cuda)
    groups = {name: optimizer.param_groups[0] for name, optimizer in (plain | strange).items()}
    assert {name for name, group in groups.items() if group.get("fused")} == {"Adam", "AdamW", "SGD", "Adagrad"}
    assert {name for name, group in groups.items() if group.get("capturable")} == {"Adam", "AdamW", "RMSprop", "NAdam"}
    fuse(plain, CPU)
    assert not any(group.get("capturable") for optimizer in plain.values() for group in optimizer.param_groups)


def test_a_rate_lies_on_the_device_where_the_optimizer_reads_it_there() -> None:
    weight = nn.Parameter(torch.zeros(3))
    adam, sgd = Adam([weight], 1e-3, fused=True), SGD([weight], 1e-3)
    for optimizer, lies in ((adam, True), (sgd, False)):
        (group,) = optimizer.param_groups
        put_setting(optimizer, group, "lr", 0.25, None)
        assert group["lr"] == 0.25 and isinstance(group["lr"], float)
        put_setting(optimizer, group, "lr", 0.5, CPU)
        assert isinstance(group["lr"], Tensor) is lies and float(group["lr"]) == 0.5
    (group,) = adam.param_groups
    there, source = group["lr"], torch.tensor(0.125)
    put_setting(adam, group, "lr", source, CPU)  # of a variant that keeps it itself, on the device
    source.fill_(7)
    assert group["lr"] is there and float(there) == 0.125
    put_setting(adam, group, "lr", 0.125, torch.device("cpu", 0))  # which is no equal of "cpu"
    assert group["lr"] is there
    put_setting(adam, group, "betas", (0.5, 0.75), CPU)
    assert group["betas"] == (0.5, 0.75)
    assert state_of(adam)["param_groups"][0]["lr"] == 0.125 and group["lr"] is there


def test_a_state_of_another_device_goes_on_as_this_one_works() -> None:
    """What was saved where optimizers are captured is read where they cannot be, and the other way round."""
    D = network()
    there, here = RMSprop(D.parameters()), RMSprop(D.parameters())
    fuse({"D": here}, CPU)
    D(torch.zeros(1, 1, 8, 8)).sum().backward()
    there.step()
    fuse({"D": there}, torch.device("cuda"))
    load(here, state_of(there))
    assert not here.param_groups[0]["capturable"]
    here.step()
    load(there, state_of(here))
    assert there.param_groups[0]["capturable"]


def test_a_state_goes_on_in_a_fused_optimizer() -> None:
    D, other = network(), network()
    first, second = Adam(D.parameters()), Adam(other.parameters())
    for optimizer in (first, second):
        fuse({"D": optimizer}, CPU)

    def step(D: nn.Module, optimizer: Adam, number: int) -> None:
        torch.manual_seed(number)
        optimizer.zero_grad()
        D(torch.randn(5, 1, 8, 8)).square().mean().backward()
        optimizer.step()

    for number in range(3):
        step(D, first, number)
    other.load_state_dict(D.state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for number in range(3, 6):
        step(D, first, number)
        step(other, second, number)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(D.parameters(), other.parameters(), strict=True))


@pytest.fixture
def precision() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("precision")
@pytest.mark.parametrize("vendor", ["AuthenticAMD", "GenuineIntel", "HygonGenuine", ""])
def test_products_stay_those_of_float32_on_every_processor(vendor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "_vendor", lambda: vendor)
    choose_products()
    a, b = torch.randn(200, 300), torch.randn(300, 100)
    exact = a.double() @ b.double()
    assert ((a @ b).double() - exact).norm() / exact.norm() < 1e-6
    if vendor in ("", "GenuineIntel"):
        assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.usefixtures("precision")
def test_where_it_would_be_less_than_float32_it_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "_is_true_float32", lambda *sides: sides != (1000, 60, 40))
    choose_products("AuthenticAMD")
    assert torch.get_float32_matmul_precision() == "highest"


def test_operands_of_less_precision_are_seen() -> None:
    def product(a: Tensor, b: Tensor) -> Tensor:
        return (a.bfloat16().float() @ b.bfloat16().float()).double()

    a, b = torch.randn(64, 256), torch.randn(256, 64)
    exact = a.double() @ b.double()
    assert (product(a, b) - exact).norm() / exact.norm() > 100 * arithmetic.TRUE_FLOAT32


def test_choosing_draws_no_random_numbers() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    arithmetic._is_true_float32(64, 256, 64)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_that_lies_otherwise_gives_what_lies_as_ever() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 3, 3, padding=1))
    fast = want_channels_last(copy.deepcopy(plain))
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in fast.parameters() if p.dim() == 4)
    x = torch.randn(4, 3, 8, 8)
    assert fast(x).is_contiguous() and fast(x).view(4, -1).shape == (4, 192)
    torch.testing.assert_close(fast(x), plain(x), rtol=1e-4, atol=1e-5)
    again = copy.deepcopy(fast)
    again.load_state_dict(plain.state_dict())
    assert again(x).is_contiguous()
    assert not next(again.parameters()).is_contiguous()


def test_only_a_backbone_that_asks_for_it_is_laid_out_so() -> None:
    registry = discover()
    cls = registry.get("variant", "gan").item
    for name, last in (("dcgan", True), ("mlp", False)):
        variant = build_variant(cls, registry.get("backbone", name).item, DataSpec((1, 8, 8)), seed=0)
        assert any(getattr(module, arithmetic.CHANNELS_LAST, False) for module in variant.modules()) == last


def test_elsewhere_than_on_a_processor_it_lies_as_ever() -> None:
    D = want_channels_last(nn.Sequential(nn.Conv2d(3, 16, 3)))
    there = placed(nn.Sequential(D), torch.device("meta"))
    assert all(p.is_contiguous() for p in there.parameters())


def buffers(seed: int) -> list[Tensor]:
    torch.manual_seed(seed)
    odd = torch.tensor([float("nan"), -0.0, float("inf"), 1e-45])
    return [
        torch.randn(4), torch.tensor(seed), torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last), odd * seed,
        torch.rand(3) > 0.5, torch.randn(2, dtype=torch.float64), torch.randn(3).bfloat16(), torch.randn(0),
        torch.randint(0, 256, (5,), dtype=torch.uint8), torch.randn(6, 4).t(), torch.randn(2, dtype=torch.complex64),
    ]  # fmt: skip


def bits(tensor: Tensor) -> list[int]:
    flat = tensor.contiguous().reshape(-1)
    return [] if not flat.numel() else list(flat.view(torch.uint8).tolist())


class Calls(TorchDispatchMode):
    """Count the calls of operations."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names = list[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func._overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_tensors_are_copied_as_one_by_one_in_a_call_for_each_type() -> None:
    sources, targets, others = buffers(1), buffers(2), buffers(2)
    with Calls() as calls:
        copy_all(iter(sources), iter(targets))
    for source, other in zip(sources, others, strict=True):
        other.copy_(source)
    assert [bits(tensor) for tensor in targets] == [bits(tensor) for tensor in others]
    assert [t.stride() for t in targets] == [t.stride() for t in others]
    assert calls.names == ["_foreach_copy_"] * len({tensor.dtype for tensor in sources})
    copy_all([], [])
    with pytest.raises(ValueError, match="argument 2 is"):
        copy_all(sources, targets[1:])


def test_what_is_copied_in_another_type_or_shape_is_what_copying_makes_of_it() -> None:
    one, wide = torch.arange(3), torch.zeros(2, 3, dtype=torch.float64)
    copy_all([one, torch.tensor(2.5)], [wide, whole := torch.zeros((), dtype=torch.int64)])
    assert wide.tolist() == [[0, 1, 2]] * 2 and whole == 2
