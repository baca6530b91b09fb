"""What the literature says of a row, and the intervals of its numbers. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ganbench.contract.preset import ErrorKind
from ganbench.results.statistics import interval_of_mean


@dataclass(frozen=True)
class Quoted:
    """A published number with its error as it stands there, what that is, and how many runs it is of, if known."""

    value: float
    error: float | None = None
    runs: int | None = None
    kind: ErrorKind = ""

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean, None where it cannot be had."""
        return published_interval(self.value, self.error, self.runs, self.kind)


def published_interval(
    value: float, error: float | None, runs: int | None, kind: ErrorKind
) -> tuple[float, float] | None:
    """Return the 95 % Student-t interval of a published mean, as ours are; None where it does not follow.

    An error of the kind "interval" is half of a 95 % interval. Of the others, the number of runs must be known.
    """
    if error is None or not kind:
        return None
    if kind == "interval":
        return value - error, value + error
    if runs is None or runs < 2:
        return None
    return interval_of_mean(value, error if kind == "standard error" else error / runs**0.5, runs)


def quoted(published: Mapping[str, Any], metric: str) -> Quoted | None:
    """Return what a record holds of a published number: `[value, error]`, and since there are kinds `[…, runs, kind]`.

    None where it holds none, or what is none.
    """
    values = published.get("values")
    match values.get(metric) if isinstance(values, Mapping) else None:
        case [int() | float() as value, (int() | float() | None) as error]:
            return Quoted(value, error)
        case [
            int() | float() as value,
            (int() | float() | None) as error,
            (int() | None) as runs,
            ("" | "standard error" | "standard deviation" | "interval") as kind,
        ]:
            return Quoted(value, error, runs, kind)
    return None
