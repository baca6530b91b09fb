"""Two ranks in one process: threads that run in turns, each until it waits for what the other has.

One runs at a time, and takes the state of the generator with it, so that nothing depends on how threads are scheduled.
On a CPU the backward pass runs in the thread that asks for it, so that ranks meet there as well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ganbench.toolbox.ranks import Group, current, enter


class Apart(AssertionError):
    """The ranks do not call the same functions, of tensors of the same shape, in the same order."""


class _Table:
    """Where ranks meet: whose turn it is, and what each has brought."""

    def __init__(self, size: int) -> None:
        self.turns = [threading.Semaphore(0) for _ in range(size)]
        self.brought: list[Tensor | None] = [None] * size
        self.ended = [False] * size
        self.errors: list[BaseException] = []


class Turn(Group):
    """One of several ranks that take turns."""

    def __init__(self, rank: int, size: int, table: _Table) -> None:
        self.rank, self.size, self._table = rank, size, table

    def sum_(self, tensor: Tensor) -> None:
        """See `Group.sum_`."""
        table = self._table
        table.brought[self.rank] = tensor
        if self.rank == self.size - 1:
            self._add_up()
        self._let_others()
        if table.brought[self.rank] is not None:
            raise table.errors[0] if table.errors else Apart(f"rank {self.rank} waits for another that does not come")

    def _add_up(self) -> None:
        table = self._table
        brought = [each for each in table.brought if each is not None]
        if len(brought) < self.size or len({(each.shape, each.dtype) for each in brought}) > 1:
            found = [None if each is None else tuple(each.shape) for each in table.brought]
            raise Apart(f"ranks do not ask for the same: tensors of the shapes {found} are to be summed")
        with torch.no_grad():
            total = torch.stack(brought).sum(0)
            for each in brought:
                each.copy_(total)
        table.brought = [None] * self.size

    def _let_others(self) -> None:
        table, group, state = self._table, current(), torch.get_rng_state()
        self.pass_on()
        table.turns[self.rank].acquire()
        enter(group)
        torch.set_rng_state(state)

    def pass_on(self) -> None:
        """Give the turn to the next who has not ended."""
        for further in range(1, self.size):
            following = (self.rank + further) % self.size
            if not self._table.ended[following]:
                self._table.turns[following].release()
                return
        self._table.turns[self.rank].release()

    def run(self, function: Callable[[Group], object]) -> None:
        """Carry out what this rank does, when it is its turn."""
        self._table.turns[self.rank].acquire()
        try:
            if not self._table.errors:
                function(self)
        except BaseException as error:
            self._table.errors.append(error)
        finally:
            self._table.ended[self.rank] = True
            self.pass_on()


def together(functions: Sequence[Callable[[Group], object]]) -> None:
    """Carry out a function for each rank, given its group. Raises what the first of them raises."""
    size, group, state = len(functions), current(), torch.get_rng_state()
    table = _Table(size)
    turns = [Turn(rank, size, table) for rank in range(size)]
    threads = [
        threading.Thread(target=turn.run, args=(function,), daemon=True)
        for turn, function in zip(turns, functions, strict=True)
    ]
    for thread in threads:
        thread.start()
    table.turns[0].release()
    for thread in threads:
        thread.join()
    enter(group)
    torch.set_rng_state(state)
    if table.errors:
        raise table.errors[0]
