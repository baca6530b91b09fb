"""R3GAN's own comparisons: its published networks, budgets and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganbench import Entry, Preset, Published, hookimpl

PAPER = "Huang et al. 2024, arXiv:2501.05441"
OF_FID = (
    "FID there is of 50,000 samples and all training images, here of as many samples and the test split, which is "
    "higher. Averaged weights have a half-life of at most a twentieth of the images served. float32 unless --precision "
    "bf16 is given; theirs is bfloat16 but for the smallest maps"
)


def request(budget: str, batch: int, samples: int, metrics: tuple[str, ...], size: int = 32) -> Mapping[str, Any]:
    """Return the fields of a run; budgets are twice as large as theirs, for both players' images are counted here."""
    fields = {"budget": budget, "batch": batch, "seeds": 1, "size": size, "samples": samples, "metrics": metrics}
    return {**fields, "marks": 5}


PRESETS = [
    Preset(
        name="r3gan-cifar10",
        summary="CIFAR-10 with labels: FID of R3GAN after 250M images a player",
        source=f"{PAPER}, table 6; settings of table 9 and the authors' train.py",
        datasets=("cifar10",),
        entries=(Entry("r3gan-cond", ("network=cifar10",)),),
        request=request("500M-images", 512, 50_000, ("fid",)),
        published=(Published("cifar10", "r3gan-cond", "fid", 1.96),),
        departures=OF_FID,
    ),
    Preset(
        name="r3gan-imagenet32",
        summary="ImageNet at 32 px with labels, from the folder imagenet: FID of R3GAN after 1000M images a player",
        source=f"{PAPER}, table 6; settings of table 9 and the authors' train.py",
        datasets=("imagenet:imagenet",),
        entries=(Entry("r3gan-cond", ("network=imagenet32",)),),
        request=request("2G-images", 4096, 50_000, ("fid",)),
        published=(Published("imagenet:imagenet", "r3gan-cond", "fid", 1.27),),
        departures=OF_FID,
    ),
    Preset(
        name="r3gan-stacked-mnist",
        summary="Stacked-MNIST: modes and KL of R3GAN after 10M images",
        source=f"{PAPER}, table 3; settings of table 9",
        datasets=("stacked-mnist",),
        entries=(Entry("r3gan", ("network=stacked-mnist",)),),
        request=request("20M-images", 512, 26_000, ("modes", "mode-kl")),
        published=(
            Published("stacked-mnist", "r3gan", "modes", 1000),
            Published("stacked-mnist", "r3gan", "mode-kl", 0.029),
        ),
        departures="Triples and classifier are this suite's. float32 unless --precision bf16 is given",
    ),
]


@hookimpl
def ganbench_presets() -> list[Preset]:
    return PRESETS
