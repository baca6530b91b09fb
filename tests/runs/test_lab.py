"""What an experiment is offered: a memory that keeps apart whatever differs, courses, data and extractors."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ganbench import Dirac, UserError, dirac_data
from ganbench.errors import DiskError
from ganbench.results.record import RunRecord, RunSpec
from ganbench.results.store import ResultStore
from ganbench.runs.execute import execute
from ganbench.runs.lab import HarnessLab
from ganbench.runs.made import MadeRun
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import Registry, discover
from ganbench.runs.steps import Step
from ganbench.training.budget import Budget

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"

pytestmark = pytest.mark.usefixtures("switches")


@dataclass(frozen=True)
class Options:
    rate: float = 0.1


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover([PLUGIN])


@pytest.fixture
def lab_of(registry: Registry, tmp_path: Path) -> Any:
    def make(**changes: Any) -> HarnessLab:
        given: dict[str, Any] = {
            "name": "mine",
            "folder": tmp_path / ".memory" / "mine",
            "code": "c" * 64,
            "root": tmp_path / "data",
            "weights": None,
            "device": torch.device("cpu"),
            "begin": lambda step: "",
        }
        options = changes.pop("options", Options())
        return HarnessLab(options, ["plain"], [0], changes.pop("registry", registry), **(given | changes))

    return make


class Work:
    """Counts how often it is done."""

    def __init__(self, result: Any = 1) -> None:
        self.result, self.times = result, 0

    def __call__(self) -> Any:
        self.times += 1
        return self.result


# The memory


def test_what_was_computed_is_read_by_the_next_command(lab_of):
    work = Work({"slope": 1 / 3, "list": [1, None, True], "nan": math.nan})
    one, other = lab_of().once({"seed": 0}, work), lab_of().once({"seed": 0}, work)
    assert work.times == 1
    assert one["slope"] == other["slope"] == 1 / 3 and other["list"] == [1, None, True] and math.isnan(other["nan"])


def test_what_is_returned_at_first_is_what_will_be_read(lab_of):
    value = {1: (np.float32(0.5), np.arange(2)), "t": torch.eye(2), "n": np.int64(3)}
    found = [lab_of().once({"seed": 0}, Work(value)) for _ in range(2)]
    assert found == [{"1": [0.5, [0, 1]], "t": [[1.0, 0.0], [0.0, 1.0]], "n": 3}] * 2


@pytest.mark.parametrize(
    "changes",
    [
        {"options": Options(0.2)},
        {"code": "d" * 64},
        {"root": Path("/elsewhere")},
        {"weights": Path("/weights")},
        {"device": torch.device("cuda:1")},
        {"folder": "other"},
    ],
)
def test_what_the_experiment_need_not_say_is_kept_apart(lab_of, tmp_path, changes):
    changes = {key: tmp_path / value if key == "folder" else value for key, value in changes.items()}
    work = Work()
    lab_of().once({"seed": 0}, work)
    lab_of(**changes).once({"seed": 0}, work)
    assert work.times == 2


def test_the_harness_s_numbers_are_kept_apart(lab_of, monkeypatch):
    work = Work()
    lab_of().once({}, work)
    monkeypatch.setattr("ganbench.runs.lab.NUMBERS", 10**6)
    lab_of().once({}, work)
    assert work.times == 2


KEYS = [
    {"seed": 0}, {"seed": 1}, {"seed": "0"}, {"seed": 0.5}, {"seed": [0]}, {"seed": None}, {"seed": True}, {"other": 0},
    {"dtype": torch.float32}, {"dtype": torch.float64}, {"at": np.array([1.0])}, {"at": torch.tensor([1.0 + 1e-7])},
    {"path": Path("a")}, {"path": Path("b")}, {"of": Options(1)}, {"of": Options(2)}, {"r": range(2)}, {"r": range(3)},
    {"s": {"a", "b"}}, {"s": {"a", "c"}},
]  # fmt: skip


def test_keys_that_differ_are_kept_apart_and_equal_ones_found(lab_of):
    work = Work()
    for key in KEYS:
        lab_of().once(key, work)
    assert work.times == len(KEYS)
    for key in KEYS:
        lab_of().once(key, work)
    assert work.times == len(KEYS)


@pytest.mark.parametrize("key", [{"variant": "plain"}, {"of": {"who": ["plain", "labelled"]}}, {"data": "tiny:a,b"}])
def test_an_edited_plugin_that_a_key_names_is_another(lab_of, registry, key):
    work, edited = Work(), Registry()
    for kind, names in registry.entries.items():
        edited.entries[kind] = {name: [replace(entry) for entry in of] for name, of in names.items()}
    for kind, name in (("variant", "plain"), ("dataset", "tiny")):
        vars(edited.entries[kind][name][0])["code"] = "edited"
    for registered in (registry, edited):
        lab_of(registry=registered).once(key, work)
        lab_of(registry=registered).once({"variant": "slow"}, work)
    assert work.times == 3  # whoever is not named does not count


def test_a_run_stands_for_its_identity_and_its_weights(lab_of, registry, tmp_path):
    (job,) = plan(Request(["plain"], ["tiny"], budget="64-images", seeds=1, metrics=()), registry).jobs
    records = [RunRecord(job.spec, "done", checksums={"weights": text}) for text in ("1", "2")]
    records.append(RunRecord(replace(job.spec, seed=7), "done", checksums={"weights": "1"}))
    store, work = ResultStore(tmp_path), Work()
    for record in [*records, *records]:
        made = MadeRun(record, store, registry, root=tmp_path, device=torch.device("cpu"))
        lab_of().once({"run": made, "share": 0.5}, work)
    assert work.times == 3


def test_what_cannot_be_told_apart_or_kept_is_refused(lab_of):
    with pytest.raises(TypeError, match=r"a object cannot be kept by `lab\.once`"):
        lab_of().once({"what": object()}, Work())
    with pytest.raises(TypeError, match=r"a function cannot be kept by `lab\.once`"):
        lab_of().once({}, Work({"f": test_what_cannot_be_told_apart_or_kept_is_refused}))


@pytest.mark.parametrize("content", [b"", b'{"half": ', b"\xff\xfe"])
def test_a_damaged_memory_is_computed_again(lab_of, tmp_path, content):
    work = Work(5)
    lab_of().once({}, work)
    (file,) = (tmp_path / ".memory" / "mine").glob("*.json")
    file.write_bytes(content)
    assert lab_of().once({}, work) == 5 and work.times == 2
    assert json.loads(file.read_text()) == 5


def test_the_memory_is_nothing_for_git_and_a_failure_leaves_none(lab_of, tmp_path):
    def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        lab_of().once({}, fails)
    assert not list(tmp_path.rglob("*.json"))
    lab_of().once({}, Work())
    assert (tmp_path / ".memory" / "mine" / ".gitignore").read_text() == "*\n"


def test_a_disk_that_refuses_is_a_sentence(lab_of, tmp_path):
    (tmp_path / ".memory").write_text("")
    with pytest.raises(DiskError, match="cannot write"):
        lab_of().once({}, Work())


def test_what_is_said_is_told_with_the_experiment_s_name(lab_of):
    told: list[Step] = []
    lab_of(begin=told.append).tell("plain, seed 3")
    assert [step.what for step in told] == ["mine: plain, seed 3"]


# Courses, data, extractors


@pytest.mark.parametrize(
    ("variant", "settings", "sentence"),
    [
        ("plian", (), "unknown variant 'plian': did you mean 'plain'"),
        ("labelled", (), "it needs labels of at least two classes"),
        ("real", (), "it is a control, which is not trained"),
        ("plain", ("lr=1",), "plain has no option 'lr'"),
        ("wgan", ("clip",), "the setting 'clip' is not an option and a value: write lr=1e-3"),
        ("wgan", ("clip=many",), "wgan.clip: "),
    ],
)
def test_a_variant_that_does_not_fit_a_course_is_a_sentence(lab_of, variant, settings, sentence):
    with pytest.raises(UserError, match=sentence) as told:
        lab_of().course(variant, dirac_data(64), Dirac(), settings=settings)
    assert "\n" not in str(told.value)


def test_settings_of_a_course_are_the_variant_s_options(lab_of):
    points = []
    for settings in ((), ("lr=0.01",), ("wgan.lr=0.01",)):
        course = lab_of().course("wgan", dirac_data(64), Dirac(), settings=settings)
        course.advance(2)
        points.append({name: value.tolist() for name, value in course.variant.state_dict().items()})
    assert points[0] != points[1]
    assert points[2] == points[1]


def test_a_seed_of_a_course_is_that_of_its_initial_weights(lab_of, registry):
    backbone = registry.get("backbone", "mlp").item
    data = dirac_data(64)._replace(images=torch.randn(64, 2))
    states = [lab_of().course("plain", data, backbone, seed=s).variant.state_dict() for s in (0, 0, 1)]
    weights = [torch.cat([value.flatten() for value in state.values()]) for state in states]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_data_and_extractors_are_had_by_name(lab_of):
    data = lab_of().open("tiny")
    assert data.train.images.shape == (256, 1, 8, 8) and lab_of().open("tiny", size=16).train.images.shape[-1] == 16
    embedding = lab_of().extractor("pixels", "tiny", data)
    assert len(embedding(data.train.images[:3])[0]) == 3
    for ask, sentence in (
        (lambda: lab_of().open("tinny"), "unknown dataset 'tinny': did you mean 'tiny'"),
        (lambda: lab_of().open("tiny", settings=["x=1"]), "tiny has no option 'x'"),
        (lambda: lab_of().open("mnist"), "mnist"),
        (lambda: lab_of().extractor("inception", "tiny", data), "inception"),
    ):
        with pytest.raises(UserError, match=sentence):
            ask()


# Runs


def test_a_made_run_gives_back_what_it_was(registry, tmp_path):
    """Its weights anywhere, its first step, its traces, its data; and what was not kept in a sentence."""
    request = Request(["plain"], ["tiny"], budget="160-images", batch=16, seeds=[3], marks=1, metrics=(), keep=[0.5])
    (job,) = plan(request, registry).jobs
    store, loaded = ResultStore(tmp_path), dict[str, Any]()
    record = execute(job, store, registry, threads=1)
    made = MadeRun(record, store, registry, root=tmp_path, device=torch.device("cpu"), loaded=loaded)
    final = torch.load(store.work(job.spec) / "final.pt", weights_only=True)["raw"]
    assert made.shares == [0.5, 1.0]
    assert all(torch.equal(value, final[name]) for name, value in made.at().state_dict().items())
    half, fresh = made.at(0.5), made.fresh()
    assert not half.training and not any(p.requires_grad for p in half.parameters()) and fresh.training
    assert not torch.equal(next(half.parameters()), next(fresh.parameters()))
    assert len(made.traces()["loss/D"]) == 10
    with pytest.raises(UserError, match=r"at 0\.25 of its budget are not kept; there are those at 0\.5, 1$"):
        made.at(0.25)
    other = MadeRun(record, store, registry, root=tmp_path, device=torch.device("cpu"), loaded=loaded)
    assert other.data is made.data  # what many runs share is loaded once
    single, double = made.probe(0.5, 4, batch=256), made.probe(0.5, 4, batch=256, double=True)
    assert single.keys() == double.keys() == {"log(1-D)", "-log D", "own"}
    for name, curve in single.items():
        assert curve.iterations == double[name].iterations
        assert curve.norms == pytest.approx(double[name].norms, rel=0.2)  # of one D, on other latents
    assert torch.get_default_dtype() == torch.float32
    (store.work(job.spec) / "final.pt").unlink(), (store.work(job.spec) / "at-0.5.pt").unlink()
    with pytest.raises(UserError, match="at 1 of its budget are not kept; there are none in"):
        made.at()


def test_a_row_was_tried_as_often_as_it_has_runs_and_failures_that_differ_in_the_seed_alone(lab_of):
    def spec(seed, **facts):
        return RunSpec(**{"variant": "plain", "dataset": "d", "backbone": "b", "size": 8, "batch": 8, **facts,
                          "budget": Budget(1, "updates"), "seed": seed})  # fmt: skip

    lab = lab_of()
    runs: Any = [SimpleNamespace(record=RunRecord(spec(seed), "done")) for seed in (0, 2)]
    assert lab.tried(runs) == 2
    lab.lost = [spec(1), spec(3), spec(1, batch=9), spec(4, variant="other")]
    assert lab.tried(runs) == 4
