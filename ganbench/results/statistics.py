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
        from scipy.special import stdtrit  # scipy.stats says the same but takes a second to import

        try:
            deviation = statistics.stdev(value.value for value in self.by_seed.values())
        except OverflowError:
            return None
        half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * deviation / n**0.5
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
