"""Children start with what their libraries are to find."""

from __future__ import annotations

import importlib
import platform
from pathlib import Path

import pytest

from ganbench.runs.executors.apart import apart
from ganbench.runs.executors.child import AS_IT_STARTS

MEASURE = """
def measure(begin):
    import os, resource, torch
    for _ in range(20):
        torch.ones(2**21)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**21)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20, dict(os.environ)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator of glibc")
def test_a_child_keeps_its_large_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "measure_of_faults.py").write_text(MEASURE)
    monkeypatch.syspath_prepend(str(tmp_path))
    faults, environment = apart(importlib.import_module("measure_of_faults").measure)
    assert set(AS_IT_STARTS) <= set(environment)
    assert faults < 1000, "a block of 8 MB has 2,048 pages, were it handed back each time"
