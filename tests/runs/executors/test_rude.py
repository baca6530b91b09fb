"""A plugin that changes everything of its process, wherever it is called, changes no number."""

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ganbench.results.store import ResultStore
from ganbench.runs.executors.local import run_all
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover
from ganbench.training.devices import cores

TESTS = Path(__file__).parents[2]
METRICS = ("tiny-mean", "tiny-late", "grad-norm-g", "ms-ssim", "fd-pixels")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugins")
    copies = {"rude_plugin.py": "rude_plugin.py", "tiny_plugin.py": "tiny_plugin.py"}
    return tuple(Path(shutil.copy(TESTS / name, folder / copied)) for name, copied in copies.items())


def jobs_of(plugins, *variants, budget="640-images"):
    plugins[0].with_name("on").unlink(missing_ok=True)
    asked = Request(variants, ("tiny",), budget=budget, seeds=1, marks=2, metrics=METRICS, samples=64, plugins=plugins)
    return plan(asked, discover(plugins)).jobs


def outcome(store, job, record):
    """All that is counted or measured, weights and traces, but for times and memory."""
    assert record.status == "done", record.error
    meters = [
        replace(meters, seconds=0.0, peak_bytes=0) for meters in (record.meters, *(m.meters for m in record.curve))
    ]
    values = {name: [value.value for value in of] for name, of in record.values.items()}
    references = {name: [value.reference for value in of] for name, of in record.values.items()}
    curve = [{name: value.value for name, value in mark.values.items()} for mark in record.curve]
    weights = torch.load(store.work(job.spec) / "final.pt", weights_only=True)["raw"]
    traces = store.traces(record)
    return (meters, values, references, curve, dict(record.unscored)), weights, traces


@pytest.fixture(scope="module")
def polite(plugins, tmp_path_factory):
    (job,) = jobs_of(plugins, "polite")
    store = ResultStore(tmp_path_factory.mktemp("polite"))
    *_, last = run_all([job], store.root, parallel=cores())
    return outcome(store, job, last.record)


@pytest.mark.parametrize("where", ["import", "build", "optimizers", "rates", "hooks", "step", "sample"])
def test_rude_numbers_are_polite_ones(where, plugins, polite, tmp_path):
    name = "polite" if where == "import" else f"rude-in-{where}"
    if where == "import":
        source = plugins[0].read_text().replace('os.environ.get("RUDE_AT_IMPORT")', "True")
        plugins = (tmp_path / "rude_plugin.py", plugins[1])
        plugins[0].write_text(source)
    (job,) = jobs_of(plugins, name)
    plugins[0].with_name("on").touch()
    store = ResultStore(tmp_path / "r")
    *_, last = run_all([job], store.root, parallel=cores())
    (facts, weights, traces), (same_facts, same_weights, same_traces) = outcome(store, job, last.record), polite
    assert facts == same_facts
    assert weights.keys() == same_weights.keys() and traces.keys() == same_traces.keys()
    assert all(torch.equal(weights[key], same_weights[key]) for key in weights)
    assert all(np.array_equal(traces[key], same_traces[key]) for key in traces)


def test_a_run_that_does_not_want_to_hear_is_stopped_all_the_same(plugins, tmp_path):
    (job,) = jobs_of(plugins, "rude-in-build", budget="640k-images")
    plugins[0].with_name("on").touch()
    events = run_all([job], tmp_path / "r", parallel=1)
    assert any(event.tick is not None for event in events)
    start = time.monotonic()
    events.close()
    assert time.monotonic() - start < 15, "not the 60 seconds after which it is ended"
    record = ResultStore(tmp_path / "r").get(job.spec)
    assert record.error == "stopped on request; the same command continues it" and record.meters.steps > 0
