"""Records made by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from ganbench.contract.types import Value
from ganbench.results.record import RunRecord, RunSpec
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
