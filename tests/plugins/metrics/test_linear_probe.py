"""The linear probe: which features are taken, the classifier against its definition, and who has no D to look at."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN, Config as Convolutions
from ganbench_plugins.datasets.digits import Digits
from ganbench_plugins.metrics.linear_probe import (
    Config,
    accuracy,
    drawn,
    ganbench_metrics,
    linear_probe,
    of_network,
    of_pixels,
)
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.optim import Optimizer

from ganbench import Batch, Clock, DataSpec, Features, Parts, Scene, Update, UserError, Variant, to_float

DIGITS = Digits().load(Path(), 8)
TRAIN = Features(DIGITS.train.images[:300], labels=DIGITS.train.cond[:300])
TEST = Features(DIGITS.test.images, labels=DIGITS.test.cond)


# Features


def test_every_convolution_gives_the_maxima_of_four_by_four_parts() -> None:
    images = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8)
    first, second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 4, 2, 1)
    small = nn.Conv2d(4, 2, 6)
    network = nn.Sequential(first, nn.LeakyReLU(0.2), second, nn.ReLU(), small, nn.Flatten(), nn.Linear(18, 1))
    found = of_network(network)(images)
    with torch.no_grad():
        x = conv2d(to_float(images), first.weight, first.bias, padding=1)
        y = conv2d(nn.functional.leaky_relu(x, 0.2), second.weight, second.bias, 2, 1)
        z = conv2d(y.relu(), small.weight, small.bias)
    parts = [x.unfold(2, 4, 4).unfold(3, 4, 4).amax((4, 5)), y.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5)), z]
    torch.testing.assert_close(found, torch.cat([part.flatten(1) for part in parts], 1))
    assert not found.requires_grad and not any(layer._forward_hooks for layer in network.modules())


def test_without_convolutions_the_units_are_the_features() -> None:
    first, last = nn.Linear(64, 7), nn.Linear(7, 1)
    network = nn.Sequential(nn.Flatten(), first, nn.ReLU(), last)
    x = TRAIN.images[:9]
    hidden = first(to_float(x).flatten(1))
    torch.testing.assert_close(of_network(network)(x), torch.cat([hidden, last(hidden.relu())], 1).detach())
    torch.testing.assert_close(of_pixels(x), to_float(x).flatten(1))


class Pairs(nn.Module):
    """Judges two inputs, which hooks must survive."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 2, 3)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.layer(x).sum() + z


class Packs(Pairs):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return self.layer(x.reshape(-1, 1, 16, 8))


class Idle(Pairs):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return x.mean()


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Pairs(), "D does not take images alone .*missing 1 required positional argument: 'z'"),
        (nn.Conv2d(2, 4, 3), "D does not take images alone .*to have 2 channels"),
        (Packs(), "D has no layer with a feature of each image"),
        (Idle(), "D has no layer with a feature of each image"),
        (nn.PReLU(), "D has no layer with a feature of each image"),
    ],
)
def test_a_network_that_does_not_judge_images_one_by_one_is_refused(network: nn.Module, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        of_network(network)(TRAIN.images[:10])
    assert not any(layer._forward_hooks for layer in network.modules())


# The classifier


@pytest.mark.parametrize("cost", [0.1, 1.0, 10.0])
def test_the_classifier_is_the_minimum_of_its_definition(cost: float) -> None:
    """Found by another method, class by class, from the formula."""
    with torch.no_grad():
        network = DCGAN()(DIGITS.spec()).discriminator().eval()
    extract = of_network(network)
    x, unseen = extract(TRAIN.images).double().numpy(), extract(TEST.images).double().numpy()
    mean, deviation = x.mean(0), x.std(0)
    x, unseen = ((each - mean) / deviation / np.sqrt(len(mean)) for each in (x, unseen))
    assert (np.square(x).sum(1)).mean() == pytest.approx(1)
    x, unseen = (np.c_[each, np.ones(len(each))] for each in (x, unseen))
    scores = []
    for label in range(10):
        sign = np.where(TRAIN.labels == label, 1.0, -1.0)

        def objective(w: np.ndarray, sign: np.ndarray = sign) -> tuple[float, np.ndarray]:
            short = np.maximum(0, 1 - sign * (x @ w))
            return 0.5 * w @ w + cost * (short**2).sum(), w - 2 * cost * x.T @ (short * sign)

        found = minimize(objective, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 5000})
        scores.append(unseen @ found.x)
    expected = float((np.argmax(scores, 0) == TEST.labels.numpy()).mean())
    assert accuracy(extract, TRAIN, TEST, cost) == pytest.approx(expected, abs=1.5 / len(TEST.images))
    assert expected > 0.8


def test_the_scale_of_a_feature_does_not_matter_and_rounding_is_none() -> None:
    def scaled(images: Tensor) -> Tensor:
        pixels = of_pixels(images).double()
        constant = 5 + 1e-7 * torch.rand(len(images), 300, generator=torch.Generator().manual_seed(0)).double()
        return torch.cat([1e6 * pixels[:, :32], 1e-3 * pixels[:, 32:] + 3, constant], 1)

    def padded(images: Tensor) -> Tensor:
        return torch.cat([of_pixels(images), torch.zeros(len(images), 300)], 1)

    assert accuracy(scaled, TRAIN, TEST, 1.0) == pytest.approx(accuracy(padded, TRAIN, TEST, 1.0), abs=0.006)


def test_features_that_are_not_finite_are_named() -> None:
    with pytest.raises(UserError, match="not finite"):
        accuracy(lambda images: of_pixels(images).masked_fill(of_pixels(images) > 0.9, torch.nan), TRAIN, TEST, 1.0)


# Which images


def pieces(of: Features, size: int) -> Iterator[Features]:
    assert of.labels is not None
    for images, labels in zip(of.images.split(size), of.labels.split(size), strict=True):
        yield Features(images, labels=labels)


def test_every_image_is_as_likely_to_be_drawn_and_keeps_its_label() -> None:
    numbered = Features(torch.arange(60, dtype=torch.uint8).view(60, 1, 1, 1), labels=torch.arange(60))
    counts = torch.zeros(60)
    for seed in range(400):
        found = drawn(pieces(numbered, 17), 15, seed)
        assert torch.equal(found.images.flatten().long(), found.labels) and len(found.labels.unique()) == 15
        counts[found.labels] += 1
    assert counts.sub(100).abs().max() < 5 * (400 * 0.25 * 0.75) ** 0.5
    assert sorted(drawn(pieces(numbered, 17), 100, 0).labels.tolist()) == list(range(60))


# The metric


class Bars(Variant):
    """D's one layer knows bars that lie from bars that stand, wherever they are; before its first step it is blank."""

    name = "bars"

    def build(self, parts: Parts) -> None:
        self.G, self.D = nn.Linear(1, 1), nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 1))
        for parameter in self.D.parameters():
            nn.init.zeros_(parameter)

    def learn(self) -> "Bars":
        lying = torch.tensor([[-1.0, -1, -1], [2, 2, 2], [-1, -1, -1]])
        with torch.no_grad():
            self.D[0].weight.copy_(torch.stack([lying, -lying, lying.T, -lying.T])[:, None])
        return self

    def optimizers(self) -> dict[str, Optimizer]:
        return {}

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        yield from ()


def bars(n: int, seed: int) -> Features:
    """A bar of four pixels, light or dark, that lies or stands anywhere: no pixel tells which."""
    rng, images, labels = np.random.default_rng(seed), np.full((n, 1, 8, 8), 128, dtype=np.uint8), np.arange(n) % 2
    for image, stands in zip(images[:, 0], labels, strict=True):
        top, left = rng.integers(0, 5, 2)
        where = np.s_[top : top + 4, left] if stands else np.s_[top, left : left + 4]
        image[where] = rng.choice([28, 228])
    return Features(torch.from_numpy(images), labels=torch.from_numpy(labels))


def bar(*, learnt: bool = True) -> Bars:
    variant = Bars(Parts(DataSpec((1, 8, 8), classes=2), 4))
    return variant.learn() if learnt else variant.train()


def scene_of(**more: Any) -> Scene:
    train, test = bars(600, 1), bars(400, 2)
    given = {"training": lambda: pieces(train, 100), "generator": bar, "fresh": lambda: bar(learnt=False), **more}
    return Scene(DataSpec((1, 8, 8), classes=2), test, test, {}, **given)


def test_what_a_trained_d_knows_beside_an_untrained_one_and_the_pixels() -> None:
    found = linear_probe(scene_of())
    assert list(found) == ["linear-probe", "linear-probe-random", "linear-probe-pixels"]
    assert found["linear-probe"].value > 0.98
    for name in ("linear-probe-random", "linear-probe-pixels"):
        assert 0.4 < found[name].value < 0.6
        assert found[name].spread == pytest.approx(0.025, rel=0.1)
    assert found["linear-probe"].protocol["n_test"] == 400


def test_no_more_images_are_looked_at_than_allowed() -> None:
    first, again, other = (linear_probe(scene_of(options=Config(images=60), seed=seed)) for seed in (0, 0, 1))
    assert first["linear-probe"].protocol["n_test"] == 60 and first == again != other


def test_where_there_is_no_d_the_reason_is_given() -> None:
    blind = bar()
    del blind.D
    for more, reason in (
        ({"generator": lambda: blind}, "bars has no discriminator D"),
        ({"generator": None}, "not at hand"),
        ({"training": None}, "not at hand"),
        ({"training": lambda: iter(())}, "no training images"),
        ({"training": lambda: pieces(Features(TRAIN.images, labels=torch.zeros(300).long()), 100)}, "of one"),
    ):
        with pytest.raises(UserError, match=reason):
            linear_probe(scene_of(**more))


def test_batch_norm_goes_by_its_running_statistics_also_before_the_first_step() -> None:
    backbone = DCGAN()
    backbone.config = Convolutions(width=4)
    variant = bar()
    variant.D = backbone(DataSpec((1, 8, 8), classes=2)).discriminator(norm="batch").train()
    before = {name: tensor.clone() for name, tensor in variant.D.state_dict().items()}
    linear_probe(scene_of(fresh=lambda: variant))
    assert all(torch.equal(before[name], tensor) for name, tensor in variant.D.state_dict().items())


def test_what_the_metric_says_of_itself() -> None:
    (metric,) = ganbench_metrics()
    assert metric.needs == {"images", "labels", "generator"} and metric.last_mark_only and not metric.samples
    assert (metric.higher_is_better, metric.worst, metric.config) == (True, 0, Config())
