"""R1 and R2: penalties in closed form, the Dirac-GAN's flow, lazy steps, averaged samples, defaults."""

import numpy as np
import pytest
import torch
from ganbench_plugins.variants.r1 import R1, Config
from torch import nn
from torch.optim import RMSprop

from ganbench import Batch, Clock, Discriminator, UserError
from ganbench.runs.options import resolve

START = Clock(0, torch.zeros(()))


class Quadratic(nn.Module):
    """D(x) = a ‖x‖² / 2, whose gradient is a x."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(1.7))

    def forward(self, x):
        return 0.5 * self.a * x.square().sum(1, keepdim=True)


@pytest.mark.parametrize("on", ["real", "fake", "both"])
def test_the_penalty_is_half_the_mean_square_of_the_gradient(parts, real, affine, on):
    variant = R1(parts, Config(on=on))
    variant.D = Discriminator(nn.Identity(), Quadratic())
    torch.manual_seed(5)
    fake = affine(variant.G, torch.randn(8, 3))
    torch.manual_seed(5)
    update = next(variant.step(Batch(real), START))
    x = real.double().numpy()
    squares = {"real": (x**2).sum(1).mean(), "fake": (fake**2).sum(1).mean()}
    squares["both"] = squares["real"] + squares["fake"]
    penalty = 0.5 * 1.7**2 * squares[on]
    on_real, on_fake = 0.85 * (x**2).sum(1), 0.85 * (fake**2).sum(1)
    plain = np.log1p(np.exp(-on_real)).mean() + np.log1p(np.exp(on_fake)).mean()
    assert update.log["penalty"].item() == pytest.approx(penalty, rel=1e-5)
    assert update.loss.item() == pytest.approx(plain + 10 * penalty, rel=1e-5)


def test_the_field_of_the_dirac_gan_is_the_papers(parts):
    """Data at 0, G at θ, D(x) = ψx: the loss of ψ has the slope σ(ψθ) θ + γψ, so that (0, 0) attracts (lemma 2.5)."""
    variant = R1(parts, Config(penalty=3.0))
    theta, psi = 0.8, -0.6
    with torch.no_grad():
        variant.G.weight.zero_()
        variant.G.bias.copy_(torch.tensor([theta, 0.0]))
        variant.D.head.weight.copy_(torch.tensor([[psi, 0.0]]))
        variant.D.head.bias.zero_()
    update = next(variant.step(Batch(torch.zeros(8, 2)), START))
    update.loss.backward()
    expected = theta / (1 + np.exp(-psi * theta)) + 3 * psi
    assert variant.D.head.weight.grad[0, 0].item() == pytest.approx(expected, rel=1e-5)


def test_a_lazy_penalty_is_rarer_and_heavier(parts, real, play):
    lazy = R1(parts, Config(every=4))
    assert lazy.period == 4
    updates = list(play(lazy, real, 8))
    assert [u.player for u in updates] == ["D", "G"] * 8
    assert ["penalty" in u.log for u in updates if u.player == "D"] == [True, False, False, False] * 2
    eager = R1(parts, Config())
    eager.load_state_dict(lazy.state_dict())
    losses = []
    for variant, clock in ((lazy, Clock(4, torch.zeros(()))), (eager, START), (lazy, Clock(5, torch.zeros(())))):
        torch.manual_seed(0)
        losses.append(next(variant.step(Batch(real), clock)).loss.item())
    heavy, single, none = losses
    assert heavy - none == pytest.approx(4 * (single - none), rel=1e-4)


def test_defaults_are_those_of_the_paper(parts):
    for optimizer in R1(parts, Config()).optimizers().values():
        assert type(optimizer) is RMSprop
        assert (optimizer.defaults["lr"], optimizer.defaults["alpha"]) == (1e-4, 0.99)
    assert Config().penalty == 10
    kept = 0.5 ** (64 / R1.ema_half_life_images)
    assert kept == pytest.approx(0.999, abs=1e-5)


@pytest.mark.parametrize("setting", [{"on": "neither"}, {"every": "0"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(R1, "r1", setting)
