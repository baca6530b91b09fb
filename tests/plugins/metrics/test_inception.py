"""FID, KID and the Inception score against torch-fidelity's own functions, plain loops and closed forms."""

import math
from pathlib import Path

import pytest
import torch
from ganbench_plugins.extractors.inception import GENUINE, Inception64
from ganbench_plugins.metrics import inception as metric_inception
from ganbench_plugins.metrics.inception import ganbench_metrics, inception_score, squared_mmd
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kernel_mmd, kid_features_to_metric

from ganbench import DataSpec, Features, ImageSet, Metric, Scene, Splits, UserError, Value, read_image

METRICS = {metric.name: metric for metric in ganbench_metrics()}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def seen(embedding: Tensor | None = None, probs: Tensor | None = None) -> Features:
    return Features(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), embedding, probs)


def measure(name: str, fake: Features, real: Features, seed: int = 0) -> Value:
    scene = Scene(DataSpec((3, 8, 8)), fake, real, {}, seed=seed)
    (found,) = METRICS[name].compute(scene).items()
    assert found[0] == name
    return found[1]


def kid(fake: Tensor, real: Tensor, seed: int = 0) -> Value:
    return measure("kid", seen(fake), seen(real), seed)


@pytest.mark.parametrize(("n", "m", "width"), [(300, 200, 64), (30, 40, 192), (2, 300, 16)])
def test_fid_is_torch_fidelitys(n: int, m: int, width: int) -> None:
    mixing = normal(width, width, seed=3) / math.sqrt(width)
    fake, real = (normal(n, width, seed=1) @ mixing).relu(), (normal(m, width, seed=2) * 1.5 + 0.2).relu()
    theirs = fid_statistics_to_metric(fid_features_to_statistics(fake), fid_features_to_statistics(real), False)
    value = measure("fid", seen(fake), seen(real)).value
    assert value == pytest.approx(theirs["frechet_inception_distance"], abs=1e-3)
    assert measure("fid-192", seen(fake), seen(real)).value == value


def test_fid_of_one_sample_is_refused() -> None:
    with pytest.raises(UserError, match="at least 2 samples"):
        measure("fid-768", seen(normal(1, 8)), seen(normal(9, 8)))


def by_loops(x: Tensor, y: Tensor) -> float:
    def kernel(a: Tensor, b: Tensor) -> float:
        return (float(a.double() @ b.double()) / len(a) + 1) ** 3

    within = [
        sum(kernel(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j) / (len(s) * (len(s) - 1))
        for s in (x, y)
    ]
    return sum(within) - 2 * sum(kernel(a, b) for a in x for b in y) / (len(x) * len(y))


def mean_of_kernel(x: Tensor, y: Tensor) -> float:
    """What the rounding of products is a share of."""
    both = torch.cat([x, y]).double()
    return float((both @ both.T / both.shape[1] + 1).abs().pow(3).mean())


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (4, 3), (3, 7), (256, 1024)])
def test_squared_mmd_leaves_out_pairs_of_a_sample_with_itself(
    rows: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric_inception, "ROWS", rows)
    monkeypatch.setattr(metric_inception, "COLUMNS", columns)
    x, y = normal(9, 5, seed=1), normal(14, 5, seed=2) + 0.3
    assert squared_mmd(x.double(), y.double()) == pytest.approx(by_loops(x, y), rel=1e-9)
    assert squared_mmd(x, y) == pytest.approx(by_loops(x, y), rel=1e-6)


@pytest.mark.parametrize(("n", "width"), [(1100, 32), (256, 64), (257, 192), (700, 2048), (2, 768)])
def test_squared_mmd_is_torch_fidelitys(n: int, width: int) -> None:
    x, y = normal(n, width, seed=1), normal(n, width, seed=2) * 1.1
    theirs = kernel_mmd(x.double().numpy(), y.double().numpy())
    assert squared_mmd(x.double(), y.double()) == pytest.approx(float(theirs), rel=1e-9)


@pytest.mark.parametrize(
    ("scale", "shift", "n", "m"),
    [(0.5, 0.0, 500, 500), (0.5, 0.0, 100, 513), (2.0, 1.0, 400, 300), (0.01, 5.0, 300, 256), (30.0, 0.0, 257, 300)],
)
@pytest.mark.parametrize("width", [64, 2048])
def test_products_in_float32_cost_next_to_nothing(scale: float, shift: float, n: int, m: int, width: int) -> None:
    """Features are ReLUs' and of any size; what is lost is below 1e-8 of the mean of the kernel."""
    x, y = (normal(n, width, seed=1) + shift).relu() * scale, (normal(m, width, seed=2) + shift).relu() * scale
    exact = squared_mmd(x.double(), y.double())
    assert abs(squared_mmd(x, y) - exact) < 1e-8 * mean_of_kernel(x, y)
    assert squared_mmd(x, 1.1 * y) == pytest.approx(squared_mmd(x.double(), (1.1 * y).double()), rel=1e-5)


def test_kid_of_real_features_is_torch_fidelitys(data_root: Path) -> None:
    """First layers of the genuine network, of real images by class: the value differs by less than 1e-5 of itself."""
    weights, images = data_root / "weights", data_root / "cifar10-webp" / "test_00.webp"
    if not (weights / GENUINE.folded.path).is_file() or not images.is_file():
        pytest.skip("no genuine weights and images here")
    grid = read_image(images, 3).reshape(25, 32, 40, 32, 3).transpose(0, 2, 1, 3, 4).reshape(1000, 32, 32, 3)
    sets = torch.from_numpy(grid.transpose(0, 3, 1, 2).copy())[:100]
    data = Splits(ImageSet(sets), ImageSet(sets), "0" * 64)
    features = Inception64().prepare("cifar10", data, weights, torch.device("cpu"))(sets)[0]
    one, two = features[:50], features[50:] * 1.05
    exact = float(kernel_mmd(one.double().numpy(), two.double().numpy()))
    assert squared_mmd(one, two) == pytest.approx(exact, rel=1e-5)
    assert squared_mmd(one, two) == pytest.approx(float(kernel_mmd(one.numpy(), two.numpy())), rel=1e-2)


def test_no_tile_of_the_kernel_is_larger_than_what_a_cache_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, kernel = [], metric_inception._kernel

    def watched(x: Tensor, y: Tensor) -> Tensor:
        found = kernel(x, y)
        sizes.append(found.numel())
        return found

    monkeypatch.setattr(metric_inception, "_kernel", watched)
    squared_mmd(normal(900, 4), normal(5000, 4))
    assert max(sizes) <= 2**18
    assert sum(sizes) < 900 * 5000 + 0.55 * 5000**2 + 900**2  # of a set with itself hardly more than half


def test_kid_of_few_samples_uses_them_all() -> None:
    fake, real = normal(12, 6, seed=1), normal(1500, 6, seed=2) + 0.2
    value = kid(fake, real)
    assert value.value == squared_mmd(fake, real)
    assert "all samples at once" in value.protocol["estimate"]
    assert kid(fake, real, seed=5).value == value.value


def test_kid_of_many_samples_averages_over_subsets() -> None:
    fake, real = normal(1300, 8, seed=1), normal(1200, 8, seed=2) * 1.1 + 0.1
    theirs = kid_features_to_metric(fake, real, kid_subsets=100, kid_subset_size=1000, verbose=False)
    mean, deviation = theirs["kernel_inception_distance_mean"], theirs["kernel_inception_distance_std"]
    value = kid(fake, real)
    assert value.value == pytest.approx(mean, abs=deviation)  # 100 subsets: its error is a tenth of this
    assert "100 random subsets of 1000" in value.protocol["estimate"]
    assert kid(fake, real).value == value.value
    assert kid(fake, real, seed=1).value != value.value


def test_the_spread_of_kid_is_what_new_samples_vary_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """The subsets are made small, so that many pairs of sets can be had."""
    monkeypatch.setattr(metric_inception, "SUBSET_SIZE", 20)
    values = [kid(normal(200, 4, seed=i) * 1.3 + 0.3, normal(150, 4, seed=1000 + i), seed=i) for i in range(80)]
    varied = float(torch.tensor([value.value for value in values]).std())
    assert sum(value.spread or 0 for value in values) / 80 == pytest.approx(varied, rel=0.3)


def test_the_spread_of_kid_is_made_of_torch_fidelitys_deviation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_inception, "SUBSET_SIZE", 50)
    fake, real = normal(400, 8, seed=1), normal(100, 8, seed=2) * 1.2
    spreads = [kid(fake, real, seed).spread or 0 for seed in range(10)]
    theirs = kid_features_to_metric(fake, real, kid_subsets=1000, kid_subset_size=50, verbose=False)
    expected = theirs["kernel_inception_distance_std"] * math.sqrt(50 / (100 - 50) + 1 / 100)
    assert sum(spreads) / 10 == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(("n", "m"), [(60, 80), (80, 60), (15, 80)])
def test_kid_of_subsets_that_overlap_too_much_has_no_spread(n: int, m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_inception, "SUBSET_SIZE", 31)
    assert kid(normal(n, 4), normal(m, 4, seed=1)).spread is None


def test_subsets_that_are_the_whole_change_nothing() -> None:
    fake, real = normal(1000, 4, seed=1), normal(1000, 4, seed=2) * 1.1
    assert kid(fake, real).value == pytest.approx(squared_mmd(fake.double(), real.double()), rel=1e-6)


def test_kid_of_one_distribution_is_zero_on_average() -> None:
    values = [kid(normal(20, 4, seed=2 * i), normal(30, 4, seed=2 * i + 1)).value for i in range(200)]
    error = torch.tensor(values).std() / math.sqrt(200)
    assert abs(sum(values) / 200) < 4 * error and min(values) < 0


def test_kid_of_one_sample_is_refused() -> None:
    with pytest.raises(UserError, match="kid needs at least 2 samples of each set, not 1"):
        kid(normal(30, 4), normal(1, 4))


@pytest.mark.parametrize("n", [10, 57, 400])
def test_inception_score_is_torch_fidelitys(n: int) -> None:
    logits = 3 * normal(n, 1008)
    theirs = isc_features_to_metric(logits, splits=10, shuffle=False)["inception_score_mean"]
    assert measure("is", seen(probs=logits.softmax(1)), seen()).value == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("n", [10, 57, 400])
def test_the_spread_of_the_inception_score_is_torch_fidelitys_over_the_root_of_parts(n: int) -> None:
    logits = 3 * normal(n, 1008)
    theirs = isc_features_to_metric(logits, splits=10, shuffle=False)["inception_score_std"]
    value = measure("is", seen(probs=logits.softmax(1)), seen())
    assert value.spread == pytest.approx(theirs * math.sqrt(10 / 9) / math.sqrt(10), rel=1e-5, abs=1e-12)


def test_inception_score_in_closed_form() -> None:
    sure = torch.eye(8).repeat(20, 1)
    assert inception_score(sure, 1) == pytest.approx(8)
    assert inception_score(torch.full((40, 8), 1 / 8), 10) == pytest.approx(1)
    assert inception_score(sure[:1].repeat(40, 1), 10) == pytest.approx(1)


def test_inception_score_of_fewer_samples_than_parts_is_refused() -> None:
    with pytest.raises(UserError, match="at least 10 samples, not 9"):
        measure("is", seen(probs=torch.full((9, 4), 0.25)), seen())


@pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))
def test_each_metric_says_what_it_needs(metric: Metric) -> None:
    layer = metric.name.removeprefix("fid").removeprefix("-")
    assert metric.extractor == (f"inception-{layer}" if layer in ("64", "192", "768") else "inception")
    assert metric.needs == {"images"} and metric.last_mark_only and metric.summary
    assert metric.higher_is_better is (metric.name == "is") and metric.worst == (1 if metric.name == "is" else None)
