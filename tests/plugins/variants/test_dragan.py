"""DRAGAN: penalty of a linear D in closed form, where the slope is taken, schedule, defaults."""

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.variants.dragan import DRAGAN, Config

from ganbench import Batch, Clock, DataSpec, UserError
from ganbench.runs.options import resolve

START = Clock(0, torch.zeros(()))


def test_the_penalty_of_a_linear_d_is_known(parts, real, affine):
    variant = DRAGAN(parts, Config())
    torch.manual_seed(5)
    fake = affine(variant.G, torch.randn(8, 3))
    torch.manual_seed(5)
    update = next(variant.step(Batch(real), START))
    norm = np.sqrt((variant.D.head.weight.detach().double().numpy() ** 2).sum())
    on_real, on_fake = affine(variant.D.head, real), affine(variant.D.head, fake)
    plain = np.log1p(np.exp(-on_real)).mean() + np.log1p(np.exp(on_fake)).mean()
    assert update.log["penalty"].item() == pytest.approx((norm - 1) ** 2, rel=1e-5)
    assert update.loss.item() == pytest.approx(plain + 10 * (norm - 1) ** 2, rel=1e-5)


def test_the_slope_is_taken_a_little_above_the_data(parts):
    variant, x = DRAGAN(parts, Config(spread=0.5)), torch.randn(4000, 1, 4, 4) * 3
    torch.manual_seed(0)
    moved = (variant.around(x) - x) / x.std(correction=0)
    assert moved.min() >= 0 and moved.max() < 0.5
    per_sample = moved.flatten(1).amax(1)
    assert per_sample.min() < 0.02 and per_sample.max() > 0.45, "each sample has a share of its own"
    assert float(moved.mean()) == pytest.approx(0.5 * 0.5 * 0.5, rel=0.03)
    assert torch.equal(DRAGAN(parts, Config(spread=0.0)).around(x), x)


def test_players_take_turns(parts, real, play):
    assert [u.player for u in play(DRAGAN(parts, Config()), real, 20)] == ["D", "G"] * 20


def test_defaults_and_options(parts):
    for optimizer in DRAGAN(parts, Config()).optimizers().values():
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (1e-4, (0.5, 0.9))
    assert (Config().penalty, Config().slope, Config().spread) == (10, 1, 0.5)
    with pytest.raises(UserError, match="spread"):
        resolve(DRAGAN, "dragan", {"spread": "-1"})


@pytest.mark.parametrize(("spread", "slope"), [(0.5, 1.0), (0.0, 0.3)])
def test_losses_are_those_of_the_notebook_whose_pixels_are_in_0_1(spread, slope):
    """D of pixels u in [0, 1] is D of 2u - 1 here; constants, noise and slopes are the notebook's, in its units."""
    torch.manual_seed(0)
    variant = DRAGAN(DCGAN()(DataSpec((1, 8, 8))), Config(spread=spread, slope=slope))
    u = torch.rand(6, 1, 8, 8)
    torch.manual_seed(5)
    update = next(variant.step(Batch(2 * u - 1), START))

    def d(pixels):
        return variant.D(2 * pixels - 1)

    torch.manual_seed(5)
    fake = (variant.sample(6).detach() + 1) / 2
    moved = u + spread * float(np.std(u.numpy())) * torch.rand(6, 1, 8, 8)
    places = (u + torch.rand(6, 1, 1, 1) * (moved - u)).requires_grad_(True)
    (gradients,) = torch.autograd.grad(d(places).sum(), places)
    penalty = ((gradients.flatten(1).norm(dim=1) - slope) ** 2).mean()
    plain = -d(u).sigmoid().log().mean() - (1 - d(fake).sigmoid()).log().mean()
    assert update.loss.item() == pytest.approx((plain + 10 * penalty).item(), rel=1e-4)
    assert update.log["penalty"].item() == pytest.approx(penalty.item(), rel=1e-4)
