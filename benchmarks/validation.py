"""Each metric beside its reference implementation, on real images: a Markdown table, and exit code 1 where they differ.

Run: python benchmarks/validation.py [--data DIR] [--weights DIR] [--output results/validation.md]
Training images stand in the place of generated ones and are compared with test images, as ganbench loads them: digits,
which come with scikit-learn, and whatever of MNIST, CIFAR-10 and CelebA `--data` has. A metric's value is what its
plugin makes of features and images, the reference what another program or a formula written otherwise makes of the
same; where a name stands alone, from the images on. `--weights`: folder of the Inception network's.

Packages that ganbench does not need: pip install prdc pytorch-fid piq pytorch-msssim. What of
them, of data and of weights is not there leaves lines out; the table says which. `--deep`: images of each split that go
through the whole Inception network.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import click
import validation_features as features
import validation_networks as networks
from validation_scenes import CPU, Line, Lines, World

from ganbench import UserError, write_atomically
from ganbench.training.devices import describe, make_repeatable

OPTIONAL = ["prdc", "pytorch-fid", "piq", "pytorch-msssim"]
PACKAGES = ["torch", "numpy", "scipy", "scikit-learn", "pandas", "torch-fidelity", *OPTIONAL]
ALONE = {
    "grad-probe": "it trains a discriminator of its own, which no other program does",
    "fid": "its genuine weights, where the lines say that weights were drawn from a seed",
    "is": "its genuine weights, as with fid",
    "fd-dinov2": "its network; the tests compare that with other programs' on weights drawn from a seed",
    "cmmd": "its network, as with fd-dinov2",
}
"""What is not compared of a metric, even where no package is missing."""
LEAST = 10
INTRODUCTION = """\
Training images stand in the place of generated ones ("train") and are compared with test images. Lines of `fid-64`,
`fid-192`, `fid-768`, `fid`, `is`, `fd-pixels`, `pixel-error`, `copies`, `ms-ssim` and `linear-probe` begin with images;
the others begin with features that both sides are given, those of the extractor named. "`fid`, its distance" is what
`fid` makes of features, here of fewer than its own 2048. Of the samples of `copies` and `authenticity` one half are
training images, and the other half nobody has seen. A tolerance is a share of the reference where it says "of it";
where a value is a small difference of large ones, it is a share of these.
"""
HEAD = """\
| metric | compared with | images | ganbench | reference | difference | relative | tolerance | met |
| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"""


class Comparison(NamedTuple):
    """A name to tell what is left out by, and what yields the lines."""

    name: str
    lines: Callable[[World], Lines]


def comparisons() -> Iterator[Comparison]:
    """Yield all that is compared, the dearest last."""

    def of(function: Callable[..., Lines], name: str, *args: str) -> Comparison:
        label = " ".join([function.__name__.replace("_", " "), "of", name, *args])
        return Comparison(label, lambda world: function(world, name, *args))

    for name in ("digits", "mnist", "cifar10", "celeba"):
        yield of(features.pixels, name)
    for name, extractor in SEEN:
        yield of(features.neighbours, name, extractor)
        yield of(features.memorised, name, extractor)
        yield of(features.extrapolated, name, extractor)
        yield of(features.kid_of_all, name, extractor)
        yield of(features.discrepancy, name, extractor)
    for reference in ("scipy", "pytorch-fid"):
        for name in ("digits", "mnist"):
            yield of(features.distance, name, "fd-classifier", "classifier", reference)
        yield of(features.distance, "cifar10", "fid", "inception-192", reference)
    yield of(features.distance, "mnist", "fd-dinov2", "classifier", "scipy")
    yield of(features.kid_of_subsets, "mnist", "classifier")
    for name in ("digits", "mnist"):
        yield of(features.score, name)
        yield of(features.accuracy, name)
        yield of(features.by_class, name, "classifier")
        yield of(features.pixel_error, name)
        yield of(features.copies, name)
        yield of(networks.gradient_norms, name)
        yield of(networks.wasserstein, name)
        yield of(networks.probe, name)
    yield of(features.copies, "cifar10")
    yield of(features.modes, "stacked-mnist")
    yield of(features.points, "ring")
    yield of(features.points, "grid")
    for package in ("piq", "pytorch-msssim"):
        yield of(features.similarity, "celeba", package)
        yield of(features.similarity_in_classes, "cifar10", package)
    for name in ("cifar10", "celeba"):
        yield of(networks.early_layers, name)
    yield of(networks.exact_layers, "cifar10")
    yield of(networks.whole_network, "cifar10")


SEEN = (("digits", "classifier"), ("mnist", "classifier"), ("cifar10", "inception-192"))


def row(line: Line) -> str:
    """Write a line of the table."""
    tolerance = f"{line.tolerance:.0e}{'' if line.absolute else ' of it'}"
    numbers = [f"{line.ours:.10g}", f"{line.theirs:.10g}", f"{line.gap:.1e}", f"{line.share:.1e}", tolerance]
    return f"| {' | '.join([line.metric, line.reference, line.images, *numbers, 'yes' if line.met else '**no**'])} |"


def versions() -> str:
    """Tell the versions of all packages, and which are not there."""
    told = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            told.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            told.append(f"{name} is not installed")
    return ", ".join(told)


def compare(world: World, chosen: Iterable[Comparison]) -> tuple[list[Line], list[str]]:
    """Return all lines, and what was left out and why. Times are told on the way."""
    lines: list[Line] = []
    left_out: list[str] = []
    for comparison in chosen:
        start = time.process_time()
        try:
            lines += comparison.lines(world)
        except UserError as error:
            left_out.append(f"{comparison.name}: {error}")
            click.echo(f"left out: {left_out[-1]}", err=True)
        click.echo(f"{time.process_time() - start:6.1f} s {comparison.name}", err=True)
    return lines, left_out


def page(lines: Iterable[Line], left_out: Iterable[str], alone: Iterable[str]) -> str:
    """Write the whole file."""
    lines = list(lines)
    failed = [line for line in lines if not line.met]
    verdict = f"{len(lines)} values, {len(failed)} of them beyond their tolerance."
    parts = [
        "# Metrics beside their reference implementations\n",
        f"Written by `python {' '.join(['benchmarks/validation.py', *sys.argv[1:]])}`. {verdict}\n",
        f"{versions()}; {describe(CPU)}, one thread.\n",
        INTRODUCTION,
        "\n".join([HEAD, *map(row, lines)]) + "\n",
        "## Left out, because something is missing here\n",
        "\n".join([f"- {each}" for each in left_out] or ["Nothing."]) + "\n",
        "## Not compared\n",
        "\n".join(f"- {each}" for each in alone),
    ]
    return "\n".join(parts) + "\n"


def uncompared(world: World, lines: Iterable[Line]) -> list[str]:
    """Tell which metrics have no line, and of which something is left."""
    names = {line.name for line in lines}
    none = [f"`{name}`: {ALONE.get(name, 'no line above')}" for name in world.metrics if name not in names]
    part = [f"`{name}`: {why}" for name, why in ALONE.items() if name in names]
    return [*none, *part]


@click.command()
@click.option("--data", "root", type=click.Path(path_type=Path), envvar="GANBENCH_DATA", default=Path("data"))
@click.option("--weights", type=click.Path(path_type=Path), envvar="GANBENCH_WEIGHTS")
@click.option("--images", default=2000, help="Images of each split, at most; with Inception's features half of them.")
@click.option("--deep", default=32, help="Of those that go through a reference of the Inception network too.")
@click.option("--only", default="", help="Comparisons whose name contains this alone, such as `digits`.")
@click.option("--output", type=click.Path(path_type=Path), help="Markdown file to write; else it is printed.")
def main(root: Path, weights: Path | None, images: int, deep: int, only: str, output: Path | None) -> None:
    """Compare each metric with its reference; exit code 1 where a tolerance is exceeded, or nothing was compared."""
    if min(images, deep) < LEAST:
        raise click.UsageError(f"--images {images}, --deep {deep}: some metrics need {LEAST} images, so both are more")
    make_repeatable(CPU, 1)
    world = World(root, weights, images, deep)
    lines, left_out = compare(world, (each for each in comparisons() if only in each.name))
    text = page(lines, left_out, uncompared(world, lines))
    if output:
        write_atomically(output, lambda file: file.write(text.encode()))
    else:
        click.echo(text)
    failed = [line for line in lines if not line.met]
    for line in failed:
        click.echo(f"beyond its tolerance: {row(line)}", err=True)
    click.echo(f"{len(lines)} values, {len(failed)} beyond their tolerance, {len(left_out)} left out", err=True)
    sys.exit(1 if failed or not lines else 0)


if __name__ == "__main__":
    main()
