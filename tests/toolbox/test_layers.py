"""Norms by name, initial weights, padding and pairs, against what PyTorch and numpy compute in other ways."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from ganbench import (
    DataSpec,
    Discriminator,
    GaussianNoise,
    JointDiscriminator,
    Parts,
    WeightNorm,
    draw_normal,
    draw_truncated,
    hardened,
    joint_discriminator,
    norm_of_maps,
    norm_of_units,
    normalise_weights,
    same_convolution,
    same_deconvolution,
)

NORMALISED_OVER = {"batch": (0, 2, 3), "layer": (1, 2, 3), "instance": (2, 3)}


@pytest.mark.parametrize("norm", NORMALISED_OVER)
def test_norms_of_maps_take_mean_and_variance_over_their_axes(norm):
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 3 + 1
    axes = NORMALISED_OVER[norm]
    expected = (x.numpy() - x.numpy().mean(axes, keepdims=True)) / (np.sqrt(x.numpy().var(axes, keepdims=True) + 1e-5))
    layer = norm_of_maps(norm, 3)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-5)
    assert sorted(p.shape[0] for p in layer.parameters()) == [3, 3]  # a scale and a shift for each channel


@pytest.mark.parametrize(("norm", "axis"), [("batch", 0), ("layer", 1)])
def test_norms_of_units_take_mean_and_variance_over_their_axis(norm, axis):
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)) * 3 + 1
    expected = (x.numpy() - x.numpy().mean(axis, keepdims=True)) / np.sqrt(x.numpy().var(axis, keepdims=True) + 1e-5)
    np.testing.assert_allclose(norm_of_units(norm, 5)(x).detach().numpy(), expected, atol=1e-5)


def test_where_there_is_nothing_to_normalise_features_pass_unchanged():
    layers = [norm_of_maps("spectral", 3), norm_of_maps("none", 3)]
    layers += [norm_of_units(norm, 3) for norm in ("instance", "spectral", "none")]
    assert all(isinstance(layer, nn.Identity) for layer in layers)


def test_normalised_weights_have_a_largest_singular_value_of_one():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 5))
    directions = [
        network[i].weight.detach() / torch.linalg.matrix_norm(network[i].weight.flatten(1), 2) for i in (0, 2)
    ]
    normalise_weights(network)
    with torch.no_grad():
        for _ in range(30):
            network(torch.randn(2, 3, 4, 4))
    for layer, expected in zip((network[0], network[2]), directions, strict=True):
        torch.testing.assert_close(layer.weight.detach(), expected.detach(), rtol=1e-3, atol=1e-4)


LAYERS = [nn.Conv2d(64, 64, 4), nn.ConvTranspose2d(64, 64, 4), nn.Linear(256, 256)]


@pytest.mark.parametrize("draw", [draw_normal, draw_truncated])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_weights_are_normal_and_only_convolutions_truncated(draw, layer):
    torch.manual_seed(0)
    draw(layer)
    weight = layer.weight.detach().double()
    truncated = draw is draw_truncated and isinstance(layer, nn.Conv2d)
    # Var of N(0, 1) between -2 and 2: 1 - 4 φ(2) / (Φ(2) - Φ(-2))
    spread = (1 - 4 * 0.05399096651 / 0.954499736) ** 0.5 if truncated else 1.0
    assert weight.std().item() == pytest.approx(0.02 * spread, rel=0.01)
    assert abs(weight.mean().item()) < 3e-4
    assert bool(weight.abs().max() <= 0.04 + 1e-6) == truncated
    assert not layer.bias.any()


def test_drawing_weights_leaves_norms_alone():
    layer = nn.BatchNorm2d(3)
    nn.init.constant_(layer.weight, 5.0)
    draw_truncated(layer)
    assert (layer.weight == 5).all()
    draw_normal(nn.Linear(2, 2, bias=False))


def test_a_joint_discriminator_is_a_perceptron_on_both_embeddings():
    torch.manual_seed(0)
    network = JointDiscriminator(nn.Linear(2, 6), 3, 6)
    x, z = torch.randn(5, 2), torch.randn(5, 3)

    def linear(layer, inputs):
        return inputs @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()

    def leaky(inputs):
        return np.where(inputs > 0, inputs, 0.2 * inputs)

    of_z = linear(network.of_z[2], leaky(linear(network.of_z[0], z.double().numpy())))
    both = leaky(np.concatenate([linear(network.of_x, x.double().numpy()), of_z], 1))
    expected = linear(network.of_both[3], leaky(linear(network.of_both[1], both)))
    np.testing.assert_allclose(network(x, z).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_joint_discriminator_hears_both_halves_of_a_pair_and_how_they_go_together():
    torch.manual_seed(0)
    network = JointDiscriminator(nn.Linear(2, 64), 3, 64)
    x, z = torch.randn(200, 2), torch.randn(200, 3)
    with torch.no_grad():
        pairs, other_x, other_z, both = network(x, z), network(-x, z), network(x, -z), network(-x, -z)
    spread = pairs.std()
    assert 0.2 < spread < 5
    assert (pairs - other_x).std() > 0.1 * spread
    assert (pairs - other_z).std() > 0.1 * spread
    assert (pairs - other_x - other_z + both).std() > 0.05 * spread  # zero for a sum of functions of x and of z


def test_a_joint_discriminator_returns_float32_under_autocast():
    network = JointDiscriminator(nn.Linear(2, 4), 3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert network(torch.randn(5, 2), torch.randn(5, 3)).dtype == torch.float32


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [(nn.Conv2d(3, 5, 3), (8, 3, 6, 6), (0, 2, 3)), (nn.Linear(4, 5), (64, 4), (0,))],
)
def test_weight_norm_gives_the_first_batch_the_deviation_asked_for(layer, shape, axes):
    torch.manual_seed(0)
    made, x = WeightNorm(layer, deviation=0.3), 7 * torch.randn(shape) + 2
    y = made(x).detach().numpy()
    np.testing.assert_allclose(y.mean(axes), np.zeros(5), atol=1e-5)
    np.testing.assert_allclose(y.std(axes), np.full(5, 0.3), rtol=1e-4)
    state = {name: value.clone() for name, value in made.state_dict().items()}
    made(torch.randn(shape))
    assert all(torch.equal(value, state[name]) for name, value in made.state_dict().items()), "no later batch does"


@pytest.mark.parametrize("trained", [False, True])
def test_weight_norm_knows_only_the_direction_of_its_weights(trained):
    """Its output is a(w·x / ‖w‖) + b with a and b of its own, and its gradient is orthogonal to the weights."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 3)
    made, x = WeightNorm(layer, trained=trained), torch.randn(32, 4)
    assert {name for name, _ in made.named_parameters()} == {"layer.weight", "offset"} | (
        {"scale"} if trained else set()
    )
    first = made(x)
    with torch.no_grad():
        made.offset.add_(torch.tensor([1.0, 2.0, 3.0]))
        if made.scale is not None:
            made.scale.mul_(2)
    y = made(x).detach().numpy()
    w = layer.weight.detach().numpy()
    directed = x.numpy() @ (w / np.linalg.norm(w, axis=1, keepdims=True)).T
    factor = (2 if trained else 1) / directed.std(0)
    np.testing.assert_allclose(y, factor * (directed - directed.mean(0)) + [1, 2, 3], rtol=1e-3, atol=1e-4)
    (slope,) = torch.autograd.grad(first.pow(3).sum(), layer.weight)
    assert (slope * layer.weight).sum(1).abs().max() < 1e-3 * slope.norm(dim=1).max()
    with torch.no_grad():
        layer.weight.mul_(5)
    np.testing.assert_allclose(made(x).detach().numpy(), y, rtol=1e-3, atol=1e-4)


def test_weight_norm_sets_nothing_in_evaluation_mode():
    made = WeightNorm(nn.Linear(4, 3)).eval()
    made(torch.randn(8, 4))
    assert made.fresh and torch.equal(made.unit, torch.ones(3)) and torch.equal(made.mean, torch.zeros(3))


def test_two_batches_may_pass_weight_norm_before_a_gradient_is_taken():
    made = WeightNorm(nn.Linear(4, 3), trained=True)
    (made(torch.randn(8, 4)).square().sum() + made(torch.randn(8, 4)).square().sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())


def test_noise_has_its_deviation_while_training():
    noise, x = GaussianNoise(0.2), torch.zeros(100, 100)
    assert noise(x).std().item() == pytest.approx(0.2, rel=0.05)
    assert torch.equal(noise.eval()(x), x)


def kinds_of(network: nn.Module) -> list[str]:
    return [type(m).__name__ for m in network.modules() if not isinstance(m, nn.Sequential)]


def test_dropout_stands_behind_strided_convolutions_or_before_all_layers_but_the_first():
    convolutions = nn.Sequential(
        nn.Conv2d(1, 2, 3, 1, 1), nn.Conv2d(2, 2, 4, 2, 1), nn.LeakyReLU(), nn.Conv2d(2, 3, 3), nn.Flatten()
    )
    assert kinds_of(hardened(convolutions, dropout=0.5)) == [
        *("Conv2d", "Conv2d", "LeakyReLU", "Dropout", "Conv2d", "Flatten")
    ]
    units = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3))
    assert kinds_of(hardened(units, dropout=0.5)) == ["Linear", "ReLU", "Dropout", "Linear"]


def test_a_hardened_network_is_the_same_where_nothing_is_asked_for():
    network = nn.Sequential(nn.Conv2d(1, 2, 3, 2), nn.Flatten())
    assert hardened(network) is network and kinds_of(network) == ["Conv2d", "Flatten"]


def test_noise_and_dropout_of_the_input_come_before_all_layers():
    network = hardened(nn.Sequential(nn.Linear(4, 3)), noise=0.1, input_dropout=0.2, weight_norm=True)
    assert kinds_of(network) == ["GaussianNoise", "Dropout", "WeightNorm", "Linear"]
    assert network[1].p == 0.2


def test_dropout_of_a_joint_discriminator_is_of_the_inputs_of_its_layers_but_the_latent():
    torch.manual_seed(0)
    network = JointDiscriminator(nn.Linear(2, 6), 3, 6, dropout=0.5)
    x, z = torch.randn(5, 2), torch.randn(5, 3)
    assert torch.equal(network.of_z[:2](z), network.of_z[:2](z))
    dropped = [
        network.of_z[2](torch.ones(4000)),
        network.of_both[1](torch.ones(4000)),
        network.of_both[4](torch.ones(4000)),
    ]
    for ones in dropped:
        assert set(ones.tolist()) == {0.0, 2.0} and ones.mean().item() == pytest.approx(1, abs=0.1)
    assert not torch.equal(network(x, z), network(x, z))
    plain = JointDiscriminator(nn.Linear(2, 6), 3, 6)
    weights = list(network.state_dict().values())
    plain.load_state_dict(dict(zip(plain.state_dict(), weights, strict=True)))
    assert torch.equal(network.eval()(x, z), plain(x, z))


class Wide(Parts):
    """A discriminator that sums what it is given, `[B, channels, ...]`, times a weight a channel."""

    def discriminator(self, *, outputs=1, channels=None, norm="batch"):
        width = (channels or self.data.shape[0]) * math.prod(self.data.shape[1:])
        return Discriminator(nn.Flatten(), nn.Linear(width, outputs))


def test_pairs_of_points_are_judged_by_one_network_that_sees_both():
    torch.manual_seed(0)
    network = joint_discriminator(Wide(DataSpec((2,)), 3), 16)
    x, z = torch.randn(5, 2), torch.randn(5, 3)
    (layer,) = (module for module in network.modules() if isinstance(module, nn.Linear))
    weight, bias = layer.weight.detach()[0], layer.bias.detach()
    torch.testing.assert_close(network(x, z)[:, 0], x @ weight[:2] + z @ weight[2:] + bias)


def test_pairs_of_images_are_judged_by_an_embedding_of_each():
    network = joint_discriminator(Wide(DataSpec((1, 4, 4)), 3), 16, dropout=0.25)
    assert isinstance(network, JointDiscriminator)
    assert network.of_x.head.out_features == 16
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == [0.25] * 3
    assert network(torch.randn(5, 1, 4, 4), torch.randn(5, 3)).shape == (5, 1)


def convolve_same(x, kernel, stride=2):
    """Correlate `[C, H, W]` with `[O, C, k, k]`, padded by TensorFlow's rule.

    The output has ⌈n / stride⌉ px; what is missing is padded, the smaller half of it before.
    """
    size, n = kernel.shape[-1], x.shape[-1]
    out = -(-n // stride)
    missing = max((out - 1) * stride + size - n, 0)
    padded = np.zeros((x.shape[0], n + missing, n + missing))
    padded[:, missing // 2 : missing // 2 + n, missing // 2 : missing // 2 + n] = x
    result = np.zeros((kernel.shape[0], out, out))
    for i in range(out):
        for j in range(out):
            window = padded[:, i * stride : i * stride + size, j * stride : j * stride + size]
            result[:, i, j] = np.tensordot(kernel, window, 3)
    return result


@pytest.mark.parametrize("size", [3, 4, 5])
@pytest.mark.parametrize("side", [4, 5, 6, 7, 14])
def test_convolutions_pad_as_tensorflow_does(side, size):
    torch.manual_seed(side)
    layer = nn.Sequential(*same_convolution(2, 3, side, kernel=size)).double()
    x = torch.randn(1, 2, side, side, dtype=torch.float64)
    kernel, bias = (layer[-1].get_parameter(name).detach().numpy() for name in ("weight", "bias"))
    expected = convolve_same(x[0].numpy(), kernel) + bias[:, None, None]
    np.testing.assert_allclose(layer(x)[0].detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("size", [3, 4, 5])
@pytest.mark.parametrize("side", [4, 5, 6, 7, 14])
def test_deconvolutions_are_the_transpose_of_that_convolution(side, size):
    """So TensorFlow defines them: one column of the matrix for each pixel of the larger image."""
    torch.manual_seed(side)
    layer = nn.Sequential(*same_deconvolution(3, 2, side, kernel=size)).double()
    kernel, bias = layer[0].weight.detach().numpy(), layer[0].bias.detach().numpy()
    half = -(-side // 2)
    pixels = np.eye(2 * side * side).reshape(-1, 2, side, side)
    matrix = np.stack([convolve_same(pixel, kernel).ravel() for pixel in pixels])
    x = torch.randn(1, 3, half, half, dtype=torch.float64)
    expected = (matrix @ x.numpy().ravel()).reshape(2, side, side) + bias[:, None, None]
    np.testing.assert_allclose(layer(x)[0].detach().numpy(), expected, atol=1e-12)
