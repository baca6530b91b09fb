"""Weight norm, noise and dropout by their formulas, and where they stand in a network."""

import numpy as np
import pytest
import torch
from torch import nn

from ganbench import GaussianNoise, WeightNorm, hardened


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


def test_a_share_is_dropped_while_training_and_made_up_for():
    network, x = hardened(nn.Sequential(nn.Linear(4, 4, bias=False)), input_dropout=0.25), torch.ones(4000, 4)
    torch.manual_seed(0)
    kept = network[0](x)
    assert kept.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert (kept == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert torch.equal(network.eval()[0](x), x)
