"""What is of a whole batch is the same on ranks that have parts of it, with its first and second derivatives."""

import pytest
import torch

from ganbench import mean_over_ranks, own_part, whole_batch, whole_size
from ganbench.testing.taking_turns import Apart, together
from ganbench.toolbox.ranks import ALONE, among, current

STATISTICS = {
    "a function of a mean": lambda x: mean_over_ranks(x.tanh().mean(0)).exp().sum(),
    "a deviation": lambda x: whole_batch(x.tanh()).std(correction=0),
    "pairs of samples": lambda x: (whole_batch(x)[:, None] * whole_batch(x)[None]).sum(2).exp().mean(),
    "samples beside a mean": lambda x: (x - mean_over_ranks(x.square().mean())).square().mean(),
    "samples beside all": lambda x: own_part(torch.softmax(whole_batch(x), 0)).pow(3).mean(),
    "means of means": lambda x: mean_over_ranks(mean_over_ranks(x.square().mean()) * x.mean()),
}


def derivatives(statistic, w, x, *, slopes):
    """Return a loss of w·x, and its gradient by w; with `slopes` the loss also holds the samples' own slopes."""
    y = w * x
    loss = statistic(y)
    if slopes:
        (gradients,) = torch.autograd.grad(loss, y, create_graph=True)
        # The slope of the mean of all losses, at each sample: a part's mean counts for as much as there are parts.
        loss = loss + (gradients * len(y)).square().mean()
    return loss, torch.autograd.grad(loss, w)[0]


@pytest.mark.parametrize("slopes", [False, True], ids=["first", "second"])
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("statistic", STATISTICS.values(), ids=STATISTICS)
def test_gradients_averaged_over_ranks_are_those_of_the_whole_batch(statistic, size, slopes):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 3, dtype=torch.float64, generator=generator)
    w = torch.randn(3, dtype=torch.float64, generator=generator, requires_grad=True)
    expected = derivatives(statistic, w, x, slopes=slopes)
    parts = {}

    def of(rank):
        def run(group):
            with among(group):
                own = w.detach().clone().requires_grad_(True)
                parts[rank] = derivatives(statistic, own, x.chunk(size)[rank], slopes=slopes)

        return run

    together([of(rank) for rank in range(size)])
    loss, gradient = (torch.stack([part[k].detach() for part in parts.values()]).mean(0) for k in (0, 1))
    assert torch.allclose(loss, expected[0], rtol=1e-12)
    assert torch.allclose(gradient, expected[1], rtol=1e-10)


def test_a_plain_mean_of_samples_is_no_substitute():
    x = torch.arange(6.0)
    values = {}

    def of(rank):
        def run(group):
            with among(group):
                values[rank] = float(x.chunk(2)[rank].std(correction=0)), whole_size(3)

        return run

    together([of(rank) for rank in range(2)])
    assert values[0][0] < 0.6 * float(x.std(correction=0)) and values[0][1] == 6


def test_on_one_device_nothing_happens():
    x = torch.randn(4, 2)
    assert current() is ALONE
    assert all(function(x) is x for function in (mean_over_ranks, whole_batch, own_part)) and whole_size(4) == 4


def test_half_precision_is_summed_in_float32():
    found = {}

    def of(rank):
        def run(group):
            with among(group):
                found[rank] = mean_over_ranks(torch.full((2,), 257.0 - rank, dtype=torch.bfloat16) * (1 + 255 * rank))

        return run

    together([of(rank) for rank in range(2)])
    assert found[0].dtype == torch.bfloat16 and torch.equal(found[0], found[1])
    exact = (float(torch.tensor(257.0).bfloat16()) + float(torch.tensor(256.0).bfloat16() * 256)) / 2
    assert float(found[0][0]) == float(torch.tensor(exact).bfloat16())


def test_ranks_that_do_not_come_together_are_told():
    def calls_twice(group):
        with among(group):
            whole_batch(torch.ones(2))
            whole_batch(torch.ones(2))

    def calls_once(group):
        with among(group):
            whole_batch(torch.ones(2))

    for functions in ((calls_twice, calls_once), (calls_once, calls_twice)):
        with pytest.raises(Apart):
            together(functions)
    with pytest.raises(ZeroDivisionError):
        together([calls_once, lambda group: 1 / 0])
    assert current() is ALONE
