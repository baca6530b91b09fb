"""What a reader asks to see of the records: which rows, which columns, in which order. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ganbench.contract.types import BACK, way_back
from ganbench.errors import UserError, brief, suggestion
from ganbench.results.rows import Row

ALL = "all"
MOST = 5
"""So many metrics stand in a table where nobody says which."""
METERS = {
    "images": "images",
    "d-updates": "d_updates",
    "g-updates": "g_updates",
    "flops": "flops",
    "time": "seconds",
    "memory": "peak_bytes",
}
"""Columns of what training took, and the names that rows give them."""
ORDER = (
    *("fid", "fid-768", "fid-192", "fid-64", "fd-classifier", "kid", "is", "modes", "high-quality", "mode-kl"),
    *("fd-pixels", "pixel-error", "ms-ssim", "copies", "grad-norm-g", "grad-norm-d", "grad-probe"),
)
"""Where the records do not say which metrics stand at the head of the table."""


@dataclass(frozen=True)
class View:
    """How tables are drawn. `columns`: names of metrics and meters, or `all`; nothing leaves the choice to the table.

    `sort`: by which of them, best first, or by `variant`. `runs`: a row a run. `protocols`: whole, in the legend.
    """

    columns: tuple[str, ...] = ()
    sort: str = ""
    runs: bool = False
    protocols: bool = False


DEFAULT = View()


def metrics_of(rows: Iterable[Row]) -> list[str]:
    """Return the names of all values that rows have."""
    return sorted({metric for row in rows for metric in row.scores})


def companion(name: str, names: Iterable[str]) -> bool:
    """Whether a value is one that another metric gives beside its own, as `modes-5` is; a way back is its metric's."""
    plain, _, asked = name.partition("@")
    plain, known = plain.removesuffix(BACK), (other.partition("@") for other in names)
    return any(asked == how and plain.startswith(f"{other}-") for other, _, how in known)


def headline(rows: Sequence[Row]) -> list[str]:
    """Return the metrics at the head of a table: those that its runs were asked for, in that order.

    Where the records do not say it: the five best known that are nobody's companion.
    """
    names = metrics_of(rows)
    asked = (run.variant.get("headline") for row in rows for run in row.runs)
    said = dict.fromkeys(name for some in asked if isinstance(some, list | tuple) for name in some)
    listed = dict.fromkeys(each for name in said if isinstance(name, str) for each in (name, way_back(name)))
    if found := [name for name in listed if name in names]:
        return found
    place = {name: number for number, name in enumerate(ORDER)}
    alone = [name for name in names if not companion(name, names)]
    return sorted(alone, key=lambda name: (place.get(name, len(place)), name))[:MOST]


def chosen(rows: Sequence[Row], view: View) -> tuple[list[str], list[str]]:
    """Return the metrics and the meters that a table of these rows shows, in order; what it is sorted by is there."""
    first, names = headline(rows), metrics_of(rows)
    if not view.columns:
        by = [view.sort] if view.sort in names else []
        meters = [view.sort] if view.sort in METERS else []
        return list(dict.fromkeys([*by, *first])), list(dict.fromkeys([*meters, "images", "time"]))
    if ALL in view.columns:
        groups = sorted(set(names) - set(first), key=lambda name: (not companion(name, first), name))
        return [*first, *groups], list(METERS)
    return [name for name in view.columns if name in names], [name for name in view.columns if name in METERS]


def is_wanted(name: str, view: View) -> bool:
    """Whether a table of data, which holds all that it can, has a column."""
    return not view.columns or ALL in view.columns or name in view.columns


def require_names(rows: Sequence[Row], view: View) -> None:
    """Raise `UserError` for a column, or a name to sort by, that no table has."""
    names = [*metrics_of(rows), *METERS]
    for option, wanted, others in (("--columns", view.columns, (ALL,)), ("--sort", (view.sort,), ("variant",))):
        known = [*names, *others]
        for name in wanted:
            if name and name not in known:
                there = brief(", ".join(known), 600)
                raise UserError(f"{option} {brief(name)}: no such column{suggestion(name, known)}; there are {there}")
