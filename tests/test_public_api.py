"""The border between harness and plugins is complete: names, hooks, entry points and tests."""

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import ganbench
from ganbench.contract import hookspecs
from ganbench.runs.registry import HOOKS

ROOT = Path(__file__).parents[1]
WINGS = ("contract", "toolbox", "training", "scoring", "results", "runs", "reports", "testing", "cli")
PLUGINS = sorted(f"{path.parent.name}.{path.stem}" for path in (ROOT / "plugins").glob("*/[!_]*.py"))
ENTRY_POINTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["ganbench"]


def imports(text: str) -> set[str]:
    """Return every module and every name in a module that a source imports."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("name", ganbench.__all__)
def test_each_public_name_is_importable(name):
    assert getattr(ganbench, name) is not None


def test_the_stub_lists_what_can_be_imported():
    stub = ast.parse((ROOT / "ganbench" / "__init__.pyi").read_text())
    names = [alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(names) == sorted(ganbench.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = ganbench.no_such_name


def test_importing_ganbench_imports_neither_torch_nor_plugins():
    code = "import sys, ganbench; print(ganbench.__version__, *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    version, *modules = done.stdout.split()
    assert version == ganbench.__version__
    assert not {name.partition(".")[0] for name in modules} & {"torch", "numpy", "pandas", "ganbench_plugins"}


def test_the_version_is_the_distribution_s():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == ganbench.__version__


@pytest.mark.parametrize("name", PLUGINS)
def test_each_plugin_file_has_an_entry_point_and_a_test(name):
    assert list(ENTRY_POINTS.values()).count(f"ganbench_plugins.{name}") == 1
    tests = [path for path in (ROOT / "tests").rglob("test_*.py") if path.name != Path(__file__).name]
    assert [path for path in tests if f"ganbench_plugins.{name}" in imports(path.read_text())], (
        f"no test imports ganbench_plugins.{name}"
    )


def test_each_entry_point_has_a_plugin_file():
    assert sorted(ENTRY_POINTS.values()) == [f"ganbench_plugins.{name}" for name in PLUGINS]


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_imports_the_public_api_alone(name):
    source = ROOT.joinpath("plugins", *name.split(".")).with_suffix(".py").read_text()
    used = {imported for imported in imports(source) if imported.startswith("ganbench")}
    assert used <= {"ganbench", *(f"ganbench.{public}" for public in ganbench.__all__)}


def test_each_folder_is_packaged():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    roots = {"ganbench": ROOT / "ganbench", "ganbench_plugins": ROOT / "plugins"}
    found = {
        ".".join([name, *path.parent.relative_to(root).parts])
        for name, root in roots.items()
        for path in root.rglob("__init__.py")
    }
    assert sorted(found) == sorted(listed)


@pytest.mark.parametrize("wing", WINGS)
def test_each_wing_says_in_one_sentence_what_lives_there_and_what_it_may_import(wing):
    said = ast.get_docstring(ast.parse((ROOT / "ganbench" / wing / "__init__.py").read_text()))
    assert re.fullmatch(r"[A-Z][^.]+; may import [^.]+\.", said), said


def test_the_contract_of_the_layers_knows_each_wing():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    folders = {path.parent.name for path in (ROOT / "ganbench").glob("*/__init__.py")}
    assert folders == set(WINGS) <= {name for layer in layers for name in layer.split(" | ")}


def test_each_hook_is_collected_documented_and_tested():
    hooks = {name for name, value in vars(hookspecs).items() if hasattr(value, "ganbench_spec")}
    assert hooks == set(HOOKS.values())
    tests = (ROOT / "tests" / "runs" / "test_registry.py").read_text()
    for hook in hooks:
        assert re.match(r"Return .+\.", inspect.getdoc(getattr(hookspecs, hook)))
        assert re.search(rf"def {hook}\(\)", tests), f"tests/runs/test_registry.py has no plugin with {hook}"
