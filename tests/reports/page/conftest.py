"""A folder of results made by hand, one with hostile words in every place, and a browser."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_records import EVIL, draw, page_of, run, traces_of, value, vars_of

from ganbench.results.record import RunRecord
from ganbench.results.store import ResultStore
from ganbench.training.budget import Budget

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]


@pytest.fixture
def store(record: Callable[..., RunRecord], tmp_path: Path) -> ResultStore:
    """Two variants and a control of two seeds, with traces and pictures, and a run that diverged."""
    kept = ResultStore(tmp_path / "results")
    for variant, level in (("gan", 9.0), ("lsgan", 4.0)):
        for seed in (0, 1):
            made = run(record, variant, seed, level)
            kept.add(made, traces_of(100, seed))
            draw(kept.path(made.spec).with_suffix(".samples"), seed, ("020", "060", "100", "nearest", "interpolation"))
    broken = run(record, "wgan", 0, 20.0, last=0.6, status="diverged", error="a loss was NaN")
    kept.add(broken, {**traces_of(60, 0), "loss/G": np.array([1.0] * 50 + [math.nan] * 10)})
    control = run(record, "real", 0, 1.0)
    kept.add(record("real", 0, control.values, spec={"budget": Budget(6400, "images")}, variant={"family": "control"}))
    return kept


@pytest.fixture
def evil_store(record: Callable[..., RunRecord], tmp_path: Path) -> ResultStore:
    """Runs whose every word wants to be more than a word."""
    kept = ResultStore(tmp_path / "evil")
    for seed in (0, 1):
        made = run(
            record,
            EVIL,
            seed,
            3.0,
            spec={
                "budget": Budget(6400, "images"),
                "dataset": EVIL,
                "backbone": EVIL,
                "options": {EVIL: EVIL},
                "config": {"variant": {EVIL: EVIL}},
                "preset": EVIL,
            },
            error=EVIL if seed else "",
            status="error" if seed else "done",
            unscored={EVIL: EVIL},
            variant={"headline": [EVIL, "fid"], "equals": EVIL, "paper": EVIL},
            provenance={EVIL: {EVIL: EVIL}, "machine": {"device": EVIL}},
        )
        evil = {EVIL: [value(2.0 + seed, EVIL, **{EVIL: EVIL})]} if not seed else {}
        made = RunRecord(**{**vars_of(made), "values": {**made.values, **evil}})
        kept.add(made, {**traces_of(100, seed), f"log/{EVIL}": np.ones(100)})
        work = kept.work(made.spec)
        (work / "error-fid.txt").write_text(f"Traceback\n{EVIL}\n")
        folder = kept.path(made.spec).with_suffix(".samples")
        draw(folder, seed, ("100",))
        (folder / "060.png").write_text(f'<svg xmlns="http://www.w3.org/2000/svg" onload="hacked=1">{EVIL}</svg>')
    return kept


@pytest.fixture(scope="session")
def zoo() -> str:
    """The page of the largest folder that is committed."""
    return page_of(ResultStore(Path(__file__).parents[3] / "results" / "published" / "zoo"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A Chromium that is here; tests with it are skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    named = os.environ.get("GANBENCH_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not named:
        pytest.skip("no Chromium is here: install it, or name one in GANBENCH_CHROMIUM")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=named, args=FLAGS)
        yield browser
        browser.close()
