"""Compiled steps: they compute what the variant's own do, and what is more than a fixed computation is refused."""

import copy
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.mlp import MLP, Config as Layers
from ganbench_plugins.backbones.pacgan import Config as Maxouts, PacGAN
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from ganbench import Batch, Clock, ImageSet, Update, UserError, Variant, discriminator_loss, nonsaturating_loss
from ganbench.contract.backbone import Backbone
from ganbench.contract.types import DataSpec
from ganbench.runs.options import resolve
from ganbench.runs.registry import discover, load_file
from ganbench.training import compiled
from ganbench.training.budget import Budget
from ganbench.training.compiled import require_compilable
from ganbench.training.guard import Unfair
from ganbench.training.networks import build_variant
from ganbench.training.rewriting import largest, put
from ganbench.training.tracing import Uncompilable
from ganbench.training.trainer import Trainer

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"
CPU = torch.device("cpu")
POINTS = ImageSet(torch.randn(200, 2, generator=torch.Generator().manual_seed(3)))
SMALL, MAXOUT = MLP(), PacGAN()
SMALL.config = Layers(width=16, depth=2, z_dim=4)
MAXOUT.config = Maxouts(width=16, depth=2, units=8)
Plain: type[Variant] = load_file(PLUGIN).Plain


def make(
    cls: type[Variant],
    *,
    backbone: Backbone = SMALL,
    on: bool = True,
    steps: int = 20,
    settings: Mapping[str, str] | None = None,
    **more: Any,
) -> Trainer:
    config = resolve(cls, cls.name, dict(settings or {}))
    variant = build_variant(cls, backbone, DataSpec((2,)), seed=1, config=config)
    budget = Budget(16.0 * variant.images_per_step(1) * steps, "images")
    return Trainer(variant, POINTS, budget, seed=1, batch=16, device=CPU, compiled=on, **more)


def train(trainer: Trainer, until: float = 1.0) -> Trainer:
    for _ in trainer.train(until):
        pass
    return trainer


def traced(cls: type[Variant]) -> Trainer:
    """Make the steps of the first period, and trace those of the two that follow."""
    trainer = make(cls, steps=100)
    trainer.variant.train()
    for _ in range(trainer.period):
        trainer.step()
    for number in range(trainer.period, 3 * trainer.period):
        trainer.trace(trainer.stream[number], Clock(number, torch.zeros(())))
    return trainer


def distance(one: Trainer, other: Trainer, start: Trainer) -> float:
    """Return how far two runs are apart, as a share of the way that one of them has come."""
    first, second, third = (
        torch.cat([each.detach().double().flatten() for each in trainer.variant.state_dict().values()])
        for trainer in (one, other, start)
    )
    return float((first - second).norm() / (second - third).norm())


def require_same(one: Trainer, other: Trainer) -> None:
    first, second = one.variant.state_dict(), other.variant.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in second)
    assert {name: list(trace) for name, trace in one.traces().items()} == {
        name: list(trace) for name, trace in other.traces().items()
    }


def test_compiled_steps_train_as_the_plain_ones_do_and_a_continued_run_is_the_uninterrupted_one() -> None:
    start, plain = make(Plain), train(make(Plain, on=False))
    whole = train(make(Plain, watched=lambda step: step % 3 == 0))
    assert 0 < distance(whole, plain, start) < 1e-4  # zero would mean that nothing was compiled
    assert whole.meters.flops == plain.meters.flops
    assert whole.meters.updates == plain.meters.updates
    halfway = train(make(Plain), 0.35)
    state, again = copy.deepcopy(halfway.state_dict()), make(Plain, watched=lambda step: True)
    again.load_state_dict(state)
    require_same(train(again), whole)


@pytest.mark.slow  # each is compiled for ten seconds and more
@pytest.mark.parametrize(
    ("name", "settings"),
    [("gan", {}), ("pacgan", {}), ("wgan-gp", {"critic_steps": "2"}), ("unrolled", {"steps": "1"}), ("sngan", {})],
)
def test_variants_compiled_train_as_they_do_uncompiled(name: str, settings: dict[str, str]) -> None:
    def run(until: float = 1.0, **more: Any) -> Trainer:
        return train(make(cls, backbone=MAXOUT, settings=settings, **more), until)

    cls = discover().get("variant", name).item
    start, plain, one = run(0.0), run(on=False), run(watched=lambda step: step % 3 == 0)
    assert 0 < distance(one, plain, start) < 1e-2  # Adam's first steps are of the rate's size, whatever the gradient
    assert one.meters.flops == plain.meters.flops
    assert one.meters.updates == plain.meters.updates
    for trace, values in plain.traces().items():
        assert np.allclose(one.traces()[trace][:5], values[:5], rtol=1e-3, atol=1e-5), trace  # later ones drift apart
    again = make(cls, backbone=MAXOUT, settings=settings)
    again.load_state_dict(copy.deepcopy(run(0.5).state_dict()))
    require_same(train(again), one)


Step = Callable[[Any, Batch, Clock], Iterator[Update]]


def with_step(step: Step, **more: Any) -> type[Variant]:
    return type("Odd", (Plain,), {"step": step, **more})


def losses(v: Any, batch: Batch, factor: Any = 1.0) -> Iterator[Update]:
    fake = v.sample(len(batch.real))
    yield Update("D", factor * discriminator_loss(v.D(batch.real), v.D(fake.detach())))
    yield Update("G", nonsaturating_loss(v.D(fake)))


def by_number(v: Any, batch: Batch, clock: Clock) -> Iterator[Update]:
    return losses(v, batch, 2.0 if clock.step < 7 else 1.0)


def by_growing_number(v: Any, batch: Batch, clock: Clock) -> Iterator[Update]:
    return losses(v, batch, 1 / (1 + 0.1 * clock.step))


def by_other_period(v: Any, batch: Batch, clock: Clock) -> Iterator[Update]:
    return losses(v, batch, 1.0 if clock.step % 3 else 2.0)


def by_index(v: Any, batch: Batch, clock: Clock) -> Iterator[Update]:
    return losses(v, batch, [1.0, 2.0, 3.0, *[4.0] * 100][clock.step])


def by_python_chance(v: Any, batch: Batch, clock: Clock) -> Iterator[Update]:
    return losses(v, batch, random.random())


def by_numpy_chance(v: Any, batch: Batch, clock: Clock) -> Iterator[Update]:
    return losses(v, batch, float(np.random.rand()))


def by_value(v: Any, batch: Batch, clock: Clock) -> Iterator[Update]:
    return losses(v, batch, 2.0 if batch.real.mean() > 0 else 1.0)


def by_item(v: Any, batch: Batch, clock: Clock) -> Iterator[Update]:
    return losses(v, batch, float(clock.progress) + 1)


def by_count(v: Any, batch: Batch, clock: Clock) -> Iterator[Update]:
    v.count = getattr(v, "count", 0) + 1
    return losses(v, batch, 1 / v.count)


def with_dropout(v: Any, batch: Batch, clock: Clock) -> Iterator[Update]:
    return losses(v, Batch(nn.functional.dropout(batch.real)))


def with_new_buffer(v: Any, batch: Batch, clock: Clock) -> Iterator[Update]:
    if not hasattr(v, "mean"):
        v.register_buffer("mean", torch.zeros(2))
    v.mean = 0.9 * v.mean + 0.1 * batch.real.mean(0)
    return losses(v, batch)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (by_number, "depends on the number of the step"),
        (by_growing_number, "depends on the number of the step"),
        (by_index, "depends on the number of the step"),
        (by_other_period, "modulo 3, but its period is 1"),
        (by_python_chance, "not torch's"),
        (by_numpy_chance, "not torch's"),
        (by_value, "reads values"),
        (by_item, "reads values"),
        (by_count, "something else than earlier steps"),
        (with_dropout, "depends on tensors"),
        (with_new_buffer, "in the place of its buffers"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_what_is_no_fixed_computation_is_refused(step: Step, reason: str) -> None:
    with pytest.raises(Uncompilable, match=reason):
        traced(with_step(step))


@torch.no_grad()
def in_place(weight: Tensor) -> None:
    weight.add_(1)


def in_secret(weight: Tensor) -> None:
    weight.data.add_(1)


@pytest.mark.parametrize("move", [in_place, in_secret])
@pytest.mark.parametrize("player", ["G", "D"])
def test_a_step_that_moves_weights_while_it_is_traced_is_unfair(move: Callable[[Tensor], None], player: str) -> None:
    def step(batch: Batch, clock: Clock) -> Iterator[Update]:
        yield from losses(trainer.variant, batch)
        move(next(getattr(trainer.variant, player).parameters()))

    trainer = make(Plain, steps=100)
    trainer.step()
    trainer.variant.step = step  # type: ignore[method-assign]
    with pytest.raises(Unfair, match="when it should only compute a loss"):
        trainer.trace(trainer.stream[1], Clock(1, torch.zeros(())))


def test_tracing_leaves_everything_as_it_was() -> None:
    trainer = make(discover().get("variant", "gan").item, backbone=MAXOUT, steps=100)
    trainer.variant.train()
    trainer.step()
    before, chance = copy.deepcopy(trainer.state_dict()), torch.get_rng_state()
    trainer.trace(trainer.stream[1], Clock(1, torch.zeros(())))
    after = trainer.state_dict()
    assert before["variant"].keys() == after["variant"].keys()
    assert all(torch.equal(value, after["variant"][name]) for name, value in before["variant"].items())
    assert before["meters"] == after["meters"]
    assert torch.equal(torch.get_rng_state(), chance)


class Hooked(Plain):
    """Its D's optimizer clips gradients in place and weights afterwards."""

    name = "hooked"

    def optimizers(self) -> dict[str, Optimizer]:
        optimizer = SGD(self.D.parameters(), 0.01)
        optimizer.register_step_pre_hook(lambda *_: [p.grad.clamp_(-1e-3, 1e-3) for p in self.D.parameters()] and None)
        optimizer.register_step_post_hook(lambda *_: [p.data.clamp_(-0.1, 0.1) for p in self.D.parameters()] and None)
        return {"G": Adam(self.G.parameters(), 1e-3), "D": optimizer}


@pytest.mark.slow
def test_hooks_of_optimizers_work_as_ever() -> None:
    start, plain, one = make(Hooked), train(make(Hooked, on=False)), train(make(Hooked))
    assert 0 < distance(one, plain, start) < 1e-2
    assert all(float(p.detach().abs().max()) < 0.1 + 1e-6 for p in one.variant.D.parameters())


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
@pytest.mark.parametrize("keepdim", [False, True])
def test_a_maximum_in_other_words_is_the_same(dim: int, keepdim: bool) -> None:
    x = torch.randint(0, 3, (4, 5, 6), generator=torch.Generator().manual_seed(0)).float()  # with ties
    value, place = largest(x, dim, keepdim)
    right = torch.max(x, dim, keepdim)
    assert torch.equal(value, right.values)
    assert torch.equal(place, right.indices)
    index, source = (
        torch.max(x, dim, keepdim=True).indices,
        torch.rand(right.values.shape).reshape(torch.max(x, dim, keepdim=True).values.shape),
    )
    assert torch.equal(put(x, dim, index, source), x.scatter(dim, index, source))


def test_a_maximum_in_other_words_does_not_hide_nan() -> None:
    x = torch.tensor([[1.0, float("nan"), 2.0], [float("nan"), 1.0, 2.0], [1.0, 2.0, float("nan")]])
    assert bool(largest(x, 1)[0].isnan().all())


def test_compiled_code_that_gives_other_numbers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(module: Any, given: Any) -> Callable[..., list[Tensor]]:
        return lambda *tensors: [each * 1.01 if each.is_floating_point() else each for each in module(*tensors)]

    monkeypatch.setattr(compiled, "_compiled", wrong)
    with pytest.raises(Uncompilable, match="is off by"):
        train(make(Plain))


def test_a_request_that_cannot_be_compiled_is_one_sentence() -> None:
    import torch._inductor.config as inductor

    with pytest.raises(UserError, match="--compile is for a CPU, but the device is cuda:0"):
        require_compilable("cuda:0", "fp32")
    with pytest.raises(UserError, match="--compile is for --precision fp32, but bf16"):
        require_compilable("cpu", "bf16")
    for cxx in ("/bin/false", "/nowhere/g++", "no-such-compiler"):
        with inductor.patch({"cpp.cxx": (cxx,)}), pytest.raises(UserError, match=r"--compile needs a C\+\+ compiler"):
            require_compilable("cpu", "fp32")


@pytest.mark.slow  # a command of its own, since the name of the compiler is read once
def test_without_a_compiler_the_command_says_so_before_anything_is_trained(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ganbench", "run", "--variants", "gan", "--dataset", "ring", "--compile"]
    environment = {**os.environ, "CXX": "no-such-compiler"}
    found = subprocess.run([*command, "--results", str(tmp_path / "results")], env=environment, capture_output=True)
    assert found.returncode == 2 and found.stdout == b"" and not (tmp_path / "results").exists()
    assert found.stderr.decode().splitlines() == [
        "Error: --compile needs a C++ compiler, but there is none: install g++, or name another in the variable CXX"
    ]
