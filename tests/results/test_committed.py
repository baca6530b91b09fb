"""The committed records are of today's schema, lie under their own names, and belong to runs that a command finds."""

from dataclasses import replace
from pathlib import Path

import pytest

from ganbench.results.codec import load, read
from ganbench.results.record import SCHEMA
from ganbench.results.store import ResultStore
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover

RESULTS = Path(__file__).parents[2] / "results"
RECORDS = sorted(RESULTS.rglob("seed*.json"))


@pytest.mark.skipif(not RECORDS, reason="no results beside the tests")
def test_each_lies_under_its_own_name_and_schema():
    for path in RECORDS:
        record = read(path)
        assert load(path)["schema"] == SCHEMA
        assert path.name == f"seed{record.spec.seed}-{record.spec.id[:8]}.json", path
        assert path.with_suffix(".traces.npz").exists()
        assert record.variant["defaults"].keys() >= {"variant", "backbone"}


@pytest.mark.skipif(not RECORDS, reason="no results beside the tests")
def test_a_command_finds_those_of_code_that_is_as_it_was():
    store = ResultStore(RESULTS / "published" / "zoo")
    kept = {record.spec.id: record.spec for record in store.records()[0]}
    made = {(spec.variant, spec.code["variant"], spec.code["backbone"], spec.numbers) for spec in kept.values()}
    jobs = plan(Request(("all", "family:control"), ("digits",), budget="40k-images"), discover()).jobs
    specs = [
        replace(job.spec, numbers=max(numbers for *_, numbers in made)) for job in jobs
    ]  # those of older harnesses
    same = [spec for spec in specs if (spec.variant, *spec.code.values(), spec.numbers) in made]
    assert all(spec.id in kept for spec in same)
    assert {spec.variant for spec in same} >= {"dcgan", "wgan"}, "the zoo's table is of older code: make it again"
