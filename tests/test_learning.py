"""Every variant learns: within about a minute it comes to a score that its own untrained generator is far from.

The limits were set from three seeds (0, 1, 2; the scores stand beside them) and are checked with a fourth. `make
test-slow` runs these tests; a variant without a case fails the first one, which is fast.
"""

from dataclasses import dataclass

import pytest
import torch

from ganbench.execute import execute
from ganbench.plan import Request, plan
from ganbench.plugins import discover
from ganbench.store import ResultStore

SEED = 3
FAR = 1.5
"""An untrained generator is at least so many times as bad as the limit."""


@dataclass(frozen=True)
class Case:
    """A variant is trained on `dataset` for `budget`; then its `metric`, where less is better, is at most `limit`.

    `why`: of a limit or an option that asks for an explanation.
    """

    limit: float
    dataset: str = "digits"
    metric: str = "fd-classifier"
    budget: str = "40k-images"
    settings: tuple[str, ...] = ()
    why: str = ""


CASES: dict[str, Case] = {}


@pytest.fixture(autouse=True)
def switches():
    """Put back what a run fixes for its whole process."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture(scope="module")
def registry():
    return discover()


def score(case, variant, budget, registry, folder):
    """Make one run with the fourth seed, in this process, and return its final score."""
    request = Request(
        [variant],
        [case.dataset],
        budget=budget,
        seeds=SEED + 1,
        metrics=(case.metric,),
        marks=1,
        settings=case.settings,
    )
    made = plan(request, registry)
    (job,) = (job for job in made.jobs if job.spec.seed == SEED)
    record = execute(job, ResultStore(folder), registry, threads=1)
    assert record.status == "done", record.error
    (value,) = record.values[case.metric]
    return value.value


def test_every_trained_variant_has_a_case(registry):
    trained = {
        name
        for name in registry.find("variant", "all")
        if registry.get("variant", name).origin.distribution == "ganbench"
    }
    assert trained == CASES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("variant", sorted(CASES))
def test_it_learns(variant, registry, tmp_path):
    case = CASES[variant]
    untrained = score(case, variant, "1-images", registry, tmp_path)
    trained = score(case, variant, case.budget, registry, tmp_path)
    assert trained <= case.limit, case.why
    assert untrained >= FAR * case.limit
