"""Gradient norms of the players over training: median and trend of every update's global norm."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from ganbench import Metric, Scene, UserError, Value, hookimpl


def gradient_norm(scene: Scene, *, player: str) -> Mapping[str, Value]:
    """Median over all updates of a player, and the trend of its logarithm.

    `-trend`: slope, by least squares, of log₁₀ of the norm from the first update (0) to the last (1), in decades; left
    out where fewer than 2 norms are above zero. `-zeros`: share of norms that are zero, where there are any.
    Raises `UserError` where there is no such player or a norm is not finite.
    """
    name, trace = f"grad-norm-{player.lower()}", scene.traces.get(f"grad_norm/{player}")
    if trace is None or not len(trace):
        raise UserError(f"{name}: no updates of a player {player!r} were traced")
    norms = np.asarray(trace, dtype=np.float64)
    if not np.isfinite(norms).all():
        first = int(np.flatnonzero(~np.isfinite(norms))[0])
        raise UserError(f"{name}: the gradient norm of update {first} of player {player!r} is {norms[first]}")
    values = {name: Value(float(np.median(norms)), {"statistic": "median over all updates"})}
    positive = norms > 0
    if positive.sum() > 1:
        progress = np.linspace(0, 1, len(norms))[positive]
        coefficients = np.polynomial.Polynomial.fit(progress, np.log10(norms[positive]), 1).convert().coef
        slope = float(coefficients[1]) if len(coefficients) > 1 else 0.0  # of norms that are all alike
        rule = "slope of log10 from first update to last, least squares, zeros left out"
        values[f"{name}-trend"] = Value(slope, {"statistic": rule})
    if not positive.all():
        # A value, not part of the protocol: runs that differ in it must still be averaged.
        values[f"{name}-zeros"] = Value(float(1 - positive.mean()), {"statistic": "share of updates"})
    return values


@hookimpl
def ganbench_metrics() -> list[Metric]:
    return [
        Metric(
            name=f"grad-norm-{player.lower()}",
            compute=partial(gradient_norm, player=player),
            summary=f"global gradient norm of {player}: median over all updates, and its trend in decades",
            samples=False,
        )
        for player in ("G", "D")
    ]
