"""Records made by hand."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from ganbench.contract.types import Value
from ganbench.results.record import RunRecord, RunSpec
from ganbench.training.budget import Budget


def made(
    variant: str = "gan",
    seed: int = 0,
    values: Mapping[str, Sequence[Value]] | None = None,
    /,
    *,
    status: Any = "done",
    spec: Mapping[str, Any] | None = None,
    **facts: Any,
) -> RunRecord:
    """Make the record of a run of 1,000 images of digits."""
    known = {"dataset": "digits", "backbone": "dcgan", "budget": Budget(1000, "images"), "size": 8, "batch": 50}
    return RunRecord(
        RunSpec(**{**known, "variant": variant, "seed": seed, **(spec or {})}), status, values=values or {}, **facts
    )


@pytest.fixture
def record() -> Callable[..., RunRecord]:
    return made
