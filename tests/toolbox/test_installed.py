"""What a machine has installed is told so that two machines can be compared, without importing any plugin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ganbench import installed, told_apart

ROOT = Path(__file__).parents[2]
ASK = (
    "import json, sys; from ganbench import installed; print(json.dumps([installed(sys.argv[1:]), list(sys.modules)]))"
)


def asked(*distributions, path):
    """What a process says that imports from a folder before all others."""
    command, paths = [sys.executable, "-c", ASK, *distributions], f"{path}{os.pathsep}{ROOT}"
    answer = subprocess.run(command, env={"PYTHONPATH": paths}, cwd=path, capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


@pytest.fixture
def made(tmp_path):
    """A distribution of one package and one module, which have hooks that nobody calls."""
    (tmp_path / "pack" / "inner").mkdir(parents=True)
    for name in ("pack/__init__.py", "pack/inner/__init__.py", "pack/inner/deep.py", "alone.py"):
        (tmp_path / name).write_text("raise RuntimeError('nobody is to import this')\n")
    meta = tmp_path / "our_gans-1.5.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: our-gans\nVersion: 1.5\n")
    (meta / "entry_points.txt").write_text("[ganbench]\none = pack.inner.deep\ntwo = alone\n")
    return tmp_path


def test_it_is_the_versions_and_hashes_of_code_and_nothing_is_imported_for_it(made):
    found, modules = asked("ganbench", "our-gans", "no-such-thing", path=made)
    assert list(found) == ["python", "torch", "torchvision", "numpy", "scipy", "ganbench", "our-gans"]
    assert found["python"] == ".".join(map(str, sys.version_info[:2]))
    assert found["our-gans"].startswith("1.5 (code ") and len(found["our-gans"]) == len("1.5 (code )") + 12
    assert not {"torch", "pack", "alone"} & set(modules)
    assert asked("ganbench", "our-gans", path=made)[0] == found


@pytest.mark.parametrize("name", ["pack/__init__.py", "pack/inner/deep.py", "alone.py"])
def test_a_change_of_any_module_is_seen(made, name):
    before, _ = asked("our-gans", path=made)
    (made / name).write_text("raise RuntimeError('nobody imports this')\n")
    after, _ = asked("our-gans", path=made)
    assert {key for key in before if before[key] != after[key]} == {"our-gans"}


def test_a_module_that_comes_or_goes_is_seen(made):
    before, _ = asked("our-gans", path=made)
    (made / "pack" / "more.py").write_text("")
    more, _ = asked("our-gans", path=made)
    (made / "pack" / "more.py").unlink()
    (made / "pack" / "notes.txt").write_text("no module")
    assert more != before == asked("our-gans", path=made)[0]


def test_the_code_of_ganbench_is_that_which_is_imported():
    here = installed(["ganbench"])["ganbench"]
    assert "(code " in here
    assert asked("ganbench", path=ROOT)[0]["ganbench"] == here


@pytest.mark.parametrize(
    ("there", "here", "told"),
    [
        ({"torch": "2.14.1"}, {"torch": "2.14.1"}, ""),
        ({"torch": "2.13.0"}, {"torch": "2.14.1"}, "has torch 2.13.0, this machine 2.14.1"),
        ({}, {"x": "1 (code ab)"}, "has no x, this machine 1 (code ab)"),
        ({"x": "1", "y": "2"}, {"x": "3"}, "has x 1, this machine 3; has y 2, this machine none"),
    ],
)
def test_what_differs_is_told(there, here, told):
    assert told_apart(there, here) == told
