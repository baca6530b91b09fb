"""Specs and records: what makes two runs the same run."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Any

import pytest

from ganbench.results.record import FINAL, RunSpec
from ganbench.training.budget import Budget

SPEC = RunSpec(
    variant="wgan",
    dataset="digits",
    backbone="dcgan",
    budget=Budget(200_000, "images"),
    seed=0,
    size=8,
    batch=64,
    options={"clip": 0.1},
    config={"variant": {"lr": 5e-5, "betas": [0.5, 0.9]}},
    data="d" * 64,
    code={"variant": "a" * 64, "backbone": "b" * 64},
    numbers=1,
)


@pytest.mark.parametrize("module", ["results.record", "results.store", "reports.render", "training.budget"])
def test_it_imports_no_torch(module: str) -> None:
    code = f"import ganbench.{module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_id_is_sixteen_digits_that_never_change() -> None:
    # Results on disk are found by it: a change here makes every stored run unknown.
    assert SPEC.id == "a668c4b61de37735"


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("variant", "gan"),
        ("dataset", "mnist"),
        ("backbone", "mlp"),
        ("budget", Budget(200_001, "images")),
        ("budget", Budget(200_000, "updates")),
        ("seed", 1),
        ("size", 16),
        ("batch", 32),
        ("precision", "bf16"),
        ("options", {"clip": 0.2}),
        ("config", {"variant": {"lr": 5e-5, "betas": [0.5, 0.99]}}),
        ("data", "e" * 64),
        ("code", {"variant": "c" * 64, "backbone": "b" * 64}),
        ("preset", "pacgan-synthetic"),
        ("numbers", 2),
        ("compiled", True),
    ],
)
def test_every_field_makes_another_run(field: str, other: Any) -> None:
    changes: dict[str, Any] = {field: other}
    assert dataclasses.replace(SPEC, **changes).id != SPEC.id
    assert {field.name for field in dataclasses.fields(RunSpec)} <= {
        *("variant", "dataset", "backbone", "budget", "seed", "size", "batch", "precision", "options", "config"),
        *("data", "code", "preset", "numbers", "compiled"),
    }, "a new field needs a case here"


def test_the_same_run_told_in_another_way_has_the_same_id() -> None:
    config = {"variant": {"betas": (0.5, 0.9), "lr": 0.00005}}
    code = dict(reversed(SPEC.code.items()))
    assert dataclasses.replace(SPEC, config=config, code=code).id == SPEC.id
    assert dataclasses.replace(SPEC, budget=Budget(2e5, "images")).id == SPEC.id
    assert dataclasses.replace(SPEC, config=json.loads(json.dumps(SPEC.config))).id == SPEC.id


def test_only_done_and_diverged_are_final() -> None:
    assert {"done", "diverged"} == FINAL
