"""Runs that cannot be measured have no part, each by itself."""

from types import SimpleNamespace
from typing import Any

import pytest

from ganbench import UserError, measure_runs


def test_a_run_alone_is_left_out_with_its_reason(record):
    rows: dict[str, Any] = {name: [SimpleNamespace(record=record(name, seed)) for seed in range(3)] for name in "ab"}

    def measure(made):
        spec = made.record.spec
        if spec.variant == "b" or spec.seed == 1:
            raise (UserError if spec.seed else ArithmeticError)(f"reason {spec.seed}")
        return spec.seed * 10

    left_out = {"before": "stays"}
    found = measure_runs(rows, measure, left_out)
    assert {name: [(made.record.spec.seed, value) for made, value in of] for name, of in found.items()} == {
        "a": [(0, 0), (2, 20)]
    }
    assert left_out == {
        "before": "stays",
        "a digits seed 1": "reason 1",
        "b digits seed 0": "reason 0",
        "b digits seed 1": "reason 1",
        "b digits seed 2": "reason 2",
    }


def test_what_is_no_reason_of_a_run_is_raised(record):
    made: Any = SimpleNamespace(record=record("a"))
    with pytest.raises(KeyError):
        measure_runs({"a": [made]}, lambda made: {}["x"], {})
