"""Devices: what can be asked for, what is answered, and arithmetic that repeats itself."""

import os
from contextlib import nullcontext

import pytest
import torch

from ganbench.errors import UserError
from ganbench.training.devices import cores, default_jobs, describe, make_repeatable, require_tf32, resolve_device

CPU = torch.device("cpu")


def test_the_cpu_is_always_there():
    assert resolve_device("cpu") == CPU


@pytest.mark.parametrize("count", [0, 1])
def test_auto_takes_a_gpu_where_there_is_one(count, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    assert resolve_device("auto") == torch.device(["cpu", "cuda:0"][count])


@pytest.mark.parametrize(
    ("text", "count", "found"),
    [("cuda", 0, "no CUDA devices"), ("cuda:1", 1, "1 CUDA device"), ("cuda:7", 2, "2 CUDA devices")],
)
def test_a_gpu_that_is_not_there_is_an_error_that_counts_them(text, count, found, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(UserError) as caught:
        resolve_device(text)
    assert str(caught.value) == f"--device {text}: this machine has {found}"


def test_a_gpu_is_named_by_its_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda") == torch.device("cuda:0")
    assert resolve_device("cuda:1") == torch.device("cuda:1")


def test_an_apple_gpu_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match="no Apple GPU"):
        resolve_device("mps")


@pytest.mark.parametrize("text", ["gpu", "cuda:-1", "", "meta", "cuda:x", "CPU", "cuda:0:1"])
def test_anything_else_is_an_error_that_says_what_to_write(text):
    with pytest.raises(UserError) as caught:
        resolve_device(text)
    assert str(caught.value) == f"--device {text}: write auto, cpu, cuda, cuda:1 or mps"


def test_cores_are_those_that_the_process_may_use():
    assert 1 <= cores() <= (os.cpu_count() or 1)
    if hasattr(os, "sched_setaffinity"):
        mine = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, {min(mine)})
            assert cores() == 1
        finally:
            os.sched_setaffinity(0, mine)


def test_repeatable_arithmetic_fixes_threads_and_kernels(switches):
    make_repeatable(CPU, 2)
    assert torch.get_num_threads() == 2
    assert torch.are_deterministic_algorithms_enabled() and torch.is_deterministic_algorithms_warn_only_enabled()
    make_repeatable(CPU, 1)
    assert torch.get_num_threads() == 1


def test_on_a_gpu_products_and_convolutions_are_not_of_tf32(switches):
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    kinds = [matmul, cudnn.conv, cudnn.rnn]
    before = [kind.fp32_precision for kind in kinds]
    try:
        for kind in kinds:
            kind.fp32_precision = "tf32"
        make_repeatable(torch.device("cuda"), torch.get_num_threads())
        assert "tf32" not in [kind.fp32_precision for kind in kinds]
        assert not matmul.allow_tf32 and not cudnn.allow_tf32  # what extractors read
    finally:
        for kind, found in zip(kinds, before, strict=True):
            kind.fp32_precision = found


def test_only_cuda_devices_that_can_are_to_multiply_in_tf32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    for able in (True, False):
        monkeypatch.setattr(torch.cuda, "is_tf32_supported", lambda able=able: able)
        with nullcontext() if able else pytest.raises(UserError, match="or more, but cuda:1 is Tesla T4: leave it out"):
            require_tf32(torch.device("cuda", 1))
    with pytest.raises(UserError, match="but the device is mps"):
        require_tf32(torch.device("mps"))


def test_a_description_names_the_device_and_its_cores():
    assert describe(CPU) == f"cpu ({cores()} cores)"


@pytest.mark.gpu
def test_repeatable_arithmetic_on_a_gpu_is_true_float32(switches):
    device = resolve_device("auto")
    make_repeatable(device, 1)
    a = torch.randn(256, 256, device=device)
    assert torch.allclose((a @ a).double(), a.double() @ a.double(), rtol=0, atol=1e-3)
    assert describe(device) == torch.cuda.get_device_name(device)


def group(root, files, own=""):
    """Write the files of control groups below a root, and which group the process is in."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(own)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


QUOTAS = {
    "version 2, as a container sees it": ({"cpu.max": "100000 100000\n"}, "0::/\n", 1),
    "version 2, half a core": ({"cpu.max": "50000 100000\n"}, "0::/\n", 1),
    "version 2, rounded up": ({"cpu.max": "210000 100000\n"}, "0::/\n", 3),
    "version 2, no limit": ({"cpu.max": "max 100000\n"}, "0::/\n", 8),
    "version 2, more than there is": ({"cpu.max": "6400000 100000\n"}, "0::/\n", 8),
    "version 2, a group above": (
        {"a.slice/cpu.max": "200000 100000\n", "a.slice/b/cpu.max": "max 100000\n"},
        "0::/a.slice/b\n",
        2,
    ),
    "version 2, a group beside": ({"a/cpu.max": "max 100000\n", "b/cpu.max": "100000 100000\n"}, "0::/a\n", 8),
    "version 1": ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, "1:cpu:/\n", 3),
    "version 1, joined, seen from outside": (
        {"cpu,cpuacct/cpu.cfs_quota_us": "400000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
        "4:cpu,cpuacct:/docker/0f\n",
        4,
    ),
    "version 1, its own group": (
        {"cpu/docker/0f/cpu.cfs_quota_us": "100000\n", "cpu/docker/0f/cpu.cfs_period_us": "50000\n"},
        "3:memory:/x\n1:cpu:/docker/0f\n",
        2,
    ),
    "version 1, no limit": ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "1:cpu:/\n", 8),
    "both": ({"unified/x": "", "cpu/cpu.cfs_quota_us": "1\n", "cpu/cpu.cfs_period_us": "9\n"}, "1:cpu:/\n0::/\n", 1),
    "nonsense": ({"cpu.max": "a lot\n", "cpu/cpu.cfs_quota_us": "x"}, "::::\n\n0::/../..\n", 8),
    "a period of nothing": ({"cpu.max": "100000 0\n"}, "0::/\n", 8),
    "nothing": ({}, "", 8),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_the_share_of_a_container_counts_as_cores_do(name, tmp_path, monkeypatch):
    files, own, expected = QUOTAS[name]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    root = group(tmp_path, files, own)
    assert cores(root) == expected


def test_jobs_follow_the_share_of_a_container(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    root = group(tmp_path, {"cpu.max": "300000 100000\n"}, "0::/\n")
    monkeypatch.setattr("ganbench.training.devices.ROOT", root)
    assert default_jobs(CPU) == 3 and describe(CPU) == "cpu (3 cores)"
