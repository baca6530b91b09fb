"""SNGAN's residual networks: the rows of its tables, the arithmetic of a block, parameters, initial weights."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from ganbench_plugins.backbones.resnet import GlobalSum, ResNet, Sum, block, doubling, first_halving
from torch import nn

from ganbench import DataSpec
from ganbench.runs.options import resolve

# Side, channels of G, of D, and the sides of D's maps, as the tables and the authors' Chainer code have them
TABLES = [
    (32, (256, 256, 256, 256), (128, 128, 128, 128), (16, 8, 8, 8)),
    (48, (512, 256, 128, 64), (64, 128, 256, 512, 1024), (24, 12, 6, 3, 3)),
    (64, (1024, 512, 256, 128, 64), (64, 128, 256, 512, 1024), (32, 16, 8, 4, 2)),
    (128, (1024, 1024, 512, 256, 128, 64), (64, 128, 256, 512, 1024, 1024), (64, 32, 16, 8, 4, 4)),
]


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def blocks(network: nn.Module) -> list[Sum]:
    return [layer for layer in network if isinstance(layer, Sum)]


def full_size(side, channels=3):
    return ResNet()(DataSpec((channels, side, side)))


@pytest.mark.parametrize(("side", "up", "down", "sides"), TABLES)
def test_blocks_are_the_rows_of_the_tables(side, up, down, sides):
    with torch.device("meta"):
        generator, trunk = full_size(side).generator(), full_size(side).discriminator(norm="none").trunk
        x = generator[:2](torch.zeros(2, 128))
        seen = [tuple(x.shape[1:3])]
        for layer in blocks(generator):
            x = layer(x)
            seen.append(tuple(x.shape[1:3]))
        x, below = torch.zeros(2, 3, side, side), []
        for layer in blocks(trunk):
            x = layer(x)
            below.append(tuple(x.shape[1:3]))
    base = side // 2 ** (len(up) - 1)
    assert seen == [(channels, base * 2**level) for level, channels in enumerate(up)]
    assert below == list(zip(down, sides, strict=True))
    ends = [type(layer) for layer in generator if not isinstance(layer, Sum)]
    assert ends == [nn.Linear, nn.Unflatten, nn.BatchNorm2d, nn.ReLU, nn.Conv2d, nn.Tanh]
    assert [type(layer) for layer in trunk[-2:]] == [nn.ReLU, GlobalSum]


@pytest.mark.parametrize(("side", "up", "down", "sides"), TABLES)
@pytest.mark.parametrize("channels", [1, 3])
def test_parameters_are_as_many_as_the_tables_say(side, up, down, sides, channels):
    with torch.device("meta"):
        generator = full_size(side, channels).generator()
        discriminator = full_size(side, channels).discriminator(norm="none")
    expected = 129 * up[0] * (side // 2 ** (len(up) - 1)) ** 2 + 2 * up[-1] + 9 * up[-1] * channels + channels
    for n, m in pairwise(up):
        expected += (9 * n * m + m) + (9 * m * m + m) + (n * m + m) + 2 * n + 2 * m
    assert parameters(generator) == expected
    m = down[0]
    expected = (9 * channels * m + m) + (9 * m * m + m) + (channels * m + m) + down[-1] + 1
    for n, m, before, after in zip(down, down[1:], sides, sides[1:], strict=False):
        expected += (9 * n * n + n) + (9 * n * m + m) + (n * m + m if n != m or before != after else 0)
    assert parameters(discriminator) == expected


def test_a_doubling_block_is_what_the_chainer_code_computes():
    torch.manual_seed(0)
    layer, x = doubling(3, 2, "batch"), torch.randn(4, 3, 5, 5)
    c1, c2, (c0,) = *convolutions(layer.residual), convolutions(layer.shortcut)
    h = F.relu(F.batch_norm(x, None, None, training=True))
    h = F.conv2d(h.repeat_interleave(2, 2).repeat_interleave(2, 3), c1.weight, c1.bias, padding=1)
    h = F.conv2d(F.relu(F.batch_norm(h, None, None, training=True)), c2.weight, c2.bias, padding=1)
    shortcut = torch.einsum("oi,bihw->bohw", c0.weight[:, :, 0, 0], x).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(layer(x), h + shortcut, rtol=1e-4, atol=1e-5)


def test_the_first_block_of_d_is_what_the_chainer_code_computes():
    torch.manual_seed(0)
    layer, x = first_halving(3, 4), torch.randn(2, 3, 6, 6)
    c1, c2, (c0,) = *convolutions(layer.residual), convolutions(layer.shortcut)
    h = mean_of_four(F.conv2d(F.relu(F.conv2d(x, c1.weight, c1.bias, padding=1)), c2.weight, c2.bias, padding=1))
    shortcut = torch.einsum("oi,bihw->bohw", c0.weight[:, :, 0, 0], mean_of_four(x))
    torch.testing.assert_close(layer(x), h + shortcut, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("outputs", "halve"), [(3, False), (3, True), (4, False), (4, True)])
def test_the_other_blocks_of_d_are_what_the_chainer_code_computes(outputs, halve):
    torch.manual_seed(0)
    layer, x = block(3, outputs, "none", halve=halve), torch.randn(2, 3, 6, 6)
    c1, c2 = convolutions(layer.residual)
    h = F.conv2d(F.relu(x), c1.weight, c1.bias, padding=1)
    h = F.conv2d(F.relu(h), c2.weight, c2.bias, padding=1)
    shortcut = x
    if halve or outputs != 3:
        (c0,) = convolutions(layer.shortcut)
        shortcut = torch.einsum("oi,bihw->bohw", c0.weight[:, :, 0, 0], x)
    else:
        assert not parameters(layer.shortcut)
    expected = mean_of_four(h + shortcut) if halve else h + shortcut
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]


def mean_of_four(x):
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def test_features_are_summed_over_all_pixels():
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(GlobalSum()(x), torch.stack([x[:, c].flatten(1).sum(1) for c in range(3)], 1))


def test_a_norm_of_d_stands_before_each_activation_but_in_the_first_block():
    with torch.device("meta"):
        trunk = full_size(32).discriminator(norm="layer").trunk
    first, *others = blocks(trunk)
    assert not any(isinstance(layer, nn.GroupNorm) for layer in first.modules())
    for layer in others:
        found = [type(child) for child in layer.residual if not isinstance(child, nn.AvgPool2d)]
        assert found == 2 * [nn.GroupNorm, nn.ReLU, nn.Conv2d]
    assert [type(layer) for layer in trunk[-2:]] == [nn.ReLU, GlobalSum]


def test_weights_start_uniform_after_glorot_with_a_larger_gain_in_residual_convolutions():
    torch.manual_seed(0)
    backbone = ResNet()
    backbone.config = resolve(ResNet, "resnet", {"width": "16"})
    parts = backbone(DataSpec((3, 32, 32)))
    assert parts.z_dim == 128
    for network in (parts.generator(), parts.discriminator(norm="none")):
        residual = {
            conv for layer in network.modules() if isinstance(layer, Sum) for conv in convolutions(layer.residual)
        }
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                pixels = layer.weight[0, 0].numel() if isinstance(layer, nn.Conv2d) else 1
                bound = (6 / (pixels * sum(layer.weight.shape[:2]))) ** 0.5 * (2**0.5 if layer in residual else 1)
                assert layer.weight.abs().max().item() <= bound * (1 + 1e-6)
                assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.2)
                assert not layer.bias.any()


def test_g_s_width_and_the_pooling_of_d_are_options():
    """WGAN-GP's networks for CIFAR-10 have 128 channels everywhere, and D takes the mean over pixels."""
    backbone = ResNet()
    backbone.config = resolve(ResNet, "resnet", {"width": "8", "generator_width": "4", "pool": "mean"})
    parts = backbone(DataSpec((3, 32, 32)))
    assert {layer.out_channels for layer in parts.generator().modules() if isinstance(layer, nn.Conv2d)} == {16, 3}
    torch.manual_seed(0)
    averaging = parts.discriminator(norm="none")
    assert {layer.out_channels for layer in averaging.modules() if isinstance(layer, nn.Conv2d)} == {16}
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(averaging.trunk(x), averaging.trunk[:-1](x).sum((2, 3)) / 64)
    assert type(full_size(32).discriminator(norm="none").trunk[-1]) is GlobalSum
