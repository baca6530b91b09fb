"""Pictures in rows for experiments: tiles side by side, what each row and column is at the margins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # it takes a second to import
    from matplotlib.figure import Figure
    from torch import Tensor

WIDTH = 7.3
"""Inches of a figure: 800 px as experiments' pictures are written."""
LABEL, LETTERS = 0.075, 30
"""Inches of a letter of a row's label, about, and how many a line of it has at most."""


def tiled(rows: Sequence[tuple[str, Sequence[Tensor]]], columns: Sequence[str]) -> Figure:
    """Draw rows of images with a label each; every row a sequence of parts, uint8 `[K, C, H, W]`, white between them.

    `columns`: what stands above each part. All rows have parts of as many tiles, all tiles one side. Pixels stay sharp.
    """
    from matplotlib.figure import Figure

    widths = [len(part) for part in rows[0][1]]
    height, width = rows[0][1][0].shape[-2:]
    gap = max(1, width // 16)
    labels = ["\n".join(part for line in text.split("\n") for part in wrap(line, LETTERS)) for text, _ in rows]
    sheets = [_sheet([part.numpy() for part in parts], gap) for _, parts in rows]
    pixels = np.concatenate(sheets)
    label = LABEL * max(len(line) for text in labels for line in text.split("\n")) + 0.1
    tall = (WIDTH - label) * len(pixels) / pixels.shape[1]
    figure = Figure(figsize=(WIDTH, tall + 0.4))
    axes = figure.add_axes((label / WIDTH, 0.05 / (tall + 0.4), 1 - (label + 0.05) / WIDTH, tall / (tall + 0.4)))
    axes.imshow(pixels, interpolation="nearest", aspect="auto")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_yticks([k * (height + gap) + height / 2 for k in range(len(rows))], labels, fontsize=8)
    starts = np.cumsum([0, *(n * (width + gap) + 2 * gap for n in widths)])
    middles = [start + n * (width + gap) / 2 for start, n in zip(starts, widths, strict=False)]
    axes.xaxis.tick_top()
    axes.set_xticks(middles, columns, fontsize=8)
    return figure


def tiled_by_size(
    name: str, caption: str, rows: Sequence[tuple[str, Sequence[Tensor]]], columns: Sequence[str], most: int
) -> Mapping[str, tuple[Figure, str]]:
    """Draw rows as `tiled` does, tiles of one size in one figure of `most` rows at most; by `name`, `name-2`, …"""
    found: dict[str, tuple[Figure, str]] = {}
    for number, size in enumerate(dict.fromkeys(parts[0].shape[-2:] for _, parts in rows), 1):
        alike = [(label, parts) for label, parts in rows if parts[0].shape[-2:] == size]
        found[f"{name}-{number}" if number > 1 else name] = tiled(alike[:most], columns), caption
    return found


def _sheet(parts: Sequence[np.ndarray], gap: int) -> np.ndarray:
    """Lay the tiles of a row side by side, uint8 `[H + gap, W, 3]`; twice the gap more between two parts."""
    strips: list[np.ndarray] = []
    for part in parts:
        for tile in part:
            colour = np.broadcast_to(tile, (3, *tile.shape[1:])) if len(tile) == 1 else tile[:3]
            framed = np.pad(colour.transpose(1, 2, 0), ((0, gap), (0, gap), (0, 0)), constant_values=255)
            strips.append(framed)
        strips.append(np.full((strips[-1].shape[0], 2 * gap, 3), 255, np.uint8))
    return np.concatenate(strips[:-1], axis=1)
