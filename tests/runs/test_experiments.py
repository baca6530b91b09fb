"""Which runs an experiment is given, and what its protocol says of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ganbench.results.record import RunRecord, RunSpec
from ganbench.results.store import ResultStore
from ganbench.runs.experiments import Wanted, _made, summary_of
from ganbench.training.budget import Budget

SPEC = RunSpec("gan", "digits", "dcgan", Budget(640, "images"), 0, 8, 64, data="0123456789abcdef")


def test_the_protocol_says_once_what_runs_share_and_lists_what_they_do_not() -> None:
    specs = [replace(SPEC, seed=seed, variant=name) for seed in (2, 0, 1) for name in ("gan", "wgan")]
    specs.append(replace(SPEC, seed=10, options={"lr": 0.1}, size=16))
    found = summary_of([RunRecord(spec, "done") for spec in specs], failed=2)
    assert found == {
        "done": 7,
        "failed": 2,
        "dataset": "digits",
        "size": [8, 16],
        "backbone": "dcgan",
        "budget": "640-images",
        "batch": 64,
        "precision": "fp32",
        "seed": [0, 1, 2, 10],
        "numbers": SPEC.numbers,
        "data": "0123456789ab",
        "options": ["", "lr=0.1"],
    }


@pytest.mark.parametrize("below", ["", "digits", "digits/dcgan", "../.."], ids=["itself", "within", "deep", "above"])
def test_runs_are_found_whichever_folder_of_a_folder_of_results_is_named(tmp_path: Path, below: str) -> None:
    store = ResultStore(tmp_path / "some" / "results")
    record = store.add(RunRecord(SPEC, "done"), {"loss/D": np.arange(3.0)})
    named = (store.root / below).resolve()
    lab: Any = SimpleNamespace(device="cpu")
    registry: Any = None
    (made,) = _made(Wanted("any", records=named), [record.spec], registry, lab)
    assert made.record == record and made.traces()["loss/D"].tolist() == [0, 1, 2]
