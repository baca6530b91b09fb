"""A stranger's distribution, installed by pip, is found and works as what comes with ganbench does."""

import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from ganbench import sha256_of
from ganbench.runs.registry import discover

FOLDER = Path(__file__).with_name("example_plugin")
INSTALL = f"run `{sys.executable} -m pip install --no-deps {FOLDER}`"


@pytest.fixture(scope="module")
def installed():
    try:
        return distribution("ganbench-example")
    except PackageNotFoundError:
        pytest.fail(f"the example plugin is not installed: {INSTALL}")


def test_it_offers_what_it_promises_through_its_entry_point(installed):
    registry = discover()
    names = {"variant": "example-hinge", "dataset": "example-stripes", "metric": "example-brightness"}
    for kind, name in names.items():
        origin = registry.get(kind, name).origin
        assert str(origin) == f"example (ganbench-example {installed.version})"
        assert origin.sha256 == sha256_of(FOLDER / "src" / "ganbench_example.py"), (
            f"an older one is installed: {INSTALL}"
        )


def test_its_version_is_the_one_in_this_checkout(installed):
    assert installed.version == tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]["version"]


def test_its_own_tests_pass(installed):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
