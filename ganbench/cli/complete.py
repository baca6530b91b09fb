"""Completion in the shell of what plugins offer: variants, data sets, metrics and more, by their names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def one_of(*kinds: str, more: Sequence[str] = ()) -> Complete:
    """Complete one name of these kinds. `more`: words that stand beside them."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in _fitting(incomplete, kinds, more)]

    return complete


def some_of(*kinds: str, more: Sequence[str] = ()) -> Complete:
    """Complete the last of several names parted by commas."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        given = set(before.split(","))
        names = [name for name in _fitting(last, kinds, more) if name not in given]
        return [CompletionItem(f"{before}{comma}{name}") for name in names]

    return complete


def _fitting(incomplete: str, kinds: Sequence[str], more: Sequence[str]) -> list[str]:
    """Return the names that begin so; behind an @ of a metric those of extractors, of a family those of families."""
    try:
        names = _names()
    except Exception:  # a shell wants words, or none
        return []
    known = [*more, *(name for kind in kinds for name in names.get(kind, ()))]
    if "metric" in kinds and "@" in incomplete:
        metric = incomplete.partition("@")[0]
        known = [f"{metric}@{extractor}" for extractor in names.get("extractor", ())]
    if "variant" in kinds and incomplete.startswith("family:"):
        known = [f"family:{family}" for family in names.get("family", ())]
    return [name for name in known if name.startswith(incomplete)]


def _names() -> Any:
    """Return what is installed: remembered, else found in a process of its own, which takes seconds once."""
    from ganbench.runs.names import names_apart, remember, remembered

    if (kept := remembered()) is not None:
        return kept
    from ganbench.runs.executors.apart import survive

    shown, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)  # what plugins print is not to appear between what a user types
        found, _ = survive(names_apart)
    finally:
        os.dup2(shown, 2)
        os.close(shown)
        os.close(nowhere)
    remember(found)
    return found
