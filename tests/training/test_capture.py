"""What is captured: nothing that needs the host, on a stream of its own, and nothing is left switched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from ganbench.errors import UserError
from ganbench.training.capture import CudaRecorder, Refusing, recorder_for, require_graphs
from ganbench.training.tracing import Uncompilable

CUDA = torch.device("cuda:1")
X = torch.arange(6.0).view(2, 3)


@pytest.mark.parametrize(
    ("does", "told"),
    [
        (lambda: X.sum().item(), "reads values"),
        (lambda: 1 if X.sum() > 3 else 2, "reads values"),
        (lambda: float(X.mean()), "reads values"),
        (lambda: X.nonzero(), "waits for nonzero"),
        (lambda: X[X > 2], "waits for index"),
        (lambda: X.masked_select(X > 2), "waits for masked_select"),
        (lambda: X.unique(), "waits for _unique2"),
        (lambda: torch.equal(X, X), "waits for equal"),
        (lambda: X.clone().index_put_((X > 2,), torch.ones(())), "waits for index_put_"),
        (lambda: X.to("meta"), "copies between host and device"),
        (lambda: torch.empty(2, 3, device="meta").copy_(X), "copies between host and device"),
    ],
)
def test_what_needs_the_host_is_refused(does: Callable[[], Any], told: str) -> None:
    with Refusing(), pytest.raises(Uncompilable, match=told):
        does()


def test_what_needs_no_host_is_not() -> None:
    with Refusing():
        found = X.to(torch.float64).to("cpu").clone().copy_(X)[torch.tensor([1, 0])]
        found = torch.where(found > 2, found, X.new_zeros(()))
    assert found.tolist() == [[3, 4, 5], [0, 0, 0]]


def test_graphs_are_for_cuda_alone() -> None:
    assert recorder_for(torch.device("cpu")) is None
    assert isinstance(recorder_for(CUDA), CudaRecorder)
    require_graphs(CUDA)
    with pytest.raises(UserError, match=r"^--compile graph is for a CUDA device, but the device is cpu: name one"):
        require_graphs(torch.device("cpu"))


class Cuda:
    """What a recorder asks of PyTorch's CUDA, a line for each. `lost`: the end of a failing capture fails too."""

    def __init__(self, patch: pytest.MonkeyPatch, *, lost: bool = False) -> None:
        self.lines: list[str] = []
        self.current, self.lost = "the stream of steps", lost
        patch.setattr(torch.cuda, "current_stream", lambda device: self.current)
        patch.setattr(torch.cuda, "Stream", lambda device: f"a stream of {device}")
        for name in ("CUDAGraph", "device", "stream", "graph"):
            patch.setattr(torch.cuda, name, getattr(self, name))
        patch.setattr(torch.cuda, "graph_pool_handle", lambda: "a pool")
        patch.setattr(torch.cuda, "current_device", lambda: 1)
        patch.setattr(torch._C, "_cuda_endAllocateToPool", self.end_of_pool)
        zeros = torch.zeros
        patch.setattr(torch, "zeros", lambda *size, device: zeros(*size))

    def CUDAGraph(self) -> Any:
        return SimpleNamespace(replay=lambda: self.lines.append(f"replay on {self.current}"))

    def end_of_pool(self, device: int, pool: str) -> None:
        self.lines.append(f"nothing more into {pool} of {device}")
        if not self.lost:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        assert device == CUDA
        yield

    @contextmanager
    def stream(self, stream: str) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def graph(self, graph: Any, pool: Any = None, stream: str = "", capture_error_mode: str = "") -> Iterator[None]:
        self.lines.append(f"capture on {stream} with {pool}, {capture_error_mode}")
        before, self.current = self.current, stream
        try:
            yield
        except Exception:
            if self.lost:  # as PyTorch's, which then stays on its own stream
                raise RuntimeError("operation failed due to a previous error during capture") from None
            self.current = before
            raise
        self.current = before


def test_a_step_is_captured_on_a_stream_of_its_own_and_graphs_share_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, values = Cuda(monkeypatch), list[Tensor]()
    recorder = CudaRecorder(CUDA)
    first = recorder(lambda: values.append(X + 1))
    recorder(lambda: values.append(X + 2))
    first()
    assert cuda.lines == [
        "capture on a stream of cuda:1 with a pool, thread_local",
        "capture on a stream of cuda:1 with a pool, thread_local",
        "replay on the stream of steps",
    ]
    assert len(values) == 2


@pytest.mark.parametrize("lost", [False, True])
def test_a_capture_that_fails_says_why_and_leaves_the_stream_of_steps(
    lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = Cuda(monkeypatch, lost=lost)
    recorder = CudaRecorder(CUDA)
    with pytest.raises(Uncompilable, match="reads values"):
        recorder(lambda: print(X.sum().item()))
    assert cuda.current == "the stream of steps"
    assert cuda.lines == [
        "capture on a stream of cuda:1 with a pool, thread_local",
        "nothing more into a pool of 1",
        "capture on a stream of cuda:1 with None, thread_local",  # of nothing, so that the generator is left whole
    ]
    recorder(lambda: None)
    assert len(cuda.lines) == 4
