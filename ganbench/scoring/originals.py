"""Samples that are real images, bit for bit: no network gives those back by chance, a store of images does."""

from __future__ import annotations

import torch
from torch import Tensor

from ganbench.contract.data import Splits
from ganbench.seeds import derive
from ganbench.training.guard import Unfair

SHARE, LEAST = 0.02, 8
"""Refused is that share of the samples, of at least so many different images: a blank image is found by chance."""
MOST = 200_000
"""Real images looked at, drawn at random where there are more: a store of images shows in any part of them."""
PIECE = 16
"""Bytes in the middle of a row by which rows are first compared: of an image on disk, one page is read."""


class Originals:
    """The real images of both splits, ready to be found among samples."""

    def __init__(self, data: Splits) -> None:
        self._splits = {"training": data.train.images, "test": data.test.images}
        self._rows: dict[str, Tensor] = {}
        self._keys: dict[str, Tensor] = {}

    def require_new(self, name: str, samples: Tensor) -> None:
        """Raise `Unfair` where samples are images of a split."""
        for split, images in self._splits.items():
            if samples.dtype != images.dtype or samples.shape[1:] != images.shape[1:]:
                continue
            count, different = self._found(split, images, samples)
            if count >= SHARE * len(samples) and different >= LEAST:
                raise Unfair(
                    f"{count} of {len(samples)} samples of {name} are images of the {split} split, bit for bit: a "
                    f"generator makes new ones, and only a store of real images gives those back"
                )

    def _found(self, split: str, images: Tensor, samples: Tensor) -> tuple[int, int]:
        if split not in self._keys:
            order = torch.randperm(len(images), generator=torch.Generator().manual_seed(derive(0, "originals")))
            self._rows[split] = order[:MOST].sort().values
            self._keys[split] = torch.cat([_keys(images[rows]) for rows in self._rows[split].split(4096)])
        known, order = self._keys[split].sort()
        mine = _keys(samples)
        first, last = torch.searchsorted(known, mine), torch.searchsorted(known, mine, right=True)
        count, different = 0, set[int]()
        for number in torch.nonzero(last > first).flatten().tolist():
            candidates = self._rows[split][order[int(first[number]) : int(last[number])][:64]]
            same = (images[candidates].flatten(1) == samples[number].flatten()).all(1)
            if bool(same.any()):
                count += 1
                different.add(int(candidates[int(same.int().argmax())]))
        return count, len(different)


def _keys(images: Tensor) -> Tensor:
    rows = images.flatten(1).contiguous().view(torch.uint8)
    start = max(0, rows.shape[1] // 2 - PIECE // 2)
    piece = rows[:, start : start + PIECE].long()
    weights = torch.arange(1, piece.shape[1] + 1).mul(0x9E3779B1).bitwise_and(0x7FFFFFFF)
    return (piece * weights).sum(1)
