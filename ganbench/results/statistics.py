"""Statistics over seeds. Imports no torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ganbench.contract.types import Value

CONFIDENCE = 0.95
_POINTS = (
    12.706204736174694, 4.302652729749462, 3.1824463052837078, 2.7764451051977934, 2.5705818356363146,
    2.4469118511449786, 2.364624251592784, 2.306004135204166, 2.262157162798205, 2.228138851986274, 2.200985160091639,
    2.1788128296672284, 2.1603686564627913, 2.144786687917804, 2.131449545559776, 2.1199052992212546,
    2.1098155778333156, 2.1009220402410382, 2.0930240544083087, 2.085963447265864, 2.0796138447276795,
    2.0738730679040254, 2.0686576104190486, 2.0638985616280245, 2.0595385527532972, 2.0555294386428735,
    2.0518305164802846, 2.0484071417952454, 2.045229642132703, 2.0422724563012378,
)  # fmt: skip
"""Two-sided 95 % points of Student's t for 1 degree of freedom, 2, …: to import scipy takes longer than a report."""

FEWEST_FOR_IQM = 8
"""With fewer seeds there are not two to leave out at either end."""
RESAMPLES = 2000


@dataclass(frozen=True)
class Spreads:
    """Standard deviations of what a score varies by: between `seeds` of training, and between evaluations of one model.

    `source`: where the latter is known from, several evaluations or a standard error within one. `floored`: seeds vary
    by less than evaluations alone make them, so that nothing is left for training.
    """

    seeds: float
    evaluation: float
    source: Literal["repeats", "spread"]
    floored: bool


@dataclass(frozen=True)
class Score:
    """One metric under one protocol, by seed."""

    metric: str
    by_seed: Mapping[int, Value]

    @property
    def protocol(self) -> Mapping[str, Any]:
        """What all these values were measured under."""
        return self._any.protocol

    @property
    def protocol_hash(self) -> str:
        """Eight hexadecimal digits that name the protocol."""
        return self._any.protocol_hash

    @property
    def higher_is_better(self) -> bool | None:
        """Which direction is better, None where neither is."""
        return self._any.higher_is_better

    @cached_property
    def mean(self) -> float:
        """Mean over the seeds."""
        return _mean([value.value for value in self.by_seed.values()])

    @cached_property
    def half_width(self) -> float | None:
        """Half the width of the 95 % Student-t interval of the mean; None for one seed, or beyond all numbers."""
        n = len(self.by_seed)
        if n < 2:
            return None
        try:
            deviation = deviation_of([value.value for value in self.by_seed.values()])
        except OverflowError:
            return None
        half = _point(n - 1) * deviation / n**0.5
        return half if math.isfinite(half) and math.isfinite(abs(self.mean) + half) else None

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return None if self.half_width is None else self.mean - self.half_width

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return None if self.half_width is None else self.mean + self.half_width

    @cached_property
    def iqm(self) -> float | None:
        """Interquartile mean over the seeds: of those left when a quarter, rounded down, is dropped at either end.

        None for fewer than eight.
        """
        return float(_iqm(self._numbers)) if len(self.by_seed) >= FEWEST_FOR_IQM else None

    @cached_property
    def iqm_interval(self) -> tuple[float, float] | None:
        """The 95 % percentile interval of the interquartile mean, by a bootstrap over seeds that draws alike each time.

        Agarwal et al. 2021, arXiv:2108.13264, resample within each task; a column is one.
        """
        if self.iqm is None:
            return None
        means = _iqm(self._numbers[_draws(len(self.by_seed))])
        with np.errstate(invalid="ignore"):
            low, high = np.percentile(means, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
        return (float(low), float(high)) if np.isfinite([low, high]).all() else None

    @cached_property
    def spreads(self) -> Spreads | None:
        """What the seeds vary by, training apart from evaluation; None for one seed, or where the latter is not known.

        Random effects: the variance of the seeds' numbers is that of training, and on top that of an evaluation over
        the number of evaluations that each is the mean of. Several evaluations count before a standard error.
        """
        values = list(self.by_seed.values())
        repeated = [np.array(value.repeats) for value in values if len(value.repeats) > 1]
        errors = [value.spread for value in values if value.spread is not None]
        if len(values) < 2 or not (repeated or errors):
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            if repeated:
                squares = sum(((each - each.mean()) ** 2).sum() for each in repeated)
                within = float(squares / sum(len(each) - 1 for each in repeated))
                part = within * statistics.fmean(1 / max(1, len(value.repeats)) for value in values)
            else:
                within = part = float(np.mean(np.square(errors)))
            between = float(np.var(self._numbers, ddof=1)) - part
        if not math.isfinite(between) or not math.isfinite(within):
            return None
        return Spreads(max(0.0, between) ** 0.5, within**0.5, "repeats" if repeated else "spread", between < 0)

    @property
    def _numbers(self) -> NDArray[np.float64]:
        return np.array([value.value for value in self.by_seed.values()], np.float64)

    @property
    def reference(self) -> float | None:
        """What real data score under this protocol, the mean where seeds drew different ones."""
        return mean_of(value.reference for value in self.by_seed.values())

    @property
    def _any(self) -> Value:
        return next(iter(self.by_seed.values()))


def _iqm(numbers: NDArray[np.float64]) -> Any:
    """Return the interquartile mean over the last axis."""
    cut = numbers.shape[-1] // 4
    with np.errstate(over="ignore"):
        return np.sort(numbers, axis=-1)[..., cut : numbers.shape[-1] - cut].mean(axis=-1)


@cache
def _draws(n: int) -> NDArray[np.int64]:
    """Return which of `n` seeds are in each resample."""
    return np.random.default_rng(n).integers(n, size=(RESAMPLES, n))


def _point(degrees: int) -> float:
    if degrees <= len(_POINTS):
        return _POINTS[degrees - 1]
    from scipy.special import stdtrit  # scipy.stats says the same but takes a second to import

    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2))


def interval_of_mean(mean: float, standard_error: float, n: int) -> tuple[float, float]:
    """Return the 95 % Student-t interval of the mean of `n` numbers, at least two."""
    half = _point(n - 1) * standard_error
    return mean - half, mean + half


def mean_with_interval(numbers: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean of numbers, and half the width of its 95 % Student-t interval.

    No interval (None) has a single number, nor numbers of which one is not finite; their mean is not finite either.
    """
    score = Score("", {seed: Value(float(number)) for seed, number in enumerate(numbers)})
    if not all(map(math.isfinite, numbers)):
        with np.errstate(invalid="ignore"):  # infinities of both signs
            return float(np.mean(list(numbers))), None
    return score.mean, score.half_width


def deviation_of(numbers: Sequence[float]) -> float:
    """Return the standard deviation of a sample, computed exactly and rounded once, as `statistics.stdev` does.

    That takes six times as long. Raises `OverflowError` where it is beyond all numbers.
    """
    ratios = [number.as_integer_ratio() for number in numbers]
    unit, n = max(denominator for _, denominator in ratios), len(ratios)  # all of them are powers of two
    whole = [numerator * (unit // denominator) for numerator, denominator in ratios]
    return _root(n * sum(each * each for each in whole) - sum(whole) ** 2, n * (n - 1) * unit**2)


def _root(numerator: int, denominator: int) -> float:
    """Return the square root of a fraction, rounded once: of 109 bits, the last is set where any beyond it is."""
    shift = (numerator.bit_length() - denominator.bit_length() - 109) // 2
    numerator, denominator = numerator << max(0, -2 * shift), denominator << max(0, 2 * shift)
    root = math.isqrt(numerator // denominator)
    root |= root * root * denominator != numerator
    return float(root << shift) if shift >= 0 else root / (1 << -shift)


def mean_of(numbers: Iterable[float | None]) -> float | None:
    """Return the mean of the numbers that are there, None if none is; whole means are integers."""
    known = [number for number in numbers if number is not None]
    if not known:
        return None
    mean = _mean(known)
    return int(mean) if all(isinstance(number, int) for number in known) and mean.is_integer() else mean


def _mean(numbers: Sequence[float]) -> float:
    try:
        return statistics.fmean(numbers)
    except OverflowError:  # the sum, not the mean, is beyond the largest number
        return math.fsum(number / len(numbers) for number in numbers)
