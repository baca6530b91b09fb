"""Measures on the pixels themselves: a Fréchet distance that needs no network, and the error of a translation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from ganbench import Embedding, Extractor, Metric, Scene, Splits, UserError, Value, frechet_distance, hookimpl

SIDE = 16


class Pixels:
    """Pixels in [0, 1] as an embedding, averaged over areas down to 16 px a side at most."""

    protocol: Mapping[str, Any] = {
        "extractor": "pixels",
        "extractor_resize": f"averaged to {SIDE} px at most",
        "dtype": "float32",
    }

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map uint8 `[N, C, H, W]` to `[N, C·h·w]`."""
        side = min(SIDE, *images.shape[-2:])
        return adaptive_avg_pool2d(images.float() / 255, side).flatten(1), None


class PixelExtractor(Extractor):
    """The pixels themselves."""

    name, summary = "pixels", f"the pixels themselves, at most {SIDE} a side"

    def width(self, data: Splits) -> int | None:
        channels, height, width = data.test.images.shape[1:]
        return int(channels) * min(SIDE, height, width) ** 2

    def prepare(self, dataset: str, data: Splits, weights: Path | None, device: torch.device) -> Embedding:
        return Pixels()


def fd_pixels(scene: Scene) -> Mapping[str, Value]:
    """Compare pixels of generated and reference images."""
    assert scene.fake.embedding is not None and scene.real.embedding is not None
    distance = frechet_distance(scene.fake.embedding, scene.real.embedding)
    return {"fd-pixels": Value(distance, {"statistics": "mean and covariance with 1/(n-1), float64"})}


def pixel_error(scene: Scene) -> Mapping[str, Value]:
    """Return the mean absolute difference of each translation and its true counterpart, white minus black being 1."""
    fake, real = scene.fake.images, scene.real.images
    if len(fake) > len(real):
        raise UserError(f"pixel-error needs a counterpart of each image, but {len(fake)} have {len(real)}")
    error = (fake.double() - real[: len(fake)].double()).abs().mean() / 255
    return {
        "pixel-error": Value(float(error), {"statistic": "mean absolute difference, 1 from black to white, float64"})
    }


@hookimpl
def ganbench_extractors() -> list[Extractor]:
    return [PixelExtractor()]


@hookimpl
def ganbench_metrics() -> list[Metric]:
    return [
        Metric(
            name="fd-pixels",
            compute=fd_pixels,
            summary="Fréchet distance of the pixels; not FID, needs no network; sees no more than two moments",
            extractor="pixels",
            higher_is_better=False,
            needs=frozenset({"images"}),
            covariance=True,
        ),
        Metric(
            name="pixel-error",
            compute=pixel_error,
            summary="mean absolute error of translations whose true counterparts are known",
            higher_is_better=False,
            needs=frozenset({"images", "pairs"}),
        ),
    ]
