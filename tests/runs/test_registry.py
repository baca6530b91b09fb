"""Plugins are found with their origin; what is wrong with one is told, and harms nobody else."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent

import pytest

from ganbench import UserError, sha256_of
from ganbench.runs.options import resolve
from ganbench.runs.registry import HOOKS, Registry, discover, load_file

VARIANT = """
from ganbench import Variant, hookimpl

class Found(Variant):
    name = "NAME"
    def build(self, parts): ...
    def optimizers(self): ...
    def step(self, batch, clock): yield

@hookimpl
def ganbench_variants():
    return [Found]
"""
OTHERS = {
    "dataset": """
        class Found(Dataset):
            name = "found"
            def load(self, root, size): ...

        @hookimpl
        def ganbench_datasets():
            return [Found()]
    """,
    "backbone": """
        class Found(Backbone):
            name = "found"
            def __call__(self, data): ...

        @hookimpl
        def ganbench_backbones():
            return [Found()]
    """,
    "metric": """
        @hookimpl
        def ganbench_metrics():
            return [Metric("found", lambda scene: {})]
    """,
    "extractor": """
        class Found(Extractor):
            name = "found"
            def prepare(self, dataset, data, weights, device): ...

        @hookimpl
        def ganbench_extractors():
            return [Found()]
    """,
    "preset": """
        @hookimpl
        def ganbench_presets():
            return [Preset("found", "", "", (), (), {})]
    """,
    "observer": """
        class Found(Observer):
            name = "found"
            def open(self, argument): ...

        @hookimpl
        def ganbench_observers():
            return [Found()]
    """,
    "experiment": """
        class Found(Experiment):
            name = "found"
            def find(self, lab): ...

        @hookimpl
        def ganbench_experiments():
            return [Found()]
    """,
    "executor": """
        class Found(Executor):
            name = "found"
            def execute(self, orders, terms): ...

        @hookimpl
        def ganbench_executors():
            return [Found()]
    """,
}
KINDS = "Backbone, Dataset, Executor, Experiment, Extractor, Metric, Observer, Preset, Variant"
IMPORTS = f"from ganbench import {KINDS}, hookimpl\n"
EVERY_KIND = {"variant": VARIANT.replace("NAME", "found")} | {
    kind: IMPORTS + dedent(source) for kind, source in OTHERS.items()
}


def single_file(path: Path, name: str = "mine") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(VARIANT.replace("NAME", name))
    return path


def test_in_tree_plugins_are_found_through_their_entry_points():
    registry = discover()
    assert {"gan", "gan-minimax", "lsgan", "wgan", "wgan-gp", "began"} <= set(registry.entries["variant"])
    assert {"dcgan", "mlp"} <= set(registry.entries["backbone"])
    assert registry.broken == {}
    entry = registry.get("variant", "wgan-gp")
    assert (entry.origin.plugin, entry.origin.distribution) == ("wgan-gp", "ganbench")
    assert entry.origin.version == version("ganbench")
    assert entry.origin.sha256 == sha256_of(Path(sys.modules["ganbench_plugins.variants.wgan_gp"].__file__))


@pytest.mark.parametrize("kind", HOOKS)
def test_each_hook_is_called_and_its_things_keep_their_origin(kind, install):
    file = install("a-stranger", EVERY_KIND[kind])
    registry = discover()
    entry = registry.get(kind, "found")
    assert registry.broken == {}
    assert str(entry.origin) == "a-stranger (a-stranger 1.2)"
    assert entry.origin.sha256 == sha256_of(file)
    assert entry.path == str(file)


def test_a_broken_plugin_is_blamed_by_its_own_line_whichever_library_loads_it(install):
    file = install("broken-one", "import no_such_module")
    code = "import importlib_metadata\nfrom ganbench.runs.registry import discover\nprint(discover().broken)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=_with(file.parent))
    if "importlib_metadata" in found.stderr:
        pytest.skip("there is no importlib_metadata here")
    assert "(installed_broken_one.py, line 1)" in found.stdout


def _with(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def test_one_name_may_be_used_by_two_kinds(install):
    install("a-stranger", EVERY_KIND["dataset"])
    install("another", EVERY_KIND["metric"])
    registry = discover()
    assert registry.get("dataset", "found").origin.plugin == "a-stranger"
    assert registry.get("metric", "found").origin.plugin == "another"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 +", "SyntaxError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        (VARIANT.replace("return [Found]", "import sys; sys.exit()"), "SystemExit"),
        (VARIANT.replace("return [Found]", "raise RuntimeError('no luck\\nat all')"), "RuntimeError: no luck at all"),
        (VARIANT.replace("ganbench_variants", "ganbench_variant"), "unknown hook 'ganbench_variant'"),
        (VARIANT.replace("ganbench_variants()", "ganbench_variants(registry)"), "Argument(s) {'registry'}"),
        (VARIANT.replace("@hookimpl", ""), "ganbench_variants is not marked with @hookimpl"),
        (VARIANT.replace("return [Found]", "[Found]"), "ganbench_variants returns None instead of a list"),
        (VARIANT.replace("return [Found]", "return []"), "broken-one offers nothing"),
        (VARIANT.replace("return [Found]", "return [3]"), "offers 3, which is not a subclass of ganbench.Variant"),
        (VARIANT.replace("return [Found]", "return [Found, Found]"), "two things of the name 'NAME'"),
        (VARIANT.replace("    def step(self, batch, clock): yield\n", ""), "which does not define step"),
        (VARIANT.replace('name = "NAME"', ""), "has the name None"),
        (VARIANT.replace('"NAME"', '"two words"'), "has the name 'two words'"),
        (VARIANT.replace('"NAME"', '"all"'), "has the name 'all'"),
        (EVERY_KIND["dataset"].replace("Found()]", "Found]"), "is not an instance of ganbench.Dataset"),
        (
            EVERY_KIND["observer"].replace("Found()]", "Found]"),
            "is not an instance of ganbench.Observer: write Found()",
        ),
        ("", "broken-one offers nothing: it has no hook"),
    ],
)
def test_a_broken_plugin_is_noted_with_its_reason_and_the_others_work(source, reason, install):
    install("broken-one", source)
    install("sound-one", VARIANT.replace("NAME", "sound"))
    registry = discover()
    assert list(registry.broken) == ["broken-one"]
    assert reason in registry.broken["broken-one"] and "\n" not in registry.broken["broken-one"]
    assert registry.get("variant", "sound") and registry.get("variant", "gan")
    assert "NAME" not in registry.entries["variant"]
    with pytest.raises(UserError, match="the plugin 'broken-one' is broken: "):
        registry.get("variant", "broken-one")


def test_nothing_of_a_broken_plugin_is_kept(install):
    install("half-broken", VARIANT + "\n@hookimpl\ndef ganbench_metrics():\n    return [1]\n")
    registry = discover()
    assert "half-broken" in registry.broken
    assert "NAME" not in registry.entries["variant"]


def test_two_broken_plugins_of_one_entry_are_both_noted(install):
    install("one", "1 +", entry="same")
    install("two", "import no_such_module", entry="same")
    assert sorted(discover().broken) in (["same", "same (one)"], ["same", "same (two)"])


def test_an_unknown_name_among_broken_plugins_says_so(install):
    install("broken-one", "1 +")
    with pytest.raises(UserError, match=r"unknown variant 'zzz'; there are .*; broken plugins: broken-one"):
        discover().get("variant", "zzz")


def test_two_owners_of_a_name_are_an_error_that_names_both(install):
    install("first-one", VARIANT.replace("NAME", "shared"))
    install("second-one", VARIANT.replace("NAME", "shared"))
    registry = discover()
    assert registry.broken == {}
    with pytest.raises(UserError, match=r"the variant 'shared': first-one \(.* 1.2\) and second-one \(.* 1.2\)"):
        registry.get("variant", "shared")
    with pytest.raises(UserError, match="two plugins claim"):
        registry.find("variant", "shared")
    assert registry.get("variant", "gan")  # everything else goes on


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        ("variant", "wgan_gp", "unknown variant 'wgan_gp': did you mean 'wgan-gp'?"),
        ("variant", "BEGAN", "unknown variant 'BEGAN': did you mean 'began'?"),
        ("backbone", "xyzzy", "unknown backbone 'xyzzy'; there are dcgan, "),
    ],
)
def test_an_unknown_name_is_answered_with_what_there_is(kind, wrong, message):
    with pytest.raises(UserError) as raised:
        discover().get(kind, wrong)
    assert str(raised.value).startswith(message)


def test_where_nothing_is_installed_the_answer_says_so():
    with pytest.raises(UserError, match="unknown metric 'fid'; there are none"):
        Registry().get("metric", "fid")


def test_all_leaves_controls_out_and_a_family_is_a_pattern() -> None:
    registry = discover()
    assert {"gan", "wgan"} <= set(registry.find("variant", "all"))
    assert not {"real", "memorizer"} & set(registry.find("variant", "all"))
    assert registry.find("variant", "family:control") == ["memorizer", "real"]
    assert "wgan-gp" in registry.find("variant", "family:wasserstein")
    assert registry.find("variant", "real") == ["real"]
    with pytest.raises(UserError, match="no variant is of the family 'wasserstien': did you mean 'wasserstein'"):
        registry.find("variant", "family:wasserstien")
    with pytest.raises(UserError, match="unknown backbone 'family:control'"):
        registry.find("backbone", "family:control")


def test_all_globs_and_plain_names_are_found_in_order():
    registry = discover()
    assert registry.find("variant", "wgan*") == ["wgan", "wgan-div", "wgan-gp", "wgan-lp"]
    assert registry.find("variant", "gan") == ["gan"]
    assert registry.find("backbone", "all") == sorted(registry.entries["backbone"])
    with pytest.raises(UserError, match=r"no variant matches 'x\*'; there are "):
        registry.find("variant", "x*")


def test_of_a_package_every_file_counts_in_the_hash(install):
    file = install("a-package", "", target="installed_package")
    package = file.parent / "installed_package"
    package.mkdir()
    (package / "__init__.py").write_text(VARIANT)
    (package / "losses.py").write_text("SCALE = 1\n")
    before = discover().get("variant", "NAME").origin.sha256
    (package / "losses.py").write_text("SCALE = 2\n")
    assert discover().get("variant", "NAME").origin.sha256 != before
    del sys.modules["installed_package"]


def test_an_entry_point_may_name_an_object_and_its_module_is_hashed(install):
    holder = "\nclass plugin:\n    ganbench_variants = staticmethod(ganbench_variants)\ndel ganbench_variants\n"
    file = install("an-object", VARIANT + holder, target="installed_an_object:plugin")
    entry = discover().get("variant", "NAME")
    assert entry.origin.sha256 == sha256_of(file)


def test_a_single_file_is_a_plugin_with_its_hash(tmp_path):
    file = single_file(tmp_path / "my_gan.py")
    entry = discover([file]).get("variant", "mine")
    assert (entry.origin.plugin, entry.origin.distribution, entry.origin.version) == ("my_gan.py", "file", "")
    assert entry.origin.sha256 == sha256_of(file)


def test_a_single_file_given_twice_is_one_plugin(tmp_path):
    file = single_file(tmp_path / "my_gan.py")
    registry = discover([file, tmp_path / "." / "my_gan.py"])
    assert len(registry.entries["variant"]["mine"]) == 1


def test_two_single_files_of_one_stem_keep_their_own_configs(tmp_path):
    config = "\nfrom __future__ import annotations\nfrom dataclasses import dataclass\n"
    option = "\n@dataclass(frozen=True)\nclass Config:\n    OPTION: int = 1\n"
    for folder in ("a", "b"):
        file = single_file(tmp_path / folder / "my_gan.py", f"of-{folder}")
        source = file.read_text().replace("class Found(Variant):", "class Found(Variant):\n    config: Config")
        file.write_text(config + option.replace("OPTION", f"option_{folder}") + source)
    registry = discover([tmp_path / "a" / "my_gan.py", tmp_path / "b" / "my_gan.py"])
    for folder in ("a", "b"):
        config = resolve(registry.get("variant", f"of-{folder}").item, "x", {f"option_{folder}": "2"})
        assert getattr(config, f"option_{folder}") == 2


def test_two_single_files_that_claim_one_name_are_both_named(tmp_path):
    one, two = single_file(tmp_path / "a" / "my_gan.py"), single_file(tmp_path / "b" / "my_gan.py")
    with pytest.raises(UserError) as raised:
        discover([one, two]).get("variant", "mine")
    assert str(one) in str(raised.value) and str(two) in str(raised.value)


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("absent.py", None, "absent.py: there is no such file"),
        ("notes.txt", "hello", "its name must end in .py"),
        ("wrong.py", "1 +", "wrong.py does not load: SyntaxError"),
        ("exits.py", "import sys; sys.exit('bye')", "exits.py does not load: SystemExit: bye"),
        ("empty.py", "", "empty.py offers nothing"),
        ("typo.py", VARIANT.replace("ganbench_variants", "ganbench_variant"), "typo.py: .*unknown hook"),
        ("hook.py", VARIANT.replace("return [Found]", "raise RuntimeError('no luck')"), "RuntimeError: no luck"),
    ],
)
def test_a_single_file_that_cannot_be_used_is_a_mistake_of_the_user(name, source, message, tmp_path):
    file = tmp_path / name
    if source is not None:
        file.write_text(source)
    with pytest.raises(UserError, match=message):
        discover([file])


def with_neighbour(folder, name, helper, value):
    """Write a plugin of one file that says what the module beside it holds."""
    folder.mkdir(exist_ok=True)
    (folder / f"{helper}.py").write_text(f"VALUE = {value!r}\n")
    source = VARIANT.replace("NAME", name).replace("    def build", "    summary = VALUE\n    def build", 1)
    (folder / "my_gan.py").write_text(f"from {helper} import VALUE\n{source}")
    return folder / "my_gan.py"


def test_a_single_file_imports_what_lies_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    file = with_neighbour(tmp_path / "a", "neighbourly", "helper_of_mine", "from beside")
    entry = discover([file]).get("variant", "neighbourly")
    assert entry.item.summary == "from beside"
    assert {Path(name).name for name in entry.files} >= {"my_gan.py", "helper_of_mine.py"}


def test_a_neighbour_hides_no_module_that_is_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "colorsys.py").write_text("raise RuntimeError('not me')")
    file = single_file(tmp_path / "my_gan.py")
    file.write_text("import colorsys\n" + file.read_text())
    assert discover([file]).get("variant", "mine")


def test_a_neighbour_of_another_plugin_is_not_taken_for_ones_own(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    one = with_neighbour(tmp_path / "a", "one", "helper_of_two", "of one")
    two = with_neighbour(tmp_path / "b", "two", "helper_of_two", "of two")
    with pytest.raises(UserError, match="imports 'helper_of_two', which lies beside it, but gets"):
        discover([one, two])


def test_a_file_that_does_not_load_leaves_no_module_behind(tmp_path):
    file = tmp_path / "wrong.py"
    file.write_text("1 / 0")
    before = set(sys.modules)
    with pytest.raises(UserError, match="ZeroDivisionError"):
        load_file(file)
    assert not [name for name in set(sys.modules) - before if "wrong" in name]
