"""What each operation of a step asks of a device: values on the host, copies, kernels, what a replay would freeze."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ganbench.training.capture import SIZES

NO_KERNEL = frozenset({
    "detach", "lift_fresh", "alias", "_unsafe_view", "empty", "empty_like", "empty_strided", "new_empty", "unbind",
    "new_empty_strided", "_local_scalar_dense", "is_same_size", "_reshape_alias", "_has_compatible_shallow_copy_type",
    "device", "set_", "resize_", "sym_size", "sym_stride", "sym_numel", "is_pinned",
})  # fmt: skip
NOT_DETERMINISTIC = frozenset({
    "reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward", "put_", "histc", "median",
    "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "adaptive_max_pool2d_backward", "max_unpool2d",
    "avg_pool3d_backward", "fractional_max_pool2d_backward", "upsample_linear1d_backward", "nll_loss2d_forward",
    "upsample_bilinear2d_backward", "upsample_bicubic2d_backward", "upsample_trilinear3d_backward", "kthvalue",
    "grid_sampler_2d_backward", "_ctc_loss_backward",
})  # fmt: skip
"""From the documentation of `torch.use_deterministic_algorithms`: with `warn_only` these run all the same."""
WAIT, UPLOAD, NUMBER, LOOSE = "wait", "upload", "host number", "not deterministic"
"""Kinds of events: the host waits for the device; memory of the host is copied to it; a 0-d tensor of the host takes
part in an operation there, which goes with the launch; a kernel gives other bits each time.
"""


Events = Counter[tuple[str, str, str]]
"""How often, by kind, what and where."""


class Launch(NamedTuple):
    """One operation: what a replay would repeat. `numbers`: of the host; `of_variant`: not the harness's own."""

    name: str
    shapes: tuple[tuple[int, ...], ...]
    types: tuple[str, ...]
    numbers: tuple[float, ...]
    where: str
    of_variant: bool


class Recorder(TorchDispatchMode):
    """Write down what operations ask of a CUDA device. `events`: how often, by kind, what and where."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.read = 1.0  # what a number read on the host turns out to be: another one in each step
        self.clear()

    def clear(self) -> None:
        """Forget what was written down."""
        self.read += 1
        self.events: Events = Counter()
        self.launches: list[Launch] = []

    def _note(self, kind: str, what: str) -> None:
        self.events[kind, what, _site()[0]] += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, which computes nothing, and write down what it asks for."""
        kwargs = kwargs or {}
        name = func._schema.name.partition("::")[2]
        leaves = tree_leaves((args, kwargs))
        inputs = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        there = [tensor for tensor in inputs if tensor.device.type == "cuda"]
        if name == "_local_scalar_dense":
            if there:
                self._note(WAIT, "a value is read on the host")
            number = inputs[0]
            return True if number.dtype == torch.bool else self.read if number.is_floating_point() else int(self.read)
        if name in SIZES and there:
            self._note(WAIT, f"{name}: its result, or the size of it, depends on values")
            if name == "equal":
                return True
        # PyTorch cannot imagine fused optimizers whose rate is a tensor; they work in place and return nothing.
        without_shape = name.startswith("_fused_") and func._overloadname == "tensor_lr"
        output = None if without_shape and there else func(*args, **kwargs)
        outputs = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        self._crossing(name, func, args, inputs, outputs)
        if (not there and all(t.device.type != "cuda" for t in outputs)) or func.is_view or name in NO_KERNEL:
            return output
        if name in NOT_DETERMINISTIC:
            self._note(LOOSE, name)
        where, of_variant = _site()
        numbers = tuple(leaf for leaf in leaves if isinstance(leaf, int | float | bool))
        shapes = tuple(tuple(tensor.shape) for tensor in inputs)
        self.launches.append(Launch(name, shapes, tuple(str(t.dtype) for t in inputs), numbers, where, of_variant))
        return output

    def _crossing(self, name: str, func: Any, args: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """Write down what crosses the border between host and device."""
        if name in ("_to_copy", "copy_", "_copy_from"):
            source, target = args[1] if name == "copy_" else args[0], outputs[0]
            if source.device.type == "cuda" and target.device.type == "cpu":
                self._note(WAIT, "copied to the host")
            elif source.device.type == "cpu" and target.device.type == "cuda":
                self._note(UPLOAD, f"{source.numel() * source.element_size()} bytes copied to the device")
        elif any(t.device.type == "cuda" for t in outputs) and any(t.device.type == "cpu" for t in inputs):
            self._note(NUMBER, f"a 0-d tensor of the host in {name}")


def _site() -> tuple[str, bool]:
    """Return in which line of ganbench or a plugin an operation is asked for, and whether by a variant's own code."""
    frame: Any = sys._getframe(2)
    found, of_variant = "", False
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        harness = module.startswith(("ganbench.training.", "ganbench.seeds", "ganbench.testing."))
        own = not module.startswith(("torch.", "ganbench.testing.", "unittest.")) and module not in (
            "torch",
            "__main__",
        )
        if own and not found and not _is_library(frame.f_code.co_filename):
            found = f"{Path(frame.f_code.co_filename).name}, line {frame.f_lineno}"
            of_variant = not harness
        if frame.f_code.co_name == "_resume" and module == "ganbench.training.trainer":
            return found or "?", True
        frame = frame.f_back
    return found or "?", of_variant


def _is_library(path: str) -> bool:
    return "site-packages" in path or path.startswith("<") or f"{sys.prefix}/lib/python" in path


def of_kind(events: Events, kind: str) -> dict[str, int]:
    """Return how often what of a kind happened, with the place."""
    return {f"{what} ({where})": count for (of, what, where), count in events.items() if of == kind}


def differing(first: Sequence[Launch], second: Sequence[Launch]) -> list[str]:
    """Return where two steps of one phase differ, of the variant's own: what a replay of the first would freeze."""
    if [one.name for one in first] != [other.name for other in second]:
        counts = Counter((one.name, one.where) for one in second if one.of_variant)
        counts.subtract(Counter((one.name, one.where) for one in first if one.of_variant))
        return sorted(f"{count:+d} {name} ({where})" for (name, where), count in counts.items() if count)
    pairs = zip(first, second, strict=True)
    return sorted(
        {f"{other.name} ({other.where})" for one, other in pairs if other.of_variant and one[1:4] != other[1:4]}
    )
