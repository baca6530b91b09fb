"""The command that a page shows for a run plans that very run."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from click.core import ParameterSource

from ganbench.cli.run import command
from ganbench.contract.types import Value
from ganbench.reports.page.command import command_of
from ganbench.results.record import RunRecord
from ganbench.runs.job import Job
from ganbench.runs.plan import plan
from ganbench.runs.presets import plan_preset
from ganbench.runs.registry import Registry, discover
from ganbench.runs.request import Request


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


def planned(text: str, registry: Registry) -> list[Job]:
    """Plan what a line for a shell asks for, as the command does."""
    first, second, *rest = shlex.split(text)
    assert (first, second) == ("ganbench", "run")
    context = command.make_context("run", rest)
    fields: dict[str, Any] = {
        name: context.params[name] for name in Request.__dataclass_fields__ if name in context.params
    }
    asked = {
        name: value
        for name, value in fields.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE and name != "settings"
    }
    fields |= {name: fields[name] or () for name in ("marks_metrics", "score", "variants", "datasets")}
    preset = context.params["preset"]
    request = Request(**{**fields, "size": fields["size"] or 0, "device": "cpu", "preset": ""})
    if preset:
        asked.pop("preset")
        return plan_preset(preset, context.params["scale"], request, asked, registry).jobs
    return plan(request, registry).jobs


def recorded(job: Job) -> RunRecord:
    """What such a run leaves: values under the protocols asked for."""
    values = {
        name: [Value(1.0, {**facts, "reference": f"{job.reference} split"}, weights=job.score[0])]
        for name, facts in job.measured.items()
    }
    return RunRecord(job.spec, "done", values=values, variant={"headline": list(job.metrics)})


@pytest.mark.parametrize(
    "arguments",
    [
        "--variants gan --dataset digits --seeds 7-7 --budget 640-images",
        "--variants wgan --dataset digits --budget 2.5e12-flops --batch 32 --set clip=0.07 --set lr=3e-5 --seeds 1",
        "--variants gan --dataset digits --set gan.ema=500k --set dcgan.width=32 --set 'betas=[0.1,0.99]' --seeds 1",
        "--variants r1 --dataset digits --set r1.ema=none --score raw --reference train --samples 100 --seeds 1",
        "--variants gan --dataset ring --backbone pacgan --budget 12345-updates --precision bf16 --seeds 1",
        "--variants real --dataset digits --metrics fd-classifier,precision@classifier --set prdc.k=3 --seeds 1",
    ],
)
def test_it_plans_the_same_run(arguments: str, registry: Registry) -> None:
    for job in planned(f"ganbench run {arguments}", registry):
        again = planned(command_of(recorded(job)), registry)
        found = {each.spec.id: each for each in again}
        assert job.spec.id in found, (command_of(recorded(job)), [each.spec for each in again], job.spec)
        same = found[job.spec.id]
        assert (same.metrics, same.measured, same.score) == (job.metrics, job.measured, job.score)


def test_a_row_of_a_preset_is_planned_alone_where_its_options_tell_it(registry: Registry) -> None:
    asked = "--preset pacgan-synthetic --variants pacgan --scale 0.005 --dataset ring --seeds 1"
    jobs = planned(f"ganbench run {asked}", registry)
    for job in jobs:
        again = [each.spec for each in planned(command_of(recorded(job)), registry)]
        assert job.spec in again
        assert len(again) == 1 or "packing" not in job.spec.options


def test_a_shell_takes_each_argument_for_one(record: Callable[..., RunRecord]) -> None:
    evil = "a b'; rm -rf $HOME `x` \n"
    made = record(evil, 0, spec={"dataset": f"folder:{evil}", "options": {"text": evil}})
    parts = shlex.split(command_of(made))
    assert parts.count(evil) == 1 and f"folder:{evil}" in parts
    assert not {"rm", "$HOME", "`x`"} & set(parts)


def test_marks_and_both_weights_are_asked_for_where_a_run_had_them(record: Callable[..., RunRecord]) -> None:
    values: dict[str, Sequence[Value]] = {"fid": [Value(1.0, weights="ema"), Value(2.0, weights="raw")]}
    parts = shlex.split(command_of(replace(record("r1", 0, values), curve=[object()] * 3)))
    assert parts[parts.index("--score") + 1] == "ema,raw" and parts[parts.index("--marks") + 1] == "3"
