"""A run on several devices, here processes on a CPU: it is one run, continues in any layout, and ends as a whole."""

import multiprocessing
from pathlib import Path

import pytest

from ganbench.results.store import ResultStore
from ganbench.runs.execute import execute
from ganbench.runs.looks import shares_kept
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover
from ganbench.training import trainer

PLUGINS = tuple(Path(__file__).parents[1] / name for name in ("tiny_plugin.py", "sharing_plugin.py"))
STEPS = 12

pytestmark = pytest.mark.usefixtures("switches")


@pytest.fixture(scope="module")
def registry():
    return discover(PLUGINS)


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "results")


@pytest.fixture(autouse=True)
def nobody_is_left():
    yield
    assert multiprocessing.active_children() == []


def job_of(registry, variant="sound", devices=2, **changes):
    request = {
        "variants": [variant],
        "datasets": ["tiny"],
        "budget": f"{64 * STEPS}-images",
        "seeds": 1,
        "marks": 2,
        "samples": 32,
        "settings": ("mlp.width=16",),
        "metrics": ("tiny-mean", "grad-norm-g"),
        "plugins": PLUGINS,
    }
    (job,) = plan(Request(**(request | changes), devices=devices), registry).jobs
    return job


def stopped_after(job, store, registry, steps):
    """Make a run and stop it after so many steps, or the first tick after them."""
    seen = []

    def listen(share, tick, mark):
        if tick is not None:
            seen.append(tick.meters.steps)

    return execute(job, store, registry, threads=2, listen=listen, stopping=lambda: bool(seen) and seen[-1] >= steps)


def test_a_run_on_two_devices_is_one_run(registry, store):
    job, alone = job_of(registry, keep=(0.25,)), job_of(registry, devices=1)
    assert job.spec == alone.spec
    record = execute(job, store, registry, threads=2)
    assert (record.status, record.error) == ("done", "")
    assert (record.meters.images, record.meters.updates) == (64 * STEPS, {"D": STEPS, "G": STEPS})
    assert record.provenance["machine"]["device"].startswith("2 × cpu") and record.provenance["threads"] == 2
    assert [mark.meters.images for mark in record.curve] == [32 * STEPS, 64 * STEPS]
    assert {name: len(trace) for name, trace in store.traces(record).items()} == dict.fromkeys(
        ("loss/D", "grad_norm/D", "loss/G", "grad_norm/G"), STEPS
    )
    assert shares_kept(store.work(job.spec)) == [0.25]
    other = execute(alone, ResultStore(store.root.parent / "other"), registry, threads=1)
    assert record.meters.flops == pytest.approx(other.meters.flops)
    found, expected = (each.values["grad-norm-g"][0].value for each in (record, other))
    assert found == pytest.approx(expected, rel=0.2) and found != expected


def test_a_checkpoint_of_one_layout_continues_in_another(registry, store, monkeypatch):
    monkeypatch.setattr(trainer, "TICK_SECONDS", 0.0)
    two, one = job_of(registry), job_of(registry, devices=1)
    first = stopped_after(two, store, registry, 2)
    assert first.status == "killed" and 2 <= first.meters.steps < STEPS
    with pytest.warns(UserWarning, match="begun on 2 × cpu and goes on cpu, which draws and rounds otherwise"):
        second = stopped_after(one, store, registry, first.meters.steps + 2)
    assert second.status == "killed" and first.meters.steps < second.meters.steps < STEPS
    with pytest.warns(UserWarning, match="begun on cpu and goes on 2 × cpu"):
        record = execute(two, store, registry, threads=2)
    assert record.status == "done" and record.meters.steps == STEPS
    assert record.provenance["devices"] == ["2 × cpu", "cpu", "2 × cpu"]
    assert len(store.traces(record)["loss/G"]) == STEPS


@pytest.mark.parametrize(
    ("variant", "status", "told"),
    [
        ("raises-on-the-second", "error", r"on another of its devices, cpu: ZeroDivisionError: here alone"),
        ("raises-on-the-first", "error", r"ZeroDivisionError: in front"),
        ("makes-nan", "diverged", r"is nan at its update"),
        ("raises-on-both", "error", r"^RuntimeError: everywhere"),
        ("dies-on-the-second", "killed", r"on another of its devices, cpu: its process was ended by SIGKILL"),
        ("drifts", "error", r"2 devices of drifts hold different values of level after 6 steps: .*mean_over_ranks"),
    ],
)
def test_what_ends_one_device_ends_the_run_with_its_reason(registry, store, variant, status, told):
    record = execute(job_of(registry, variant), store, registry, threads=2)
    assert record.status == status
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(record.error)
    assert store.get(record.spec) == record


def test_a_device_that_cannot_begin_ends_the_run(registry, store, monkeypatch):
    job = job_of(registry, "needs-the-first")
    monkeypatch.setenv("LOCAL_FAULT", "1")
    record = execute(job, store, registry, threads=2)
    assert record.status == "error" and "cannot be built here" in record.error
