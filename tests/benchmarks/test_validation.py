"""Metrics beside their references, on the images that come with scikit-learn, and with metrics that are spoilt."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

FOLDER = Path(__file__).parents[2] / "benchmarks"
IMAGES = 120
ALWAYS = {  # compared without any package, data or weights but those that ganbench needs itself
    *("fd-pixels", "authenticity", "fid-inf", "kid", "cmmd", "fd-classifier", "is", "class-accuracy", "fid-class"),
    *("pixel-error", "copies", "grad-norm-g", "grad-norm-d", "wasserstein-estimate", "linear-probe"),
}


@pytest.fixture
def validation(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module("validation")
    for name in set(sys.modules) - before:
        if name == "fid" or name.startswith("validation"):
            del sys.modules[name]


def run(validation: Any, folder: Path, *options: str) -> Result:
    nothing = ["--data", str(folder / "none"), "--weights", str(folder), "--images", str(IMAGES), "--deep", "10"]
    return CliRunner().invoke(validation.main, [*nothing, *options])


def test_metrics_are_their_references(validation: Any, tmp_path: Path) -> None:
    result = run(validation, tmp_path, "--only", "digits", "--output", str(tmp_path / "page.md"))
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    page = (tmp_path / "page.md").read_text()
    assert {line.split("|")[1].partition(",")[0].strip() for line in page.splitlines() if line[:2] == "| "} >= ALWAYS
    assert "**no**" not in page and "torch-fidelity" in page and "`grad-probe`: it trains" in page


def test_no_tolerance_lets_a_spoilt_metric_pass(
    validation: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = sys.modules["validation_scenes"]
    honest = scenes.metrics()

    def spoilt(name: str) -> Any:
        def compute(scene: Any) -> dict[str, Any]:
            values = honest[name].compute(scene)
            wrong = {key: replace(value, value=1.01 * value.value) for key, value in values.items()}
            return {
                key: replace(value, spread=None if value.spread is None else 1.01 * value.spread)
                for key, value in wrong.items()
            }

        return replace(honest[name], compute=compute)

    monkeypatch.setattr(scenes, "metrics", lambda: {name: spoilt(name) for name in honest})
    result = run(validation, tmp_path, "--only", "digits")
    assert result.exit_code == 1
    rows = [line for line in result.output.splitlines() if line.startswith("| ") and "digits" in line]
    assert rows and all(row.endswith("| **no** |") for row in rows), result.output


def test_what_is_missing_is_told(validation: Any, tmp_path: Path) -> None:
    result = run(validation, tmp_path, "--only", "pixels of")
    assert result.exit_code == 0, result.output
    for name in ("mnist", "cifar10", "celeba"):
        assert f"left out: pixels of {name}: " in result.output
    with pytest.raises(validation.UserError, match="the package no-such is not to be had"):
        sys.modules["validation_references"].package("no_such.module")


def test_nothing_compared_is_no_success(validation: Any, tmp_path: Path) -> None:
    assert run(validation, tmp_path, "--only", "no such thing").exit_code == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, 1.1])
def test_a_value_that_is_none_is_never_met(validation: Any, value: float) -> None:
    assert not validation.Line("m", "r", "i", value, 1.0, 1e-2).met
    assert not validation.Line("m", "r", "i", value, value if value != 1.1 else 0.0, 1e-2).met


def test_images_too_few_are_refused(validation: Any, tmp_path: Path) -> None:
    result = run(validation, tmp_path, "--images", "3")
    assert result.exit_code == 2 and "--images 3" in result.output
