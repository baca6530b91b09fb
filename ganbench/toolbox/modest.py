"""Requests for runs that two cores make in minutes, for experiments that look at the weights of finished runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def modest_runs(asked: Mapping[str, Any], **unless_named: Any) -> dict[str, Any]:
    """Return what is asked for as a request for runs of three seeds, of which nothing is scored that takes time.

    `unless_named`: data, size and budget where no data are named; then the usual backbone is half as wide as it is,
    unless a backbone or a width are named.
    """
    usual: dict[str, Any] = {"seeds": 3, "metrics": ("grad-norm-g",), "marks": 1}
    settings = list(asked.get("set", ()))
    if "dataset" not in asked:
        usual |= unless_named
        if "backbone" not in asked and not any("width=" in each for each in settings):
            settings.append("dcgan.width=32")
    return {**usual, **asked, "set": settings}
