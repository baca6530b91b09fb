"""Norms by name and initial weights, against what PyTorch and numpy compute in other ways."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm, spectral_norm
from torch.utils._python_dispatch import TorchDispatchMode

from ganbench import draw_normal, draw_truncated, norm_of_maps, norm_of_units, normalise_weights
from ganbench.contract.types import DataSpec
from ganbench.runs.options import resolve
from ganbench.runs.registry import discover
from ganbench.toolbox import layers
from ganbench.training.networks import build_variant

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


NORMALISED = [
    nn.Conv2d(3, 8, 3),
    nn.ConvTranspose2d(8, 3, 3),
    nn.Linear(24, 10),
    nn.Embedding(10, 24),
]


def normalised(layer):
    """Return a copy of a layer, normalised from the same vectors each time."""
    layer = copy.deepcopy(layer)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        spectral_norm(layer)
    layers.find_sigmas_exactly(layer)
    return layer


class Doubtful(TorchDispatchMode):
    """Note the types in which products are taken, those of σ among them."""

    def __init__(self):
        super().__init__()
        self.types = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._overloadpacket in (torch.ops.aten.mv, torch.ops.aten.mm, torch.ops.aten.dot, torch.ops.aten.vdot):
            self.types |= {tensor.dtype for tensor in args if isinstance(tensor, torch.Tensor)}
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("layer", NORMALISED, ids=lambda layer: type(layer).__name__)
def test_sigma_is_that_of_float64_and_the_same_bits_under_bf16(layer):
    weights = {}
    for bf16 in (False, True):
        mine, noted = normalised(layer), Doubtful()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16), noted:
            for _ in range(200):
                weights[bf16] = mine.weight.detach()
        assert noted.types == {torch.float32}
    assert weights[True].dtype == torch.float32 and torch.equal(weights[True], weights[False])
    matrix = layer.weight.detach().double()
    if isinstance(layer, nn.ConvTranspose2d):
        matrix = matrix.transpose(0, 1)
    sigma = np.linalg.svd(matrix.flatten(1).numpy(), compute_uv=False)[0]
    torch.testing.assert_close(weights[True].double(), layer.weight.detach().double() / sigma, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("layer", NORMALISED, ids=lambda layer: type(layer).__name__)
def test_in_float32_it_is_pytorchs_own_to_the_last_bit(layer):
    mine, theirs = normalised(layer), copy.deepcopy(layer)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        spectral_norm(theirs)
    assert mine.state_dict().keys() == theirs.state_dict().keys()
    for _ in range(3):
        assert torch.equal(mine.weight, theirs.weight)


def test_autocast_reaches_no_product_of_the_power_iteration():
    """On a GPU it casts `mv`; on a processor only products of matrices, so that one of those stands in its place."""

    class Watched(layers.ExactSpectralNorm):
        def _power_method(self, weight_mat, n_power_iterations):
            self.seen = (weight_mat @ weight_mat.T).dtype

    layer = nn.Linear(4, 3)
    parametrize.register_parametrization(layer, "weight", Watched(layer.weight))
    with torch.autocast("cpu", torch.bfloat16):
        assert (torch.ones(3, 4) @ torch.ones(4, 3)).dtype == torch.bfloat16
        assert layer.weight.dtype == layer.parametrizations.weight[0].seen == torch.float32


@pytest.mark.parametrize("name", ["sngan", "projection"])
def test_every_variant_is_built_with_it_whoever_has_normalised_its_weights(name):
    registry = discover()
    cls, backbone = registry.get("variant", name).item, registry.get("backbone", "dcgan").item
    variant = build_variant(cls, backbone, DataSpec((1, 8, 8), classes=4), seed=0, config=resolve(cls, name, {}))
    found = [type(part) for part in variant.modules() if isinstance(part, _SpectralNorm)]
    layers_of_d = [part for part in variant.D.modules() if isinstance(part, nn.Conv2d | nn.Linear | nn.Embedding)]
    assert found == [layers.ExactSpectralNorm] * len(layers_of_d) != []


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
