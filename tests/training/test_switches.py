"""What a plugin switches for the whole process is put back after the call, each thing by itself and all at once."""

import gc
import sys
import warnings

import numpy as np
import pytest
import torch

from ganbench.training import switches

SWITCHES = {
    "default type": lambda: torch.set_default_dtype(torch.float64),
    "default device": lambda: torch.set_default_device("meta"),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "gradients": lambda: torch.set_grad_enabled(False),
    "determinism": lambda: torch.use_deterministic_algorithms(not torch.are_deterministic_algorithms_enabled()),
    "determinism that only warns": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    "autocast": lambda: torch.set_autocast_enabled("cpu", True),
    "autocast on a GPU": lambda: torch.set_autocast_enabled("cuda", True),
    "kernels chosen by time": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "products of less precision": lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
    "convolutions of less precision": lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
    "products of less precision by name": lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
    "precision by name": lambda: torch.set_float32_matmul_precision("medium"),
    "errors of NumPy": lambda: np.seterr(all="raise"),
    "warnings": lambda: warnings.simplefilter("once"),
    "no filters of warnings": warnings.resetwarnings,
    "recursion": lambda: sys.setrecursionlimit(sys.getrecursionlimit() - 100),
    "collection of garbage": gc.disable,
    "no places to import from": sys.path.clear,
}


@pytest.fixture(autouse=True)
def put_back():
    found = switches.read()
    with warnings.catch_warnings():
        yield
    switches.put_back(found)


@pytest.mark.parametrize("what", SWITCHES)
def test_one_switch_is_put_back(what):
    found = switches.read()
    with switches.kept():
        SWITCHES[what]()
        assert switches.read() != found, "it is noticed"
    assert switches.read() == found


@pytest.mark.parametrize("what", [what for what in SWITCHES if what not in ("default device", "autocast")])
def test_on_a_device_it_is_noticed_where_it_matters(what):
    found = switches.read("cuda")
    SWITCHES[what]()
    assert switches.read("cuda") != found
    assert switches.put_back(found, "cuda") == found == switches.read("cuda")


def test_all_of_them_are_put_back_and_an_error_passes():
    found = switches.read()
    with pytest.raises(ZeroDivisionError), switches.kept():
        for switch in SWITCHES.values():
            switch()
        raise ZeroDivisionError
    assert switches.read() == found
    assert torch.zeros(1).device.type == "cpu" and torch.zeros(1).dtype == torch.float32


def test_what_a_plugin_needs_later_stays():
    limit = sys.getrecursionlimit()
    with switches.kept():
        sys.path.insert(0, "/of/the/plugin")
        sys.setrecursionlimit(limit + 500)
    assert sys.path[-1] == "/of/the/plugin" and sys.path[0] != "/of/the/plugin"
    assert sys.getrecursionlimit() == limit + 500
    sys.path.remove("/of/the/plugin")
    sys.setrecursionlimit(limit)


def test_a_filter_that_was_put_back_counts():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with switches.kept():
            warnings.simplefilter("error")
        warnings.warn("nobody minds", stacklevel=1)


def arithmetic():
    """How products are switched, by all names that PyTorch has; each can refuse to tell."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    named = matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision
    return *named, matmul.allow_tf32, cudnn.allow_tf32, torch.get_float32_matmul_precision()


def old_way():
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True


def by_name():
    torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision = "tf32"
    torch.backends.cudnn.rnn.fp32_precision = "tf32"


WAYS = [old_way, by_name, lambda: torch.set_float32_matmul_precision("medium")]


@pytest.fixture(params=["as PyTorch is", "repeatable"])
def at_first(request):
    if request.param == "repeatable":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    before = arithmetic()
    yield before
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, True
    torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("device", ["", "cuda"])
@pytest.mark.parametrize("way", WAYS)
def test_after_tf32_was_switched_on_all_names_tell_what_they_told_before(way, device, at_first):
    found = switches.read(device)
    way()
    assert switches.read(device) != found
    assert switches.put_back(found, device) == found
    assert arithmetic() == at_first


def test_a_processor_s_products_are_put_back_too(at_first):
    found = switches.read("cpu")
    torch.set_float32_matmul_precision("medium")
    assert switches.read("cpu") != found and switches.put_back(found, "cpu") == found
    assert torch.get_float32_matmul_precision() == at_first[-1]


@pytest.mark.parametrize(
    ("precision", "device"), [("tf32", "cuda"), ("tf32", "cpu"), ("fp32", "cuda"), ("bf16", "cuda")]
)
def test_products_are_of_tf32_where_that_is_asked_for_and_as_before_afterwards(precision, device, at_first):
    switched = ("tf32", "tf32", "tf32", True, True, "high")
    with switches.products_of(precision, device):
        assert arithmetic() == (switched if (precision, device) == ("tf32", "cuda") else at_first)
    assert arithmetic() == at_first
    with pytest.raises(KeyError), switches.products_of(precision, device):
        raise KeyError
    assert arithmetic() == at_first


@pytest.mark.gpu
def test_on_a_gpu_products_are_coarser_inside_and_true_float32_outside(at_first):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    a, b = torch.randn(256, 256, device="cuda"), torch.randn(256, 256, device="cuda")
    x, kernel = torch.randn(8, 32, 16, 16, device="cuda"), torch.randn(32, 32, 3, 3, device="cuda")

    def errors():
        products = [(a @ b, a.double() @ b.double())]
        convolve = torch.nn.functional.conv2d
        products += [(convolve(x, kernel), convolve(x.double(), kernel.double()))]
        return [float((found.double() - right).norm() / right.norm()) for found, right in products]

    before = errors()
    with switches.products_of("tf32", "cuda"):
        inside = errors()
    assert max(before) < 2e-6 and max(errors()) < 2e-6
    assert all(1e-5 < error < 1e-2 for error in inside)
