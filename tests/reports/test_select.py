"""Which records a report is of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ganbench.errors import UserError
from ganbench.reports.select import facts_of, select
from ganbench.results.record import RunRecord

Make = Callable[..., RunRecord]


@pytest.fixture
def some(record: Make) -> list[RunRecord]:
    def spec(lr: float, **more: Any) -> dict[str, Any]:
        config = {"variant": {"lr": lr, "betas": [0.5, 0.999]}, "backbone": {"width": 32}}
        return {"config": config, "options": {} if lr == 2e-4 else {"lr": lr}, **more}

    return [
        record("gan", 0, spec=spec(2e-4)),
        record("gan", 1, spec=spec(1e-3)),
        record("wgan", 0, spec=spec(2e-4, dataset="mnist", batch=32)),
        record("wgan-gp", 0, spec=spec(2e-4, dataset="mnist", size=0)),
    ]


def names(records: list[RunRecord]) -> list[tuple[str, int]]:
    return [(record.spec.variant, record.spec.seed) for record in records]


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ({}, [("gan", 0), ("gan", 1), ("wgan", 0), ("wgan-gp", 0)]),
        ({"datasets": ["mnist"]}, [("wgan", 0), ("wgan-gp", 0)]),
        ({"variants": ["wgan*", "gan"], "datasets": ["digits"]}, None),
        ({"variants": ["w*"]}, [("wgan", 0), ("wgan-gp", 0)]),
        ({"variants": ["wgan"]}, [("wgan", 0)]),
        ({"where": ["seed=0", "batch=64"]}, [("gan", 0), ("wgan-gp", 0)]),
        ({"where": ["lr=1e-3"]}, [("gan", 1)]),
        ({"where": ["lr=0.0002", "dataset=digits"]}, [("gan", 0)]),
        ({"where": ["gan.lr=0.001"]}, [("gan", 1)]),
        ({"where": ["dcgan.width=32", "size=8"]}, [("gan", 0), ("gan", 1), ("wgan", 0)]),
        ({"where": ["betas=[0.5,0.999]", "budget=640-images", "seed = 1"]}, [("gan", 1)]),
    ],
)
def test_records_are_chosen_by_what_their_specs_say(asked: Any, kept: Any, some: list[RunRecord]) -> None:
    if kept is None:
        with pytest.raises(UserError, match=r"--variants wgan\*: no result.*there are gan$"):
            select(some, **asked)
    else:
        assert names(select(some, **asked)) == kept


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"datasets": ["mnits"]}, "--dataset mnits: no result: did you mean 'mnist'?; there are digits, mnist"),
        ({"variants": ["began"]}, "--variants began: no result.*; there are gan, wgan, wgan-gp"),
        ({"where": ["lrr=1"]}, "--where lrr=1: no run has lrr: did you mean 'lr'.*there are .*batch, "),
        ({"where": ["batch=65"]}, "--where batch=65: no run has this value; there are 32, 64"),
        ({"where": ["batch=many"]}, "--where batch=many: no run has this value; there are 32, 64"),
        ({"where": ["seed=1", "dataset=mnist"]}, "--where dataset=mnist: no run has this value; there are digits"),
        ({"where": ["batch"]}, "--where batch: write key=value"),
        ({"where": ["=3"]}, "--where =3: write key=value"),
    ],
)
def test_a_name_that_is_not_there_is_told_with_what_there_is(asked: Any, told: str, some: list[RunRecord]) -> None:
    with pytest.raises(UserError, match=told.replace("?", r"\?").replace("[", r"\[")):
        select(some, **asked)


def test_a_field_of_the_spec_is_not_hidden_by_an_option_of_its_name(record: Make) -> None:
    facts = facts_of(record(spec={"config": {"variant": {"batch": 7, "lr": 1.0}}}).spec)
    assert facts["batch"] == 64 and facts["gan.batch"] == 7 and facts["lr"] == 1.0
