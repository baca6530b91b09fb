"""Modes over training and films of points, of samples that are known."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ganbench_plugins.datasets.points import Mixture

from ganbench import UserError, modes_film, modes_over
from ganbench.contract.data import ImageSet, Splits
from ganbench.contract.types import Value
from ganbench.results.record import Mark
from ganbench.training.budget import Meters

PAIR = Mixture([(1, 0), (-1, 0)], 0.01)
POINTS = Splits(ImageSet(PAIR.draw(50, 0)), ImageSet(PAIR.draw(50, 1)), "0" * 64, modes=PAIR)


class Player(torch.nn.Module):
    """Three of four samples lie at a place, the others at (9, 9)."""

    name, task, device = "player", "generate", torch.device("cpu")

    def __init__(self, x):
        super().__init__()
        self.x = x

    def sample(self, n, cond=None):
        return torch.tensor([[self.x, 0.0]] * 3 + [[9.0, 9.0]]).repeat(n, 1)[:n]


def run(data=POINTS, shares=(0.5, 1.0)) -> Any:
    value = Value(2.0, reference=1.9)
    record = SimpleNamespace(spec=SimpleNamespace(seed=3), curve=[Mark(0.5, Meters(), {"modes": value})])
    return SimpleNamespace(
        record=record, data=data, shares=shares, at=lambda share: Player(-1.0), fresh=lambda: Player(1.0)
    )


def test_each_share_has_what_its_mark_counted_and_where_most_samples_lie():
    first, middle, last = modes_over(run(), ["modes"], 100)
    assert (first["share"], first["main_mode"], first["main_share"], first["modes"]) == (0, 0, 1.0, None)
    assert (middle["modes"], middle["modes_of_real"], middle["modes_there"]) == (2.0, 1.9, 2)
    assert (middle["main_mode"], middle["main_share"]) == (1, 0.75)
    assert (last["share"], last["modes"], last["modes_of_real"]) == (1.0, None, None)


def test_data_that_are_no_points_of_known_modes_are_refused():
    for data in (
        Splits(ImageSet(torch.zeros(4, 2)), ImageSet(torch.zeros(4, 2)), "0" * 64),
        Splits(ImageSet(torch.zeros(4, 1, 8, 8)), ImageSet(torch.zeros(4, 1, 8, 8)), "0" * 64, modes=PAIR),
    ):
        with pytest.raises(UserError, match="its data are no points in the plane whose modes are known"):
            modes_over(run(data), ["modes"])


def test_a_film_shows_every_sample_or_says_what_is_beyond_or_not_kept():
    made, other = run(), run(shares=(1.0,))
    counted = [{"variant": name, **row, "seed": 3} for name, of in (("a", made), ("b", other)) for row in
               modes_over(of, ["modes"], 8)]  # fmt: skip
    figure, caption = modes_film({"a": made, "b": other}, [*counted, {**counted[1], "seed": 4, "modes": 7.0}], 8)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["25% outside", "2 modes, 25% outside", "25% outside", "25% outside", "not kept", "25% outside"]
    real, fake = figure.axes[1].collections
    assert len(real.get_offsets()) == 50
    np.testing.assert_array_equal(fake.get_offsets(), Player(-1.0).sample(8))
    assert len(figure.axes[4].collections) == 1 and "Samples (blue)" in caption
    assert [axes.get_xlabel() for axes in figure.axes[3:]] == ["0%", "50%", "100%"]
