"""The options `--executor` and `--executor-set`: where runs are made."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ganbench.cli.complete import one_of

if TYPE_CHECKING:
    from ganbench.runs.executors.choosing import Chosen
    from ganbench.runs.executors.limits import Limits
    from ganbench.runs.executors.planner import Planned
    from ganbench.runs.executors.worker import Event
    from ganbench.runs.job import Job

Command = TypeVar("Command", bound=Callable[..., Any])


SHORT = "ganbench.executor"
"""Where a context keeps what is said by options of their own, until `--executor-set` takes it in."""


def _kept(context: click.Context, option: click.Parameter, value: Any) -> None:
    if value is not None:
        context.meta.setdefault(SHORT, []).append(f"{option.name}={value}")


def _joined(context: click.Context, option: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    return (*context.meta.pop(SHORT, ()), *value)


def executor_options(command: Command) -> Command:
    """Add the options."""
    own: dict[str, Any] = {"is_eager": True, "expose_value": False, "callback": _kept}  # before --executor-set
    several = (
        click.option(
            "--executor",
            default="local",
            show_default=True,
            shell_complete=one_of("executor", more=("local",)),
            metavar="NAME",
            help="Where runs are made: local, or one of `ganbench list executors`.",
        ),
        click.option(
            "--executor-set",
            "executor_settings",
            multiple=True,
            metavar="KEY=VALUE",
            callback=_joined,
            help="An option of the executor: partition=gpu; see `ganbench list NAME`.",
        ),
        click.option("--gpus-per-run", metavar="N", help="Of --executor ray: 0.25 lets four runs share a GPU.", **own),
        click.option("--address", metavar="HOST:PORT", help="Of --executor ray: a cluster, or auto.", **own),
    )
    for option in reversed(several):
        command = option(command)
    return command


def where_planned(chosen: Chosen, device: str) -> str:
    """Return for which device to plan: that of another machine need not be there."""
    return device if chosen.is_local else "cpu"


def placed(chosen: Chosen, planned: Planned, jobs: int | None, device: str) -> tuple[Chosen, Planned, int, int]:
    """Return an executor that knows the plan, and the plan that knows of it; how many runs a device may make side by
    side, 0 where that is the executor's to say, and how many there may be in all.
    """
    from ganbench.runs.executors.choosing import Local

    if isinstance(chosen.executor, Local):
        parallel = jobs or planned.parallel
        return replace(chosen, executor=Local(planned.devices)), planned, parallel, parallel * len(planned.devices)
    made = [replace(job, device=device) for job in planned.plan.jobs]
    return chosen, replace(planned, plan=replace(planned.plan, jobs=made)), jobs or 0, jobs or len(made)


def events_of(
    chosen: Chosen, todo: Sequence[Job], results: Path, planned: Planned, limits: Limits, parallel: int
) -> Generator[Event]:
    """Have jobs made, and yield what happens."""
    from ganbench.runs.executors.orders import RunOrder
    from ganbench.runs.executors.travelling import Luggage, packed

    luggage = Luggage() if chosen.is_local else packed(todo[0].plugins if todo else ())
    orders = [RunOrder(job, results.absolute(), limits, luggage, planned.modules) for job in todo]
    return chosen.events(orders, results, parallel)
