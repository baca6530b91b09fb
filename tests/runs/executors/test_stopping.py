"""A run that is asked to stop while it loads or is scored ends at once, keeps what it has, and comes to the same."""

import os
import time

import pytest

from ganbench.results.store import ResultStore
from ganbench.runs.executors.local import run_all
from ganbench.training.devices import cores

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
SCORING = {
    "a metric": ("good", ("tiny-mean", "endless"), "tiny"),
    "a metric that catches what it can": ("good", ("tiny-mean", "stubborn"), "tiny"),
    "an extractor": ("good", ("tiny-mean", "of-dragging"), "tiny"),
    "making an extractor ready": ("good", ("tiny-mean", "of-unready"), "tiny"),
    "sampling": ("sleeps-in-sample", ("tiny-mean",), "tiny"),
}
LOADING = {
    "building": ("drags-in-build", ("tiny-mean",), "tiny"),
    "loading data": ("good", ("endless",), "late"),
}


@pytest.mark.parametrize("phase", [*SCORING, *LOADING])
def test_a_request_to_stop_is_heard_while_a_run_does_something_else_than_train(phase, jobs_of, made, tmp_path):
    variant, metrics, dataset = {**SCORING, **LOADING}[phase]
    jobs = jobs_of(variant, metrics=metrics, dataset=dataset, marks=2)
    # A thread a run, here and below: how several share a product is theirs, and its rounding may depend on it.
    events = run_all(jobs, tmp_path / "r", parallel=cores())
    next(events)
    until = time.monotonic() + 60
    while not (tmp_path / "plugin" / "dragging").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    start = time.monotonic()
    events.close()
    assert time.monotonic() - start < 5, "not what is left of 300 seconds, nor the 60 after which it is ended"

    stopped = ResultStore(tmp_path / "r").get(jobs[0].spec)
    assert (stopped.status, stopped.error) == ("killed", "stopped on request; the same command continues it")
    assert stopped.meters.steps == (5 if phase in SCORING else 0)
    assert stopped.curve == [] and stopped.is_open
    (tmp_path / "plugin" / "on").unlink()
    again, whole = (made(jobs, tmp_path / name, parallel=cores())[variant] for name in ("r", "whole"))
    assert again.status == whole.status == "done"
    assert (again.values, again.checksums) == (whole.values, whole.checksums)
    assert [mark.values for mark in again.curve] == [mark.values for mark in whole.curve]


def test_a_request_to_stop_is_heard_while_a_plugin_is_imported(jobs_of, made, tmp_path):
    jobs, folder = jobs_of("good"), tmp_path / "plugin"
    (folder / "on-import").touch()
    events = run_all(jobs, tmp_path / "r", parallel=1)
    next(events)
    until = time.monotonic() + 60
    while not (folder / "dragging").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    start = time.monotonic()
    events.close()
    assert time.monotonic() - start < 5
    (folder / "on-import").unlink()
    assert made(jobs, tmp_path / "r")["good"].status == "done"
