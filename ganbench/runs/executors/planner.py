"""Planning apart: the plan of a request, made in another process, where plugins may do what they like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ganbench.runs.executors.apart import Key, survive
from ganbench.runs.executors.starting import origins
from ganbench.runs.former import Table, table_of, used_by
from ganbench.runs.registry import FILE, discover
from ganbench.runs.request import Plan, Request
from ganbench.runs.steps import Begin


@dataclass(frozen=True)
class Planned:
    """A plan, and what else the command needs to know of plugins that it has not imported.

    `known`: of those that records of an older schema name; `modules`: the files of what the plan was made with;
    `parallel`: how many runs to make side by side on a device; `devices`: over which they are dealt; `fallen`: by the
    key of a step, why it is not to be carried out in this process.
    """

    plan: Plan
    known: Table
    modules: Mapping[str, str]
    parallel: int
    devices: Sequence[str] = ("cpu",)
    fallen: Mapping[Key, str] = field(default_factory=dict)

    @property
    def broken(self) -> dict[str, str]:
        """The installed plugins that ended or held up the process that imported them, with the reason."""
        return {key[1]: why for key, why in self.fallen.items() if key[0] == "plugin" and key[2] != FILE}


def plan_apart(
    request: Request, *, preset: str | None = None, scale: float = 1.0, asked: Mapping[str, Any] | None = None
) -> Planned:
    """Plan a request, or the part of a preset that is asked for. Raises `UserError` where it is wrong.

    A plugin that ends its process or hangs is left out with its reason, as one that raises is.
    """
    made, fallen = survive(_planned, request, preset, scale, dict(asked or {}))
    return replace(made, fallen=fallen)


def _planned(request: Request, preset: str | None, scale: float, asked: Mapping[str, Any], begin: Begin) -> Planned:
    from ganbench.runs.plan import plan  # these import torch
    from ganbench.runs.presets import plan_preset
    from ganbench.training.devices import all_devices, default_jobs, resolve_device

    device, devices = resolve_device(request.device), all_devices(request.device, request.devices)
    request = replace(request, device=str(device))
    registry = discover(request.plugins, begin=begin)
    if preset is None:
        made = plan(request, registry, begin)
    else:
        made = plan_preset(preset, scale, request, asked, registry, begin)
    known = table_of(used_by(made.jobs, registry))
    return Planned(replace(made, benches={}), known, origins(), default_jobs(device, request.devices), devices)
