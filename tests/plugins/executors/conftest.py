"""Runs that several executors make."""

from __future__ import annotations

from pathlib import Path

import pytest
from kept_runs import made_here

from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover

TINY = Path(__file__).parents[2] / "tiny_plugin.py"


@pytest.fixture(scope="session")
def jobs():
    """Two runs, of a variant that takes its time and of one that fails."""
    asked = Request(("slow", "raises"), ("tiny",), budget="3840-images", seeds=1, marks=5, plugins=(TINY,))
    return plan(asked, discover((TINY,))).jobs


@pytest.fixture(scope="session")
def whole(jobs, tmp_path_factory):
    """What the local executor makes of them."""
    return made_here(jobs, tmp_path_factory.mktemp("whole"))
