"""How long a sweep still takes: from what its runs took, and from how many are made side by side."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from ganbench.cli.estimate import Costs, makespan
from ganbench.results.record import RunSpec
from ganbench.runs.job import Job
from ganbench.training.budget import Budget


def job(variant="gan", seed=0, dataset="tiny", amount=1000.0, unit="images", options=None):
    spec = RunSpec(variant, dataset, "mlp", Budget(amount, unit), seed, 8, 64, options=options or {})
    return Job(spec, dataset, {}, ("fid",), (), 5, (), 2, (), Path("data"), None, "cpu")


def ends_of(running, waiting, parallel):
    """Let time pass, from one end of a run to the next."""
    now, busy, queue = 0.0, list(running), list(waiting)
    while busy or queue:
        while queue and len(busy) < parallel:
            busy.append(now + queue.pop(0))
        now = min(busy)
        busy.remove(now)
    return now


@pytest.mark.parametrize("seed", range(20))
def test_the_last_run_ends_when_time_has_passed(seed):
    chance = random.Random(seed)
    parallel = chance.randint(1, 5)
    running = [chance.uniform(0, 9) for _ in range(chance.randint(0, parallel))]
    waiting = [chance.uniform(0, 9) for _ in range(chance.randint(0, 12))]
    assert makespan(running, waiting, parallel) == pytest.approx(ends_of(running, waiting, parallel))


def test_nothing_is_said_before_all_is_known():
    assert makespan([3.0, None], [1.0], 2) is None and makespan([3.0], [None], 2) is None
    assert makespan([], [], 2) == 0


def test_a_run_takes_what_its_like_took_else_what_others_did_in_its_place():
    costs = Costs()
    assert costs.of(job(), 1.0) is None
    costs.add(job("slow"), 40.0, 1.0)
    assert costs.of(job(), 1.0) == 40, "another variant on the same data is the best guess"
    costs.add(job(seed=1), 10.0, 1.0)
    costs.add(job(seed=2), 7.0, 0.5)
    assert costs.of(job(), 1.0) == pytest.approx(12), "of 10 and 2 * 7 the mean"
    assert costs.of(job(), 0.25) == pytest.approx(3)
    assert costs.of(job(amount=500.0), 1.0) == pytest.approx(6), "half the budget"
    assert costs.of(job("third"), 1.0) == pytest.approx((40 + 10 + 14) / 3)
    assert costs.of(job(options={"lr": 1}), 1.0) == pytest.approx((40 + 10 + 14) / 3)


@pytest.mark.parametrize("other", [{"dataset": "large"}, {"unit": "flops"}])
def test_what_cannot_be_compared_is_not(other):
    costs = Costs()
    costs.add(job(), 10.0, 1.0)
    assert costs.of(job(**other), 1.0) is None
    elsewhere = job()
    assert costs.of(replace(elsewhere, spec=replace(elsewhere.spec, size=64)), 1.0) is None


def test_scoring_once_more_is_no_training():
    costs = Costs()
    costs.add(job(), 100.0, 1.0)
    assert costs.of(job(seed=1), 0.0) is None
    costs.add(job(), 4.0, 0.0)
    assert costs.of(job(seed=1), 0.0) == 4 and costs.of(job(seed=1), 1.0) == 100
