"""Budgets and meters: what a run may spend and what it has spent, in every currency. Imports no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, cast

from ganbench.errors import UserError, quoted

Unit = Literal["images", "updates", "flops", "seconds"]
UNITS: tuple[Unit, ...] = ("images", "updates", "flops", "seconds")
EXAMPLES = "200k-images, 2000-updates, 3e15-flops or 90-seconds"
_SUFFIX = {"": 0, "k": 3, "m": 6, "g": 9, "t": 12}


@dataclass
class Meters:
    """What a run has spent so far.

    `images`: real images delivered. `updates`: by player. `flops`: of training. `seconds`: device time of training
    alone, over all resumes. `peak_bytes`: device memory, on a CPU the process's.
    """

    steps: int = 0
    images: int = 0
    updates: dict[str, int] = field(default_factory=dict)
    flops: float = 0.0
    seconds: float = 0.0
    peak_bytes: int = 0

    @property
    def updates_of_generator(self) -> int | None:
        """How often G was updated: by the player G and by those named for a stage of its training, `G_…`."""
        found = [number for player, number in self.updates.items() if player == "G" or player.startswith("G_")]
        return sum(found) if found else None


@dataclass(frozen=True)
class Tick:
    """The state of a run at a moment when the device was waited for anyway. `losses`: the latest of each player."""

    meters: Meters
    losses: Mapping[str, float]


@dataclass(frozen=True)
class Budget:
    """A limit in one currency; `updates` are those of the generator, see `Meters.updates_of_generator`.

    A run ends with the first whole step at or past it.
    """

    amount: float
    unit: Unit

    def __post_init__(self) -> None:
        # 2000 and 2000.0 are equal but hash differently as JSON, and the budget is part of a run's identity.
        object.__setattr__(self, "amount", float(self.amount))

    @classmethod
    def parse(cls, text: str, epoch: int = 0) -> Budget:
        """Read `200k-images`, `2000-updates`, `3e15-flops` or `90-seconds`.

        `epoch`: how many training images there are, where that is known; `2.5-epochs` are then so many times as many
        images, to the nearest whole one.
        """
        match = re.fullmatch(r"\s*([+-]?[\d._]+(?:e[+-]?\d+)?)\s*((?:[kmgt](?![a-z]))?)[-\s]*([a-z]*)\s*", text.lower())
        if not match:
            raise UserError(f"budget {quoted(text)} is not an amount and a unit: write {EXAMPLES}")
        number, suffix, unit = match.groups()
        unit = unit if unit.endswith("s") or not unit else unit + "s"
        if unit not in (*UNITS, *(["epochs"] if epoch else [])):
            found = f"has the unit {quoted(match[3])}" if unit else "has no unit"
            raise UserError(f"budget {quoted(text)} {found}: write {EXAMPLES}")
        try:
            # In decimals, because 1.001 * 1000 is not 1001 in floats.
            amount = float(Decimal(number).scaleb(_SUFFIX[suffix]))
        except ArithmeticError:
            raise UserError(f"budget {quoted(text)}: {quoted(number)} is not a number: write {EXAMPLES}") from None
        in_epochs = unit == "epochs"
        if in_epochs:
            amount, unit = amount * epoch, "images"
        if not 0 < amount < math.inf:
            wrong = "too large" if amount > 0 else "not more than zero"
            raise UserError(f"budget {quoted(text)} is {wrong}: write {EXAMPLES}")
        if in_epochs:
            amount = max(1.0, float(round(amount)))
        if unit in ("images", "updates") and amount != int(amount):
            raise UserError(f"budget {quoted(text)} is not a whole number of {unit}: write {EXAMPLES}")
        return cls(amount, cast(Unit, unit))

    def __str__(self) -> str:
        """Write the budget so that equal budgets are written alike: `200k-images`."""
        amount, suffix = self.amount, ""
        if self.unit in ("images", "updates"):
            if amount % 1e6 == 0:
                amount, suffix = amount / 1e6, "M"
            elif amount % 1e3 == 0:
                amount, suffix = amount / 1e3, "k"
        exact = (text for digits in range(12, 18) if float(text := f"{amount:.{digits}g}") == amount)
        number = next(exact).replace("e+", "e")
        return f"{number}{suffix}-{self.unit}"

    def spent(self, meters: Meters) -> float:
        """Return how much of this currency the meters show."""
        if self.unit == "updates":
            return meters.updates_of_generator or 0
        return float(getattr(meters, self.unit))
