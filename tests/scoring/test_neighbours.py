"""Nearest images: as a search over all pairs finds them, whatever the pieces, and copies first."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from ganbench.scoring import neighbours
from ganbench.scoring.neighbours import with_nearest


def images(count, seed, shape=(3, 6, 5)):
    return torch.randint(0, 256, (count, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def expected(samples, pool, k):
    apart = cdist(samples.flatten(1).double().numpy(), pool.flatten(1).double().numpy())
    return pool[torch.from_numpy(np.argsort(apart, 1)[:, :k])]


@pytest.mark.parametrize("piece", [1, 700, 10**6])  # bytes: an image a time, two, all at once
def test_it_finds_what_a_search_over_all_pairs_finds(piece, monkeypatch):
    monkeypatch.setattr(neighbours, "PIECE_BYTES", piece)
    samples, pool = images(7, 0), images(60, 1)
    found = with_nearest(samples, pool, torch.arange(60), 4)
    assert found.dtype == torch.uint8 and torch.equal(found[:, 0], samples)
    assert torch.equal(found[:, 1:], expected(samples, pool, 4))


def test_only_rows_that_were_served_count():
    samples, pool = images(5, 0), images(40, 1)
    rows = torch.arange(3, 40, 5)
    assert torch.equal(with_nearest(samples, pool, rows, 3)[:, 1:], expected(samples, pool[rows], 3))


def test_a_copy_is_its_own_nearest_image():
    pool = images(50, 1)
    found = with_nearest(pool[[4, 17]], pool, torch.arange(50), 2)
    assert torch.equal(found[:, 1], pool[[4, 17]]) and not torch.equal(found[:, 2], pool[[4, 17]])


def test_fewer_images_than_asked_for_all_stand_there():
    assert with_nearest(images(2, 0), images(3, 1), torch.arange(3), 4).shape == (2, 4, 3, 6, 5)


def test_memory_is_that_of_a_piece(monkeypatch):
    seen = []
    monkeypatch.setattr(neighbours, "PIECE_BYTES", 4 * 90 * 10)
    real = neighbours.to_float
    monkeypatch.setattr(neighbours, "to_float", lambda part: seen.append(len(part)) or real(part))
    with_nearest(images(2, 0), images(95, 1), torch.arange(95), 4)
    assert seen == [2, *[10] * 9, 5]
