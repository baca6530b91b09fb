"""R3GAN: losses and penalties in closed form, schedules, published networks and their first numbers, options."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from ganbench_plugins.variants import r3gan
from ganbench_plugins.variants.r3gan import R3GAN, Block, ConditionalR3GAN, Config
from torch import nn
from torch.nn.functional import one_hot, softplus

from ganbench import Batch, Clock, DataSpec, Parts, UserError
from ganbench.runs.options import resolve


def at(progress: float) -> Clock:
    return Clock(0, torch.tensor(progress))


@pytest.mark.parametrize(("progress", "weight"), [(0.0, 0.05), (0.05, 0.0275), (0.1, 0.005), (0.7, 0.005)])
def test_losses_of_a_linear_d_are_known(parts, real, perform, affine, progress, weight):
    """Of D(x) = w·x + b each penalty is ½‖w‖²; pairs are of the batch's first half with fakes, then of its second."""
    variant = R3GAN(parts, Config(lr=0.1, last_lr=0.1))
    optimizers = variant.optimizers()
    first, second = real[:4], real[4:]
    torch.manual_seed(5)
    z_d, z_g = torch.randn(4, 3), torch.randn(4, 3)
    torch.manual_seed(5)
    step = variant.step(Batch(real), at(progress))
    update = next(step)
    square = (variant.D.head.weight.detach().double().numpy() ** 2).sum()
    difference = affine(variant.D.head, first) - affine(variant.D.head, affine(variant.G, z_d))
    expected = np.log1p(np.exp(-difference)).mean() + weight * square
    assert update.player == "D" and update.loss.item() == pytest.approx(expected, rel=1e-5)
    assert update.log["r1"].item() == pytest.approx(square / 2, rel=1e-5) == update.log["r2"].item()
    perform(update, optimizers["D"])
    update = next(step)
    difference = affine(variant.D.head, affine(variant.G, z_g)) - affine(variant.D.head, second)
    assert update.player == "G"
    assert update.loss.item() == pytest.approx(np.log1p(np.exp(-difference)).mean(), rel=1e-5)


def stirred(variant: R3GAN) -> R3GAN:
    """Let blocks do something, which they do not at first."""
    for module in variant.modules():
        if isinstance(module, Block):
            nn.init.normal_(module.last.weight, 0, 0.1)
    return variant


def test_one_pass_is_the_two_passes_of_the_formula():
    """The loss of D and its gradients are those of a pass for each logit and each penalty, written out."""
    variant, real = stirred(build()), torch.randn(8, 3, 16, 16)
    torch.manual_seed(5)
    z = torch.randn(4, 64)
    torch.manual_seed(5)
    update = next(variant.step(Batch(real), at(0.0)))
    fake = variant.G(z).detach()

    def penalty(x: torch.Tensor) -> torch.Tensor:
        x = x.clone().requires_grad_()
        slopes = torch.autograd.grad(variant.D(x).sum(), x, create_graph=True)[0]
        return 0.5 * slopes.square().sum((1, 2, 3)).mean()

    adversarial = softplus(variant.D(fake) - variant.D(real[:4])).mean()
    expected = adversarial + 0.05 * (penalty(real[:4]) + penalty(fake))
    torch.testing.assert_close(update.loss, expected)
    weights = list(variant.D.parameters())
    found = torch.autograd.grad(update.loss, weights)
    torch.testing.assert_close(found, torch.autograd.grad(expected, weights), atol=1e-5, rtol=1e-4)


def test_all_schedules_are_cosines_over_the_burn_in(parts):
    """The half-life is doubled, because both players' images are counted here and one player's by the authors."""
    variant = R3GAN(parts, Config(burn_in=0.2))
    for progress in (0.0, 0.05, 0.1, 0.2, 1.0):
        risen = 0.5 * (1 - math.cos(math.pi * min(1, progress / 0.2)))
        settings = variant.schedules(at(progress))
        assert settings["D"] == settings["G"]
        assert float(settings["G"]["lr"]) == pytest.approx(2e-4 + risen * (5e-5 - 2e-4), rel=1e-5)
        assert settings["G"]["betas"][0] == 0
        assert float(settings["G"]["betas"][1]) == pytest.approx(0.9 + risen * (0.99 - 0.9), rel=1e-5)
        assert float(settings["ema"]["half_life_images"]) == pytest.approx(risen * 10_000_000, rel=1e-5, abs=1e-3)


def test_without_a_burn_in_all_is_at_its_end(parts):
    settings = R3GAN(parts, Config(burn_in=0.0)).schedules(at(0.01))
    assert float(settings["G"]["lr"]) == pytest.approx(5e-5)


def test_a_step_is_served_two_batches_and_players_take_turns(parts, real, play):
    variant = R3GAN(parts, Config())
    assert variant.images_per_step(32) == 64
    assert [u.player for u in play(variant, real, 20)] == ["D", "G"] * 20


def build(side=16, channels=3, kind=R3GAN, **options):
    torch.manual_seed(0)
    return kind(Parts(DataSpec((channels, side, side), classes=5), 4), Config(**({"width": 8} | options)))


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (12, 3), (28, 1), (32, 3), (64, 3)])
def test_images_of_every_size_fit(side, channels):
    variant = build(side, channels)
    samples = variant.sample(3)
    assert samples.shape == (3, channels, side, side) and variant.judge(samples, None, at(0.0)).shape == (3, 1)


def test_the_networks_are_plain():
    variant = build()
    kinds = {type(m) for m in variant.modules()}
    assert not kinds & {nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm, nn.Tanh, nn.InstanceNorm2d}
    blocks = [m for m in variant.modules() if isinstance(m, Block)]
    x = torch.randn(2, 8, 4, 4)
    assert len(blocks) == 6 and all(torch.equal(b(x), x) for b in blocks if b.first.in_channels == 8)
    assert all(b.middle.groups == b.middle.in_channels // 16 for b in blocks)


def sizes(variant):
    return [sum(p.numel() for p in network.parameters()) for network in (variant.G, variant.D)]


def block_size(width, group):
    """Weights of 1×1, grouped 3×3 and 1×1 convolutions of twice the width, and two sets of biases."""
    inner = 2 * width
    return 2 * width * inner + inner * group * 9 + 2 * inner


@pytest.mark.parametrize(
    ("network", "side", "widths", "group"),
    [
        ("cifar10", 32, [768] * 4, 16),
        ("stacked-mnist", 32, [768] * 4, 16),
        ("ffhq64", 64, [384, 768, 768, 768, 768], 16),
        ("ffhq256", 256, [96, 192, 384, 768, 768, 768, 768], 16),
        ("imagenet32", 32, [1536] * 4, 32),
        ("imagenet64", 64, [1536] * 5, 32),
    ],
)
def test_published_networks_have_the_widths_of_the_authors(network, side, widths, group):
    """Two blocks a stage, and a 1×1 convolution only between stages that differ in width; counted by hand."""
    with torch.device("meta"):
        found = sizes(R3GAN(Parts(DataSpec((3, side, side)), 4), Config(network=network)))
    shared = sum(2 * block_size(width, group) for width in widths) + 3 * widths[0] + 16 * widths[-1]
    shared += sum(one * other for one, other in pairwise(widths) if one != other)
    assert found == [shared + 64 * widths[-1], shared + widths[-1]]


def test_networks_of_cifar10_have_as_many_weights_as_the_paper_s():
    """Table 9: 20.73M and 20.68M; told the classes, 64 more inputs of G's first layer, D's 768 outputs, embeddings."""
    data = DataSpec((3, 32, 32), classes=10)
    with torch.device("meta"):
        assert sizes(R3GAN(Parts(data, 4), Config(network="cifar10"))) == [20_732_160, 20_683_776]
        told = sizes(ConditionalR3GAN(Parts(data, 4), Config(network="cifar10")))
    assert told == [20_732_160 + 64 * 768 + 10 * 64, 20_683_776 - 768 + 768 * 768 + 10 * 768]


def test_initial_weights_keep_signals_small():
    """With the gain 1 outside the blocks D's first loss is about ln 2, and few pixels of samples pass [-1, 1]."""
    torch.manual_seed(0)
    variant = R3GAN(Parts(DataSpec((3, 32, 32)), 4), Config())
    samples = variant.sample(256).detach()
    assert 0.35 < float(samples.std()) < 0.65 and float((samples.abs() > 1).float().mean()) < 0.1
    losses = [next(variant.step(Batch(torch.rand(64, 3, 32, 32) * 2 - 1), at(0.0))).loss.item() for _ in range(3)]
    assert max(losses) < math.log(2) + 0.4
    for layer in [m for network in (variant.G, variant.D) for m in network.modules() if isinstance(m, nn.Conv2d)]:
        if layer.bias is None and layer.weight.any():  # transitions, the first and the last layer
            assert layer.weight.std().item() == pytest.approx(layer.in_channels**-0.5, rel=0.25)
    blocks = [m for m in variant.modules() if isinstance(m, Block) and m.first.in_channels == 256]
    for layer in (layer for block in blocks for layer in (block.first, block.middle)):  # four blocks in each network
        expected = math.sqrt(2 / 1.04) * 4**-0.25 / math.sqrt(layer.weight[0].numel())
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.05)
    assert variant.D.basis.std().item() == pytest.approx(1 / 4, rel=0.1)
    assert variant.G.basis.std().item() == pytest.approx(1, rel=0.1)


def test_resampling_is_bilinear():
    """Doubling is interpolation; halving weighs 1, 3, 3, 1, as interpolation does that looks at twice the distance."""
    kernel = 4 * r3gan.bilinear_filter().expand(5, 1, 4, 4)
    x = torch.randn(1, 5, 8, 8)
    found = nn.functional.conv_transpose2d(x, kernel, None, 2, 1, groups=5)
    expected = nn.functional.interpolate(x, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])
    found = nn.functional.conv2d(x, kernel / 4, None, 2, 1, groups=5)
    expected = nn.functional.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True)
    torch.testing.assert_close(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])


def test_networks_double_and_halve_by_it():
    """Of equal widths nothing else lies between two stages, and blocks are the identity at first."""
    variant = build(8, growth=1)
    with torch.no_grad():
        z, x = torch.randn(2, 64), torch.randn(2, 3, 8, 8)
        small = variant.G.basis * variant.G.scale(z)[:, :, None, None]
        large = nn.functional.conv_transpose2d(small, variant.G.bilinear.expand(8, 1, 4, 4), None, 2, 1, groups=8)
        torch.testing.assert_close(variant.G(z), variant.G.leave(large))
        halved = nn.functional.conv2d(variant.D.enter(x), variant.D.bilinear.expand(8, 1, 4, 4), None, 2, 1, groups=8)
        basis = nn.functional.conv2d(halved, variant.D.basis[:, None], groups=8).flatten(1)
        torch.testing.assert_close(variant.D(x), variant.D.head(basis))


def test_classes_enter_as_the_authors_have_it():
    """G's latents with a linear map of one-hot labels beside them; D's features times another, its gain 1/√width."""
    variant = build(kind=ConditionalR3GAN, width=16)
    labels, z = torch.tensor([0, 4, 2]), torch.randn(3, 64)
    codes = one_hot(labels, 5).float()
    with torch.no_grad():
        inputs = torch.cat([z, codes @ variant.G.embedding.weight], 1)
        seen = []
        variant.G.scale.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
        x = variant.G(z, labels)
        torch.testing.assert_close(seen[0], inputs)
        variant.D.head.register_forward_hook(lambda module, given, output: seen.append(output))
        found = variant.D(x, labels)
        torch.testing.assert_close(found, (seen[1] * (codes @ variant.D.embedding.weight)).sum(1, keepdim=True))
    assert seen[1].shape == (3, 64) and found.shape == (3, 1)
    assert variant.G.embedding.weight.std().item() == pytest.approx(5**-0.5, rel=0.15)
    assert variant.D.embedding.weight.std().item() == pytest.approx((5 * 64) ** -0.5, rel=0.15)


def test_pairs_are_of_one_class():
    """Both players' fakes have the labels of their reals, and G hears no more than its half of them."""
    variant, given = build(kind=ConditionalR3GAN), []
    variant.G.register_forward_hook(lambda module, inputs, output: given.append(inputs[1]))
    judged = []
    variant.D.register_forward_hook(lambda module, inputs, output: judged.append(inputs[1]))
    labels = torch.tensor([0, 1, 2, 3])
    list(variant.step(Batch(torch.randn(4, 3, 16, 16), labels), at(0.0)))
    assert [labels.tolist() for labels in given] == [[0, 1], [2, 3]]
    assert [labels.tolist() for labels in judged] == [[0, 1, 0, 1], [2, 3], [2, 3]]
    assert variant.sample(6).shape == (6, 3, 16, 16)


def test_augmentation_rises_and_the_penalty_is_on_images_before_it(monkeypatch):
    """D sees what a pipe makes of every image; through one that halves them, slopes at the images are half as steep."""
    variant, chances = stirred(build(augment=0.5, burn_in=0.2)), []

    def halve(x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        chances.append(float(p))
        return x / 2

    monkeypatch.setattr(variant.augmentation, "forward", halve)
    real = torch.randn(4, 3, 16, 16)
    first = next(variant.step(Batch(real), at(0.1)))
    x = (real[:2] / 2).requires_grad_()
    slopes = torch.autograd.grad(variant.D(x).sum(), x)[0]
    expected = 0.5 * (slopes / 2).square().sum((1, 2, 3)).mean()
    torch.testing.assert_close(first.log["r1"], expected)
    for progress in (0.0, 0.2, 1.0):
        list(variant.step(Batch(real), at(progress)))
    assert chances == pytest.approx([0.25, *[0.0] * 3, *[0.5] * 6])


def test_at_a_probability_of_zero_augmentation_changes_no_loss():
    real = torch.randn(4, 3, 16, 16)
    losses = []
    for augment in (0.0, 0.5):
        variant = stirred(build(augment=augment))
        variant.noise = lambda n: torch.ones(n, 64)  # the pipe draws numbers too
        losses.append([update.loss.item() for update in variant.step(Batch(real), at(0.0))])
    assert losses[0] == losses[1]


def test_half_of_the_images_are_mirrored():
    x = torch.randn(1, 3, 4, 4).expand(400, -1, -1, -1)
    torch.manual_seed(0)
    made = r3gan.mirrored(x)
    flipped = (made == x.flip(3)).flatten(1).all(1)
    assert ((made == x).flatten(1).all(1) ^ flipped).all() and 160 < int(flipped.sum()) < 240


def test_mirrored_images_are_what_players_see(seen_by, monkeypatch):
    variant, real = build(mirror=True), torch.randn(4, 3, 16, 16)
    monkeypatch.setattr(r3gan, "mirrored", lambda x: x.flip(3))
    seen = seen_by(variant.D)
    list(variant.step(Batch(real), at(0.0)))
    assert torch.equal(seen[0][:2], real[:2].flip(3)) and torch.equal(seen[2], real[2:].flip(3))


def test_samples_for_evaluation_are_cut_off():
    variant = build()
    with torch.no_grad():
        variant.G.leave.weight.mul_(100)
    assert variant.train().sample(4).abs().max() > 1 and variant.eval().sample(4).abs().max() <= 1


def test_single_options_go_before_those_of_the_network():
    recipe = build(network="imagenet32", width=8, last_penalty=0.0, group=8, mirror=False).recipe
    assert (recipe.width, recipe.group, recipe.last_penalty, recipe.mirror) == (8, 8, 0.0, False)
    assert (recipe.penalty, recipe.augment, recipe.half_life, recipe.burn_in) == (0.5, 0.5, 5e7, 0.2)


def test_defaults_and_options(parts):
    for optimizer in R3GAN(parts, Config()).optimizers().values():
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (2e-4, (0.0, 0.99))
    with pytest.raises(UserError, match="burn_in"):
        resolve(R3GAN, "r3gan", {"burn_in": "1"})
    assert "divisible by 4" in R3GAN.misfit(DataSpec((3, 18, 18)))
    assert R3GAN.misfit(DataSpec((2,))) is None
    assert "makes images" in ConditionalR3GAN.misfit(DataSpec((2,), classes=8))


@pytest.mark.parametrize("options", [{"width": 28}, {"width": 12, "group": 9}, {"width": 768, "group": 1000}])
def test_groups_that_do_not_divide_the_channels_are_told(options):
    with pytest.raises(UserError, match=rf"^width={options['width']} makes .* do not divide"):
        build(**options)


@pytest.mark.parametrize("options", [{"augment": 0.3}, {"mirror": True}])
def test_points_are_neither_augmented_nor_mirrored(parts, options):
    with pytest.raises(UserError, match="points can be neither"):
        R3GAN(parts, Config(**options))


def test_a_published_recipe_trains_points_without_its_pictures(parts, real, play):
    variant = R3GAN(parts, Config(network="cifar10"))
    assert [u.player for u in play(variant, real, 1)] == ["D", "G"]
