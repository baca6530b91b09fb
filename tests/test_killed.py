"""Killed at random moments of every phase and given again, a command comes to the same numbers bit for bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch


@dataclass(frozen=True)
class Case:
    """A run of a few seconds: some with state of their own, one with two domains, one with inner steps."""

    variant: str
    dataset: str = "digits"
    budget: str = "12k-images"
    batch: int = 64


CASES = (
    Case("gan"),
    Case("wgan-gp"),
    Case("began"),
    Case("cyclegan", "digits-pair", "640-images", 8),
    Case("unrolled", budget="4k-images"),
)


def start(case: Case, results: Path) -> subprocess.Popen[bytes]:
    wanted = [
        "--variants",
        case.variant,
        "--dataset",
        case.dataset,
        "--budget",
        case.budget,
        "--batch",
        str(case.batch),
    ]
    fixed = ["--seeds", "1", "--marks", "4", "--jobs", "1", "--samples", "64", "--metrics", "fd-pixels,grad-norm-g"]
    command = [sys.executable, "-m", "ganbench", "run", *wanted, *fixed, "--results", str(results)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)


def finish(case: Case, results: Path) -> None:
    process = start(case, results)
    table, _ = process.communicate()
    assert process.returncode == 0 and case.variant in table.decode()


def outcome(results: Path) -> tuple[Any, dict[str, torch.Tensor], dict[str, np.ndarray]]:
    """Return what must be equal: what the record holds but for times and memory, the final weights, the traces."""
    (path,) = results.rglob("seed*.json")
    record = json.loads(path.read_text())
    del record["made"]
    for meters in (record["meters"], *(mark["meters"] for mark in record["curve"])):
        del meters["seconds"], meters["peak_bytes"]
    (final,) = results.rglob("final.pt")
    with np.load(path.with_suffix(".traces.npz")) as traces:
        return record, torch.load(final, weights_only=True)["raw"], dict(traces)


def check(case: Case, kills: int, folder: Path) -> None:
    whole, broken, chance = folder / "whole", folder / "broken", random.Random(f"{case.variant} {kills}")
    began = time.monotonic()
    finish(case, whole)
    seconds = time.monotonic() - began
    for _ in range(kills):
        process = start(case, broken)
        time.sleep(chance.uniform(0, seconds))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    finish(case, broken)
    (record, weights, traces), (again, same_weights, same_traces) = outcome(whole), outcome(broken)
    assert again == record and record["status"] == "done"
    assert weights.keys() == same_weights.keys() and traces.keys() == same_traces.keys()
    assert all(torch.equal(weights[name], same_weights[name]) for name in weights)
    assert all(np.array_equal(traces[name], same_traces[name]) for name in traces)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups here")
def test_a_killed_command_comes_to_the_same_numbers(tmp_path):
    check(CASES[0], 3, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups here")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.variant)
def test_a_command_killed_ten_times_comes_to_the_same_numbers(case, tmp_path):
    check(case, 10, tmp_path)
