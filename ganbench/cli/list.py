"""`ganbench list`: what is installed, and what is broken."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganbench.cli.group import Command
from ganbench.cli.options import plugin_option, require_plugins
from ganbench.streams import show, tell

if TYPE_CHECKING:
    from ganbench.runs.steps import Begin

Facts = dict[str, list[dict[str, str]]]
KINDS = ("variants", "datasets", "backbones", "metrics", "extractors", "presets")


@click.command(cls=Command)
@click.argument(
    "what",
    default="all",
    type=click.Choice(["all", *KINDS]),
)
@plugin_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(what: str, plugins: tuple[Path, ...], as_json: bool) -> None:
    """Show what is installed, from which distribution, and what is broken."""
    require_plugins(plugins)
    import json

    from ganbench.runs.executors.apart import survive

    (everything, clashes, broken), _ = survive(_installed, plugins)
    shown = {title: rows for title, rows in everything.items() if what in ("all", title)}
    if as_json:
        show(json.dumps({**shown, "broken": broken}, indent=1))
        return
    for title, rows in shown.items():
        show(f"{title}:")
        wide = max((len(row["name"]) for row in rows), default=0)
        for row in rows:
            extra = "; ".join(filter(None, (row.get("paper", ""), row.get("family", ""), row.get("architecture", ""))))
            about = f"{row['summary']} [{extra}]" if extra else row["summary"]
            show(f"  {row['name']:{wide}}  {about}  ({row['from']})")
    for clash in clashes:
        tell(f"Clash: {clash}")
    for name, error in broken.items():
        tell(f"Broken: {name}: {error}")


def _installed(plugins: tuple[Path, ...], begin: Begin) -> tuple[Facts, list[str], dict[str, str]]:
    """Return the facts of what is installed, by kind, the clashes, and what is broken with its reason."""
    from ganbench.runs.registry import HOOKS, discover

    registry = discover(plugins, begin=begin)
    entries = {kind: sorted(registry.entries[kind].items()) for kind in HOOKS}
    facts: Facts = {f"{kind}s": [_facts(e) for _, owners in named for e in owners] for kind, named in entries.items()}
    clashes = [
        f"two plugins claim the {kind} {name!r}: {' and '.join(entry.owner for entry in owners)}"
        for kind, named in entries.items()
        for name, owners in named
        if len(owners) > 1
    ]
    return facts, clashes, registry.broken


def _facts(entry: Any) -> dict[str, str]:
    item, origin = entry.item, entry.origin
    facts = {"name": item.name, "summary": item.summary, "from": f"{origin.distribution} {origin.version}".strip()}
    if isinstance(item, type):
        own = "own architecture" if item.own_architecture else ""  # type: ignore[attr-defined]
        facts |= {"paper": item.paper, "family": item.family, "architecture": own}  # type: ignore[attr-defined]
    return facts
