"""What is wrong with an installation is found, a sentence each, and what is right is not."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from ganbench import Metric, Value
from ganbench.runs import doctor, selftest
from ganbench.runs.doctor import data_found, device_faults, examine, pair_faults, unmet, weight_files
from ganbench.runs.registry import Entry, Origin, Registry, discover
from ganbench.runs.selftest import INPUTS, STORED, TOLERANCE, judged, test_metrics as outcomes_of

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("switches")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Install a distribution with some requirements, for the length of a test."""

    def make(name: str, *requires: str) -> None:
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        lines = [f"Requires-Dist: {each}" for each in requires]
        (info / "METADATA").write_text(
            "\n".join(["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", *lines, ""])
        )
        monkeypatch.syspath_prepend(str(tmp_path))

    return make


def test_requirements_are_held_against_what_is_installed(distribution):
    has = version("numpy")
    distribution(
        "needy", "numpy>=1", f"numpy==0.{has}", "no-such-thing>2", "pytest; extra == 'x'", "torch<1; extra=='x'"
    )
    first, second = unmet("needy")
    assert first == f"needy needs numpy==0.{has}, but {has} is installed: pip install 'numpy==0.{has}'"
    assert second.startswith("needy needs no-such-thing, which is not installed")


def test_what_is_installed_here_fits():
    assert unmet("ganbench") == [] and pair_faults() == [] and device_faults(CPU) == []


def test_a_torchvision_that_does_not_fit_is_told(distribution, monkeypatch):
    distribution("torchvision", "torch==1.0.0")
    (fault,) = pair_faults()
    assert fault.startswith("torchvision needs torch==1.0.0, but ")
    monkeypatch.setattr(doctor, "unmet", lambda name: [])
    monkeypatch.setattr(doctor.importlib, "import_module", lambda name: 1 / 0)
    (fault,) = pair_faults()
    assert "does not work with torch" in fault and "ZeroDivisionError" in fault


def test_a_device_that_rounds_too_much_is_told(monkeypatch):
    multiply = torch.Tensor.__matmul__
    monkeypatch.setattr(
        torch.Tensor, "__matmul__", lambda a, b: multiply(a, b) * (1 + 1e-4 * (a.dtype == torch.float32))
    )
    assert device_faults(CPU) == ["the device cpu multiplies matrices with a relative error of 1.0e-04"]


def test_data_sets_and_weights_are_found_where_they_lie(registry, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    (tmp_path / "cifar-10-python.tar.gz").write_text("x")
    (tmp_path / "lsun").mkdir()
    found = data_found(registry, tmp_path)
    assert found["cifar10"] == str(tmp_path / "cifar-10-python.tar.gz") and found["lsun"] == str(tmp_path / "lsun")
    assert found["mnist"] == f"not found: {tmp_path / 'MNIST/raw'}"
    assert found["digits"] == "comes with its plugin" and found["folder"] == "needs an argument: folder:PATH"
    for name, content in (("w/a.npz", b"one"), ("hub/checkpoints/b.pth", b"two"), ("w/readme.md", b"no")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    files = list(weight_files(tmp_path / "w"))
    assert [(Path(each["path"]).name, each["bytes"], each["sha256"]) for each in files] == [
        (name, 3, hashlib.sha256(content).hexdigest()) for name, content in (("a.npz", b"one"), ("b.pth", b"two"))
    ]


def test_every_data_set_that_reads_the_data_root_says_where(registry):
    """One that finds nothing in an empty root and comes with no file of its own would be told to be there."""
    from ganbench import UserError

    for name, (entry, *_) in registry.entries["dataset"].items():
        if entry.item.places or entry.origin.distribution != "ganbench" or ":" in entry.item.summary.split(",")[0]:
            continue
        try:
            entry.item.load(Path("/nonexistent"), entry.item.size)
        except UserError as error:
            pytest.fail(f"{name} has no places, but needs {error}")


def test_metrics_give_the_stored_values(registry, tmp_path):
    """Those of one network are in the tests of its plugin; the others are all here, and each is stored."""
    quick = Registry()
    quick.entries = {kind: dict(names) for kind, names in registry.entries.items()}
    quick.entries["metric"] = {
        name: owners
        for name, owners in registry.entries["metric"].items()
        if owners[0].origin.distribution == "ganbench" and not str(owners[0].item.extractor).startswith("inception-")
    }
    found = list(outcomes_of(quick, root=tmp_path, weights=None, device=CPU, begin=lambda step: ""))
    assert {each.input for each in found} == set(INPUTS)
    assert len({each.metric for each in found if each.value is not None}) >= 10
    assert [each for each in found if each.fault] == []
    stale = [each.metric for each in found if each.value is not None and each.expected is None]
    assert not stale, f"python benchmarks/selftest.py stores {', '.join(stale)} in {STORED.name}"


def test_a_wrong_value_is_told_and_rounding_is_not():
    assert judged("digits", "fid", 10 * (1 + TOLERANCE / 2), 10).fault == ""
    assert judged("digits", "fid", 10.5, 10).fault == "fid on digits came out as 10.5, but 10 is right"
    assert judged("digits", "kid", 1e-4, 0.0).fault.startswith("kid on digits came out as 0.0001")
    assert judged("digits", "new", 1.0, None).note == "nothing is stored to compare it with"


@pytest.mark.parametrize(
    ("compute", "stored", "fault"),
    [
        (lambda scene: {"odd": Value(2.0)}, {"digits": {"odd": 1.0}}, "odd on digits came out as 2, but 1 is right"),
        (lambda scene: 1 / 0, {}, "odd on digits has no value: the metric 'odd' failed with ZeroDivisionError"),
        (lambda scene: {"odd": Value(float("nan"))}, {"digits": {"odd": 1.0}}, "has no value: odd came out as nan"),
    ],
)
def test_a_metric_that_is_wrong_or_breaks_is_a_problem(compute, stored, fault, registry, tmp_path, monkeypatch):
    monkeypatch.setattr(selftest, "STORED", tmp_path / "stored.json")
    (tmp_path / "stored.json").write_text(json.dumps(stored))
    monkeypatch.setattr(selftest, "INPUTS", {"digits": INPUTS["digits"]})
    more = Registry()
    more.entries = {kind: dict(names) for kind, names in registry.entries.items()}
    more.entries["metric"] = {"odd": [Entry(Metric("odd", compute), Origin("p", "d", "", ""))]}
    (outcome,) = outcomes_of(more, root=tmp_path, weights=None, device=CPU, begin=lambda step: "")
    assert fault in outcome.fault


def test_a_quick_look_downloads_nothing_and_names_broken_plugins(install, tmp_path, monkeypatch):
    import urllib.request

    monkeypatch.setattr(urllib.request, "urlopen", lambda *a, **k: pytest.fail("it downloads"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    install("bad-plugin", "import no_such_module")
    found = examine((), tmp_path, None, "cpu", True, lambda step: "")
    assert found.tests == [] and found.versions["torch"] == version("torch")
    assert [problem for problem in found.problems if "the plugin bad-plugin is broken" in problem]
    assert found.extractors["pixels"] == "ready" and "downloads nothing" in found.extractors["inception"]
