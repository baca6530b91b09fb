"""`ganbench doctor`: what is installed and found, and whether every metric gives the number that it should."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganbench.cli.group import Command
from ganbench.cli.options import FullPath, data_option, plugin_option, require_plugins
from ganbench.streams import show

if TYPE_CHECKING:
    from ganbench.runs.doctor import Examined


@click.command(cls=Command)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--weights", type=FullPath(), envvar="GANBENCH_WEIGHTS", help="Folder of metric weights.")
@click.option("--quick", is_flag=True, help="Leave out the self-test of the metrics, which takes a minute.")
@data_option
@plugin_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    device: str, weights: Path | None, quick: bool, data: Path, plugins: tuple[Path, ...], as_json: bool
) -> None:
    """Look at the installation, and test every metric against stored values.

    Versions and whether they fit, devices, data sets and weights that are found, the cache, plugins that are broken or
    clash. Nothing is downloaded. Ends with 1 where something is wrong, a line each.
    """
    import json

    from ganbench.cli.progress import steps_shown
    from ganbench.runs.executors.apart import survive
    from ganbench.training.devices import require_name

    require_name(device)
    require_plugins(plugins)
    with steps_shown() as watch:
        found, fallen = survive(_examined, plugins, data, weights, device, quick, watch=watch)
    cache, faults = _cache()
    told = [f"the {key[0]} {key[1]} cannot be used: {reason}" for key, reason in fallen.items()]
    problems = list(dict.fromkeys([*found["problems"], *told, *faults]))
    if as_json:
        show(json.dumps({**found, "cache": cache, "problems": problems}, indent=1, ensure_ascii=False))
    else:
        show("\n\n".join([*_sections(found, cache), *problems]))
        number = f"{len(problems)} problem{'s' * (len(problems) != 1)} found"
        show(f"\n{number if problems else 'nothing is wrong'}")
    if problems:
        click.get_current_context().exit(1)


def _examined(*arguments: Any) -> dict[str, Any]:
    """Examine apart, and return plain values, which a process without torch can read."""
    from dataclasses import asdict

    from ganbench.runs.doctor import examine

    found: Examined = examine(*arguments)
    return asdict(found)


def _cache() -> tuple[dict[str, Any], list[str]]:
    from ganbench.cli.cache import KINDS
    from ganbench.errors import UserError
    from ganbench.files import cache_folder
    from ganbench.results.upkeep import size_of

    try:
        folder = cache_folder()
    except UserError as error:
        return {}, [str(error)]
    size = sum(size_of(folder / kind) for kind in KINDS if (folder / kind).is_dir())
    there = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    faults = (
        [] if os.access(there, os.W_OK | os.X_OK) else [f"the cache {folder} cannot be written: see GANBENCH_CACHE"]
    )
    return {"folder": str(folder), "bytes": size}, faults


def _sections(found: dict[str, Any], cache: dict[str, Any]) -> list[str]:
    from ganbench.reports.words import aligned, memory

    sections = [
        _listed("versions", found["versions"]),
        _listed("devices", dict.fromkeys(found["devices"], "")),
        _listed("data sets", found["data"]),
        _listed("extractors", found["extractors"]),
        _listed("weights", {w["path"]: f"{memory(w['bytes'])}, sha256 {w['sha256'][:12]}" for w in found["weights"]}),
    ]
    if cache:
        sections.append(_listed("cache", {cache["folder"]: memory(cache["bytes"])}))
    if found["tests"]:
        rows = [
            (test["metric"], test["input"], *(_number(test[key]) for key in ("value", "expected")), _verdict(test))
            for test in found["tests"]
        ]
        sections.append(f"self-test:\n{aligned(('metric', 'input', 'value', 'stored', 'verdict'), rows)}")
        notes = {test["metric"]: test["note"] for test in found["tests"] if test["note"]}
        sections += [_listed("notes", notes)] if notes else []
    return sections


def _listed(title: str, facts: dict[str, str]) -> str:
    wide = max(map(len, facts), default=0)
    lines = [f"  {name:{wide}}  {fact}".rstrip() for name, fact in facts.items()]
    return "\n".join([f"{title}:", *(lines or ["  none"])])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.6g}"


def _verdict(test: dict[str, Any]) -> str:
    if test["fault"]:
        return "WRONG"
    return "–" if test["value"] is None or test["expected"] is None else "right"
