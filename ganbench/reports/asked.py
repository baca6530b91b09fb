"""What a figure is asked to show, and its words. Imports no matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ganbench.results.curves import Over, is_trace

WORDS: Mapping[Over, str] = {
    "images": "real images",
    "updates": "updates of G",
    "flops": "FLOPs of training",
    "seconds": "time of training",
}


@dataclass(frozen=True)
class Asked:
    """What is to be drawn: a quantity along the way of runs, or with `cost` a metric at the end against its cost.

    `runs`: every run by itself instead of means with bands. `log`: the scale of the quantity; None leaves it to that.
    """

    quantity: str
    over: Over = "images"
    cost: bool = False
    runs: bool = False
    log: bool | None = None

    @property
    def is_log(self) -> bool:
        """Whether the quantity has a logarithmic axis, as norms of gradients have by default."""
        return self.quantity.startswith("grad_norm/") if self.log is None else self.log


def title(asked: Asked) -> str:
    """Name a quantity in words, as its axis does."""
    kind, _, of = asked.quantity.partition("/")
    if is_trace(asked.quantity):
        return {"loss": f"loss of {of}", "grad_norm": f"norm of the gradient of {of}", "log": of}[kind]
    return asked.quantity
