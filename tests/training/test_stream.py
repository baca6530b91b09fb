"""The stream of batches: batch t is a function of the seed and t."""

import pytest
import torch

from ganbench.contract.data import ImageSet, to_uint8
from ganbench.errors import UserError
from ganbench.toolbox.pairs import Pairs
from ganbench.training.stream import BLOCK, Stream

CPU = torch.device("cpu")


def numbered(n: int) -> ImageSet:
    """Image k has the value k everywhere, and the label k."""
    images = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 1, 2, 2).contiguous()
    return ImageSet(images, torch.arange(n))


def served(stream: Stream, steps: range) -> list[int]:
    return [int(k) for step in steps for k in stream[step].cond]


def test_an_epoch_serves_every_image_once_even_where_batches_cross_epochs():
    order = served(Stream(numbered(10), 4, 0, CPU), range(10))  # 40 images are four epochs
    for epoch in range(4):
        assert sorted(order[10 * epoch : 10 * epoch + 10]) == list(range(10))
    assert order[:10] != order[10:20]


def test_a_batch_may_hold_more_than_it_starts_with_of_an_epoch():
    order = served(Stream(numbered(3), 3, 1, CPU), range(4))
    assert [sorted(order[k : k + 3]) for k in (0, 3, 6, 9)] == [[0, 1, 2]] * 4


def test_which_rows_were_served_is_known_without_serving_them():
    stream = Stream(numbered(10), 4, 3, CPU)
    expected = sorted(served(stream, range(2)))
    fresh = Stream(numbered(10), 4, 3, CPU)
    assert fresh.served(8).tolist() == expected
    assert fresh.served(10).tolist() == fresh.served(10**6).tolist() == list(range(10))
    assert served(fresh, range(5)) == served(Stream(numbered(10), 4, 3, CPU), range(5))


def test_batch_t_depends_on_seed_and_t_alone():
    forward, backward = Stream(numbered(10), 4, 5, CPU), Stream(numbered(10), 4, 5, CPU)
    ahead = [forward[t].real for t in range(6)]
    torch.manual_seed(1)
    behind = [backward[t].real for t in reversed(range(6))]
    assert all(torch.equal(a, b) for a, b in zip(ahead, reversed(behind), strict=True))
    assert served(forward, range(3)) != served(Stream(numbered(10), 4, 6, CPU), range(3))


def test_the_order_of_images_does_not_depend_on_the_batch_size():
    assert served(Stream(numbered(10), 2, 5, CPU), range(10)) == served(Stream(numbered(10), 5, 5, CPU), range(4))


def test_labels_go_with_their_images():
    for step in range(5):
        real, labels = Stream(numbered(10), 4, 3, CPU)[step]
        assert torch.equal(to_uint8(real)[:, 0, 0, 0].long(), labels)


def test_writing_into_a_batch_reaches_nobody():
    points = ImageSet(torch.randn(8, 2))
    for data in (numbered(8), points):
        before, stream = data.images.clone(), Stream(data, 8, 0, CPU)
        first = stream[0].real.clone()
        stream[0].real.zero_()
        assert torch.equal(data.images, before)
        assert torch.equal(stream[0].real, first)


def test_drawing_batches_leaves_the_random_state_alone():
    state = torch.get_rng_state()
    Stream(numbered(8), 4, 0, CPU)[3]
    assert torch.equal(torch.get_rng_state(), state)


def test_too_few_images_are_named():
    with pytest.raises(UserError, match="needs 64 real images, but the training split has 10"):
        Stream(numbered(10), 64, 0, CPU)


class Squares:
    """A source of many more samples than could be permuted: number k has the label k and the remainder as image."""

    nbytes = 0

    def __init__(self, device: torch.device = CPU) -> None:
        self.device = device

    def __len__(self) -> int:
        return 10**15

    def __getitem__(self, rows: torch.Tensor) -> ImageSet:
        assert rows.device.type == self.device.type
        return ImageSet((rows % 251).to(torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2), rows)

    def to(self, device: torch.device) -> "Squares":
        return Squares(device)


def fresh(batch: int, seed: int) -> Stream:
    return Stream(numbered(100)._replace(source=Squares()), batch, seed, CPU)


def test_a_source_serves_other_samples_at_every_step():
    order = served(fresh(64, 0), range(200))
    assert len(set(order)) == len(order) and max(order) > 10**14  # two of 12,800 in 10^15 are alike once in 10^7 times
    real, labels = fresh(64, 0)[7]
    assert torch.equal(to_uint8(real)[:, 0, 0, 0].long(), labels % 251)


def test_batch_t_of_a_source_depends_on_seed_and_t_alone():
    last = BLOCK // 64 + 2  # beyond the first block of numbers
    forward, backward = fresh(64, 3), fresh(64, 3)
    ahead = [forward[t].cond for t in range(last)]
    torch.manual_seed(1)
    behind = [backward[t].cond for t in reversed(range(last))]
    assert all(torch.equal(a, b) for a, b in zip(ahead, reversed(behind), strict=True))
    assert not torch.equal(ahead[0], fresh(64, 4)[0].cond)


def test_the_order_of_a_source_does_not_depend_on_the_batch_size():
    assert served(fresh(16, 5), range(40)) == served(fresh(64, 5), range(10))
    across = range(BLOCK // 100 - 1, BLOCK // 100 + 2)  # 100 does not divide a block
    assert served(fresh(100, 5), across) == served(fresh(50, 5), range(2 * across.start, 2 * across.stop))


def test_conditions_are_drawn_from_all_samples_and_depend_on_the_seed_alone():
    stream, other = Stream(numbered(200), 4, 0, CPU), Stream(numbered(200), 50, 7, CPU)
    found = stream.conditions(20_000, 5)
    assert torch.equal(found, other.conditions(20_000, 5)) and not torch.equal(found, stream.conditions(20_000, 6))
    counts = found.bincount(minlength=200)
    assert len(counts) == 200 and counts.min() > 50 and counts.max() < 150
    assert Stream(ImageSet(torch.randn(8, 2)), 8, 0, CPU).conditions(4, 0) is None


def test_conditions_of_a_translation_are_source_images_as_they_are_served():
    targets, sources = (torch.full((n, 1, 2, 2), 255 * k, dtype=torch.uint8) for n, k in ((3, 0), (5, 1)))
    stream = Stream(ImageSet(targets, source=Pairs(targets, sources)), 2, 0, CPU)
    assert torch.equal(stream.conditions(7, 0), torch.ones(7, 1, 2, 2))


def parts(data: ImageSet, batch: int, ranks: int) -> list[Stream]:
    return [Stream(data, batch, 3, CPU, rank=rank, ranks=ranks) for rank in range(ranks)]


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("data", [numbered(10), numbered(100)._replace(source=Squares())], ids=["images", "a source"])
def test_ranks_are_served_the_parts_of_the_batches_of_one_device(data, ranks):
    whole, shared = Stream(data, 6, 3, CPU), parts(data, 6, ranks)
    for step in (0, 1, 7, 7, 2):  # across epochs, and again
        batches = [stream[step] for stream in shared]
        assert torch.equal(torch.cat([batch.real for batch in batches]), whole[step].real)
        assert torch.equal(torch.cat([batch.cond for batch in batches]), whole[step].cond)
    assert shared[1].served(6).tolist() == whole.served(6).tolist() if data.source is None else True
    assert torch.equal(shared[1].conditions(9, 5), whole.conditions(9, 5))
