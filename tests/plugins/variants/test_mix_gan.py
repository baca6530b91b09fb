"""MIX+GAN: payoff sums and the gradients of the weights by numpy, entropy, the mixture that is sampled, schedule."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.mlp import MLP
from ganbench_plugins.variants.gan import GAN, Config as GANConfig
from ganbench_plugins.variants.gan_minimax import Config as MinimaxConfig, MinimaxGAN
from ganbench_plugins.variants.mix_gan import Config, MixGAN, Mixture
from torch import nn
from torch.optim import Adam

from ganbench import Batch, Clock, DataSpec, UserError
from ganbench.runs.options import resolve
from ganbench.training.networks import SeededParts

START = Clock(0, torch.zeros(()))


class OwnPartner(MixGAN):
    """Broken on purpose: each discriminator meets one generator."""

    def average(self, of_pairs):
        return super().average(of_pairs * torch.eye(len(of_pairs)))


class Even(MixGAN):
    """Broken on purpose: the payoff does not know the weights."""

    def average(self, of_pairs):
        return of_pairs.mean() + 0 * super().average(of_pairs)


def log_sigmoid(x):
    return -np.log1p(np.exp(-x))


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum()


def check_losses(cls, loss, parts, real, perform, affine, components=3) -> None:
    torch.manual_seed(0)
    variant = cls(parts, Config(lr=0.05, components=components, entropy=0.3, loss=loss))
    with torch.no_grad():
        variant.G.logits.normal_()
        variant.D.logits.normal_()
    optimizers = variant.optimizers()
    torch.manual_seed(5)
    latents = [torch.randn(8, 3) for _ in range(2 * components)]

    def expected(player):
        w, v = (softmax(mixture.logits.detach().double().numpy()) for mixture in (variant.G, variant.D))
        payoffs = np.empty((components, components))
        for i, generator in enumerate(variant.G.components):
            fake = affine(generator, latents[i + (components if player == "G" else 0)])
            for j, judge in enumerate(variant.D.components):
                on_real, on_fake = affine(judge.head, real), affine(judge.head, fake)
                if player == "D":
                    payoffs[i, j] = -log_sigmoid(on_real).mean() - log_sigmoid(-on_fake).mean()
                else:
                    payoffs[i, j] = log_sigmoid(-on_fake).mean() if loss == "minimax" else -log_sigmoid(on_fake).mean()
        own, of_own = (w, payoffs @ v) if player == "G" else (v, w @ payoffs)
        value = w @ payoffs @ v - 0.3 * np.log(own).mean()
        return value, own * (of_own - own @ of_own) + 0.3 * (own - 1 / components)

    torch.manual_seed(5)
    step = variant.step(Batch(real), START)
    for player in ("D", "G"):
        update = next(step)
        value, slope = expected(player)
        assert update.player == player
        assert update.loss.item() == pytest.approx(value, rel=1e-5)
        perform(update, optimizers[player])
        np.testing.assert_allclose(getattr(variant, player).logits.grad.numpy(), slope, rtol=1e-3, atol=1e-6)
    assert next(step, None) is None


@pytest.mark.parametrize("loss", ["nonsaturating", "minimax"])
def test_losses_and_slopes_of_the_weights_are_those_of_the_payoff(loss, parts, real, perform, affine):
    check_losses(MixGAN, loss, parts, real, perform, affine)
    for broken in (OwnPartner, Even):
        with pytest.raises(AssertionError):
            check_losses(broken, loss, parts, real, perform, affine)


@pytest.mark.parametrize(
    ("loss", "cls", "config"),
    [
        ("nonsaturating", GAN, GANConfig()),
        ("minimax", MinimaxGAN, MinimaxConfig()),
    ],
)
def test_one_component_is_the_plain_gan(loss, cls, config, parts, real, play):
    torch.manual_seed(0)
    mixed, plain = MixGAN(parts, Config(components=1, loss=loss)), cls(parts, config)
    for player in ("G", "D"):
        getattr(plain, player).load_state_dict(getattr(mixed, player).components[0].state_dict())
    for variant in (mixed, plain):
        torch.manual_seed(1)
        list(play(variant, real, 3))
    for player in ("G", "D"):
        for name, value in getattr(plain, player).state_dict().items():
            torch.testing.assert_close(value, getattr(mixed, player).components[0].state_dict()[name])


def test_entropy_is_least_for_even_weights_and_grows_without_bound():
    mixture = Mixture([nn.Identity() for _ in range(4)])
    assert mixture.unevenness().item() == pytest.approx(math.log(4))
    assert mixture.weights().tolist() == [0.25] * 4
    with torch.no_grad():
        mixture.logits[0] = 5.0
    uneven = mixture.unevenness()
    assert uneven.item() > math.log(4) + 1
    (slope,) = torch.autograd.grad(uneven, mixture.logits)
    weights = mixture.weights().detach()
    torch.testing.assert_close(slope, weights - 0.25)


def test_the_weight_of_a_generator_that_is_caught_falls_and_entropy_holds_it(parts, real, play):
    """One generator is far off and stays there; without the regulariser its weight is driven down."""
    weights = []
    for entropy in (0.0, 10.0):
        torch.manual_seed(0)
        variant = MixGAN(parts, Config(lr=0.05, components=2, entropy=entropy))
        with torch.no_grad():
            variant.G.components[0].bias.fill_(20.0)
        variant.G.components.requires_grad_(False)
        optimizers = variant.optimizers()
        for number in range(40):
            for update in variant.step(Batch(real), Clock(number, torch.zeros(()))):
                own = [p for p in getattr(variant, update.player).parameters() if p.requires_grad]
                optimizers[update.player].zero_grad()
                update.loss.backward(inputs=own)
                optimizers[update.player].step()
        weights.append(variant.G.weights()[0].item())
    assert weights[0] < 0.25
    assert abs(weights[1] - 0.5) < 0.1


def test_samples_come_from_generators_drawn_by_weight(parts):
    torch.manual_seed(0)
    variant = MixGAN(parts, Config(components=3))
    with torch.no_grad():
        for number, generator in enumerate(variant.G.components):
            generator.weight.mul_(0.01)
            generator.bias.fill_(10.0 * number)
        variant.G.logits.copy_(torch.tensor([0.5, 0.2, 0.3]).log())
        samples = variant.sample(20_000)
    counts = torch.bincount((samples[:, 0] / 10).round().long(), minlength=3) / 20_000
    torch.testing.assert_close(counts, torch.tensor([0.5, 0.2, 0.3]), rtol=0, atol=0.015)
    # Latents are drawn for each sample, and whichever generator is drawn sees its own.
    assert len(samples.unique(dim=0)) > 19_000


def test_components_start_from_different_weights():
    variant = MixGAN(SeededParts(MLP()(DataSpec((2,))), 0), Config(components=3))
    for mixture in (variant.G, variant.D):
        first, second, third = (next(component.parameters()) for component in mixture.components)
        assert not torch.equal(first, second) and not torch.equal(second, third)


def test_weights_of_both_sides_move_and_are_kept_with_the_rest(parts, real, play):
    torch.manual_seed(0)
    variant = MixGAN(parts, Config(components=3))
    updates = list(play(variant, real, 5))
    assert variant.G.logits.abs().min() > 0 and variant.D.logits.abs().min() > 0
    assert {"largest_generator_weight", "largest_discriminator_weight"} == {key for u in updates for key in u.log}
    assert not any(value.requires_grad or value.ndim for u in updates for value in u.log.values())
    other = MixGAN(parts, Config(components=3))
    other.load_state_dict(variant.state_dict())
    assert torch.equal(other.G.weights(), variant.G.weights())


def test_the_payoff_is_as_exact_under_autocast(parts):
    variant = MixGAN(parts, Config(components=3))
    of_pairs = torch.rand(3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = variant.average(of_pairs)
    assert torch.equal(coarse, variant.average(of_pairs))


def test_players_take_turns(parts, real, play):
    variant = MixGAN(parts, Config(components=2))
    assert [update.player for update in play(variant, real, 20)] == ["D", "G"] * 20
    assert variant.period == 1


def test_defaults(parts):
    for optimizer in MixGAN(parts, Config()).optimizers().values():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (2e-4, (0.5, 0.999))
    assert (Config().components, Config().entropy, Config().loss) == (5, 0.1, "nonsaturating")


@pytest.mark.parametrize("setting", [{"components": "0"}, {"entropy": "-1"}, {"loss": "wasserstein"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(MixGAN, "mix-gan", setting)
