"""Runs are dealt over the devices that there are, as many side by side on each as is asked for."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ganbench.results.store import ResultStore
from ganbench.runs.executors import local
from ganbench.runs.executors.local import _placed, run_all
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover
from ganbench.training.devices import all_devices

PLUGIN = Path(__file__).parents[2] / "tiny_plugin.py"


@pytest.fixture(scope="module")
def jobs():
    request = {"variants": ["plain"], "datasets": ["tiny"], "budget": "64-images", "marks": 1, "samples": 8}
    asked = Request(**request, plugins=(PLUGIN,), seeds=6, settings=("mlp.width=4",), metrics=("tiny-mean",))
    return plan(asked, discover([PLUGIN])).jobs


@pytest.mark.parametrize(("parallel", "count"), [(1, 2), (2, 3), (3, 1)])
def test_no_device_has_more_than_its_share(jobs, parallel, count):
    devices = [f"cuda:{number}" for number in range(count)]
    places = [device for _ in range(parallel) for device in devices]
    taken = []
    for number in range(len(places)):
        job = _placed(jobs[number % len(jobs)], places, taken, parallel)
        assert job.at_once == parallel
        taken.append(job.device)
        counts = Counter(taken)
        assert max(counts.values()) - min(counts[device] for device in devices) <= 1  # never all on the first
    assert Counter(taken) == dict.fromkeys(devices, parallel)
    taken.remove(devices[-1])
    assert _placed(jobs[0], places, taken, parallel).device == devices[-1]  # whoever is free is next


def test_jobs_that_name_their_device_keep_it(jobs):
    assert _placed(replace(jobs[0], device="cuda:3"), [""], [], 1).device == "cuda:3"


def test_a_sweep_over_two_devices_uses_both(jobs, tmp_path, monkeypatch):
    placed = []
    start = local._start

    def started(job, *rest):
        placed.append(job.device)
        return replace(start(replace(job, device="cpu"), *rest), job=job)

    monkeypatch.setattr(local, "_start", started)
    events = list(run_all(jobs[:4], tmp_path, parallel=1, devices=["one", "two"]))
    assert [event.record.error for event in events if event.record and event.record.status != "done"] == []
    assert placed[:2] == ["one", "two"] and len(placed) == 4
    assert {record.provenance["at_once"] for record in ResultStore(tmp_path).records()[0]} == {1}


@pytest.mark.parametrize(
    ("text", "found"),
    [("auto", ["cuda:0", "cuda:1", "cuda:2"]), ("cuda", ["cuda:0", "cuda:1", "cuda:2"]), ("cuda:1", ["cuda:1"])],
)
def test_all_cuda_devices_are_dealt_over_unless_one_is_named(text, found, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (1, 1), raising=False)
    assert all_devices(text) == found


def test_a_processor_is_one_device():
    assert all_devices("cpu") == ["cpu"]
