"""A run's code is what it executes: no remark makes another, every change does, wherever and however installed."""

import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import PathDistribution
from pathlib import Path
from textwrap import dedent

import pytest

from ganbench.contract.types import digest
from ganbench.runs import code
from ganbench.runs.code import HARNESS, code_of, tree_digest_of
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover, load_file

ROOT = Path(__file__).parents[2]
PLUGIN = """
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
REMARK, CHANGE = "\n# a remark\n", "\nCHANGED = 1\n"


# One source: what is a remark, and what is a change.

SOURCE = '''\
"""What this module is for."""
import math

SCALE = 1000
"""How much."""
WORDS = ["one", 'two three']


class Thing:
    """What a thing is."""

    def half(self, x, y=2):
        """Halve."""
        total = (x + y) * SCALE
        return math.sqrt(total), f"{x} of {y}"

    def nothing(self):
        """Do nothing."""
'''
REMARKS = {
    "a comment": ("SCALE = 1000", "# how much\nSCALE = 1000  # a lot"),
    "a comment in brackets": ('["one", ', '[\n    # first\n    "one",  # that was it\n    '),
    "a type comment": ("SCALE = 1000", "SCALE = 1000  # type: int"),
    "a comment at the end": ('"""Do nothing."""\n', '"""Do nothing."""\n# end'),
    "the docstring of the module": ("What this module is for.", "Another purpose."),
    "no docstring of the module": ('"""What this module is for."""\n', ""),
    "the docstring of a class": ("What a thing is.", "What things are."),
    "no docstring of a class": ('    """What a thing is."""\n\n', ""),
    "the docstring of a function": ('"""Halve."""', '"""Halve.\n\n        And more.\n        """'),
    "no docstring of a function": ('        """Halve."""\n', ""),
    "another remark after an assignment": ("How much.", "How many."),
    "no remark after an assignment": ('"""How much."""\n', ""),
    "a new remark after an assignment": ("        return", "        'The sum.'\n        return"),
    "pass beside a docstring": ('"""Do nothing."""', '"""Do nothing."""\n        pass'),
    "pass for a docstring": ('"""Do nothing."""', "pass"),
    "an ellipsis for a docstring": ('"""Do nothing."""', "..."),
    "pass in a class": ('    """What a thing is."""', '    """What a thing is."""\n    pass'),
    "pass among statements": ("        return", "        pass\n        return"),
    "blank lines": ("SCALE = 1000", "\n\n\nSCALE = 1000\n\n"),
    "spaces": ("SCALE = 1000", "SCALE=1000   "),
    "other quotes": ('"one"', "'one'"),
    "three quotes": ("'two three'", '"""two three"""'),
    "quotes that are escaped": ("'two three'", "'two \\x74hree'"),
    "a string in two": ("'two three'", "'two ' \"three\""),
    "a prefix without effect": ("'two three'", "u'two three'"),
    "an f-string in two": ('f"{x} of {y}"', "f'{x} ' f'' \"of \" f'{y}'"),
    "parentheses": ("return math.sqrt(total), ", "return (math.sqrt((total))), "),
    "a tuple in parentheses": ('math.sqrt(total), f"{x} of {y}"', '(math.sqrt(total), f"{x} of {y}")'),
    "lines that break": ("(x + y) * SCALE", "(\n            x\n            + y\n        ) * \\\n            SCALE"),
    "a comma at the end": ("'two three']", "'two three',]"),
    "statements in one line": (
        "        total = (x + y) * SCALE\n        return",
        "        total = (x + y) * SCALE; return",
    ),
    "tabs": ("    ", "\t"),
    "digits in groups": ("1000", "1_000"),
    "a form feed": ("class Thing", "\f\nclass Thing"),
}
SHARED = """\
from ganbench import {names}Variant

class Thing(Variant):
    {more}
    def step(self, batch, clock):
        x = {call}
"""
ALIKE_ON_ONE_DEVICE = {
    "a mean over ranks": {"names": "mean_over_ranks, ", "call": "mean_over_ranks(batch.real.mean(0))"},
    "two of them": {
        "names": "mean_over_ranks, whole_batch, ",
        "call": "mean_over_ranks(whole_batch(whole_batch(batch).real).mean(0))",
    },
    "a name that is not used": {"names": "own_part, "},
    "why it is for one": {"more": 'name = "thing"\n    one_device = "its pool"'},
    "why, with its type": {"more": 'name = "thing"\n    one_device: ClassVar[str] = "its pool"'},
}
OTHER_ON_ONE_DEVICE = {
    "a function of its own": {"more": "def whole_batch(x): return 2 * x", "call": "whole_batch(batch.real.mean(0))"},
    "a function of the module": {
        "names": "whole_batch, ",
        "more": "global whole_batch\n    def whole_batch(x): return 2 * x",
        "call": "whole_batch(batch.real.mean(0))",
    },
    "from elsewhere": {"more": "from mine import whole_batch", "call": "whole_batch(batch.real.mean(0))"},
    "under another name": {"names": "whole_batch as all, ", "call": "all(batch.real.mean(0))"},
    "a name given anew": {
        "names": "whole_batch, ",
        "more": "whole_batch = abs",
        "call": "whole_batch(batch.real.mean(0))",
    },
    "more than one argument": {"names": "whole_batch, ", "call": "whole_batch(batch.real.mean(0), 1)"},
    "a keyword": {"names": "whole_batch, ", "call": "whole_batch(x=batch.real.mean(0))"},
    "another function": {"names": "exact, ", "call": "exact(batch.real.mean(0))"},
    "what is computed": {"more": 'name = "thing"\n    one_device = find()'},
    "another attribute": {"more": 'name = "thing"\n    two_devices = "its pool"'},
    "another argument": {"names": "mean_over_ranks, ", "call": "mean_over_ranks(batch.real.mean(1))"},
}
CHANGES = {
    "a constant": ("x = 1", "x = 2"),
    "int against float": ("x = 1", "x = 1.0"),
    "int against bool": ("x = 1", "x = True"),
    "float against complex": ("x = 1.0", "x = 1j"),
    "a sign": ("x = 0.0", "x = -0.0"),
    "a number against text": ("x = 1", "x = '1'"),
    "None against text": ("x = None", "x = 'None'"),
    "None against nothing": ("def f(): return None", "def f(): return ..."),
    "text": ("x = 'a'", "x = 'b'"),
    "spaces in text": ("x = 'a b'", "x = 'a  b'"),
    "a line break in text": ("x = '''a\nb'''", "x = '''a\n b'''"),
    "text against bytes": ("x = 'a'", "x = b'a'"),
    "text that is assigned": ("x = 'a'", "'a'"),
    "a raw string": ("x = '\\n'", "x = r'\\n'"),
    "text like two": ("x = ['a', 'b']", "x = [\"a', 'b\"]"),
    "text like three": ("x = ['a', 'b', 'c']", "x = [\"a', 'b\", 'c']"),
    "letters beyond ASCII": ("x = '×é'", "x = 'é×'"),
    "a letter and its accent": ("x = '\\u00e9'", "x = 'e\\u0301'"),
    "a letter beyond ASCII against its escape": ("x = '\u200b'", "x = '\\\\u200b'"),
    "the text of an f-string": ("x = f'a{y}'", "x = f'b{y}'"),
    "where an f-string has its text": ("x = f'a{y}'", "x = f'{y}a'"),
    "the value of an f-string": ("x = f'{y}'", "x = f'{z}'"),
    "the conversion of an f-string": ("x = f'{y}'", "x = f'{y!r}'"),
    "another conversion of an f-string": ("x = f'{y!s}'", "x = f'{y!r}'"),
    "the format of an f-string": ("x = f'{y:.2f}'", "x = f'{y:.3f}'"),
    "a name in the format of an f-string": ("x = f'{y:{v}}'", "x = f'{y:{w}}'"),
    "what says its own name": ("x = f'{y=}'", "x = f'{y!r}'"),
    "braces that are escaped": ("x = f'{{y}}'", "x = f'{y}'"),
    "an f-string that is none": ("x = f'a'", "x = 'a'"),
    "an operator": ("x = a + b", "x = a - b"),
    "an operator in place": ("x += 1", "x -= 1"),
    "a comparison": ("x = a < b", "x = a <= b"),
    "identity": ("x = a == b", "x = a is b"),
    "a comparison of three": ("x = a < b < c", "x = (a < b) < c"),
    "what binds first": ("x = a + b * c", "x = (a + b) * c"),
    "and against or": ("x = a and b", "x = a or b"),
    "a negation": ("if a: b()", "if not a: b()"),
    "a name": ("x = a", "x = b"),
    "a name that is assigned": ("x = a", "y = a"),
    "an attribute": ("x = a.b", "x = a.c"),
    "an index": ("x = a[0]", "x = a[1]"),
    "an end of a slice": ("x = a[1:]", "x = a[:1]"),
    "a tuple of one": ("x = (a)", "x = (a,)"),
    "a list against a tuple": ("x = [a]", "x = (a,)"),
    "a set against a dict": ("x = {a, b}", "x = {a: b}"),
    "a dict that is spread": ("x = {**a}", "x = {None: a}"),
    "the order of a dict": ("x = {1: a, 2: b}", "x = {2: b, 1: a}"),
    "a star": ("f(a)", "f(*a)"),
    "two stars": ("f(*a)", "f(**a)"),
    "the name of a keyword": ("f(a=1)", "f(b=1)"),
    "a keyword against a place": ("f(a)", "f(a=a)"),
    "a default": ("def f(a=1): ...", "def f(a=2): ..."),
    "which has the default": ("def f(*, a, b=1): ...", "def f(*, a=1, b): ..."),
    "only by keyword": ("def f(a, b): ...", "def f(a, *, b): ..."),
    "only by place": ("def f(a, b): ...", "def f(a, /, b): ..."),
    "an argument": ("def f(a): ...", "def f(a, b): ..."),
    "an annotation": ("def f(a: int): ...", "def f(a: float): ..."),
    "an annotation that is text": ("def f(a: 'int'): ...", "def f(a: 'float'): ..."),
    "no annotation": ("def f(a: int): ...", "def f(a): ..."),
    "what is returned": ("def f() -> int: ...", "def f() -> float: ..."),
    "the annotation of a field": ("x: int = 1", "x: float = 1"),
    "an annotation that is not kept": ("x: int = 1", "(x): int = 1"),
    "a decorator": ("@a\ndef f(): ...", "@b\ndef f(): ..."),
    "no decorator": ("@a\ndef f(): ...", "def f(): ..."),
    "the order of decorators": ("@a\n@b\ndef f(): ...", "@b\n@a\ndef f(): ..."),
    "a base": ("class A(B): ...", "class A(C): ..."),
    "a metaclass": ("class A(b=C): ...", "class A(B): ..."),
    "async": ("def f(): ...", "async def f(): ..."),
    "an asynchronous comprehension": (
        "async def f(): return [a async for a in b]",
        "async def f(): return [a for a in b]",
    ),
    "a generator": ("x = [a for a in b]", "x = (a for a in b)"),
    "a condition of a comprehension": ("x = [a for a in b]", "x = [a for a in b if a]"),
    "the order of statements": ("a()\nb()", "b()\na()"),
    "a statement removed": ("a()\nb()", "a()"),
    "a statement beside": ("if a:\n    b()\n    c()", "if a:\n    b()\nc()"),
    "another branch": ("if a: b()\nelse: c()", "if a: b()\nelif d: c()"),
    "the end of a loop": ("for a in b: c()\nelse: d()", "for a in b: c()\nd()"),
    "break against continue": ("for a in b: break", "for a in b: continue"),
    "what is caught": ("try: a()\nexcept B: ...", "try: a()\nexcept C: ..."),
    "a group that is caught": ("try: a()\nexcept B: ...", "try: a()\nexcept* B: ..."),
    "finally": ("try: a()\nfinally: b()", "try: a()\nexcept B: b()"),
    "a cause": ("raise A", "raise A from None"),
    "yield from": ("def f(): yield a", "def f(): yield from a"),
    "what with calls it": ("with a as b: c()", "with a: c()"),
    "a lambda": ("x = lambda a: a", "x = lambda a: b"),
    "the walrus": ("(x := a)", "x = a"),
    "deleted": ("del a", "del b"),
    "global": ("def f():\n    global a\n    a = 1", "def f():\n    global b\n    a = 1"),
    "asserted": ("assert a, 'b'", "assert a, 'c'"),
    "a name imported": ("from a import b", "from a import c"),
    "a name given": ("import a as b", "import a as c"),
    "how far up": ("from .a import b", "from ..a import b"),
    "a feature": ("from __future__ import annotations", "from __future__ import generator_stop"),
    "a pattern": ("match a:\n    case {'b': 1}: c()", "match a:\n    case {'b': 2}: c()"),
    "a pattern of one": ("match a:\n    case None: c()", "match a:\n    case True: c()"),
    "any pattern": ("match a:\n    case [*_]: c()", "match a:\n    case [*b]: c()"),
}


def digest_of(folder: Path, text: str | bytes) -> str:
    file = folder / "source.py"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return tree_digest_of(file)


def shared(written: dict[str, str], tmp_path: Path) -> str:
    usual = {"names": "", "more": 'name = "thing"', "call": "batch.real.mean(0)"}
    path = tmp_path / "module.py"
    path.write_text(SHARED.format(**usual | written))
    return tree_digest_of(path)


@pytest.mark.parametrize("written", ALIKE_ON_ONE_DEVICE.values(), ids=ALIKE_ON_ONE_DEVICE)
def test_what_does_nothing_on_one_device_is_no_change(written, tmp_path):
    assert shared(written, tmp_path) == shared({}, tmp_path)


@pytest.mark.parametrize("written", OTHER_ON_ONE_DEVICE.values(), ids=OTHER_ON_ONE_DEVICE)
def test_what_only_looks_like_it_is_one(written, tmp_path):
    assert shared(written, tmp_path) != shared({}, tmp_path)


def test_the_functions_that_do_nothing_on_one_device_are_the_public_ones():
    stub = (ROOT / "ganbench" / "__init__.pyi").read_text()
    public = stub.partition("from .toolbox.ranks import (")[2].partition(")")[0]
    assert {line.partition(" as ")[0].strip() for line in public.split(",") if line.strip()} == code.OF_SEVERAL


@pytest.mark.parametrize("name", REMARKS)
def test_a_remark_is_the_same_code(name: str, tmp_path: Path) -> None:
    old, new = REMARKS[name]
    assert old in SOURCE
    assert digest_of(tmp_path, SOURCE.replace(old, new)) == digest_of(tmp_path, SOURCE)


def test_how_a_file_is_encoded_is_the_same_code(tmp_path: Path) -> None:
    text = "'''A\nB'''\nx = '''é\n×'''\n"
    base = digest_of(tmp_path, text)
    assert digest_of(tmp_path, text.replace("\n", "\r\n")) == base
    assert digest_of(tmp_path, text.replace("\n", "\r")) == base
    assert digest_of(tmp_path, b"\xef\xbb\xbf" + text.encode()) == base
    assert digest_of(tmp_path, ("# coding: latin-1\n" + text).encode("latin-1")) == base
    assert digest_of(tmp_path, text.rstrip()) == base


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_other_code(name: str, tmp_path: Path) -> None:
    before, after = CHANGES[name]
    compile(before, "before", "exec"), compile(after, "after", "exec")
    assert digest_of(tmp_path, before) != digest_of(tmp_path, after)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("x = " + " + ".join(["a"] * 900), id="a long sum"),
        pytest.param("if a: b()\n" + "elif a: b()\n" * 400, id="many branches"),
        pytest.param("x = a" + ".b()" * 500, id="a long chain"),
        pytest.param("x = '\\d'  # where warnings are errors, no syntax", id="an invalid escape"),
    ],
)
def test_remarks_in_an_unusual_source_are_the_same_code(source: str, tmp_path: Path) -> None:
    assert digest_of(tmp_path, source) == digest_of(tmp_path, f"# a remark\n{source}\n")
    assert digest_of(tmp_path, source) != digest_of(tmp_path, f"{source}\ny = 1\n")


@pytest.mark.parametrize("source", [b"1 +", b"x = '\0'", b"{{ template }}\nx = = 1", b"x = '\xff'", b"(" * 300])
def test_what_does_not_parse_counts_by_its_bytes(source: bytes, tmp_path: Path) -> None:
    assert digest_of(tmp_path, source) == digest_of(tmp_path, source)
    assert digest_of(tmp_path, source) != digest_of(tmp_path, source + b" ")


# Versions of Python.

F_STRINGS = r"""
x, y, w, d = 1.5, "a'b", 10, {"a": 1}
plain = f"", f"a", f"{x}", f"a{x}", f"{x}a", f"a{x}b{y}c", f"{x}{y}"
quotes = f"{d['a']}", f'{d["a"]}', f'''{d["a"]} ' " {y}''', f"\"{x}\"", f'it\'s {x}'
own_name = f"{x=}", f"{x = }", f"{ x= !r}", f"{x=:.2f}", f"{x=!s:>10}", f"a{x + 1=}b", f"{d['a']=}", f'''{
    x
    + 1 = }'''
formats = f"{x:.2f}", f"{x:}", f"{x:>{w}}", f"{x:>{w}.{w}f}", f"{x:a{w}b{w}c}", f"{x!r:>{w}}", f"{y:{'>'}{w}}"
formats_of_text = f"{x:%Y-%m-%d}", f"{x:{{}}}" if 0 else "", f"{x:\n}", f"{x:é×}", f"{y:}>10}" if 0 else ""
conversions = f"{x!r}", f"{x!s}", f"{x!a}", f"{ y !r}"
joined = "a" f"{x}" "b", f"a" f"b", f"a" "b" f"{x}" f"" "c" f"{y}", "a" "b" f"c", f"{x}" rf"\d{y}" "\x41"
broken = (
    f"a{x}"  # a remark
    "b"
    f"{y}"
)
braces = f"{{", f"}}", f"{{x}}", f"{{{x}}}", f"a{{b}}c{x}d{{e}}", f"{{}}" "{}", f"{ {1: 2}[1] }", f"{({1: 2})}"
letters = f"\N{BULLET}{x}", f"\u00e9{x}\t", rf"\n{x}\{y}", f"é×{x}", f"{x}\
{y}"
inner = f"{f'{x}'}", f"{f'{x:{w}}' + 'a'}", f"{(lambda a: a)(x)}", f"{[a for a in y]}", f"{x if y else w!r}"
others = f"{x,}", f"{*y, x}", f"{x:{w}}{y}", f"{(x := 2)}", f"{x!=y}", f"{x<y:>5}", f"{'a' 'b'}", f"{b'a'!r}"
assert f"{x} says" f" so"
def f(a=f"{x}"): f"a bare {a}"
"""
VERSIONS_CHILD = """
import hashlib, json, sys, types
from pathlib import Path
given = json.load(sys.stdin)
stub = types.ModuleType("ganbench.contract.types")
vars(stub).update(hashlib=hashlib, json=json, Any=object)
exec(given["digest"], vars(stub))
sys.modules |= {"ganbench": stub, "ganbench.contract": stub, "ganbench.contract.types": stub}
module = types.ModuleType("code_alone")
exec(compile(Path(given["code"]).read_text(), given["code"], "exec"), vars(module))
print(json.dumps([module.tree_digest_of(Path(path)) for path in given["paths"]]))
"""


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_the_same_code_in_every_version_of_python(version: str, tmp_path: Path) -> None:
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "-c", "pass"], capture_output=True).returncode:
        pytest.skip(f"no Python {version} here")
    unusual = {
        "f_strings.py": F_STRINGS,
        "source.py": SOURCE,
        "letters.py": "x = '\U0001fae8 \U0002ebf0 é × \u200b \u0378'\ny = f'\U0001fae8{x}', b'\\xff', 'it\\'s \"×\"'\n",
        "numbers.py": "x = 1, 1.0, True, 1j, 1e400, 0.1, 123456789.123456789, 0xff, 10**3, -0.0, 1e-7, 1e22\n",
        "deep.py": "if a: b()\n" + "elif a: b()\n" * 400 + "x = " + " + ".join(["a"] * 900) + "\n",
        "escapes.py": "x = '\\d \\.'\n",
        "statements.py": "\n".join(text for pair in CHANGES.values() for text in pair if "__future__" not in text),
        "template.py": "{{ name }} = = 1\n",
    }
    for name, text in unusual.items():
        (tmp_path / name).write_text(text)
    paths = [*sorted(tmp_path.glob("*.py")), *sorted((ROOT / "plugins").rglob("*.py")), Path(code.__file__)]
    given = {"digest": inspect.getsource(digest), "code": code.__file__, "paths": list(map(str, paths))}
    # The other version has nothing of what is installed here, so it runs this one module alone.
    done = subprocess.run(
        [python, "-I", "-c", VERSIONS_CHILD], input=json.dumps(given), capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    there = dict(zip(paths, json.loads(done.stdout), strict=True))
    assert there == {path: tree_digest_of(path) for path in paths}


# Single files.

Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    """Write files into one folder, from which modules are found, for the length of a test."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    before = set(sys.modules)

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(dedent(text))
        return tmp_path / next(iter(files))

    yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def code_of_file(path: Path) -> str:
    return code_of(load_file(path), None)


HELPED = {
    "at the top": {"mine.py": "from helper import SCALE", "helper.py": "SCALE = 1"},
    "in a function": {"mine.py": "def f():\n    import helper", "helper.py": "SCALE = 1"},
    "under another name": {"mine.py": "import helper as h", "helper.py": ""},
    "through a neighbour": {"mine.py": "import near", "near.py": "import helper", "helper.py": ""},
    "in a function of a neighbour": {"mine.py": "import near", "near.py": "def f(): import helper", "helper.py": ""},
    "by name": {"mine.py": "import importlib\nimportlib.import_module('helper')", "helper.py": ""},
    "by name, imported": {
        "mine.py": "from importlib import import_module\nimport_module('helper.a')",
        "helper/__init__.py": "",
        "helper/a.py": "",
    },
    "by keyword": {"mine.py": "import importlib\nimportlib.import_module(name='helper')", "helper.py": ""},
    "by the builtin": {"mine.py": "__import__('helper')", "helper.py": ""},
    "in a package": {"mine.py": "import near", "near/__init__.py": "from . import helper", "near/helper.py": ""},
    "deep in a package": {"mine.py": "def f(): from near.a import b", "near/__init__.py": "", "near/a/helper.py": ""},
    "in a folder": {"mine.py": "from near import helper", "near/helper.py": ""},
    "from a package": {"mine.py": "import near", "near/__init__.py": "import helper", "helper.py": ""},
    "in a circle": {"mine.py": "import near", "near.py": "import helper", "helper.py": "import near, mine"},
    "unparsed": {"mine.py": "def f(): import helper", "helper.py": "1 +"},
    "beside a folder of its name": {"mine.py": "import helper", "helper.py": "", "helper/notes.py": ""},
    "in the package of the file": {
        "home/mine.py": "from home.helper import SCALE",
        "home/__init__.py": "",
        "home/helper.py": "SCALE = 1",
    },
}


@pytest.mark.parametrize("name", HELPED)
def test_a_neighbour_that_a_single_file_imports_counts(name: str, folder: Folder, tmp_path: Path) -> None:
    path = folder(HELPED[name])
    helper = next(file for file in tmp_path.rglob("*.py") if "helper" in str(file.relative_to(tmp_path)))
    module, before = load_file(path), helper.read_text()
    base = code_of(module, None)
    if name != "unparsed":
        helper.write_text(before + REMARK)
        assert code_of(module, None) == base
    helper.write_text(before + CHANGE)
    assert code_of(module, None) != base
    helper.write_text(before)
    assert code_of(module, None) == base


IGNORED = {
    "that nobody imports": {"mine.py": "import math", "helper.py": ""},
    "that only another imports": {"mine.py": "import math", "near.py": "import helper", "helper.py": ""},
    "that is named in a text": {"mine.py": "'import helper'\nx = 'helper'", "helper.py": ""},
    "of the name of an attribute": {"mine.py": "import math\ndef f(): math.helper", "helper.py": ""},
    "of the name of a standard module": {"mine.py": "import random", "random.py": ""},
    "that is below a folder": {"mine.py": "def f(): import helper", "near/helper.py": ""},
    "that a package hides": {"mine.py": "import near", "near/__init__.py": "", "near.py": ""},
    "that a module hides": {"mine.py": "import near", "near.py": "", "near/helper.py": ""},
    "in a hidden folder": {"mine.py": "import near", "near/__init__.py": "", "near/.checkpoints/helper.py": ""},
    "that is no module": {"mine.py": "import near", "near/__init__.py": "", "near/helper.txt": ""},
    "where a name is relative": {
        "mine.py": "import importlib\ndef f(): importlib.import_module('.near', __package__)",
        "helper.py": "",
    },
    "where a name is a path": {"mine.py": "def f(import_module): import_module('./helper')", "helper.py": ""},
}


@pytest.mark.parametrize("name", IGNORED)
def test_a_neighbour_that_a_single_file_does_not_import_does_not_count(name: str, folder: Folder) -> None:
    path = folder(IGNORED[name])
    module = load_file(path)
    base = code_of(module, None)
    changed = path.parent / list(IGNORED[name])[-1]
    changed.write_text(changed.read_text() + CHANGE)
    assert code_of(module, None) == base


def test_what_no_import_could_find_is_not_looked_at(folder: Folder, tmp_path: Path) -> None:
    path = folder({"mine.py": "def f(import_module): import_module('/etc'), import_module('..'), import_module('')"})
    (tmp_path / "odd.py").mkdir()
    (tmp_path / "link.py").symlink_to(tmp_path / "absent.py")
    assert code_of_file(path) == code_of_file(path)
    path.write_text("def f(): import odd, link")
    assert code_of_file(path) == digest({"": tree_digest_of(path)})


def test_where_a_single_file_lies_and_its_name_do_not_count(folder: Folder, tmp_path: Path) -> None:
    files = {"mine.py": "def f(): import near", "near/__init__.py": "", "near/a.py": "x = 1", "other.py": ""}
    path = folder({f"one/{name}": text for name, text in files.items()})
    shutil.copytree(tmp_path / "one", tmp_path / "two" / "three")
    (tmp_path / "two" / "three" / "mine.py").rename(tmp_path / "two" / "three" / "yours.py")
    (tmp_path / "link").symlink_to(tmp_path / "one")
    assert code_of_file(tmp_path / "two" / "three" / "yours.py") == code_of_file(path)
    assert code_of_file(tmp_path / "link" / "mine.py") == code_of_file(path)


def test_an_extension_module_counts_by_its_bytes(folder: Folder, tmp_path: Path) -> None:
    path, extension = folder({"mine.py": "def f(): import fast"}), tmp_path / f"fast{EXTENSION_SUFFIXES[0]}"
    extension.write_bytes(b"\x7fELF 1")
    base = code_of_file(path)
    extension.write_bytes(b"\x7fELF 2")
    assert code_of_file(path) != base


def test_a_neighbour_of_another_name_is_other_code(folder: Folder) -> None:
    path = folder({"mine.py": "def f(x): import near, far", "near.py": "x = 1", "far.py": "x = 2"})
    base = code_of_file(path)
    path.with_name("near.py").write_text("x = 2")
    path.with_name("far.py").write_text("x = 1")
    assert code_of_file(path) != base


def test_a_syntax_that_this_version_does_not_know_counts_by_its_bytes(folder: Folder) -> None:
    path = folder({"mine.py": "def f(): import near", "near.py": "type X[T = int] = $[T]"})
    base = code_of_file(path)
    path.with_name("near.py").write_text("type X[T = int] = $[T]  # a remark")
    assert code_of_file(path) != base


# The plan.


def test_a_changed_helper_makes_another_run_and_a_remark_does_not(folder: Folder) -> None:
    source = (ROOT / "tests" / "tiny_plugin.py").read_text()
    path = folder({"tiny_plugin.py": f"{source}\n\ndef late():\n    import tiny_helper\n", "tiny_helper.py": "x = 1\n"})

    def ids() -> set[str]:
        request = Request(("plain", "gan"), ("ring",), seeds=1, plugins=(path,))
        return {job.spec.variant: job.spec.id for job in plan(request, discover([path])).jobs}

    base = ids()
    helper = path.with_name("tiny_helper.py")
    helper.write_text("# a remark\nx = 1\n")
    path.write_text(path.read_text() + REMARK)
    assert ids() == base
    helper.write_text("x = 2\n")
    changed = ids()
    assert changed["plain"] != base["plain"]
    assert changed["gan"] == base["gan"]


# What comes with ganbench.


@pytest.mark.parametrize("name", [HARNESS, "a-stranger"])
def test_of_what_comes_with_ganbench_only_the_plugin_itself_counts(name: str, folder: Folder, tmp_path: Path) -> None:
    files = ["inside/__init__.py", "inside/plugin.py", "inside/other.py", "inside_too/shared.py"]
    folder(
        dict.fromkeys(files, "x = 1\n") | {"inside/plugin.py": "from inside import other\nimport inside_too.shared\n"}
    )
    folder({"d-1.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n"})
    folder({"d-1.dist-info/RECORD": "".join(f"{file},,\n" for file in files)})
    distribution = PathDistribution(tmp_path / "d-1.dist-info")
    module = __import__("inside.plugin").plugin
    base, changed = code_of(module, distribution), {}
    for file in files:
        before = (tmp_path / file).read_text()
        (tmp_path / file).write_text(before + CHANGE)
        changed[file] = code_of(module, distribution) != base
        (tmp_path / file).write_text(before)
    assert changed == {file: name != HARNESS or file == "inside/plugin.py" for file in files}


# Installed distributions.


@dataclass(frozen=True)
class Project:
    """A distribution: what its entry point names, its files by where they are imported from, and how it is laid out."""

    entry: str
    files: dict[str, str]
    source: str = "src"
    tool: str = ""


def plugin_of(name: str, more: str = "") -> str:
    return f"{more}\n{PLUGIN.replace('NAME', name)}"


LEGACY = "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"
OBJECT = "\nclass plugin:\n    ganbench_variants = staticmethod(ganbench_variants)\n"
PROJECTS = {
    "packed": Project(
        "packed.plugin",
        {
            "packed/__init__.py": '"""A package."""\n',
            "packed/plugin.py": plugin_of("packed", "from packed.losses import *\ndef f(): from . import late"),
            "packed/losses.py": "from .nets import blocks\n",
            "packed/late.py": "",
            "packed/unused.py": "",
            "packed/nets/__init__.py": "",
            "packed/nets/blocks.py": "x = '\\d'\n",
        },
    ),
    "two-modules": Project(
        "two_plugin",
        {
            "two_plugin.py": plugin_of("two-modules", "import two_helper"),
            "two_helper.py": "",
            "two_unused.py": "",
            "tests/test_two.py": "",
        },
        source=".",
        tool='py-modules = ["two_plugin", "two_helper", "two_unused"]',
    ),
    "two-packages": Project(
        "two_first.plugin",
        {
            "two_first/__init__.py": "",
            "two_first/plugin.py": plugin_of("two-packages"),
            "two_second/__init__.py": "",
            "two_second/helper.py": "",
        },
    ),
    "space-one": Project(
        "space.one.plugin",
        {
            "space/one/__init__.py": "",
            "space/one/plugin.py": plugin_of("space-one", "from space.one import helper"),
            "space/one/helper.py": "",
        },
    ),
    "space-two": Project(
        "space.plugin",
        {
            "space/plugin.py": plugin_of("space-two", "from .helper import *"),
            "space/helper.py": "",
            "beyond/__init__.py": "",
            "yonder/__init__.py": "",
        },
    ),
    "legacy-one": Project("legacy.one", {"legacy/__init__.py": LEGACY, "legacy/one.py": plugin_of("legacy-one")}),
    "legacy-two": Project("legacy.two", {"legacy/__init__.py": LEGACY, "legacy/two.py": plugin_of("legacy-two")}),
    "whole": Project(
        "whole", {"whole/__init__.py": plugin_of("whole", "from whole import inner"), "whole/inner.py": ""}
    ),
    "object": Project(
        "objects.here:plugin",
        {"objects/__init__.py": "", "objects/here.py": plugin_of("object") + OBJECT, "objects/helper.py": ""},
    ),
    "mapped": Project(
        "mapped.plugin",
        {"mapped/__init__.py": "", "mapped/plugin.py": plugin_of("mapped"), "mapped/helper.py": ""},
        source="lib",
        tool='packages = ["mapped"]\npackage-dir = {mapped = "lib/mapped"}',
    ),
}
EDITS = [
    # The plugin, a file, and whether a change of the file makes other code.
    ("packed", "packed/__init__.py", True),
    ("packed", "packed/plugin.py", True),
    ("packed", "packed/losses.py", True),
    ("packed", "packed/late.py", True),
    ("packed", "packed/unused.py", True),
    ("packed", "packed/nets/__init__.py", True),
    ("packed", "packed/nets/blocks.py", True),
    ("packed", "packed/README.md", False),
    ("packed", "packed/numbers.csv", False),
    ("packed", "whole/inner.py", False),
    ("two-modules", "two_plugin.py", True),
    ("two-modules", "two_helper.py", True),
    ("two-modules", "two_unused.py", True),
    ("two-packages", "two_second/helper.py", True),
    ("two-packages", "packed/unused.py", False),
    ("space-one", "space/one/plugin.py", True),
    ("space-one", "space/one/helper.py", True),
    ("space-one", "space/helper.py", False),
    ("space-two", "space/plugin.py", True),
    ("space-two", "space/helper.py", True),
    ("space-two", "beyond/__init__.py", True),
    ("space-two", "yonder/__init__.py", True),
    ("space-two", "space/one/helper.py", False),
    ("legacy-one", "legacy/one.py", True),
    ("legacy-one", "legacy/two.py", False),
    ("whole", "whole/__init__.py", True),
    ("whole", "whole/inner.py", True),
    ("object", "objects/here.py", True),
    ("object", "objects/helper.py", True),
    ("mapped", "mapped/plugin.py", True),
    ("mapped", "mapped/helper.py", True),
]
SITE_CHILD = """
import json, site, sys
from pathlib import Path
from ganbench.runs.code import code_of
from ganbench.runs.registry import discover

given = json.load(sys.stdin)
for folder in given["folders"]:
    site.addsitedir(folder)
registry = discover([Path(file) for file in given["files"]])
assert registry.broken == {}, registry.broken
entries = {name: registry.get("variant", name) for name in given["names"]}
codes, changed = {name: entry.code for name, entry in entries.items()}, []
for name, path, text in given["edits"]:
    entry, file = entries[name], Path(path)
    old = file.read_bytes() if file.exists() else None
    file.write_bytes((old or b"") + text.encode())
    changed.append(code_of(entry.module, entry.distribution) != codes[name])
    file.unlink() if old is None else file.write_bytes(old)
print(json.dumps([codes, changed]))
"""


def ask(
    *folders: Path, names: list[str], edits: list[tuple[str, str, str]] | None = None, files: tuple[Path, ...] = ()
) -> tuple[dict[str, str], list[bool]]:
    """Find plugins by their entry points in another process: the code of each, and which edits make another."""
    paths = list(map(str, folders))
    given = {"folders": paths, "files": list(map(str, files)), "names": names, "edits": edits or []}
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SITE_CHILD], input=json.dumps(given), capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return tuple(json.loads(done.stdout))


def install(target: Path, *arguments: str | Path) -> None:
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-compile"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", target, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class Installed:
    """The projects, their modules put into one folder (`regular`), or found where they are edited (`editable`)."""

    projects: Path
    regular: Path
    editable: Path
    codes: dict[str, str]
    changed: dict[tuple[str, str], bool]
    remarked: dict[tuple[str, str], bool]

    def source(self, file: str) -> Path:
        """Return where a module is edited."""
        owner = next(name for name, project in PROJECTS.items() if file in project.files)
        return self.projects / owner / PROJECTS[owner].source / file


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    root = tmp_path_factory.mktemp("distributions")
    for name, project in PROJECTS.items():
        for file, text in project.files.items():
            path = root / "projects" / name / project.source / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (root / "projects" / name / "pyproject.toml").write_text(
            '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
            f'[project]\nname = "{name}"\nversion = "1"\n[project.entry-points.ganbench]\n{name} = "{project.entry}"\n'
            f"[tool.setuptools]\n{project.tool}\n"
        )
    projects = [root / "projects" / name for name in PROJECTS]
    install(root / "regular", *projects)
    install(root / "editable", *(part for project in projects for part in ("--editable", project)))
    edits = [(name, str(root / "regular" / file), text) for text in (CHANGE, REMARK) for name, file, _ in EDITS]
    codes, changed = ask(root / "regular", names=list(PROJECTS), edits=edits)
    keys = [(name, file) for name, file, _ in EDITS]
    return Installed(
        root / "projects",
        root / "regular",
        root / "editable",
        codes,
        dict(zip(keys, changed[: len(keys)], strict=True)),
        dict(zip(keys, changed[len(keys) :], strict=True)),
    )


@pytest.mark.parametrize(("name", "file", "matters"), EDITS)
def test_of_an_installed_distribution_every_module_counts_and_nothing_else(
    name: str, file: str, matters: bool, installed: Installed
) -> None:
    assert installed.changed[name, file] == matters
    assert not installed.remarked[name, file]


def test_where_a_distribution_is_installed_does_not_count(installed: Installed, tmp_path: Path) -> None:
    shutil.copytree(installed.regular, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "packed" / "__pycache__").mkdir()
    assert ask(tmp_path / "elsewhere", names=list(PROJECTS))[0] == installed.codes


def test_what_is_installed_to_be_edited_is_the_same_code_until_it_is_edited(installed: Installed) -> None:
    mine = [edit for edit in EDITS if edit[1] in PROJECTS[edit[0]].files]
    edits = [(name, str(installed.source(file)), CHANGE) for name, file, _ in mine]
    edits += [("packed", str(installed.projects / "packed" / file), CHANGE) for file in ("setup.py", "README.md")]
    edits += [("two-modules", str(installed.source("tests/test_two.py")), CHANGE)]
    codes, changed = ask(installed.editable, names=list(PROJECTS), edits=edits)
    assert codes == installed.codes
    assert changed == [True] * len(mine) + [False] * 3


def test_a_checkout_on_the_path_is_the_same_code(installed: Installed) -> None:
    # Its metadata lists sources, tests too, as they were when it was last built.
    names = [name for name in PROJECTS if name != "mapped"]
    folders = [installed.projects / name / PROJECTS[name].source for name in names]
    assert all(list(folder.glob("*.egg-info/SOURCES.txt")) for folder in folders)
    codes, _ = ask(*folders, names=names)
    assert codes == {name: installed.codes[name] for name in names}


def test_another_process_finds_the_same_code_of_a_single_file(folder: Folder, tmp_path: Path) -> None:
    path = folder({"mine.py": plugin_of("mine", "import near"), "near.py": "x = '\U0001fae8'\n"})
    here = discover([path]).get("variant", "mine").code
    there, _ = ask(tmp_path, names=["mine"], files=(path,))
    assert there == {"mine": here}
