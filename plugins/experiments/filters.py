"""What the filters of D's last convolution respond to, before its first step and after training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure

from ganbench import (
    Claim,
    Count,
    Experiment,
    Filters,
    Finding,
    Lab,
    Made,
    UserError,
    above_zero,
    derive,
    differences,
    hookimpl,
    modest_runs,
    of_each_run,
    selectivity,
    table_over_seeds,
    tiled,
    to_float,
)

TRAINED, FRESH, CHANCE = "trained", "before its first step", "noise"
PEAK, SHARE, EXPLAINED = "peak", "class share", "explained"
MOST_PICTURES, NOISES = 3, 256
NOTE = (
    "means over all filters; peak: how many standard deviations the largest responses lie above the mean over images; "
    "class share: of the commonest class among these images; explained: share of the variance of responses that "
    "classes explain; noise: normal numbers in place of responses. The response to an image is its largest at any place"
)
UNGUIDED = "{}: D has no ReLU or LeakyReLU as modules, so that its gradients are not guided"
SAID = (
    "Radford et al. 2016, figure 5: learned features respond to typical parts, with random ones there is little to no "
    "discrimination."
)
WHAT = {
    EXPLAINED: "share of the variance of responses that classes explain, of trained filters less untrained ones",
    SHARE: "share of the commonest class among the images with the largest responses, trained less untrained",
    PEAK: "standard deviations from the mean to the largest responses, trained less untrained",
}
PARTS = [f"{what}, {of}" for of in ("trained", "untrained") for what in ("patches", "guided")]


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
        return [modest_runs(asked, dataset="digits", size=32)]

    def find(self, lab: Lab) -> Finding:
        pictures = dict[str, tuple[Figure, str]]()

        def looked(row: str, made: Made) -> list[tuple[int, dict[str, Any]]]:
            draw, spec = row not in pictures and len(pictures) < MOST_PICTURES, made.record.spec
            about = {"row": row, "data": f"{spec.dataset} {spec.size} px", "seed": spec.seed}
            measured, lines, guides = look(made, lab.options, draw=draw)
            if lines:
                caption = f"{row}, {about['data']}: strongest patches of D's first filters, and guided backpropagation"
                pictures[row] = tiled(lines, PARTS), caption
            return [(guides, {**about, "of": of, **numbers}) for of, numbers in measured.items()]

        seen, left_out = of_each_run(lab, looked)
        rows = [each for _, _, (_, each) in seen]
        values = [value for value in (PEAK, SHARE, EXPLAINED) if any(value in row for row in rows)]
        about = {"run": "row", "data": "data", "D": "of", "filters": "filters"}
        table = table_over_seeds("Filters of D's last convolution", rows, about, values, NOTE)
        figures = {f"filters-{number}": each for number, each in enumerate(pictures.values(), 1)}
        protocol = {"images": "test split", "batch norm": "statistics of these images", "dtype": "float32"}
        notes = [UNGUIDED.format(row) for row in dict.fromkeys(row for row, _, (guides, _) in seen if not guides)]
        return Finding([table], rows, claims_of(rows), figures, protocol, left_out, notes)


def look(made: Made, options: Config, *, draw: bool) -> tuple[dict[str, dict[str, float]], list[Any], int]:
    """Measure a run's D, trained and before its first step, and normal noise in its place; and draw its filters.

    Returns numbers, lines of pictures, and how many activations guide backpropagation.
    """
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
    return measured, lines, filters.guides


def claims_of(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """Hold what the paper says of its figure against the numbers; differences are those of each seed."""
    trained, fresh = {"of": TRAINED}, {"of": FRESH}
    differ = {value: differences(rows, (value, trained), (value, fresh), by=["row"]) for value in WHAT}
    found = [above_zero(SAID, differ[value], text) for value, text in WHAT.items()]
    return [each for each in found if each is not None]


@hookimpl
def ganbench_experiments() -> list[Experiment]:
    return [FiltersOfD()]
