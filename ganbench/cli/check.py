"""`ganbench check`: the conformance kit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganbench.cli.complete import one_of
from ganbench.cli.group import Command
from ganbench.cli.options import plugin_option, require_plugins
from ganbench.errors import UserError
from ganbench.runs.hints import require_no_file
from ganbench.streams import show, tell

if TYPE_CHECKING:
    from ganbench.runs.steps import Begin
    from ganbench.testing.kit import Outcome


@click.command(cls=Command)
@click.argument("name", shell_complete=one_of("variant"))
@plugin_option
@click.option("--device", default="cpu", show_default=True, help="Where to check: cpu, cuda, cuda:1 or mps.")
@click.option("--fake-cuda", is_flag=True, help="Look at it on a CUDA device that is not there, instead.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str, plugins: tuple[Path, ...], device: str, fake_cuda: bool, as_json: bool) -> None:
    """Put a variant through the conformance checks.

    With --fake-cuda it is trained, with every backbone that fits and at its real width, on tensors that lie on a CUDA
    device and hold nothing: operands on two devices, values read on the host, uploads and what no CUDA graph could
    replay are told, and no GPU is needed.
    """
    require_plugins(plugins)
    require_no_file("", [name])
    from ganbench.training.devices import require_name

    require_name(device)
    if fake_cuda:
        _show_looks(name, plugins, device, as_json=as_json)
        return
    import json
    from dataclasses import asdict

    from ganbench.runs.executors.apart import survive

    outcomes, _ = survive(_outcomes, name, plugins, device)
    if as_json:
        show(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    else:
        for outcome in outcomes:
            show(f"{'passed' if outcome.passed else 'FAILED'}  {outcome.name}: {outcome.rule}")
            if outcome.message:
                show(f"        {outcome.message}")
        if any(outcome.traceback for outcome in outcomes):
            tell("Whole tracebacks are printed with --json.")
    if not all(outcome.passed for outcome in outcomes):
        sys.exit(1)


def _outcomes(name: str, plugins: tuple[Path, ...], device: str, begin: Begin) -> list[Outcome]:
    from ganbench.runs.registry import discover
    from ganbench.testing.kit import run_checks
    from ganbench.training.devices import cores, make_repeatable, resolve_device

    where = resolve_device(device)
    if where.type != "cpu":
        make_repeatable(where, cores())
    return run_checks(name, registry=discover(plugins, begin=begin), device=where, begin=begin)


def _show_looks(name: str, plugins: tuple[Path, ...], device: str, *, as_json: bool) -> None:
    """Look at a variant on a device that is not there, and end with 1 where something is wrong."""
    import json
    from dataclasses import asdict

    from ganbench.testing.fake_cuda import look_apart

    if device != "cpu":
        raise UserError(f"--device {device} --fake-cuda: choose one, a device that is there or one that is not")
    looks = look_apart([name], plugins)
    if not looks:
        raise UserError(f"--fake-cuda: {name} fits none of the backbones and data that it is tried on")
    if as_json:
        show(json.dumps([asdict(seen) for seen in looks], indent=1))
    for seen in [] if as_json else looks:
        shape = "×".join(map(str, seen.shape))
        show(f"{'FAILED' if seen.faults else 'passed'}  {seen.backbone} {shape}: {seen.launches:.0f} operations a step")
        for line in (*seen.faults, *seen.remarks):
            show(f"        {line}")
    if any(seen.faults for seen in looks):
        sys.exit(1)
