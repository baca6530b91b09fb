"""Known modes over training: how many the marks of a run counted, and which of them most samples lie next to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ganbench.contract.experiments import Made
from ganbench.errors import UserError
from ganbench.scoring.films import draw_film
from ganbench.scoring.samples import samples_at
from ganbench.toolbox.drawn import few

if TYPE_CHECKING:  # it takes a second to import
    from matplotlib.figure import Figure

FILM = (
    "Samples (blue) over real points (grey), the first seed of each variant. Above each frame: modes with a sample of "
    "high quality, and the share of samples beyond its edges."
)


def modes_over(made: Made, metrics: Sequence[str], n: int = 2500) -> list[dict[str, Any]]:
    """Return a row for each share of the budget at which weights were kept, 0 before them.

    `main_mode`: the mode that is nearest to most of `n` samples, `main_share`: to what share of them. By the name of
    each metric what the mark there has, and `…_of_real`, its reference; None where there is no such mark. Raises
    `UserError` where the data are no points whose modes are known, and as `samples_at`.
    """
    known = made.data.modes
    if known is None or made.data.train.images.ndim != 2:
        raise UserError("its data are no points in the plane whose modes are known, as those of ring and grid")
    marks = {round(mark.share, 6): mark.raw or mark.values for mark in made.record.curve}
    rows = []
    for share in [0.0, *made.shares]:
        found = marks.get(round(share, 6), {})
        near = torch.bincount(known.assign(samples_at(made, share, n).images)[0], minlength=known.count)
        row: dict[str, Any] = {"share": share, "modes_there": known.count, "main_mode": int(near.argmax())}
        row["main_share"] = float(near.max() / near.sum())
        for name in metrics:
            value = found.get(name)
            row |= {name: value and value.value, f"{name}_of_real": value and value.reference}
        rows.append(row)
    return rows


def modes_film(runs: Mapping[str, Made], counted: Iterable[Mapping[str, Any]], n: int) -> tuple[Figure, str]:
    """Draw `n` points of each run, by its name, at eight of its shares at most; return the caption as well.

    Above each frame stands its number of `modes`. `counted`: rows of `modes_over` that have the name of a run as
    `variant`, and its `seed`.
    """
    rows, said = list(counted), dict[tuple[str, float], str]()
    for row in rows:
        name, number = row["variant"], row["modes"]
        if number is not None and row["seed"] == runs[name].record.spec.seed:
            said[name, row["share"]] = f"{number:.0f} mode{'s' * (number != 1)}"
    return draw_film(runs, few(row["share"] for row in rows), n, said), FILM
