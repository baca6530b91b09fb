"""What FID costs: ganbench beside torch-fidelity, scipy's matrix root and, if installed, pytorch-fid, in turns.

Run: python benchmarks/fid.py [--images 2000] [--passes 1] [--samples 2000] [--rounds 3] [--threads 1] [--device cpu]
Features: `--images` generated images through the same network with the same seeded weights, real ones cached by each
system in its own way; nothing has to be downloaded. On one core 2,000 images take about eight minutes a pass, and there
are five of them; the time is proportional to `--images`. Distance: `--samples` generated against as many real 2048-d
features, drawn with the decaying spectrum that real ones have; the real side's statistics are made beforehand for the
others, ganbench makes them within its time. Ratios are theirs over ganbench's: above 1, ganbench is faster.
"""

from __future__ import annotations

import hashlib
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import scipy.linalg
import torch
import torch_fidelity
from ganbench_plugins.extractors.inception import GENUINE, Inception2048, Network, Weights
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from ganbench import Download, Embedding, ImageSet, Splits, frechet_distance, seeded
from ganbench.scoring.samples import CHUNK
from ganbench.training.devices import describe, make_repeatable, resolve_device

PYTORCH_FID = importlib.util.find_spec("pytorch_fid") is not None
WIDTH = 2048


class Listed(torch.utils.data.Dataset[Tensor]):
    """Images as torch-fidelity takes them."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def seeded_weights(folder: Path) -> Weights:
    """Write weights drawn from seed 0; signals keep their size from layer to layer, so that features vary."""
    with seeded(0):
        network = Network(WIDTH, folded=False)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1, 0.2)
                nn.init.normal_(module.bias, 0, 0.2)
        nn.init.normal_(network.get_submodule("fc").weight, 0, 0.5)
    path = folder / "seeded.pth"
    torch.save(network.state_dict(), path)
    content = path.read_bytes()
    return Weights(Download(path.name, f"sha256:{hashlib.sha256(content).hexdigest()}", len(content)), GENUINE.folded)


def noise(n: int, seed: int) -> Tensor:
    """Uint8 images `[n, 3, 32, 32]`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=generator)


def prepared(weights: Weights, folder: Path, images: Tensor, device: torch.device) -> Embedding:
    """The extractor of `fid`, ready for images like these."""
    data = Splits(ImageSet(images), ImageSet(images), "0" * 64)
    return Inception2048(weights).prepare("benchmark", data, folder, device)


def embed(embedding: Embedding, images: Tensor, device: torch.device) -> Tensor:
    """Extract as an evaluation does."""
    return torch.cat([embedding(chunk.to(device))[0].cpu() for chunk in images.split(CHUNK)])


def by_torch_fidelity(
    fake: Tensor, real: Tensor, weights: Path, device: torch.device, **options: Any
) -> dict[str, Any]:
    """Call torch-fidelity as its users do."""
    return torch_fidelity.calculate_metrics(
        input1=Listed(fake),
        input2=Listed(real),
        fid=True,
        cuda=device.type == "cuda",
        feature_extractor_weights_path=str(weights),
        save_cpu_ram=True,  # no processes that load images
        verbose=False,
        **options,
    )


def pytorch_fid_features(weights: Path, images: Tensor, device: torch.device) -> Callable[[], object]:
    """pytorch-fid's network with the same weights, in batches of 50 as its command makes them."""
    from pytorch_fid import inception

    inception.load_state_dict_from_url = lambda *_, **__: torch.load(weights, weights_only=True)
    network = inception.InceptionV3([3]).eval().to(device)

    def extract() -> object:
        with torch.no_grad():
            return [network(part.to(device).float() / 255)[0].cpu() for part in images.split(50)]

    return extract


def in_turns(work: Mapping[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each piece of work, every round in another order."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds):
        for name in list(work) if number % 2 else reversed(list(work)):
            start = time.perf_counter()
            work[name]()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def show(title: str, seconds: Mapping[str, float]) -> None:
    own = seconds["ganbench"]
    print(title)
    for name, spent in seconds.items():
        print(f"  {name:24} {spent:9.3f} s" + ("" if name == "ganbench" else f"   ratio {spent / own:.2f}"))


def distances(samples: int, rounds: int, device: torch.device) -> None:
    """Time the distance alone, and print how far the values lie apart."""
    generator = torch.Generator().manual_seed(0)
    deviations = torch.arange(1, WIDTH + 1).double() ** -0.5
    mixing = (
        torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64)).Q * deviations[:, None]
    )
    drawn = [torch.randn(samples, WIDTH, generator=generator, dtype=torch.float64) for _ in range(2)]
    fake, real = ((z @ mixing).float() for z in drawn)
    known = fid_features_to_statistics(real)

    def by_sqrtm() -> float:
        """The formula of pytorch-fid's calculate_frechet_distance."""
        found = fid_features_to_statistics(fake)
        gap, first, second = found["mu"] - known["mu"], found["sigma"], known["sigma"]
        root = scipy.linalg.sqrtm(first @ second)
        return float(gap @ gap + np.trace(first) + np.trace(second) - 2 * np.trace(root).real)

    def by_eigvals() -> float:
        found = fid_statistics_to_metric(fid_features_to_statistics(fake), known, False)
        return float(found["frechet_inception_distance"])

    work = {"ganbench": lambda: frechet_distance(fake, real), "scipy sqrtm": by_sqrtm, "torch-fidelity": by_eigvals}
    if PYTORCH_FID:
        from pytorch_fid.fid_score import calculate_frechet_distance

        def by_pytorch_fid() -> float:
            found = fid_features_to_statistics(fake)
            return float(calculate_frechet_distance(found["mu"], found["sigma"], known["mu"], known["sigma"]))

        work["pytorch-fid"] = by_pytorch_fid
    values: dict[str, float] = {}
    timed = {name: lambda name=name: values.update({name: work[name]()}) for name in work}
    show(f"distance alone, {samples} against {samples}, {WIDTH}-d", in_turns(timed, rounds, device))
    print("  values " + ", ".join(f"{name} {value:.6f}" for name, value in values.items()))


def extraction(images: int, rounds: int, device: torch.device) -> None:
    """Time the features alone, and the whole way from generated images to the value."""
    fake, real = noise(images, 1), noise(images, 2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = seeded_weights(folder)
        path = folder / weights.full.path
        embedding = prepared(weights, folder, fake, device)
        theirs = FeatureExtractorInceptionV3("reference", ["2048"], feature_extractor_weights_path=str(path)).to(device)

        def extract() -> object:
            with torch.no_grad():
                return [theirs(part.to(device))[0].cpu() for part in fake.split(64)]  # its default batch

        work: dict[str, Callable[[], object]] = {
            "ganbench": lambda: embed(embedding, fake, device),
            "torch-fidelity": extract,
        }
        if PYTORCH_FID:
            work["pytorch-fid"] = pytorch_fid_features(path, fake, device)
        show(f"features alone, {images} images", in_turns(work, rounds, device))

        cached = {"cache_root": str(folder / "cache"), "input2_cache_name": "real"}
        by_torch_fidelity(fake[:2], real, path, device, **cached)
        known = embed(embedding, real, device)
        values: dict[str, float] = {}

        def ours() -> None:
            ready = prepared(weights, folder, fake, device)
            values["ganbench"] = frechet_distance(embed(ready, fake, device), known)

        def whole() -> None:
            found = by_torch_fidelity(fake, real, path, device, **cached)
            values["torch-fidelity"] = found["frechet_inception_distance"]

        show(
            f"the whole, {images} generated against {images} cached real images, loading the network included",
            in_turns({"ganbench": ours, "torch-fidelity": whole}, rounds, device),
        )
        print("  values " + ", ".join(f"{name} {value:.6f}" for name, value in values.items()))


@click.command()
@click.option("--images", default=2000, help="Generated images, and as many real ones.")
@click.option("--passes", default=1, help="Repetitions of all that extracts features.")
@click.option("--samples", default=2000, help="Features on each side of the distance.")
@click.option("--rounds", default=3, help="Repetitions of the distance.")
@click.option("--threads", default=1)
@click.option("--device", default="auto")
def main(images: int, passes: int, samples: int, rounds: int, threads: int, device: str) -> None:
    """Print seconds and ratios."""
    where = resolve_device(device)
    make_repeatable(where, threads)
    print(f"{describe(where)}, {threads} threads, torch {torch.__version__}, scipy {scipy.__version__}")
    extraction(images, passes, where)
    distances(samples, rounds, where)


if __name__ == "__main__":
    main()
