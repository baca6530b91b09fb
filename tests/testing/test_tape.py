"""A tape repeats what was recorded: other values at the same addresses, new random numbers, old ones of Python."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Adam, RMSprop

from ganbench.testing.tape import on_tape
from ganbench.training.tracing import Uncompilable

A, B = torch.zeros(3, 4), torch.zeros(4, 2)


def recorded(function: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Record a function on zeros and return its replay and the place of its result."""
    found = list[Tensor]()
    A.zero_(), B.zero_()
    play = on_tape(lambda: found.append(function()))
    return play, found[0]


@pytest.mark.parametrize(
    "function",
    [
        lambda: A @ B,
        lambda: (A.t()[1:] * 2).relu().sum(0),
        lambda: A.clone().add_(1).mul_(A).view(-1)[::2],
        lambda: A.split(2, 1)[1].exp() + torch.full((), 2.0),
        lambda: torch.cat([A, B.t().repeat(2, 1)[:3]]).max(1).values,
        lambda: A.double().std(dim=0, unbiased=False).float(),
        lambda: torch.where(A > 0.5, A, B[0, 0]),
        lambda: A[torch.tensor([2, 0])].index_add(0, torch.tensor([1]), A[:1]),
        lambda: torch.stack(torch._foreach_norm([A, B])),
        lambda: nn.functional.one_hot((A[:, 0] > 0.5).long(), 3),
        lambda: nn.functional.batch_norm(A, None, None, training=True),
        lambda: torch.rand(5) + A[0, 0],
        lambda: nn.functional.dropout(A, 0.5),
        lambda: torch.empty(4).normal_() * A[0],
    ],
)
def test_a_replay_is_the_function_called_again(function: Callable[[], Tensor]) -> None:
    play, place = recorded(function)
    for seed in (1, 2):
        torch.manual_seed(seed)
        A.normal_(), B.normal_()
        torch.manual_seed(seed)
        expected = function().clone()
        torch.manual_seed(seed)
        play()
        torch.testing.assert_close(place, expected, rtol=0, atol=0)


def test_numbers_of_python_are_those_of_the_recording() -> None:
    play, place = recorded(lambda: A + random.random())
    before = place.clone()
    play()
    assert torch.equal(place, before)


@pytest.mark.parametrize("make", [Adam, RMSprop])
def test_whole_updates_are_repeated_with_their_autograd(make: type[torch.optim.Optimizer]) -> None:
    def trained(*, replayed: bool) -> list[Tensor]:
        torch.manual_seed(0)
        network, x = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)), torch.zeros(5, 4)
        optimizer = make(network.parameters(), 1e-2)  # type: ignore[call-arg]

        def update() -> None:
            optimizer.zero_grad(set_to_none=True)
            points = x.clone().requires_grad_()
            (slope,) = torch.autograd.grad(network(points).sum(), points, create_graph=True)
            (network(x).square().mean() + slope.square().sum()).backward()
            optimizer.step()

        if make is Adam:
            optimizer.param_groups[0]["fused"] = True
        update()
        play = update
        if replayed:
            states = [p.detach().clone() for p in _all(network, optimizer)]
            play = on_tape(update)
            with torch.no_grad():
                for tensor, state in zip(_all(network, optimizer), states, strict=True):
                    tensor.copy_(state)
        for seed in range(3):
            x.copy_(torch.randn(5, 4, generator=torch.Generator().manual_seed(seed)))
            play()
        return [p.detach().clone() for p in _all(network, optimizer)]

    for one, other in zip(trained(replayed=False), trained(replayed=True), strict=True):
        assert torch.equal(one, other)


def _all(network: nn.Module, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    states = [value for state in optimizer.state.values() for value in state.values()]
    return [*network.parameters(), *states]


def test_reading_is_refused_where_it_is_the_steps_own_but_not_where_pytorch_only_looks() -> None:
    labels = torch.tensor([0, 2])
    on_tape(lambda: nn.functional.one_hot(labels, 3))  # type: ignore[arg-type,return-value]
    with pytest.raises(Uncompilable, match="reads values"):
        on_tape(lambda: labels.sum().item())  # type: ignore[arg-type,return-value]
    with pytest.raises(Uncompilable, match="reads values"):
        on_tape(lambda: nn.functional.one_hot(labels, 3).sum().item())  # type: ignore[arg-type,return-value]
