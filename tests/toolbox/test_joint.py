"""Discriminators of pairs: what they hear, and how their halves go together."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from ganbench import DataSpec, Discriminator, JointDiscriminator, Parts, joint_discriminator


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
