"""`ganbench list`: what is installed, what is broken, and all that is known of one name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganbench.cli.complete import one_of
from ganbench.cli.group import Command
from ganbench.cli.options import plugin_option, require_plugins
from ganbench.streams import show, tell

if TYPE_CHECKING:
    from ganbench.runs.steps import Begin

Facts = dict[str, list[dict[str, str]]]
KINDS = (
    "variants",
    "datasets",
    "backbones",
    "metrics",
    "extractors",
    "presets",
    "observers",
    "experiments",
    "executors",
)
SINGULAR = tuple(kind.removesuffix("s") for kind in KINDS)


@click.command(cls=Command)
@click.argument(
    "what",
    default="all",
    shell_complete=one_of(*SINGULAR, more=("all", *KINDS)),
    metavar=f"[all|{'|'.join(KINDS)}|NAME]",
)
@plugin_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(what: str, plugins: tuple[Path, ...], as_json: bool) -> None:
    """Show what is installed, from which distribution, and what is broken.

    With the NAME of a plugin: its options with defaults, meaning and source, and what a variant says of its paper.
    """
    require_plugins(plugins)
    import json

    from ganbench.runs.executors.apart import survive

    if what not in ("all", *KINDS):
        found, _ = survive(_named, plugins, what)
        show(json.dumps(found, indent=1, ensure_ascii=False) if as_json else "\n\n".join(map(_page, found)))
        return
    (everything, clashes, broken), _ = survive(_installed, plugins)
    if not plugins:
        from ganbench.runs.names import remember

        named = {kind.removesuffix("s"): sorted({row["name"] for row in rows}) for kind, rows in everything.items()}
        remember({**named, "family": sorted({row["family"] for row in everything["variants"]})})
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


def _named(plugins: tuple[Path, ...], name: str, begin: Begin) -> list[dict[str, Any]]:
    """Return all that is known of the plugins of a name, of whichever kind."""
    from dataclasses import asdict

    from ganbench.errors import UserError, quoted, suggestion
    from ganbench.runs.describe import average_of, describe
    from ganbench.runs.registry import HOOKS, discover
    from ganbench.runs.settings import AVERAGE

    registry = discover(plugins, begin=begin)
    found: list[dict[str, Any]] = []
    for kind in HOOKS:
        for entry in registry.entries[kind].get(name, []):
            item: Any = entry.item
            itself = isinstance(item, type) or kind == "metric"
            description = asdict(describe(item if itself else type(item)))
            if kind == "preset":
                description = {"text": item.source, "options": [], "sections": _of_preset(item)}
            if kind == "variant" and all(option["name"] != AVERAGE for option in description["options"]):
                description["options"] = [*description["options"], asdict(average_of(item))]
            told = {
                "variant": ("task", "paper_images", "one_device"),
                "metric": ("extractor", "any_extractor", "owner"),
                "observer": ("form",),
                "experiment": ("variants", "makes_runs"),
            }.get(kind, ())
            more = {name: getattr(item, name) for name in told}
            found.append({"kind": kind, **_facts(entry), **more, **description})
    if not found:
        known = {other for kind in HOOKS for other in registry.entries[kind]} | {"all", *KINDS}
        raise UserError(
            f"nothing installed is called {quoted(name)}{suggestion(name, sorted(known))} "
            f"(`ganbench list` shows all names, `ganbench list variants` those of the variants)"
        )
    return found


def _of_preset(preset: Any) -> dict[str, str]:
    asked = {key: " ".join(map(str, v)) if isinstance(v, list | tuple) else str(v) for key, v in preset.request.items()}
    return {
        "Data sets": ", ".join(preset.datasets),
        "Rows": "\n".join(" ".join([e.label or e.variant, *e.settings]) for e in preset.entries),
        "Settings": " ".join(preset.settings),
        "Request": "\n".join(f"{key}: {value}" for key, value in asked.items()),
        "Departures": preset.departures,
        "Published": f"{len(preset.published)} numbers, shown beside the rows of a report" if preset.published else "",
    }


def _page(found: dict[str, Any]) -> str:
    """Write what is known of one plugin for a terminal."""
    lines = [f"{found['name']} ({found['kind']}, from {found['from']}): {found['summary']}"]
    told = {
        "Paper": found.get("paper", ""),
        "Family": found.get("family", ""),
        "Task": found.get("task", ""),
        "Networks": found.get("architecture") or ("those of the backbone" if found["kind"] == "variant" else ""),
        "Features": _features_of(found),
        "Asked for": _asked_for(found),
        "Takes": ", ".join(found.get("variants", ())),
        "Looks at": _looks_at(found),
        **found["sections"],
    }
    if reason := found.get("one_device"):
        told["Devices"] = f"one: {reason}"
    if images := found.get("paper_images"):
        told["Images"] = f"{images:,} real ones in its paper's runs (`--budget {images}-images`)"
    lines += [_paragraph(found["text"], "  ")] if found["text"] else []
    lines += [_paragraph(text, f"  {word + ':':11} ") for word, text in told.items() if text]
    if found["options"]:
        owner = found.get("owner") or found["name"]
        option = "--executor-set " if found["kind"] == "executor" else f"--set {owner}."
        lines.append(f"  Options, as `{option}NAME=VALUE`:")
    for option in found["options"]:
        source = f" [{option['source']}]" if option["source"] else ""
        lines.append(f"    {option['name']}={option['default']}  ({option['kind']})")
        lines += [_paragraph(f"{option['meaning']}{source}", "        ")] if option["meaning"] or source else []
    return "\n".join(lines)


def _asked_for(found: dict[str, Any]) -> str:
    """Say how a command is told of what has an option or a command of its own."""
    if found["kind"] == "observer":
        return f"--observe {found['form'] or found['name']}"
    if found["kind"] == "executor":
        return f"--executor {found['name']}"
    return f"ganbench experiment {found['name']}" if found["kind"] == "experiment" else ""


def _looks_at(found: dict[str, Any]) -> str:
    """Say what an experiment looks at."""
    if found["kind"] != "experiment":
        return ""
    return "runs: its own, or those of a folder (--runs)" if found["makes_runs"] else "data of its own"


def _features_of(found: dict[str, Any]) -> str:
    """Say whose features a metric sees."""
    if not found.get("extractor"):
        return ""
    others = f"; with another as `{found['name']}@EXTRACTOR`" if found["any_extractor"] else ""
    return f"of the extractor {found['extractor']}{others}"


def _paragraph(text: str, lead: str) -> str:
    """Fold text at 100 columns, its first line after `lead`, the others below."""
    from textwrap import fill

    below = " " * len(lead)
    lines = text.splitlines()
    return "\n".join(
        fill(line, 100, initial_indent=below if number else lead, subsequent_indent=below)
        for number, line in enumerate(lines)
        if line
    )


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
    elif isinstance(paper := getattr(item, "paper", None), str):  # of an experiment
        facts["paper"] = paper
    return facts
