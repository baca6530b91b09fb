"""The pictures of one run, kept beside its record: samples at every mark, and what else shows a generator at the last.

Nothing here changes a number: latents are walked through on copies, at moments after which every generator of random
numbers is seeded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ganbench.contract.data import Splits
from ganbench.contract.variant import Variant
from ganbench.errors import DiskError, brief, named
from ganbench.files import write_atomically
from ganbench.results.finding import LEFT_OUT
from ganbench.scoring.latents import ARITHMETIC, Classify, Latents, Unfit, arithmetic, interpolation
from ganbench.scoring.neighbours import with_nearest
from ganbench.scoring.pictures import write_picture, write_rows

SAMPLES = 64
POINTS = 2048
"""Points are drawn in place of so many images, for a few of them show no shape."""
NEAREST_OF = 16
NEAREST = 4


def shown_of(data: Splits) -> int:
    """Return how many samples are drawn to be shown: as many as a control can give as well."""
    images = data.train.images
    return SAMPLES if images.ndim == 4 else max(SAMPLES, min(POINTS, len(images) // 4))


def draw_mark(folder: Path, share: float, drawn: Tensor, data: Splits) -> None:
    """Write the samples of a mark, `020.png` at a fifth of the budget; before each translation what it was made from.

    Points stand before those that the variant is to learn.
    """
    real = None
    if drawn.ndim == 2:
        real = data.train.images[:POINTS]
    elif data.domain is not None:
        half = SAMPLES // 2
        drawn = torch.stack([data.domain.test[:half], drawn[:half]], 1).flatten(0, 1)
    write_picture(drawn, folder / f"{round(100 * share):03d}.png", real)


def draw_last(
    folder: Path,
    variant: Variant,
    drawn: Tensor,
    data: Splits,
    *,
    served: Tensor | None,
    classify: Classify,
    seed: int,
) -> None:
    """Write `nearest.png`, `interpolation.png` and `arithmetic.png`, and for each that there is not why.

    `drawn`: the samples of the last mark; `served`: which training images the variant was shown, where that is known.
    A picture that fails is noted, and neither the others nor the run with it.
    """

    def nearest() -> None:
        if drawn.ndim == 2:
            raise Unfit("points stand in one picture as it is")
        if served is None:
            raise Unfit("training images are made fresh, and none of them is kept")
        rows = with_nearest(drawn[:NEAREST_OF], data.train.images, served, NEAREST)
        write_rows(rows, folder / "nearest.png", (1, rows.shape[1] - 1))

    def between() -> None:
        write_rows(interpolation(Latents(variant, data, seed)), folder / "interpolation.png")

    def sums() -> None:
        write_rows(arithmetic(Latents(variant, data, seed), classify), folder / "arithmetic.png", ARITHMETIC)

    tries: dict[str, Callable[[], None]] = {"nearest": nearest, "interpolation": between, "arithmetic": sums}
    left_out = []
    for name, draw in tries.items():
        try:
            draw()
        except DiskError:
            raise
        except Unfit as error:
            left_out.append(f"{name}.png: {error}\n")
        except Exception as error:  # a plugin may fail in any way
            left_out.append(f"{name}.png: it failed with {brief(named(error), 300)}\n")
            warnings.warn(f"{variant.name} has no {name}.png: {brief(named(error), 300)}", stacklevel=2)
    content = "".join(left_out).encode("utf-8", "backslashreplace")
    write_atomically(folder / LEFT_OUT, lambda file: file.write(content))  # empty where nothing is
