"""DCGAN and MLP: shapes, normalisation, initial weights, and the data they refuse."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from ganbench_plugins.backbones import dcgan as backbone_dcgan, mlp as backbone_mlp
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.backbones.mlp import MLP
from torch import Tensor, nn

from ganbench import Backbone, DataSpec, UserError
from ganbench.runs.options import resolve
from ganbench.training.networks import SeededParts

NORMALISED = {"batch": nn.BatchNorm2d, "layer": nn.GroupNorm, "instance": nn.InstanceNorm2d}
NORM_LAYERS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)


def narrow_dcgan() -> Backbone:
    backbone = DCGAN()
    backbone.config = backbone_dcgan.Config(width=4)
    return backbone


def narrow_mlp() -> Backbone:
    backbone = MLP()
    backbone.config = backbone_mlp.Config(width=16)
    return backbone


def kinds(network: nn.Module) -> list[type[nn.Module]]:
    return [type(layer) for layer in network.modules() if not list(layer.children())]


FITTING = [
    *[
        (narrow_dcgan(), DataSpec((channels, side, side)))
        for side in (8, 10, 28, 32, 48, 64, 128)
        for channels in (1, 3)
    ],
    *[(narrow_mlp(), DataSpec(shape)) for shape in ((2,), (1, 8, 8), (3, 32, 32), (1, 28, 28))],
]


@pytest.mark.parametrize(("backbone", "data"), FITTING, ids=lambda value: getattr(value, "name", None))
def test_every_part_has_the_shape_it_promises(backbone, data):
    assert backbone.misfit(data) is None
    parts = backbone(data)
    x, first = torch.randn(2, *data.shape), data.shape[0]
    assert parts.generator()(torch.randn(2, parts.z_dim)).shape == x.shape
    assert parts.generator(inputs=7)(torch.randn(2, 7)).shape == x.shape
    assert parts.discriminator()(x).shape == (2, 1)
    assert parts.discriminator(outputs=3)(x).shape == (2, 3)
    assert parts.discriminator(channels=2 * first)(torch.cat([x, x], 1)).shape == (2, 1)
    assert parts.discriminator().trunk(x).ndim == 2
    assert parts.encoder(outputs=5)(x).shape == (2, 5)
    autoencoder = parts.autoencoder()
    assert autoencoder(x).shape == x.shape
    code = autoencoder.encoder(x)
    assert code.ndim == 2 and code.shape[1] < x[0].numel()


IMAGES = DataSpec((3, 16, 16))


@pytest.mark.parametrize(
    ("backbone", "norm"),
    [
        *[(narrow_dcgan(), norm) for norm in ("batch", "layer", "instance", "spectral", "none")],
        *[(narrow_mlp(), norm) for norm in ("batch", "layer", "spectral", "none")],
    ],
)
def test_every_parameter_of_a_discriminator_gets_a_gradient(backbone, norm):
    check_every_parameter_gets_a_gradient(backbone(IMAGES).discriminator(norm=norm), torch.randn(3, *IMAGES.shape))


@pytest.mark.parametrize("backbone", [narrow_dcgan(), narrow_mlp()])
def test_every_parameter_of_the_other_parts_gets_a_gradient(backbone):
    parts, x = backbone(IMAGES), torch.randn(3, *IMAGES.shape)
    check_every_parameter_gets_a_gradient(parts.generator(), torch.randn(3, parts.z_dim))
    check_every_parameter_gets_a_gradient(parts.encoder(outputs=2), x)
    check_every_parameter_gets_a_gradient(parts.autoencoder(), x)


def check_every_parameter_gets_a_gradient(network: nn.Module, inputs: Tensor) -> None:
    network(inputs).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_dcgan_has_the_widths_of_the_paper():
    """1024 maps of 4×4, then 512, 256, 128 and the image of 64 px (figure 1 of the paper)."""
    backbone = DCGAN()
    backbone.config = resolve(DCGAN, "dcgan", {"width": "128"})
    parts = backbone(DataSpec((3, 64, 64)))
    seen = []
    network = parts.generator().requires_grad_(False)
    for layer in network:
        layer.register_forward_hook(lambda layer, inputs, output: seen.append(tuple(output.shape[1:])))
    network(torch.randn(2, parts.z_dim))
    maps = list(dict.fromkeys(shape for shape in seen if len(shape) == 3))
    assert maps == [(1024, 4, 4), (512, 8, 8), (256, 16, 16), (128, 32, 32), (3, 64, 64)]
    assert parts.z_dim == 100


def test_dcgan_grows_28_px_from_7():
    generator = narrow_dcgan()(DataSpec((1, 28, 28))).generator()
    assert generator[:2](torch.randn(2, 100)).shape == (2, 8, 7, 7)


@pytest.mark.parametrize("norm", ["batch", "layer", "instance"])
def test_dcgan_normalises_all_but_the_first_layer_and_the_head(norm):
    trunk = narrow_dcgan()(DataSpec((3, 32, 32))).discriminator(norm=norm).trunk
    block = [nn.Conv2d, NORMALISED[norm], nn.LeakyReLU]
    assert kinds(trunk) == [nn.Conv2d, nn.LeakyReLU, *block, *block, nn.Flatten]
    assert all(layer.negative_slope == 0.2 for layer in trunk if isinstance(layer, nn.LeakyReLU))


def test_dcgan_generator_normalises_all_but_its_output():
    found = kinds(narrow_dcgan()(DataSpec((3, 16, 16))).generator())
    block = [nn.BatchNorm2d, nn.ReLU, nn.ConvTranspose2d]
    assert found == [nn.Linear, nn.Unflatten, *block, *block, nn.Tanh]


def test_biases_stand_only_where_no_mean_is_taken_away():
    parts = narrow_dcgan()(DataSpec((3, 32, 32)))
    for network in (parts.generator(), parts.discriminator(norm="batch"), parts.discriminator(norm="instance")):
        layers = [layer for layer in network.modules() if not list(layer.children())]
        for layer, following in pairwise(layers):
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                assert (layer.bias is None) == isinstance(following, NORM_LAYERS)
    assert all(
        layer.bias is not None for layer in parts.discriminator(norm="layer").trunk if isinstance(layer, nn.Conv2d)
    )


def test_layer_norm_of_dcgan_is_over_channels_and_pixels_of_each_sample():
    discriminator = narrow_dcgan()(DataSpec((3, 32, 32))).discriminator(norm="layer")
    seen = []
    for layer in discriminator.modules():
        if isinstance(layer, nn.GroupNorm):
            layer.eps = 0.0
            layer.register_forward_hook(lambda layer, inputs, output: seen.append(output.detach()))
    discriminator(torch.randn(4, 3, 32, 32))
    assert len(seen) == 2
    for output in seen:
        torch.testing.assert_close(output.mean((1, 2, 3)), torch.zeros(4), rtol=0, atol=1e-5)
        torch.testing.assert_close(output.var((1, 2, 3), correction=0), torch.ones(4), rtol=1e-4, atol=0)
        assert output.mean((2, 3)).abs().max() > 0.01  # channels are not centred one by one


@pytest.mark.parametrize(
    ("backbone", "data"), [(narrow_dcgan(), DataSpec((3, 16, 16))), (narrow_mlp(), DataSpec((2,)))]
)
def test_spectral_norm_bounds_every_layer_and_the_head(backbone, data):
    torch.manual_seed(0)
    parts = backbone(data)

    def largest(norm):
        network = parts.discriminator(norm=norm)
        for _ in range(30):
            network(torch.randn(2, *data.shape))
        layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
        assert len(layers) >= 3
        return [torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2).item() for layer in layers]

    assert largest("spectral") == pytest.approx([1.0] * len(largest("spectral")), rel=0.02)
    assert all(abs(value - 1) > 0.05 for value in largest("none"))


def test_dcgan_starts_from_the_weights_of_the_paper():
    torch.manual_seed(0)
    parts = DCGAN()(DataSpec((3, 32, 32)))
    for network in (parts.generator(), parts.discriminator(), parts.autoencoder(), parts.discriminator(norm="layer")):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
                assert abs(layer.weight.mean().item()) < 0.002
                assert layer.bias is None or not layer.bias.any()
            elif isinstance(layer, nn.BatchNorm2d):
                assert layer.weight.mean().item() == pytest.approx(1, abs=0.01)
                assert layer.weight.std().item() == pytest.approx(0.02, rel=0.4)
                assert not layer.bias.any()


def test_mlp_starts_from_weights_that_keep_the_variance():
    torch.manual_seed(0)
    parts = MLP()(DataSpec((1, 16, 16)))
    for network in (parts.generator(), parts.discriminator(), parts.autoencoder()):
        for layer in network.modules():
            if isinstance(layer, nn.Linear):
                expected = (2 / layer.in_features) ** 0.5
                assert layer.weight.std().item() == pytest.approx(expected, rel=0.15)
                assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize(
    ("backbone", "data"), [(narrow_dcgan(), DataSpec((1, 16, 16))), (narrow_mlp(), DataSpec((2,)))]
)
def test_the_seed_and_not_the_variant_decides_the_first_generator(backbone, data):
    first, second, other = (SeededParts(backbone(data), seed) for seed in (0, 0, 1))
    second.discriminator(norm="layer"), torch.rand(3)  # another variant asks for other things first
    generators = [parts.generator() for parts in (first, second, other)]
    same, another = (
        [torch.equal(a, b) for a, b in zip(generators[0].parameters(), generator.parameters(), strict=True)]
        for generator in generators[1:]
    )
    assert all(same)
    assert not all(another)


def test_generated_images_stay_between_minus_one_and_one():
    for backbone, data in [(narrow_dcgan(), DataSpec((1, 8, 8))), (narrow_mlp(), DataSpec((1, 8, 8)))]:
        parts = backbone(data)
        assert parts.generator()(100 * torch.randn(4, parts.z_dim)).abs().max() <= 1


@pytest.mark.parametrize(
    ("backbone", "data"), [(narrow_dcgan(), DataSpec((3, 16, 16))), (narrow_mlp(), DataSpec((2,)))]
)
def test_autoencoders_are_not_normalised_and_end_linear(backbone, data):
    found = kinds(backbone(data).autoencoder())
    assert not set(found) & set(NORM_LAYERS)
    assert nn.Tanh not in found


@pytest.mark.parametrize(
    ("backbone", "data", "layers"),
    [
        (narrow_dcgan(), DataSpec((3, 16, 16)), 3),
        (narrow_mlp(), DataSpec((1, 8, 8)), 4),
        (narrow_mlp(), DataSpec((2,)), 0),
    ],
)
def test_autoencoders_have_batch_norm_on_both_ways_where_asked_for_and_none_on_points(backbone, data, layers):
    autoencoder = backbone(data).autoencoder(norm="batch")
    found = [sum(kind in NORM_LAYERS for kind in kinds(half)) for half in (autoencoder.encoder, autoencoder.decoder)]
    assert sum(found) == layers and (layers == 0 or min(found) > 0)
    x = torch.randn(4, *data.shape)
    assert autoencoder(x).shape == x.shape


@pytest.mark.parametrize(("side", "code"), [(8, 16), (16, 64), (32, 64)])
def test_the_code_of_the_autoencoder_is_smaller_than_the_image(side, code):
    parts = narrow_dcgan()(DataSpec((1, side, side)))
    assert parts.autoencoder().encoder(torch.randn(1, 1, side, side)).shape == (1, code)


@pytest.mark.parametrize(("norm", "layer"), [("batch", nn.BatchNorm1d), ("layer", nn.LayerNorm)])
def test_mlp_normalises_all_but_the_first_layer_and_the_head(norm, layer):
    found = kinds(narrow_mlp()(DataSpec((1, 8, 8))).discriminator(norm=norm))
    block = [nn.Linear, layer, nn.LeakyReLU]
    assert found == [nn.Flatten, nn.Linear, nn.LeakyReLU, *block, *block, nn.Linear]


def test_mlp_leaves_only_batch_norm_out_on_points():
    parts = narrow_mlp()(DataSpec((2,)))
    assert not set(kinds(parts.discriminator(norm="batch"))) & set(NORM_LAYERS)
    assert kinds(parts.discriminator(norm="layer")).count(nn.LayerNorm) == 2


def test_mlp_refuses_instance_norm():
    with pytest.raises(UserError, match="no instance norm"):
        MLP()(DataSpec((1, 8, 8))).discriminator(norm="instance")


def test_latents_of_mlp_fit_the_data_unless_set():
    assert MLP()(DataSpec((2,))).z_dim == 2
    assert MLP()(DataSpec((1, 8, 8))).z_dim == 64
    backbone = MLP()
    backbone.config = resolve(MLP, "mlp", {"z_dim": "5"})
    assert backbone(DataSpec((2,))).z_dim == 5


def test_points_of_mlp_are_unbounded():
    assert nn.Tanh not in kinds(MLP()(DataSpec((2,))).generator())


@pytest.mark.parametrize(
    ("backbone", "shape", "reason"),
    [
        (DCGAN(), (1, 30, 30), "8 to 128 px with a side of 4 to 7 times a power of two, not 30 px"),
        (DCGAN(), (1, 4, 4), "not 4 px"),
        (DCGAN(), (1, 7, 7), "not 7 px"),
        (DCGAN(), (3, 256, 256), "not 256 px"),
        (DCGAN(), (3, 32, 64), "square images, not 32×64 px"),
        (DCGAN(), (2,), "images, not data of shape"),
        (MLP(), (3, 64, 64), "at most 32 px a side, not 64×64 px"),
        (MLP(), (3, 3), "points and images, not data of shape"),
    ],
)
def test_data_that_do_not_fit_are_refused_with_the_reason(backbone, shape, reason):
    assert reason in backbone.misfit(DataSpec(shape))
    with pytest.raises(UserError, match=reason.split(",")[0]):
        backbone(DataSpec(shape))


@pytest.mark.parametrize("cls", [DCGAN, MLP])
@pytest.mark.parametrize("setting", [{"width": "0"}, {"z_dim": "1.5"}, {"code": "-1"}, {"widht": "8"}])
def test_wrong_options_are_refused(cls, setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(cls, cls.name, setting)


def test_translators_are_not_offered():
    for backbone in (DCGAN(), MLP()):
        with pytest.raises(UserError, match="no translator"):
            backbone(DataSpec((1, 8, 8))).translator()
