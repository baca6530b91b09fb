"""Every variant that is installed passes every check of the conformance kit."""

import pytest
import torch

from ganbench.contract.variant import Control
from ganbench.runs.registry import discover
from ganbench.testing.kit import parametrize, run_checks
from ganbench.training.devices import cores, make_repeatable

LONG = {f"{name}-two_ranks_equal_one" for name in ("dfm", "dualgan")}
"""Of networks so wide that it takes seconds; made with `-m slow`."""
NAMES, CASES = parametrize(*discover().find("variant", "all")).args
MARKED = [pytest.param(*c.values, id=c.id, marks=[*c.marks, *[pytest.mark.slow] * (c.id in LONG)]) for c in CASES]


@pytest.mark.parametrize(NAMES, MARKED)
def test_variant_conforms(check, subject):
    check(subject)


@pytest.mark.gpu
@pytest.mark.usefixtures("switches")
@pytest.mark.parametrize("name", discover().find("variant", "all"))
def test_variant_conforms_on_a_gpu(name):
    registry, device = discover(), torch.device("cuda")
    if issubclass(registry.get("variant", name).item, Control):
        pytest.skip("a control is not trained")
    make_repeatable(device, cores())
    outcomes = run_checks(name, registry=registry, device=device)
    assert {outcome.name: outcome.message for outcome in outcomes if not outcome.passed} == {}
