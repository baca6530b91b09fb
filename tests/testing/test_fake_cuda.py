"""A CUDA device that is not there: every kind of fault is found on it, and no variant of ganbench has one."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from ganbench.cli import main
from ganbench.contract.variant import Control
from ganbench.errors import UserError
from ganbench.runs.registry import discover
from ganbench.testing import fake_cuda, pretending
from ganbench.testing.fake_cuda import FITTING, look_apart

PLUGIN = Path(__file__).parents[1] / "device_faults.py"
can_pretend = torch.version.cuda is not None and shutil.which("cc") is not None
needs_pretence = pytest.mark.skipif(not can_pretend, reason="a build of PyTorch for CUDA and a C compiler are needed")

FAULTS = {
    "faultless": "",
    "reads-a-value": "waits for the device: a value is read on the host (device_faults.py, line",
    "reads-in-a-hook": "waits for the device: a value is read on the host (device_faults.py, line",
    "copies-to-the-host": "waits for the device: copied to the host (device_faults.py, line",
    "draws-on-the-host": "copies from the host:",
    "uploads-each-step": "copies from the host: 8 bytes copied to the device (device_faults.py, line",
    "mixes-devices": "cuda:0 and cpu! (device_faults.py, line",
    "plain-tensor": "weight stays on the host: make it a buffer",
    "number-of-the-host": "uses a number of the host: a 0-d tensor of the host in mul (device_faults.py, line",
    "selects-by-a-mask": "it fails:",
    "counts-steps": "steps of one phase differ, so that none can be replayed: div (device_faults.py, line",
    "branches-by-the-step": "steps of one phase differ, so that none can be replayed: -1 exp (device_faults.py, line",
    "samples-on-the-host": "sample returns torch.float32 on cpu; it must be float32 on cuda:0",
}


@pytest.fixture(scope="module")
def planted():
    return {seen.variant: seen for seen in look_apart(list(FAULTS), [PLUGIN], quick=True)}


@needs_pretence
@pytest.mark.parametrize("name", FAULTS)
def test_each_kind_of_fault_is_found_and_nothing_else(planted, name):
    told = planted[name].faults
    if not FAULTS[name]:
        assert told == []
    else:
        assert any(FAULTS[name] in line for line in told), told


@needs_pretence
def test_every_planted_fault_is_in_the_file():
    assert set(FAULTS) == {
        cls.name for cls in discover([PLUGIN]).entries["variant"]["faultless"][0].module.ganbench_variants()
    }


@needs_pretence
@pytest.mark.timeout(600)
def test_no_variant_waits_uploads_or_mixes_devices():
    names = [name for name, (entry, *_) in discover().entries["variant"].items() if not issubclass(entry.item, Control)]
    looks = look_apart(sorted(names), quick=True)
    assert {seen.variant for seen in looks} == set(names)
    assert {seen.variant: seen.faults for seen in looks if seen.faults} == {}


@needs_pretence
def test_the_command_tells_faults_and_ends_with_1():
    ended = CliRunner().invoke(main, ["check", "reads-a-value", "--fake-cuda", "--plugin", str(PLUGIN), "--json"])
    seen = json.loads(ended.output)
    assert ended.exit_code == 1
    assert len(seen) > 1  # with every backbone
    assert all(any("read on the host" in what for what in look["waits"]) for look in seen)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nobody"], "unknown variant 'nobody'"),
        (["real"], "real is a control: it is not trained"),
        (["gan", "--device", "cuda"], "choose one"),
    ],
)
@needs_pretence
def test_wrong_requests_get_one_sentence(words, sentence):
    ended = CliRunner().invoke(main, ["check", *words, "--fake-cuda"])
    assert ended.exit_code == 2
    assert sentence in ended.output
    assert "ended after" not in ended.output and "UserError" not in ended.output
    assert "Traceback" not in ended.output


def test_without_a_build_for_cuda_it_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(UserError, match="a build of PyTorch for CUDA on Linux"):
        pretending.environment(tmp_path)


def test_without_a_compiler_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="needs a C compiler"):
        pretending.environment(tmp_path)


def test_a_disk_that_refuses_is_told_in_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    ended = CliRunner().invoke(main, ["check", "gan", "--fake-cuda"])
    assert ended.exit_code != 0 and "cannot make a temporary folder: No such file" in ended.output
    assert "Traceback" not in ended.output


def test_every_backbone_is_tried():
    assert {backbone for backbone, _ in FITTING} == set(discover().entries["backbone"]) - {"example"}
    assert fake_cuda.BATCH == 64
