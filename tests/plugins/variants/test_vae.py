"""VAE: both parts of the bound against scipy and torch.distributions, the bound itself, one player, optimizer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ganbench_plugins.variants.vae import VAE, Config
from scipy.stats import multivariate_normal, norm
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.optim import Adam

from ganbench import Batch, Clock, DataSpec, Parts, UserError
from ganbench.runs.options import resolve

START = Clock(0, torch.zeros(()))


class LinearParts(Parts):
    """Affine maps between latents of 3 numbers and points."""

    def __init__(self) -> None:
        super().__init__(DataSpec((2,)), 3)

    def generator(self, *, inputs=None):
        return nn.Linear(3, 2)

    def encoder(self, *, outputs):
        return nn.Linear(2, outputs)


class VarianceForDeviation(VAE):
    """Broken on purpose: the option is taken for a variance."""

    def reconstruction(self, x, decoded):
        return super().reconstruction(x / self.config.deviation**0.5, decoded / self.config.deviation**0.5)


def make(cls: type[VAE] = VAE, **options) -> VAE:
    torch.manual_seed(0)
    return cls(LinearParts(), Config(**options))


def check_loss(cls, real, affine) -> None:
    variant = make(cls, deviation=0.3)
    torch.manual_seed(5)
    epsilon = torch.randn(8, 3).double().numpy()
    torch.manual_seed(5)
    update = next(variant.step(Batch(real), START))
    found = affine(variant.encoder, real)
    mean, deviation = found[:, :3], np.exp(found[:, 3:] / 2)
    likelihood = norm.logpdf(real.numpy(), affine(variant.G, mean + deviation * epsilon), 0.3).sum(1).mean()
    posterior = Normal(torch.from_numpy(mean), torch.from_numpy(deviation))
    divergence = kl_divergence(posterior, Normal(0.0, 1.0)).sum(1).mean().item()
    assert update.player == "G"
    assert update.loss.item() == pytest.approx(divergence - likelihood, rel=1e-5)
    assert update.log["reconstruction"].item() == pytest.approx(-likelihood, rel=1e-5)
    assert update.log["divergence"].item() == pytest.approx(divergence, rel=1e-5)
    assert not any(value.requires_grad or value.ndim for value in update.log.values())


def test_the_loss_is_the_negative_evidence_lower_bound(real, affine):
    check_loss(VAE, real, affine)
    with pytest.raises(AssertionError):
        check_loss(VarianceForDeviation, real, affine)


def test_with_the_true_posterior_the_bound_is_the_likelihood():
    """A decoder that reads one latent a dimension: p(x) = N(0, a² + s²), and p(z|x) is Gaussian with these parts."""
    variant, a, s = make(deviation=0.5), 2.0, 0.5
    gain, variance = a / (a**2 + s**2), s**2 / (a**2 + s**2)
    with torch.no_grad():
        variant.G.weight.copy_(torch.tensor([[a, 0, 0], [0, a, 0]]))
        variant.G.bias.zero_()
        variant.encoder.weight.zero_()
        variant.encoder.weight[0, 0] = variant.encoder.weight[1, 1] = gain
        variant.encoder.bias.copy_(torch.tensor([0, 0, 0, np.log(variance), np.log(variance), 0]))
    x = torch.randn(50_000, 2, generator=torch.Generator().manual_seed(0)) * (a**2 + s**2) ** 0.5
    torch.manual_seed(0)
    update = next(variant.step(Batch(x), START))
    likelihood = multivariate_normal.logpdf(x.numpy(), np.zeros(2), (a**2 + s**2) * np.eye(2)).mean()
    assert update.loss.item() == pytest.approx(-likelihood, rel=3e-3)


def test_samples_are_means_of_latents_from_the_prior(affine):
    variant = make()
    torch.manual_seed(5)
    z = torch.randn(4, 3)
    torch.manual_seed(5)
    np.testing.assert_allclose(variant.sample(4).detach().numpy(), affine(variant.G, z), rtol=1e-5)


def test_one_player_holds_both_networks(real, play):
    variant = make()
    (optimizer,) = variant.optimizers().values()
    assert type(optimizer) is Adam
    assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (1e-3, (0.9, 0.999))
    assert set(optimizer.param_groups[0]["params"]) == set(variant.parameters())
    before = {name: p.detach().clone() for name, p in variant.named_parameters()}
    assert [update.player for update in play(variant, real, 20)] == ["G"] * 20
    assert variant.period == 1
    assert not any(torch.equal(p, before[name]) for name, p in variant.named_parameters())


def test_it_is_trained_and_so_no_control():
    assert VAE.family == "autoencoder"
    assert Config().deviation == 0.2


@pytest.mark.parametrize("setting", [{"deviation": "0"}, {"deviation": "learned"}, {"lr": "0"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(VAE, "vae", setting)
