"""Pictures of what a generator makes: grids and rows of images, or a cloud of points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from ganbench.files import write_atomically

FAINT = 200
"""The grey level of real points, behind the black ones of samples."""


def write_picture(samples: Tensor, path: Path, real: Tensor | None = None) -> None:
    """Write uint8 images `[N, C, H, W]` as a square grid, or points `[N, 2]` as a scatter plot, as PNG.

    `real`: points that stand faint behind the samples and choose how far the plot reaches.
    """
    array = samples.numpy()
    if array.ndim == 4:
        _write(_grid(array, math.isqrt(len(array) - 1) + 1), path)
    else:
        _write(_scatter(array, None if real is None else real.numpy()), path)


def write_rows(rows: Tensor, path: Path, parts: Sequence[int] = ()) -> None:
    """Write uint8 images `[R, K, C, H, W]` as R rows of K, as PNG.

    `parts`: how many columns belong together, K in all; half an image of white stands between one part and the next.
    """
    array = rows.numpy()
    widths = parts or [array.shape[1]]
    sheets = []
    for part in np.split(array, np.cumsum(widths)[:-1], axis=1):
        sheet = _grid(part.reshape(-1, *part.shape[2:]), part.shape[1])
        blank = np.full((len(sheet), sheet.shape[1] // part.shape[1] // 2, *sheet.shape[2:]), 255, np.uint8)
        sheets += [blank, sheet]
    _write(np.concatenate(sheets[1:], axis=1), path)


def _write(pixels: np.ndarray, path: Path) -> None:
    write_atomically(path, lambda file: Image.fromarray(pixels).save(file, format="PNG"))


def _grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Lay out images row by row, a white line to the right of and below each; small ones are enlarged."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    zoom = max(1, 32 // max(height, width))
    sheet = np.full((rows * columns, channels, height + 1, width + 1), 255, np.uint8)
    sheet[:count, :, :height, :width] = images
    sheet = sheet.reshape(rows, columns, channels, height + 1, width + 1).transpose(0, 3, 1, 4, 2)
    pixels = sheet.reshape(rows * (height + 1), columns * (width + 1), channels).repeat(zoom, 0).repeat(zoom, 1)
    return np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels[..., :3])


def _scatter(points: np.ndarray, real: np.ndarray | None, side: int = 512) -> np.ndarray:
    """Draw points on equal axes around 0; those beyond lie on the border, for none is to be missing."""
    pixels = np.full((side, side), 255, np.uint8)
    reach = max(1e-6, 1.25 * float(np.quantile(np.abs(points if real is None else real), 0.99)))
    for cloud, grey in ((real, FAINT), (points, 0)):
        if cloud is None:
            continue
        spots = np.round((np.clip(cloud / reach, -1, 1) + 1) / 2 * (side - 1)).astype(int).clip(1, side - 2)
        for dx in (-1, 0, 1):
            for dy in (-1, 0, 1):
                pixels[side - 1 - (spots[:, 1] + dy), spots[:, 0] + dx] = grey
    return pixels
