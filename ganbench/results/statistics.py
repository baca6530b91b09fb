"""Statistics over seeds. Imports no torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

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

    @property
    def reference(self) -> float | None:
        """What real data score under this protocol, the mean where seeds drew different ones."""
        return mean_of(value.reference for value in self.by_seed.values())

    @property
    def _any(self) -> Value:
        return next(iter(self.by_seed.values()))


def _point(degrees: int) -> float:
    if degrees <= len(_POINTS):
        return _POINTS[degrees - 1]
    from scipy.special import stdtrit  # scipy.stats says the same but takes a second to import

    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2))


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
