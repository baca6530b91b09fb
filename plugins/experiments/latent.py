"""Walks and arithmetic in the latents of generators, counted by a classifier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from annotated_types import Ge
from matplotlib.figure import Figure

import ganbench as gb

PAPER = "Radford et al. 2016, "
MADE, LOOKED_UP, BLENDED = "G's", "training images", "blends of test images"
SUM, NOISE, ALONE, RANDOM = "a - b + c", "r - r + c", "c alone", "random"
UNEVEN, FARTHER = "uneven in pixels", "farther"
OF_WALKS = (UNEVEN, "uneven in features", "near at ends", "near in middle", "sure at ends", "sure in middle")
OF_SUMS = (SUM, "moved", "kept", NOISE, ALONE, RANDOM)
MOST_LINES, SHOWN = 12, 5
PICTURES = {
    "walks": (["from one end to the other"], "Walks between two latents, and what lies there else"),
    "sums": (["a", "b", "c", SUM], "Means of exemplars, and sums of them"),
}
THREES = (SUM, {"exemplars": 3})
AS_WANTED = "share of a - b + c of means of three that is as wanted less"
CLAIMS: Sequence[tuple[str, Any, str]] = (
    ("6.1 and figure 4: sharp transitions are signs of memory, and what G learned has smooth ones.",
     ((UNEVEN, {"of": LOOKED_UP}), (UNEVEN, {"of": MADE})),
     "the largest step in mean steps, of the nearest training images less G's"),
    ("figure 4: every image on the way looks like data.", ((FARTHER, {"of": BLENDED}), (FARTHER, {"of": MADE})),
     "how much farther from training images the middle is than the ends, of blends less G's"),
    ("6.3.2 and figure 7: generations from means of three obey the arithmetic.",
     (THREES, (NOISE, {"exemplars": 3})), f"{AS_WANTED} that of r - r + c"),
    ("6.3.2: they do so consistently.", (THREES, 0.5), f"{AS_WANTED} one half"),
    ("6.3.2: single samples are unstable, means of three are stable.", (THREES, (SUM, {"exemplars": 1})),
     "share of a - b + c that is as wanted, of means of three less single samples"),
)  # fmt: skip
"""What the paper says, what so is above what, and in words by how much."""
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Config:
    """Options.

    sums: where data have no classes; X/Y takes X from those with Y to those without, X/-Y the other way. By commas.
    exemplars: of how many samples each term of a sum is the mean; three in the paper.
    samples: latents that are told apart to find exemplars.
    trials: sums of each kind.
    paths: walks between two latents.
    points: images on a walk, both ends among them.
    """

    sums: str = "Smiling/-Male,Eyeglasses/Male"
    exemplars: tuple[gb.Count, ...] = (1, 3, 30)
    samples: gb.Count = 4096
    trials: gb.Count = 256
    paths: gb.Count = 64
    points: Annotated[int, Ge(3)] = 17

    def __post_init__(self) -> None:
        try:
            gb.attributes_of(self.texts)
        except gb.UserError as error:
            raise ValueError(f"sums={self.sums}: {error}") from None

    @property
    def texts(self) -> list[str]:
        return [each for each in self.sums.split(",") if each.strip()]


class Latent(gb.Experiment):
    name = "latent"
    summary = "walks and arithmetic in the latents of generators, counted by a classifier"
    paper = "Radford et al. 2016, arXiv:1511.06434, figures 4 and 7"
    config: Config = Config()
    variants = ("gan",)
    makes_runs = True

    def runs(self, options: Any, asked: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        return [gb.modest_runs(asked, dataset="celeba", size=32, budget="100k-images")]

    def find(self, lab: gb.Lab) -> gb.Finding:
        judges = gb.Judges(lab, gb.attributes_of(lab.options.texts))
        seen, left_out = gb.of_each_run(lab, lambda row, made: look(lab.options, judges, row, made))
        rows = [item for _, _, (kind, item) in seen if kind == "rows"]
        summed, first = [row for row in rows if "sum" in row], {row: made for row, made, _ in reversed(seen)}
        figures = dict[str, tuple[Figure, str]]()
        if summed:
            figures["shares"] = dots(summed, lab.options.exemplars), "Shares of sums that have what they are to have"
        for kind, (above, caption) in PICTURES.items():
            lines = [item for row, made, (of, item) in seen if of == kind and made is first[row]]
            figures |= gb.tiled_by_size(kind, caption, lines, above, MOST_LINES)
        known = judges.accuracies
        told = [[str(text), *(f"{number:.3f}" for number in numbers)] for text, *numbers in map(dict.values, known)]
        about, sums = {"run": "row", "data": "data", "images": "of"}, {"sum": "sum", "exemplars": "exemplars"}
        tables = [
            gb.table_over_seeds("Walks", [row for row in rows if "of" in row], about, OF_WALKS, gb.WALKS_NOTE),
            gb.table_over_seeds("Sums", summed, {"run": "row"} | sums, OF_SUMS, gb.SUMS_NOTE),
            gb.Table("Classifiers, on test images", ["tells", "accuracy", "balanced accuracy"], told),
        ]
        protocol = {"weights": "raw, evaluation mode", "dtype": "float32", "seeds": len({row["seed"] for row in rows})}
        return gb.Finding([t for t in tables if t.rows], [*rows, *known], claims_of(rows), figures, protocol, left_out)


def look(options: Config, judges: gb.Judges, row: str, made: gb.Made) -> Iterator[tuple[str, Any]]:
    """Yield numbers as `rows`, and lines of pictures by what they are of."""
    spec = made.record.spec
    about = {"row": row, "data": f"{spec.dataset} {spec.size} px", "seed": spec.seed}
    latents, judge = gb.Latents(made.at(), made.data, spec.seed), judges.of(made)
    for of, (walk, images) in gb.walks(latents, judge, made.data, options.paths, options.points).items():
        yield "rows", {**about, "of": of, **walk}
        yield from (("walks", (f"{row}\n{of}", [line])) for line in gb.stations(images, 2 if of == MADE else 1))
    if judge.reason:
        raise gb.UserError(f"no sums: {judge.reason}")
    chosen = options.exemplars, options.samples, options.trials
    of_sums, pictures = gb.arithmetic_shares(latents, judge, gb.sums_of(judge, options.texts), *chosen)
    yield from (("rows", {**about, **each}) for each in of_sums)
    yield from (("sums", (f"{row}\n{text}", parts)) for text, parts in gb.examples(pictures, 3, SHOWN).items())


def claims_of(rows: Rows) -> list[gb.Claim]:
    """Hold what the paper says against what was counted; shares are compared of those sums that have both."""
    found = [
        gb.above_zero(PAPER + said, gb.differences(rows, *both, by=("row", "sum"), same=("wanted",)), what)
        for said, both, what in CLAIMS
    ]
    if any(row[FARTHER] <= 0 for row in rows if row.get("of") == BLENDED):
        reason = "Blends lie no farther from data by these features, which so cannot tell."
        found[1] = found[1] and replace(found[1], holds=None, reason=f"{found[1].reason} {reason}".strip())
    return [each for each in found if each is not None]


def dots(rows: Rows, exemplars: Sequence[int]) -> Figure:
    """Draw the shares of all sums beside their baselines."""
    k = 3 if 3 in exemplars else max(exemplars)
    styles = {name: {"color": gb.COLOURS[n]} for name, n in ((SUM, 0), (NOISE, 1), (ALONE, 4), (RANDOM, 6))}
    series: dict[str, Any] = {}
    for n in exemplars:
        series[f"{SUM}, means of {n}"] = SUM, {"exemplars": n}, {**styles[SUM], "alpha": 0.45}
    series |= {f"{name}, means of {k}": (name, {"exemplars": k}, styles[name]) for name in (SUM, NOISE, ALONE)}
    series |= {"random samples": (RANDOM, {"exemplars": k}, styles[RANDOM])}
    return gb.dots_over_seeds(rows, ("row", "sum"), series, "share that has what the sum is to have", (-0.03, 1.03))


@gb.hookimpl
def ganbench_experiments() -> list[gb.Experiment]:
    return [Latent()]
