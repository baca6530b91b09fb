"""Whatever is written on the command line: a sentence and exit code 2, or what was asked for; never a traceback."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings, strategies as st

from ganbench import UserError
from ganbench.cli import main
from ganbench.runs.experiments import Wanted, requests
from ganbench.runs.settings import parse_settings
from ganbench.runs.steps import unwatched
from ganbench.training.budget import Budget

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"
ODD = [
    "", " ", "-", "--", "---", "=", ".", "..", ",", "\\,", ":", "*", "?", "[", "[]", "[!", "[z-a]", "!", "%", "{}",
    "\0", "a\0b", "\n", "a\nb", "\r", "\t", "\x1b[31m", "\x9b2J", "\u202e", "\u2028", "\ufeff", "\ud800", "\udcff",
    "nan", "inf", "-inf", "1e400", "-1", "0", "-0", "1e-400", "\u0663", "\xb2", "\xbd", "\uff11", "1_0", "1__0", "1e",
    "9" * 4000, "9" * 4300, "9" * 4301, "-" + "9" * 5000, "1e" + "9" * 30, "0." + "0" * 5000 + "1", "a" * 20_000,
    "all", "ALL", "family:", "family:x", "family:\0", "plain", "plain,", "pl*", "tiny", "tiny:", "tiny:x", "real",
    "folder", "folder:", "folder:\0", "folder:x", "folder:\ud800", "folder-pair:", "folder-pair:a", "folder-pair:a,b",
    "~", "~nobody", "~nobody/x", "./x", "x/", "x.py", "x.zip", "~\0", "a\\,b", "con", "a" * 300, "x" * 300 + ".py",
    "None", "true", "lr=1", "--lr", "-1e5", "$HOME", "`id`", "'", '"', "<b>", "|", "__class__", "__init__", "0x10",
]  # fmt: skip
BUDGETS = [f"{number}-{unit}" for number in ODD for unit in ("images", "updates", "flops", "seconds", "epochs")]
any_text = st.one_of(st.sampled_from(ODD), st.text(st.characters(exclude_categories=()), max_size=30))
any_number = st.one_of(any_text, st.integers().map(str), st.floats().map(repr))
key = st.one_of(
    st.sampled_from(
        ["lr", "width", "plain.lr", "mlp.width", "mlp.z_dim", "wgan.clip", "tiny.x", "sngan.betas", "r1.lr"]
    ),
    st.lists(any_text, max_size=3).map(".".join),
)
any_setting = st.one_of(any_text, st.tuples(key, any_number).map("=".join))
FLAGS = {
    "--variants": any_text,
    "--variant": any_text,
    "--dataset": any_text,
    "--preset": any_text,
    "--scale": any_number,
    "--backbone": any_text,
    "--budget": st.one_of(any_number, st.sampled_from(BUDGETS)),
    "--seeds": any_number,
    "--seed": any_number,
    "--metrics": any_text,
    "--marks-metrics": any_text,
    "--batch": any_number,
    "--size": st.one_of(any_text, st.integers(-9, 40).map(str)),  # images of any size take any memory
    "--samples": any_number,
    "--marks": any_number,
    "--jobs": any_number,
    "--iterations": any_number,
    "--at": any_number,
    "--precision": any_text,
    "--device": st.one_of(any_text, st.sampled_from(["cuda:99", "cuda:" + "9" * 30, "cpu:0", "mps:7", "cuda:-1"])),
    "--redo": any_text,
    "--format": any_text,
    "--older-than": any_number,
    "--weights": any_text,
    "--set": any_setting,
    "--sweep": any_setting,
    "--plugin": any_text,
    "--allow-missing": None,
    "--runs": None,
    "--stale": None,
    "--json": None,
    "-h": None,
}
option = st.sampled_from(sorted(FLAGS)).flatmap(
    lambda flag: st.just([flag]) if FLAGS[flag] is None else FLAGS[flag].map(lambda value: [flag, value])
)
words = st.lists(st.one_of(option, any_text.map(lambda text: [text])), max_size=4).map(
    lambda parts: [text for part in parts for text in part]
)
path = any_text.filter(lambda text: not text.startswith(("/", "~", ".")) and "/" not in text)


@pytest.fixture(scope="module", autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which any path may be made, and a cache of its own that may be pruned."""
    folder = tmp_path_factory.mktemp("any")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GANBENCH_CACHE", str(folder / "cache"))
        yield folder


def answer(*arguments: str) -> int:
    """Give a command and return its exit code, having seen that whatever it says is no traceback."""
    result = CliRunner().invoke(main, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert result.exit_code in (0, 1, 2), result.output
    assert "Traceback" not in result.output and "Error: \n" not in result.output
    if result.exit_code == 2:
        assert "Error: " in result.stderr or "Usage: " in result.stderr
    assert len(result.stderr) < 5000
    return result.exit_code


def tiny(*more: str) -> int:
    wanted = ("--plugin", str(PLUGIN), "--variants", "plain", "--dataset", "tiny", "--seeds", "1")
    return answer("run", "--dry-run", *wanted, *more)


def a_budget(text: str) -> None:
    try:
        budget = Budget.parse(text)
    except UserError as error:
        assert len(str(error)) < 600
    else:
        assert 0 < budget.amount < float("inf") and Budget.parse(str(budget)) == budget


def settings_to_part(texts: list[str]) -> None:
    with suppress(UserError):
        parse_settings(texts)


def an_option(text: str) -> None:
    tiny("--variants", "plain,sngan", "--set", text)


def words_after_run(texts: list[str]) -> None:
    tiny(*texts)


def two_options_of_run(one: list[str], other: list[str]) -> None:
    tiny(*one, *other)


def words_after_another_command(command: str, texts: list[str]) -> None:
    if texts != ["plain"]:  # which would be checked, in earnest
        answer(*command.split(), *texts)


def words_alone(texts: list[str]) -> None:
    answer(*texts)


def a_folder_of_results(text: str) -> None:
    for command in ("report", "results verify", "results prune --dry-run", "results upgrade", "results merge x"):
        answer(*command.split(), "--results", text)
    answer("results", "merge", "--results", "merged", "--", text)
    tiny("--results", text)


def a_file_of_a_report(text: str) -> None:
    answer("report", "--results", "nothing", "--output", text)


def a_name_to_check(name: str, plugin: str) -> None:
    answer("check", "--plugin", plugin, "--", name)
    if name not in ("plain", "real"):
        answer("check", "--", name)


def epochs_of_a_probe(epochs: list[float], seed: int, iterations: int) -> None:
    settings = [f"vanishing.at={','.join(map(repr, epochs))}", f"vanishing.iterations={iterations}"]
    wanted = Wanted("vanishing", {"variants": ("plain",)}, settings, (seed,), plugins=(PLUGIN,))
    try:
        (request,) = requests(wanted, unwatched)
        shares, amount = request["keep"], Budget.parse(request["budget"], 256).amount
        assert shares[-1] == 1 and all(0 <= share <= 1 for share in shares) and 1 <= amount < float("inf")
    except UserError as error:
        assert len(str(error)) < 600


OTHERS = [
    "probe",
    "report",
    "plot",
    "list",
    "check",
    "cache",
    "cache prune",
    "results",
    "results prune",
    "results verify",
]
PROPERTIES: dict[str, tuple[int, Callable[..., None], tuple[st.SearchStrategy[Any], ...]]] = {
    "budget": (
        300,
        a_budget,
        (st.one_of(any_number, st.sampled_from(BUDGETS), st.tuples(any_number, any_text).map("".join)),),
    ),
    "settings": (300, settings_to_part, (st.lists(any_setting, max_size=3),)),
    "option": (20, an_option, (any_setting,)),
    "run": (20, words_after_run, (words,)),
    "two options": (20, two_options_of_run, (option, option)),
    "others": (40, words_after_another_command, (st.sampled_from(OTHERS), words)),
    "alone": (20, words_alone, (st.lists(any_text, max_size=3),)),
    "results": (6, a_folder_of_results, (path,)),
    "output": (20, a_file_of_a_report, (path,)),
    "check": (5, a_name_to_check, (any_text, any_text)),
    "epochs": (
        15,
        epochs_of_a_probe,
        (st.lists(st.floats(), max_size=3), st.integers(), st.integers(min_value=1)),
    ),
}
"""By what is odd in a request: how many examples every run of the tests makes, of what, and from what."""


def look_for_a_traceback(name: str, times: int = 1, **more: Any) -> None:
    count, function, strategies = PROPERTIES[name]
    chosen = settings(
        max_examples=count * times, deadline=None, database=None, suppress_health_check=list(HealthCheck), **more
    )
    chosen(given(*strategies)(function))()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", PROPERTIES)
def test_any_request_is_answered(name: str) -> None:
    look_for_a_traceback(name, derandomize=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROPERTIES)
def test_many_more_requests_are_answered(name: str) -> None:
    look_for_a_traceback(name, times=10)


ODD = ("", "\0", "\ud800", "9" * 5000, "-1", "nan", "1e400", "\n\x1b[31m")
TAKING = sorted(flag for flag in FLAGS if FLAGS[flag] is not None)


@pytest.mark.parametrize("flag", TAKING)
def test_each_option_is_answered_for_odd_values(flag: str) -> None:
    for text in ODD[TAKING.index(flag) % 3 :: 3]:  # each for some of them
        tiny(flag, text)


@pytest.mark.slow
@pytest.mark.parametrize("flag", TAKING)
def test_each_option_is_answered_for_all_odd_values(flag: str) -> None:
    for text in ODD:
        tiny(flag, text)


@pytest.mark.parametrize("text", ["plain.lr=\ud800", "mlp.width=\ud800", "mlp.width=" + "9" * 4000])
def test_odd_values_of_options_are_answered(text: str) -> None:
    an_option(text)


@pytest.mark.parametrize("text", ["", "a" * 300, "a\0", "\ud800", "\udcff"])
def test_odd_folders_of_results_are_answered(text: str) -> None:
    a_folder_of_results(text)
