"""What the networks of published comparisons have in common: shapes, norms, gradients, training, refusals."""

from __future__ import annotations

import pytest
import torch
from ganbench_plugins.backbones import (
    infogan as backbone_infogan,
    resnet as backbone_resnet,
    sngan as backbone_sngan,
    unrolled_mnist as backbone_unrolled,
    veegan as backbone_veegan,
)
from ganbench_plugins.variants.gan import GAN
from torch import Tensor, nn

from ganbench import Backbone, DataSpec, ImageSet, UserError
from ganbench.runs.options import resolve
from ganbench.runs.registry import discover
from ganbench.training.budget import Budget
from ganbench.training.networks import SeededParts, build_variant
from ganbench.training.trainer import Trainer

FAMILIES = {
    "infogan": (backbone_infogan.InfoGAN, {"width": "4", "hidden": "16"}, (8, 12, 28, 32, 64, 128)),
    "veegan": (backbone_veegan.VEEGAN, {"width": "4"}, (17, 28, 32, 35, 64, 128)),
    "unrolled-mnist": (
        backbone_unrolled.UnrolledMNIST,
        {"width": "4", "discriminator_width": "4"},
        (9, 28, 32, 64),
    ),
    "sngan": (backbone_sngan.SNGAN, {"width": "4"}, (32, 48, 64, 128)),
    "resnet": (backbone_resnet.ResNet, {"width": "2"}, (32, 48, 64, 128)),
}
SIDES = [(name, side) for name, (_, _, sides) in FAMILIES.items() for side in sides]
NORMS = ("batch", "layer", "instance", "spectral", "none")
NORM_LAYERS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)
IMAGES = DataSpec((3, 32, 32))


def narrow(name: str) -> Backbone:
    cls, settings, _ = FAMILIES[name]
    backbone = cls()
    backbone.config = resolve(cls, name, settings)
    return backbone


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "side"), SIDES)
def test_every_part_has_the_shape_it_promises(name, side, channels):
    data = DataSpec((channels, side, side))
    backbone = narrow(name)
    assert backbone.misfit(data) is None
    parts = backbone(data)
    x = torch.randn(2, *data.shape)
    assert parts.generator()(torch.randn(2, parts.z_dim)).shape == x.shape
    assert parts.generator(inputs=7)(torch.randn(2, 7)).shape == x.shape
    assert parts.discriminator(outputs=3)(x).shape == (2, 3)
    assert parts.discriminator(channels=2 * channels)(torch.cat([x, x], 1)).shape == (2, 1)
    assert parts.discriminator().trunk(x).ndim == 2
    assert parts.encoder(outputs=5)(x).shape == (2, 5)
    autoencoder = parts.autoencoder(norm="batch")
    for half in (autoencoder.encoder, autoencoder.decoder):
        assert any(isinstance(layer, nn.BatchNorm2d) for layer in half.modules())
    assert autoencoder(x).shape == x.shape
    autoencoder = parts.autoencoder()
    assert not any(isinstance(layer, NORM_LAYERS) for layer in autoencoder.modules())
    assert autoencoder(x).shape == x.shape
    code = autoencoder.encoder(x)
    assert code.ndim == 2 and code.shape[1] <= x[0].numel() // 4


def check_every_parameter_gets_a_gradient(network: nn.Module, inputs: Tensor) -> None:
    network(inputs).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any() or name.endswith("bias"), name  # a norm takes the bias before it away


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_of_a_discriminator_gets_a_gradient(name, norm):
    torch.manual_seed(0)
    check_every_parameter_gets_a_gradient(narrow(name)(IMAGES).discriminator(norm=norm), torch.randn(3, *IMAGES.shape))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_of_the_other_parts_gets_a_gradient(name):
    torch.manual_seed(0)
    parts, x = narrow(name)(IMAGES), torch.randn(3, *IMAGES.shape)
    check_every_parameter_gets_a_gradient(parts.generator(), torch.randn(3, parts.z_dim))
    check_every_parameter_gets_a_gradient(parts.encoder(outputs=2), x)
    check_every_parameter_gets_a_gradient(parts.autoencoder(), x)


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_gradient_of_a_gradient_penalty_is_that_of_finite_differences(name, norm):
    """Twice differentiated, along one direction in the weights, in float64, at weights that let signals through."""
    torch.manual_seed(0)
    critic = narrow(name)(IMAGES).discriminator(norm=norm).double()
    for layer in critic.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.bias)
    x = torch.randn(2, *IMAGES.shape, dtype=torch.float64, requires_grad=True)
    weights = list(critic.parameters())
    direction = [torch.randn_like(weight) * (weight.detach().abs().mean() + 0.01) for weight in weights]

    def penalty() -> Tensor:
        (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
        return (gradient.flatten(1).norm(dim=1) - 1).square().mean()

    penalty().backward(inputs=weights)
    reached = [weight for weight in weights if weight.grad is not None and weight.grad.any()]
    assert len(reached) >= len(weights) // 2  # the biases after the last norm do not move the slope
    slope = sum(
        float((weight.grad * d).sum()) for weight, d in zip(weights, direction, strict=True) if weight.grad is not None
    )
    values = []
    for step in (1e-6, -2e-6):
        with torch.no_grad():
            for weight, d in zip(weights, direction, strict=True):
                weight += step * d
        values.append(penalty().item())
    assert slope == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-3)


@pytest.mark.parametrize("name", FAMILIES)
def test_spectral_norm_makes_the_largest_singular_value_of_every_layer_one(name):
    def largest(norm):
        torch.manual_seed(0)
        network = narrow(name)(IMAGES).discriminator(norm=norm)
        with torch.no_grad():
            for _ in range(100):
                network(torch.randn(2, *IMAGES.shape))
        layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
        return [torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2).item() for layer in layers]

    assert largest("spectral") == pytest.approx([1.0] * len(largest("none")), rel=0.05)
    assert max(abs(value - 1) for value in largest("none")) > 0.4


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("norm", ["spectral", "none"])
def test_discriminators_without_a_norm_do_not_mix_samples(name, norm):
    torch.manual_seed(0)
    network = narrow(name)(IMAGES).discriminator(norm=norm).eval()
    x = torch.randn(4, *IMAGES.shape)
    torch.testing.assert_close(network(x)[:2], network(x[:2]))
    assert not any(isinstance(layer, NORM_LAYERS) for layer in network.modules())


@pytest.mark.parametrize("name", FAMILIES)
def test_autoencoders_are_not_normalised_and_end_linear(name):
    layers = list(narrow(name)(IMAGES).autoencoder().modules())
    assert not any(isinstance(layer, (*NORM_LAYERS, nn.Tanh)) for layer in layers)


@pytest.mark.parametrize("name", FAMILIES)
def test_generated_images_stay_between_minus_one_and_one(name):
    parts = narrow(name)(IMAGES)
    generator = parts.generator()
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(100)
    assert 0.9 < generator(torch.randn(4, parts.z_dim)).abs().max() <= 1


@pytest.mark.parametrize("name", FAMILIES)
def test_the_seed_and_not_the_variant_decides_the_first_generator(name):
    first, second, other = (SeededParts(narrow(name)(IMAGES), seed) for seed in (0, 0, 1))
    second.discriminator(norm="layer"), torch.rand(3)  # another variant asks for other things first
    weights = [
        torch.cat([p.flatten() for p in parts.generator().parameters()]).detach() for parts in (first, second, other)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_gan_trains_on_it(name):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, *IMAGES.shape), dtype=torch.uint8, generator=generator)
    variant = build_variant(GAN, narrow(name), IMAGES, seed=0, config=resolve(GAN, "gan", {}))
    before = [parameter.detach().clone() for parameter in variant.parameters()]
    budget = Budget.parse("2-updates")
    run = Trainer(variant, ImageSet(images), budget, seed=0, batch=4, device=torch.device("cpu"))
    *_, last = run.train(1.0)
    assert last.meters.updates == {"G": 2, "D": 2}
    assert all(torch.isfinite(torch.tensor(loss)) for loss in last.losses.values())
    moved = [not torch.equal(old, new) for old, new in zip(before, variant.parameters(), strict=True)]
    assert sum(moved) > 0.6 * len(moved)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_family_is_installed_under_its_name(name):
    assert isinstance(discover().get("backbone", name).item, FAMILIES[name][0])


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        ("infogan", (1, 30, 30), "infogan makes images of 8 to 128 px with a side divisible by 4, not 30 px"),
        ("infogan", (1, 4, 4), "not 4 px"),
        ("infogan", (3, 132, 132), "not 132 px"),
        ("veegan", (1, 16, 16), "veegan makes images of 17 to 128 px, not 16 px"),
        ("veegan", (1, 129, 129), "not 129 px"),
        ("unrolled-mnist", (1, 8, 8), "unrolled-mnist makes images of 9 to 64 px, not 8 px"),
        ("sngan", (3, 28, 28), "sngan makes images of 32, 48, 64 or 128 px, not 28 px"),
        ("resnet", (3, 96, 96), "resnet makes images of 32, 48, 64 or 128 px, not 96 px"),
        *((name, (3, 32, 64), f"{name} makes square images, not 32×64 px") for name in FAMILIES),
        *((name, (2,), f"{name} makes images, not data of shape") for name in FAMILIES),
    ],
)
def test_data_that_do_not_fit_are_refused_with_the_reason(name, shape, reason):
    backbone = FAMILIES[name][0]()
    assert reason in backbone.misfit(DataSpec(shape))
    with pytest.raises(UserError, match=reason.split(",")[0]):
        backbone(DataSpec(shape))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("setting", [{"width": "0"}, {"z_dim": "1.5"}, {"code": "-1"}, {"widht": "8"}])
def test_wrong_options_are_refused(name, setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(FAMILIES[name][0], name, setting)


@pytest.mark.parametrize("name", FAMILIES)
def test_translators_are_not_offered(name):
    with pytest.raises(UserError, match="no translator"):
        narrow(name)(IMAGES).translator()
