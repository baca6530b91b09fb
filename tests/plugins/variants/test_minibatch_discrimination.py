"""Minibatch discrimination: the layer by numpy, what the first batch sets, collapse seen, losses, schedule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.backbones.mlp import MLP
from ganbench_plugins.variants.minibatch_discrimination import Closeness, Config, MinibatchDiscrimination
from torch import nn
from torch.optim import Adam

from ganbench import Batch, Clock, DataSpec, Discriminator, GaussianNoise, Parts, UserError, WeightNorm
from ganbench.runs.options import resolve
from ganbench.toolbox.hardening import Dropout

START = Clock(0, torch.zeros(()))


class LinearParts(Parts):
    """Linear networks; the discriminator has four features."""

    def __init__(self):
        super().__init__(DataSpec((2,)), 3)

    def generator(self, *, inputs=None):
        return nn.Linear(self.z_dim, 2)

    def discriminator(self, *, outputs=1, channels=None, norm="batch"):
        return Discriminator(nn.Linear(2, 4), nn.Linear(4, outputs))


class WithItself(Closeness):
    """Broken on purpose: a sample is close to itself, too."""

    def forward(self, features):
        output = super().forward(features).clone()
        output[:, features.shape[1] :] += 1
        return output


class SquaredDistances(Closeness):
    """Broken on purpose: distances are Euclidean."""

    def forward(self, features):
        weight = self.log_scale.exp() * self.directions / self.directions.norm(dim=0)
        rows = (features @ weight).unflatten(1, (self.kernels, -1)).transpose(0, 1)
        close = (-torch.cdist(rows, rows) / self.unit).exp() * (1 - torch.eye(len(features)))
        return torch.cat([features, close.sum(2).T - self.offset], 1)


def closeness(layer, features):
    """Return the sums over the other samples, one pair and one kernel at a time."""
    directions, log_scale = (p.detach().double().numpy() for p in (layer.directions, layer.log_scale))
    weight = np.exp(log_scale) * directions / np.sqrt((directions**2).sum(0))
    matrices = (features @ weight).reshape(len(features), layer.kernels, -1)
    unit, offset = layer.unit.double().numpy().ravel(), layer.offset.double().numpy()
    sums = np.zeros((len(features), layer.kernels))
    for i in range(len(features)):
        for j in range(len(features)):
            if i != j:
                sums[i] += np.exp(-np.abs(matrices[i] - matrices[j]).sum(1) / unit)
    return sums - offset


def check_layer(cls) -> None:
    torch.manual_seed(0)
    layer = cls(4, 6, 3).eval()
    with torch.no_grad():
        layer.log_scale.normal_()
        layer.unit.uniform_(1, 3)
        layer.offset.normal_()
    features = torch.randn(5, 4)
    output = layer(features)
    assert torch.equal(output[:, :4], features)
    np.testing.assert_allclose(
        output[:, 4:].detach(), closeness(layer, features.double().numpy()), rtol=1e-4, atol=1e-5
    )


def test_closeness_is_that_of_the_paper():
    check_layer(Closeness)
    for broken in (WithItself, SquaredDistances):
        with pytest.raises(AssertionError):
            check_layer(broken)


def test_gradients_agree_with_differences_of_the_formula():
    torch.manual_seed(0)
    layer = Closeness(4, 6, 3).eval()
    features = torch.randn(5, 4, requires_grad=True)
    (found,) = torch.autograd.grad(layer(features)[:, 4:].square().sum(), features)
    x, direction = features.detach().double().numpy(), np.random.default_rng(0).normal(size=(5, 4))
    ahead, behind = ((closeness(layer, x + h * direction) ** 2).sum() for h in (1e-6, -1e-6))
    assert (found.double().numpy() * direction).sum() == pytest.approx((ahead - behind) / 2e-6, rel=1e-3)


def test_the_first_batch_sets_scale_and_offset_and_no_other_does():
    torch.manual_seed(0)
    layer = Closeness(4, 6, 3)
    features = 50 * torch.randn(16, 4)  # so far apart that all sums would be zero
    output = layer(features)
    assert output[:, 4:].mean(0).abs().max() < 1e-5
    assert output[:, 4:].std() > 0.01
    weight = (layer.directions / layer.directions.norm(dim=0)).detach()
    rows = (features @ weight).unflatten(1, (6, 3)).transpose(0, 1)
    distances = (rows[:, :, None] - rows[:, None]).abs().sum(3) / layer.unit
    nearest = (distances + 1e9 * torch.eye(16)).amin(2)
    torch.testing.assert_close(nearest.mean(1), torch.full((6,), 2.0))
    state = {name: value.clone() for name, value in layer.state_dict().items()}
    layer(torch.randn(16, 4))
    assert all(torch.equal(value, state[name]) for name, value in layer.state_dict().items())


def test_evaluation_sets_nothing():
    layer = Closeness(4, 6, 3).eval()
    layer(torch.randn(3, 4))
    assert layer.fresh
    assert torch.equal(layer.unit, torch.ones(6, 1, 1))
    assert torch.equal(layer.offset, torch.zeros(6))


def test_what_the_first_batch_set_is_kept_with_the_weights(real, play):
    torch.manual_seed(0)
    variant = MinibatchDiscrimination(LinearParts(), Config(kernels=3))
    list(play(variant, real, 1))
    layer = variant.D.trunk[1]
    assert not layer.fresh and layer.unit.min() > 0 and not torch.equal(layer.unit, torch.ones(3, 1, 1))
    other = MinibatchDiscrimination(LinearParts(), Config(kernels=3))
    other.load_state_dict(variant.state_dict())
    assert torch.equal(other.D.trunk[1].unit, layer.unit) and not other.D.trunk[1].fresh


def test_collapsed_fakes_are_as_close_as_can_be():
    torch.manual_seed(0)
    layer = Closeness(4, 6, 3)
    layer(torch.randn(16, 4))
    sums = (layer(torch.ones(16, 4))[:, 4:] + layer.offset).detach()
    torch.testing.assert_close(sums, torch.full((16, 6), 15.0))


@pytest.mark.parametrize("loss", ["saturating", "nonsaturating"])
def test_losses_are_those_of_the_gan_with_the_layer(loss, real, perform, affine):
    torch.manual_seed(0)
    options = Config(lr=0.05, kernels=6, kernel_size=3, loss=loss, generator_steps=1)
    variant = MinibatchDiscrimination(LinearParts(), options)
    optimizers = variant.optimizers()
    variant.D(real)  # so that scale and offset are known beforehand
    torch.manual_seed(5)
    z_d, z_g = torch.randn(8, 3), torch.randn(8, 3)

    def judged(x):
        features = affine(variant.D.trunk[0], x)
        return affine(variant.D.head, np.concatenate([features, closeness(variant.D.trunk[1], features)], 1))

    torch.manual_seed(5)
    step = variant.step(Batch(real), START)
    update = next(step)
    expected = np.log1p(np.exp(-judged(real))).mean() + np.log1p(np.exp(judged(affine(variant.G, z_d)))).mean()
    assert update.player == "D"
    assert update.loss.item() == pytest.approx(expected, rel=1e-4)
    perform(update, optimizers["D"])

    update = next(step)
    assert update.player == "G"
    logits = judged(affine(variant.G, z_g))
    expected = -np.log1p(np.exp(logits)).mean() if loss == "saturating" else np.log1p(np.exp(-logits)).mean()
    assert update.loss.item() == pytest.approx(expected, rel=1e-4)
    assert next(step, None) is None


def test_real_and_fake_are_compared_with_their_own_kind(real, play, seen_by):
    variant = MinibatchDiscrimination(LinearParts(), Config(generator_steps=1))
    seen = seen_by(variant.D)
    list(play(variant, real, 1))
    assert [len(batch) for batch in seen] == [8, 8, 8]
    assert torch.equal(seen[0], real)


@pytest.mark.parametrize(("backbone", "data"), [(DCGAN(), DataSpec((3, 8, 8))), (MLP(), DataSpec((2,)))])
def test_every_weight_of_the_layer_is_trained(backbone, data, play):
    torch.manual_seed(0)
    variant = MinibatchDiscrimination(backbone(data), Config())
    list(play(variant, torch.randn(8, *data.shape), 1))
    layer = variant.D.trunk[1]
    assert layer.directions.shape[1] == 500
    for parameter in layer.parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0


@pytest.mark.parametrize("steps", [1, 3])
def test_players_take_turns(steps, real, play):
    variant = MinibatchDiscrimination(LinearParts(), Config(generator_steps=steps))
    assert [update.player for update in play(variant, real, 20)] == ["D", *["G"] * steps] * 20
    assert variant.period == 1


def test_defaults():
    for optimizer in MinibatchDiscrimination(LinearParts(), Config()).optimizers().values():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (3e-4, (0.5, 0.999))
    assert (Config().kernels, Config().kernel_size, Config().generator_steps) == (100, 5, 3)
    assert Config().loss == "saturating"


def test_d_has_what_the_program_trains_its_own_with_where_asked_for():
    torch.manual_seed(0)
    variant = MinibatchDiscrimination(
        DCGAN()(DataSpec((1, 16, 16))), Config(norm="weight", noise=0.2, dropout=0.5, kernels=3)
    )
    watched = GaussianNoise | nn.Dropout | WeightNorm | Closeness | nn.BatchNorm2d
    kinds = [type(m) for m in variant.D.modules() if isinstance(m, watched)]
    assert kinds == [GaussianNoise, WeightNorm, Dropout, WeightNorm, Closeness, WeightNorm]
    assert variant.D(torch.randn(256, 1, 16, 16)).std(correction=0).item() == pytest.approx(0.1, rel=1e-3)
    assert variant.D.head.scale is not None, "the last layer's scale is trained"


@pytest.mark.parametrize("setting", [{"kernels": "0"}, {"kernel_size": "0"}, {"generator_steps": "0"}, {"lr": "x"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(MinibatchDiscrimination, "minibatch-discrimination", setting)
