"""Independent ways to the numbers of metrics: formulas written out in numpy, scipy and scikit-learn, and packages."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import sklearn.metrics
import torch
from ganbench_plugins.extractors.inception import Network
from sklearn.neighbors import NearestNeighbors
from torch import Tensor
from torch.nn import functional as F

from ganbench import UserError

Array = np.ndarray


def package(module: str) -> Any:
    """Import a module of a package that ganbench does not depend on. Raises `UserError` where it is not installed."""
    try:
        with quietly():
            return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0].replace("_", "-")
        raise UserError(f"the package {name} is not to be had ({error}): pip install {name}") from None


def named(distribution: str, function: str = "") -> str:
    """Return a package, its version and what of it, as it is told in the table."""
    return f"{distribution} {version(distribution)}{f' ({function})' if function else ''}"


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep what other programs print and warn of out of the table."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def moments(features: Tensor | Array) -> tuple[Array, Array]:
    """Return mean and covariance in float64."""
    rows = np.asarray(features, dtype=np.float64)
    return rows.mean(0), np.cov(rows, rowvar=False)


def frechet_by_matrix_root(a: Tensor | Array, b: Tensor | Array) -> float:
    """The distance as it is written."""
    (mean_a, first), (mean_b, second) = moments(a), moments(b)
    gap = mean_a - mean_b
    with quietly():
        root = scipy.linalg.sqrtm(first @ second)
    return float(gap @ gap + np.trace(first) + np.trace(second) - 2 * np.trace(root).real)


def frechet_by_products(a: Tensor | Array, b: Tensor | Array) -> float:
    """The same, exact for few samples: Tr √(Σ₁Σ₂) is the sum of the singular values of all inner products."""
    rows = [np.asarray(each, dtype=np.float64) for each in (a, b)]
    gap = rows[0].mean(0) - rows[1].mean(0)
    x, y = ((each - each.mean(0)) / np.sqrt(len(each) - 1) for each in rows)
    return float(gap @ gap + (x**2).sum() + (y**2).sum() - 2 * scipy.linalg.svdvals(x @ y.T).sum())


def frechet_by(module: str, name: str, a: Tensor | Array, b: Tensor | Array) -> float:
    """The function of a package that takes means and covariances."""
    function = getattr(package(module), name)
    with quietly():
        return float(function(*moments(a), *moments(b)))


def polynomial_kernel(x: Array, y: Array) -> float:
    """The mean of KID's kernel."""
    return float(sklearn.metrics.pairwise.polynomial_kernel(x, y, degree=3, gamma=1 / x.shape[1], coef0=1).mean())


def averaged(images: Tensor, side: int) -> Array:
    """Pixels in [0, 1] as rows, each the mean of those of the image that it covers or touches."""
    pixels = images.numpy().astype(np.float64) / 255
    for axis in (2, 3):
        size = pixels.shape[axis]
        spans = [(i * size // side, -(-(i + 1) * size // side)) for i in range(side)]
        pixels = np.stack([pixels.take(range(*span), axis).mean(axis) for span in spans], axis)
    return pixels.reshape(len(pixels), -1)


def largest(maps: Tensor, side: int) -> Array:
    """The maximum over each of `side`×`side` parts of maps `[n, c, h, w]`, as rows."""
    found = maps.numpy()
    for axis in (2, 3):
        size, parts = found.shape[axis], min(side, found.shape[axis])
        spans = [(i * size // parts, -(-(i + 1) * size // parts)) for i in range(parts)]
        found = np.stack([found.take(range(*span), axis).max(axis) for span in spans], axis)
    return found.reshape(len(found), -1)


def nearest_of(others: Array, samples: Array, *, same: bool = False) -> tuple[Array, Array]:
    """Distance and number of the nearest of others. `same`: the first neighbour is the sample itself."""
    found = NearestNeighbors(n_neighbors=1 + same, algorithm="brute").fit(others)
    distance, index = found.kneighbors(samples)
    return distance[:, -1], index[:, -1]


def authentic(fake: Array, training: Array) -> float:
    """Share of samples farther from the nearest training sample than that one's nearest other training sample is."""
    distance, which = nearest_of(training, fake)
    return float((nearest_of(training, training, same=True)[0][which] < distance).mean())


def copied(fake: Tensor, real: Tensor, training: Tensor, side: int, one_in: int) -> float:
    """Share of samples whose ratio of distances is below that of one in so many reference images; mirrored ones too."""
    both = averaged(torch.cat([training, training.flip(-1)]), side)
    mirrored = averaged(torch.cat([real, real.flip(-1)]), side)
    x, y = averaged(fake, side), averaged(real, side)
    # The nearest of all but the image itself; its own mirror image is one of the others' forms only for itself.
    apart = NearestNeighbors(n_neighbors=3, algorithm="brute").fit(mirrored)
    distances, index = apart.kneighbors(y)
    other = index % len(y) != np.arange(len(y))[:, None]
    within = np.where(other, distances, np.inf).min(1)
    bounds = nearest_of(both, y)[0] / within
    ratios = nearest_of(both, x)[0] / nearest_of(mirrored, x)[0]
    return float((ratios < np.sort(bounds)[max(1, (len(y) + 1) // one_in) - 1]).mean())


def unfolded(path: Path) -> Mapping[str, Tensor]:
    """Weights for torch-fidelity's network from the file with batch norm folded in: norms that change nothing.

    The blocks that the file lacks are zero, and lie behind the layers it serves.
    """
    state = {name: torch.zeros_like(tensor) for name, tensor in Network(2048, folded=False).state_dict().items()}
    with np.load(path, allow_pickle=False) as arrays:
        found = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    for name in state:
        block, _, field = name.rpartition(".bn.")
        if name in found:
            state[name] = found[name]
        elif block and field == "bias" and f"{block}.conv.bias" in found:
            state[name] = found[f"{block}.conv.bias"]
        elif field == "weight":
            state[name].fill_(1)
        elif field == "running_var":
            state[name].fill_(1 - 1e-3)  # the network adds 1e-3 to it
    return state


class Float64:
    """Inception up to Mixed_6e, written out with its folded weights in float64."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as arrays:
            self.arrays = {name: torch.from_numpy(arrays[name]).double() for name in arrays.files}

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        """Convolution, bias, ReLU; padded to keep the size unless it has a stride or belongs to the first layers."""
        kernel = self.arrays[f"{name}.conv.weight"]
        valid = stride > 1 or name in ("Conv2d_2a_3x3", "Conv2d_4a_3x3")
        padding = (0, 0) if valid else (kernel.shape[2] // 2, kernel.shape[3] // 2)
        return F.conv2d(x, kernel, self.arrays[f"{name}.conv.bias"], stride, padding).relu_()

    def chain(self, x: Tensor, block: str, *names: str, stride: int = 1) -> Tensor:
        """One branch of a block; the stride is its last convolution's."""
        for name in names:
            x = self.conv(x, f"{block}.{name}", stride if name == names[-1] else 1)
        return x

    def pooled(self, x: Tensor, block: str) -> Tensor:
        """Mean of the neighbours that lie inside the image, then a convolution."""
        inside = F.avg_pool2d(torch.ones_like(x[:1, :1]), 3, 1, 1)
        return self.conv(F.avg_pool2d(x, 3, 1, 1) / inside, f"{block}.branch_pool")

    def __call__(self, images: Tensor) -> dict[int, Tensor]:
        """Map uint8 `[B, 3, H, W]` to features by their number, 64, 192 and 768."""
        rows, columns = (interpolation(size) for size in images.shape[2:])
        x = (rows @ images.double() @ columns.T - 128) / 128
        x = self.conv(x, "Conv2d_1a_3x3", 2)
        x = first = F.max_pool2d(self.conv(self.conv(x, "Conv2d_2a_3x3"), "Conv2d_2b_3x3"), 3, 2)
        x = second = F.max_pool2d(self.conv(self.conv(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3"), 3, 2)
        triple = ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
        for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            branches = [self.chain(x, block, "branch1x1"), self.chain(x, block, "branch5x5_1", "branch5x5_2")]
            x = torch.cat([*branches, self.chain(x, block, *triple), self.pooled(x, block)], 1)
        branches = [self.chain(x, "Mixed_6a", "branch3x3", stride=2), self.chain(x, "Mixed_6a", *triple, stride=2)]
        x = torch.cat([*branches, F.max_pool2d(x, 3, 2)], 1)
        for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
            branches = [self.chain(x, block, "branch1x1"), self.chain(x, block, *(f"branch7x7_{i}" for i in (1, 2, 3)))]
            long = self.chain(x, block, *(f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5)))
            x = torch.cat([*branches, long, self.pooled(x, block)], 1)
        return {features.shape[1]: features.mean((2, 3)) for features in (first, second, x)}


def interpolation(size: int) -> Tensor:
    """The matrix `[299, size]` of TensorFlow 1's bilinear resize: output i lies at i·size/299 of the input."""
    place = torch.arange(299, dtype=torch.float64) * size / 299
    low = place.floor().long()
    matrix = torch.zeros(299, size, dtype=torch.float64)
    matrix[torch.arange(299), low] += 1 - (place - low)
    matrix[torch.arange(299), (low + 1).clamp(max=size - 1)] += place - low
    return matrix
