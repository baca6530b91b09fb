"""What tells two ranks from one device draws and computes as it should."""

from functools import partial

import pytest
import torch

from ganbench.testing.two_ranks import Wide, _by_chunk, _in_one


@pytest.mark.parametrize("rows", [partial(_by_chunk, 4), _in_one], ids=["by chunk", "in one"])
@pytest.mark.parametrize(
    "draw",
    [
        lambda n: torch.randn(n, 3),
        lambda n: torch.rand_like(torch.empty(n, 2, 2)),
        lambda n: torch.rand(3, n)[:, :, None].transpose(0, 1),
        lambda n: torch.randint(9, (n,)),
        lambda n: torch.empty(n, 5).normal_(1, 2),
        lambda n: torch.bernoulli(torch.full((n, 4), 0.3)),
        lambda n: torch.nn.functional.dropout(torch.ones(n, 4)),
    ],
    ids=["randn", "rand_like", "columns", "randint", "normal_", "bernoulli", "dropout"],
)
def test_one_device_draws_what_two_ranks_draw(draw, rows):
    parts = [torch.Generator().manual_seed(seed).get_state() for seed in (5, 6)]
    expected = []
    for state in parts:
        torch.set_rng_state(state)
        expected.append((draw(2), draw(4)))
    with Wide(rows, 4) as drawing:
        drawing.begin([5, 6])
        found = draw(4), draw(8)
    for number, n in enumerate((4, 8)):
        for own, part in zip(rows(n), (expected[0][number], expected[1][number]), strict=True):
            assert torch.equal(found[number][own], part)


def test_arithmetic_is_in_float64_also_where_float32_is_asked_for():
    with Wide():
        x = torch.ones(2, dtype=torch.float64, requires_grad=True)
        y = (x.float() / 3).to(torch.float32).sum()
    assert y.dtype == torch.float64 and torch.autograd.grad(y, x)[0].dtype == torch.float64
