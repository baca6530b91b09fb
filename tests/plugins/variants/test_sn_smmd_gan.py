"""SN-SMMD GAN: normalised and multiplied weights, losses by hand, power iterations, clipping, schedule."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN, Config as DCGANConfig
from ganbench_plugins.variants.smmd_gan import SNSMMDGAN, Config, Multiplier
from torch import nn
from torch.optim import Adam

from ganbench import (
    Batch,
    Clock,
    DataSpec,
    Discriminator,
    Parts,
    UserError,
    gaussian_kernel,
    mmd_squared,
    normalise_weights,
    squared_jacobian_norms,
)
from ganbench.runs.options import resolve

START = Clock(0, torch.zeros(()))


class LinearParts(Parts):
    """Affine maps between latents of 3 numbers and points, by way of 3 features, spectrally normalised."""

    def __init__(self) -> None:
        super().__init__(DataSpec((2,)), 3)

    def generator(self, *, inputs=None):
        return nn.Linear(3, 2)

    def discriminator(self, *, outputs=1, channels=None, norm="batch"):
        assert norm == "spectral"
        network = Discriminator(nn.Linear(2, 3), nn.Linear(3, outputs))
        normalise_weights(network)
        return network


class ManyIterations(SNSMMDGAN):
    """Broken on purpose: real and fake pass through differently normalised weights."""

    def compare(self, real, fake):
        on_real, slopes = squared_jacobian_norms(self.D, real)
        scale = 1 / (1 + self.config.penalty * slopes.mean())
        return scale, mmd_squared(gaussian_kernel, on_real, self.D(fake))


def make(cls: type[SNSMMDGAN] = SNSMMDGAN, **options) -> SNSMMDGAN:
    torch.manual_seed(0)
    return cls(LinearParts(), Config(**options))


def layers_of(variant):
    return [m for m in variant.D.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


def weights_as_used(variant, iterate: bool):
    """γ W / (uᵀ W v) of both layers, with u and v after one more power iteration or as they are."""
    found = []
    for layer in layers_of(variant):
        normalised, multiplier = layer.parametrizations.weight
        weight = layer.parametrizations.weight.original.detach().double().numpy()
        u, v = (vector.double().numpy() for vector in (normalised._u, normalised._v))
        if iterate:
            u = weight @ v / np.linalg.norm(weight @ v)
            v = weight.T @ u / np.linalg.norm(weight.T @ u)
        found.append(multiplier.value.item() * weight / (u @ weight @ v))
    return found


def mmd(x, y):
    def k(a, b):
        return np.exp(-((a - b) ** 2).sum() / 2)

    pairs = [list(itertools.permutations(rows, 2)) for rows in (x, y)]
    return sum(np.mean([k(a, b) for a, b in rows]) for rows in pairs) - 2 * np.mean([k(a, b) for a in x for b in y])


def check_losses(cls, real, perform, affine) -> None:
    variant = make(cls, lr=0.05, critic_steps=1, features=2)
    optimizers = variant.optimizers()
    with torch.no_grad():
        for number, layer in enumerate(layers_of(variant)):
            layer.parametrizations.weight[1].value.fill_(1.5 + number)
            layer.parametrizations.weight.original.add_(torch.randn(()))  # u and v no longer fit
    torch.manual_seed(5)
    z_d, z_g = torch.rand(8, 3) * 2 - 1, torch.rand(8, 3) * 2 - 1

    def expected(z):
        first, second = weights_as_used(variant, iterate=True)
        bias = [layer.bias.detach().double().numpy() for layer in layers_of(variant)]
        on_real, on_fake = (
            (np.asarray(x, np.float64) @ first.T + bias[0]) @ second.T + bias[1] for x in (real, affine(variant.G, z))
        )
        scale = 1 / (1 + 10 * ((second @ first) ** 2).sum())
        return scale, mmd(on_real, on_fake)

    scale, distance = expected(z_d)
    torch.manual_seed(5)
    step = variant.step(Batch(real), START)
    update = next(step)
    assert update.player == "D"
    assert update.loss.item() == pytest.approx(-scale * distance, rel=1e-4)
    assert update.log["scale"].item() == pytest.approx(scale, rel=1e-4)
    assert update.log["mmd"].item() == pytest.approx(distance, rel=1e-4)
    assert not any(value.requires_grad or value.ndim for value in update.log.values())
    perform(update, optimizers["D"])

    scale, distance = expected(z_g)
    update = next(step)
    assert update.player == "G"
    assert update.loss.item() == pytest.approx(scale * distance, rel=1e-4)
    assert next(step, None) is None


def test_losses_are_the_scaled_mmd_of_normalised_weights_after_one_power_iteration(real, perform, affine):
    check_losses(SNSMMDGAN, real, perform, affine)
    with pytest.raises(AssertionError):
        check_losses(ManyIterations, real, perform, affine)


def test_every_layer_has_a_multiplier_of_one_and_a_largest_singular_value_of_it():
    torch.manual_seed(0)
    backbone = DCGAN()
    backbone.config = DCGANConfig(width=8)
    variant = SNSMMDGAN(backbone(DataSpec((1, 16, 16))), Config())
    layers = layers_of(variant)
    assert sum(isinstance(m, Multiplier) for m in variant.D.modules()) == len(layers) == 3
    with torch.no_grad():
        for _ in range(30):
            variant.D(torch.randn(2, 1, 16, 16))
        for layer in layers:
            assert layer.parametrizations.weight[1].value == 1
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)
            layer.parametrizations.weight[1].value.fill_(2.5)
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(2.5, abs=0.05)


def test_multipliers_are_learnt_by_d_and_power_vectors_move(real, play):
    variant = make()
    multipliers = [m.value for m in variant.D.modules() if isinstance(m, Multiplier)]
    vectors = [buffer.clone() for name, buffer in variant.named_buffers() if name.endswith("_u")]
    assert len(vectors) == 2
    list(play(variant, real, 10))
    assert all(value != 1 for value in multipliers)
    moved = [buffer for name, buffer in variant.named_buffers() if name.endswith("_u")]
    assert not torch.equal(vectors[0], moved[0])  # that of the one output is always 1


@pytest.mark.parametrize(("cls", "calls"), [(SNSMMDGAN, 1), (ManyIterations, 2)])
def test_one_power_iteration_goes_into_each_update(cls, calls, real, play):
    variant = make(cls)
    made = []
    layers_of(variant)[0].parametrizations.weight[0].register_forward_hook(lambda *_: made.append(1))
    updates = list(play(variant, real, 5))
    assert len(made) == calls * len(updates)


def test_gradients_are_clipped_tensor_by_tensor(real, play):
    variant = make(clip_norm=1e-3)
    reached = 0
    for update in play(variant, real, 10):
        norms = [parameter.grad.norm().item() for parameter in getattr(variant, update.player).parameters()]
        assert max(norms) <= 1e-3 * 1.0001
        reached += sum(norm > 0.999e-3 for norm in norms)
    assert reached > 10


def test_five_critic_updates_go_before_each_of_the_generator(real, play):
    variant = make()
    assert variant.period == 5
    assert [update.player for update in play(variant, real, 20)] == ["D", "D", "D", "D", "D", "G"] * 4


def test_defaults_and_prior():
    variant = make()
    for optimizer in variant.optimizers().values():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (1e-4, (0.5, 0.9))
    config = Config()
    assert (config.penalty, config.features, config.deviation, config.clip_norm) == (10, 1, 1, 1)
    z = variant.noise(20_000)
    assert -1 <= z.min() < -0.99 and 0.99 < z.max() <= 1


@pytest.mark.parametrize("setting", [{"penalty": "-1"}, {"features": "0"}, {"deviation": "0"}, {"clip_norm": "0"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(SNSMMDGAN, "sn-smmd-gan", setting)
