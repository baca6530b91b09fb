"""Pictures of what a generator makes: a grid of images, or a cloud of points."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from ganbench.files import write_atomically


def write_picture(samples: Tensor, path: Path) -> None:
    """Write uint8 images `[N, C, H, W]` as a square grid, or points `[N, 2]` as a scatter plot, as PNG."""
    array = samples.numpy()
    pixels = _grid(array) if array.ndim == 4 else _scatter(array)
    write_atomically(path, lambda file: Image.fromarray(pixels).save(file, format="PNG"))


def _grid(images: np.ndarray) -> np.ndarray:
    count, channels, height, width = images.shape
    columns = math.isqrt(count - 1) + 1
    rows = -(-count // columns)
    zoom = max(1, 32 // max(height, width))
    sheet = np.full((rows * columns, channels, height + 1, width + 1), 255, np.uint8)
    sheet[:count, :, :height, :width] = images
    sheet = sheet.reshape(rows, columns, channels, height + 1, width + 1).transpose(0, 3, 1, 4, 2)
    pixels = sheet.reshape(rows * (height + 1), columns * (width + 1), channels).repeat(zoom, 0).repeat(zoom, 1)
    return np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels[..., :3])


def _scatter(points: np.ndarray, side: int = 512) -> np.ndarray:
    pixels = np.full((side, side), 255, np.uint8)
    reach = max(1e-6, 1.25 * float(np.quantile(np.abs(points), 0.99)))
    spots = np.round((points / reach + 1) / 2 * (side - 1)).astype(int)
    spots = spots[((spots > 0) & (spots < side - 1)).all(1)]
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            pixels[side - 1 - (spots[:, 1] + dy), spots[:, 0] + dx] = 0
    return pixels
