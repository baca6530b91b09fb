"""What a generator's gradient becomes while a fresh discriminator learns to tell its samples from real ones."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ganbench import Metric, Scene, UserError, Value, hookimpl

ITERATIONS = 100
NAMES = {"log(1-D)": "grad-probe", "-log D": "grad-probe-ns", "own": "grad-probe-own"}


def gradient_probe(scene: Scene) -> Mapping[str, Value]:
    """Return by how many decades the gradient's norm changes, under log(1-D), -log D and the variant's own loss.

    Arjovsky & Bottou (2017), figures 2 and 3: the generator is fixed, the discriminator starts anew. Raises
    `UserError` where a norm is zero at either end, so that there are no decades between them.
    """
    if scene.probe is None:
        raise UserError("grad-probe trains a discriminator, and there is no generator here to train it against")
    values = {}
    for loss, curve in scene.probe(ITERATIONS).items():
        if not math.isfinite(curve.decades):
            ends = f"from {curve.norms[0]:g} to {curve.norms[-1]:g}"
            raise UserError(f"grad-probe: the norm of the gradient under {loss} goes {ends}")
        protocol = {
            "statistic": f"log10 of the norm after {ITERATIONS} updates of a fresh discriminator over that before",
            "discriminator": "the variant's own" if loss == "own" else "the backbone's, Adam 2e-4 (0.5, 0.999)",
        }
        values[NAMES[loss]] = Value(curve.decades, protocol)
    return values


@hookimpl
def ganbench_metrics() -> list[Metric]:
    return [
        Metric(
            name="grad-probe",
            compute=gradient_probe,
            summary="decades by which the generator's gradient changes against a fresh discriminator",
            samples=False,
            last_mark_only=True,
        )
    ]
