"""Walks on generators and data that are known."""

import pytest
import torch

from ganbench import Variant
from ganbench.contract.data import ImageSet, Splits
from ganbench.contract.types import DataSpec
from ganbench.scoring.latents import Latents
from ganbench.scoring.walks import BLENDED, LOOKED_UP, MADE, nearest, stations, uneven, walks
from ganbench.toolbox.judges import Classifier, Judge


class Parts:
    z_dim, data = 5, DataSpec((1, 8, 8))


class Wide(Variant):
    """All five numbers of a latent are pixels: an arc of latents is one of images, its steps equal."""

    name = "wide"

    def build(self, parts):
        self.G = torch.nn.Linear(1, 1)

    def optimizers(self):
        return {}

    def step(self, batch, clock):
        yield from ()

    def sample(self, n, cond=None):
        images = torch.zeros(n, 1, 8, 8)
        images[:, 0, 0, :5] = self.noise(n) / 6
        return images.clamp(-1, 1)

    def noise(self, n):
        z = torch.randn(n, 5)
        return 2 * z / z.norm(dim=1, keepdim=True)  # of one length, so that an arc is a circle's


def data():
    train = torch.full((2, 1, 8, 8), 128, dtype=torch.uint8)
    train[0, 0, 0, :5], train[1, 0, 0, :5] = 0, 255
    test = torch.randint(0, 256, (6, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Splits(ImageSet(train), ImageSet(test), "")


def test_a_circle_of_images_is_even_blends_are_lines_and_a_memory_jumps_once():
    found = walks(Latents(Wide(Parts()).eval(), data(), 0), Judge([]), data(), paths=40, points=9)
    (made, images), (looked_up, rows), (blended, blends) = (found[of] for of in (MADE, LOOKED_UP, BLENDED))
    assert made["uneven in pixels"] == pytest.approx(1, abs=0.15)  # of levels that are rounded
    assert blended["uneven in pixels"] == pytest.approx(1, abs=0.02)
    steps = rows.float().flatten(2).diff(dim=1).norm(dim=2)
    assert set((steps > 0).sum(1).tolist()) <= {0, 1}  # one hyperplane parts the two
    assert looked_up["uneven in pixels"] == pytest.approx(8)
    assert looked_up["near at ends"] == pytest.approx(0, abs=1e-3) and blended["near at ends"] == pytest.approx(
        1, rel=1e-3
    )
    assert all(of["farther"] == of["near in middle"] - of["near at ends"] for of in (made, looked_up, blended))
    middle = (blends[:, 0].float() + blends[:, -1].float()) / 2
    assert (blends[:, 4].float() - middle).abs().max() <= 0.5
    assert images.shape == (40, 9, 1, 8, 8)
    assert made["sure in middle"] != made["sure in middle"]  # nobody is sure where there is no classifier


def test_a_classifier_says_how_sure_it_is():
    def embed(images):
        return torch.zeros(len(images), 2), torch.tensor([[0.1, 0.2, 0.7]]).expand(len(images), 3)

    judge = Judge([Classifier(list("abc"), embed, 1, 1), Classifier(list("def"), embed, 1, 1)])
    found = walks(Latents(Wide(Parts()).eval(), data(), 0), judge, data(), paths=5, points=3)
    assert found[MADE][0]["sure at ends"] == pytest.approx(0.7) == found[MADE][0]["sure in middle"]
    assert found[MADE][0]["near in middle"] != found[MADE][0]["near in middle"]  # all features are equal: 0 of 0


def test_unevenness_by_hand():
    even, jump = torch.arange(5.0)[None, :, None], torch.tensor([0.0, 0, 0, 3, 3])[None, :, None]
    assert uneven(even) == 1 and uneven(jump) == 4
    assert uneven(torch.cat([even, jump])) == pytest.approx((1 + 3) / 2 / ((4 + 3) / 8))
    assert uneven(torch.zeros(1, 4, 2)) != uneven(torch.zeros(1, 4, 2))  # nothing moves: no number


def test_the_nearest_is_found_in_pieces_as_at_once():
    points, known = torch.randn(2, 600, 3, generator=torch.Generator().manual_seed(1))
    distance, rows = nearest(points, known)
    every = (points[:, None] - known).norm(dim=2)
    assert torch.equal(rows, every.argmin(1)) and torch.allclose(distance, every.min(1).values, atol=1e-3)


def test_stations_are_spread_evenly_from_end_to_end():
    images = torch.arange(3 * 17).view(3, 17, 1, 1, 1)
    assert stations(images, 2, most=5).flatten(1).tolist() == [[0, 4, 8, 12, 16], [17, 21, 25, 29, 33]]
    assert stations(images, 1).shape[:2] == (1, 9) and stations(images[:, :3], 1).flatten().tolist() == [0, 1, 2]
