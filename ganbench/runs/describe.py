"""What a plugin says of itself, read from its docstrings: options with meaning and source, objective, departures."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ganbench.runs.options import config_class

SECTIONS = ("Objective", "Departures", "Budget", "Published", "Equals")
"""Words that begin a section of a variant's docstring, each followed by a colon; `Equals`: what it is by default."""
NUMBERS = "Published"
"""The section whose numbers have a line each: a new one begins with its name, or with the word of the section."""
SCORE = re.compile(r"(FID|IS|KID)\b")


@dataclass(frozen=True)
class Option:
    """An option of a plugin. `kind`: what it may be, in words. `source`: where meaning and default stand."""

    name: str
    default: str
    kind: str
    meaning: str
    source: str


@dataclass(frozen=True)
class Description:
    """What a plugin says of itself. `sections`: their text by their word."""

    text: str
    options: Sequence[Option] = ()
    sections: Mapping[str, str] = field(default_factory=dict)


def describe(owner: Any) -> Description:
    """Read the docstrings of a plugin (of a metric, that of `compute`) and of its options, as far as they say it."""
    measured = getattr(owner, "compute", None)
    text, sections = _sections(inspect.cleandoc((measured or owner).__doc__ or ""))
    config = config_class(owner)
    options = options_of(config) if config else ()
    return Description(text if not isinstance(measured, partial) else "", options, sections)


def sections_of(owner: type) -> dict[str, str]:
    """Read the sections of a plugin's docstring alone."""
    return _sections(inspect.cleandoc(owner.__doc__ or ""))[1]


def average_of(variant: Any) -> Option:
    """Return the option that the harness gives every variant."""
    declared = variant.ema_half_life_images
    source = "its class" if declared is not None else ""
    meaning = (
        "half-life of averaged weights in real images served, as 500k, at most 5 % of those served; none: no average"
    )
    return Option("ema", "none" if declared is None else f"{declared:g}", "number > 0 or none", meaning, source)


def options_of(config: type) -> list[Option]:
    """Return the options that a dataclass declares, each with what its docstring says.

    There an option is a line `name: meaning (source).`, or `name, name: ...` for several; what goes on in further lines
    is indented. The source is the last parenthesis.
    """
    from pydantic import TypeAdapter

    fields = {f.name: f for f in dataclasses.fields(config)}
    said: dict[str, str] = {}
    for cls in reversed(config.__mro__):  # options may be inherited
        said |= _entries(inspect.cleandoc(vars(cls).get("__doc__") or ""), fields)
    schema = TypeAdapter[Any](config).json_schema(mode="validation")
    found = []
    for name, one in fields.items():
        meaning, source = _sourced(said.get(name, ""))
        kind = _in_words(schema["properties"][name], schema.get("$defs", {}))
        found.append(Option(name, _written(_default(one)), kind, meaning, source))
    return found


def _sections(doc: str) -> tuple[str, dict[str, str]]:
    lead, found = list[str](), dict[str, list[str]]()
    lines = lead
    for line in doc.splitlines():
        if begun := re.match(rf"({'|'.join(SECTIONS)}):\s*", line):
            lines = found.setdefault(begun[1], [])
            line = line[begun.end() :]
        if lines is found.get(NUMBERS) and lines and (begun or SCORE.match(line)):
            line = f"\n{line}"
        lines.append(line)
    return _joined(lead), {word: _lines(" ".join(text)) for word, text in found.items()}


def _lines(text: str) -> str:
    return "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


def _joined(lines: Sequence[str]) -> str:
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines).strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _entries(doc: str, names: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    current: tuple[str, ...] = ()
    for line in doc.splitlines():
        begun = re.match(r"`?(\w+(?:`?, `?\w+)*)`?: +", line)
        if begun and set(told := tuple(re.findall(r"\w+", begun[1]))) <= set(names):
            current, line = told, line[begun.end() :]
        elif not line.startswith(" "):
            current = ()
        for name in current:
            found[name] = f"{found.get(name, '')} {line.strip()}".strip()
    return found


def _sourced(entry: str) -> tuple[str, str]:
    """Take the last parenthesis, which is the source, off an entry."""
    entry = entry.removesuffix(".")
    if not entry.endswith(")"):
        return entry, ""
    depth = 0
    for place in range(len(entry) - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(entry[place], 0)
        if not depth:
            return entry[:place].strip().removesuffix("."), entry[place + 1 : -1]
    return entry, ""


def _default(one: dataclasses.Field[Any]) -> Any:
    if one.default_factory is not dataclasses.MISSING:
        return one.default_factory()
    return one.default


def _written(value: Any) -> str:
    """Write a default as `--set` takes it."""
    if isinstance(value, list | tuple):
        return ",".join(map(_written, value))
    return str(value).lower() if isinstance(value, bool) or value is None else f"{value}"


def _in_words(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Say what a JSON schema lets through."""
    if reference := schema.get("$ref"):
        return _in_words(definitions[reference.rpartition("/")[2]], definitions)
    if choices := schema.get("anyOf"):
        return " or ".join(_in_words(choice, definitions) for choice in choices)
    if "const" in schema or "enum" in schema:
        return " or ".join(map(str, schema.get("enum", [schema.get("const")])))
    match schema.get("type"):
        case "array":
            parts = schema.get("prefixItems")
            if parts:
                return ", ".join(_in_words(part, definitions) for part in parts)
            return f"list: {_in_words(schema.get('items', {}), definitions)}"
        case "number" | "integer" as kind:
            return f"{'whole number' if kind == 'integer' else 'number'}{_bounds(schema)}"
        case "boolean":
            return "true or false"
        case "null":
            return "none"
    return "text"


def _bounds(schema: Mapping[str, Any]) -> str:
    marks = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    said = [f"{mark} {schema[key]:g}" for key, mark in marks.items() if isinstance(schema.get(key), int | float)]
    finite = [bound for bound in said if "inf" not in bound]
    return f" {' and '.join(finite)}" if finite else ""
