"""Whether losses, gradients and all else that is traced tell how good samples are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

import ganbench as gb

IMAGES, LOSS, ESTIMATE = "images", "loss/D", "log/wasserstein"
COLUMNS = 10
"""So many quantities at most are columns, those that most rows have, beside the real images seen: a mere clock."""
SAID = "Arjovsky et al. 2017, figure {} (from memory, unchecked): {} as samples become better."
OF_CRITICS = SAID.format(3, "the critic's estimate falls")
OF_JS = SAID.format(4, "the estimate of JS, log 2 - loss/2, stays or rises and the loss falls")
ABOVE = "Above 0: the quantity falls as the distance does."
CHANGES = "Of differences between neighbouring marks: a mere trend of both makes none."
HEAT_MAP = (
    "Spearman's correlation of what is traced with the Fréchet distance over the marks of a run, mean over seeds; bold "
    "where the whole 95 % interval is on one side of 0, blue where the quantity falls as the distance does"
)
SCATTER = (
    "Losses against the Fréchet distance at the marks of each seed, a star at the last; rows from the most to the "
    "least faithful loss of D"
)
NOTE = (
    "Means over seeds with 95 % Student-t intervals, of one seed none. nan: a number is not finite, or all are equal."
)
Seen = Mapping[str, Mapping[str, Sequence[gb.Followed]]]
"""By row and quantity, what each seed came to."""


@dataclass(frozen=True)
class Config:
    """Options.

    part: share of the updates up to a mark, the last, whose median stands for a quantity there; one update at least.
    least: so many marks a run must have for its correlations to be told.
    js: variants whose D minimises -E log D(x) - E log(1 - D(G(z))), so that log 2 - loss/2 estimates JS from below.
    shown: rows whose marks are drawn one by one.
    """

    part: gb.Fraction = 0.1
    least: gb.Count = 4
    js: tuple[str, ...] = ("gan", "gan-minimax")
    shown: gb.Count = 4


class Progress(gb.Experiment):
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

    def find(self, lab: gb.Lab) -> gb.Finding:
        options, looks = lab.options, dict[str, dict[str, list[gb.Followed]]]()
        found, left_out = gb.of_each_run(lab, lambda _, made: gb.follow_distance(made, options.part, options.least))
        for row, _, look in found:
            looks.setdefault(row, {}).setdefault(look.name, []).append(look)
        seen = dict(sorted(looks.items(), key=lambda item: gb.best_first(ranks(item[1].get(LOSS, ())))))
        every = [(row, look) for row, of in seen.items() for some in of.values() for look in some]
        clocks = [(row, look) for row, look in every if look.name == IMAGES]
        return gb.Finding(
            [
                table(seen, "Rank correlation with the Fréchet distance", "rank", ABOVE),
                table(seen, "The same of changes", "of_changes", CHANGES),
            ],
            [{"row": row, **line} for row, look in every for line in look.lines],
            [*claims(seen, options.js)],
            {
                "correlation": (correlations(seen), HEAT_MAP),
                "scatter": (gb.draw_followed(seen, (LOSS, "loss/G"), options.shown), SCATTER),
            },
            {
                "statistic": f"median over the last {options.part:g} of the updates up to each mark",
                "distance": sorted({look.measured_by for _, look in clocks}),
            },
            left_out,
            [f"{row}, seed {look.run.spec.seed}: {odd}" for row, look in clocks for odd in look.odd],
        )


def ranks(looks: Sequence[gb.Followed]) -> list[float]:
    return [look.rank for look in looks]


def told(numbers: Sequence[float]) -> str:
    return gb.with_interval(numbers, "+.2f") if numbers else ""


def columns_of(seen: Seen) -> list[str]:
    """Return the quantities that most rows have, and images."""
    counts = Counter(name for of in seen.values() for name in of if name != IMAGES)
    return [*sorted(counts, key=lambda name: (-counts[name], name))[:COLUMNS], IMAGES]


def table(seen: Seen, title: str, which: str, note: str) -> gb.Table:
    """`which`: the correlation that is told, by the name of its field."""
    columns, rows = [name for name in columns_of(seen) if name != IMAGES or which == "rank"], []
    for row, of in seen.items():
        marks = "/".join(map(str, sorted({len(look.x) for look in of[IMAGES]})))
        metrics = "/".join(dict.fromkeys(look.metric for look in of[IMAGES]))
        cells = [told([getattr(look, which) for look in of.get(name, ())]) for name in columns]
        rows.append([row, str(len(of[IMAGES])), marks, metrics, *cells])
    return gb.Table(title, ["row", "seeds", "marks", "distance", *columns], rows, f"{note} {NOTE}")


def claims(seen: Seen, js: Sequence[str]) -> Iterator[gb.Claim]:
    """Yield what was said of estimates of distances beside what they came to; JS falls where the loss of D rises."""
    for row, of in seen.items():
        said = {ESTIMATE: OF_CRITICS, **({LOSS: OF_JS} if of[IMAGES][0].run.spec.variant in js else {})}
        for name in (name for name in said if name in of):
            looks, numbers = of[name], ranks(of[name])
            found = f"{row}: rank correlation of {name} with the distance {told(numbers)} over {len(looks)} seeds, of "
            found += f"changes {told([look.of_changes for look in looks])}."
            course = told([gb.rank_correlation([*look.x.values()], [*look.x]) for look in looks])
            highest = ", ".join(f"{max(look.x, key=look.x.__getitem__):.0%}" for look in looks)
            why = f"{name} has a rank correlation of {course} with the budget spent, the distance one of "
            why += f"{told(ranks(of[IMAGES]))}; {name} is highest at {highest} of the budget. Why was not measured."
            holds = gb.side_of_zero(numbers)
            yield gb.Claim(said[name], found, holds, "" if holds else why)


def correlations(seen: Seen) -> Figure:
    """Draw the correlations of rows with quantities; bold where the whole interval is on one side of 0."""
    columns = columns_of(seen)
    cells = [[ranks(of.get(name, ())) for name in columns] for of in seen.values()]
    colours = "rank correlation with the Fréchet distance", (-1, 1)
    return gb.heat_map_over_seeds(cells, ("variant", list(seen)), ("quantity", columns), colours)


@gb.hookimpl
def ganbench_experiments() -> list[gb.Experiment]:
    return [Progress()]
