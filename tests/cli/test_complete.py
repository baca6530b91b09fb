"""Shells complete the names of what is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from ganbench.cli import complete, main
from ganbench.runs import names

KNOWN = {
    "variant": ["dcgan", "wgan", "wgan-gp"],
    "dataset": ["digits", "mnist"],
    "metric": ["fd-pixels", "fid", "precision"],
    "extractor": ["classifier", "inception"],
    "backbone": ["dcgan"],
    "preset": ["r3gan-cifar10"],
    "experiment": ["collapse", "convergence", "progress"],
    "family": ["loss", "wasserstein"],
}


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "remembered", lambda: KNOWN)


def completed(words: str) -> list[str]:
    *given, last = words.split(" ")
    found = ShellComplete(main, {}, "ganbench", "_GANBENCH_COMPLETE").get_completions(given, last)
    return [item.value for item in found]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("run --variants w", ["wgan", "wgan-gp"]),
        ("run --variants dcgan,w", ["dcgan,wgan", "dcgan,wgan-gp"]),
        ("run --variants wgan,w", ["wgan,wgan-gp"]),
        ("run --variants a", ["all"]),
        ("run --variants family:", ["family:loss", "family:wasserstein"]),
        ("run --dataset ", ["digits", "mnist"]),
        ("run --metrics fid,fd", ["fid,fd-pixels"]),
        ("run --metrics precision@", ["precision@classifier", "precision@inception"]),
        ("run --backbone d", ["dcgan"]),
        ("run --preset r", ["r3gan-cifar10"]),
        ("score m", ["mnist"]),
        ("score mnist d", ["digits"]),
        ("score mnist digits --metrics p", ["precision"]),
        ("sample w", ["wgan", "wgan-gp"]),
        ("probe --variant d", ["dcgan"]),
        ("check d", ["dcgan"]),
        ("list var", ["variants"]),
        ("list wgan-", ["wgan-gp"]),
        ("list exp", ["experiments"]),
        ("list prog", ["progress"]),
        ("experiment co", ["collapse", "convergence"]),
        ("experiment progress --variants gan,w", ["gan,wgan", "gan,wgan-gp"]),
        ("experiment progress --dataset m", ["mnist"]),
        ("run --variants x", []),
    ],
)
def test_names_are_completed(words: str, names: list[str], known: None) -> None:
    assert completed(words) == names


def test_what_cannot_be_known_completes_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complete, "_names", lambda: 1 / 0)
    assert completed("run --variants w") == []


def test_a_shell_is_answered_without_torch_and_the_second_time_at_once(tmp_path: Path) -> None:
    """The first answer is looked for, and remembered; `ganbench list` would remember it as well."""
    code = "import sys; from ganbench.cli import complete; print(sorted(complete._names()), 'torch' in sys.modules)"
    environment = {**os.environ, "GANBENCH_CACHE": str(tmp_path)}
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert done.stdout.endswith("'preset', 'variant'] False\n") and done.stderr == "", done.stderr
        (kept,) = (tmp_path / "names").glob("*.json")
        kept.write_text('{"preset": [], "variant": []}')
