"""Records made by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganbench.contract.types import Value
from ganbench.results.record import Mark, RunRecord, RunSpec
from ganbench.results.store import ResultStore
from ganbench.training.budget import Budget, Meters


def made(
    variant: str = "gan",
    seed: int = 0,
    values: Mapping[str, Sequence[Value]] | None = None,
    /,
    *,
    status: Any = "done",
    meters: Meters | None = None,
    spec: Mapping[str, Any] | None = None,
    **facts: Any,
) -> RunRecord:
    """Make the record of a run of digits; a value may stand for a list of one."""
    known = {"dataset": "digits", "backbone": "dcgan", "budget": Budget(640, "images"), "size": 8, "batch": 64}
    spent = meters or Meters(10, 640, {"D": 10, "G": 10}, 1e12, 90.0, 2**29)
    lists = {name: [of] if isinstance(of, Value) else list(of) for name, of in (values or {}).items()}
    full = RunSpec(**{**known, "variant": variant, "seed": seed, **(spec or {})})
    return RunRecord(full, status, meters=spent, values=lists, **facts)


@pytest.fixture
def record() -> Callable[..., RunRecord]:
    return made


@pytest.fixture
def results(tmp_path: Path) -> Callable[..., ResultStore]:
    """Make a store of runs of 50 steps on digits: by variant, for each seed what it had of fid at five marks.

    A run with fewer diverged after as many fifths of its steps and a bit.
    """

    def make(runs: Mapping[str, Sequence[Sequence[float]]], better: bool | None = False, **spec: Any) -> ResultStore:
        store = ResultStore(tmp_path / "results")
        for name, seeds in runs.items():
            for seed, numbers in enumerate(seeds):
                done = len(numbers) == 5
                values = [Value(float(y), {"n_fake": 90}, 1.5, better, references=(1.4, 1.6, 1.5)) for y in numbers]
                curve = [Mark((k + 1) / 5, spent(10 * (k + 1)), {"fid": value}) for k, value in enumerate(values)]
                end, status = spent(50 if done else 10 * len(numbers) + 5), "done" if done else "diverged"
                held = {"fid": values[-1]} if done else {}
                run = made(name, seed, held, status=status, meters=end, curve=curve, spec=spec)
                loss = np.linspace(2, 1, end.steps, dtype=np.float32)
                store.add(run, {"loss/D": loss, "grad_norm/G": loss.astype(np.float64), "log/k": loss})
        return store

    return make


def spent(steps: int) -> Meters:
    """Return the meters of so many steps of 64 images."""
    return Meters(steps, 64 * steps, {"D": steps, "G": steps}, 1e11 * steps, 0.9 * steps)
