"""Feature matching: losses and their gradient by numpy, real batches apart, schedule, optimizers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.variants.feature_matching import Config, FeatureMatching
from torch import nn
from torch.optim import Adam

from ganbench import Batch, Clock, DataSpec, Discriminator, GaussianNoise, UserError, WeightNorm
from ganbench.runs.options import resolve
from ganbench.toolbox.hardening import Dropout

START = Clock(0, torch.zeros(()))


class SameBatch(FeatureMatching):
    """Broken on purpose: G meets the images that D has just seen."""

    def step(self, batch, clock):
        return super().step(Batch(batch.real[: len(batch.real) // 2].repeat(2, 1)), clock)


class PerSample(FeatureMatching):
    """Broken on purpose: features are matched sample by sample."""

    def distance(self, real, fake):
        return (self.D.trunk(fake) - self.D.trunk(real).detach()).square().sum(1).mean()


def with_trunk(cls, parts, **options):
    """Return the variant with five linear features below D's head."""
    variant = cls(parts, Config(lr=0.05, **options))
    variant.D = Discriminator(nn.Linear(2, 5), nn.Linear(5, 1))
    return variant


def check_losses(cls, parts, real, perform, affine, distance) -> None:
    torch.manual_seed(0)
    variant = with_trunk(cls, parts, distance=distance)
    optimizers = variant.optimizers()
    torch.manual_seed(5)
    z_d, z_g = torch.randn(4, 3), torch.randn(4, 3)

    torch.manual_seed(5)
    step = variant.step(Batch(real), START)
    update = next(step)
    on_real, on_fake = (affine(variant.D.head, affine(variant.D.trunk, x)) for x in (real[:4], affine(variant.G, z_d)))
    assert update.player == "D"
    expected = np.log1p(np.exp(-on_real)).mean() + np.log1p(np.exp(on_fake)).mean()
    assert update.loss.item() == pytest.approx(expected, rel=1e-5)
    perform(update, optimizers["D"])

    update = next(step)
    gap = affine(variant.D.trunk, affine(variant.G, z_g)).mean(0) - affine(variant.D.trunk, real[4:]).mean(0)
    assert update.player == "G"
    squared = distance == "squared"
    assert update.loss.item() == pytest.approx((gap**2).sum() if squared else np.abs(gap).mean(), rel=1e-4)
    perform(update, optimizers["G"])
    weight = variant.D.trunk.weight.detach().double().numpy()
    slope = weight.T @ (2 * gap if squared else np.sign(gap) / 5)  # of the mean fake, all that a linear f sees
    np.testing.assert_allclose(variant.G.bias.grad.numpy(), slope, rtol=1e-4, atol=1e-6)
    assert next(step, None) is None


@pytest.mark.parametrize("distance", ["squared", "absolute"])
def test_losses_and_gradient_are_those_of_the_means(parts, real, perform, affine, distance):
    check_losses(FeatureMatching, parts, real, perform, affine, distance)
    for broken in (SameBatch, PerSample):
        with pytest.raises(AssertionError):
            check_losses(broken, parts, real, perform, affine, distance)


def test_fakes_with_the_mean_of_the_data_are_at_the_optimum(parts, real):
    """Of linear features only the mean counts: a collapsed generator at the mean has no loss left."""
    variant = with_trunk(FeatureMatching, parts)
    collapsed = real.mean(0).expand(8, 2)
    assert variant.distance(real, collapsed).item() == pytest.approx(0, abs=1e-10)
    assert variant.distance(real, collapsed + 1).item() > 0.1


def test_means_are_not_normalised_away():
    """With batch norm in D, brighter fakes would have the features of the real images."""
    torch.manual_seed(0)
    variant = FeatureMatching(DCGAN()(DataSpec((1, 16, 16))), Config())
    assert not any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in variant.D.modules())
    x = torch.randn(8, 1, 16, 16)
    torch.testing.assert_close(variant.D(x)[:2], variant.D(x[:2]))


def test_d_has_what_the_program_trains_its_own_with_where_asked_for():
    torch.manual_seed(0)
    options = {"norm": "weight", "input_dropout": 0.2, "noise": 0.3, "dropout": 0.5}
    variant = FeatureMatching(DCGAN()(DataSpec((1, 16, 16))), Config(**options))
    kinds = [type(m) for m in variant.D.modules() if isinstance(m, GaussianNoise | nn.Dropout | WeightNorm)]
    assert kinds == [GaussianNoise, Dropout, WeightNorm, Dropout, WeightNorm, WeightNorm]
    assert [m.p for m in variant.D.modules() if isinstance(m, nn.Dropout)] == [0.2, 0.5]
    x = torch.randn(256, 1, 16, 16)
    assert variant.D(x).std(correction=0).item() == pytest.approx(0.1, rel=1e-3), "the first batch sets the scale"
    assert not torch.equal(variant.D(x), variant.D(x))
    variant.eval()
    assert torch.equal(variant.D(x), variant.D(x))


def test_d_is_the_backbones_own_by_default(parts):
    torch.manual_seed(0)
    variant = FeatureMatching(DCGAN()(DataSpec((1, 16, 16))), Config())
    assert not any(isinstance(m, GaussianNoise | nn.Dropout | WeightNorm) for m in variant.D.modules())


def test_each_player_has_real_images_of_its_own(parts, real, play, seen_by):
    variant = FeatureMatching(parts, Config())
    seen = seen_by(variant.D.trunk)
    list(play(variant, real, 1))
    assert [len(x) for x in seen] == [4] * 4
    assert torch.equal(seen[0], real[:4])
    assert torch.equal(seen[2], real[4:])
    assert variant.images_per_step(64) == 128


def test_players_take_turns(parts, real, play):
    variant = FeatureMatching(parts, Config())
    assert [update.player for update in play(variant, real, 20)] == ["D", "G"] * 20
    assert variant.period == 1


def test_defaults(parts):
    for optimizer in FeatureMatching(parts, Config()).optimizers().values():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (3e-4, (0.5, 0.999))
    assert Config().distance == "squared"


@pytest.mark.parametrize("setting", [{"distance": "cosine"}, {"lr": "0"}, {"norm": "batch"}, {"dropout": "1"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(FeatureMatching, "feature-matching", setting)
