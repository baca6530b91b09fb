"""Runs of variants that misbehave, in processes of their own, made by this one."""

import shutil
from pathlib import Path

import pytest

from ganbench.runs.executors.limits import NO_LIMITS
from ganbench.runs.executors.local import run_all
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover

TESTS = Path(__file__).parents[2]


@pytest.fixture
def jobs_of(tmp_path):
    """Plan runs of greedy variants while they behave; from then on they do not."""
    folder = tmp_path / "plugin"
    folder.mkdir()
    plugins = tuple(Path(shutil.copy(TESTS / name, folder)) for name in ("tiny_plugin.py", "greedy_plugin.py"))

    def planned(*variants, metrics=("tiny-mean",), budget="640-images", dataset="tiny", marks=1):
        (folder / "on").unlink(missing_ok=True)
        asked = Request(variants, (dataset,), budget=budget, seeds=1, marks=marks, metrics=metrics, plugins=plugins)
        jobs = plan(asked, discover(plugins)).jobs
        assert [job.spec.variant for job in jobs] == list(variants)
        (folder / "on").touch()
        return jobs

    return planned


@pytest.fixture
def made():
    """Make runs and return their records by variant."""

    def make(jobs, results, *, parallel=2, held_to=NO_LIMITS):
        events = run_all(jobs, results, parallel=parallel, limits=held_to)
        return {event.job.spec.variant: event.record for event in events if event.record is not None}

    return make
