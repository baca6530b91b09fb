"""Evidence that ganbench's FID is right: against torch-fidelity, and against a computation in float64, on real images.

Run: python benchmarks/fid_evidence.py --data DIR --weights DIR [--images 32] [--output results/fid-evidence.json]
Of each data set two halves that share no image are compared, real against real. `fid` and `is`: weights drawn from a
seed, the same for ganbench and torch-fidelity. `fid-768`: the genuine weights (`--weights`), beside the same layers
written out below in float64 and scipy's matrix root. Differences should be below 1e-3.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import scipy
import scipy.linalg
import torch
import torch_fidelity
from fid import by_torch_fidelity, embed, prepared, seeded_weights
from ganbench_plugins.extractors.inception import GENUINE, Inception768
from ganbench_plugins.metrics.inception import SPLITS, inception_score
from torch import Tensor
from torch.nn import functional as F

from ganbench import ImageSet, Splits, UserError, frechet_distance, read_image, write_atomically
from ganbench.runs.registry import discover
from ganbench.training.devices import describe, make_repeatable

Arrays = Mapping[str, Tensor]
SETS = {"celeba": 64, "cifar10": 32, "mnist": 28}
CPU = torch.device("cpu")


def images_of(name: str, root: Path) -> Tensor:
    """Training images, uint8 `[N, C, H, W]`; of CIFAR-10 also from lossless grids of 1000 in `cifar10-webp`."""
    grids = sorted((root / "cifar10-webp").glob("train_*.webp"))
    if name == "cifar10" and grids:
        pages = np.stack([read_image(path, 3) for path in grids]).reshape(-1, 25, 32, 40, 32, 3)
        return torch.from_numpy(pages.transpose(0, 1, 3, 5, 2, 4).reshape(-1, 3, 32, 32).copy())
    return discover().get("dataset", name).item.load(root, SETS[name]).train.images


class Float64:
    """Inception up to Mixed_6e, written out with its folded weights in float64."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = {name: array.double() for name, array in arrays.items()}

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

    def __call__(self, images: Tensor) -> Tensor:
        """Map uint8 `[B, 3, H, W]` to features `[B, 768]`."""
        rows, columns = (interpolation(size) for size in images.shape[2:])
        x = (rows @ images.double() @ columns.T - 128) / 128
        x = self.conv(x, "Conv2d_1a_3x3", 2)
        x = F.max_pool2d(self.conv(self.conv(x, "Conv2d_2a_3x3"), "Conv2d_2b_3x3"), 3, 2)
        x = F.max_pool2d(self.conv(self.conv(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3"), 3, 2)
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
        return x.mean((2, 3))


def interpolation(size: int) -> Tensor:
    """The matrix `[299, size]` of TensorFlow 1's bilinear resize: output i lies at i·size/299 of the input."""
    place = torch.arange(299, dtype=torch.float64) * size / 299
    low = place.floor().long()
    matrix = torch.zeros(299, size, dtype=torch.float64)
    matrix[torch.arange(299), low] += 1 - (place - low)
    matrix[torch.arange(299), (low + 1).clamp(max=size - 1)] += place - low
    return matrix


def by_matrix_root(a: Tensor, b: Tensor) -> float:
    """The distance as it is written, in numpy."""
    first, second = (np.cov(side.numpy(), rowvar=False) for side in (a, b))
    gap = (a.mean(0) - b.mean(0)).numpy()
    root = scipy.linalg.sqrtm(first @ second)
    return float(gap @ gap + np.trace(first) + np.trace(second) - 2 * np.trace(root).real)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def beside(name: str, ours: tuple[float, float], theirs: tuple[float, float]) -> dict[str, Any]:
    """Two values and their seconds."""
    return {
        "ganbench": ours[0],
        name: theirs[0],
        "difference": ours[0] - theirs[0],
        "seconds": {"ganbench": round(ours[1], 3), name: round(theirs[1], 3)},
    }


def seeded_network(a: Tensor, b: Tensor, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """`fid` and `is` with seeded weights, beside torch-fidelity."""
    colour = [side.expand(-1, 3, -1, -1) for side in (a, b)]
    weights = seeded_weights(folder)
    path = folder / weights.full.path

    def ours() -> tuple[float, float]:
        embedding = prepared(weights, folder, a, CPU)
        features, probs = (torch.cat(parts) for parts in zip(*map(embedding, a.split(256)), strict=True))
        return frechet_distance(features, embed(embedding, b, CPU)), inception_score(probs, SPLITS)

    def theirs() -> dict[str, Any]:
        return by_torch_fidelity(*colour, path, CPU, isc=True, samples_shuffle=False, cache=False)

    (distance, score), seconds = timed(ours)
    found, their_seconds = timed(theirs)
    for name, value, key in (
        ("fid", distance, "frechet_inception_distance"),
        ("is", score, "inception_score_mean"),
    ):
        yield name, beside("torch-fidelity", (value, seconds), (float(found[key]), their_seconds))


def genuine_network(a: Tensor, b: Tensor, weights: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """`fid-768` with the genuine folded weights, beside float64."""
    with np.load(weights / GENUINE.folded.path, allow_pickle=False) as arrays:
        network = Float64({name: torch.from_numpy(arrays[name]) for name in arrays.files})
    embedding = Inception768().prepare("evidence", Splits(ImageSet(a), ImageSet(b), "0" * 64), weights, CPU)
    if embedding.protocol["extractor_form"] != "batch norm folded":
        raise UserError(f"{weights} holds the whole network: name a folder with {GENUINE.folded.path} alone")
    exact: list[Tensor] = []

    def ours() -> float:
        return frechet_distance(embed(embedding, a, CPU), embed(embedding, b, CPU))

    def theirs() -> float:
        exact[:] = [torch.cat([network(part.expand(-1, 3, -1, -1)) for part in side.split(8)]) for side in (a, b)]
        return by_matrix_root(*exact)

    found = beside("float64", timed(ours), timed(theirs))
    gap = (embed(embedding, a[:64], CPU) - exact[0][:64]).abs().max() / exact[0].abs().max()
    yield "fid-768", found | {"features": f"largest difference {float(gap):.1e} of the largest feature"}


@click.command()
@click.option("--data", "root", type=click.Path(path_type=Path), required=True, help="Root of the data sets.")
@click.option("--weights", type=click.Path(path_type=Path), required=True, help="Folder of the genuine weights.")
@click.option("--images", default=32, help="Images in each half.")
@click.option("--threads", default=1)
@click.option("--output", type=click.Path(path_type=Path), help="JSON file to write.")
@torch.no_grad()
def main(root: Path, weights: Path, images: int, threads: int, output: Path | None) -> None:
    """Print and write values, differences and seconds for each data set."""
    make_repeatable(CPU, threads)
    sets: dict[str, Any] = {}
    for name in SETS:
        found = images_of(name, root)
        rows = torch.randperm(len(found), generator=torch.Generator().manual_seed(0))[: 2 * images]
        if len(rows) < 2 * images:
            raise UserError(f"{name} has {len(found)} images, not 2 × {images}")
        a, b = found[rows[:images]], found[rows[images:]]
        sets[name] = {"shape": list(a.shape[1:]), "n": [len(a), len(b)]}
        with tempfile.TemporaryDirectory() as folder:
            for pairs in (seeded_network(a, b, Path(folder)), genuine_network(a, b, weights)):
                for metric, values in pairs:
                    sets[name][metric] = values
                    print(f"{name:8} {metric:8} {json.dumps(values)}", flush=True)
    report = {
        "command": " ".join(["python", *sys.argv]),
        "device": f"{describe(CPU)}, {threads} threads",
        "versions": {
            "torch": torch.__version__,
            "torch-fidelity": torch_fidelity.__version__,
            "scipy": scipy.__version__,
        },
        "sets": sets,
    }
    if output:
        write_atomically(output, lambda file: file.write((json.dumps(report, indent=1) + "\n").encode()))


if __name__ == "__main__":
    main()
