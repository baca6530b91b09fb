"""Runs in bad weather: foreign modules beside them, plugins that change the process, streams that fail, signals."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TINY, UNRULY = (Path(__file__).parents[2] / name for name in ("tiny_plugin.py", "unruly_plugin.py"))
SMALL = ("--dataset", "tiny", "--seeds", "1", "--budget", "640-images", "--marks", "1", "--plugin", str(TINY))
MODULE = [sys.executable, "-m", "ganbench"]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="process groups, descriptors and signals of POSIX")


def run(*arguments, how=MODULE, **options):
    options = {"capture_output": True, "text": True, "timeout": 240, "check": False, **options}
    return subprocess.run([*how, "run", *SMALL, *map(str, arguments)], **options)


def records(results):
    found = (json.loads(path.read_text()) for path in results.rglob("seed*.json"))
    return {record["spec"]["variant"]: record for record in found}


@pytest.fixture
def foreign(tmp_path):
    """A folder of modules that are named as the library's are and leave a trace when they are run."""
    folder = tmp_path / "here"
    trace = f"open({str(tmp_path / 'run')!r} + __name__, 'w'); raise SystemExit('foreign')\n"
    names = ("random.py", "copy.py", "profile.py", "signal.py", "queue.py", "PIL/__init__.py", "numpy/__init__.py")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(trace)
    return folder


@pytest.mark.parametrize("how", ["console", "module"])
def test_modules_in_the_current_folder_are_not_imported(how, foreign, tmp_path):
    command = MODULE
    if how == "console":  # a script in a folder of its own, as an installation makes it
        script = foreign / "bin" / "ganbench"
        script.parent.mkdir()
        script.write_text(
            "import sys\nfrom ganbench.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
        )
        command = [sys.executable, str(script)]
        (foreign / "ganbench").mkdir()
        (foreign / "ganbench/__init__.py").write_text(f"open({str(tmp_path / 'rungb')!r}, 'w')\n")
    done = run("--variants", "plain", cwd=foreign, how=command)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert "| plain " in done.stdout
    assert records(foreign / "results")["plain"]["status"] == "done"


def test_runs_of_a_script_import_what_it_does_and_do_not_run_it_again(tmp_path):
    (tmp_path / "beside.py").write_text("VALUE = 1\n")
    plugin = tmp_path / "plugin.py"
    plugin.write_text(f"import beside\nexec(open({str(TINY)!r}).read())\n")
    arguments = ["run", *SMALL, "--variants", "plain", "--plugin", str(plugin), "--results", str(tmp_path / "results")]
    arguments.remove(str(TINY))
    arguments.remove("--plugin")
    script = tmp_path / "script.py"
    script.write_text(f"print('script')\nfrom ganbench.cli import main\nmain({arguments!r})\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("script\n") == 1
    assert records(tmp_path / "results")["plain"]["status"] == "done"


def test_a_run_that_would_import_another_module_than_the_command_is_refused(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "beside.py").write_text(f"VALUE = {name!r}\n")
    plugin = tmp_path / "plugin.py"
    plugin.write_text(  # the plan is made with the one of one folder, the run would be with the other
        "import pathlib, sys\n"
        f"planned = pathlib.Path({str(tmp_path / 'planned')!r})\n"
        f"sys.path.insert(0, {str(tmp_path)!r} + ('/two' if planned.exists() else '/one'))\n"
        "planned.touch()\n"
        "import beside\nimport ganbench\nclass Other(ganbench.Variant):\n    name = 'other'\n    summary = 'x'\n"
        "    def build(self, parts): self.G = parts.generator()\n    def optimizers(self): return {}\n"
        "    def step(self, batch, clock): yield from ()\n"
        "@ganbench.hookimpl\ndef ganbench_variants(): return [Other]\n"
    )
    done = run("--variants", "other", "--plugin", plugin, "--results", tmp_path / "results")
    assert done.returncode == 2
    assert f"imports 'beside' from {tmp_path}/two/beside.py, but the command from {tmp_path}/one" in done.stderr
    assert not list(tmp_path.rglob("seed*.json"))


def test_the_recorded_version_is_that_of_what_is_loaded(tmp_path):
    shutil.copytree(ROOT / "ganbench", tmp_path / "copy" / "ganbench", ignore=shutil.ignore_patterns("__pycache__"))
    init = tmp_path / "copy" / "ganbench" / "__init__.py"
    init.write_text(init.read_text().replace('__version__ = "', '__version__ = "9.'))
    done = run("--variants", "plain", cwd=tmp_path / "copy")
    assert done.returncode == 0, done.stderr
    assert records(tmp_path / "copy")["plain"]["provenance"]["versions"]["ganbench"].startswith("9.")


def test_a_long_folder_for_temporary_files_is_no_obstacle(tmp_path):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    done = run("--variants", "plain", "--results", tmp_path / "results", env={**os.environ, "TMPDIR": str(folder)})
    assert done.returncode == 0, done.stderr
    assert records(tmp_path / "results")["plain"]["status"] == "done"


def test_what_plugins_do_to_their_process_harms_neither_output_nor_results(tmp_path):
    """Printing, moving to another folder, threads and children that stay: all in one command."""
    pids = tmp_path / "pids"
    pids.mkdir()
    variants = "prints,moves,leaves-thread,leaves-child,leaves-orphan"
    start = time.monotonic()
    done = run("--variants", variants, "--plugin", UNRULY, "--results", "mine", "--json", cwd=tmp_path,
               env={**os.environ, "UNRULY_PIDS": str(pids)})  # fmt: skip
    assert time.monotonic() - start < 200, "nothing is waited for until it ends by itself"
    assert done.returncode == 1, done.stderr
    assert {row["variant"] for row in json.loads(done.stdout)} >= set(variants.split(","))
    for words in ("imported by python", "imported by C", "step 3 of python", "a step of C", "a step of a child"):
        assert words in done.stderr
    found = records(tmp_path / "mine")
    assert {name: record["status"] for name, record in found.items()} == {
        "prints": "done",
        "moves": "done",
        "leaves-thread": "done",
        "leaves-child": "done",
        "leaves-orphan": "killed",
    }
    assert "SIGKILL" in found["leaves-orphan"]["error"]
    left = [int(path.name) for path in pids.iterdir()]
    assert len(left) == 2 and all(gone(pid) for pid in left)


def gone(pid):
    until = time.monotonic() + 5
    while time.monotonic() < until:
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or ") Z " in stat.read_text():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("stderr", ["closed", "full", "unread"])
def test_without_a_standard_error_the_run_goes_on(stderr, tmp_path):
    redirection = {"closed": "2>&-", "full": "2>/dev/full", "unread": "2> >(exec true)"}[stderr]
    if stderr == "full" and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    words = " ".join([*MODULE, "run", *SMALL, "--plugin", str(UNRULY), "--variants", "prints", "--results", "mine"])
    done = subprocess.run(
        ["bash", "-c", f"{words} {redirection}"], cwd=tmp_path, stdout=subprocess.PIPE, text=True, timeout=240,
        check=False, env={**os.environ, "UNRULY_WRITES": "past python in steps"},
    )  # fmt: skip
    assert done.returncode == 0
    assert "| prints " in done.stdout
    assert records(tmp_path)["prints"]["status"] == "done"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_on_a_full_standard_output_the_runs_are_kept_and_the_table_goes_where_it_can(tmp_path):
    with Path("/dev/full").open("w") as full:
        done = run("--variants", "plain", "--results", tmp_path, capture_output=False, stdout=full,
                   stderr=subprocess.PIPE)  # fmt: skip
    assert done.returncode == 2
    assert "Error: cannot write standard output: No space left on device; the runs are kept" in done.stderr
    assert "| plain " in done.stderr
    assert records(tmp_path)["plain"]["status"] == "done"


LONG = ("--budget", "640k-images", "--marks", "1", "--variants", "slow")


def started(tmp_path, *more, **options):
    """Start a long run as a group of its own and wait until it trains."""
    process = subprocess.Popen(
        [*MODULE, "run", *SMALL, *LONG, "--results", str(tmp_path), *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **options,
    )  # fmt: skip
    for line in process.stderr:
        if "started" in line:
            break
    until = time.monotonic() + 120
    while not list(tmp_path.rglob("seed*.json")) and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(3)  # some steps
    return process


@pytest.mark.parametrize(
    ("number", "times", "to"),
    [
        pytest.param(signal.SIGTERM, 5, "group", marks=pytest.mark.slow),
        (signal.SIGHUP, 1, "group"),
        pytest.param(signal.SIGHUP, 1, "parent", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 2, "group", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_request_to_stop_is_kept_whoever_gets_it_and_how_often(number, times, to, tmp_path):
    process = started(tmp_path, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    for _ in range(times):
        (os.killpg if to == "group" else os.kill)(process.pid, number)
        time.sleep(0.01 if number == signal.SIGTERM else 1.5)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "the same command continues where it was" in stderr and "Traceback" not in stderr
    assert records(tmp_path)["slow"]["meters"]["images"] > 0
    assert len(list(tmp_path.rglob("checkpoint.pt"))) == 1


def test_nohup_is_respected(tmp_path):
    process = started(tmp_path, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    os.killpg(process.pid, signal.SIGHUP)
    time.sleep(1)
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_a_command_that_is_paused_pauses_its_runs(tmp_path):
    process = started(tmp_path)
    os.killpg(process.pid, signal.SIGTSTP)
    time.sleep(1)
    runs = [path for path in Path("/proc").glob("[0-9]*/stat") if _ancestor(path, process.pid)]
    states = [path.read_text().rsplit(")", 1)[1].split()[0] for path in runs]
    assert states.count("T") >= 2, "the command and its run are stopped"
    os.killpg(process.pid, signal.SIGCONT)
    time.sleep(1)
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=60)
    assert records(tmp_path)["slow"]["meters"]["images"] > 0


def _ancestor(path, pid):
    seen = int(path.parent.name)
    while seen > 1 and seen != pid:
        try:
            seen = int(Path(f"/proc/{seen}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            return False
    return seen == pid
