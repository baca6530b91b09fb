"""The nearest of other images, found tile by tile, against all distances at once."""

import pytest
import torch
from ganbench_plugins.metrics import copies
from ganbench_plugins.metrics.copies import nearest, vectors
from torch import Tensor


def noise(n: int, channels: int = 3, side: int = 8, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, side, side), generator=generator, dtype=torch.uint8)


def at_once(samples: Tensor, others: Tensor, *, same: bool = False) -> Tensor:
    distances = torch.cdist(vectors(samples).double(), vectors(others).double())
    if same:
        distances.fill_diagonal_(torch.inf)
    return distances.min(1).values


@pytest.mark.parametrize("chunk", [1, 7, 16, 1000])
@pytest.mark.parametrize("piece", [1, 10, 16, 300])
def test_tiles_and_pieces_do_not_matter(chunk: int, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "CHUNK", chunk)
    samples, others = noise(37, seed=1), noise(53, seed=2)
    others[52], others[11] = samples[36], samples[0] // 2 + others[11] // 2
    found, count = nearest(samples, others.split(piece))
    assert count == 53 and found[36] < 1e-2
    torch.testing.assert_close(found[:36].double(), at_once(samples, others)[:36], rtol=1e-4, atol=0)
    found, count = nearest(others, others.split(piece), same=True)
    assert count == 53 and found.min() > 0.1
    torch.testing.assert_close(found.double(), at_once(others, others, same=True), rtol=1e-4, atol=0)


def test_two_equal_images_are_each_others_neighbours_in_any_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "CHUNK", 4)
    images = noise(20)
    images[17] = images[2]
    found, _ = nearest(images, images.split(6), same=True)
    assert (found < 1e-2).nonzero().flatten().tolist() == [2, 17]
