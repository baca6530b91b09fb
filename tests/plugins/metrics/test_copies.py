"""Copies: distances against plain ones, who counts as a copy, and what is refused."""

import numpy as np
import pytest
import torch
from ganbench_plugins.datasets.digits import Digits
from ganbench_plugins.metrics import copies as metric_copies
from ganbench_plugins.metrics.copies import Config, copies, moved, nearest, vectors
from torch import Tensor

from ganbench import DataSpec, Features, Scene, UserError, Value

STILL = Config(mirror=False)


def noise(n: int, channels: int = 3, side: int = 8, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, side, side), generator=generator, dtype=torch.uint8)


IMAGES = noise(500, 1)


def plainly(samples: Tensor, others: Tensor, options: Config = STILL, *, same: bool = False) -> np.ndarray:
    """Distances in numpy, one pair after the other; images of no more than 16 px are compared as they are."""
    reach, found = options.shift, np.full((len(samples), len(others)), np.inf)
    x, y = (images.numpy().astype(np.float64) / 255 for images in (samples, others))
    padded = np.pad(x, [(0, 0), (0, 0), (reach, reach), (reach, reach)], mode="edge")
    for top in range(2 * reach + 1):
        for left in range(2 * reach + 1):
            form = padded[:, :, top : top + x.shape[2], left : left + x.shape[3]]
            for each in [form, form[..., ::-1]] if options.mirror else [form]:
                found = np.minimum(found, np.sqrt(((each[:, None] - y[None]) ** 2).sum((2, 3, 4))))
    if same:
        np.fill_diagonal(found, np.inf)
    return found.min(1)


@pytest.mark.parametrize("chunk", [1, 7, 16, 1000])
@pytest.mark.parametrize("piece", [1, 10, 16, 300])
def test_tiles_and_pieces_do_not_matter(chunk: int, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_copies, "CHUNK", chunk)
    samples, others = noise(37, seed=1), noise(53, seed=2)
    others[52], others[11] = samples[36], samples[0] // 2 + others[11] // 2
    found = nearest(samples, others.split(piece), STILL)
    assert found[36] == 0
    np.testing.assert_allclose(found.numpy(), plainly(samples, others), rtol=1e-4)
    found = nearest(others, others.split(piece), STILL, same=True)
    np.testing.assert_allclose(found.numpy(), plainly(others, others, same=True), rtol=1e-4)


@pytest.mark.parametrize("options", [Config(), Config(False, 1), Config(True, 2)])
def test_the_nearest_is_looked_for_mirrored_and_shifted(options: Config) -> None:
    samples, others = noise(20, seed=1), noise(30, seed=2)
    found = nearest(samples, others.split(8), options)
    np.testing.assert_allclose(found.numpy(), plainly(samples, others, options), rtol=1e-4)
    found = nearest(samples, samples.split(8), options, same=True)
    np.testing.assert_allclose(found.numpy(), plainly(samples, samples, options, same=True), rtol=1e-4)
    assert len(list(moved(samples, options))) == (1 + options.mirror) * (2 * options.shift + 1) ** 2
    assert torch.equal(next(moved(samples, options)).to(torch.uint8), samples)


def test_large_images_are_averaged_over_areas() -> None:
    small = noise(3, 1, side=16)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(vectors(large), vectors(small))
    means = large.float().unflatten(2, (16, 2)).unflatten(4, (16, 2)).mean((3, 5)) / 255
    torch.testing.assert_close(vectors(large), means.flatten(1))


def test_two_equal_images_are_each_others_neighbours_in_any_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_copies, "CHUNK", 4)
    images = noise(20)
    images[17] = images[2]
    found = nearest(images, images.split(6), STILL, same=True)
    assert (found == 0).nonzero().flatten().tolist() == [2, 17]


@pytest.mark.parametrize("side", [8, 40])
@pytest.mark.parametrize("darker", [1, 16])
def test_only_equal_images_are_at_no_distance(side: int, darker: int) -> None:
    images = noise(50, side=side) // darker
    assert nearest(images, [noise(50, seed=1, side=side), images], STILL).eq(0).all()
    other = (images.int() + 4).clamp(max=255).to(torch.uint8)
    found = nearest(images, [other], STILL)
    np.testing.assert_allclose(found.numpy(), (vectors(images) - vectors(other)).norm(dim=1), rtol=0.02)


def value_of(
    fake: Tensor, real: Tensor = IMAGES[:100], training: Tensor = IMAGES[100:], options: Config | None = None
) -> Value:
    def served():  # type: ignore[no-untyped-def]
        return (Features(piece) for piece in training.split(64))

    scene = Scene(DataSpec(tuple(fake.shape[1:])), Features(fake), Features(real), {}, training=served, options=options)
    return copies(scene)["copies"]


def test_copies_are_counted() -> None:
    assert value_of(IMAGES[100:150]).value == 1
    noisy = (IMAGES[100:150].int() + 1).clamp(max=255).to(torch.uint8)
    assert value_of(noisy).value == 1, "near copies are copies"
    assert value_of(IMAGES[:50]).value == 0, "copies of the reference are none of the training images"
    half = value_of(torch.cat([IMAGES[100:150], noise(50, 1, seed=9)]))
    assert half.value == 0.5 and half.spread == pytest.approx(0.05)


def test_copies_of_any_training_image_of_digits_are_seen_and_a_collapse_onto_one() -> None:
    data = Digits().load(None, 8)  # type: ignore[arg-type]
    train, test = data.train.images, data.test.images
    drawn = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:300]]
    assert value_of(drawn, test, train).value == 1
    for row in (0, 700, 1437):
        assert value_of(train[row : row + 1].expand(50, -1, -1, -1), test, train).value == 1
    held_out, rest = train[::4], torch.cat([train[k::4] for k in (1, 2, 3)])
    assert value_of(held_out, test, rest).value < 0.04


def test_mirrored_and_shifted_copies_are_copies_if_asked_for() -> None:
    mirrored, training = IMAGES[100:150].flip(3), IMAGES[100:]
    assert value_of(mirrored).value == 1
    assert value_of(mirrored, options=STILL).value < 0.1
    shifted = torch.nn.functional.pad(training[:50].float(), (1, 1, 1, 1), mode="replicate")[..., 2:, :-2]
    assert value_of(shifted.to(torch.uint8)).value < 0.1
    found = value_of(shifted.to(torch.uint8), options=Config(shift=1))
    assert found.value > 0.9 and found.protocol["moved"] == "mirrored too, shifted by 1 px at most"


def test_a_blur_is_no_copy_although_it_is_close_to_everything() -> None:
    blur, training = torch.full((30, 1, 8, 8), 127, dtype=torch.uint8), IMAGES[100:]
    assert nearest(blur, [training], STILL).max() < nearest(IMAGES[:100], [training], STILL).min()
    assert value_of(torch.cat([training[:10], blur])).value == 0.25


@pytest.mark.parametrize("n", [2, 10, 50, 98, 99, 150, 199, 350])
def test_of_unseen_images_as_many_count_as_the_protocol_says(n: int) -> None:
    """Samples of the reference's kind: each of n + 1 ratios is as likely to be the least, so the k-th is exceeded by
    the rest. Means over a hundred references of points in a space of few dimensions, where ratios vary widely."""
    rank = max(1, (n + 1) // 100)
    generator, shares = torch.Generator().manual_seed(n), []
    for _ in range(100):
        levels = torch.randint(0, 256, (2 * n + 300, 1, 2, 2), generator=generator, dtype=torch.uint8)
        found = value_of(levels[:n], levels[n : 2 * n], levels[2 * n :], STILL)
        shares.append(found.value)
        assert f"{1 - rank / (n + 1):.1%} of real images" in found.protocol["copy"]
    mean, error = np.mean(shares), np.std(shares) / 10
    assert mean == pytest.approx(rank / (n + 1), abs=4 * error + 0.25 / n)


def test_the_protocol_does_not_tell_what_was_served() -> None:
    """A control is served fewer images than a variant, under the same protocol."""
    assert value_of(IMAGES[:9]).protocol_hash == value_of(IMAGES[:9], training=IMAGES[200:]).protocol_hash
    assert value_of(IMAGES[:9]).protocol_hash != value_of(IMAGES[:9], options=STILL).protocol_hash


def test_a_test_split_of_training_images_is_refused() -> None:
    real = torch.cat([IMAGES[100:102], noise(97, 1, seed=3)])
    with pytest.raises(UserError, match="2 of 99 reference images are training images as well"):
        value_of(IMAGES[100:150], real)
    real = torch.cat([IMAGES[100:101], noise(198, 1, seed=3)])  # one of so many does not move the bound to zero
    assert value_of(IMAGES[101:150], real).value == 1


def test_what_cannot_be_compared_is_refused() -> None:
    scene = Scene(DataSpec((1, 8, 8)), Features(IMAGES), Features(IMAGES), {})
    with pytest.raises(UserError, match="not at hand"):
        copies(scene)
    with pytest.raises(UserError, match="at least 2 reference images, not 1"):
        value_of(IMAGES, IMAGES[:1])


def test_what_the_metric_says_of_itself() -> None:
    (metric,) = metric_copies.ganbench_metrics()
    assert metric.config == Config(mirror=True, shift=0)
    assert (metric.higher_is_better, metric.worst, metric.last_mark_only) == (False, 1, True)
