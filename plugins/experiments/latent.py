"""Walks and arithmetic in the latents of generators, counted by a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from annotated_types import Ge
from matplotlib.figure import Figure
from torch import Tensor

from ganbench import (
    Claim,
    Count,
    Experiment,
    Finding,
    Judge,
    Lab,
    Latents,
    Table,
    UserError,
    above_zero,
    arithmetic_shares,
    attribute_sum,
    by_seed,
    hookimpl,
    judge_of,
    mean_with_interval,
    sums_of,
    tiled,
    walks,
    with_interval,
)

PAPER = "Radford et al. 2016, "
MADE, LOOKED_UP, BLENDED = "G's", "training images", "blends of test images"
SUM, NOISE, ALONE, RANDOM = "a - b + c", "r - r + c", "c alone", "random"
COLOURS = {SUM: "#0072B2", NOISE: "#D55E00", ALONE: "#E69F00", RANDOM: "#000000"}
MOST_LINES, SHOWN, HALF = 12, 5, 0.5
WALKS = (
    "images: G's on the way from one latent to another, the training image nearest to each of these, two test images "
    "blended; uneven: the largest step in mean steps, 1 on an even walk; near: distance to the nearest training image, "
    "in that of test images, by features of the classifier (pixels where there is none); sure: its largest probability"
)
SUMS = (
    "X, from Y to no Y: (X, Y) - (no X, Y) + (no X, no Y). Shares of sums whose image has all that it is to have; "
    "moved, kept: by part; r - r + c: means of any samples in place of a and b; random: of all samples. A dash: fewer "
    "samples fit a, b or c than there are to be exemplars"
)
Rows = list[dict[str, Any]]
Found = Mapping[str, Sequence[float]]


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
    exemplars: tuple[Count, ...] = (1, 3, 30)
    samples: Count = 4096
    trials: Count = 256
    paths: Count = 64
    points: Annotated[int, Ge(3)] = 17


def claims_of(rows: Rows) -> list[Claim]:
    """Hold what the paper says against what was counted; differences are those of each seed."""
    names = list(dict.fromkeys(row["row"] for row in rows))

    def walked(value: str, of: str, less: str) -> Found:
        both = {name: [by_seed(rows, value, row=name, of=kind) for kind in (of, less)] for name in names}
        return {name: [one[seed] - other[seed] for seed in one] for name, (one, other) in both.items()}

    def shared(of: int, less: str, other: int) -> Found:
        """By row and sum the shares of a - b + c less others, where there are both: of classes, of the same ones."""
        shares = {(r["row"], r["sum"], r["wanted"], r["seed"], r["exemplars"]): r for r in rows if SUM in r}
        both = [(key, one, shares.get((*key[:4], other))) for key, one in shares.items() if key[4] == of]
        differ = [
            {"sum": f"{key[0]}, {key[1]}", "seed": key[3], "less": one[SUM] - against.get(less, HALF)}
            for key, one, against in both
            if against is not None
        ]
        return {
            text: list(by_seed(differ, "less", sum=text).values()) for text in dict.fromkeys(d["sum"] for d in differ)
        }

    what = "share of a - b + c of means of three that is as wanted"
    found = [
        above_zero(
            f"{PAPER}6.1 and figure 4: sharp transitions are signs of memory, and what G learned has smooth ones.",
            walked("uneven in pixels", LOOKED_UP, MADE),
            "the largest step in mean steps, of the nearest training images less G's",
        ),
        above_zero(
            f"{PAPER}figure 4: every image on the way looks like data.",
            walked("farther", BLENDED, MADE),
            "how much farther from training images the middle is than the ends, of blends less G's",
        ),
        above_zero(
            f"{PAPER}6.3.2 and figure 7: generations from means of three obey the arithmetic.",
            shared(3, NOISE, 3),
            f"{what} less that of r - r + c",
        ),
        above_zero(f"{PAPER}6.3.2: they do so consistently.", shared(3, "", 3), f"{what} less one half"),
        above_zero(
            f"{PAPER}6.3.2: single samples are unstable, means of three are stable.",
            shared(3, SUM, 1),
            "share of a - b + c that is as wanted, of means of three less single samples",
        ),
    ]
    if any(far <= 0 for name in names for far in by_seed(rows, "farther", row=name, of=BLENDED).values()):
        reason = "Blends lie no farther from data by these features, which so cannot tell."
        found[1] = found[1] and replace(found[1], holds=None, reason=f"{found[1].reason} {reason}".strip())
    return [each for each in found if each is not None]


def dots(rows: Rows, exemplars: Sequence[int]) -> Figure:
    """Draw the shares of all sums beside their baselines."""
    k = 3 if 3 in exemplars else max(exemplars)
    sums = list(dict.fromkeys((row["row"], row["sum"]) for row in rows if "sum" in row))
    figure = Figure(figsize=(7.3, 1.6 + 0.5 * len(sums)), layout="constrained")
    axes = figure.add_subplot()
    series = [(SUM, n, f"{SUM}, means of {n}") for n in exemplars]
    series += [(name, k, f"{name}, means of {k}") for name in (NOISE, ALONE)] + [(RANDOM, k, "random samples")]
    for n, (name, count, label) in enumerate(series):
        cells = [by_seed(rows, name, row=row, sum=text, exemplars=count) for row, text in sums]
        found = [(y, *mean_with_interval(list(cell.values()))) for y, cell in enumerate(cells) if cell]
        at = [y + 0.7 * (n + 0.5) / len(series) - 0.35 for y, _, _ in found]
        half = [each or 0.0 for _, _, each in found]
        alpha = 1 if name != SUM or count == k else 0.45
        style: Any = {"fmt": "osDv^<>"[n % 7], "markersize": 4.5, "alpha": alpha, "label": label}
        axes.errorbar([mean for _, mean, _ in found], at, xerr=half, color=COLOURS[name], **style)
    axes.set_yticks(range(len(sums)), [f"{row}\n{text}" for row, text in sums], fontsize=6.5)
    axes.set(xlabel="share that has what the sum is to have", xlim=(-0.03, 1.03), ylim=(len(sums) - 0.5, -0.5))
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    return figure


class Latent(Experiment):
    name = "latent"
    summary = "walks and arithmetic in the latents of generators, counted by a classifier"
    paper = "Radford et al. 2016, arXiv:1511.06434, figures 4 and 7"
    config: Config = Config()
    variants = ("gan",)
    makes_runs = True

    def runs(self, options: Any, asked: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        defaults: dict[str, Any] = {"seeds": 3, "metrics": ("grad-norm-g",), "marks": 1}
        settings = list(asked.get("set", ()))
        if "dataset" not in asked:
            defaults |= {"dataset": "celeba", "size": 32, "budget": "100k-images"}
            if "backbone" not in asked and not any("width=" in each for each in settings):
                settings.append("dcgan.width=32")  # half the usual: minutes on two cores
        return [{**defaults, **asked, "set": settings}]

    def find(self, lab: Lab) -> Finding:
        options, judges, rows, left_out = lab.options, dict[str, Judge](), Rows(), dict[str, str]()
        sums = [each for each in options.sums.split(",") if each.strip()]
        try:
            attributes = list(dict.fromkeys(name for each in sums for name in attribute_sum(each).wanted))
        except UserError as error:
            raise UserError(f"latent.sums: {error}") from None
        lines: dict[str, list[tuple[str, Sequence[Tensor]]]] = {"walks": [], "sums": []}
        for name, made in ((name, made) for name, of in lab.rows.items() for made in of):
            spec, first = made.record.spec, name not in {row["row"] for row in rows}
            about = {"row": name, "data": f"{spec.dataset} {spec.size} px", "seed": spec.seed}
            try:
                latents, data = Latents(made.at(), made.data, spec.seed), made.data
                if spec.data not in judges:
                    judges[spec.data] = judge_of(lab, made, attributes)
                judge = judges[spec.data]
                lab.tell(f"{name}, seed {spec.seed}")
                for of, (walk, images) in walks(latents, judge, data, options.paths, options.points).items():
                    farther = walk["near in middle"] - walk["near at ends"]
                    rows.append({**about, "of": of, **walk, "farther": farther})
                    columns = torch.linspace(0, options.points - 1, min(9, options.points)).round().long()
                    shown = images[: 2 if of == MADE else 1, columns] if first else ()
                    lines["walks"] += [(f"{name}\n{of}", [each]) for each in shown]
                if judge.reason:
                    raise UserError(f"no sums: {judge.reason}")
                asked, exemplars = sums_of(judge, sums), options.exemplars
                of_sums, pictures = arithmetic_shares(latents, judge, asked, exemplars, options.samples, options.trials)
                rows += [{**about, **row} for row in of_sums]
                both = (
                    (text, images) for k in (max(exemplars), 3) for (text, of), images in pictures.items() if of == k
                )
                for text, images in dict(both).items() if first else ():
                    parts = images[: 3 + SHOWN].split([1, 1, 1, min(SHOWN, len(images) - 3)])
                    lines["sums"].append((f"{name}\n{text}", parts))
            except (UserError, ArithmeticError) as error:
                left_out[f"{name}, seed {spec.seed}"] = str(error)
        if not rows:
            raise UserError("; ".join(f"{name}: {reason}" for name, reason in left_out.items()))
        return finding(lab, rows, judges, lines, left_out)


def finding(
    lab: Lab, rows: Rows, judges: Mapping[str, Judge], lines: Mapping[str, Any], left_out: Mapping[str, str]
) -> Finding:
    """Lay out what was counted."""

    def cells(values: Sequence[str], **where: Any) -> list[str]:
        return [with_interval(list(by_seed(rows, value, **where).values())) for value in values]

    exemplars = lab.options.exemplars
    of_walks = [f"uneven in {of}" for of in ("pixels", "features")] + [
        f"{v} {at}" for v in ("near", "sure") for at in ("at ends", "in middle")
    ]
    of_sums = [SUM, "moved", "kept", NOISE, ALONE, RANDOM]
    walked = list(dict.fromkeys((row["row"], row["data"], row["of"]) for row in rows if "of" in row))
    summed = list(dict.fromkeys((row["row"], row["sum"], row["exemplars"]) for row in rows if "sum" in row))
    known = [(" or ".join(c.names), c.accuracy, c.balanced) for judge in judges.values() for c in judge.classifiers]
    tables = [
        Table(
            "Walks",
            ["run", "data", "images", *of_walks],
            [[*key, *cells(of_walks, row=key[0], of=key[2])] for key in walked],
            WALKS,
        ),
        Table(
            "Sums",
            ["run", "sum", "exemplars", *of_sums],
            [[row, text, str(k), *cells(of_sums, row=row, sum=text, exemplars=k)] for row, text, k in summed],
            SUMS,
        ),
        Table(
            "Classifiers, on test images",
            ["tells", "accuracy", "balanced accuracy"],
            [[names, *(f"{x:.3f}" for x in of)] for names, *of in known],
        ),
    ]
    figures = {"shares": (dots(rows, exemplars), "Shares of sums that have what they are to have")} if summed else {}
    above = {"walks": ["from one end to the other"], "sums": ["a", "b", "c", SUM]}
    captions = {
        "walks": "Walks between two latents, and what lies there else",
        "sums": "Means of exemplars, and sums of them",
    }
    for kind, titles in above.items():
        sides = dict.fromkeys(parts[0].shape[-2:] for _, parts in lines[kind])
        for number, side in enumerate(sides, 1):  # pictures of one size stand in one figure
            alike = [(label, parts) for label, parts in lines[kind] if parts[0].shape[-2:] == side]
            figures[f"{kind}-{number}" if number > 1 else kind] = (tiled(alike[:MOST_LINES], titles), captions[kind])
    measured = rows + [
        {"classifier": names, "accuracy": one, "balanced accuracy": other} for names, one, other in known
    ]
    protocol = {"weights": "raw, evaluation mode", "dtype": "float32", "seeds": len({row["seed"] for row in rows})}
    return Finding([each for each in tables if each.rows], measured, claims_of(rows), figures, protocol, left_out)


@hookimpl
def ganbench_experiments() -> list[Experiment]:
    return [Latent()]
