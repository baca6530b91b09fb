"""Courses: a variant on an experiment's own data moves as its equations say, and looking at it changes nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam

from ganbench import PSI, THETA, DataSpec, Dirac, ImageSet, Update, UserError, Variant, dirac_data
from ganbench.contract.experiments import Optimizers
from ganbench.contract.types import Clock
from ganbench.runs.course import HarnessCourse
from ganbench.training.networks import build_variant

CPU = torch.device("cpu")


class Linear(Variant):
    """The Wasserstein losses on a Dirac-GAN: D is to raise ψ(0 - θ), G to raise ψθ."""

    name = "linear"

    def build(self, parts: Any) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="none")

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"G": SGD(self.G.parameters(), 0.1), "D": SGD(self.D.parameters(), 0.1)}

    def step(self, batch: Any, clock: Clock) -> Any:
        yield Update("D", (self.D(self.sample(len(batch.real)).detach()) - self.D(batch.real)).mean())
        yield Update("G", -self.D(self.sample(len(batch.real))).mean())


class Scheduled(Linear):
    name = "scheduled"

    def schedules(self, clock: Clock) -> dict[str, dict[str, Any]]:
        return {"G": {"lr_factor": 0.0}, "D": {"lr_factor": 0.0}}


class Alternating(Linear):
    """D twice, then G, in steps of their own."""

    name = "alternating"

    def build(self, parts: Any) -> None:
        super().build(parts)
        self.period = 3

    def step(self, batch: Any, clock: Clock) -> Any:
        yield list(super().step(batch, clock))[clock.step % 3 == 2]


class Counting(Linear):
    """It has a buffer that its own step moves, as batch norm has."""

    name = "counting"

    def build(self, parts: Any) -> None:
        super().build(parts)
        self.register_buffer("count", torch.zeros(()))

    def step(self, batch: Any, clock: Clock) -> Any:
        self.count += 1
        yield from super().step(batch, clock)


class Drawing(Linear):
    """Its loss is a latent, so that batches and draws can be seen."""

    name = "drawing"

    def step(self, batch: Any, clock: Clock) -> Any:
        yield Update("G", self.D(self.sample(1)).sum() * 0 + self.noise(len(batch.real)).mean() + batch.real.mean())


class Blows(Linear):
    name = "blows"

    def step(self, batch: Any, clock: Clock) -> Any:
        for update in super().step(batch, clock):
            yield Update(update.player, update.loss * (math.inf if clock.step == 2 else 1))


class Raises(Linear):
    name = "raises"

    def step(self, batch: Any, clock: Clock) -> Any:
        yield from super().step(batch, clock)
        self.D.head.weight.data.add_(1)
        raise RuntimeError("shapes do not fit")


class Constant(Linear):
    """Its loss depends on nothing."""

    name = "constant"

    def step(self, batch: Any, clock: Clock) -> Any:
        yield Update("G", torch.zeros(()))


class Stranger(Linear):
    name = "stranger"

    def step(self, batch: Any, clock: Clock) -> Any:
        yield Update("E", self.D(self.sample(1)).sum())


@dataclass
class Course:
    """A course with its parameters at hand."""

    of: HarnessCourse

    @property
    def point(self) -> tuple[float, float]:
        state = self.of.variant.state_dict()
        return float(state[THETA]), float(state[PSI])

    def put(self, theta: float, psi: float) -> None:
        self.of.restart({THETA: torch.tensor([theta]), PSI: torch.tensor([[psi]])})


def course(
    cls: type[Variant] = Linear,
    *,
    optimizers: Optimizers | None = None,
    double: bool = True,
    data: ImageSet | None = None,
    seed: int = 0,
    batch: int = 8,
) -> Course:
    make = partial(build_variant, cls, Dirac(), DataSpec((1,)), seed=seed)
    data = dirac_data(16) if data is None else data
    return Course(HarnessCourse(make, data, seed=seed, batch=batch, device=CPU, optimizers=optimizers, double=double))


def gradient(of: HarnessCourse, player: str) -> list[float]:
    return [float(one[0]) for one in of.gradients()[player]]


# Moving


def test_it_moves_as_alternating_gradient_descent_does():
    one, h = course(), 0.1
    one.put(1.0, 2.0)
    theta, psi = 1.0, 2.0
    for _ in range(20):
        assert one.of.advance() == ""
        psi = psi - h * theta  # D first: its loss is ψθ
        theta = theta + h * psi
        assert one.point == pytest.approx((theta, psi), abs=1e-12)


def test_steps_at_once_are_steps_one_by_one():
    one, other = course(), course()
    one.of.advance(7)
    for _ in range(7):
        other.of.advance()
    assert one.point == other.point


def test_an_experiment_s_optimizers_take_the_place_of_the_variant_s_and_of_its_schedules():
    assert course(Scheduled).of.advance() == ""
    still, moved = course(Scheduled), course(Scheduled, optimizers=lambda player, weights: SGD(weights, 0.5))
    still.of.advance(), moved.of.advance()
    assert still.point == (1.0, 1.0)
    assert moved.point == pytest.approx((1.25, 0.5))
    rates = {"G": 0.25, "D": 0.5}
    named = course(optimizers=lambda player, weights: SGD(weights, rates[player]))
    named.of.advance()
    assert named.point == pytest.approx((1 + 0.25 * 0.5, 0.5))


def test_another_course_of_the_variant_keeps_its_own_optimizers():
    course(optimizers=lambda player, weights: SGD(weights, 0.5))
    plain = course()
    plain.of.advance()
    assert plain.point == pytest.approx((1.09, 0.9))


def test_beginning_again_forgets_the_optimizers_and_the_steps():
    one = course(optimizers=lambda player, weights: Adam(weights, 0.1))
    one.of.advance(5)
    one.put(1.0, 1.0)
    one.of.advance(3)
    fresh = course(optimizers=lambda player, weights: Adam(weights, 0.1))
    fresh.of.advance(3)
    assert one.point == fresh.point


def test_what_is_not_named_stays_as_it_is():
    one = course(Counting)
    one.of.advance(2)
    theta = one.point[0]
    one.of.restart({PSI: torch.tensor([[3.0]])})
    assert one.point == (theta, 3.0) and float(one.of.variant.state_dict()["count"]) == 2


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ({"G.thta": torch.ones(1)}, "it has no G.thta, but G.theta, D.head.weight"),
        ({PSI: torch.ones(3)}, r"D.head.weight has the shape \(1, 1\), to which \(3,\) cannot be brought"),
    ],
)
def test_wrong_weights_are_one_sentence_and_put_nothing(weights, sentence):
    one = course()
    with pytest.raises(UserError, match=sentence):
        one.of.restart({THETA: torch.tensor([9.0]), **weights})
    assert one.point == (1.0, 1.0)


# Looking


@pytest.mark.parametrize(("theta", "psi"), [(1.0, 2.0), (-0.5, 3.0), (0.0, 0.0)])
def test_gradients_are_those_of_the_losses_at_one_point(theta, psi):
    one = course()
    one.put(theta, psi)
    assert gradient(one.of, "D") == pytest.approx([theta], abs=1e-14)
    assert gradient(one.of, "G") == pytest.approx([-psi], abs=1e-14)
    losses = {player: [float(loss) for loss in of] for player, of in one.of.losses().items()}
    assert losses == {"D": [pytest.approx(theta * psi)], "G": [pytest.approx(-theta * psi)]}


def test_a_period_of_several_steps_is_looked_at_whole():
    one = course(Alternating)
    assert one.of.period == 3
    found = one.of.gradients()
    assert {player: len(of) for player, of in found.items()} == {"D": 2, "G": 1}


def test_looking_changes_nothing():
    one, other = course(Counting), course(Counting)
    for _ in range(4):
        one.of.gradients(), one.of.losses()
        one.of.advance(), other.of.advance()
    assert one.of.variant.state_dict() == other.of.variant.state_dict()
    assert float(one.of.variant.state_dict()["count"]) == 4


def test_looking_takes_the_same_batches_and_latents_however_far_the_course_is():
    one = course(Drawing, data=ImageSet(torch.randn(64, 1)))
    before = one.of.losses()["G"][0]
    assert torch.equal(one.of.losses()["G"][0], before)
    one.of.advance(3)
    assert torch.equal(one.of.losses()["G"][0], before)


def test_seeds_are_other_latents_and_double_is_the_format_of_all():
    data = ImageSet(torch.randn(64, 1))
    losses = [course(Drawing, data=data, seed=seed).of.losses()["G"][0] for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    assert losses[0].dtype == torch.float64
    assert course(Drawing, data=data, double=False).of.losses()["G"][0].dtype == torch.float32
    assert torch.get_default_dtype() == torch.float32


# What goes wrong


def test_it_says_what_is_no_longer_finite_and_when():
    one = course(Blows)
    assert one.of.advance(2) == ""
    assert "loss of D is" in one.of.advance()
    assert one.of.advance()  # and goes on saying so
    one.put(1.0, 1.0)
    assert one.of.advance() == ""


@pytest.mark.parametrize("look", ["advance", "gradients", "losses"])
def test_what_a_variant_raises_is_a_sentence_and_leaves_all_as_it_was(look):
    one = course(Raises)
    try:
        getattr(one.of, look)()
    except UserError as error:
        assert "it fails there: RuntimeError: shapes do not fit" in str(error)
        # While the error is still at hand, as in a debugger: nothing waits for it to be forgotten.
        assert torch.get_default_dtype() == torch.float32
        assert look == "advance" or one.point == (1.0, 1.0)
    else:
        raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("cls", "sentence"),
    [
        (Constant, "it fails there: RuntimeError: element 0 of tensors does not require grad"),
        (Stranger, "it yields an update of 'E'; its players are G, D"),
    ],
)
def test_losses_that_give_no_gradient_are_a_sentence(cls, sentence):
    one = course(cls)
    with pytest.raises(UserError, match=sentence):
        one.of.gradients()
    assert torch.get_default_dtype() == torch.float32


def test_a_batch_larger_than_the_data_is_a_sentence():
    with pytest.raises(UserError, match="a step needs 8 real images, but the training split has 3"):
        course(data=dirac_data(3))
