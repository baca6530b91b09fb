"""What is watched for in a step: reads on the host, state outside of buffers, differences between two runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ganbench.contract.variant import Variant

VALUES = "item tolist numpy cpu __bool__ __float__ __int__ __index__ __array__ is_nonzero equal allclose"
SIZES = "nonzero masked_select unique _unique2 unique_consecutive"
READS = frozenset(f"{VALUES} {SIZES}".split())
"""Functions that need a tensor's values on the host, or results whose size depends on them."""


def require(condition: bool, message: str) -> None:
    """Raise `AssertionError` with what to change, also where Python drops assertions."""
    if not condition:
        raise AssertionError(message)


class NoReading(TorchFunctionMode):
    """Raise inside the block where Python asks for a tensor's value, on any device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function unless the host would wait for its result."""
        name = getattr(func, "__name__", "")
        if name == "__getitem__" and isinstance(args[1], Tensor) and args[1].dtype == torch.bool:
            name = "indexing by a mask"
        waits = (name in READS or name == "indexing by a mask") and not _of_harness()
        mend = "keep values in tensors (torch.where, clamp) and take decisions from clock.step alone"
        require(not waits, f"step waits for the device in {name}: {mend}")
        return func(*args, **(kwargs or {}))


def _of_harness() -> bool:
    """Whether it is the trainer or an optimizer of PyTorch that asks: on the host, where that costs nothing."""
    module = sys._getframe(2).f_globals.get("__name__", "")
    return module.startswith(("ganbench.training.", "torch.optim"))


@contextmanager
def no_waiting(device: torch.device) -> Iterator[None]:
    """Raise inside the block where the host waits for the device; CUDA itself is asked as well."""
    with NoReading():
        if device.type != "cuda":
            yield
            return
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)


def parameters_of(variant: Variant) -> dict[str, Tensor]:
    """Return the trainable parameters by name."""
    return {name: p.detach() for name, p in variant.named_parameters() if p.requires_grad}


def difference(left: Any, right: Any) -> str:
    """Return the path of the first difference between two nested values, or nothing; NaN equals NaN."""
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        same = left.shape == right.shape and left.dtype == right.dtype
        return "" if same and bool(((left == right) | ((left != left) & (right != right))).all()) else "value"
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        pairs = [(key, left.get(key), right.get(key)) for key in {**left, **right}]
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple) and len(left) == len(right):
        pairs = list(zip(range(len(left)), left, right, strict=True))
    else:
        return "" if type(left) is type(right) and left == right else "value"
    for key, mine, yours in pairs:
        if apart := difference(mine, yours):
            return str(key) if apart == "value" else f"{key}.{apart}"
    return ""


def attributes(variant: Variant, known: set[int]) -> dict[str, Any]:
    """Return what the modules of a variant and its classes hold, beside what is `known` by its id to be saved."""
    found = {
        f"{path}.{name}".lstrip("."): remembered(value, known)
        for path, module in variant.named_modules()
        for name, value in vars(module).items()
    }
    ancestors = type(variant).__mro__
    for cls in ancestors[: ancestors.index(Variant)]:
        own = {name: value for name, value in vars(cls).items() if not name.startswith("_")}
        found |= {f"{cls.__name__}.{name}": remembered(value, known) for name, value in own.items()}
    return found


def remembered(value: Any, known: set[int]) -> Any:
    """Copy a value into lists, texts and tensors that can be compared later, leaving out what is `known` by its id."""
    if id(value) in known:
        return "known"
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, type | ModuleType | FunctionType | BuiltinFunctionType | MethodType | property | classmethod):
        return getattr(value, "__qualname__", "")
    known = known | {id(value)}
    if isinstance(value, Mapping):
        keys = [f"tensor {id(key)}" if isinstance(key, Tensor) else repr(key) for key in value]
        return dict(zip(keys, (remembered(item, known) for item in value.values()), strict=True))
    if isinstance(value, list | tuple | set | frozenset):
        return [remembered(item, known) for item in value]
    try:
        reduced = value.__reduce_ex__(4)
    except Exception:  # not every object can tell its state
        return repr(value)
    parts = reduced if isinstance(reduced, tuple) else (reduced,)
    state = [remembered(list(part) if isinstance(part, Iterator) else part, known) for part in parts]
    return [type(value).__name__, *state]
