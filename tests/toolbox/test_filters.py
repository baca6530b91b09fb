"""Receptive fields by the formula for chains, guided backpropagation by hand, and which convolution is the last."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ganbench import Autoencoder, UserError
from ganbench.toolbox.filters import Box, Filters, cut, selectivity


def images(n=6, channels=2, side=20):
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def by_formula(layers, side, at):
    """Pixels of one place along an axis, back from the last layer: o → o·s - p to o·s - p + k - 1."""
    first = last = at
    for kernel, stride, padding in reversed(layers):
        first, last = first * stride - padding, last * stride - padding + kernel - 1
    return max(0, first), min(side, last + 1)


CHAINS = [
    [(4, 2, 1)] * 3,
    [(3, 1, 1), (4, 2, 1), (3, 1, 1)],
    [(5, 2, 2), (5, 2, 2)],
    [(3, 1, 0)],
    [(3, 3, 2), (2, 1, 0)],
]


@pytest.mark.parametrize("chain", CHAINS)
def test_a_receptive_field_is_that_of_the_formula_at_every_place(chain):
    layers = []
    for number, (kernel, stride, padding) in enumerate(chain):
        conv = nn.Conv2d(2 if number == 0 else 3, 3, kernel, stride, padding)
        layers += [spectral_norm(conv) if number else conv, nn.GroupNorm(1, 3), nn.LeakyReLU(0.2, inplace=True)]
    network = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(1))
    network(images())
    filters = Filters(network, images())
    height = width = layers[0](images()).shape[-1]
    for layer in layers[3::3]:
        height = width = (height + 2 * layer.padding[0] - layer.kernel_size[0]) // layer.stride[0] + 1
    for row in range(height):
        for column in range(0, width, max(1, width - 1)):
            box = filters.field(row * width + column)
            assert box[:2] == by_formula(chain, 20, row) and box[2:] == by_formula(chain, 20, column)


def test_pooling_and_uneven_padding_count_and_branches_come_together():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.residual = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1))
            self.shortcut = nn.Conv2d(2, 3, 1)

        def forward(self, x):
            return self.residual(x) + self.shortcut(x)

    pooled = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(2, 4, 3, padding=1))
    box = Filters(pooled, images()).field(5 * 10 + 5)
    assert box == (*by_formula([(3, 1, 1), (2, 2, 0), (3, 1, 1)], 20, 5),) * 2
    padded = nn.Sequential(nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(2, 4, 5, 2))
    assert Filters(padded, images()).field(0) == (0, 4, 0, 4)  # one pixel of padding before, four left of five
    block = nn.Sequential(Sum(), nn.ReLU(), nn.Conv2d(3, 5, 3, 2, 1))
    filters = Filters(block, images())
    assert filters.count == 5 and filters.field(4 * 10 + 3) == (8 - 3, 8 + 4, 6 - 3, 6 + 4)
    assert Filters(Sum(), images()).name.endswith("residual.2")  # no shortcut, though it comes later


def test_guided_backpropagation_by_hand():
    network = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.LeakyReLU(0.2), nn.Conv2d(2, 2, 1, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        network[2].weight.copy_(torch.tensor([[2.0, -3.0], [-4.0, 5.0]]).view(2, 2, 1, 1))
    bright, dark = torch.full((1, 2, 2), 0.5), torch.full((1, 2, 2), -0.5)
    filters = Filters(network, torch.stack([bright, dark]))
    # Bright: the first unit is on, its weight 2 or -4; dark: the second, -3 or 5. What is negative does not come back.
    expected = {(0, 0): 2.0, (0, 1): 0.0, (1, 0): 0.0, (1, 1): -5.0}
    for (of, number), value in expected.items():
        found = filters.guided((bright, dark)[of], number, 3)
        assert found[0, 1, 1] == value and found.abs().sum() == abs(value)
    assert filters.guides == 1


def test_responses_are_those_of_the_last_convolution_before_what_changes_them_in_place():
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3, 2), nn.LeakyReLU(0.01, inplace=True))
    seen = images(300, side=9)
    before = copy.deepcopy(network.state_dict())
    peaks, places = Filters(network, seen).peaks(seen)
    maps = network[2](network[:2](seen)).flatten(2)
    assert torch.allclose(peaks, maps.max(2).values, atol=1e-6) and torch.equal(places, maps.argmax(2))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items()) and network.training


def test_batch_norm_has_the_statistics_of_the_images_before_the_first_step_as_well():
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3))
    seen = images(512, side=8)
    filters = Filters(network, seen)
    maps = network[0](seen)
    norm = (maps - maps.mean((0, 2, 3), keepdim=True)) / (maps.var((0, 2, 3), keepdim=True) + 1e-5).sqrt()
    expected = network[3](norm.relu()).flatten(2).max(2).values
    assert torch.allclose(filters.peaks(seen)[0], expected, atol=1e-2)
    assert int(network[1].num_batches_tracked) == 0


def test_what_takes_more_than_images_is_looked_at_in_part_and_what_cannot_is_told():
    class Joint(nn.Module):
        def __init__(self):
            super().__init__()
            self.of_x = nn.Sequential(nn.Conv2d(2, 3, 4, 2, 1), nn.ReLU(), nn.Conv2d(3, 7, 4, 2, 1), nn.Flatten())
            self.of_z = nn.Linear(4, 4)

        def forward(self, x, z):
            return torch.cat([self.of_x(x), self.of_z(z)], 1)

    assert Filters(Joint(), images()).count == 7
    coder = nn.Sequential(nn.Conv2d(2, 5, 4, 2, 1), nn.Flatten(), nn.Linear(500, 3))
    assert Filters(Autoencoder(coder, nn.Sequential(nn.Linear(3, 8), nn.Unflatten(1, (2, 2, 2)))), images()).count == 5
    scores = nn.Sequential(nn.Conv2d(2, 6, 4, 2, 1), nn.ReLU(), nn.Conv2d(6, 1, 4))
    assert Filters(scores, images()).count == 6  # the last makes a map of scores
    with pytest.raises(UserError, match="has no convolutions"):
        Filters(nn.Sequential(nn.Flatten(), nn.Linear(800, 1)), images())
    with pytest.raises(UserError, match=r"does not look at single images alone \(.*channels"):
        Filters(nn.Conv2d(4, 3, 3), images())


def test_a_filter_of_one_class_is_as_selective_as_can_be():
    labels = torch.arange(100) % 10
    found = selectivity(torch.nn.functional.one_hot(labels, 10).float(), labels, 9)
    assert found["class share"] == 1 and found["explained"] == pytest.approx(1)
    assert found["peak"] == pytest.approx(0.9 / math.sqrt(0.1 * 0.9))  # 1 less its mean, in deviations of a coin


def test_noise_comes_to_its_expectations():
    n, labels = 500, torch.arange(500) % 10
    noise = torch.randn(n, 4000, generator=torch.Generator().manual_seed(0))
    found = selectivity(noise, labels, 9)
    assert found["explained"] == pytest.approx(9 / 499, rel=0.02)  # between over total, degrees of freedom
    ranks = np.arange(n - 8, n + 1)
    assert found["peak"] == pytest.approx(norm.ppf((ranks - 0.375) / (n + 0.25)).mean(), rel=0.01)  # Blom's
    random = np.random.default_rng(0)
    drawn = [np.bincount(random.permutation(labels.numpy())[:9]).max() / 9 for _ in range(4000)]
    assert found["class share"] == pytest.approx(np.mean(drawn), rel=0.02)


def test_scale_and_shift_do_not_matter_and_what_responds_to_all_alike_has_no_number():
    peaks, labels = torch.rand(60, 5, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
    one, other = selectivity(peaks, labels, 9), selectivity(peaks * 1e-3 - 7, labels, 9)
    assert one == pytest.approx(other, rel=1e-2)
    assert math.isnan(selectivity(torch.ones(60, 5), labels, 9)["peak"])
    assert set(selectivity(peaks, None, 9)) == {"peak"}


def test_patches_at_the_border_stand_where_they_would():
    image = torch.arange(36, dtype=torch.uint8).view(1, 6, 6)
    corner = cut(image, Box(0, 2, 4, 6), 3, 3)
    assert corner[0].tolist() == [[128, 128, 128], [4, 5, 128], [10, 11, 128]]
    assert cut(image, Box(2, 5, 1, 4), 3, 3)[0].tolist() == image[0, 2:5, 1:4].tolist()


def test_the_strongest_patches_are_those_of_the_largest_responses():
    network, seen = nn.Sequential(nn.Conv2d(2, 3, 5, padding=2)), images(7)
    filters = Filters(network, seen)
    peaks, places = filters.peaks(seen)
    for number, (patches, guided) in enumerate(filters.strongest(seen, 2, 4)):
        assert patches.shape == guided.shape == (4, 2, 5, 5)
        best = peaks[:, number].argsort(descending=True)[:4].tolist()
        for patch, slopes, row in zip(patches, guided, best, strict=True):
            y, x = divmod(int(places[row, number]), 20)
            whole = nn.functional.pad(seen[row], (2, 2, 2, 2))[:, y : y + 5, x : x + 5]  # 0 is grey
            assert (patch.int() - ((whole + 1) * 127.5).round().int()).abs().max() <= 1
            weight = network[0].weight[number].detach()
            inside = nn.functional.pad(torch.ones(20, 20), (2, 2, 2, 2))[y : y + 5, x : x + 5]
            scaled = weight * inside / (weight * inside).abs().max()
            assert (slopes.int() - ((scaled + 1) * 127.5).round().int()).abs().max() <= 1
    assert len(filters.strongest(seen, 9, 99)) == 3
