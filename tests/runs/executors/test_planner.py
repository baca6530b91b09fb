"""Plugins that end, hang or break the process that plans: each is left out with its reason, and the others go on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ganbench.cli.group import main
from ganbench.runs.executors import apart

TESTS = Path(__file__).parents[2]
TINY, FATAL = TESTS / "tiny_plugin.py", TESTS / "fatal_plugin.py"
PLUGINS = ("--plugin", str(TINY), "--plugin", str(FATAL))
RUN = ("run", "--seeds", "1", "--budget", "640-images", "--marks", "1", *PLUGINS)


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "PATIENCE", 0.025)  # three seconds to build


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert "Traceback" not in result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_a_variant_that_cannot_be_planned_is_a_skip_and_the_others_run(tmp_path: Path) -> None:
    variants = "build-*,misfit-ends,images-crashes,options-end,plain"
    said = call(*RUN, "--variants", variants, "--dataset", "tiny", "--results", str(tmp_path))
    assert said.exit_code == 0 and "| plain " in said.stdout, said.output
    lines = [line.removeprefix("Skipped: ") for line in said.stderr.splitlines() if line.startswith("Skipped: ")]
    skips = dict(re.sub(r"line \d+", "line N", line).split(" on tiny: ") for line in lines)
    assert skips == {
        "build-ends": "building it: its process ended with exit code 0",
        "build-crashes": "building it: its process was ended by SIGSEGV",
        "build-aborts": "building it: its process was ended by SIGABRT",
        "build-hangs": "building it: it had not ended after 3 seconds",
        "build-ignores": "building it: it had not ended after 3 seconds",
        "build-exits": "it cannot be built: SystemExit: 0 (fatal_plugin.py, line N)",
        "build-interrupts": "building it: KeyboardInterrupt (fatal_plugin.py, line N)",
        "misfit-ends": "building it: its process ended with exit code 0",
        "images-crashes": "building it: its process was ended by SIGSEGV",
        "options-end": "building it: its process ended with exit code 0",
    }


def test_a_small_batch_is_tried_apart(tmp_path: Path) -> None:
    said = call(*RUN, "--variants", "small-batch-aborts,plain", "--dataset", "tiny", "--batch", "2", "--dry-run")
    assert said.exit_code == 0 and "| plain " in said.stdout
    assert "small-batch-aborts on tiny: trying a batch of 2: its process was ended by SIGABRT" in said.stderr


def test_a_network_beyond_all_memory_is_a_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "PATIENCE", 1.0)
    said = call("run", "--variants", "gan", "--dataset", "digits", "--set", "dcgan.width=1000000", "--dry-run")
    assert said.exit_code == 2 and "Error: nothing to run" in said.stderr
    # What ends it depends on the machine: the allocator as a rule, else the system or the limit of time.
    assert "Skipped: gan on digits: " in said.stderr and len(said.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [
        ("data-crashes", "loading it: its process was ended by SIGSEGV"),
        ("data-raises", "it cannot be loaded: ZeroDivisionError: no data (fatal_plugin.py, line "),
    ],
)
def test_data_that_cannot_be_loaded_are_a_skip_and_others_are_planned(dataset: str, reason: str) -> None:
    said = call(*RUN, "--variants", "plain", "--dataset", f"{dataset},tiny", "--dry-run")
    assert said.exit_code == 0 and "| plain " in said.stdout
    assert f"Skipped: every variant on {dataset}: {reason}" in said.stderr
    alone = call(*RUN, "--variants", "plain", "--dataset", dataset, "--dry-run")
    assert alone.exit_code == 2 and reason in alone.stderr


def test_networks_that_end_the_process_are_the_reason_of_those_that_use_them() -> None:
    said = call(*RUN, "--variants", "plain", "--dataset", "tiny", "--backbone", "networks-end")
    assert said.exit_code == 2 and "plain on tiny: building it: its process ended with exit code 0" in said.stderr


def test_an_extractor_that_falls_is_named_and_exits_with_2() -> None:
    asked = (*RUN, "--variants", "plain", "--dataset", "tiny", "--dry-run", "--metrics", "of-features,tiny-mean")
    said = call(*asked)
    assert said.exit_code == 2 and "of-features: extractor 'features-end': looking for what it needs" in said.stderr
    assert call(*asked, "--allow-missing").exit_code == 0


FALLS = {
    "ends": ("import os; os._exit(0)", "its process ended with exit code 0"),
    "crashes": ("import ctypes; ctypes.string_at(0)", "its process was ended by SIGSEGV"),
    "hangs": ("while True: pass", "it had not ended after 3 seconds"),
}


def install(folder: Path, name: str, source: str) -> None:
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir(parents=True)
    (folder / f"fatal_{name}.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[ganbench]\n{name} = fatal_{name}\n")


def test_plugins_that_fall_when_they_are_imported_harm_no_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    falls = {name: FALLS[name] for name in ("ends", "crashes")}
    for name, (source, _) in falls.items():
        install(tmp_path / "site", name, source)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    lines = {f"Broken: {name}: importing it: {reason}" for name, (_, reason) in falls.items()}

    said = call(*RUN, "--variants", "plain", "--dataset", "tiny", "--results", str(tmp_path / "results"))
    assert said.exit_code == 0 and "| plain " in said.stdout
    assert lines <= set(said.stderr.splitlines())
    listed = call("list", "variants", "--plugin", str(TINY))
    assert listed.exit_code == 0 and "  plain " in listed.stdout and lines <= set(listed.stderr.splitlines())
    broken = json.loads(call("list", "--json").stdout)["broken"]
    assert {f"Broken: {name}: {reason}" for name, reason in broken.items()} == lines
    named = call("run", "--variants", "ends", "--dataset", "digits", "--dry-run")
    assert named.exit_code == 2 and "the plugin 'ends' is broken: importing it" in named.stderr
    short = ("--backbone", "mlp", "--at", "0.05", "--iterations", "2", "--results", str(tmp_path / "results"))
    probed = call("probe", "--variant", "gan", "--dataset", "digits", *short)
    assert probed.exit_code == 0, probed.output
    upgraded = call("results", "upgrade", "--results", str(tmp_path / "results"))
    assert upgraded.exit_code == 0 and upgraded.stdout.startswith("0 records")


@pytest.mark.parametrize(
    "fall", ["ends", *(pytest.param(fall, marks=pytest.mark.slow) for fall in FALLS if fall != "ends")]
)
def test_a_plugin_file_that_falls_is_named(fall: str, tmp_path: Path) -> None:
    source, reason = FALLS[fall]
    file = tmp_path / "mine.py"
    file.write_text(source)
    for command in (("list",), ("check", "gan"), ("run", "--variants", "gan", "--dataset", "digits", "--dry-run")):
        said = call(*command, "--plugin", str(file))
        assert said.exit_code == 2 and f"Error: --plugin {file}: importing it: {reason}" in said.stderr


def test_probe_and_check_say_what_fell(tmp_path: Path) -> None:
    probed = call("probe", "--variant", "build-ends", "--dataset", "tiny", *PLUGINS, "--results", str(tmp_path))
    assert probed.exit_code == 2 and "build-ends on tiny: building it: its process ended" in probed.stderr
    checked = call("check", "build-crashes", *PLUGINS)
    assert checked.exit_code == 2 and "build-crashes: building it: its process was ended by SIGSEGV" in checked.stderr


def test_a_check_that_ends_the_process_has_failed_and_the_others_are_made(tmp_path: Path) -> None:
    said = call("check", "resume-aborts", *PLUGINS, "--json")
    assert said.exit_code == 1
    outcomes = {outcome["name"]: outcome for outcome in json.loads(said.stdout)}
    fallen = [name for name, outcome in outcomes.items() if "SIGABRT" in outcome["message"]]
    assert fallen and len(outcomes) > len(fallen)
    assert any(outcome["passed"] for outcome in outcomes.values())


NOISY = """
import os, subprocess, sys
line = b"x" * 999 + b"\\n"
for _ in range(1000):
    os.write(1, line)
    os.write(2, line)
    sys.stdout.write(line.decode())
subprocess.run([sys.executable, "-c", "print('of a child')"], check=True)
from ganbench import Metric, hookimpl
@hookimpl
def ganbench_metrics(): return [Metric("noisy", lambda scene: {})]
"""


@pytest.mark.parametrize("stderr", ["read", "full", "unread"])
def test_what_is_printed_while_plugins_are_imported_fills_nothing_and_fails_nowhere(
    stderr: str, tmp_path: Path
) -> None:
    if stderr == "full" and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "noisy.py").write_text(NOISY)
    where = {"read": "2>said", "full": "2>/dev/full", "unread": "2> >(exec true)"}[stderr]
    words = f"{sys.executable} -m ganbench list metrics --plugin noisy.py {where}"
    done = subprocess.run(["bash", "-c", words], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and "  noisy " in done.stdout and "xxx" not in done.stdout
    if stderr == "read":
        said = (tmp_path / "said").read_text()
        assert 1_000_000 < len(said) < 1_100_000 and "a plugin prints more than 1 MB: the rest is left out" in said


def test_the_command_itself_imports_no_plugin_and_no_torch(tmp_path: Path) -> None:
    words = [*RUN, "--variants", "plain", "--dataset", "tiny", "--results", str(tmp_path)]
    code = (
        f"import sys\nfrom ganbench.cli import main\nmain({words!r}, standalone_mode=False)\n"
        "assert 'torch' not in sys.modules, 'torch'\n"
        "assert not [name for name in sys.modules if 'tiny_plugin' in name]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and "| plain " in done.stdout, done.stderr
