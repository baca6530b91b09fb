"""Keywords of Python read as the options of a command: for the API, and for what asks for runs on its own."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from ganbench.cli.options import NO_METRICS, Metrics, Seeds
from ganbench.errors import UserError, suggestion

SPELT = {"label": "class"}
"""Options whose name is a word of Python's own, by what they are called here."""


@contextmanager
def asked(name: str, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Read keywords as the options of a command, and give what the command would get. Raises `UserError`."""
    command: click.Command = import_module(f"ganbench.cli.{name}").command
    words, places = _given(command, name, given)
    try:
        # A command keeps its option of help from the first context that it had.
        context = command.make_context(name, [*words, "--", *places], help_option_names=["-h", "--help"])
    except click.UsageError as error:
        raise UserError(error.format_message()) from None
    with context:
        yield dict(context.params)


def line_of(command: click.Command, name: str, given: Mapping[str, Any]) -> str:
    """Write keywords as the line for a shell that gives a command these options."""
    words, places = _given(command, name, given)
    return shlex.join(["ganbench", name, *places, *words])


def _given(command: click.Command, name: str, given: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the options of a command, and its arguments in their order, as words of a command line."""
    options = {_keyword(param): param for param in command.params}
    places: dict[str, str] = {}
    words: list[str] = []
    for key, value in given.items():
        param = options.get(SPELT.get(key, key))
        if param is None:
            known = ", ".join(options)
            hint = suggestion(key, options) or f" (it has {known})"
            raise UserError(f"ganbench.{name} has no option {key!r}{hint}")
        if isinstance(param, click.Argument):
            places[key] = str(value)
        else:
            words += _words(key, param, value)
    return words, [places[key] for key in options if key in places]


def _keyword(param: click.Parameter) -> str:
    longest = max(param.opts, key=len)
    return longest.lstrip("-").replace("-", "_")


def _words(key: str, param: click.Parameter, value: Any) -> list[str]:
    """Write an option as on the command line; nothing for None and for a switch that is off."""
    flag = max(param.opts, key=len)
    if value is None:
        return []
    if isinstance(param, click.Option) and param.is_flag:
        if not isinstance(value, bool):
            raise UserError(f"{key}={value!r}: it is a switch, write True or False")
        return [flag] if value else []
    if isinstance(value, Mapping):
        value = settings_of(value)
    if isinstance(param.type, Metrics) and not isinstance(value, str) and not value:
        value = NO_METRICS
    if isinstance(param.type, Seeds) and isinstance(value, list | tuple | range):
        value = [f"{seed}-{seed}" for seed in value]  # [3] is that one seed; 3 alone would be three of them
    several = list(value) if getattr(param, "multiple", False) and isinstance(value, list | tuple) else [value]
    texts = [_text(each) for each in several]
    return [word for text in texts for word in ([f"{flag}={text}"] if flag.startswith("--") else [flag, text])]


def settings_of(value: Any) -> list[str]:
    """Write options, a mapping, a text or several, as `--set` takes them."""
    if isinstance(value, Mapping):
        return [f"{name}={_text(each)}" for name, each in value.items()]
    return [value] if isinstance(value, str) else list(value or ())


def _text(value: Any, *, inner: bool = False) -> str:
    """Write a value as on the command line: a list parted by commas, one within another in brackets."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        text = ",".join(_text(each, inner=True) for each in value)
        return f"[{text}]" if inner else text
    return str(value)
