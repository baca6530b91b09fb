"""A CUDA device that is not there: PyTorch believes in it, of shapes, types and places, and computes nothing.

Autograd asks the CUDA runtime a few questions of C (how many devices, which streams). A library of ten functions,
compiled and preloaded, answers them; all else that Python asks is answered here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ganbench.errors import UserError, brief

STUB = """
typedef int E;
E cudaGetDeviceCount(int *n) { *n = 1; return 0; }
E cudaGetDevice(int *d) { *d = 0; return 0; }
E cudaSetDevice(int d) { (void)d; return 0; }
E cudaDeviceGetStreamPriorityRange(int *a, int *b) { *a = 0; *b = 0; return 0; }
E cudaStreamIsCapturing(void *s, int *status) { (void)s; *status = 0; return 0; }
E cudaGetDeviceProperties(void *p, int d) { (void)d; ((int *)p)[90] = 9; ((int *)p)[91] = 0; return 0; }
E cudaGetDeviceProperties_v2(void *p, int d) { return cudaGetDeviceProperties(p, d); }
E cudaGetLastError(void) { return 0; }
E cudaPeekAtLastError(void) { return 0; }
E cuDevicePrimaryCtxGetState(int d, unsigned *f, int *active) { (void)d; *f = 0; *active = 0; return 0; }
"""
"""What the runtime would say of one device of compute capability 9.0."""
LIBRARIES = ("libganbench-no-cuda.so", "libcuda.so.1")
"""The library to preload, and the driver's name, under which the runtime looks for the same."""
FREE_BYTES = 60 * 10**9


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a process in which a device can be pretended; its library is compiled into a folder.

    Raises `UserError` where that cannot be: without a build of PyTorch for CUDA, or without a C compiler.
    """
    import torch

    if sys.platform != "linux" or torch.version.cuda is None:
        raise UserError(
            f"--fake-cuda needs a build of PyTorch for CUDA on Linux, and no GPU; here is torch {torch.__version__}"
        )
    _compile(folder)
    libraries = os.environ.get("LD_LIBRARY_PATH", "")
    return {
        **os.environ,
        "LD_PRELOAD": str(folder / LIBRARIES[0]),
        "LD_LIBRARY_PATH": f"{folder}:{libraries}" if libraries else str(folder),
        "OMP_NUM_THREADS": "1",
    }


def _compile(folder: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise UserError("--fake-cuda needs a C compiler (cc, gcc or clang), and none is on the path")
    for name in LIBRARIES:
        command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-x", "c", "-", "-o", str(folder / name)]
        done = subprocess.run(command, input=STUB, text=True, capture_output=True, check=False)
        if done.returncode:
            raise UserError(f"--fake-cuda: {compiler} cannot compile its library: {brief(done.stderr, 300)}")


@contextmanager
def pretended(free: int = FREE_BYTES) -> Iterator[None]:
    """Have PyTorch believe in one CUDA device inside the block; `free`: bytes of its memory that nobody uses.

    Tensors made in the block have shape, type and place, and no content.
    """
    import torch
    from torch import Tensor, nn
    from torch._subclasses import fake_tensor
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
    from torch.utils import _foreach_utils

    cuda: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "_lazy_init": lambda: None,
        "is_initialized": lambda: True,
        "is_bf16_supported": lambda *_, **__: True,
        "mem_get_info": lambda *_: (free, free),
        "reset_peak_memory_stats": lambda *_: None,
        "synchronize": lambda *_: None,
        "max_memory_allocated": lambda *_: 0,
        "memory_allocated": lambda *_: 0,
        "get_device_name": lambda *_: "no device",
        "default_generators": (torch.Generator(),),
    }
    supported = [*_foreach_utils._foreach_supported_types, FakeTensor]
    optimizer = sys.modules["torch.optim.optimizer"]
    with (
        patch.multiple(torch.cuda, **cuda),
        patch.object(fake_tensor, "init_gpu_context", lambda device: None),
        patch.object(FakeTensorMode, "avoid_device_init", property(lambda self: True)),  # nothing is to be allocated
        # Optimizers and norms take the fused kernels that they take for plain CUDA tensors.
        patch.object(_foreach_utils, "_foreach_supported_types", supported),
        patch.object(optimizer, "_foreach_supported_types", supported),
        patch.object(nn.Module, "to", _moved),
        patch.object(FakeTensor, "__deepcopy__", _copied, create=True),
        # It draws again until values fit, and there are none.
        patch.object(nn.init, "trunc_normal_", lambda tensor, *_, **__: tensor),
        patch.object(Tensor, "tolist", lambda self: [1.0] * self.numel()),
        FakeTensorMode(allow_non_fake_inputs=True),
        torch.autograd.set_multithreading_enabled(False),
    ):
        yield


def _moved(module: Any, device: Any = None, *_: Any, **__: Any) -> Any:
    """Do what `Module.to` does, which cannot swap parameters without content."""
    from torch import nn

    seen: dict[int, Any] = {}

    def put(tensor: Any) -> Any:
        if id(tensor) not in seen:
            new = tensor.detach().to(device)
            seen[id(tensor)] = nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new
        return seen[id(tensor)]

    if device is None:  # a format of memory, or a type: there is nothing to lay out
        return module
    for part in module.modules():
        for table in (part._parameters, part._buffers):
            for name, tensor in table.items():
                if tensor is not None:
                    table[name] = put(tensor)
    return module


def _copied(tensor: Any, memo: dict[int, Any]) -> Any:
    """Do what `deepcopy` does, which would ask for the memory of a tensor without any."""
    from torch import nn

    if id(tensor) not in memo:
        new = tensor.detach().clone()
        memo[id(tensor)] = nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new
    return memo[id(tensor)]
