"""The stream of batches: batch t is a function of (seed, t)."""

from __future__ import annotations

import torch
from torch import Tensor

from ganbench.contract.data import ImageSet, Source, to_float
from ganbench.contract.types import Batch
from ganbench.errors import UserError
from ganbench.seeds import derive
from ganbench.training.ahead import Ahead, Held, Unlabelled

BLOCK = 65_536
"""Numbers of samples are drawn so many at a time from a source, whatever the batch size."""


class Stream:
    """The batches of one run: batch t is a function of (seed, t), so that nothing needs saving to resume.

    Images are drawn without replacement, one seeded permutation an epoch, the same for every variant; of a source
    with replacement, in seeded blocks that take the place of epochs. `stream[t]` copies; what a variant does to its
    batch reaches nobody else. `labelled`: whether labels, or source images, are served as well. Of several `ranks` each
    is served its part, all of the same batches.
    """

    def __init__(
        self,
        data: ImageSet,
        batch: int,
        seed: int,
        device: torch.device,
        *,
        labelled: bool = True,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if batch > len(data.images):
            raise UserError(f"a step needs {batch} real images, but the training split has {len(data.images)}")
        self.batch, self._seed, self._device = batch, seed, device
        self._first, self._part = rank * (batch // ranks), batch // ranks
        self._fresh = data.source is not None
        if not labelled:
            data = data._replace(cond=None, source=data.source and Unlabelled(data.source))
        self._source: Source = Held(data) if data.source is None else data.source
        fits = self._fits(device)
        self._home = device if fits else torch.device("cpu")
        self._source = self._source.to(self._home)
        self._ahead = None if fits else Ahead(self._source, device)
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def _fits(self, device: torch.device) -> bool:
        """Whether all data are to lie on the device; a CPU's stay where they are, in memory or mapped from disk."""
        if device.type == "cpu":
            return True
        size = self._source.nbytes
        if device.type != "cuda":
            return size < 2**31
        free, _ = torch.cuda.mem_get_info(device)
        return size < free // 4

    def __getitem__(self, step: int) -> Batch:
        """Return batch number `step`; data that do not fit the device are gathered a step ahead."""
        if self._ahead is None:
            real, cond, _ = self._source[self._rows(step)]
        else:
            real, cond, _ = self._ahead.take(step, self._rows)
        return Batch(to_float(real.to(self._device)), self._given(cond))

    def _rows(self, step: int) -> Tensor:
        start, count = step * self.batch + self._first, BLOCK if self._fresh else len(self._source)
        stop, pieces = start + self._part, list[Tensor]()
        while start < stop:
            epoch, offset = divmod(start, count)
            pieces.append(self._order_of(epoch)[offset : offset + stop - start])
            start += len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def conditions(self, n: int, seed: int) -> Tensor | None:
        """Draw, with replacement, the labels or source images of `n` of all training samples; None without any."""
        if self._ahead is not None:
            self._ahead.settle()  # a source need not bear two readers at once
        rows = torch.randint(len(self._source), (n,), generator=torch.Generator().manual_seed(seed))
        return self._given(self._source[rows.to(self._home)].cond)

    def served(self, images: int) -> Tensor | None:
        """Return which rows of the set the first so many images are, in order of rows; None for samples made fresh."""
        if self._fresh:
            return None
        count = len(self._source)
        return torch.arange(count) if images >= count else self._order_of(0)[:images].cpu().sort().values

    def _given(self, cond: Tensor | None) -> Tensor | None:
        if cond is None:
            return None
        cond = cond.to(self._device)
        return to_float(cond) if cond.dtype == torch.uint8 else cond

    def _order_of(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            generator, count = torch.Generator().manual_seed(derive(self._seed, "epoch", epoch)), len(self._source)
            if self._fresh:
                order = torch.randint(count, (BLOCK,), generator=generator)
            else:
                order = torch.randperm(count, generator=generator)
            self._epoch, self._order = epoch, order.to(self._home)
        return self._order
