"""What a command prints, to streams of any encoding that fail in any way, and how soon it refuses."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ganbench.cli import main
from ganbench.streams import REPLACED, Relay, tell, told_above, visible

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"
COMMAND = [sys.executable, "-m", "ganbench"]
full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One run, whose plugin and option have names of many kinds."""
    folder = tmp_path_factory.mktemp("results")
    wanted = ("--variants", "plain", "--dataset", "tiny", "--seeds", "1", "--plugin", str(PLUGIN), "--marks", "1")
    done = CliRunner().invoke(main, ["run", *wanted, "--budget", "640-images", "--results", str(folder)])
    assert done.exit_code == 0, done.output
    return folder


def shell(words, **environment):
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{' '.join(COMMAND)} {words}"],
        capture_output=True, timeout=120, check=False, env={**os.environ, **environment},
    )  # fmt: skip
    assert b"Traceback" not in done.stderr and b"Exception" not in done.stderr, done.stderr
    return done


ENCODINGS = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "cp437:strict"},
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "utf-16"},
]


@pytest.mark.parametrize("environment", ENCODINGS, ids=lambda e: next(iter(e.values())))
def test_any_encoding_will_do(environment, results):
    for words in (f"report --results {results}", "--help", "run --help", "results upgrade --help"):
        done = shell(words, **environment)
        assert done.returncode == 0 and done.stdout, words
    wrong = shell("run --variants gan --dataset digits --budget 5-bytes²", **environment)
    assert wrong.returncode == 2 and wrong.stderr


def test_symbols_are_spelt_where_the_encoding_lacks_them(results):
    done = shell(f"report --results {results}", PYTHONIOENCODING="ascii")
    assert b"+/-" in done.stdout and b"?" not in done.stdout
    assert "8 × 8 é ± \udcff".encode("ascii", REPLACED) == b"8 x 8 ? +/- \\xff"
    assert "\udcff ±".encode("utf-8", REPLACED) == "\\xff ±".encode()


@pytest.mark.parametrize("redirection", ["2>&-", pytest.param("2>/dev/full", marks=full), "2> >(exec true)"])
def test_a_standard_error_that_fails_changes_nothing(redirection, results):
    words = f"report --results {results}"
    assert shell(f"{words} {redirection}").stdout == shell(words).stdout
    assert shell(f"{words} {redirection}").returncode == 0
    assert shell(f"report --results /no/such {redirection}").returncode == 2
    assert shell(f"report --format x {redirection}").returncode == 2


@full
@pytest.mark.parametrize("words", ["report --results {}", "--help", "run --help", "--version"])
def test_a_full_standard_output_is_told(words, results):
    done = shell(f"{words.format(results)} >/dev/full")
    assert done.returncode == 2
    assert done.stderr == b"Error: cannot write standard output: No space left on device\n"


def test_a_closed_standard_output_is_told(results):
    done = shell(f"report --results {results} >&-")
    assert (done.returncode, done.stderr) == (2, b"Error: cannot write standard output: it is closed\n")


@pytest.mark.parametrize("words", ["report --results {}", "run --help"])
def test_a_reader_that_has_seen_enough_is_no_error(words, results):
    done = shell(f"{words.format(results)} | exec true")
    assert done.returncode in (0, 1) and done.stderr == b""


@pytest.mark.parametrize(
    "words",
    ["report --results $'no\\e[31m\\rresults'", "$'\\e[31m'", "run $'--\\e[31m'", "list $'\\e[31m\\x07'",
     "run --variants gan --dataset digits --budget $'1\\e[31m'", "run --variants $'\\e[31m' --dataset digits",
     "check --plugin $'/no/\\e[31m.py' x"],
)  # fmt: skip
def test_names_steer_no_terminal(words):
    done = shell(words)
    assert done.returncode == 2
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", done.stderr) and b"\\x1b[31m" in done.stderr


def test_names_in_records_and_plugins_steer_no_terminal(results, tmp_path):
    evil = "evil\x1b]0;title\x07\x9b31m\r\u202e"
    (path,) = results.rglob("seed*.json")
    record = json.loads(path.read_text())
    record["provenance"]["machine"]["device"] = evil
    record["unscored"] = {"tiny-late": evil}
    (tmp_path / "seed0.json").write_text(json.dumps(record))
    (tmp_path / f"{evil}.json").write_text("{")
    for form in ("markdown", "csv", "json"):
        done = shell(f"report --results {tmp_path} --format {form}")
        assert done.returncode == 0
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", (done.stdout + done.stderr).decode()), form
    assert b"evil\\x1b]0;title\\x07\\x9b31m\\r\\u202e" in shell(f"report --results {tmp_path}").stderr
    plugin = tmp_path / "plugin.py"
    plugin.write_text(PLUGIN.read_text().replace('"random blobs, 8×8"', repr(evil)))
    listed = CliRunner().invoke(main, ["list", "datasets", "--plugin", str(plugin)])
    assert "evil\\x1b]0;title" in listed.stdout and "\x1b" not in listed.output


def test_what_is_no_steering_stays_as_it_is():
    text = "a\tb\nc × é ± \N{GREEK SMALL LETTER ALPHA} 日本 🙂"
    assert visible(text) == text
    assert visible("a\r\nb") == "a\nb"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("run --variants gan --dataset digits --budget 9-parsecs", "has the unit 'parsecs'"),
        ("run --variants gan --dataset digits --budget 100", "has no unit"),
        ("run --variants gan --dataset digits --set lr", "is not an option and a value"),
        ("run --variants gan --dataset digits --set =3", "is not an option and a value"),
        ("run --variants gan --dataset digits --device tpu", "write auto, cpu, cuda"),
        ("run --variants gan --dataset digits --plugin /no/such.py", "there is no such file"),
        ("run --variants gan --dataset digits --results /etc/passwd", "is a file: name a folder"),
        ("run --variants gan --dataset digits --seeds 0", "--seeds"),
        ("run --variants gan --dataset digits --seeds x", "--seeds"),
        ("run --variants gan --dataset digits --learning-rate 3", "--learning-rate"),
        ("run --variants gan --dataset digits --results ~no-such-user/x", "home folder"),
        ("run --dataset digits", "--variants is missing"),
        ("run --variants gan", "--dataset is missing"),
        ("run --variants gan --dataset digits --scale 0.5", "name a --preset"),
        ("probe --variant gan --dataset digits --at x", "name epochs"),
        ("probe --variant gan --dataset digits --device tpu", "write auto, cpu, cuda"),
        ("check gan --plugin /no/such.py", "there is no such file"),
        ("list --plugin /no/such.py", "there is no such file"),
        ("list frogs", "frogs"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_told_before_torch_is_imported(words, sentence):
    code = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); "
    code += "from ganbench.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *words.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and sentence in done.stderr, done.stderr
    assert done.stdout == "False\n"


@pytest.mark.parametrize("option", ["--results", "--output"])
def test_a_home_is_found_in_every_path(option, tmp_path, results, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "below").symlink_to(results)
    given = {"--results": str(results), "--output": "~/table.md", option: "~/below"}
    if option == "--output":
        given["--output"] = "~/table.md"
    assert CliRunner().invoke(main, ["report", *(word for pair in given.items() for word in pair)]).exit_code == 0
    assert (tmp_path / "table.md").read_text().startswith("### tiny")
    assert not Path("~").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_only_regular_files_are_read_as_records(results, tmp_path):
    (path,) = results.rglob("seed*.json")
    (tmp_path / path.name).write_bytes(path.read_bytes())
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "device.json").symlink_to("/dev/zero")
    (tmp_path / "folder.json").mkdir()
    done = shell(f"report --results {tmp_path}")
    assert done.returncode == 0 and b"| plain " in done.stdout
    for name in ("pipe", "device"):
        assert f"Skipped: {tmp_path}/{name}.json is not a regular file and is not read\n".encode() in done.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_run_does_not_wait_for_a_pipe_in_its_place(results, tmp_path):
    (path,) = results.rglob("seed*.json")
    place = tmp_path / path.relative_to(results)
    place.parent.mkdir(parents=True)
    os.mkfifo(place)
    wanted = f"--variants plain --dataset tiny --seeds 1 --plugin {PLUGIN} --marks 1 --budget 640-images"
    done = shell(f"run {wanted} --results {tmp_path}")
    assert done.returncode == 0 and b"no regular file" in done.stderr
    assert json.loads(place.read_text())["status"] == "done"


PRINTED = b"a line\nhalf of " + b"one\r\n\n5%\r10%\rdone\nthe last"


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_above_a_screen_stand_whole_lines_whatever_pieces_they_come_in(size):
    told = []
    with told_above(told.append):
        relay = Relay()
        for start in range(0, len(PRINTED), size):
            relay.write(PRINTED[start : start + size])
        tell("a note\x1b")
        assert told == ["a line", "half of one", "done", "a note\\x1b"]
        relay.end()
        relay.end()
    assert told[4:] == ["the last"]


def test_after_the_screen_all_is_as_before(capfd):
    with told_above(lambda text: None):
        pass
    relay = Relay()
    relay.write(b"half\r")
    relay.write(b"\xffa line\x1b\n")
    relay.end()
    tell("a note")
    assert capfd.readouterr().err.replace("\r", "|") == "half|\N{REPLACEMENT CHARACTER}a line\x1b\na note\n"


def test_a_line_without_an_end_does_not_fill_the_memory():
    told = []
    with told_above(told.append):
        relay = Relay()
        for _ in range(100):
            relay.write(b"x" * 1000)
        relay.end()
    (line,) = told
    assert len(line) == 10_000
