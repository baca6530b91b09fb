"""Loose kernels are heard of by name, past whatever else is done with warnings, and nothing else is touched."""

import warnings

import pytest
import torch

from ganbench.training.devices import make_repeatable
from ganbench.training.loose import LooseKernels, named_in

pytestmark = pytest.mark.usefixtures("switches")

TOLD = {
    "grid_sampler_2d_backward_cuda does not have a deterministic implementation, but you set 'torch.use_determin": (
        "grid_sampler_2d_backward_cuda"
    ),
    "Memory Efficient attention defaults to a non-deterministic algorithm. To explicitly enable determinism call": (
        "Memory Efficient attention"
    ),
    "Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)` or `at::Context::"
    "setDeterministicAlgorithms(true)`, but this operation is not deterministic because it uses CuBLAS": "CuBLAS",
    "this deterministic warning is of something else": None,
    "": None,
}


def loose():
    torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))


@pytest.mark.parametrize(("text", "name"), TOLD.items())
def test_names_are_read_from_what_pytorch_says(text, name):
    assert named_in(text) == name


def test_it_is_heard_where_all_warnings_are_dropped_and_others_stay_dropped():
    make_repeatable(torch.device("cpu"), 1)
    kernels = LooseKernels()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with kernels.heard():
            loose()
            warnings.warn("of something else", stacklevel=1)
            assert kernels.fresh() == ["put_"]
            loose()
            assert kernels.fresh() == [] and kernels.names == ["put_"]
        loose()
    assert kernels.names == ["put_"]


def test_other_warnings_go_where_they_went_before():
    make_repeatable(torch.device("cpu"), 1)
    kernels, shown = LooseKernels(), []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: shown.append(str(message))
        mine = warnings.showwarning
        with kernels.heard():
            for _ in range(3):
                kernels.listen()  # again and again
            loose()
            warnings.warn("of something else", stacklevel=1)
        assert warnings.showwarning is mine
    assert shown == ["of something else"] and kernels.names == ["put_"]


def test_it_listens_again_after_somebody_else_has_taken_over():
    make_repeatable(torch.device("cpu"), 1)
    kernels = LooseKernels()
    with warnings.catch_warnings(), kernels.heard():
        warnings.simplefilter("ignore")
        warnings.showwarning = lambda *_, **__: None
        loose()
        assert kernels.names == []
        kernels.listen()
        loose()
        assert kernels.names == ["put_"]


def test_what_is_known_is_kept_and_not_fresh():
    kernels = LooseKernels(["a", "b"])
    assert kernels.fresh() == [] and kernels.names == ["a", "b"]
    kernels.forget()
    assert kernels.names == []
