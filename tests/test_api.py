"""The commands as functions: keywords are their options, and programs of any kind may call them."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import numpy as np
import pytest

import ganbench
from ganbench.cli import keywords
from ganbench.cli.options import Compiling

PLUGIN = Path(__file__).parent / "tiny_plugin.py"
TINY = {"dataset": "tiny", "budget": "320-images", "marks": 1, "metrics": ["tiny-mean"], "plugin": [PLUGIN]}
PROGRAM = f"""
import ganbench, sys
records = ganbench.run("plain", seeds=1, results="results", **{ {**TINY, "plugin": str(PLUGIN)}!r})
print([(record.status, record.spec.variant) for record in records], "torch" in sys.modules)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Runs of two variants, made once through the public function."""
    results = tmp_path_factory.mktemp("made") / "results"
    return results, ganbench.run(["labelled", "raises"], seeds="0,4", results=results, set={"mlp.width": 16}, **TINY)


@pytest.mark.parametrize("way", ["argument", "input"])  # that of a notebook is a script
def test_a_program_of_any_kind_runs_without_a_guard(way, tmp_path):
    words, given = (["-c", PROGRAM], None) if way == "argument" else (["-"], PROGRAM)
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, input=given, capture_output=True, text=True)
    assert done.stdout == "[('done', 'plain')] False\n", done.stderr
    assert done.stderr.count("started (1 of 1)") == 1


def test_run_returns_a_record_a_run_failures_among_them(made):
    results, records = made
    assert [(r.spec.variant, r.spec.seed, r.status) for r in records] == [
        ("labelled", 0, "done"),
        ("raises", 0, "error"),
        ("labelled", 4, "done"),
        ("raises", 4, "error"),
    ]
    assert all(record.spec.options == {"mlp.width": 16} for record in records)
    assert "the plugin broke" in records[1].error
    assert (results / "tiny").is_dir()


def test_sample_returns_arrays_or_writes_them(made, tmp_path):
    results, records = made
    more = {"results": results, "plugin": PLUGIN, "device": "cpu"}
    drawn = ganbench.sample(records[2], 5, **more)
    assert drawn.images.shape == (5, 8, 8, 1) and drawn.images.dtype == np.uint8 and drawn.labels.shape == (5,)
    named = ganbench.sample(records[2].spec.id[:8], 5, label=2, **more)
    assert named.labels.tolist() == [2] * 5
    assert ganbench.sample(records[2], 5, tmp_path / "out.npz", **more) is None
    with np.load(tmp_path / "out.npz") as arrays:
        assert np.array_equal(arrays["arr_0"], drawn.images)


def test_score_takes_arrays_records_and_names(made):
    results, records = made
    more = {"results": results, "plugin": PLUGIN}
    drawn = ganbench.sample(records[0], 64, **more)
    values = [ganbench.score(a, "tiny", "tiny-mean", n=64, **more) for a in (drawn.images, records[0])]
    assert {name: value.value for name, value in values[0].items()} == {
        "tiny-mean": records[0].values["tiny-mean"][0].value
    }
    assert values[0] == values[1]
    assert values[0]["tiny-mean"].protocol == records[0].values["tiny-mean"][0].protocol


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("run", {"variants": "gan", "dataset": "digits", "seed": 1}, "has no option 'seed': did you mean 'seeds'"),
        ("run", {"variants": "gan", "dataset": "digits", "qqq": 1}, r"has no option 'qqq' \(it has variants, dataset"),
        ("run", {"variants": "gan"}, "--dataset is missing"),
        ("run", {"variants": "gan", "dataset": "digits", "seeds": "x"}, "'--seeds': 'x' is neither a number"),
        ("run", {"variants": "gan", "dataset": "digits", "batch": 0}, "'--batch'"),
        ("run", {"variants": "gan", "dataset": "digits", "budget": "many"}, "budget 'many' is not an amount"),
        ("run", {"variants": "gan", "dataset": "digits", "dry_run": 3}, "dry_run=3: it is a switch"),
        ("run", {"variants": "gan", "dataset": "digits", "set": ["lr"]}, "'lr' is not an option and a value"),
        ("run", {"variants": "gan", "dataset": "digits", "device": "tpu"}, "--device tpu: write auto"),
        ("run", {"variants": "gan", "dataset": "digits", "keep": [0.5, 2]}, "'--keep': '0.5,2': name shares above 0"),
        ("run", {"variants": "gan", "dataset": "digits", "keep": "half"}, "'--keep': 'half': name shares above 0"),
        ("run", {"variants": [], "dataset": "digits"}, "'--variants': name at least one"),
        ("experiment", {"name": "x", "seed": 1}, "has no option 'seed': did you mean 'seeds'"),
        ("experiment", {"name": "divergnces"}, "unknown experiment 'divergnces': did you mean 'divergences'"),
        ("sample", {"run": "gan", "weights": "both"}, "'--weights'"),
        ("sample", {"run": "gan", "results": "nowhere"}, "no results in"),
        ("score", {"a": "x", "b": "y", "metrics": "fid", "device": "tpu"}, "--device tpu: write auto"),
    ],
)
def test_wrong_options_raise_a_sentence(name, options, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ganbench.UserError, match=sentence) as told:
        getattr(ganbench, name)(**options)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"set": {"lr": 1e-4, "wgan.clip": None}}, {"settings": ("lr=0.0001", "wgan.clip=none")}),
        ({"set": ["lr=1", "norm=true"]}, {"settings": ("lr=1", "norm=true")}),
        ({"set": {"betas": (0.5, 0.9), "norm": True}}, {"settings": ("betas=0.5,0.9", "norm=true")}),
        ({"sweep": {"lr": [1e-4, 2e-4]}}, {"sweeps": ("lr=0.0001,0.0002",)}),
        ({"sweep": {"betas": [[0.5, 0.9], [0, 0.99]]}}, {"sweeps": ("betas=[0.5,0.9],[0,0.99]",)}),
        ({"variants": ["gan", "wgan*"], "seeds": [0, 7]}, {"variants": ("gan", "wgan*"), "seeds": (0, 7)}),
        ({"seeds": 2, "compile": False, "budget": None}, {"seeds": 2, "compiled": False, "budget": None}),
        ({"compile": True}, {"compiled": True}),
        ({"compile": "graph"}, {"compiled": "graph"}),
        ({"compile": None}, {"compiled": None}),
        ({"seeds": [4]}, {"seeds": (4,)}),
        ({"seeds": range(2, 5)}, {"seeds": (2, 3, 4)}),
        ({"metrics": ()}, {"metrics": ()}),
        ({"metrics": ["fid"], "keep": [0.5, 0.1]}, {"metrics": ("fid",), "keep": (0.1, 0.5)}),
    ],
)
def test_values_of_python_are_written_as_on_the_command_line(options, found):
    with keywords.asked("run", options) as request:
        assert {name: request[name] for name in found} == found


@pytest.mark.parametrize("name", ["run", "sample", "score", "experiment"])
def test_every_option_of_a_command_is_read_from_its_keyword(name):
    """Each option is given a value that is not its default, and comes out as the command would have it."""
    command = import_module(f"ganbench.cli.{name}").command
    example = {click.types.IntParamType: 7, click.types.FloatParamType: 0.5, click.types.BoolParamType: True}
    example[Compiling] = "graph"
    for param in command.params:
        if name == "sample" and param.name == "output":
            continue  # it is always given
        if not param.expose_value:
            continue  # it is a part of another
        kind = param.type
        value = next((each for cls, each in example.items() if isinstance(kind, cls)), "gan")
        value = 7 if isinstance(kind, click.IntRange) else kind.choices[-1] if isinstance(kind, click.Choice) else value
        value = 0.5 if param.name == "keep" else value
        value = True if getattr(param, "is_flag", False) else "0-1" if param.name == "seeds" else value
        needed = {p.name: "x" for p in command.params if p.required and p is not param}
        keyword = {"class": "label"}.get(keywords._keyword(param), keywords._keyword(param))
        with keywords.asked(name, {**needed, keyword: value}) as request:
            found = request[param.name]
        found = found[0] if isinstance(found, tuple) else found
        found = found.name if isinstance(found, Path) else found
        assert found == (0 if param.name == "seeds" else value), param.name
