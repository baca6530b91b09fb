"""Words on the command line that are no options or commands: a sentence with what would be right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import click

from ganbench.cli.words import known, meant
from ganbench.errors import brief, nearest
from ganbench.runs.hints import require_no_file

TAKE_OPTIONS = ("run", "probe")
"""The commands in which plugins have options, set with `--set`."""
DASHES = "‐‑‒–—―−"
"""What an editor or a web page makes of hyphens."""
_TAKEN = {"check": "variant", "show": "run", "sample": "run"}
"""What a command takes one of, where that is no kind of plugin."""
_NUMBER = re.compile(r"-[\d.]")


def path_of(context: click.Context) -> str:
    """Return the words that called a command, after `ganbench`."""
    names = []
    while context.parent is not None:
        names.append(context.info_name or "")
        context = context.parent
    return " ".join(reversed(names))


def unknown_option(context: click.Context, name: str, given: Sequence[str]) -> str:
    """Say what to write for an option that there is not. `given`: the words after the command."""
    path, flags = path_of(context), _flags(context)
    value = _value_of(name, given)
    if not name.startswith("--"):
        return _short(name, flags, given)
    bare, said = name.strip("-").lower().replace("_", "-"), f"no such option {brief(name)}"
    if f"--{bare}" in flags:
        return f"{said}: did you mean --{bare}?"
    if not path:
        return f"{said}: options come after a command, as in `ganbench run --variants gan --dataset mnist`"
    hint, missing = known(path).get(bare, ("", ""))
    if hint and ("ganbench" in hint or flags.keys() >= set(re.findall("--[a-z-]+", hint))):
        return f"{said}: {hint.format(brief(value) if value is not None else missing)}"
    plain = [flag.removeprefix("--") for flag in flags]
    if close := nearest(bare, plain, cutoff=0.8):
        return f"{said}: did you mean --{close}?"
    if owners := [other for other in _elsewhere(context, f"--{bare}") if other != path]:
        return f"{said} in `ganbench {path}`: it is one of `ganbench {owners[0]}`"
    near = f": did you mean --{close}?" if (close := nearest(bare, plain)) else ""
    if path in TAKE_OPTIONS:
        option = brief(bare.replace("-", "_"))
        told = "; " if not near else " "
        return (
            f"{said}{near}{told}{'O' if near else 'o'}ptions of variants, backbones and data sets are set with "
            f"--set {option}={brief(value) if value is not None else 'VALUE'}"
        )
    return f"{said}{near or f'; `ganbench {path} --help` lists them'}"


def stray(context: click.Context, given: Sequence[str], strays: Sequence[str]) -> str:
    """Say what to write for words that belong to no option. `given`: all words after the command."""
    path, word = path_of(context), strays[0]
    if word[:1] in DASHES:
        return f"{brief(word)} begins with a dash that is no hyphen: write --{brief(word.lstrip(DASHES + '-'))}"
    before, value = _before(context, given, len(_arguments(context)))
    listed = brief(" ".join(strays))
    said = f"{listed!r} belongs to no option"
    if before == "--set" or (re.fullmatch(r"[\w.-]+=.*", word, re.DOTALL) and path in TAKE_OPTIONS):
        each = " ".join(
            f"--set {brief(text)}" for text in ([value, *strays] if before == "--set" and value else strays)
        )
        return f"{said}: each option has a --set of its own, as in {brief(each, 300)}"
    if before == "--plugin":
        return f"{said}: each file has a --plugin of its own, as in --plugin {brief(word)}"
    joined = ",".join(text.strip(",") for text in (value or "", *strays) if text.strip(","))
    if before == "--seeds":
        return f"{said}: seeds are parted by commas alone, as in --seeds {brief(joined, 300)}; one number N is 0 to N-1"
    if before in ("--variants", "--dataset", "--metrics", "--marks-metrics", "--at") and path in TAKE_OPTIONS:
        return f"{said}: names are parted by commas alone, as in {before} {brief(joined, 300)}"
    if before:
        return f"{said}: {before} takes one value, {brief(value or '')!r}"
    return f"{said}: {_positional(context, path, strays)}"


def unknown_command(context: click.Context, word: str, commands: Sequence[str]) -> str:
    """Say which command is meant by a word that is none."""
    path = path_of(context)
    said = f"no such command {brief(word)!r}"
    if other := meant(path, word, commands):
        return f"{said}: write `ganbench {other}`"
    if close := nearest(word, commands):
        return f"{said}: did you mean {close!r}?"
    return f"{said}; there are {', '.join(commands)}"


def _positional(context: click.Context, path: str, strays: Sequence[str]) -> str:
    if path in TAKE_OPTIONS:
        variants = "--variants" if path == "run" else "--variant"
        require_no_file(variants, strays[:1])
        options = [variants, "--dataset"]
        given = [f"{option} {brief(text)}" for option, text in zip(options, strays, strict=False)]
        return f"write {' '.join(given)}"
    if _arguments(context):
        return f"`ganbench {path}` takes one {_TAKEN.get(path, 'kind')} at a time"
    if "--results" in _flags(context):
        return f"write --results {brief(strays[0])}"
    return f"`ganbench {path}` takes options alone"


def _short(name: str, flags: Mapping[str, click.Parameter], given: Sequence[str]) -> str:
    token = next((text for text in given if text.startswith(name) and not text.startswith("--")), name)
    long = "-" + token.partition("=")[0]
    if len(token) > 2 and long in flags:
        return f"{brief(token)} has one hyphen too few: write {long}"
    if _NUMBER.match(token):
        return f"{brief(token)} is taken for an option: write a value that begins with a hyphen after an equals sign"
    likely = [flag for flag in flags if flag.startswith(f"--{name[1:2]}")] if len(name) == 2 else []
    hint = f": did you mean {' or '.join(likely)}?" if likely else ", and none that is short but -h"
    return f"no such option {brief(token)}{hint}"


def _flags(context: click.Context) -> dict[str, click.Parameter]:
    params = context.command.get_params(context)
    return {flag: p for p in params if isinstance(p, click.Option) for flag in p.opts if flag.startswith("--")}


def _arguments(context: click.Context) -> list[click.Parameter]:
    return [param for param in context.command.get_params(context) if isinstance(param, click.Argument)]


def _elsewhere(context: click.Context, flag: str) -> list[str]:
    """Return the commands that have an option."""
    root = context.find_root()
    group = root.command
    if not isinstance(group, click.Group):
        return []
    commands = {name: group.get_command(root, name) for name in group.list_commands(root)}
    return [name for name, each in commands.items() if each and any(flag in param.opts for param in each.params)]


def _value_of(name: str, given: Sequence[str]) -> str | None:
    """Return the value that follows an option, where there is one."""
    for position, text in enumerate(given):
        if text.startswith(f"{name}="):
            return text.partition("=")[2]
        if text == name:
            following = given[position + 1 : position + 2]
            return following[0] if following and (following[0][:1] != "-" or _NUMBER.match(following[0])) else None
    return None


def _before(context: click.Context, given: Sequence[str], arguments: int) -> tuple[str | None, str | None]:
    """Return the option with a value that stands in front of the first word that belongs to none, and its value."""
    flags, before, position = _flags(context), tuple[str | None, str | None]((None, None)), 0
    while position < len(given):
        text = given[position]
        flag, equals, value = text.partition("=")
        param = flags.get(flag)
        position += 1
        if param is None:
            if arguments == 0:
                break
            arguments -= 1
        elif isinstance(param, click.Option) and not param.is_flag and not equals:
            before, position = (flag, given[position] if position < len(given) else None), position + 1
        elif not equals:
            before = None, None
        else:
            before = flag, value
    return before
