"""Claims, and numbers over seeds in words: whether what is said of all of them is so. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ganbench.contract.experiments import Claim
from ganbench.results.statistics import mean_with_interval


def by_seed(rows: Iterable[Mapping[str, Any]], value: str, **where: Any) -> dict[int, float]:
    """Return a value of each seed among rows that have it and are as said, the mean where a seed has several.

    A row whose value is None has none.
    """
    found: dict[int, list[float]] = {}
    for row in rows:
        if row.get(value) is not None and all(row.get(key) == wanted for key, wanted in where.items()):
            found.setdefault(row["seed"], []).append(row[value])
    return {seed: sum(of) / len(of) for seed, of in found.items()}


def with_interval(numbers: Sequence[float], form: str = ".2f", half_form: str = "") -> str:
    """Write the mean of numbers with its 95 % interval, where they have one; nothing is a dash.

    `half_form`: of half the interval's width, by default as the mean's.
    """
    if not numbers:
        return "-"
    mean, half = mean_with_interval(numbers)
    if math.isnan(mean):  # which has no sign
        return "nan"
    return f"{mean:{form}}" + ("" if half is None else f" ± {half:{half_form or form.lstrip('+')}}")


def ends_of(found: Mapping[str, float], unit: str) -> str:
    """Write the least and the greatest of numbers, and which they are, once where they are the same."""
    ordered = sorted(found, key=lambda name: found[name])
    return " to ".join(f"{found[name]:+.2f} {unit} ({name})" for name in dict.fromkeys([ordered[0], ordered[-1]]))


def all_are(
    said: str,
    found: str,
    numbers: Sequence[float],
    so: Callable[[float], bool],
    *,
    known: bool = True,
    reason: str = "",
) -> Claim:
    """Judge what is said of every number.

    It holds where all are so. Else it is not decided where one of them is not finite, or where what was measured cannot
    tell (`known`); otherwise it does not hold, by `reason`.
    """
    if all(map(so, numbers)):
        return Claim(said, found, True)
    return Claim(said, found, False, reason) if known and all(map(math.isfinite, numbers)) else Claim(said, found, None)


def mean_of(rows: Iterable[Mapping[str, Any]], value: str, form: str = ".2f", half_form: str = "", **where: Any) -> str:
    """Write the mean over seeds of a value with its interval, as `with_interval`, among rows that are as said."""
    known = (row for row in rows if row.get(value) is not None)
    return with_interval([*by_seed(known, value, **where).values()], form, half_form)


def of_all(part: int, whole: int) -> str:
    """Write how many of all there are, `2 of 3`; where that is all of them, so many."""
    return f"{part} of {whole}" if part < whole else str(part)


def above_zero(
    said: str, found: Mapping[str, Sequence[float]], what: str, form: str = "+.2f", half_form: str = ""
) -> Claim | None:
    """Judge what is said to be above 0: numbers of each seed, by row; None where there are none at all.

    It holds where the 95 % intervals of all rows lie above 0, and does not where one lies below; else it is not
    decided, as with one seed, or with numbers that are not finite. `what`: these numbers are, in words;
    `form`, `half_form`: as of `with_interval`.
    """
    cells = {name: (numbers, *mean_with_interval(numbers)) for name, numbers in found.items() if numbers}
    if not cells:
        return None
    above, below, nothing, alone = list[str](), list[str](), list[str](), list[str]()
    for name, (numbers, mean, half) in cells.items():
        if half is None:
            (alone if len(numbers) == 1 else nothing).append(name)
        else:
            (above if mean > half else below if mean < -half else nothing).append(name)
    reasons = {"Below 0": below, "Not told from 0 by these seeds": nothing, "No interval, one seed": alone}
    why = " ".join(f"{reason}: {', '.join(names)}." for reason, names in reasons.items() if names)
    holds = False if below else None if nothing or alone else True
    text = "; ".join(f"{name} {with_interval(numbers, form, half_form)}" for name, (numbers, _, _) in cells.items())
    return Claim(said, f"{what}: {text}.", holds, why)


def at_most(said: str, found: Mapping[str, Sequence[float]], most: float, what: str) -> Claim | None:
    """Judge what is said to be no more than `most`: numbers of each seed, by row; None where there are none at all.

    It holds where the means of all rows are as said; a mean that is not finite is not. `what`: these numbers are, in
    words.
    """
    cells = {name: numbers for name, numbers in found.items() if numbers}
    far = [name for name, numbers in cells.items() if not mean_with_interval(numbers)[0] <= most]
    text = "; ".join(f"{name} {with_interval(numbers, '.3g')}" for name, numbers in cells.items())
    why = f"More than {most:g}, why was not measured: {', '.join(far)}." if far else ""
    return Claim(said, f"{what}: {text}.", not far, why) if cells else None


def compared(
    said: str,
    above: Mapping[int, float],
    below: Mapping[int, float],
    form: str = ".2f",
    half_form: str = "",
    most: float | None = None,
) -> Claim:
    """Judge whether one row is above another, by the differences seed by seed, as `above_zero` does.

    `above`, `below`: a number by seed. `most`: none can be above it; where `below` has it in every run, that is why it
    does not hold.
    """
    gaps = [above[seed] - below[seed] for seed in sorted(above.keys() & below.keys())]
    claim = above_zero(said, {"the difference": gaps}, "", form, half_form)
    if claim is None:
        return Claim(said, "no seed has both.", None)
    one, other, gap = (with_interval(of, form, half_form) for of in ([*above.values()], [*below.values()], gaps))
    seeds = f"{len(gaps)} seed{'s' * (len(gaps) > 1)}"
    claim = replace(claim, found=f"{one} against {other}; difference by seed {gap}, {seeds}.")
    if most is not None and not claim.holds and min(below.values()) >= most:
        return replace(claim, reason=f"There is no room: the second has {most:g} in every run.")
    return claim
