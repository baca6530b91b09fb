"""What metrics cost the processor beside their peers, all in one run: a Markdown table of ratios.

Run: python benchmarks/metrics.py [--data DIR] [--weights DIR] [--images 64] [--samples 10000] [--rounds 5] [--quick]
Both sides see the same numbers. They take turns, every round in another order, after a round that warms up and measures
memory. Times are seconds of the processor, of all threads. A ratio is ganbench's over the peer's, round by round; its
median counts: below 1, ganbench costs less. The difference is that of the values, as a share of the largest; KID's is
large where each side draws subsets of its own.

Images are CIFAR-10's and MNIST's where `--data` has them, else noise; the network of FID has its genuine weights where
`--weights` has the whole file, else weights drawn from a seed. Neither changes the time, and a note says so. The
features that are compared are drawn with the decaying spectrum of real ones.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import scipy
import scipy.linalg
import torch
import torch_fidelity
from fid import prepared, seeded_weights
from ganbench_plugins.extractors.classifier import ChannelExtractor
from ganbench_plugins.extractors.inception import GENUINE
from ganbench_plugins.metrics.copies import Config, nearest, vectors
from ganbench_plugins.metrics.inception import SPLITS, inception_score, kid
from ganbench_plugins.metrics.ms_ssim import C1, C2, SIGMA, TAPS, WEIGHTS, ms_ssim
from torch import Tensor
from torch.nn import functional as F
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from validation_networks import whole_weights
from validation_scenes import loaded

from ganbench import DataSpec, Features, ImageSet, Scene, Splits, UserError, Value, frechet_distance, to_float
from ganbench.scoring.samples import CHUNK
from ganbench.training.devices import cores, make_repeatable

CPU = torch.device("cpu")
STATUS = Path("/proc/self/status")
Work = Callable[[], "Tensor | float"]


@dataclass(frozen=True)
class Task:
    """The same result by several ways, ganbench's first."""

    name: str
    size: str
    ways: Mapping[str, Work]


@dataclass(frozen=True)
class Cost:
    """What one way took, round by round. `peak`: bytes of memory above those before, or None where nobody can tell."""

    seconds: list[float]
    peak: int | None
    value: Tensor


def measure(task: Task, rounds: int) -> dict[str, Cost]:
    """Take turns, in another order every round."""
    costs = {}
    for name, work in task.ways.items():
        before = memory("VmRSS", anew=True)
        value = torch.as_tensor(work(), dtype=torch.float64)
        after = memory("VmHWM")
        costs[name] = Cost([], None if before is None or after is None else max(0, after - before), value)
    for number in range(rounds):
        for name in list(task.ways) if number % 2 else reversed(list(task.ways)):
            start = time.process_time()
            task.ways[name]()
            costs[name].seconds.append(time.process_time() - start)
    return costs


def memory(field: str, *, anew: bool = False) -> int | None:
    """Return a number of bytes of this process as Linux counts them. `anew`: free memory goes back, peaks begin."""
    try:
        if anew:
            with contextlib.suppress(OSError, AttributeError):  # not every C library can
                ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")
        return 1024 * int(re.search(rf"{field}:\s+(\d+)", STATUS.read_text())[1])
    except OSError:
        return None


def lines(task: Task, costs: Mapping[str, Cost]) -> Iterator[str]:
    """Yield the rows of a table, one a peer."""
    (_, ours), *others = costs.items()
    for peer, cost in others:
        ratios = [mine / theirs for mine, theirs in zip(ours.seconds, cost.seconds, strict=True)]
        spent = [f"{statistics.median(side.seconds):.3f}" for side in (ours, cost)]
        peaks = ["–" if side.peak is None else f"{side.peak / 1e6:.0f}" for side in (ours, cost)]
        gap = float((ours.value - cost.value).abs().max() / cost.value.abs().max().clamp(min=1e-300))
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        cells = [task.name, task.size, peer, *spent, ratio, *peaks, f"{gap:.0e}"]
        yield f"| {' | '.join(cells)} |"


HEAD = """\
| what | size | peer | ganbench s | peer s | ratio (least–most) | ganbench MB | peer MB | difference |
| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"""


def inception(images: Tensor, weights: Path | None, folder: Path) -> Task:
    """The 2048 features of FID beside torch-fidelity's extractor, in batches of 64 as it makes them."""
    found = whole_weights(weights)
    if found is None:
        where = "no folder of weights was named" if weights is None else f"{weights} has no {GENUINE.full.path}"
        note(f"{where}: the features are those of weights drawn from seed 0, which take as long")
    known = seeded_weights(folder) if found is None else GENUINE
    path = folder / known.full.path if found is None else found
    ours = prepared(known, path.parent, images, CPU)
    theirs = FeatureExtractorInceptionV3("reference", ["2048"], feature_extractor_weights_path=str(path))
    ways: dict[str, Work] = {
        "ganbench": lambda: torch.cat([ours(part)[0] for part in images.split(CHUNK)]),
        "torch-fidelity": lambda: torch.cat([theirs(part)[0] for part in images.split(64)]),
    }
    return Task("Inception features", f"{len(images)} images", ways)


def statistics_of_features(fake: Tensor, real: Tensor) -> Iterator[Task]:
    """The Fréchet distance and KID of features, beside torch-fidelity's functions and scipy's matrix root."""
    size = f"{len(fake)} and {len(real)}, {fake.shape[1]}-d"

    def by_matrix_root() -> float:
        """The formula of pytorch-fid's calculate_frechet_distance."""
        first, second = fid_features_to_statistics(fake), fid_features_to_statistics(real)
        gap, product = first["mu"] - second["mu"], first["sigma"] @ second["sigma"]
        root = scipy.linalg.sqrtm(product)
        return float(gap @ gap + (first["sigma"] + second["sigma"]).trace() - 2 * root.trace().real)

    def by_torch_fidelity() -> float:
        first, second = fid_features_to_statistics(fake), fid_features_to_statistics(real)
        return float(fid_statistics_to_metric(first, second, False)["frechet_inception_distance"])

    distance = {
        "ganbench": lambda: frechet_distance(fake, real),
        "torch-fidelity": by_torch_fidelity,
        "scipy sqrtm": by_matrix_root,
    }
    yield Task("Fréchet distance", size, distance)

    blank = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    scene = Scene(DataSpec((3, 8, 8)), Features(blank, fake), Features(blank, real), {})

    def kid_by_torch_fidelity() -> float:
        found = kid_features_to_metric(fake, real, kid_subsets=100, kid_subset_size=1000, verbose=False)
        return float(found["kernel_inception_distance_mean"])

    yield Task(
        "KID, 100 × 1000", size, {"ganbench": lambda: single(kid(scene)), "torch-fidelity": kid_by_torch_fidelity}
    )


def single(values: Mapping[str, Value]) -> float:
    (value,) = values.values()
    return float(value.value)


def score(samples: int) -> Task:
    """The Inception score beside torch-fidelity's."""
    logits = 3 * torch.randn(samples, 1008, generator=torch.Generator().manual_seed(3))
    ways: dict[str, Work] = {
        "ganbench": lambda: inception_score(logits.softmax(1), SPLITS),
        "torch-fidelity": lambda: isc_features_to_metric(logits, splits=SPLITS, shuffle=False)["inception_score_mean"],
    }
    return Task("Inception score", f"{samples} × 1008", ways)


def similarity(images: Tensor) -> Task:
    """MS-SSIM of all pairs of a batch beside grouped convolutions of each pair, as libraries do it."""
    pairs = torch.combinations(torch.arange(len(images)))

    def by_convolutions() -> Tensor:
        return torch.cat([plain_ms_ssim(*(images[part[:, k]].double() for k in (0, 1))) for part in pairs.split(64)])

    size = f"{len(pairs)} pairs, {images.shape[1]}×{images.shape[2]}×{images.shape[3]}"
    ways: dict[str, Work] = {"ganbench": lambda: ms_ssim(images, pairs), "conv2d by pair": by_convolutions}
    return Task("MS-SSIM", size, ways)


def plain_ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """The value of each pair, the five maps of a scale by one separable convolution, as pytorch-msssim has it."""
    result = torch.ones(x.shape[:2], dtype=x.dtype)
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            odd = (0, x.shape[3] % 2, 0, x.shape[2] % 2)
            x, y = (F.avg_pool2d(F.pad(side, odd, mode="replicate"), 2) for side in (x, y))
        taps, channels = min(TAPS, *x.shape[2:]), 5 * x.shape[1]
        window = torch.softmax(-((torch.arange(taps).to(x) - (taps - 1) / 2) ** 2) / (2 * SIGMA**2), 0)
        maps = torch.cat([x, y, x * x, y * y, x * y], 1)
        for shape in ((1, 1, taps, 1), (1, 1, 1, taps)):
            maps = F.conv2d(maps, window.view(shape).expand(channels, -1, -1, -1), groups=channels)
        mean_x, mean_y, xx, yy, xy = maps.chunk(5, 1)
        term = (2 * (xy - mean_x * mean_y) + C2) / (xx - mean_x**2 + yy - mean_y**2 + C2)
        if scale == len(WEIGHTS) - 1:
            term *= (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
        result *= term.mean((2, 3)).relu() ** weight
    return result.mean(1)


def modes(triples: Tensor) -> Task:
    """The modes of stacked digits beside the same classifier run on whole chunks, channel after channel."""
    labels = torch.arange(len(triples)) % 10
    data = Splits(ImageSet(triples, labels), ImageSet(triples, labels), "0" * 64)
    ours = ChannelExtractor().prepare("stacked-mnist", data, None, CPU)
    network = copy.deepcopy(ours.digits.network).to(memory_format=torch.contiguous_format)

    @torch.no_grad()
    def in_chunks() -> Tensor:
        found = [network(to_float(part.reshape(-1, 1, 28, 28)))[1].softmax(1) for part in triples.split(CHUNK)]
        return counts(torch.cat(found))

    ways: dict[str, Work] = {
        "ganbench": lambda: counts(torch.cat([ours(part)[1] for part in triples.split(CHUNK)])),
        "whole chunks of 256": in_chunks,
    }
    return Task("modes", f"{len(triples)} triples", ways)


def counts(probs: Tensor) -> Tensor:
    """How many samples each of the thousand modes has."""
    digits = probs.reshape(-1, 3, 10).argmax(2)
    return torch.bincount(digits @ torch.tensor([100, 10, 1]), minlength=1000)


def copied(samples: Tensor, others: Tensor) -> Task:
    """The nearest of other images beside `torch.cdist`."""

    def by_cdist() -> Tensor:
        x = vectors(samples)
        nearest_of = [torch.cdist(x, vectors(part)).amin(1) for part in others.split(CHUNK)]
        return torch.stack(nearest_of).amin(0)

    as_they_are = Config(mirror=False)
    ways: dict[str, Work] = {
        "ganbench": lambda: nearest(samples, others.split(CHUNK), as_they_are),
        "torch.cdist": by_cdist,
    }
    return Task("copies: the nearest", f"{len(samples)} among {len(others)}", ways)


def drawn(samples: int, width: int) -> tuple[Tensor, Tensor]:
    """Features of two sets, their spectrum that of real ones: it decays."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(width, width, generator=generator) / width**0.5
    mixing *= torch.arange(1, width + 1)[:, None] ** -0.5
    x, y = (torch.randn(samples, width, generator=generator) @ mixing for _ in range(2))
    return (x + 0.02).relu(), (1.05 * y).relu()


def pictures(name: str, root: Path, n: int, shape: tuple[int, ...]) -> Tensor:
    """So many real images, again from the first where there are fewer; noise where the data root has none."""
    try:
        found = loaded(name, root).train.images
    except UserError as error:
        note(f"{error}: noise stands for {name}, which takes as long")
        found = torch.randint(0, 256, (1000, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return found[torch.arange(n) % len(found)]


def note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def processor() -> str:
    """The name of the processor as Linux gives it, else as Python does."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.is_file() else None
    return found[1] if found else platform.processor() or platform.machine()


@click.command()
@click.option("--data", "root", type=click.Path(path_type=Path), envvar="GANBENCH_DATA", default=Path("data"))
@click.option("--weights", type=click.Path(path_type=Path), envvar="GANBENCH_WEIGHTS")
@click.option("--images", default=64, help="Images whose features are extracted.")
@click.option("--samples", default=10_000, help="Samples on each side of a metric.")
@click.option("--width", default=2048, help="Dimensions of the features that are compared.")
@click.option("--rounds", default=5, help="Rounds, after one that is not counted.")
@click.option("--threads", default=1)
@click.option("--quick", is_flag=True, help="Small sizes and 3 rounds: a minute or two in all.")
@torch.no_grad()
def main(
    root: Path, weights: Path | None, images: int, samples: int, width: int, rounds: int, threads: int, quick: bool
) -> None:
    """Print a Markdown table of processor seconds, ratios, memory, and how far the values lie apart."""
    if quick:
        images, samples, width, rounds = min(images, 16), min(samples, 1200), min(width, 512), min(rounds, 3)
    if samples < 1000 or rounds < 1 or images < 1 or width < 1:
        raise click.UsageError(f"--samples {samples}: KID draws 1000 of each side; images, width, rounds are 1 or more")
    make_repeatable(CPU, threads)
    colour, grey = pictures("cifar10", root, samples, (3, 32, 32)), pictures("mnist", root, 3 * samples, (1, 28, 28))
    versions = f"torch {torch.__version__}, torch-fidelity {torch_fidelity.__version__}, scipy {scipy.__version__}"
    print(f"{processor()} ({cores()} cores), {threads} threads, {versions}\n\n{HEAD}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        fake, real = drawn(samples, width)
        tasks: list[Callable[[], list[Task]]] = [
            lambda: [inception(colour[:images], weights, Path(folder))],
            lambda: list(statistics_of_features(fake, real)),
            lambda: [score(samples)],
            lambda: [similarity(colour[:64]), similarity(grey[:64])],
            lambda: [modes(grey.reshape(samples, 3, 28, 28))],
            lambda: [copied(colour, colour.flip(0, 3)[: samples // 2])],
        ]
        for make in tasks:
            for task in make():
                for line in lines(task, measure(task, rounds)):
                    print(line, flush=True)


if __name__ == "__main__":
    main()
