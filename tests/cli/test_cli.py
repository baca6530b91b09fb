"""The command line: what it prints, what it refuses, and how fast it answers."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ganbench.cli import main
from ganbench.results.record import SCHEMA

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=True)


def refused(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result.output


def run_tiny(results: Path, *more: str) -> Result:
    wanted = ("--variants", "plain", "--dataset", "tiny", "--seeds", "1", "--plugin", str(PLUGIN))
    return call("run", *wanted, "--results", str(results), *more)


def test_help_answers_without_torch_and_within_a_third_of_a_second() -> None:
    code = "import sys; from ganbench.cli import main; main(['--help'], standalone_mode=False); "
    code += "sys.exit('torch' in sys.modules)"
    times = []
    for _ in range(5):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        times.append(time.perf_counter() - start)
        assert done.returncode == 0 and "run" in done.stdout
    assert min(times) < 0.3


def test_run_prints_the_table_and_report_prints_the_same(tmp_path: Path) -> None:
    made = run_tiny(tmp_path)
    assert made.exit_code == 0, made.output
    assert "| plain " in made.stdout and "- tiny-mean" in made.stdout
    again = call("report", "--results", str(tmp_path))
    assert again.stdout == made.stdout
    marks = ["020.png", "040.png", "060.png", "080.png", "100.png"]
    assert sorted(path.name for path in tmp_path.glob("tiny/*/*/plain/seed0-*.samples/*.png")) == [
        *marks, "interpolation.png", "nearest.png"
    ]  # fmt: skip

    as_json = json.loads(call("report", "--results", str(tmp_path), "--json").stdout)
    assert as_json[0]["variant"] == "plain" and as_json[0]["meters"]["images"] == 1280
    csv = call("report", "--results", str(tmp_path), "--format", "csv").stdout.splitlines()
    assert csv[0].startswith(
        "dataset,size,backbone,batch,budget,precision,options,variant,weights,seeds,done,diverged,failed,"
    )
    assert csv[0].endswith("images,d_updates,g_updates,flops,seconds,peak_bytes")

    file = tmp_path / "table.md"
    assert call("report", "--results", str(tmp_path), "--output", str(file)).exit_code == 0
    assert file.read_text() == again.stdout
    assert "cannot write" in refused("report", "--results", str(tmp_path), "--output", str(file / "below"))


def test_dry_run_prints_the_plan_and_makes_nothing(tmp_path: Path) -> None:
    results = tmp_path / "results"
    planned = run_tiny(results, "--dry-run", "--set", "mlp.width=16")
    assert planned.exit_code == 0
    assert "mlp.width=16" in planned.stdout and "1 runs" in planned.stdout and "to do" in planned.stdout
    assert not results.exists()


def test_json_goes_to_standard_output_alone(tmp_path: Path) -> None:
    made = run_tiny(tmp_path, "--json")
    assert json.loads(made.stdout)[0]["variant"] == "plain"
    assert "started" in made.stderr


def test_list_shows_origin_paper_and_what_is_broken(tmp_path: Path) -> None:
    listed = call("list")
    assert listed.exit_code == 0
    assert "wgan-gp" in listed.stdout and "arXiv:1704.00028" in listed.stdout and "(ganbench 0." in listed.stdout
    only = call("list", "datasets").stdout
    assert "digits" in only and "wgan" not in only
    assert "tiny" in call("list", "datasets", "--plugin", str(PLUGIN)).stdout
    facts = json.loads(call("list", "variants", "--json").stdout)
    assert {"gan", "began"} <= {row["name"] for row in facts["variants"]}


def test_list_tells_of_experiments_their_paper_options_and_what_they_look_at() -> None:
    listed = call("list", "experiments").stdout
    assert re.search(
        r"^  progress +.*\[Arjovsky et al\. 2017, arXiv:1701\.07875\]  \(ganbench 0\.", listed, re.MULTILINE
    )
    told = call("list", "progress").stdout
    assert "Asked for:  ganbench experiment progress" in told and "its own, or those of a folder (--runs)" in told
    assert "Options, as `--set progress.NAME=VALUE`:" in told and "least=4  (whole number ≥ 1)" in told
    (facts,) = json.loads(call("list", "progress", "--json").stdout)
    assert facts["kind"] == "experiment" and facts["makes_runs"] and "wgan" in facts["variants"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run", "--variants", "gna", "--dataset", "digits"), "unknown variant 'gna': did you mean 'gan'?"),
        (("run", "--variants", "gan", "--dataset", "digits", "--budget", "-3-images"), "not more than zero"),
        (("run", "--variants", "gan", "--dataset", "digits", "--budget", "100"), "has no unit"),
        (("run", "--variants", "gan", "--dataset", "digits", "--budget", "9-parsecs"), "parsecs"),
        (("run", "--variants", "gan", "--dataset", "digits", "--seeds", "0"), "a seed is named as 0-0"),
        (("run", "--variants", "gan", "--dataset", "digits", "--seeds", "5-3"), "5-3 ends before it begins"),
        (("run", "--variants", "gan", "--dataset", "digits", "--seeds", "1,x"), "write 3, 3-5 or 0,7"),
        (("run", "--variants", "gan", "--dataset", "digits", "--seeds", "0-10000"), "more than 10000 seeds"),
        (("run", "--variants", "gan", "--dataset", "digits", "--precision", "fp8"), "fp8"),
        (("run", "--variants", "gan", "--dataset", "digits", "--device", "tpu"), "--device tpu"),
        (
            ("run", "--variants", "gan", "--dataset", "digits", "--compile", "graphs"),
            "'graphs' is none of on, graph and",
        ),
        (
            ("run", "--variants", "gan", "--dataset", "digits", "--device", "cpu", "--compile", "graph"),
            "for a CUDA device",
        ),
        (("run", "--variants", "gan", "--dataset", "digits", "--size", "9"), "9"),
        (("run", "--variants", ",", "--dataset", "digits"), "name at least one"),
        (("run", "--variants", "gan", "--dataset", "folder:/no/such/folder"), "/no/such/folder"),
        (("run", "--variants", "gan", "--dataset", "folder"), "folder:PATH"),
        (("run", "--variants", "gan", "--dataset", "ring", "--backbone", "dcgan"), "nothing to run"),
        (("run", "--variants", "gan", "--dataset", "digits", "--plugin", "/no/such.py"), "there is no such file"),
        (("report", "--results", "/no/such/results"), "no results in /no/such/results"),
        (("check", "gna"), "did you mean 'gan'?"),
        (("runn",), "runn"),
    ],
)
def test_a_wrong_request_is_refused_in_a_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused(*arguments)


def test_a_results_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    wanted = ("run", "--variants", "plain", "--dataset", "tiny", "--plugin", str(PLUGIN), "--results", str(file))
    assert "is a file: name a folder" in refused(*wanted)
    assert "is a file" in refused("report", "--results", str(file))


def test_a_results_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "Not a directory" in run_tiny(tmp_path / "file" / "results").output
    if Path("/proc/self").exists():  # a folder that refuses even root
        result = run_tiny(Path("/proc/self/results"))
        assert result.exit_code == 2 and "/proc/self/results" in result.output and "Traceback" not in result.output


def test_a_damaged_record_is_named_and_the_rest_is_reported(tmp_path: Path) -> None:
    assert run_tiny(tmp_path, "--seeds", "2").exit_code == 0
    first, _ = sorted(tmp_path.rglob("seed*.json"))
    first.write_text(first.read_text()[:200])
    report = call("report", "--results", str(tmp_path))
    assert report.exit_code == 0
    assert f"Skipped: {first} is damaged" in report.stderr
    assert "Seed 1;" in report.stdout
    mended = run_tiny(tmp_path, "--seeds", "2")
    assert mended.exit_code == 0
    assert "Seeds 0, 1;" in mended.stdout


def test_a_record_of_a_newer_schema_is_named_and_never_overwritten(tmp_path: Path) -> None:
    assert run_tiny(tmp_path).exit_code == 0
    (path,) = tmp_path.rglob("seed*.json")
    newer = path.read_text().replace(f'"schema": {SCHEMA}', '"schema": 99')
    path.write_text(newer)
    result = run_tiny(tmp_path)
    assert result.exit_code == 2 and "newer ganbench" in result.output
    others = run_tiny(tmp_path, "--seeds", "2")
    assert others.exit_code == 0 and "newer ganbench" in others.stderr and "Seed 1;" in others.stdout
    assert path.read_text() == newer


@pytest.mark.skipif(not Path("/dev/shm").is_dir() or os.name == "nt", reason="needs a small disk to fill")
def test_a_full_disk_ends_in_a_sentence_and_harms_nothing(tmp_path: Path) -> None:
    import resource

    done = run_tiny(tmp_path)
    assert done.exit_code == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("seed*.json")}

    def small_files() -> None:  # a write past the limit fails like one on a full disk
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    command = [sys.executable, "-m", "ganbench", "run", "--variants", "plain", "--dataset", "tiny", "--seeds", "2"]
    again = subprocess.run(
        [*command, "--plugin", str(PLUGIN), "--results", str(tmp_path)],
        capture_output=True,
        text=True,
        preexec_fn=small_files,
        timeout=120,
        check=False,
    )
    assert again.returncode == 2, again.stderr
    assert "cannot write" in again.stderr and "Traceback" not in again.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("2", [0, 1]), ("7-7", [7]), ("3-5", [3, 4, 5]), ("0,7", [0, 7]), ("7,0-1,1", [0, 1, 7]), ("4,", [4])],
)
def test_seeds_are_counted_or_named(tmp_path: Path, text: str, seeds: list[int]) -> None:
    planned = run_tiny(tmp_path, "--seeds", text, "--dry-run", "--json")
    shown = run_tiny(tmp_path, "--seeds", text, "--dry-run").stdout
    assert f"{len(seeds)} runs" in shown, planned.output
    rows = [line.split("|") for line in shown.splitlines() if line.startswith("| plain")]
    assert [int(next(cell for cell in row[5:] if cell.strip().isdigit())) for row in rows] == seeds
