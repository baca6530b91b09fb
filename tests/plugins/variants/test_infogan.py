"""InfoGAN: information in closed form, losses by hand, the codes' prior, who trains Q, schedule, optimizers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.mlp import MLP
from ganbench_plugins.variants.infogan import Config, InfoGAN
from scipy.stats import norm
from torch import nn
from torch.optim import Adam

from ganbench import Batch, Clock, DataSpec, Discriminator, Parts, UserError
from ganbench.runs.options import resolve

START = Clock(0, torch.zeros(()))


class CodedParts(Parts):
    """Affine maps between latents, of 3 numbers and the codes, and points."""

    def __init__(self) -> None:
        super().__init__(DataSpec((2,)), 3)

    def generator(self, *, inputs=None):
        return nn.Linear(inputs, 2)

    def discriminator(self, *, outputs=1, channels=None, norm="batch"):
        return Discriminator(nn.Identity(), nn.Linear(2, outputs))


class StaleCodes(InfoGAN):
    """Broken on purpose: Q is asked for the codes of other samples."""

    def information(self, features, z):
        return super().information(features, z.flip(0))


def make(cls: type[InfoGAN] = InfoGAN, **options) -> InfoGAN:
    torch.manual_seed(0)
    return cls(CodedParts(), Config(**options))


def plain(tensor):
    return tensor.detach().double().numpy()


def log_sigmoid(logits):
    return np.log(1 / (1 + np.exp(-logits)))


def bound(variant, features, z, affine):
    """L_I of both kinds of codes: Q's densities from scipy, the entropies log K and log 2 a code."""
    config = variant.config
    hidden = plain(features) @ plain(variant.Q[0].weight).T
    hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
    hidden = hidden * plain(variant.Q[1].weight) + plain(variant.Q[1].bias)
    found = affine(variant.Q[3], np.where(hidden > 0, hidden, 0.1 * hidden))
    K, C = config.categories, config.continuous
    category, codes = plain(z)[:, 3 : 3 + K].argmax(1), plain(z)[:, 3 + K :]
    probabilities = np.exp(found[:, :K]) / np.exp(found[:, :K]).sum(1, keepdims=True)
    deviations = np.exp(found[:, K + C :]) if config.deviation == "learned" else 1
    densities = norm.logpdf(codes, found[:, K : K + C], deviations).sum(1).mean()
    return np.log(probabilities[np.arange(len(z)), category]).mean() + np.log(K), densities + C * np.log(2)


def check_losses(cls, real, perform, affine, **options) -> None:
    variant = make(cls, generator_lr=0.1, discriminator_lr=0.1, categories=4, **options)
    config, optimizers = variant.config, variant.optimizers()
    torch.manual_seed(5)
    z_d, z_g = variant.noise(8), variant.noise(8)

    def informed(z):
        categorical, continuous = bound(variant, variant.G(z), z, affine)
        return config.categorical_weight * categorical + config.continuous_weight * continuous

    torch.manual_seed(5)
    step = variant.step(Batch(real), START)
    update = next(step)
    on_real, on_fake = affine(variant.D.head, real), affine(variant.D.head, affine(variant.G, z_d))
    expected = -log_sigmoid(on_real).mean() - np.log(1 - 1 / (1 + np.exp(-on_fake))).mean()
    expected -= informed(z_d) if config.recogniser == "D" else 0
    assert update.player == "D"
    assert update.loss.item() == pytest.approx(expected, rel=1e-4)
    perform(update, optimizers["D"])

    update = next(step)
    categorical, continuous = bound(variant, variant.G(z_g), z_g, affine)
    expected = -log_sigmoid(affine(variant.D.head, affine(variant.G, z_g))).mean() - informed(z_g)
    assert update.player == "G"
    assert update.loss.item() == pytest.approx(expected, rel=1e-4)
    assert update.log["categorical_information"].item() == pytest.approx(categorical, rel=1e-4)
    assert update.log["continuous_information"].item() == pytest.approx(continuous, rel=1e-4)
    assert not any(value.requires_grad or value.ndim for value in update.log.values())
    assert next(step, None) is None


PAPER_AND_CODE = [{}, {"recogniser": "D", "deviation": "fixed", "continuous_weight": 1.0}]


@pytest.mark.parametrize("options", PAPER_AND_CODE)
def test_losses_are_those_of_the_paper_and_of_the_code(options, real, perform, affine):
    check_losses(InfoGAN, real, perform, affine, **options)
    with pytest.raises(AssertionError):
        check_losses(StaleCodes, real, perform, affine, **options)


def test_information_is_zero_for_a_guess_and_the_entropy_for_certainty():
    variant = make(categories=5, continuous=0)
    variant.Q = nn.Identity()
    z = variant.noise(100)
    categories = z[:, 3:]
    guess, nothing = variant.information(torch.zeros(100, 5), z)
    certain, _ = variant.information(1000 * categories, z)
    assert guess.item() == pytest.approx(0, abs=1e-6)
    assert nothing.item() == 0
    assert certain.item() == pytest.approx(math.log(5), rel=1e-6)


def test_information_of_a_gaussian_channel_is_known():
    """Q that is off by N(0, s²) and knows it has E log Q(c|x) = -½ log 2πe s²; with H(c) = log 2 a code."""
    variant = make(categories=1, continuous=1)
    variant.Q = nn.Identity()
    torch.manual_seed(0)
    z, deviation = variant.noise(200_000), 0.05
    codes = z[:, 4:]
    found = torch.cat([torch.zeros_like(codes), codes + deviation * torch.randn_like(codes)], 1)
    found = torch.cat([found, torch.full_like(codes, math.log(deviation))], 1)
    categorical, continuous = variant.information(found, z)
    assert categorical.item() == 0
    expected = math.log(2) - 0.5 * math.log(2 * math.pi * math.e * deviation**2)
    assert continuous.item() == pytest.approx(expected, rel=1e-3)


def test_codes_have_the_prior_of_the_paper():
    torch.manual_seed(0)
    variant = InfoGAN(CodedParts(), Config())
    z = variant.noise(20_000)
    assert z.shape == (20_000, 3 + 10 + 2)
    noise, categories, codes = z[:, :3], z[:, 3:13], z[:, 13:]
    assert torch.equal(categories.sum(1), torch.ones(20_000)) and set(categories.unique().tolist()) == {0, 1}
    torch.testing.assert_close(categories.mean(0), torch.full((10,), 0.1), atol=0.01, rtol=0)
    for uniform in (noise, codes):
        assert -1 <= uniform.min() < -0.99 and 0.99 < uniform.max() <= 1
        torch.testing.assert_close(uniform.var(0), torch.full((uniform.shape[1],), 1 / 3), atol=0.01, rtol=0)


@pytest.mark.parametrize(("recogniser", "other"), [("G", "D"), ("D", "G")])
def test_one_player_trains_the_recogniser(recogniser, other):
    variant = make(recogniser=recogniser)
    parameters = {player: optimizer.param_groups[0]["params"] for player, optimizer in variant.optimizers().items()}
    mine = set(variant.Q.parameters())
    assert mine <= set(parameters[recogniser])
    assert not mine & set(parameters[other])
    assert set(variant.parameters()) == {p for params in parameters.values() for p in params}


@pytest.mark.parametrize(("recogniser", "trained"), [("G", False), ("D", True)])
def test_information_trains_the_shared_trunk_in_the_code_alone(recogniser, trained, real):
    """With the weights λ huge, D's trunk hardly notices the game where D's loss has no information."""
    torch.manual_seed(0)
    gradients = []
    for weight in (0.0, 1e4):
        torch.manual_seed(0)
        config = Config(recogniser=recogniser, categorical_weight=weight, continuous_weight=0)
        variant = InfoGAN(MLP()(DataSpec((2,))), config)
        update = next(variant.step(Batch(real), START))
        gradients.append(torch.autograd.grad(update.loss, variant.D.trunk[1].weight)[0].norm().item())
    assert (gradients[1] > 10 * gradients[0]) == trained
    assert trained or gradients[1] == gradients[0]


@pytest.mark.parametrize("options", PAPER_AND_CODE)
def test_players_take_turns(options, real, play):
    variant = make(**options)
    assert [update.player for update in play(variant, real, 20)] == ["D", "G"] * 20
    assert variant.period == 1
    passes = 20 * (2 if options.get("recogniser") == "D" else 1)
    assert variant.Q[1].num_batches_tracked == passes


def test_defaults():
    optimizers = make().optimizers()
    assert all(type(optimizer) is Adam for optimizer in optimizers.values())
    assert {player: optimizer.defaults["lr"] for player, optimizer in optimizers.items()} == {"G": 1e-3, "D": 2e-4}
    assert all(optimizer.defaults["betas"] == (0.5, 0.999) for optimizer in optimizers.values())
    config = Config()
    assert (config.categories, config.continuous, config.recogniser, config.deviation) == (10, 2, "G", "learned")
    assert (config.categorical_weight, config.continuous_weight) == (1, 0.1)


@pytest.mark.parametrize(
    "setting", [{"categories": "0"}, {"continuous": "-1"}, {"recogniser": "Q"}, {"deviation": "2"}]
)
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(InfoGAN, "infogan", setting)
