"""Sums of latents on generators that are known: pixels are the first two numbers of a latent."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import dblquad
from scipy.stats import halfnorm

from ganbench import UserError, Variant
from ganbench.contract.data import ImageSet, Splits
from ganbench.contract.types import DataSpec
from ganbench.scoring.latents import Latents, Unfit
from ganbench.scoring.sums import (
    ALONE,
    NOISE,
    SUM,
    arithmetic_shares,
    attribute_sum,
    attributes_of,
    examples,
    means,
    sums_of,
)
from ganbench.toolbox.judges import Classifier, Judge


class Parts:
    z_dim, data = 5, DataSpec((1, 8, 8))


class Linear(Variant):
    """Image whose first two pixels are a tenth of the first two numbers of the latent; six deviations are lost."""

    name = "linear"

    def build(self, parts):
        self.G = torch.nn.Linear(1, 1)

    def optimizers(self):
        return {}

    def step(self, batch, clock):
        yield from ()

    def sample(self, n, cond=None):
        images = torch.zeros(n, 1, 8, 8)
        images[:, 0, 0, :2] = self.noise(n)[:, :2] / 6
        return images.clamp(-1, 1)


class Sign:
    """Says of a pixel whether it is brighter than the middle."""

    def __init__(self, column):
        self.column = column

    def __call__(self, images):
        bright = (images[:, 0, 0, self.column].float() > 127.5).float()
        return bright[:, None], torch.stack([1 - bright, bright], 1)


class Both:
    """Classes 0 to 3 by the signs of both."""

    def __call__(self, images):
        bright = (images[:, 0, 0, :2].float() > 127.5).long()
        return bright.float(), torch.nn.functional.one_hot(2 * bright[:, 0] + bright[:, 1], 4).float()


ATTRIBUTES = Judge(
    [Classifier(["no X", "X"], Sign(0), 1, 1), Classifier(["no Y", "Y"], Sign(1), 1, 1)], attributes=True
)
CLASSES = Judge([Classifier(list("0123"), Both(), 1, 1)])
DATA = Splits(ImageSet(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)), ImageSet(torch.zeros(2, 1, 8, 8)), "")


def shares(exemplars, judge=ATTRIBUTES, texts=("X/-Y",), cls=Linear, samples=4096, trials=2000):
    latents = Latents(cls(Parts()).eval(), DATA, 3)
    return arithmetic_shares(latents, judge, sums_of(judge, texts), exemplars, samples, trials)


def test_shares_of_single_samples_are_those_of_three_independent_numbers():
    (row,), images = shares([1])
    # Along X: |n| + |n| - |n|, along Y: -|n| + |n| + |n|, both to be above 0.
    inner = dblquad(lambda b, a: halfnorm.pdf(a) * halfnorm.pdf(b) * halfnorm.cdf(a + b), 0, 8, 0, 8)[0]
    assert row[SUM] == pytest.approx(inner**2, abs=0.03)
    assert row["moved"] == pytest.approx(inner, abs=0.03) and row["kept"] == pytest.approx(inner, abs=0.03)
    # r - s is normal with variance 2, and c lies |n| below 0 along X, above along Y: a cone of the plane.
    cone = math.atan(math.sqrt(2)) / math.pi
    assert row[NOISE] == pytest.approx(cone * (1 - cone), abs=0.03)
    assert row[ALONE] == 0 and row["random"] == pytest.approx(0.25, abs=0.03)
    assert row["wanted"] == "X, Y" and row["exemplars"] == 1
    assert {name: row[name] / 4096 for name in "abc"} == pytest.approx(dict.fromkeys("abc", 0.25), abs=0.03)
    assert images["X, from no Y to Y", 1].shape == (3 + 2000, 1, 8, 8)


def test_means_of_three_come_out_as_drawn_anew_with_numpy_and_large_means_always():
    rows, _ = shares([3, 100])
    random = np.random.default_rng(0)
    h = np.abs(random.standard_normal((2, 3, 3, 400_000))).mean(2)
    expected = np.mean((h[0, 0] + h[0, 1] > h[0, 2]) & (h[1, 1] + h[1, 2] > h[1, 0]))
    assert rows[0][SUM] == pytest.approx(expected, abs=0.03)
    assert rows[1][SUM] > 0.995 and rows[1][ALONE] == 0


def test_an_attribute_is_taken_from_those_with_another_or_from_those_without():
    one, other = attribute_sum("X/Y"), attribute_sum(" X / -Y ")
    assert (one.a, one.b, one.c) == ({"X": True, "Y": True}, {"X": False, "Y": True}, {"X": False, "Y": False})
    assert one.wanted == {"X": True, "Y": False} and other.wanted == {"X": True, "Y": True}
    for wrong in ("X", "X/", "/Y", "X/-X", ""):
        with pytest.raises(UserError, match="is no X/Y"):
            attribute_sum(wrong)


def test_each_class_is_moved_to_from_the_next():
    rows, _ = shares([1, 200], CLASSES, trials=300)
    assert [row["wanted"] for row in rows[::2]] == list("0123")
    assert all(row[SUM] > 0.99 and row[ALONE] == 0 and "kept" not in row for row in rows[1::2])
    assert all(row["random"] == pytest.approx(0.25, abs=0.03) for row in rows)


def test_what_too_few_samples_fit_has_no_share():
    (row,), images = shares([30], samples=64, trials=8)
    assert SUM not in row and NOISE not in row and row["a"] < 30 and images == {}


def test_latents_that_do_not_tell_the_image_have_no_sums():
    class Noisy(Linear):
        def sample(self, n, cond=None):
            return (super().sample(n) + torch.randn(n, 1, 8, 8)).clamp(-1, 1)

    class ByClass(Linear):
        task = "label"

    for cls, reason in ((Noisy, "not made of latents alone"), (ByClass, "makes images by class")):
        with pytest.raises(Unfit, match=reason):
            shares([1], cls=cls, samples=64)


def test_means_are_of_different_latents_and_those_of_three_make_sums_as_long_as_a_latent():
    z = torch.randn(500, 100, generator=torch.Generator().manual_seed(0))
    rows = torch.arange(0, 500, 5)
    assert torch.equal(means(z, rows[:3], 3, 7, 0), z[rows[:3]].mean(0).expand(7, -1).contiguous()) or torch.allclose(
        means(z, rows[:3], 3, 7, 0), z[rows[:3]].mean(0).expand(7, -1)
    )
    a, b, c = (means(z, torch.arange(500), 3, 4000, seed) for seed in range(3))
    assert float((a - b + c).var()) == pytest.approx(float(z.var()), rel=0.02)


def test_examples_are_of_so_many_exemplars_or_of_the_most_that_a_sum_has():
    shown = {
        (text, k): torch.full((3 + 4, 1, 2, 2), k) for text, k in (("x", 1), ("y", 1), ("x", 3), ("x", 30), ("z", 30))
    }
    found = examples(shown, 3, 2)
    assert {text: [(len(part), int(part.max())) for part in parts] for text, parts in found.items()} == {
        "x": [(1, 3), (1, 3), (1, 3), (2, 3)],
        "y": [(1, 1), (1, 1), (1, 1), (2, 1)],
        "z": [(1, 30), (1, 30), (1, 30), (2, 30)],
    }
    assert [len(part) for part in examples(shown, 3, 9)["x"]] == [1, 1, 1, 4], "as many sums as there are"


def test_attributes_of_sums_are_named_once():
    assert attributes_of(["A/-B", "C/B"]) == ["A", "B", "C"]
    with pytest.raises(UserError, match="'A' is no X/Y"):
        attributes_of(["B/C", "A"])
