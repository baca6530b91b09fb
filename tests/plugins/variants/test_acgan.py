"""AC-GAN: losses by hand on labelled points, accuracies, which losses see fakes, schedule, optimizers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.variants.acgan import ACGAN, Config
from torch import nn
from torch.optim import Adam

from ganbench import Batch, Clock, DataSpec, Discriminator, Parts, UserError
from ganbench.runs.options import resolve

START = Clock(0, torch.zeros(()))
LABELS = torch.tensor([0, 1, 2, 2, 0, 1, 1, 2])


class LabelledParts(Parts):
    """Affine maps between latents of 3 numbers and points of three classes, as wide as they are asked for."""

    def __init__(self) -> None:
        super().__init__(DataSpec((2,), "generate", 3), 3)

    def generator(self, *, inputs=None):
        return nn.Linear(inputs, 2)

    def discriminator(self, *, outputs=1, channels=None, norm="batch"):
        return Discriminator(nn.Identity(), nn.Linear(2, outputs))


class WrongLabels(ACGAN):
    """Broken on purpose: G makes samples of other classes than the losses are told."""

    def sample(self, n, cond=None):
        return super().sample(n, cond if cond is None else (cond + 1) % 3)


def make(cls: type[ACGAN] = ACGAN, **options) -> ACGAN:
    torch.manual_seed(0)
    return cls(LabelledParts(), Config(**options))


def log_sigmoid(logits):
    return np.log(1 / (1 + np.exp(-logits)))


def log_likelihood(logits):
    """E log P(C = c), by the definition of the softmax."""
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return np.log(probabilities[np.arange(8), LABELS.numpy()]).mean()


def share_right(logits):
    return (logits.argmax(1) == LABELS.numpy()).mean()


def check_losses(cls, real, perform, affine, **options) -> None:
    variant = make(cls, lr=0.1, **options)
    config, optimizers = variant.config, variant.optimizers()
    codes = np.eye(3)[LABELS.numpy()]
    torch.manual_seed(5)
    z_d, z_g = torch.randn(8, 3), torch.randn(8, 3)

    def judged(x):
        outputs = affine(variant.D.head, x)
        return outputs[:, 0], outputs[:, 1:]

    def generated(z):
        return affine(variant.G, np.concatenate([z.numpy(), codes], 1))

    torch.manual_seed(5)
    step = variant.step(Batch(real, LABELS), START)
    update = next(step)
    (real_source, real_class), (fake_source, fake_class) = judged(real), judged(generated(z_d))
    source = log_sigmoid(real_source).mean() + np.log(1 - 1 / (1 + np.exp(-fake_source))).mean()
    classes = log_likelihood(real_class) + config.classify_fakes * log_likelihood(fake_class)
    assert update.player == "D"
    assert update.loss.item() == pytest.approx(-source - config.class_weight * classes, rel=1e-5)
    assert update.log["real_accuracy"].item() == pytest.approx(share_right(real_class))
    assert update.log["fake_accuracy"].item() == pytest.approx(share_right(fake_class))
    assert not any(value.requires_grad or value.ndim for value in update.log.values())
    perform(update, optimizers["D"])

    update = next(step)
    source, classes = judged(generated(z_g))
    assert update.player == "G"
    expected = -log_sigmoid(source).mean() - config.generator_class_weight * log_likelihood(classes)
    assert update.loss.item() == pytest.approx(expected, rel=1e-5)
    assert next(step, None) is None


@pytest.mark.parametrize("options", [{}, {"classify_fakes": False}, {"class_weight": 2, "generator_class_weight": 0.1}])
def test_losses_are_those_of_the_paper(options, real, perform, affine):
    check_losses(ACGAN, real, perform, affine, **options)


def test_fakes_are_of_the_classes_that_the_losses_are_told(real, perform, affine):
    with pytest.raises(AssertionError):
        check_losses(WrongLabels, real, perform, affine)


def test_class_and_source_share_a_trunk():
    torch.manual_seed(0)
    variant = ACGAN(DCGAN()(DataSpec((1, 8, 8), "generate", 4)), Config())
    assert variant.D.head.out_features == 5
    source, classes = variant.judge(torch.randn(6, 1, 8, 8))
    assert (tuple(source.shape), tuple(classes.shape)) == ((6,), (6, 4))
    for output in (source, classes):
        weights = list(variant.D.trunk.parameters())
        gradients = torch.autograd.grad(output.square().sum(), weights, retain_graph=True)
        assert all(gradient.any() for gradient in gradients)


def test_samples_bear_the_labels_asked_for_else_uniform_ones(seen_by):
    variant = make()
    seen = seen_by(variant.G)
    variant.sample(8, LABELS)
    assert torch.equal(seen[0][:, 3:].argmax(1), LABELS)
    variant.sample(6000)
    torch.testing.assert_close(seen[1][:, 3:].mean(0), torch.full((3,), 1 / 3), atol=0.03, rtol=0)


def test_players_take_turns_and_real_and_fake_pass_apart(real, perform, seen_by):
    variant = make()
    optimizers, players, seen = variant.optimizers(), [], seen_by(variant.D)
    for number in range(20):
        for update in variant.step(Batch(real, LABELS), Clock(number, torch.zeros(()))):
            perform(update, optimizers[update.player])
            players.append(update.player)
    assert players == ["D", "G"] * 20
    assert variant.period == 1
    assert [len(batch) for batch in seen[:3]] == [8, 8, 8]


def test_both_players_use_the_adam_of_the_paper():
    for optimizer in make().optimizers().values():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (2e-4, (0.5, 0.999))
    assert (Config().class_weight, Config().generator_class_weight, Config().classify_fakes) == (1, 1, True)


@pytest.mark.parametrize("setting", [{"class_weight": "-1"}, {"classify_fakes": "maybe"}, {"lr": "0"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(ACGAN, "acgan", setting)
