"""Observers are found by name, they alone are imported, and what cannot be met is said before anything is trained."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import get_args

import pytest

from ganbench import Happening, Measured, ObservedRun, RunEnded, RunMarked, Spent, UserError
from ganbench.runs import observers
from ganbench.runs.observers import find

PLUGIN = Path(__file__).parents[1] / "observing_plugin.py"
TINY = Path(__file__).parents[1] / "tiny_plugin.py"
SOURCE = """
from ganbench import Observer, hookimpl

class Found(Observer):
    name = "NAME"
    def open(self, argument): ...

@hookimpl
def ganbench_observers():
    return [Found()]
"""


def test_each_is_found_with_its_argument_in_which_anything_may_stand():
    asked, broken = find(["lines:/a:b,c", "fails", "meddles:", "lines:/a:b,c", "lines:d"], [TINY, PLUGIN])
    assert [(each.observer.name, each.argument) for each in asked] == [
        *(("lines", "/a:b,c"), ("fails", ""), ("meddles", ""), ("lines", "d"))
    ]
    assert broken == {}
    assert [each.title for each in asked][:2] == ["--observe lines:/a:b,c", "--observe fails"]


def test_an_installed_one_is_found_by_the_name_of_its_entry_point_and_no_other_is_imported(install):
    install("a-stranger", SOURCE.replace("NAME", "kept"), entry="observer-kept")
    install("another", "raise SystemExit('it must not be imported')", entry="observer-other")
    install("a-variant", "raise SystemExit('it must not be imported')", entry="kept")
    before = set(sys.modules)
    (asked,), broken = find(["kept"], [])
    assert asked.observer.name == "kept" and str(asked.entry.origin) == "observer-kept (a-stranger 1.2)"
    assert broken == {}
    assert {name for name in set(sys.modules) - before if name.startswith(("installed_", "ganbench_plugins"))} == {
        "installed_a_stranger"
    }


def test_those_that_come_with_ganbench_are_found():
    asked, _ = find(["tensorboard:x", "webhook:http://localhost/"], [])
    assert [type(each.observer).__module__ for each in asked] == [
        *("ganbench_plugins.observers.tensorboard", "ganbench_plugins.observers.webhook")
    ]


def test_an_installed_one_that_is_broken_is_left_out_with_its_reason(install):
    install("a-stranger", "import no_such_module", entry="observer-kept")
    asked, broken = find(["kept", "fails"], [PLUGIN])
    assert [each.observer.name for each in asked] == ["fails"]
    assert broken == {"kept": "ModuleNotFoundError: No module named 'no_such_module' (installed_a_stranger.py, line 1)"}


def test_two_of_one_name_are_an_error(install):
    install("a-stranger", SOURCE.replace("NAME", "lines"), entry="observer-lines")
    with pytest.raises(UserError, match="two plugins claim the observer 'lines'"):
        find(["lines:x"], [PLUGIN])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("line:x", "--observe: unknown observer 'line': did you mean 'lines'?"),
        ("", "--observe: unknown observer ''; there are"),
        ("tensorbord", "did you mean 'tensorboard'?"),
        (
            "needs",
            "--observe needs needs the packages no_such_package, nor_this_one, which are not installed: "
            "pip install 'ganbench[needs]'",
        ),
        ("lines", "--observe lines: it has no file: write lines:FILE"),
        ("secret:wrong", "--observe secret: … is no address"),
        ("webhook:file:///etc", "--observe webhook: its address begins with 'file': only http and https"),
    ],
)
def test_what_cannot_be_met_is_one_sentence(text, sentence):
    with pytest.raises(UserError) as caught:
        find([text], [PLUGIN])
    assert sentence in str(caught.value)


def test_a_missing_package_is_told_although_a_folder_has_its_name(tmp_path, monkeypatch):
    (tmp_path / "no_such_package").mkdir()
    (tmp_path / "nor_this_one").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match="the packages no_such_package, nor_this_one"):
        find(["needs"], [PLUGIN])


def test_a_file_that_does_not_import_or_is_not_there_is_an_error(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("ganbench_observers = 1 / 0")
    with pytest.raises(UserError, match=r"mine\.py does not load: ZeroDivisionError"):
        find(["fails"], [file, PLUGIN])
    with pytest.raises(UserError, match="there is no such file"):
        find(["fails"], [tmp_path / "none.py"])


def test_one_that_takes_too_long_to_be_imported_is_not_waited_for(tmp_path, monkeypatch):
    file = tmp_path / "mine.py"
    file.write_text("import time\ntime.sleep(3)  # ganbench_observers")
    monkeypatch.setattr(observers, "LOAD_SECONDS", 0.2)
    with pytest.raises(UserError, match=r"had not been imported after 0\.2 seconds"):
        find(["fails"], [file])


def test_passwords_in_addresses_are_hidden(install):
    install("a-stranger", SOURCE.replace("NAME", "kept"), entry="observer-kept")
    (asked,), _ = find(["kept:http://me:pass@host/place"], [])
    assert asked.title == "--observe kept:http://…@host/place"


def test_the_example_of_the_docs_hears_a_run(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "observers.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    file, lines = tmp_path / "diary.py", tmp_path / "lines.txt"
    file.write_text(code)
    with pytest.raises(UserError, match="--observe diary: name a file: diary:FILE"):
        find(["diary"], [file])
    (asked,), _ = find([f"diary:{lines}"], [file])
    run = ObservedRun("ab", "gan tiny seed 0", "gan", "tiny", 0, 3, {}, {})
    spent = Spent(1, 64, {}, 0.0, 0.0, 0)
    hear = asked.observer.open(asked.argument)
    hear(RunMarked(run, 0.5, spent, {"fid": Measured(1.5, "p", {}, None, None, "raw")}, {}, {}))
    hear(RunEnded(run, "done", "", spent, {}, {}, {}))
    assert lines.read_text() == "gan tiny seed 0  50%  {'fid': 1.5}\ngan tiny seed 0  done\n"
    events = {event.__name__ for event in get_args(Happening)}
    assert events == set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
