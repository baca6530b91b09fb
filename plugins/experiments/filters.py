"""What the filters of D's last convolution respond to, before its first step and after training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ganbench import (
    Box,
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
    derive,
    hookimpl,
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


def selectivity(peaks: Tensor, labels: Tensor | None, top: int) -> dict[str, float]:
    """Return means over filters of how selective responses `[N, K]` are. NaN where a filter responds to all alike."""
    peaks = peaks.double()
    spread, centred = peaks.std(0, correction=0), peaks - peaks.mean(0)
    best = peaks.topk(min(top, len(peaks)), 0).indices
    found = {PEAK: float((centred.gather(0, best).mean(0) / spread).mean())}
    if labels is not None:
        classes = torch.nn.functional.one_hot(labels).double()
        classes = classes[:, classes.sum(0) > 0]
        found[SHARE] = float(classes[best].mean(0).max(1).values.mean())
        between = ((classes.T @ centred) ** 2 / classes.sum(0)[:, None]).sum(0)
        found[EXPLAINED] = float((between / (centred**2).sum(0)).mean())
    return found


def pictured(filters: Filters, images: Tensor, peaks: Tensor, places: Tensor, options: Config) -> list[list[Tensor]]:
    """Return for the first filters the patches with the largest responses, and their guided backpropagation, uint8."""
    lines = list[list[Tensor]]()
    sides = _sides([filters.field(int(place)) for place in places[:, : options.shown].unique()])
    for number in range(min(options.shown, filters.count)):
        patches, guided = list[Tensor](), list[Tensor]()
        for row in peaks[:, number].topk(min(options.patches, len(peaks))).indices.tolist():
            place = int(places[row, number])
            box, slopes = filters.field(place), filters.guided(images[row], number, place)
            for into, pixels in ((patches, images[row].cpu()), (guided, slopes / slopes.abs().max().clamp(min=1e-30))):
                levels = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
                into.append(cut(levels, box, *sides))
        lines.append([torch.stack(patches), torch.stack(guided)])
    return lines


def _sides(boxes: Sequence[Box]) -> tuple[int, int]:
    return max(box.bottom - box.top for box in boxes), max(box.right - box.left for box in boxes)


def cut(image: Tensor, box: Box, height: int, width: int) -> Tensor:
    """Cut a box out of an image, on grey where it reaches beyond the image's border."""
    patch = torch.full((len(image), height, width), 128, dtype=torch.uint8)
    inside = image[:, box.top : box.bottom, box.left : box.right]
    down = height - inside.shape[1] if box.top == 0 else 0
    right = width - inside.shape[2] if box.left == 0 else 0
    patch[:, down : down + inside.shape[1], right : right + inside.shape[2]] = inside
    return patch


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
    measured, drawn = dict[str, dict[str, float]](), list[list[list[Tensor]]]()
    for of, variant in ((TRAINED, made.at()), (FRESH, made.fresh())):
        if not isinstance(D := getattr(variant, "D", None), torch.nn.Module):
            raise UserError("it has no network D")
        inputs = to_float(images).to(made.device)
        filters = Filters(D, inputs)
        peaks, places = filters.peaks(inputs)
        measured[of] = {"filters": filters.count, "images": len(images), **selectivity(peaks, labels, options.top)}
        drawn += [pictured(filters, inputs, peaks, places, options)] if draw else []
    generator = torch.Generator().manual_seed(derive(made.record.spec.seed, "filters"))
    measured[CHANCE] = selectivity(torch.randn(len(images), NOISES, generator=generator), labels, options.top)
    lines = (
        [(f"filter {k + 1}", [*one, *other]) for k, (one, other) in enumerate(zip(*drawn, strict=True))] if draw else []
    )
    return measured, lines, filters


def by_seed(rows: Rows, value: str, **where: Any) -> dict[int, float]:
    """Return a value by seed."""
    return {row["seed"]: row[value] for row in rows if value in row and all(row[k] == v for k, v in where.items())}


def _body(rows: Rows) -> tuple[list[str], list[list[str]]]:
    body = []
    for row, data, of in dict.fromkeys((row["row"], row["data"], row["of"]) for row in rows):
        cells = [
            with_interval(list(by_seed(rows, value, row=row, of=of).values())) for value in (PEAK, SHARE, EXPLAINED)
        ]
        count = by_seed(rows, "filters", row=row, of=of)
        body.append([row, data, of, str(next(iter(count.values()))) if count else "-", *cells])
    return ["run", "data", "D", "filters", PEAK, SHARE, EXPLAINED], body


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
