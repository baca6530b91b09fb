"""Whether losses, gradients and all else that is traced tell how good samples are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from ganbench import (
    Claim,
    Count,
    Experiment,
    Finding,
    Fraction,
    Lab,
    Made,
    Plain,
    Table,
    UserError,
    hookimpl,
    mean_with_interval,
)

IMAGES, LOSS, ESTIMATE = "images", "loss/D", "log/wasserstein"
COLUMNS = 10
"""So many quantities at most are columns, those that most rows have, beside the real images seen: a mere clock."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SAID = "Arjovsky et al. 2017, figure {} (from memory, unchecked): {} as samples become better."
TABLES = (
    ("Rank correlation with the Fréchet distance", "rank", "Above 0: the quantity falls as the distance does."),
    (
        "The same of changes",
        "of_changes",
        "Of differences between neighbouring marks: a mere trend of both makes none.",
    ),
)
HEAT_MAP = (
    "Spearman's correlation of what is traced with the Fréchet distance over the marks of a run, mean over seeds; "
)
HEAT_MAP += "bold where the whole 95 % interval is on one side of 0, blue where the quantity falls as the distance does"
SCATTER = (
    "Losses against the Fréchet distance at the marks of each seed, a star at the last; rows from the most to the "
)
SCATTER += "least faithful loss of D"
STATISTIC = "median over the last {:g} of the updates up to each mark"
NOTE = (
    "Means over seeds with 95 % Student-t intervals, of one seed none. NaN: a number is not finite, or all are equal."
)


@dataclass(frozen=True)
class Config:
    """Options.

    part: share of the updates up to a mark, the last, whose median stands for a quantity there; one update at least.
    least: so many marks a run must have for its correlations to be told.
    js: variants whose D minimises -E log D(x) - E log(1 - D(G(z))), so that log 2 - loss/2 estimates JS from below.
    shown: rows whose marks are drawn one by one.
    """

    part: Fraction = 0.1
    least: Count = 4
    js: tuple[str, ...] = ("gan", "gan-minimax")
    shown: Count = 4


@dataclass(frozen=True)
class Look:
    """A quantity `x` of a run beside its distance `y`, by the shares of its marks; and Spearman's correlations."""

    made: Made
    metric: str
    x: Mapping[float, float]
    y: Mapping[float, float]
    rank: float
    of_changes: float


Seen = Mapping[str, Mapping[str, Sequence[Look]]]
"""By row and quantity, what each seed came to."""


def correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Return Spearman's rank correlation; NaN where a number is not finite, or all on one side are equal."""
    if not np.isfinite([*x, *y]).all() or len(set(x)) < 2 or len(set(y)) < 2:
        return math.nan
    return float(spearmanr(x, y).statistic)


def looks_of(made: Made, part: float, least: int) -> Iterator[tuple[str, Look]]:
    """Yield all quantities of a run beside its distance. Raises `UserError` where it has too few marks."""
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
            yield name, Look(made, metric, x, y, correlation([*x.values()], [*y.values()]), correlation(*changes))


def told(numbers: Sequence[float]) -> str:
    """Write the mean of correlations over seeds with its interval."""
    mean, half = mean_with_interval(numbers)
    return "NaN" if math.isnan(mean) else f"{mean:+.2f}" + ("" if half is None else f" ± {half:.2f}")


def _place(looks: Sequence[Look]) -> float:
    """Return where a row stands: the highest correlation first, then NaN, and at last what lacks the quantity."""
    mean = float(np.mean([look.rank for look in looks])) if looks else -3.0
    return 2.0 if math.isnan(mean) else -mean


def side(looks: Sequence[Look]) -> bool | None:
    """Whether the whole interval is above 0, or below it; None where it holds 0 or there is none."""
    mean, half = mean_with_interval([look.rank for look in looks])
    return None if half is None or not abs(mean) > half else mean > 0


def columns_of(seen: Seen) -> list[str]:
    """Return the quantities that most rows have, and images."""
    counts = Counter(name for of in seen.values() for name in of if name != IMAGES)
    return [*sorted(counts, key=lambda name: (-counts[name], name))[:COLUMNS], IMAGES]


def table(seen: Seen, title: str, which: str, note: str) -> Table:
    """`which`: the correlation that is told, by the name of its field."""
    columns, rows = [name for name in columns_of(seen) if name != IMAGES or which == "rank"], []
    for row, of in seen.items():
        marks = sorted({len(look.x) for look in of[IMAGES]})
        metrics = dict.fromkeys(look.metric for look in of[IMAGES])
        cells = [told([getattr(look, which) for look in of[name]]) if name in of else "" for name in columns]
        rows.append([row, str(len(of[IMAGES])), "/".join(map(str, marks)), "/".join(metrics), *cells])
    return Table(title, ["row", "seeds", "marks", "distance", *columns], rows, f"{note} {NOTE}")


def measured(row: str, quantity: str, look: Look, share: float) -> dict[str, Plain]:
    """Return a line of the CSV."""
    spec = look.made.record.spec
    return {
        **{"row": row, "variant": spec.variant, "seed": str(spec.seed), "quantity": quantity, "distance": look.metric},
        **{"share": share, "value": look.x[share], "of_distance": look.y[share]},
        **{"rank": look.rank, "rank_of_changes": look.of_changes},
    }


def measure_of(look: Look) -> str:
    """Say what the distances of a run were measured by."""
    value = next(mark.values[look.metric] for mark in look.made.record.curve if look.metric in mark.values)
    facts = {key: value.protocol.get(key) for key in ("n_fake", "extractor", "reference")}
    told = ", ".join(f"{key} {fact}" for key, fact in {**facts, "weights": value.weights}.items() if fact)
    return f"{look.metric}: {told}"


def claims(seen: Seen, js: Sequence[str]) -> Iterator[Claim]:
    """Yield what was said of estimates of distances beside what each row that has one came to."""
    for row, of in seen.items():
        if ESTIMATE in of:
            yield claim(SAID.format(3, "the critic's estimate falls"), row, ESTIMATE, of)
        if LOSS in of and of[LOSS][0].made.record.spec.variant in js:  # it rises where the estimate falls
            yield claim(
                SAID.format(4, "the estimate of JS, log 2 - loss/2, stays or rises and the loss falls"), row, LOSS, of
            )


def claim(said: str, row: str, name: str, of: Mapping[str, Sequence[Look]]) -> Claim:
    """Hold a quantity that is said to fall with the distance against what it did; and say how it went in training."""
    looks, holds = of[name], side(of[name])
    ranks, changes = told([look.rank for look in looks]), told([look.of_changes for look in looks])
    found = (
        f"{row}: rank correlation of {name} with the distance {ranks} over {len(looks)} seeds, of changes {changes}."
    )
    course = told([correlation([*look.x.values()], [*look.x]) for look in looks])
    highest = ", ".join(f"{max(look.x, key=look.x.__getitem__):.0%}" for look in looks)
    why = f"{name} has a rank correlation of {course} with the budget spent, the distance one of "
    why += f"{told([look.rank for look in of[IMAGES]])}; {name} is highest at {highest} of the budget. "
    return Claim(said, found, holds, "" if holds else why + "Why was not measured.")


def heat_map(seen: Seen) -> Figure:
    """Draw the correlations of rows with quantities; bold where the whole interval is on one side of 0."""
    columns = columns_of(seen)
    figure = Figure(figsize=(7.3, max(3.0, 1.8 + 0.26 * len(seen))), layout="constrained")
    axes = figure.add_subplot(facecolor="#E4E4E4")
    means = [
        [mean_with_interval([look.rank for look in of[name]])[0] if name in of else math.nan for name in columns]
        for of in seen.values()
    ]
    image = axes.imshow(np.ma.masked_invalid(means), cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    for (y, of), (x, name) in ((row, column) for row in enumerate(seen.values()) for column in enumerate(columns)):
        if name in of:
            style: Any = {"weight": "normal" if side(of[name]) is None else "bold", "ha": "center", "va": "center"}
            text = told([look.rank for look in of[name]]).partition(" ")[0]
            axes.text(x, y, text, fontsize=7, color="w" if abs(means[y][x]) > 0.65 else "k", **style)
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(seen)), list(seen), fontsize=8, parse_math=False)
    axes.set(xlabel="quantity", ylabel="variant")
    figure.colorbar(image, ax=axes, pad=0.02).set_label("rank correlation with the Fréchet distance", fontsize=8)
    return figure


def scatter(seen: Seen, shown: int) -> Figure:
    """Draw losses against the distance for rows spread evenly over the order of the table, a colour a seed."""
    rows = [row for row in seen if LOSS in seen[row]] or list(seen)
    rows = [rows[round(place)] for place in np.linspace(0, len(rows) - 1, min(shown, len(rows)))]
    names = [name for name in (LOSS, "loss/G") if any(name in seen[row] for row in rows)] or [IMAGES]
    figure = Figure(figsize=(7.3, 0.8 + 2.1 * len(names)), layout="constrained")
    grid, handles = figure.subplots(len(names), len(rows), squeeze=False), {}
    for axes, (name, row) in zip(grid.flat, ((name, row) for name in names for row in rows), strict=True):
        looks = seen[row].get(name, ())
        for look, colour in zip(looks, COLOURS, strict=False):
            x, y = list(look.x.values()), list(look.y.values())
            (line,) = axes.plot(x, y, "-o", color=colour, markersize=3, linewidth=0.7)
            axes.plot(x[-1:], y[-1:], "*", color=colour, markersize=10)
            handles[f"seed {look.made.record.spec.seed}"] = line
        said = told([look.rank for look in looks]) if looks else "not traced"
        axes.set_title(f"{row}\n{said}", fontsize=8, parse_math=False)
        axes.set_xlabel(name, fontsize=8)
        axes.tick_params(labelsize=7)
    figure.supylabel("Fréchet distance", fontsize=9)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=7, fontsize=8)
    return figure


class Progress(Experiment):
    name = "progress"
    summary = "which losses, gradients and logged quantities tell how good samples are"
    paper = "Arjovsky et al. 2017, arXiv:1701.07875"
    config: Config = Config()
    variants = (
        *("gan", "gan-minimax", "dcgan", "lsgan", "hinge", "ragan"),
        *("wgan", "wgan-gp", "sngan", "r1", "began", "ebgan"),
    )
    makes_runs = True

    def runs(self, options: Any, asked: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        usual = {} if "dataset" in asked else {"metrics": ("fd-classifier",), "budget": "20k-images"}
        return [{"dataset": ("digits",), **usual, "seeds": 3, "marks": 10, **asked}]

    def find(self, lab: Lab) -> Finding:
        looks, left_out = dict[str, dict[str, list[Look]]](), dict(lab.failed)
        for row, runs in lab.rows.items():
            for made in runs:
                try:
                    for name, look in looks_of(made, lab.options.part, lab.options.least):
                        looks.setdefault(row, {}).setdefault(name, []).append(look)
                except UserError as error:
                    left_out[f"{row}, seed {made.record.spec.seed}"] = str(error)
        if not looks:
            reasons = "; ".join(sorted(set(left_out.values())))
            raise UserError(f"progress: no run can tell whether a loss follows quality ({reasons})")
        seen = dict(sorted(looks.items(), key=lambda item: _place(item[1].get(LOSS, ()))))
        every = [(row, name, look) for row, of in seen.items() for name, some in of.items() for look in some]
        odd = [
            f"{row}, seed {look.made.record.spec.seed}: {look.metric} is {y} at {share:.0%} of the budget"
            for row, name, look in every
            for share, y in look.y.items()
            if name == IMAGES and not math.isfinite(y)
        ]
        return Finding(
            [table(seen, *each) for each in TABLES],
            [measured(row, name, look, share) for row, name, look in every for share in look.x],
            [*claims(seen, lab.options.js)],
            {"correlation": (heat_map(seen), HEAT_MAP), "scatter": (scatter(seen, lab.options.shown), SCATTER)},
            {
                "statistic": STATISTIC.format(lab.options.part),
                "distance": sorted({measure_of(look) for *_, look in every}),
            },
            left_out,
            odd,
        )


@hookimpl
def ganbench_experiments() -> list[Experiment]:
    return [Progress()]
