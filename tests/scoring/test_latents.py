"""Walks through latents: both ends are the variant's own samples, and nothing of the variant moves."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.mlp import MLP, Config
from ganbench_plugins.variants.controls import Memorizer
from torch import nn

from ganbench import to_uint8
from ganbench.runs.options import resolve
from ganbench.runs.registry import discover, load_file
from ganbench.scoring.latents import SAMPLED, Latents, Unfit, arc, arithmetic, interpolation, line
from ganbench.scoring.samples import NotFinite
from ganbench.training.bench import Bench

tiny = load_file(Path(__file__).parents[1] / "tiny_plugin.py")
DATASET = tiny.Tiny()
SMALL = MLP()
SMALL.config = Config(width=16, depth=2, z_dim=6)
BENCH = Bench(DATASET, DATASET.load(Path(), 8), SMALL)
REGISTRY = discover()


def built(cls=tiny.Plain, **options):
    return BENCH.build(cls, resolve(cls, cls.name, options), 0).requires_grad_(False).eval()


def latents(cls=tiny.Plain, seed=0, **options):
    return Latents(built(cls, **options), BENCH.data, seed)


class Uniform(tiny.Plain):
    name = "uniform"

    def noise(self, n):
        z = torch.rand(n, self.z_dim) * 2 - 1
        z[:, :2] = nn.functional.one_hot(torch.randint(2, (n,)), 2)
        return z


# The way


def test_an_arc_is_a_rotation_by_even_angles_in_the_plane_of_its_ends():
    first, last = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0)).split(1)
    first, last = (z[0] / z[0].norm(dim=1, keepdim=True) for z in (first, last))
    for row in range(5):
        a, b = (z[row].double().numpy() for z in (first, last))
        angle = math.acos(a @ b)
        side = (b - (a @ b) * a) / np.linalg.norm(b - (a @ b) * a)  # orthogonal to a, in the plane of both
        for share in (0.0, 0.3, 0.5, 1.0):
            expected = math.cos(share * angle) * a + math.sin(share * angle) * side
            assert arc(first, last, share)[row].numpy() == pytest.approx(expected, abs=1e-6)


def test_latents_of_unequal_length_keep_their_ends_and_those_on_a_line_go_straight():
    first, last = (
        torch.tensor([[3.0, 0.0], [1.0, 1.0], [2.0, 0.0]]),
        torch.tensor([[0.0, 5.0], [2.0, 2.0], [-2.0, 0.0]]),
    )
    assert torch.allclose(arc(first, last, 0.0), first) and torch.allclose(arc(first, last, 1.0), last, atol=1e-6)
    half = arc(first, last, 0.5)
    assert torch.allclose(half, torch.tensor([[3 / 2**0.5, 5 / 2**0.5], [1.5, 1.5], [0.0, 0.0]]), atol=1e-6)
    assert torch.equal(line(first, last, 0.25), torch.lerp(first, last, 0.25))


# Interpolation


def test_the_ends_of_each_row_are_the_images_of_drawn_latents():
    found = latents()
    rows = interpolation(found, rows=3, columns=5)
    assert rows.shape == (3, 5, 1, 8, 8) and rows.dtype == torch.uint8
    ends = found.draw(6, "interpolation")
    own = to_uint8(built().G(ends))
    assert torch.equal(rows[:, 0], own[:3]) and torch.equal(rows[:, -1], own[3:])
    between = to_uint8(built().G(arc(ends[:3], ends[3:], 0.25)))
    assert (rows[:, 1].int() - between.int()).abs().max() <= 1


def test_a_cube_has_straight_lines_and_a_category_stays():
    found = latents(Uniform)
    rows = interpolation(found, rows=4, columns=3)
    first, last = found.draw(8, "interpolation").split(4)
    middle = torch.cat([first[:, :2], (first + last)[:, 2:] / 2], 1)
    assert not torch.equal(first[:, :2], last[:, :2])
    assert torch.equal(rows[:, 1], to_uint8(built(Uniform).G(middle)))


def test_labels_stay_along_a_row():
    asked = []

    class Labelled(tiny.Plain):
        name, task = "labelled", "label"

        def sample(self, n, cond=None):
            asked.append(cond.tolist())
            return super().sample(n)

    interpolation(latents(Labelled), rows=6, columns=3)
    assert asked == [[0, 1, 2, 3, 0, 1]] * 3


def test_what_else_a_sample_draws_at_random_is_the_same_along_a_row():
    class Restless(tiny.Plain):
        name = "restless"

        def sample(self, n, cond=None):
            return (super().sample(n) * 0 + torch.randn(n, 1, 1, 1)).clamp(-1, 1)

    rows = interpolation(latents(Restless), rows=4, columns=3)
    assert torch.equal(rows[:, 0], rows[:, 1]) and len(rows[:, 0].flatten(1).unique(dim=0)) == 4


@pytest.mark.parametrize("name", sorted(REGISTRY.entries["variant"]))
def test_every_variant_has_an_interpolation_or_a_reason(name, digits_bench):
    cls = REGISTRY.get("variant", name).item
    if cls.task == "translate":
        pytest.skip("it is of pairs")
    variant = digits_bench.build(cls, resolve(cls, name, {}), 0).requires_grad_(False).eval()
    if cls.family == "control":
        with pytest.raises(Unfit, match="of no latents"):
            Latents(variant, digits_bench.data, 0)
        return
    rows = interpolation(Latents(variant, digits_bench.data, 0), rows=3, columns=3)
    assert rows.shape == (3, 3, 1, 8, 8)
    assert len(rows.flatten(2).flatten(0, 1).unique(dim=0)) > 1


@pytest.fixture(scope="module")
def digits_bench(data_root):
    from ganbench.runs.opening import open_bench, open_dataset

    return open_bench(open_dataset("digits", REGISTRY, {}), "dcgan", REGISTRY, {"backbone": {}}, root=data_root, size=0)


def test_it_leaves_the_variant_as_it_was_and_equal_seeds_give_equal_rows():
    variant = built()
    before = {name: value.clone() for name, value in variant.state_dict().items()}
    one = interpolation(Latents(variant, BENCH.data, 3))
    torch.rand(5)
    assert torch.equal(one, interpolation(Latents(variant, BENCH.data, 3)))
    assert not torch.equal(one, interpolation(Latents(variant, BENCH.data, 4)))
    assert "noise" not in vars(variant)
    assert all(torch.equal(value, before[name]) for name, value in variant.state_dict().items())


@pytest.mark.parametrize("times", [0, 2])
def test_a_variant_that_makes_a_sample_of_no_or_of_two_latents_is_told(times):
    class Other(tiny.Plain):
        name = "other"

        def sample(self, n, cond=None):
            z = sum((self.noise(n) for _ in range(times)), torch.zeros(n, self.z_dim))
            return self.G(z)

    with pytest.raises(Unfit, match="other does not make each sample of one latent"):
        interpolation(latents(Other))


def test_an_image_that_is_not_finite_is_no_picture():
    class Broken(tiny.Plain):
        name = "broken"

        def sample(self, n, cond=None):
            return super().sample(n) * torch.nan

    with pytest.raises(NotFinite):
        interpolation(latents(Broken))


def test_points_controls_and_translators_have_none():
    with pytest.raises(Unfit, match="of no latents"):
        latents(Memorizer)


# Arithmetic


class Spelling(tiny.Plain):
    """Writes its latents into the first row of the image, so that each sample shows what it was made of."""

    name = "spelling"

    def sample(self, n, cond=None):
        z = self.noise(n)
        images = torch.full((n, 1, 8, 8), -1.0)
        images[:, 0, 0, : self.z_dim] = z / 8
        return images.clamp(-1, 1)


def by_sign(images):
    return (images[:, 0, 0, 0] > 127).long()


def test_means_of_classes_are_taken_away_and_added():
    found = latents(Spelling)
    rows = arithmetic(found, by_sign)
    assert rows.shape == (2, 8, 1, 8, 8)
    z = found.draw(SAMPLED, "arithmetic").numpy()
    label = np.round((z[:, 0] / 8 + 1) * 127.5) > 127
    for row, (one, other) in enumerate([(False, True), (True, False)]):
        a, b, three = z[label == one].mean(0), z[label == other].mean(0), z[label == other][:3]
        expected = np.stack([a, b, *(each for c in three for each in (c, a - b + c))])
        shown = rows[row, :, 0, 0, :6].numpy() / 127.5 - 1
        assert shown == pytest.approx(expected / 8, abs=0.5 / 127.5 + 1e-6)


def test_each_class_has_a_row_with_the_next_one_up_to_so_many():
    def thirds(images):
        return torch.arange(len(images)) % 5

    assert len(arithmetic(latents(Spelling), thirds)) == 5
    assert len(arithmetic(latents(Spelling), thirds, rows=3)) == 3


class Labelled(tiny.Plain):
    name, task = "labelled", "label"


class Loose(tiny.Plain):
    name = "loose"

    def sample(self, n, cond=None):
        return (super().sample(n) + torch.randn(n, 1, 1, 1)).clamp(-1, 1)


@pytest.mark.parametrize(
    ("cls", "classify", "why"),
    [
        (Labelled, by_sign, "labelled makes images by class"),
        (Loose, by_sign, "the images of loose are not made of latents alone"),
        (Spelling, lambda images: None, "no metric of the run has a classifier"),
        (Spelling, lambda images: torch.zeros(len(images), dtype=torch.int64), "1 class has 8 of 512"),
        (Spelling, lambda images: torch.arange(len(images)), "0 classes have 8 of 512"),
    ],
)
def test_what_has_no_arithmetic_is_told(cls, classify, why):
    with pytest.raises(Unfit, match=why):
        arithmetic(latents(cls), classify)
