"""What a Wasserstein critic says of the distance that it estimates, and whether a Fréchet distance says so too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ganbench import Metric, Past, Scene, UserError, Value, hookimpl

NAME = "wasserstein-estimate"
TRACE = "log/wasserstein"
PART = 0.1
"""The estimate of a moment is the median over that share of the updates up to it, the last."""
LEAST = 3
"""Marks from which on a correlation is told."""


def estimate(trace: np.ndarray) -> float:
    """Return the median over the last tenth of the updates, and over one at least."""
    return float(np.median(trace[-max(1, round(PART * len(trace))) :]))


def distance_of(past: Sequence[Past]) -> str | None:
    """Return the first Fréchet distance of the last mark that as many marks have as a correlation needs."""
    for name in past[-1].values if past else ():
        if (name == "fid" or name.startswith(("fid-", "fd-"))) and sum(name in mark.values for mark in past) >= LEAST:
            return name
    return None


def correlation(trace: np.ndarray, past: Sequence[Past], distance: str) -> float | None:
    """Return Spearman's rank correlation of estimate and distance over the marks; None for fewer than 3, or equal ones.

    A mark before the first update of the critic has no estimate.
    """
    from scipy.stats import spearmanr  # takes a second, and is needed for critics only

    pairs = [
        (estimate(trace[: mark.updates["D"]]), mark.values[distance])
        for mark in past
        if distance in mark.values and mark.updates.get("D", 0)
    ]
    estimates, distances = zip(*pairs, strict=True) if pairs else ((), ())
    if len(pairs) < LEAST or len(set(estimates)) < 2 or len(set(distances)) < 2:
        return None
    return float(spearmanr(estimates, distances).statistic)


def wasserstein_estimate(scene: Scene) -> Mapping[str, Value]:
    """Return the critic's estimate at the end, up to the constant that its slope is bound by; of two critics, the sum.

    `wgan-div` logs none: no constant bounds its critic's slope, and the gap of its outputs estimates no distance.

    `-rank`: its rank correlation over the marks with the first Fréchet distance among the metrics, so that 1 is what
    Arjovsky et al. (2017) claim: the estimate falls as samples become better. Left out where fewer than 3 marks have
    both, or all are equal. Raises `UserError` where no estimate was logged or one is not finite.
    """
    trace = np.asarray(scene.traces.get(TRACE, ()), dtype=np.float64)
    if not len(trace):
        raise UserError("no estimate of a Wasserstein distance was logged, as the critics of wgan and wgan-gp do")
    if not np.isfinite(trace).all():
        first = int(np.flatnonzero(~np.isfinite(trace))[0])
        raise UserError(f"the critic's estimate at its update {first} is {trace[first]}")
    rule = f"median over the last {PART:.0%} of the critic's updates"
    values = {NAME: Value(estimate(trace), {"statistic": rule})}
    if (distance := distance_of(scene.past)) and (rank := correlation(trace, scene.past, distance)) is not None:
        statistic = f"Spearman's correlation over marks, {rule} up to each"
        values[f"{NAME}-rank"] = Value(rank, {"statistic": statistic, "distance": distance})
    return values


@hookimpl
def ganbench_metrics() -> list[Metric]:
    return [
        Metric(
            name=NAME,
            compute=wasserstein_estimate,
            summary="the critic's estimate of its distance, and how that ranks marks beside a Fréchet distance",
            needs=frozenset({"past"}),
            samples=False,
        )
    ]
