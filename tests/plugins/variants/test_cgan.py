"""CGAN: losses by hand on labelled points, where the label enters both networks, schedule, optimizers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.variants.cgan import CGAN, Config
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
        return Discriminator(nn.Identity(), nn.Linear(channels, outputs))


class Blind(CGAN):
    """Broken on purpose: D is told that every sample is of the first class."""

    def judge(self, x, labels):
        return super().judge(x, torch.zeros_like(labels))


def make(cls: type[CGAN] = CGAN, **options) -> CGAN:
    torch.manual_seed(0)
    return cls(LabelledParts(), Config(**options))


def beside(x, labels):
    """[x, one-hot label] in numpy."""
    return np.concatenate([np.asarray(x, np.float64), np.eye(3)[labels.numpy()]], 1)


def log_sigmoid(logits):
    return np.log(1 / (1 + np.exp(-logits)))


def check_losses(cls, real, perform, affine) -> None:
    """Both players' losses, each network fed with its input beside the one-hot label."""
    variant = make(cls, lr=0.1)
    optimizers = variant.optimizers()
    torch.manual_seed(5)
    z_d, z_g = torch.randn(8, 3), torch.randn(8, 3)

    def judged(x):
        return affine(variant.D.head, beside(x, LABELS))

    torch.manual_seed(5)
    step = variant.step(Batch(real, LABELS), START)
    update = next(step)
    on_real, on_fake = judged(real), judged(affine(variant.G, beside(z_d, LABELS)))
    assert update.player == "D"
    expected = -log_sigmoid(on_real).mean() - np.log(1 - 1 / (1 + np.exp(-on_fake))).mean()
    assert update.loss.item() == pytest.approx(expected, rel=1e-5)
    perform(update, optimizers["D"])

    update = next(step)
    assert update.player == "G"
    assert update.loss.item() == pytest.approx(
        -log_sigmoid(judged(affine(variant.G, beside(z_g, LABELS)))).mean(), rel=1e-5
    )
    assert next(step, None) is None


def test_losses_are_those_of_the_paper_with_the_label_beside_each_input(real, perform, affine):
    check_losses(CGAN, real, perform, affine)
    with pytest.raises(AssertionError):
        check_losses(Blind, real, perform, affine)


def test_in_images_the_label_is_a_constant_map(seen_by):
    torch.manual_seed(0)
    variant = CGAN(DCGAN()(DataSpec((3, 8, 8), "generate", 4)), Config())
    seen = seen_by(variant.D)
    x, labels = torch.randn(5, 3, 8, 8), torch.tensor([3, 0, 1, 1, 2])
    variant.judge(x, labels)
    assert torch.equal(seen[0][:, :3], x)
    for row, label in enumerate(labels):
        for number in range(4):
            assert (seen[0][row, 3 + number] == float(number == label)).all()


def test_samples_bear_the_labels_asked_for_else_uniform_ones(seen_by):
    variant = make()
    seen = seen_by(variant.G)
    variant.sample(8, LABELS)
    assert torch.equal(seen[0][:, 3:].argmax(1), LABELS)
    variant.sample(6000)
    shares = seen[1][:, 3:].mean(0)
    torch.testing.assert_close(shares, torch.full((3,), 1 / 3), atol=0.03, rtol=0)


def test_fakes_bear_the_labels_of_the_batch(real, perform, seen_by):
    variant = make()
    optimizers, seen = variant.optimizers(), seen_by(variant.G)
    for update in variant.step(Batch(real, LABELS), START):
        perform(update, optimizers[update.player])
    assert len(seen) == 2
    assert all(torch.equal(inputs[:, 3:].argmax(1), LABELS) for inputs in seen)


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


def test_both_players_use_the_adam_of_dcgan():
    variant = make()
    for player, optimizer in variant.optimizers().items():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (2e-4, (0.5, 0.999))
        assert optimizer.param_groups[0]["params"] == list(getattr(variant, player).parameters())


def test_data_without_labels_do_not_fit():
    assert "labels" in (CGAN.misfit(DataSpec((1, 16, 16))) or "")
    assert CGAN.misfit(DataSpec((1, 16, 16), "generate", 10)) is None


@pytest.mark.parametrize("setting", [{"lr": "0"}, {"betas": "0.5,1"}, {"classes": "3"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(CGAN, "cgan", setting)
