"""Weights that a run keeps on its way: they are those of a run that ended there, whatever happened in between."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from ganbench.errors import UserError
from ganbench.results.store import ResultStore
from ganbench.runs.checkpoint import load_state
from ganbench.runs.execute import execute
from ganbench.runs.job import Job
from ganbench.runs.looks import lacks_looks, look_path, shares_kept
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import Registry, discover

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"
STEPS, BATCH = 10, 16

pytestmark = pytest.mark.usefixtures("switches")
State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover([PLUGIN])


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "results")


def job_of(registry: Registry, variant: str = "plain", *, steps: int = STEPS, marks: int = 1, **more: object) -> Job:
    request = Request([variant], ["tiny"], budget=f"{steps * BATCH}-images", seeds=1, batch=BATCH, marks=marks,
                      metrics=(), **more)  # type: ignore[arg-type]  # fmt: skip
    (job,) = plan(request, registry).jobs
    return job


def stop_after(steps: int) -> tuple[Callable[..., None], Callable[[], bool]]:
    """Return a listener and what asks to stop once so many steps are made; ticks come at every step."""
    seen = 0

    def listen(share: float, tick: object, mark: object) -> None:
        nonlocal seen
        seen = round(share * STEPS)

    return listen, lambda: seen >= steps


@pytest.fixture(autouse=True)
def ticking(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("ganbench.training.trainer.TICK_STEPS", 1)
    return


def kept(store: ResultStore, job: Job, share: float) -> State:
    state = load_state(look_path(store.work(job.spec), share), job.spec.id)
    assert state is not None
    return dict(state["raw"])


def final(store: ResultStore, job: Job) -> State:
    state = load_state(store.work(job.spec) / "final.pt", job.spec.id)
    assert state is not None
    return dict(state["raw"])


def equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def ends(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> dict[int, State]:
    """The final weights of runs that ended after so many steps."""
    store = ResultStore(tmp_path_factory.mktemp("ends"))
    found = {}
    for steps in (2, 3, 5, 8, STEPS):
        job = job_of(registry, steps=steps)
        assert execute(job, store, registry, threads=1).status == "done"
        found[steps] = final(store, job)
    assert not equal(found[2], found[3])
    return found


# A share is come to by the first whole step at or past it.
@pytest.mark.parametrize("marks", [1, 2, 5])
def test_kept_weights_are_those_of_a_run_that_ended_there(registry, store, ends, marks):
    job = job_of(registry, marks=marks, keep=[0.8, 0.2, 0.5, 0.25, 1.0])
    assert execute(job, store, registry, threads=1).status == "done"
    for share in job.keep:
        assert equal(kept(store, job, share), ends[math.ceil(share * STEPS)]), share
    assert shares_kept(store.work(job.spec)) == [0.2, 0.25, 0.5, 0.8, 1.0]
    assert equal(final(store, job), ends[STEPS])


def test_keeping_weights_changes_neither_the_run_nor_its_identity(registry, store, ends):
    job, plain = job_of(registry, keep=[0.3, 0.7]), job_of(registry)
    assert job.spec.id == plain.spec.id
    execute(job, store, registry, threads=1)
    assert equal(final(store, job), ends[STEPS])


@pytest.mark.parametrize("stopped", [1, 2, 3, 4, 5, 6, 8, 9])
def test_a_run_that_was_stopped_anywhere_keeps_the_same(registry, store, ends, stopped):
    job = job_of(registry, marks=2, keep=[0.2, 0.5, 0.8])
    listen, stopping = stop_after(stopped)
    assert execute(job, store, registry, threads=1, listen=listen, stopping=stopping).status == "killed"
    before = shares_kept(store.work(job.spec))
    assert before == [share for share in job.keep if share * STEPS <= stopped]
    steps: list[int] = []
    listen = lambda share, tick, mark: steps.append(tick.meters.steps) if tick else None  # noqa: E731
    assert execute(job, store, registry, threads=1, listen=listen).status == "done"
    assert min(steps) > min(stopped, 4) or steps[0] >= stopped  # it went on, and did not begin anew
    for share in job.keep:
        assert equal(kept(store, job, share), ends[round(share * STEPS)]), share


def test_shares_within_one_step_are_both_that_step_s_and_no_reason_to_begin_anew(registry, store, ends):
    job = job_of(registry, keep=[0.21, 0.25, 0.29])
    listen, stopping = stop_after(3)
    execute(job, store, registry, threads=1, listen=listen, stopping=stopping)
    assert shares_kept(store.work(job.spec)) == [0.21, 0.25, 0.29]
    steps: list[int] = []
    execute(job, store, registry, threads=1,
            listen=lambda share, tick, mark: steps.append(tick.meters.steps) if tick else None)  # fmt: skip
    assert min(steps) >= 3
    assert all(equal(kept(store, job, share), ends[3]) for share in job.keep)


def test_a_share_asked_for_later_is_made_again_and_what_was_kept_stays(registry, store, ends):
    first = job_of(registry, keep=[0.2])
    record = execute(first, store, registry, threads=1)
    assert not lacks_looks(first, record, store)
    later = job_of(registry, keep=[0.5])
    assert lacks_looks(later, record, store)
    again = execute(later, store, registry, threads=1)
    assert (again.status, again.checksums) == ("done", record.checksums)
    assert equal(kept(store, later, 0.5), ends[5]) and equal(kept(store, later, 0.2), ends[2])
    assert not lacks_looks(later, again, store)


def test_a_share_that_a_checkpoint_is_beyond_makes_the_run_begin_anew_and_it_says_so(registry, store, ends):
    listen, stopping = stop_after(5)
    execute(job_of(registry), store, registry, threads=1, listen=listen, stopping=stopping)
    job = job_of(registry, keep=[0.2, 0.8])
    with pytest.warns(match=r"kept at 0\.2 of the budget, which a checkpoint is beyond: training starts anew"):
        assert execute(job, store, registry, threads=1).status == "done"
    assert equal(kept(store, job, 0.2), ends[2]) and equal(kept(store, job, 0.8), ends[8])


def test_a_share_that_a_checkpoint_is_not_beyond_is_kept_on_the_way(registry, store, ends):
    listen, stopping = stop_after(5)
    execute(job_of(registry), store, registry, threads=1, listen=listen, stopping=stopping)
    job, steps = job_of(registry, keep=[0.8]), list[int]()
    execute(job, store, registry, threads=1,
            listen=lambda share, tick, mark: steps.append(tick.meters.steps) if tick else None)  # fmt: skip
    assert min(steps) >= 5 and equal(kept(store, job, 0.8), ends[8])


def test_of_a_run_that_diverges_nothing_is_kept_from_there_on(registry, store):
    job = job_of(registry, "makes-nan", keep=[0.2, 0.8])
    record = execute(job, store, registry, threads=1)
    assert record.status == "diverged" and shares_kept(store.work(job.spec)) == [0.2]
    assert not lacks_looks(job, record, store)  # it would diverge again


def test_a_control_which_makes_no_step_keeps_what_it_has_once(registry, store):
    job = job_of(registry, "real", keep=[0.5])
    record = execute(job, store, registry, threads=1)
    assert record.status == "done" and not lacks_looks(job, record, store)


def test_looking_for_weights_makes_no_folder(registry, store):
    job = job_of(registry, keep=[0.2])
    record = execute(job, store, registry, threads=1)
    elsewhere = ResultStore(store.root.parent / "elsewhere")
    assert lacks_looks(job, record, elsewhere) and not elsewhere.root.exists()


def test_other_files_of_such_a_name_are_no_shares(tmp_path):
    for name in ("at-0.5.pt", "at-1e-05.pt", "at-x.pt", "at-.pt", "at-0.5.pt.part"):
        (tmp_path / name).touch()
    assert shares_kept(tmp_path) == [1e-05, 0.5]


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, math.nan])
def test_a_share_that_is_none_is_refused(registry, share):
    with pytest.raises(UserError, match=r"--keep .*: name shares of the budget above 0 and at most 1"):
        job_of(registry, keep=[share])
