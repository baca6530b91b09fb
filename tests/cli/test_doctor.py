"""`ganbench doctor` prints what it finds, and ends with 1 where something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ganbench.cli import doctor, main
from ganbench.runs.executors import apart


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["doctor", "--quick", *arguments])


def test_json_holds_everything_and_a_sound_installation_ends_with_0(tmp_path: Path) -> None:
    result = call("--json", "--data", str(tmp_path))
    found = json.loads(result.stdout)
    assert found["problems"] == [] and result.exit_code == 0
    assert {"versions", "devices", "data", "extractors", "weights", "tests", "cache"} <= set(found)
    assert found["data"]["lsun"].startswith("not found")


def test_problems_are_a_line_each_and_end_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    tests = [
        {"input": "digits", "metric": "fid", "value": 2.0, "expected": 1.0, "note": "", "fault": "fid is wrong"},
        {"input": "digits", "metric": "kid", "value": None, "expected": 1.0, "note": "no weights", "fault": ""},
    ]
    found = {key: {"a": "b"} for key in ("versions", "data", "extractors")} | {"devices": ["cpu"], "weights": []}
    found |= {"tests": tests, "problems": ["fid is wrong", "torchvision does not fit"]}
    fallen = {("plugin", "bad", "file"): "importing it: its process ended"}
    monkeypatch.setattr(apart, "survive", lambda *arguments, **options: (found, fallen))
    result = call()
    assert result.exit_code == 1
    *_, first, _, second, _, third, _, last = result.stdout.splitlines()
    assert (first, second) == ("fid is wrong", "torchvision does not fit")
    assert third == "the plugin bad cannot be used: importing it: its process ended" and last == "3 problems found"
    assert "|     2 |      1 |   WRONG |" in result.stdout and "kid  no weights" in result.stdout


def test_a_cache_that_cannot_be_written_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path / "cache"))
    assert doctor._cache() == ({"folder": str(tmp_path / "cache"), "bytes": 0}, [])
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    assert doctor._cache()[1] == [f"the cache {tmp_path / 'cache'} cannot be written: see GANBENCH_CACHE"]
