"""The floors under a table of stacked-MNIST: what real triples, uniform triples and a single triple score.

Run: python benchmarks/stacked_mnist_floors.py --data DIR [--output floors.json] [--size 28] [--device cpu]
Real triples and single triples (of test images) go through the shipped classifier, as generated samples do; beside
them stand the closed forms that the protocol of every value holds, and a simulation of the uniform one.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import click
import torch
from ganbench_plugins.datasets.stacked_mnist import SAMPLES, single_triples, stack, uniform_triples
from ganbench_plugins.metrics.modes import mode_kl, modes
from torch import Tensor

from ganbench.contract.data import ImageSet, Splits
from ganbench.contract.metrics import Embedding, Features, Scene
from ganbench.files import write_atomically
from ganbench.runs.opening import open_dataset
from ganbench.runs.registry import discover
from ganbench.scoring.samples import CHUNK
from ganbench.training.devices import make_repeatable, resolve_device

SINGLE = (123, 666, 789)
ROUNDS = 20


def features_of(images: Tensor, embedding: Embedding, device: torch.device) -> Features:
    """Classify the channels of images as the harness does."""
    pieces = [embedding(chunk.to(device))[1] for chunk in images.split(CHUNK)]
    return Features(images, probs=torch.cat([piece.cpu() for piece in pieces if piece is not None]))


def score(fake: Features, data: Splits) -> dict[str, float]:
    """Compute `modes`, `modes-5` and `mode-kl`."""
    scene = Scene(data.spec(), fake, fake, {}, modes=data.modes)
    return {name: value.value for name, value in {**modes(scene), **mode_kl(scene)}.items()}


def as_features(index: Tensor) -> Features:
    """Make features of samples whose modes are known."""
    digits = torch.stack([index // 100, index // 10 % 10, index % 10], 1)
    probs = torch.nn.functional.one_hot(digits, 10).flatten(1)
    return Features(torch.zeros(len(index), 3, 1, 1, dtype=torch.uint8), probs=probs)


def simulated(n: int, data: Splits) -> dict[str, dict[str, float]]:
    """Score uniform triples, seen without error, several times."""
    generator = torch.Generator().manual_seed(0)
    found = [score(as_features(torch.randint(1000, (n,), generator=generator)), data) for _ in range(ROUNDS)]
    return {
        name: {"mean": statistics.mean(of), "deviation": statistics.stdev(of)}
        for name, of in {name: [each[name] for each in found] for name in found[0]}.items()
    }


def one_triple(triple: int, n: int, digits: ImageSet) -> Tensor:
    """Draw images of one triple; each channel is any test image of its digit."""
    assert digits.cond is not None
    generator = torch.Generator().manual_seed(triple)
    pools = [torch.nonzero(digits.cond == triple // place % 10).flatten() for place in (100, 10, 1)]
    rows = [pool[torch.randint(len(pool), (n,), generator=generator)] for pool in pools]
    return stack(digits, torch.stack(rows, 1))[0]


@click.command()
@click.option("--data", "root", type=click.Path(path_type=Path), default=Path("data"), help="Root of the data sets.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON to write.")
@click.option("--size", default=28, help="28 or 32 pixels.")
@click.option("--threads", default=1)
@click.option("--device", default="auto")
def main(root: Path, output: Path | None, size: int, threads: int, device: str) -> None:
    """Print the floors of both presets, and write them."""
    where, registry = resolve_device(device), discover()
    make_repeatable(where, threads)
    digits = open_dataset("mnist", registry, {}).load(root, size)
    results: dict[str, Any] = {"size": size, "device": where.type, "torch": torch.__version__}
    results |= {"processor": platform.machine(), "protocol": {}, "presets": {}}
    for preset, n in SAMPLES.items():
        data = open_dataset("stacked-mnist", registry, {"preset": preset}).load(root, size)
        assert data.modes is not None and data.modes.extractor is not None and digits.test.cond is not None
        embedding = registry.get("extractor", data.modes.extractor).item.prepare("stacked-mnist", data, None, where)
        results["protocol"] = dict(embedding.protocol)
        chosen = torch.randperm(len(data.train.images), generator=torch.Generator().manual_seed(0))[:n]
        start = time.perf_counter()
        real = score(features_of(data.train.images[chosen], embedding, where), data)
        seconds = time.perf_counter() - start
        found: dict[str, Any] = {"n": n, "real triples": real, "seconds to classify": round(seconds, 1)}
        assert data.train.cond is not None
        found["real triples, seen without error"] = score(as_features(data.train.cond[chosen]), data)
        found["uniform triples, expected"] = dict(uniform_triples(n))
        found["uniform triples, simulated"] = simulated(n, data)
        expected = single_triples(n)
        found["one triple, expected: mean, best"] = {
            name: [float(of.mean()), float(of.min() if name == "mode-kl" else of.max())]
            for name, of in expected.items()
        }
        for triple in SINGLE if preset == "veegan-26k" else ():
            told = score(features_of(one_triple(triple, n, digits.test), embedding, where), data)
            hoped = {name: round(float(of[triple]), 4) for name, of in expected.items()}
            found[f"one triple, {triple:03d}"] = {"measured": told, "expected": hoped}
        results["presets"][preset] = found
        print(json.dumps({preset: found}, indent=1))
    if output is not None:
        content = json.dumps(results, indent=1) + "\n"
        write_atomically(output, lambda file: file.write(content.encode()))


if __name__ == "__main__":
    main()
