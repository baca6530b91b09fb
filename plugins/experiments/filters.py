"""What the filters of D's last convolution respond to, before its first step and after training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ganbench import (
    Claim,
    Count,
    Experiment,
    Filters,
    Finding,
    Lab,
    Made,
    Table,
    UserError,
    above_zero,
    by_seed,
    derive,
    hookimpl,
    selectivity,
    tiled,
    to_float,
    with_interval,
)

TRAINED, FRESH, CHANCE = "trained", "before its first step", "noise"
PEAK, SHARE, EXPLAINED = "peak", "class share", "explained"
MOST_PICTURES, NOISES = 3, 256
NOTE = (
    "means over all filters; peak: how many standard deviations the largest responses lie above the mean over images; "
    "class share: of the commonest class among these images; explained: share of the variance of responses that "
    "classes explain; noise: normal numbers in place of responses. The response to an image is its largest at any place"
)
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Config:
    """Options.

    images: test images that are looked at, at most.
    top: so many images with the largest responses tell a filter's class share and peak.
    shown: filters in a picture, the first ones as in the paper.
    patches: images in a picture for each filter.
    """

    images: Count = 2000
    top: Count = 9
    shown: Count = 6
    patches: Count = 4


class FiltersOfD(Experiment):
    name = "filters"
    summary = "what the filters of D's last convolution respond to, before its first step and after training"
    paper = "Radford et al. 2016, arXiv:1511.06434, figure 5"
    config: Config = Config()
    variants = ("gan",)
    makes_runs = True

    def runs(self, options: Any, asked: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        defaults: dict[str, Any] = {"seeds": 3, "metrics": ("grad-norm-g",), "marks": 1}
        settings = list(asked.get("set", ()))
        if "dataset" not in asked:
            defaults |= {"dataset": "digits", "size": 32}
            if "backbone" not in asked and not any("width=" in each for each in settings):
                settings.append("dcgan.width=32")  # half the usual: minutes on two cores
        return [{**defaults, **asked, "set": settings}]

    def find(self, lab: Lab) -> Finding:
        rows, notes, figures, left_out = Rows(), dict[str, None](), dict[str, Any](), dict[str, str]()
        for name, made in ((name, made) for name, of in lab.rows.items() for made in of):
            spec, first = made.record.spec, name not in {row["row"] for row in rows}
            lab.tell(f"{name}, seed {spec.seed}")
            about = {"row": name, "data": f"{spec.dataset} {spec.size} px", "seed": spec.seed}
            try:
                measured, lines, filters = look(made, lab.options, draw=first and len(figures) < MOST_PICTURES)
            except UserError as error:
                left_out[f"{name}, seed {spec.seed}"] = str(error)
                continue
            rows += [{**about, "of": of, **numbers} for of, numbers in measured.items()]
            if not filters.guides:
                notes[f"{name}: D has no ReLU or LeakyReLU as modules, so that its gradients are not guided"] = None
            if lines:
                parts = [f"{what}, {of}" for of in ("trained", "untrained") for what in ("patches", "guided")]
                caption = f"{name}, {about['data']}: strongest patches of D's first filters, and guided backpropagation"
                figures[f"filters-{len(figures) + 1}"] = (tiled(lines, parts), caption)
        if not rows:
            raise UserError("; ".join(f"{name}: {reason}" for name, reason in left_out.items()))
        table = Table("Filters of D's last convolution", *_body(rows), NOTE)
        protocol = {"images": "test split", "batch norm": "statistics of these images", "dtype": "float32"}
        return Finding([table], rows, claims_of(rows), figures, protocol, left_out, list(notes))


def look(made: Made, options: Config, *, draw: bool) -> tuple[dict[str, dict[str, float]], list[Any], Filters]:
    """Measure a run's D, trained and before its first step, and normal noise in its place; and draw its filters."""
    images, cond = made.data.test.images[: options.images], made.data.test.cond
    if images.ndim != 4:
        raise UserError("its data are points, not images")
    labels = None if cond is None else cond[: len(images)]
    measured, drawn = dict[str, dict[str, float]](), list[Any]()
    for of, variant in ((TRAINED, made.at()), (FRESH, made.fresh())):
        if not isinstance(D := getattr(variant, "D", None), torch.nn.Module):
            raise UserError("it has no network D")
        inputs = to_float(images).to(made.device)
        filters = Filters(D, inputs)
        numbers = selectivity(filters.peaks(inputs)[0], labels, options.top)
        measured[of] = {"filters": filters.count, "images": len(images), **numbers}
        drawn += [filters.strongest(inputs, options.shown, options.patches)] if draw else []
    generator = torch.Generator().manual_seed(derive(made.record.spec.seed, "filters"))
    measured[CHANCE] = selectivity(torch.randn(len(images), NOISES, generator=generator), labels, options.top)
    pairs = zip(*drawn, strict=True) if draw else ()
    lines = [(f"filter {number}", [*one, *other]) for number, (one, other) in enumerate(pairs, 1)]
    return measured, lines, filters


def _body(rows: Rows) -> tuple[list[str], list[list[str]]]:
    values, body = [v for v in (PEAK, SHARE, EXPLAINED) if any(v in row for row in rows)], []
    for row, data, of in dict.fromkeys((row["row"], row["data"], row["of"]) for row in rows):
        cells = [with_interval(list(by_seed(rows, value, row=row, of=of).values())) for value in values]
        count = by_seed(rows, "filters", row=row, of=of)
        body.append([row, data, of, f"{max(count.values()):.0f}" if count else "-", *cells])
    return ["run", "data", "D", "filters", *values], body


def claims_of(rows: Rows) -> list[Claim]:
    """Hold what the paper says of its figure against the numbers; differences are those of each seed."""
    said = (
        "Radford et al. 2016, figure 5: learned features respond to typical parts, with random ones there is little to "
        "no discrimination."
    )
    what = {
        EXPLAINED: "share of the variance of responses that classes explain, of trained filters less untrained ones",
        SHARE: "share of the commonest class among the images with the largest responses, trained less untrained",
        PEAK: "standard deviations from the mean to the largest responses, trained less untrained",
    }
    found = list[Claim | None]()
    for value, text in what.items():
        differ = defaultdict[str, list[float]](list)
        for name in dict.fromkeys(row["row"] for row in rows):
            one, other = (by_seed(rows, value, row=name, of=of) for of in (TRAINED, FRESH))
            differ[name] = [one[seed] - other[seed] for seed in one]
        found.append(above_zero(said, differ, text))
    return [each for each in found if each is not None]


@hookimpl
def ganbench_experiments() -> list[Experiment]:
    return [FiltersOfD()]
