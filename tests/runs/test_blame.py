"""What a plugin raises is told with its line, with what was being done, and with where the whole traceback lies."""

import json
from pathlib import Path
from textwrap import dedent

import pytest
from click.testing import CliRunner

from ganbench import UserError
from ganbench.cli import main
from ganbench.results.store import ResultStore
from ganbench.runs.execute import execute
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover
from ganbench.testing.kit import run_checks

TINY = Path(__file__).parents[1] / "tiny_plugin.py"
INNER = """
import torch

def fail(*arguments, **more):
    raise RuntimeError("deep inside")

class Passed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        raise RuntimeError("on the way back")
"""
LINE = 1 + INNER.splitlines().index('    raise RuntimeError("deep inside")')
BACK = 1 + INNER.splitlines().index('        raise RuntimeError("on the way back")')
SOURCE = """
from dataclasses import dataclass

import torch
from torch.optim import SGD

from ganbench import Backbone, Dataset, Extractor, ImageSet, Metric, Splits, Update, Value, Variant, hookimpl
import INNER


class Mine(Variant):
    name = "mine"

    def build(self, parts):
        self.G, self.D = parts.generator(), parts.discriminator(norm="none")

    def optimizers(self):
        return {"G": SGD(self.G.parameters(), 0.01), "D": SGD(self.D.parameters(), 0.01)}

    def step(self, batch, clock):
        yield Update("D", self.loss_of_D(batch))
        yield Update("G", self.loss_of_G(batch))

    def loss_of_D(self, batch):
        return self.D(batch.real).mean()

    def loss_of_G(self, batch):
        return self.D(self.sample(len(batch.real))).mean()


class Data(Dataset):
    name, size, backbone, budget, metrics = "data", 8, "mlp", "128-images", ("scored",)

    def load(self, root, size):
        images = torch.randint(0, 256, (96, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        return Splits(ImageSet(images[:64]), ImageSet(images[64:]), "7" * 64, {})


class Eyes(Extractor):
    name = "eyes"

    def prepare(self, dataset, data, weights, device):
        return self

    protocol = {}

    def __call__(self, images):
        return images.flatten(1).float(), None


class Net(Backbone):
    name = "net"

    def __call__(self, data):
        raise NotImplementedError


def scored(scene):
    return {"scored": Value(1.0)}


EDIT


@hookimpl
def ganbench_variants():
    return [Mine]


@hookimpl
def ganbench_datasets():
    return [Data()]


@hookimpl
def ganbench_backbones():
    return [Net()]


@hookimpl
def ganbench_extractors():
    return [Eyes()]


@hookimpl
def ganbench_metrics():
    return [Metric("scored", scored, extractor="eyes")]
"""


@pytest.fixture(params=["distribution", "file"])
def plugin(request, install, tmp_path):
    """Make a plugin whose faults lie in a module beside its own, installed or as one file; return what to add."""

    def make(edit: str = "", inner: str = INNER) -> tuple[Path, ...]:
        beside = f"inner_of_{request.param}"
        source = SOURCE.replace("EDIT", dedent(edit)).replace("import INNER", f"import {beside} as inner")
        if request.param == "distribution":
            install("mine", source, **{beside: inner})
            return ()
        file = tmp_path / "mine.py"
        file.write_text("import sys; sys.path.insert(0, __file__.rpartition('/')[0])" + source)
        (tmp_path / f"{beside}.py").write_text(inner)
        return (file,)

    make.beside = f"inner_of_{request.param}.py"
    return make


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """Let no module of one test be found by the next."""
    import sys

    before, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name.startswith(("inner_of", "ganbench_file", "installed_")):
            del sys.modules[name]


def planned(files, **more):
    return plan(Request(["mine"], ["data"], seeds=1, batch=32, marks=1, plugins=files, **more), discover(files))


def made(files, tmp_path, **more):
    job = planned(files, **more).jobs[0]
    store = ResultStore(tmp_path / "results")
    return execute(job, store, discover(files), threads=1), store.work(job.spec)


def refused(files, **more) -> str:
    with pytest.raises(UserError) as raised:
        planned(files, **more)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.usefixtures("switches")
def test_a_sound_one_is_made(plugin, tmp_path):
    record, _ = made(plugin(), tmp_path)
    assert (record.status, record.error, record.unscored) == ("done", "", {})


# In training


@pytest.mark.usefixtures("switches")
@pytest.mark.parametrize(
    ("edit", "message", "when", "line"),
    [
        ("Mine.step = inner.fail", "deep inside", "", LINE),
        ("Mine.loss_of_D = inner.fail", "deep inside", "in step 0, before its first update; ", LINE),
        ("Mine.loss_of_G = inner.fail", "deep inside", "in step 0, after its update of 'D'; ", LINE),
        (
            "was = Mine.loss_of_D\nMine.loss_of_D = lambda self, batch: inner.Passed.apply(was(self, batch))",
            "on the way back",
            "in the update of 'D' in step 0; ",
            BACK,
        ),
        (
            "was = Mine.loss_of_G\nMine.loss_of_G = lambda self, batch: inner.Passed.apply(was(self, batch))",
            "on the way back",
            "in the update of 'G' in step 0; ",
            BACK,
        ),
        (
            """
            def optimizers(self):
                made = {"G": SGD(self.G.parameters(), 0.01), "D": SGD(self.D.parameters(), 0.01)}
                made["G"].register_step_post_hook(inner.fail)
                return made
            Mine.optimizers = optimizers
            """,
            "deep inside",
            "in the update of 'G' in step 0; ",
            LINE,
        ),
    ],
)
def test_a_failing_step_names_player_and_line(plugin, tmp_path, edit, message, when, line):
    record, work = made(plugin(edit), tmp_path)
    log = work / "error.txt"
    where = f"({when}{plugin.beside}, line {line}; traceback in {log})"
    assert (record.status, record.error) == ("error", f"RuntimeError: {message} {where}")
    assert log.read_text().startswith("Traceback") and plugin.beside in log.read_text()


@pytest.mark.usefixtures("switches")
def test_an_update_without_a_graph_names_its_player(plugin, tmp_path):
    edit = "was = Mine.loss_of_G\nMine.loss_of_G = lambda self, batch: was(self, batch).detach()"
    record, work = made(plugin(edit), tmp_path)
    assert "does not require grad" in record.error
    assert record.error.endswith(f" (in the update of 'G' in step 0; traceback in {work / 'error.txt'})")


@pytest.mark.usefixtures("switches")
@pytest.mark.parametrize(
    ("edit", "when"),
    [
        ("Mine.loss_of_G = inner.fail", "in step 0, after its update of 'D'; "),
        ("Mine.optimizers = inner.fail", ""),
    ],
)
def test_a_probe_that_fails_is_a_sentence_with_its_line(plugin, tmp_path, edit, when):
    more = [text for file in plugin(edit) for text in ("--plugin", str(file))]
    wanted = ("--variant", "mine", "--dataset", "data", "--at", "1", "--iterations", "2", "--results", str(tmp_path))
    result = CliRunner().invoke(main, ["probe", *wanted, *more])
    assert result.exit_code == 2, result.exc_info
    told = f"deep inside ({when}{plugin.beside}, line {LINE}"
    assert told in result.stderr and "Traceback" not in result.output
    if when:
        (log,) = tmp_path.rglob("error.txt")
        assert f"mine data seed 0: RuntimeError: {told}; traceback in {log})" in result.stderr


# In scoring


@pytest.mark.usefixtures("switches")
@pytest.mark.parametrize(
    ("edit", "who", "name"),
    [
        ("def scored(scene): inner.fail()", "metric", "scored"),
        ("Eyes.prepare = inner.fail", "extractor", "eyes"),
        ("Eyes.__call__ = inner.fail", "extractor", "eyes"),
    ],
)
def test_a_failing_metric_and_extractor_are_named_with_their_line(plugin, tmp_path, edit, who, name):
    record, work = made(plugin(edit), tmp_path)
    log = work / f"error-{name}.txt"
    where = f"({plugin.beside}, line {LINE}; traceback in {log})"
    told = f"unavailable: the {who} {name!r} failed with RuntimeError: deep inside {where}"
    assert record.status == "done" and record.unscored == {"scored": told}
    assert log.read_text().startswith("Traceback") and plugin.beside in log.read_text()


# In planning


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        ("Data.load = inner.fail", "it cannot be loaded: RuntimeError: deep inside"),
        ("Data.of = inner.fail", "it cannot be opened: RuntimeError: deep inside"),
        (
            """
            @dataclass(frozen=True)
            class Config:
                lr: float = 1.0
                def __post_init__(self): inner.fail()
            Mine.__annotations__ = {"config": Config}
            """,
            "its options cannot be read: RuntimeError: deep inside",
        ),
        (
            """
            @dataclass(frozen=True)
            class Config:
                depth: int = 1
                def __post_init__(self): inner.fail()
            Data.__annotations__ = {"config": Config}
            """,
            "it cannot be opened: RuntimeError: deep inside",
        ),
    ],
)
def test_what_fails_in_planning_is_a_skip_with_its_line(plugin, edit, sentence):
    files = plugin(f"Data.of = lambda self, argument: self\n{dedent(edit)}")
    made = plan(Request(["mine"], ["data:x"], plugins=files), discover(files))
    assert [skip.reason for skip in made.skips] == [f"{sentence} ({plugin.beside}, line {LINE})"]
    assert made.jobs == []


@pytest.mark.parametrize(
    ("edit", "backbone"), [("Mine.build = inner.fail", "mlp"), ("Net.__call__ = inner.fail", "net")]
)
def test_a_variant_or_backbone_that_cannot_be_built_is_a_skip_with_its_line(plugin, edit, backbone):
    made = planned(plugin(edit), backbone=backbone)
    (skip,) = made.skips
    assert skip.reason == f"it cannot be built: RuntimeError: deep inside ({plugin.beside}, line {LINE})"


def test_an_extractor_that_cannot_say_what_is_missing_is_told_with_its_line(plugin):
    made = planned(plugin("Eyes.missing = inner.fail"))
    told = f"extractor 'eyes' fails: RuntimeError: deep inside ({plugin.beside}, line {LINE})"
    assert made.missing == {("data", "scored"): told}


def test_a_need_that_no_data_meet_is_told(plugin):
    files = plugin('Metric = lambda name, compute, **more: globals()["__builtins__"] and '
                   '__import__("ganbench").Metric(name, compute, needs=frozenset({"wings"}))')  # fmt: skip
    assert refused(files, metrics=("scored",)) == "metric 'scored' does not fit data set 'data': it needs wings"


# In loading


@pytest.mark.parametrize("edit", ["inner.fail()", "@hookimpl\ndef ganbench_presets(): return inner.fail()"])
def test_what_fails_in_loading_is_told_with_its_line(plugin, edit, install):
    try:
        registry = discover(plugin(edit))
    except UserError as error:
        told = str(error)
        assert told.startswith("--plugin ")
    else:
        told = registry.broken["mine"]
    assert told.endswith(f"RuntimeError: deep inside ({plugin.beside}, line {LINE})")


def test_a_module_beside_that_does_not_load_is_told_with_its_line(plugin):
    try:
        told = discover(plugin(inner="x = 1\n\nx = y\n")).broken["mine"]
    except UserError as error:
        told = str(error)
    assert told.endswith(f"NameError: name 'y' is not defined ({plugin.beside}, line 3)")


def test_of_what_fails_in_a_library_the_line_of_the_plugin_is_told(plugin):
    try:
        told = discover(plugin(inner="import torch\n\nx = torch.zeros(2) @ torch.zeros(3)\n")).broken["mine"]
    except UserError as error:
        told = str(error)
    assert told.endswith(f"({plugin.beside}, line 3)")


@pytest.mark.parametrize(
    ("hook", "value", "sentence"),
    [
        ("variants", "None", "returns None instead of a list of classes: it lacks its `return`"),
        ("metrics", "None", "returns None instead of a list of instances: it lacks its `return`"),
        ("variants", "Mine", "returns the class Mine instead of a list of classes: write [Mine]"),
        ("datasets", "Data", "returns the class Data instead of a list of instances: write [Data()]"),
        ("datasets", "Data()", "instead of a list of instances: put it into [ ]"),
        ("metrics", 'Metric("m", scored)', "returns Metric(name='m', "),
        ("variants", '{"mine": Mine}', "returns a dict instead of a list of classes"),
        ("variants", '"mine"', "returns 'mine' instead of a list of classes: put it into [ ]"),
        ("variants", "3", "returns 3 instead of a list of classes"),
        ("variants", '["mine"]', "offers 'mine', which is not a subclass of ganbench.Variant"),
        ("variants", "[None]", "offers None, which is not a subclass of ganbench.Variant"),
        ("variants", "[Mine, [Mine]]", "which is not a subclass of ganbench.Variant"),
        ("variants", "[Mine()]", "TypeError: Variant.__init__() missing 1 required positional argument"),
        ("datasets", "[Data]", "which is not an instance of ganbench.Dataset: write Data()"),
        ("metrics", '["fid"]', "offers 'fid', which is not an instance of ganbench.Metric"),
        ("metrics", "[scored]", "which is not an instance of ganbench.Metric"),
        ("variants", "[]", None),
        ("variants", "(Mine,)", None),
        ("variants", "{Mine}", None),
        ("variants", "(each for each in [Mine])", None),
        ("variants", "(1 / 0 for each in [Mine])", "ZeroDivisionError: division by zero (mine.py, line "),
    ],
)
def test_whatever_a_hook_returns_is_taken_or_told_with_what_would_be_right(hook, value, sentence, tmp_path):
    returned = f"\n\n@hookimpl\ndef ganbench_{hook}(): return {value}\n"
    (tmp_path / "mine.py").write_text(SOURCE.replace("EDIT", "").replace("import INNER\n", "") + returned)
    if sentence is None:
        assert discover([tmp_path / "mine.py"]).get("dataset", "data")
        return
    with pytest.raises(UserError) as raised:
        discover([tmp_path / "mine.py"])
    assert sentence in str(raised.value) and "\n" not in str(raised.value) and len(str(raised.value)) < 400
    assert "mine.py" in str(raised.value)


# In checking


def outcomes(files):
    return {outcome.name: outcome for outcome in run_checks("mine", registry=discover(files)) if not outcome.passed}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ("Mine.loss_of_G = inner.fail", "RuntimeError: deep inside ("),
        ("Mine.sample = inner.fail", "RuntimeError: deep inside ("),
        (
            "was = Mine.loss_of_D\nMine.loss_of_D = lambda self, batch: inner.Passed.apply(was(self, batch))",
            "RuntimeError: on the way back (in the update of 'D' in step 0; ",
        ),
    ],
)
def test_a_failing_check_names_the_line_of_the_plugin(plugin, edit, message):
    failed = outcomes(plugin(edit))
    assert "same_seed_same_run" in failed
    told = failed["same_seed_same_run"]
    assert told.message.startswith(message) or told.message.startswith("RuntimeError: deep inside (in step 0, ")
    assert told.message.endswith((f"{plugin.beside}, line {LINE})", f"{plugin.beside}, line {BACK})"))
    assert told.traceback.startswith("Traceback") and plugin.beside in told.traceback


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        ("Mine.build = inner.fail", "mine cannot be built for "),
        (
            "@dataclass(frozen=True)\nclass Config:\n    lr: float = 1.0\n    __post_init__ = inner.fail\n"
            "Mine.__annotations__ = {'config': Config}",
            "the options of 'mine' cannot be read: ",
        ),
    ],
)
def test_what_cannot_be_checked_is_told_with_its_line(plugin, edit, fault):
    more = [text for file in plugin(edit) for text in ("--plugin", str(file))]
    result = CliRunner().invoke(main, ["check", "mine", *more])
    assert result.exit_code == 2, result.exc_info
    assert result.stderr.startswith(f"Error: {fault}")
    assert result.stderr.endswith(f"RuntimeError: deep inside ({plugin.beside}, line {LINE})\n")


def test_an_assertion_of_the_plugin_is_no_sentence_of_the_kit(plugin):
    inner = INNER.replace('raise RuntimeError("deep inside")', "assert 1 > 2")
    told = outcomes(plugin("Mine.loss_of_G = inner.fail", inner))["same_seed_same_run"].message
    assert told == f"AssertionError (in step 0, after its update of 'D'; {plugin.beside}, line {LINE})"


def test_the_command_tells_where_the_whole_traceback_is(plugin):
    files = plugin("Mine.loss_of_G = inner.fail")
    more = [text for file in files for text in ("--plugin", str(file))]
    shown = CliRunner().invoke(main, ["check", "mine", *more])
    assert shown.exit_code == 1
    assert "FAILED  same_seed_same_run: " in shown.stdout and f"{plugin.beside}, line {LINE})" in shown.stdout
    assert "Whole tracebacks are printed with --json" in shown.stderr
    as_json = json.loads(CliRunner().invoke(main, ["check", "mine", *more, "--json"]).stdout)
    found = next(outcome for outcome in as_json if outcome["name"] == "same_seed_same_run")
    assert found["traceback"].startswith("Traceback") and plugin.beside in found["traceback"]
