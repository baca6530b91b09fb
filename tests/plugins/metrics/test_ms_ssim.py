"""MS-SSIM against a library where one can serve, against plain loops where none can, and its choice of pairs."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganbench_plugins.datasets.digits import Digits
from ganbench_plugins.metrics import ms_ssim as metric_ms_ssim
from ganbench_plugins.metrics.ms_ssim import Config, compute, ganbench_metrics, ms_ssim, within_classes
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import conv2d
from torch.optim import Optimizer

from ganbench import (
    Batch,
    Clock,
    DataSpec,
    Features,
    Parts,
    Scene,
    Update,
    UserError,
    Variant,
    derive,
    to_float,
    to_uint8,
)


def noise(n: int, channels: int, height: int, width: int | None = None, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, height, width or height), generator=generator, dtype=torch.uint8)


def blobs(n: int, channels: int, side: int, seed: int = 0) -> Tensor:
    """Smooth images, which are alike at every scale, unlike noise."""
    smooth = ndimage.gaussian_filter(noise(n, channels, side, seed=seed).numpy().astype(float), (0, 0, 3, 3))
    low, high = smooth.min((2, 3), keepdims=True), smooth.max((2, 3), keepdims=True)
    return torch.from_numpy(((smooth - low) / (high - low) * 255).astype(np.uint8))


def plainly(x: np.ndarray, y: np.ndarray) -> float:
    """MS-SSIM of one channel, written as it is defined: two-dimensional windows, one pixel after the other."""
    x, y, product = x.astype(float), y.astype(float), 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        if scale:
            x, y = plainly_halved(x), plainly_halved(y)
        taps = min(11, *x.shape)
        distance = np.arange(taps) - (taps - 1) / 2
        window = np.exp(-(distance[:, None] ** 2 + distance[None] ** 2) / (2 * 1.5**2))
        window /= window.sum()
        total, places = 0.0, 0
        for top in range(x.shape[0] - taps + 1):
            for left in range(x.shape[1] - taps + 1):
                a, b = (image[top : top + taps, left : left + taps] for image in (x, y))
                mean_a, mean_b = (window * a).sum(), (window * b).sum()
                covariance = (window * (a - mean_a) * (b - mean_b)).sum()
                variances = (window * (a - mean_a) ** 2).sum() + (window * (b - mean_b) ** 2).sum()
                term = (2 * covariance + 7.65**2) / (variances + 7.65**2)
                if scale == 4:
                    term *= (2 * mean_a * mean_b + 2.55**2) / (mean_a**2 + mean_b**2 + 2.55**2)
                total, places = total + term, places + 1
        product *= max(total / places, 0.0) ** weight
    return product


def plainly_halved(x: np.ndarray) -> np.ndarray:
    x = np.pad(x, [(0, side % 2) for side in x.shape], mode="symmetric")
    return (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4


@pytest.mark.parametrize(("channels", "side"), [(1, 176), (3, 192)])
def test_agrees_with_a_library_where_all_windows_fit(channels: int, side: int) -> None:
    library = pytest.importorskip("pytorch_msssim")
    images = torch.cat([blobs(3, channels, side), noise(1, channels, side)])
    pairs = torch.tensor([[0, 1], [1, 2], [0, 3], [2, 2]])
    first, second = (images[pairs[:, k]].double() for k in (0, 1))
    expected = library.ms_ssim(first, second, data_range=255, size_average=False)
    assert torch.allclose(ms_ssim(images, pairs), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 28, 28), (2, 28, 28), (1, 8, 8), (1, 13, 30)])
def test_agrees_with_plain_loops_on_small_images(channels: int, height: int, width: int) -> None:
    images = blobs(3, channels, max(height, width))[..., :height, :width]
    images[2] = images[0] // 2 + images[2] // 3  # somewhat like the first
    pairs = torch.tensor([[0, 1], [2, 0], [1, 1]])
    pixels = images.numpy()
    expected = [np.mean([plainly(pixels[i, c], pixels[j, c]) for c in range(channels)]) for i, j in pairs.tolist()]
    assert ms_ssim(images, pairs).tolist() == pytest.approx(expected, abs=1e-10)
    assert 0.01 < expected[1] < 0.99


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_collapsed_generator_scores_one(level: int) -> None:
    images = torch.full((70, 1, 28, 28), level, dtype=torch.uint8)
    value = compute(scene_of(images))["ms-ssim"]
    assert value.value == pytest.approx(1, abs=1e-12)


def test_identical_images_score_one_and_noise_almost_nothing() -> None:
    assert compute(scene_of(blobs(1, 3, 32).repeat(64, 1, 1, 1)))["ms-ssim"].value == pytest.approx(1, abs=1e-12)
    assert 0 <= compute(scene_of(noise(64, 3, 64)))["ms-ssim"].value < 0.1


def test_negative_structure_counts_as_zero_not_as_nan() -> None:
    stripes = torch.tensor([0, 255], dtype=torch.uint8).repeat(32, 16)[None, None]
    images = torch.cat([stripes, 255 - stripes])
    assert ms_ssim(images, torch.tensor([[0, 1]])).tolist() == [0.0]


def test_the_size_of_the_chunks_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    images, pairs = blobs(20, 1, 28), torch.combinations(torch.arange(20))
    whole = ms_ssim(images, pairs)
    monkeypatch.setattr(metric_ms_ssim, "CHUNK", 3 * 28 * 28)
    assert torch.allclose(ms_ssim(images, pairs), whole, rtol=1e-12)


@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (31, 70), (64, 75), (150, 12)])
@pytest.mark.parametrize("part", [1, 5, 64])
def test_the_window_is_the_gaussian_of_a_library(
    shape: tuple[int, int], part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric_ms_ssim, "PART", part)
    x = noise(2, 3, *shape).double()
    found, taps = metric_ms_ssim._blurred(x), min(11, *shape)
    window = np.exp(-((np.arange(taps) - (taps - 1) / 2) ** 2) / (2 * 1.5**2))
    kernel = torch.from_numpy(window[:, None] * window / window.sum() ** 2)
    expected = conv2d(x.flatten(0, 1)[:, None], kernel[None, None])
    torch.testing.assert_close(found.flatten(0, 1)[:, None], expected, rtol=1e-12, atol=1e-10)


def scene_of(images: Tensor, labels: Tensor | None = None, *, conditional: bool = False, seed: int = 0) -> Scene:
    features = Features(images, labels=labels)
    spec = DataSpec(tuple(images.shape[1:]), classes=0 if labels is None else int(labels.max()) + 1)
    return Scene(spec, features, features, {}, conditional=conditional, seed=seed)


def mean_over(images: Tensor, pairs: list[tuple[int, int]]) -> float:
    return float(ms_ssim(images, torch.tensor(pairs)).mean())


@pytest.mark.parametrize("n", [2, 40, 64])
def test_all_pairs_of_one_batch(n: int) -> None:
    images = blobs(n, 1, 8)
    value = compute(scene_of(images))["ms-ssim"]
    assert value.value == pytest.approx(mean_over(images, [(i, j) for i in range(n) for j in range(i)]), rel=1e-12)
    assert value.protocol["n_pairs"] == math.comb(n, 2)
    assert value.protocol["pairs"] == f"all pairs within batches of {n}"


@pytest.mark.parametrize(("n", "batches"), [(100, 1), (128, 2), (320, 5), (1000, 5)])
def test_only_whole_batches_and_at_most_five(n: int, batches: int) -> None:
    assert compute(scene_of(noise(n, 1, 8)))["ms-ssim"].protocol["n_pairs"] == batches * 2016


def test_batches_mix_images_that_come_sorted() -> None:
    """Half white, half black, in order: consecutive batches would never see a pair of both."""
    images = torch.cat([torch.zeros(320, 1, 8, 8), torch.full((320, 1, 8, 8), 255)]).to(torch.uint8)
    assert compute(scene_of(images))["ms-ssim"].value < 0.8


def test_labels_make_no_difference() -> None:
    images = blobs(320, 1, 8)
    found = [compute(scene_of(images, torch.arange(320) % 2, conditional=each))["ms-ssim"] for each in (False, True)]
    assert found[0] == found[1] == compute(scene_of(images))["ms-ssim"]


def test_the_seed_alone_decides_the_pairs() -> None:
    images = blobs(400, 1, 8)
    first, again, other = (compute(scene_of(images, seed=seed))["ms-ssim"].value for seed in (1, 1, 2))
    assert first == again != other


def test_the_spread_is_that_of_the_means_of_batches() -> None:
    found = [compute(scene_of(blobs(320, 1, 8, seed=seed), seed=seed))["ms-ssim"] for seed in range(60)]
    spreads = [value.spread for value in found if value.spread is not None]
    assert np.mean(spreads) == pytest.approx(np.std([value.value for value in found]), rel=0.4)
    assert compute(scene_of(blobs(100, 1, 8)))["ms-ssim"].spread is None


def test_one_image_is_refused() -> None:
    with pytest.raises(UserError, match="at least 2, not 1"):
        compute(scene_of(noise(1, 1, 8)))


# Within classes

SHADES = torch.tensor([40, 120, 200], dtype=torch.uint8)


class Sampler(Variant):
    """Makes of each class its shade, with noise unless it has collapsed; counts what it is asked for."""

    name, task = "sampler", "label"

    def build(self, parts: Parts) -> None:
        self.G, self.collapsed, self.asked = torch.nn.Linear(1, 1), (1,), torch.zeros(3, dtype=torch.int64)

    def optimizers(self) -> dict[str, Optimizer]:
        return {}

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        yield from ()

    def sample(self, n: int, cond: Tensor | None = None) -> Tensor:
        assert cond is not None and not torch.is_grad_enabled()
        self.asked += cond.bincount(minlength=3)
        amount = torch.tensor([0.0 if label in self.collapsed else 0.8 for label in cond.tolist()])
        x = to_float(SHADES[cond].view(n, 1, 1, 1).expand(n, 1, 8, 8)) + amount.view(n, 1, 1, 1) * torch.randn(
            n, 1, 8, 8
        )
        return x.clamp(-1, 1)


def sampler(*collapsed: int) -> Sampler:
    variant = Sampler(Parts(DataSpec((1, 8, 8), classes=3), 4))
    variant.collapsed = collapsed
    return variant


def conditional(
    generator: Sampler | None, labels: Tensor, *, seed: int = 0, pairs: int = 20, piece: int = 50, **more: Any
) -> Scene:
    """Training images are smooth: of all that are compared the most alike but for those of a collapsed class."""
    images = blobs(len(labels), 1, 8, seed=3)
    own = Features(images, labels=labels)

    def training() -> Iterator[Features]:
        for rows in torch.arange(len(images)).split(piece):
            yield Features(images[rows], labels=labels[rows])

    made = None if generator is None else lambda: generator
    given = {"training": training, "generator": made, "options": Config(pairs=pairs), "conditional": True, **more}
    return Scene(DataSpec((1, 8, 8), classes=3), own, own, {}, seed=seed, **given)


LABELS = torch.arange(300) % 3


def test_classes_that_collapsed_are_counted_and_every_class_is_asked_for_as_often() -> None:
    for collapsed in ((), (1,), (0, 2), (0, 1, 2)):
        variant = sampler(*collapsed)
        found = within_classes(conditional(variant, LABELS))
        assert found["ms-ssim-class-collapsed"].value == pytest.approx(len(collapsed) / 3)
        assert variant.asked.tolist() == [40, 40, 40]
        if len(collapsed) == 3:
            assert found["ms-ssim-class"].value == pytest.approx(1)


def test_the_value_is_the_mean_of_classes_of_means_over_pairs() -> None:
    variant = sampler(0)
    found = within_classes(conditional(variant, LABELS, seed=5))["ms-ssim-class"]
    with torch.random.fork_rng([]):
        torch.manual_seed(derive(5, "ms-ssim-class", "samples"))
        with torch.no_grad():
            images = [to_uint8(variant.sample(40, torch.full((40,), label))) for label in range(3)]
    scores = [[mean_over(each, [(i, i + 1)]) for i in range(0, 40, 2)] for each in images]
    assert found.value == pytest.approx(np.mean(scores), rel=1e-12)
    error = np.sqrt(sum(np.var(each, ddof=1) / 20 for each in scores)) / 3
    assert found.spread == pytest.approx(error, rel=1e-9)
    assert found.protocol["pairs"] == "20 within each class of at least 2 training images, mean of classes"


def test_sampling_by_class_leaves_the_generators_alone_and_repeats() -> None:
    variant = sampler()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, again, other = (
        within_classes(conditional(variant, LABELS, seed=seed))["ms-ssim-class"].value for seed in (0, 0, 1)
    )
    assert first == again != other and torch.equal(state, torch.get_rng_state())


def test_of_real_images_their_own_labels_count() -> None:
    scene = conditional(None, LABELS, pairs=4000)
    images = scene.fake.images
    every = [mean_over(images[k == LABELS], torch.combinations(torch.arange(100)).tolist()) for k in range(3)]
    found = within_classes(scene)
    assert found["ms-ssim-class"].value == pytest.approx(np.mean(every), rel=0.02)
    assert found["ms-ssim-class-collapsed"].value == 0, "the same images, so none is above the highest"
    assert found["ms-ssim-class"].protocol == within_classes(conditional(sampler(), LABELS, pairs=4000))[
        "ms-ssim-class"].protocol  # fmt: skip


def test_no_image_is_paired_with_itself() -> None:
    scene = conditional(None, torch.tensor([0, 0, 1, 1, 2, 2]))
    value = within_classes(scene)["ms-ssim-class"].value
    assert value == pytest.approx(mean_over(scene.fake.images, [(0, 1), (2, 3), (4, 5)]), rel=1e-12)


@pytest.mark.parametrize("piece", [1, 7, 300])
def test_the_pieces_that_training_images_come_in_do_not_matter(piece: int) -> None:
    found = dict(metric_ms_ssim._training_by_class(conditional(None, LABELS, piece=piece), 40))
    whole = dict(metric_ms_ssim._training_by_class(conditional(None, LABELS), 40))
    images = conditional(None, LABELS).fake.images
    for label in range(3):
        assert torch.equal(found[label], whole[label]) and len(found[label]) == 40
        mine = {image.numpy().tobytes() for image in images[label == LABELS]}
        drawn = {image.numpy().tobytes() for image in found[label]}
        assert len(drawn) == 40 and drawn <= mine


def test_a_class_of_one_image_is_left_out_and_the_others_are_not() -> None:
    labels = torch.cat([torch.zeros(60), torch.ones(60), torch.tensor([2.0])]).long()
    variant = sampler(0)
    found = within_classes(conditional(variant, labels))
    assert variant.asked.tolist() == [40, 40, 0] and found["ms-ssim-class-collapsed"].value == 0.5
    assert within_classes(conditional(None, labels))["ms-ssim-class"].value < 1


def test_what_has_no_classes_to_compare_within_is_refused() -> None:
    for labels, more, reason in (
        (LABELS, {"conditional": False}, "of no known class"),
        (LABELS, {"training": None}, "not at hand"),
        (torch.tensor([0, 1, 2]), {}, "of none there are two"),
    ):
        with pytest.raises(UserError, match=reason):
            within_classes(conditional(sampler(), labels, **more))
    broken = sampler()
    broken.sample = lambda n, cond: torch.full((n, 1, 8, 8), math.nan)  # type: ignore[method-assign]
    with pytest.raises(UserError, match="class 0 that are not finite"):
        within_classes(conditional(broken, LABELS))


def test_real_digits_of_one_kind_are_more_alike() -> None:
    train = Digits().load(Path(), 8).train
    real = Features(train.images, labels=train.cond)
    scene = Scene(DataSpec((1, 8, 8), classes=10), real, real, {}, conditional=True, training=lambda: iter([real]))
    found = within_classes(scene)
    assert 0.05 < compute(scene)["ms-ssim"].value < found["ms-ssim-class"].value < 0.8
    assert found["ms-ssim-class-collapsed"].value < 0.2


def test_what_the_metrics_say_of_themselves() -> None:
    whole, within = ganbench_metrics()
    assert (whole.name, whole.needs, whole.last_mark_only) == ("ms-ssim", {"images"}, False)
    assert (within.name, within.needs) == ("ms-ssim-class", {"images", "labels", "generator"})
    for metric in (whole, within):
        assert (metric.higher_is_better, metric.near_reference, metric.worst) == (False, True, 1)
