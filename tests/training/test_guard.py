"""The checksum that tells of a weight which changed in a roundabout way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ganbench.training.guard import checksum

LAID_OUT = {
    "as ever": lambda tensor: tensor,
    "channels last": lambda tensor: tensor.to(memory_format=torch.channels_last),
    "transposed": lambda tensor: tensor.transpose(0, 1).contiguous().transpose(0, 1),
}


def bytes_of(tensor: Tensor) -> Tensor:
    """A view of what a tensor holds, byte by byte, in the order of memory."""
    plain = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return torch.as_strided(plain, (plain.numel(),), (1,)).view(torch.uint8)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((), torch.float32),
        ((1,), torch.float64),
        ((7,), torch.bool),
        ((9,), torch.uint8),
        ((5, 7), torch.bfloat16),
        ((2, 3), torch.complex64),
        ((3, 5, 3, 3), torch.float32),
        ((2, 4, 2, 2), torch.int64),
    ],
)
@pytest.mark.parametrize("layout", LAID_OUT)
def test_any_bit_of_any_tensor_changes_its_checksum(shape, dtype, layout):
    if (layout == "channels last" and len(shape) != 4) or (layout == "transposed" and len(shape) < 2):
        pytest.skip("no such layout")
    torch.manual_seed(0)
    tensor = LAID_OUT[layout](torch.randint(0, 2 if dtype == torch.bool else 9, shape).to(dtype))
    before = checksum([tensor])
    assert before.dtype == torch.int64 and torch.equal(checksum([tensor.clone()]), before)
    held = bytes_of(tensor)
    for place in range(len(held)):
        for bit in (1,) if dtype == torch.bool else (1, 128):
            held[place] ^= bit
            assert not torch.equal(checksum([tensor]), before)
            held[place] ^= bit
    assert torch.equal(checksum([tensor]), before)


def test_nothing_is_added_up_for_tensors_that_hold_nothing():
    assert checksum([torch.empty(0), torch.empty(3, 0)]).tolist() == [] and len(checksum([torch.ones(2)] * 3)) == 3
