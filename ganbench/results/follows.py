"""Whether what is traced of a run follows how good its samples are: ranks over its marks. Imports no torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from ganbench.contract.experiments import Made, Plain
from ganbench.errors import UserError
from ganbench.results.record import RunRecord
from ganbench.results.verdicts import with_interval
from ganbench.toolbox.ways import draw_ways

if TYPE_CHECKING:  # it takes a second to import
    from matplotlib.figure import Figure

IMAGES = "images"
"""A quantity of every run, real images seen: a mere clock."""


@dataclass(frozen=True)
class Followed:
    """A quantity `x` of a run beside its Fréchet distance `y`, by the shares of its marks; and rank correlations.

    `name`, `metric`: theirs; `rank`: of both; `of_changes`: of their differences between neighbouring marks.
    """

    name: str
    run: RunRecord
    metric: str
    x: Mapping[float, float]
    y: Mapping[float, float]
    rank: float
    of_changes: float

    @property
    def lines(self) -> list[dict[str, Plain]]:
        """Every number, a line a mark."""
        spec = self.run.spec
        about = {"variant": spec.variant, "seed": str(spec.seed), "quantity": self.name, "distance": self.metric}
        ranks = {"rank": self.rank, "rank_of_changes": self.of_changes}
        return [
            {**about, "share": share, "value": x, "of_distance": self.y[share], **ranks} for share, x in self.x.items()
        ]

    @property
    def way(self) -> tuple[list[float], list[float]]:
        """`x` and `y` mark by mark."""
        return [*self.x.values()], [*self.y.values()]

    @property
    def measured_by(self) -> str:
        """What the distance was measured by, in words."""
        value = next(mark.values[self.metric] for mark in self.run.curve if self.metric in mark.values)
        facts = {key: value.protocol.get(key) for key in ("n_fake", "extractor", "reference")}
        told = ", ".join(f"{key} {fact}" for key, fact in {**facts, "weights": value.weights}.items() if fact)
        return f"{self.metric}: {told}"

    @property
    def odd(self) -> list[str]:
        """Where the distance is not finite, in words."""
        return [
            f"{self.metric} is {y} at {share:.0%} of the budget" for share, y in self.y.items() if not math.isfinite(y)
        ]


def follow_distance(made: Made, part: float, least: int) -> Iterator[Followed]:
    """Yield all that was traced of a run, and `IMAGES`, beside its Fréchet distance, the first that enough marks have.

    `part`: see `Made.at_marks`. `least`: so many marks a quantity must have. Raises `UserError` where the distance has
    too few of them, or nothing was traced.
    """
    curve, traced = made.record.curve, made.at_marks(part)
    counts = Counter(name for mark in curve for name in mark.values)
    frechet = [name for name in counts if name.partition("@")[0] == "fid" or name.startswith(("fid-", "fd-"))]
    metric = next((name for name in frechet if counts[name] >= least), "")
    if not metric:
        most = max((counts[name] for name in frechet), default=0)
        raise UserError(f"cannot tell: {most} marks have a Fréchet distance, {least} are needed")
    if not traced:
        raise UserError("nothing was traced, or its traces were not kept")
    distance = {mark.share: mark.values[metric].value for mark in curve if metric in mark.values}
    for name, way in {**traced, IMAGES: {mark.share: float(mark.meters.images) for mark in curve}}.items():
        x = {share: number for share, number in way.items() if share in distance}
        y = {share: distance[share] for share in x}
        if len(x) >= least:
            with np.errstate(invalid="ignore"):  # infinities
                changes = [np.diff(list(each.values())).tolist() for each in (x, y)]
            ranks = rank_correlation([*x.values()], [*y.values()]), rank_correlation(*changes)
            yield Followed(name, made.record, metric, x, y, *ranks)


def best_first(ranks: Sequence[float]) -> float:
    """Return where a row of correlations stands: the highest mean first, then NaN, and at last a row without any."""
    mean = float(np.mean(ranks)) if ranks else -3.0
    return 2.0 if math.isnan(mean) else -mean


def draw_followed(seen: Mapping[str, Mapping[str, Sequence[Followed]]], names: Sequence[str], most: int) -> Figure:
    """Draw quantities against the distance, a panel for each row and name, a colour a seed.

    `seen`: by row and name, what each seed came to. Of rows that have the first of `names` at most `most` are drawn,
    spread evenly over their order; where nobody has one of `names`, images are drawn.
    """
    rows = [row for row in seen if names[0] in seen[row]] or list(seen)
    rows = [rows[round(place)] for place in np.linspace(0, len(rows) - 1, min(most, len(rows)))]
    shown = [name for name in names if any(name in seen[row] for row in rows)] or [IMAGES]
    ways = []
    for name, row in product(shown, rows):
        looks = seen[row].get(name, ())
        said = with_interval([look.rank for look in looks], "+.2f") if looks else "not traced"
        ways.append((f"{row}\n{said}", name, {f"seed {look.run.spec.seed}": look.way for look in looks}))
    return draw_ways(ways, len(rows), "Fréchet distance")


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Return Spearman's rank correlation; NaN where a number is not finite, or all on one side are equal."""
    from scipy.stats import spearmanr  # takes a second to import

    if not np.isfinite([*x, *y]).all() or len(set(x)) < 2 or len(set(y)) < 2:
        return math.nan
    return float(spearmanr(x, y).statistic)
