"""Two harnesses or two versions of a variant, at equal seeds: a metric over the images served, as CSV and picture.

Run: python benchmarks/curves.py before=FOLDER after=FOLDER --metric fd-pixels --output results/published/mended/digits
Each folder holds the records of `ganbench run --marks N`. A line of the CSV is one run at one mark; the picture has a
panel for each variant, with a line for each seed and side.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from ganbench.errors import UserError
from ganbench.files import write_atomically
from ganbench.results.rows import plain_text
from ganbench.results.store import ResultStore


class Point(NamedTuple):
    """A metric of one run at one mark."""

    side: str
    variant: str
    options: str
    seed: int
    images: int
    value: float
    protocol: str


def points(side: str, folder: Path, metric: str) -> Iterator[Point]:
    """Read what the runs in a folder scored at their marks."""
    records, problems = ResultStore(folder).records()
    for problem in problems:
        raise click.ClickException(problem)
    for record in sorted(records, key=lambda record: (record.spec.variant, record.spec.seed)):
        options = plain_text(record.spec.shown_options)
        for mark in record.curve:
            if value := mark.values.get(metric):
                images = mark.meters.images
                yield Point(
                    side, record.spec.variant, options, record.spec.seed, images, value.value, value.protocol_hash
                )


def table(found: list[Point]) -> str:
    """Return the points as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Point._fields)
    writer.writerows(found)
    return text.getvalue()


def picture(found: list[Point], metric: str) -> bytes:
    """Draw a panel a variant, a line a seed, a colour a side."""
    from matplotlib.figure import Figure

    names, sides = sorted({p.variant for p in found}), list(dict.fromkeys((p.side, p.options) for p in found))
    figure = Figure(figsize=(4.2 * len(names), 4.2), layout="constrained")
    drawn = {}
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for colour, (side, options) in enumerate(sides):
            mine = [p for p in found if (p.variant, p.side, p.options) == (name, side, options)]
            for seed in sorted({p.seed for p in mine}):
                run = [p for p in mine if p.seed == seed]
                (line,) = axes.plot([p.images / 1000 for p in run], [p.value for p in run], f"C{colour}.-", lw=1)
                drawn[f"{side} {options}".strip()] = line
        axes.set(title=name, xlabel="thousands of real images", ylabel=metric, ylim=(0, None))
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=len(drawn), fontsize="small")
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=110)
    return held.getvalue()


@click.command()
@click.argument("sides", nargs=-1, required=True, metavar="SIDE=FOLDER...")
@click.option("--metric", default="fd-pixels")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Path without suffix.")
def main(sides: tuple[str, ...], metric: str, output: Path) -> None:
    """Write OUTPUT.csv and OUTPUT.png."""
    if nameless := [side for side in sides if not all(side.partition("="))]:
        raise click.UsageError(f"{nameless[0]!r} names no side and folder: write before=FOLDER")
    try:
        named = [(name, Path(folder)) for name, _, folder in (side.partition("=") for side in sides)]
        found = [point for name, folder in named for point in points(name, folder, metric)]
    except UserError as error:
        raise click.ClickException(str(error)) from None
    if not found:
        raise click.ClickException(f"no record there has {metric} at a mark")
    write_atomically(output.with_suffix(".csv"), lambda file: file.write(table(found).encode()))
    write_atomically(output.with_suffix(".png"), lambda file: file.write(picture(found, metric)))


if __name__ == "__main__":
    main()
