"""Projection: D and conditional batch norm by hand, hinge, label hand-over without state, schedule, rates."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN, Config as DCGANConfig
from ganbench_plugins.backbones.mlp import MLP
from ganbench_plugins.variants.projection import ConditionalNorm, Config, ProjectionGAN
from torch import nn
from torch.optim import Adam

from ganbench import Batch, Clock, DataSpec, Discriminator, Parts, UserError
from ganbench.runs.options import resolve

LABELS = torch.tensor([0, 1, 2, 2, 0, 1, 1, 2])


class LabelledParts(Parts):
    """From latents of 3 numbers by a batch norm and an affine map to labelled points; an affine trunk of 4 features."""

    def __init__(self) -> None:
        super().__init__(DataSpec((2,), "generate", 3), 3)

    def generator(self, *, inputs=None):
        return nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))

    def discriminator(self, *, outputs=1, channels=None, norm="batch"):
        return Discriminator(nn.Linear(2, 4), nn.Linear(4, outputs))


class Blind(ProjectionGAN):
    """Broken on purpose: G makes samples of other classes than D is told."""

    def sample(self, n, cond=None):
        return super().sample(n, cond if cond is None else (cond + 1) % 3)


def make(cls: type[ProjectionGAN] = ProjectionGAN, **options) -> ProjectionGAN:
    torch.manual_seed(0)
    variant = cls(LabelledParts(), Config(**options))
    with torch.no_grad():  # else all classes look alike to G
        variant.G[0].scale.normal_()
        variant.G[0].shift.normal_()
    return variant


def in_images(**options) -> ProjectionGAN:
    torch.manual_seed(0)
    backbone = DCGAN()
    backbone.config = DCGANConfig(width=8)
    return ProjectionGAN(backbone(DataSpec((1, 16, 16), "generate", 3)), Config(**options))


def plain(tensor):
    return tensor.detach().double().numpy()


def generated(variant, z, labels, affine):
    """Batch norm over the whole batch, then scale and shift of each row's class, then the affine map."""
    z = plain(z)
    normalised = (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5)
    scale, shift = (plain(table)[labels.numpy()] for table in (variant.G[0].scale, variant.G[0].shift))
    return affine(variant.G[1], normalised * scale + shift)


def judged(variant, x, labels, affine, embedding):
    features = affine(variant.D.network.trunk, x)
    return affine(variant.D.network.head, features)[:, 0] + (features * embedding[labels.numpy()]).sum(1)


def check_losses(cls, real, perform, affine) -> None:
    variant = make(cls, lr=0.1, critic_steps=1)
    optimizers = variant.optimizers()
    variant.D.classes.eval()  # no power iteration, so that the embedding is read as it was used
    torch.manual_seed(5)
    z_d, z_g = torch.randn(8, 3), torch.randn(8, 3)

    torch.manual_seed(5)
    step = variant.step(Batch(real, LABELS), Clock(0, torch.zeros(())))
    update = next(step)
    embedding = plain(variant.D.classes.weight)
    on_real = judged(variant, real, LABELS, affine, embedding)
    on_fake = judged(variant, generated(variant, z_d, LABELS, affine), LABELS, affine, embedding)
    expected = np.maximum(0, 1 - on_real).mean() + np.maximum(0, 1 + on_fake).mean()
    assert update.player == "D"
    assert update.loss.item() == pytest.approx(expected, rel=1e-5)
    perform(update, optimizers["D"])

    update = next(step)
    embedding = plain(variant.D.classes.weight)
    on_fake = judged(variant, generated(variant, z_g, LABELS, affine), LABELS, affine, embedding)
    assert update.player == "G"
    assert update.loss.item() == pytest.approx(-on_fake.mean(), rel=1e-5)
    assert next(step, None) is None


def test_losses_are_hinges_on_the_projection(real, perform, affine):
    check_losses(ProjectionGAN, real, perform, affine)
    with pytest.raises(AssertionError):
        check_losses(Blind, real, perform, affine)


def test_all_of_the_discriminator_has_spectral_norm_one():
    variant = in_images()
    with torch.no_grad():
        for _ in range(30):
            variant.D(torch.randn(4, 1, 16, 16), torch.tensor([0, 1, 2, 2]))
    layers = [m for m in variant.D.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding)]
    assert len(layers) == 2 + 1 + 1
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


def test_every_batch_norm_of_the_generator_is_conditional_and_starts_as_it_was():
    variant = in_images()
    backbone = DCGAN()
    backbone.config = DCGANConfig(width=8)
    torch.manual_seed(0)
    ordinary = backbone(DataSpec((1, 16, 16), "generate", 3)).generator()
    count = sum(isinstance(m, nn.BatchNorm2d) for m in ordinary.modules())
    assert sum(isinstance(m, ConditionalNorm) for m in variant.G.modules()) == count == 2
    torch.manual_seed(3)
    conditional = variant.sample(4, torch.tensor([0, 1, 2, 0]))
    torch.manual_seed(3)
    torch.testing.assert_close(conditional, ordinary(torch.randn(4, variant.z_dim)))


def test_each_sample_has_its_own_label_and_gradients_reach_its_class_alone():
    variant = in_images().eval()
    norms = [m for m in variant.G.modules() if isinstance(m, ConditionalNorm)]
    with torch.no_grad():
        for norm in norms:
            norm.scale[1:].add_(torch.randn_like(norm.scale[1:]))
    z = torch.randn(3, variant.z_dim)
    variant.noise = lambda n: z[:n]
    mixed = variant.sample(3, torch.tensor([0, 1, 2]))
    for label in range(3):
        torch.testing.assert_close(variant.sample(3, torch.full((3,), label))[label], mixed[label])
    variant.sample(2, torch.tensor([0, 2])).square().sum().backward()
    for norm in norms:
        assert norm.scale.grad[0].any() and norm.scale.grad[2].any() and not norm.scale.grad[1].any()


def test_labels_leave_nothing_behind():
    variant = in_images()
    before = copy.deepcopy(variant.state_dict())
    labels = [m.labels for m in variant.G.modules() if isinstance(m, ConditionalNorm)]
    variant.sample(4, torch.tensor([0, 1, 2, 0]))
    assert [m.labels for m in variant.G.modules() if isinstance(m, ConditionalNorm)] == labels
    changed = {name for name, value in variant.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if "running" in name or "tracked" in name} - {
        name for name in before if name.startswith("D.")
    }
    assert not any(label.any() for label in labels)
    assert not any("labels" in name for name in before)


def test_running_statistics_of_the_generator_move(real, perform):
    variant = make()
    optimizers = variant.optimizers()
    for update in variant.step(Batch(real, LABELS), Clock(4, torch.zeros(()))):
        perform(update, optimizers[update.player])
    assert variant.G[0].norm.num_batches_tracked == 2
    assert not torch.equal(variant.G[0].norm.running_mean, torch.zeros(3))


def test_samples_without_labels_are_of_uniform_ones():
    variant = make().eval()
    variant.noise = lambda n: torch.zeros(n, 3)
    points, counts = variant.sample(6000).detach().unique(dim=0, return_counts=True)
    assert len(points) == 3
    torch.testing.assert_close(counts / 6000, torch.full((3,), 1 / 3), atol=0.03, rtol=0)


def test_five_updates_of_d_go_before_each_of_g(real, perform):
    variant = make()
    assert variant.period == 5
    optimizers, players = variant.optimizers(), []
    for number in range(20):
        for update in variant.step(Batch(real, LABELS), Clock(number, torch.zeros(()))):
            perform(update, optimizers[update.player])
            players.append(update.player)
    assert players == ["D", "D", "D", "D", "D", "G"] * 4


@pytest.mark.parametrize(("progress", "factor"), [(0, 1), (8 / 9, 1), (17 / 18, 0.5), (0.99, 0.09), (1, 0)])
def test_rates_fall_linearly_in_the_last_ninth(progress, factor):
    rates = make().schedules(Clock(0, torch.tensor(progress)))
    assert set(rates) == {"G", "D"}
    assert all(rate["lr_factor"].item() == pytest.approx(factor, abs=1e-5) for rate in rates.values())


def test_defaults_are_those_of_the_paper():
    for optimizer in make().optimizers().values():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (2e-4, (0.0, 0.9))


def test_a_generator_without_batch_norm_is_refused():
    with pytest.raises(UserError, match="batch norm"):
        ProjectionGAN(MLP()(DataSpec((1, 8, 8), "generate", 3)), Config())


@pytest.mark.parametrize("setting", [{"critic_steps": "0"}, {"decay_from": "1"}, {"betas": "0,1"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(ProjectionGAN, "projection", setting)
