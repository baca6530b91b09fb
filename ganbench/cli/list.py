"""`ganbench list`: what is installed, and what is broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ganbench.cli.group import Command
from ganbench.cli.options import plugin_option, require_plugins
from ganbench.streams import show, tell

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

    from ganbench.runs.registry import HOOKS, discover

    registry = discover(plugins)
    shown = {}
    for kind in HOOKS:
        if what in ("all", f"{kind}s"):
            shown[f"{kind}s"] = [
                _facts(entry) for _, owners in sorted(registry.entries[kind].items()) for entry in owners
            ]
    if as_json:
        show(json.dumps({**shown, "broken": registry.broken}, indent=1))
        return
    for title, rows in shown.items():
        show(f"{title}:")
        wide = max((len(row["name"]) for row in rows), default=0)
        for row in rows:
            extra = "; ".join(filter(None, (row.get("paper", ""), row.get("family", ""), row.get("architecture", ""))))
            about = f"{row['summary']} [{extra}]" if extra else row["summary"]
            show(f"  {row['name']:{wide}}  {about}  ({row['from']})")
    claimed = [(kind, name) for kind in HOOKS for name, owners in registry.entries[kind].items() if len(owners) > 1]
    for kind, name in claimed:
        who = " and ".join(entry.owner for entry in registry.entries[kind][name])
        tell(f"Clash: two plugins claim the {kind} {name!r}: {who}")
    for name, error in registry.broken.items():
        tell(f"Broken: {name}: {error}")


def _facts(entry: Any) -> dict[str, str]:
    item, origin = entry.item, entry.origin
    facts = {"name": item.name, "summary": item.summary, "from": f"{origin.distribution} {origin.version}".strip()}
    if isinstance(item, type):
        own = "own architecture" if item.own_architecture else ""  # type: ignore[attr-defined]
        facts |= {"paper": item.paper, "family": item.family, "architecture": own}  # type: ignore[attr-defined]
    return facts
