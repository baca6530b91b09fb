"""Every variant makes the same steps on two devices as on one, with every choice of its options."""

from collections.abc import Iterator
from typing import Any

import pytest

from ganbench import UserError
from ganbench.contract.variant import Control
from ganbench.runs.registry import discover
from ganbench.testing.choices import forms
from ganbench.testing.subject import subject_of
from ganbench.testing.two_ranks import difference_of_two_ranks

REGISTRY = discover()
MORE = [
    ("hinge", {"slack": "1"}),
    ("minibatch-discrimination", {"norm": "weight", "noise": "0.2", "dropout": "0.5"}),
    ("feature-matching", {"norm": "weight", "noise": "0.2", "dropout": "0.5", "input_dropout": "0.1"}),
    ("began", {"window": "4", "balance_rate": "0.1"}),
    ("unrolled", {"norm": "batch", "inner": "sgd"}),
]
"""Options of numbers by which more than a part of a batch matters."""


def cases() -> Iterator[Any]:
    for name in REGISTRY.find("variant", "all"):
        cls = REGISTRY.get("variant", name).item
        if not issubclass(cls, Control) and not cls.one_device:
            for settings in [*forms(cls)][1:]:  # the kit has the defaults
                yield pytest.param(name, settings, id="-".join([name, *(f"{k}={v}" for k, v in settings.items())]))
    for name, settings in MORE:
        yield pytest.param(name, settings, id=f"{name}-more")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "settings"), list(cases()))
def test_two_ranks_are_as_one_device_with_every_choice_of_an_option(name, settings):
    try:
        subject = subject_of(name, registry=REGISTRY, settings=settings)
    except UserError as reason:
        pytest.skip(str(reason))
    assert difference_of_two_ranks(subject) == ""
