"""Runs made by hand for pages, with all that may lie beside a record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ganbench.contract.types import Value
from ganbench.reports.page.page import render
from ganbench.results.record import Mark, RunRecord
from ganbench.results.store import ResultStore
from ganbench.training.budget import Budget, Meters

EVIL = (
    '</script><script>hacked=1</script><img src=x onerror="hacked=1"><a href="javascript:hacked=1">e</a>{{7*7}}\u202e'
)
"""What would be heard of, where any of it were taken for more than a text."""


def value(number: float, metric: str = "fid", *, up: bool = False, **facts: Any) -> Value:
    protocol = {"metric": f"{metric}@1", "n_fake": 100, "n_real": 100, "reference": "test split", **facts}
    return Value(number, protocol, 1.0, higher_is_better=up, weights="raw")


def meters_at(share: float, factor: float = 1.0) -> Meters:
    steps = round(100 * share)
    return Meters(steps, 64 * steps, {"D": steps, "G": steps}, 1e9 * steps * factor, 0.5 * steps * factor, 2**20)


def run(record: Callable[..., RunRecord], variant: str, seed: int, level: float, /, **facts: Any) -> RunRecord:
    """Make a run of three marks whose two metrics go to a level."""
    last = facts.pop("last", 1.0)
    marks = [
        Mark(
            share,
            meters_at(share, level),
            {"fid": value(level / share + seed), "kid": value(share - seed / 10 + level / 100, "kid", up=True)},
        )
        for share in (0.2, 0.6, 1.0)
        if share <= last
    ]
    values = {name: [of] for name, of in marks[-1].values.items()} if last == 1.0 else {}
    known = {"spec": {"budget": Budget(6400, "images")}, "meters": meters_at(last, level), "curve": marks}
    known |= {"variant": {"headline": ["fid", "kid"], "family": "loss"}, "provenance": {"machine": {"device": "cpu"}}}
    return record(variant, seed, values, **{**known, **facts})


def traces_of(steps: int, seed: int) -> dict[str, np.ndarray]:
    wave = np.random.default_rng(seed).lognormal(size=(4, steps))
    return dict(zip(("grad_norm/D", "grad_norm/G", "loss/G", "log/k"), wave, strict=True))


def draw(folder: Path, seed: int, names: tuple[str, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for name in names:
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(folder / f"{name}.png")


def vars_of(record: RunRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def page_of(store: ResultStore) -> str:
    records, problems = store.records()
    return render(records, problems, store=store)
