"""Data that stay on the host: the next batch is gathered there and copied to the device while a step runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from ganbench.contract.data import ImageSet, Source


class Ahead:
    """Brings the samples of steps to a device, those of the next one in advance.

    Each batch has a thread of its own, which ends with it: whatever ends a run, nothing has to be told to stop.
    """

    def __init__(self, source: Source, device: torch.device) -> None:
        self._source, self._device = source, device
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._coming: _Fetch | None = None

    def take(self, step: int, rows: Callable[[int], Tensor]) -> ImageSet:
        """Return the samples of a step, and begin to fetch those of the next; `rows`: which, by step.

        They lie on a CUDA device; where the device is another, on the host. Raises what the source raised, at the step
        whose samples these were to be.
        """
        self.settle()
        fetch, self._coming = self._coming, None
        if fetch is None or fetch.step != step:
            fetch = self._fetch(step, rows)
            fetch.run()
        samples = fetch.result()
        coming = self._fetch(step + 1, rows)
        with suppress(RuntimeError):  # the system gives no more threads: it is fetched when it is due
            coming.start()
            self._coming = coming
        return samples

    def settle(self) -> None:
        """Wait until nobody reads the source."""
        if self._coming is not None:
            self._coming.done.wait()  # not `join`, which takes a thread for ended once it was interrupted

    def _fetch(self, step: int, rows: Callable[[int], Tensor]) -> _Fetch:
        return _Fetch(step, rows(step), self._source, self._device, self._copies)


class _Fetch(threading.Thread):
    """The way of one batch from the source to the device."""

    def __init__(
        self, step: int, rows: Tensor, source: Source, device: torch.device, copies: torch.cuda.Stream | None
    ) -> None:
        super().__init__(name=f"batch {step}")
        self.step, self.done = step, threading.Event()
        self._rows, self._source, self._device, self._copies = rows, source, device, copies
        self._copied: torch.cuda.Event | None = None
        self._found: ImageSet | Exception = RuntimeError("nothing was fetched")

    def run(self) -> None:
        """Fetch, in the thread that this is called from."""
        try:
            self._found = self._arrived(gathered(self._source, self._rows, pinned=self._copies is not None))
        except Exception as error:  # a source may fail in any way
            self._found = error
        finally:
            self.done.set()

    def _arrived(self, here: ImageSet) -> ImageSet:
        if self._copies is None:  # the step copies it itself: another device may not bear work of two threads
            return here
        with torch.cuda.device(self._device), torch.cuda.stream(self._copies):
            # Pinned memory is not given to anybody else before it has been copied: PyTorch sees to that.
            there = _each(here, lambda tensor: tensor.to(self._device, non_blocking=True))
            self._copied = self._copies.record_event()
        return there

    def result(self) -> ImageSet:
        """Return what was fetched, in the order of the device's work; the host waits for nothing."""
        if isinstance(self._found, Exception):
            raise self._found
        if self._copied is not None:
            work = torch.cuda.current_stream(self._device)
            work.wait_event(self._copied)
            for tensor in self._found[:2]:
                if tensor is not None:  # its memory is the other stream's, which must not use it again before this one
                    tensor.record_stream(work)
        return self._found


def gathered(source: Source, rows: Tensor, *, pinned: bool) -> ImageSet:
    """Return samples of a source on the host; `pinned`: where a device can copy them from by itself."""
    if isinstance(source, Held):
        return _each(source.data, lambda tensor: _taken(tensor, rows, pinned=pinned))
    made = source[rows]
    return _each(made, lambda tensor: tensor.pin_memory()) if pinned else made


def _taken(tensor: Tensor, rows: Tensor, *, pinned: bool) -> Tensor:
    """Return rows of a tensor, straight into the memory that they are copied from."""
    into = torch.empty((len(rows), *tensor.shape[1:]), dtype=tensor.dtype, pin_memory=pinned)
    # NumPy takes them in this thread alone; PyTorch would start others, for each thread that asks anew.
    np.take(tensor.numpy(), rows.numpy(), axis=0, out=into.numpy(), mode="clip")
    return into


def _each(samples: ImageSet, function: Callable[[Tensor], Tensor]) -> ImageSet:
    images, cond, _ = samples
    return ImageSet(function(images), None if cond is None else function(cond))


class Held:
    """A set that is held whole, in memory or memory-mapped, as a source."""

    def __init__(self, data: ImageSet) -> None:
        self.data, self.nbytes = data, data.images.nbytes

    def __len__(self) -> int:
        return len(self.data.images)

    def __getitem__(self, rows: Tensor) -> ImageSet:
        images, cond, _ = self.data
        return ImageSet(images[rows], None if cond is None else cond[rows])

    def to(self, device: torch.device) -> Source:
        """Return the same set on a device; on the host it stays where it is, on disk if it is mapped from there."""
        images, cond, _ = self.data
        return Held(ImageSet(images.to(device), None if cond is None else cond.to(device)))


class Unlabelled:
    """A source for one who uses no labels."""

    def __init__(self, source: Source) -> None:
        self._source, self.nbytes = source, source.nbytes

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, rows: Tensor) -> ImageSet:
        return ImageSet(self._source[rows].images)

    def to(self, device: torch.device) -> Source:
        """Return the same source on a device."""
        return Unlabelled(self._source.to(device))
