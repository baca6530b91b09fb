"""MS-SSIM against a library where one can serve, against plain loops where none can, and its choice of pairs."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from ganbench_plugins.datasets.mnist import MNIST
from ganbench_plugins.metrics import ms_ssim as metric_ms_ssim
from ganbench_plugins.metrics.ms_ssim import compute, ganbench_metrics, ms_ssim
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import conv2d

from ganbench import DataSpec, Features, Scene, UserError


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


def test_conditional_samples_are_compared_within_their_class() -> None:
    shades = torch.tensor([0, 255], dtype=torch.uint8)
    labels = torch.arange(300) % 2
    images = shades[labels].view(-1, 1, 1, 1).repeat(1, 1, 8, 8)
    within = compute(scene_of(images, labels, conditional=True))["ms-ssim"]
    assert within.value == pytest.approx(1, abs=1e-12)
    assert within.protocol["n_pairs"] == 200 and "within each of 2 classes" in within.protocol["pairs"]
    assert compute(scene_of(images, labels))["ms-ssim"].value < 0.8


def test_no_image_is_paired_with_itself() -> None:
    """Two images a class, unlike: a pair of one with itself would raise the mean."""
    images, labels = blobs(4, 1, 28), torch.tensor([0, 0, 1, 1])
    value = compute(scene_of(images, labels, conditional=True))["ms-ssim"].value
    assert value == pytest.approx(mean_over(images, [(0, 1), (2, 3)]), rel=1e-12)


def test_the_seed_alone_decides_the_pairs() -> None:
    images, labels = blobs(400, 1, 8), torch.arange(400) % 4
    for conditional in (False, True):
        first, again, other = (
            compute(scene_of(images, labels, conditional=conditional, seed=seed))["ms-ssim"].value for seed in (1, 1, 2)
        )
        assert first == again != other


def test_too_few_images_are_refused() -> None:
    with pytest.raises(UserError, match="at least 2, not 1"):
        compute(scene_of(noise(1, 1, 8)))
    with pytest.raises(UserError, match="1 of class 1"):
        compute(scene_of(noise(3, 1, 8), torch.tensor([0, 0, 1]), conditional=True))


def test_real_digits_of_one_kind_are_more_alike(data_root: Path) -> None:
    if not (data_root / "MNIST").is_dir():
        pytest.skip("no MNIST here")
    train = MNIST().load(data_root, 28).train
    images, labels = train.images[:2000], train.cond[:2000]
    across, within = (compute(scene_of(images, labels, conditional=c))["ms-ssim"].value for c in (False, True))
    assert 0.05 < across < within < 0.6


def test_lower_is_better_and_images_are_needed() -> None:
    (metric,) = ganbench_metrics()
    assert (metric.name, metric.higher_is_better, metric.needs) == ("ms-ssim", False, {"images"})
