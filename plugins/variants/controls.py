"""Controls: what real images score in a generator's place, and what copies of the training images do."""

from __future__ import annotations

from torch import Tensor

from ganbench import Control, Variant, hookimpl


class Real(Control):
    """Real images that nobody was shown: what each metric can give at best with so few samples.

    Objective: none; it is not trained
    Departures: None known.
    Budget: none
    Published: no number; it is what other numbers are read against
    """

    name = "real"
    summary = "control: training images held back from the other control, in the generator's place"

    def rows(self, seen: Tensor, unseen: Tensor) -> Tensor:
        """Choose those that stand for images nobody has seen."""
        return unseen


class Memorizer(Control):
    """Training images learnt by heart: the fraud that a metric must be able to show.

    Objective: none; it is not trained
    Departures: None known.
    Budget: none
    Published: no number; it is what other numbers are read against
    """

    name = "memorizer"
    summary = "control: copies of training images, which `copies` shows and distances do not"

    def rows(self, seen: Tensor, unseen: Tensor) -> Tensor:
        """Choose those that stand for the training data."""
        return seen


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [Real, Memorizer]
