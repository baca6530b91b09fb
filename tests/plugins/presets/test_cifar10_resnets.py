"""Presets of CIFAR-10 on residual networks: widths, recipe and what is published."""

import pytest
import torch
from ganbench_plugins.backbones.resnet import GlobalMean, GlobalSum, ResNet
from ganbench_plugins.presets.cifar10_resnets import SNGAN, WGAN_GP
from ganbench_plugins.variants import sngan, wgan_gp
from torch import nn

from ganbench import Batch, Clock, DataSpec, Parts
from ganbench.runs.options import resolve

VARIANTS = {"wgan-gp": wgan_gp.WGANGP, "sngan": sngan.SNGAN}


def options(settings):
    return dict(setting.split("=", 1) for setting in settings)


def parts_of(preset) -> Parts:
    backbone = ResNet()
    own = {name.removeprefix("resnet."): value for name, value in options(preset.settings).items()}
    backbone.config = resolve(ResNet, "resnet", own)
    return backbone(DataSpec((3, 32, 32)))


@pytest.mark.parametrize(
    ("preset", "of_g", "of_d", "end"), [(WGAN_GP, 128, 128, GlobalMean), (SNGAN, 256, 128, GlobalSum)]
)
def test_networks_are_as_wide_as_published(preset, of_g, of_d, end):
    (entry,) = preset.entries
    with torch.device("meta"):
        cls = VARIANTS[entry.variant]
        variant = cls(parts_of(preset), resolve(cls, entry.variant, options(entry.settings)))
    maps = {layer.out_channels for layer in variant.G.modules() if isinstance(layer, nn.Conv2d)}
    assert maps == {of_g, 3}
    assert {layer.out_channels for layer in variant.D.modules() if isinstance(layer, nn.Conv2d)} == {of_d}
    assert type(variant.D.trunk[-1]) is end and variant.z_dim == 128
    assert not [layer for layer in variant.D.modules() if isinstance(layer, nn.BatchNorm2d | nn.GroupNorm)]


@pytest.mark.parametrize("preset", [WGAN_GP, SNGAN])
def test_the_recipe_is_the_published_one(preset):
    (entry,) = preset.entries
    config = resolve(VARIANTS[entry.variant], entry.variant, options(entry.settings))
    found = (config.lr, config.betas, config.critic_steps, config.decay, config.generator_batch, config.dequantise)
    assert found == (2e-4, (0.0, 0.9), 5, True, 2, True)
    assert (preset.request["budget"], preset.request["batch"]) == ("100k-updates", 64)


@pytest.mark.parametrize("preset", [WGAN_GP, SNGAN])
def test_published_numbers_are_of_metrics_that_are_asked_for(preset):
    assert preset.published
    for number in preset.published:
        assert number.dataset in preset.datasets and number.metric in preset.request["metrics"]
        assert number.label in {entry.variant for entry in preset.entries}


def test_a_step_of_each_runs_on_narrow_networks():
    for preset in (WGAN_GP, SNGAN):
        (entry,) = preset.entries
        backbone, cls = ResNet(), VARIANTS[entry.variant]
        backbone.config = resolve(ResNet, "resnet", {"width": "4", "generator_width": "2"})
        variant = cls(backbone(DataSpec((3, 32, 32))), resolve(cls, entry.variant, options(entry.settings)))
        updates = list(variant.step(Batch(torch.rand(2, 3, 32, 32) * 2 - 1), Clock(4, torch.zeros(()))))
        assert [update.player for update in updates] == ["D", "G"]
