"""The real images that lie nearest to samples, pixel by pixel: what a reader must see to know copies from new ones."""

from __future__ import annotations

import torch
from torch import Tensor

from ganbench.contract.data import to_float

PIECE_BYTES = 2**26
"""Real images become float32 so many bytes at a time, however many there are."""


def with_nearest(samples: Tensor, images: Tensor, rows: Tensor, k: int) -> Tensor:
    """Return each sample followed by the `k` of `images[rows]` that are nearest to it, `[N, 1 + k, C, H, W]`.

    All are uint8, the distance is Euclidean over pixels. It comes from products in float32: images whose distances
    differ by less than a millionth of their squares may change places. Where there are fewer than `k`, all stand there.
    """
    mine = to_float(samples).flatten(1)
    least = torch.full((len(mine), 0), torch.inf)
    found = torch.empty((len(mine), 0), dtype=torch.int64)
    for piece in rows.split(max(1, PIECE_BYTES // (4 * mine.shape[1]))):
        theirs = to_float(images[piece]).flatten(1)
        apart = torch.addmm(theirs.square().sum(1), mine, theirs.T, alpha=-2)  # less what all have in common
        least, places = torch.cat([least, apart], 1).topk(min(k, least.shape[1] + len(piece)), largest=False)
        found = torch.cat([found, piece.expand(len(mine), -1)], 1).gather(1, places)
    return torch.cat([samples[:, None], images[found.flatten()].unflatten(0, found.shape)], 1)
