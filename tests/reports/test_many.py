"""A report of very many records, as `benchmarks/report.py` measures it."""

from __future__ import annotations

import csv
import io
import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from ganbench.reports.render import FORMATS
from ganbench.results.store import ResultStore

SECONDS, BYTES = 3.0, 500e6
"""The promise for ten thousand records, in any format: of the processor, which others on this machine hardly change."""


def benchmark() -> Any:
    spec = spec_from_file_location("benchmark_of_reports", Path(__file__).parents[2] / "benchmarks" / "report.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_records_that_are_measured_are_as_many_runs(tmp_path: Path) -> None:
    module = benchmark()
    module.write(tmp_path / "results", 700)
    records, problems = ResultStore(tmp_path / "results").records()
    assert problems == [] and len(records) == 700
    assert module.measure(tmp_path / "results", "--format", "csv").written == (tmp_path / "report").stat().st_size
    lines = list(csv.DictReader(io.StringIO((tmp_path / "report").read_text())))
    # Lines of one row share what it is and its meters; rows of older and newer code may share the former.
    rows = {(*tuple(line.items())[:13], line["flops"], line["seconds"], line["peak_bytes"]): line for line in lines}
    assert sum(int(line["seeds"]) for line in rows.values()) == 700


@pytest.mark.slow
def test_ten_thousand_records_are_reported_in_seconds_and_little_memory(tmp_path: Path, record_property: Any) -> None:
    module = benchmark()
    module.write(tmp_path / "results", 10_000)
    for form in FORMATS:
        if form == "html":  # a page shows every run with its curves, and is made of so many only when it is asked for
            continue
        # Of several, the one that others on this machine disturbed least: they share its caches.
        costs = [module.measure(tmp_path / "results", "--format", form) for _ in range(3)]
        best = min(costs, key=lambda cost: cost.cpu)
        record_property(form, f"{best.seconds:.2f} s, {best.cpu:.2f} s of processor, {best.peak / 1e6:.0f} MB")
        assert max(cost.peak for cost in costs) < BYTES
        if form == "json":
            assert sum(len(row["runs"]) for row in json.loads((tmp_path / "report").read_text())) == 10_000
        assert best.cpu < SECONDS, f"{form}: {best}"
