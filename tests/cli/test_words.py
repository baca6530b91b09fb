"""Words of other tools on the command line lead to ganbench's own."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ganbench.cli import main, words
from ganbench.cli.group import COMMANDS

FILE = Path(__file__).parents[1] / "tiny_plugin.py"
GIVEN = "--variants gan --dataset digits"


def refused(text: str) -> str:
    result = CliRunner().invoke(main, text.split(" ") if text else [])
    assert result.exit_code == 2 and "Traceback" not in result.output, result.output
    told = result.stderr.splitlines()
    assert told[-1].startswith("Error: ") and not result.stdout
    return told[-1].removeprefix("Error: ")


@pytest.mark.parametrize(
    ("request_of", "sentence"),
    [
        # options of plugins
        ("run --lr 1e-4", "--lr; options of variants, backbones and data sets are set with --set lr=1e-4"),
        ("run --lr=1e-4", "--set lr=1e-4"),
        ("run --lr", "--set lr=VALUE"),
        ("run --lr --variants gan", "--set lr=VALUE"),
        ("run --width 16", "--set width=16"),
        ("run --clip 0.1", "--set clip=0.1"),
        ("run --z-dim 8", "--set z_dim=8"),
        ("run --Z-Dim 8", "--set z_dim=8"),
        ("run --critic_steps 5", "--set critic_steps=5"),
        ("run --gp-weight -1", "--set gp_weight=-1"),
        ("run --slope 0.2", "--slope: did you mean --score? Options of variants, backbones and data sets"),
        ("probe --lr 1", "--set lr=1"),
        (f"run {GIVEN} --budget 10-images --beta1 0.5", "--set beta1=0.5"),
        # options that are misspelt
        ("run --datset x", "no such option --datset: did you mean --dataset?"),
        ("run --dry_run", "no such option --dry_run: did you mean --dry-run?"),
        ("run --Variants gan", "no such option --Variants: did you mean --variants?"),
        ("run --buget x", "did you mean --budget?"),
        ("report --ouput x", "did you mean --output?"),
        # words of other tools
        ("run --variant gan", "write --variants gan"),
        ("run --model gan", "write --variants gan"),
        ("probe --variants gan", "write --variant gan, one alone"),
        ("run --epochs 30", "write --budget 30-epochs"),
        ("run --steps 5000", "write --budget 5000-updates"),
        ("run --iterations=5000", "write --budget 5000-updates"),
        ("run --max_iter 5000", "write --budget 5000-updates"),
        ("run --kimg 200", "write --budget 200k-images"),
        ("run --seed 3", "write --seeds N for the seeds 0 to N-1, or --seeds 7-7 for seed 7"),
        ("probe --seeds 3", "write --seed N, one seed"),
        ("run --batch-size 32", "write --batch 32"),
        ("run --batch_size 32", "write --batch 32"),
        ("run --learning-rate 1e-4", "write --set lr=1e-4"),
        ("run --gpu 0", "write --device cuda, or cuda:1 for the second one"),
        ("run --cpu", "write --device cpu"),
        ("run --out x", "write --results x"),
        ("run --output-dir x", "write --results x"),
        ("run --outdir=x", "write --results x"),
        ("run --save_dir x", "write --results x"),
        ("report --out x", "write --output x"),
        ("report --csv", "write --format csv"),
        ("plot fid --out x.pdf", "write --output x.pdf"),
        ("plot --metric fid", "name it first, as in ganbench plot fid"),
        ("plot fid --inches 3", "write --width 3"),
        ("plot fid --pareto", "write --cost flops"),
        ("results verify --dir x", "write --results x"),
        ("run --data-dir x", "write --data x"),
        ("run --img-size 32", "write --size 32"),
        ("run --num-workers 2", "write --jobs 2"),
        ("run --arch dcgan", "write --backbone dcgan"),
        ("run --amp", "write --precision bf16"),
        ("run --allow-tf32", "write --precision tf32"),
        ("run --cuda-graphs", "write --compile graph"),
        ("run --no-compile", "write --compile off"),
        ("run --resume", "the same command given again continues where it was"),
        ("run --config a.yaml", "write --set KEY=VALUE"),
        ("check --variant gan", "write the name alone, as in ganbench check gan"),
        ("list --variants", "write ganbench list variants"),
        ("cache prune --days 3", "write --older-than 3"),
        ("sample gan --out x", "write --output x"),
        ("sample gan --num-samples 5", "write -n 5"),
        ("score a b --reference c", "name the reference second, as in ganbench score A c"),
        ("score a b --metric fid", "write --metrics fid"),
        # options of other commands
        ("probe --metrics fid", "no such option --metrics in `ganbench probe`: it is one of `ganbench run`"),
        ("check --dataset digits", "it is one of `ganbench run`"),
        ("run --at 1", "it is one of `ganbench probe`"),
        ("report --seeds 3", "it is one of `ganbench run`"),
        ("--variants gan", "options come after a command"),
        ("cache --results x", "it is one of `ganbench run`"),
        ("report --xyzzy", "no such option --xyzzy; `ganbench report --help` lists them"),
        # hyphens
        ("run -variants gan", "-variants has one hyphen too few: write --variants"),
        ("run -budget=1-images", "-budget=1-images has one hyphen too few: write --budget"),
        ("run -b 32", "no such option -b: did you mean --backbone or --budget or --batch?"),
        ("run -y", "no such option -y, and none that is short but -h"),
        ("run \u2014variants gan", "begins with a dash that is no hyphen: write --variants"),
        ("run \u2013lr 1", "write --lr"),
        (f"run {GIVEN} --seeds 1 -5", "-5 is taken for an option: write a value that begins with a hyphen after"),
        # words that belong to no option
        ("run gan", "'gan' belongs to no option: write --variants gan"),
        ("run gan mnist", "'gan mnist' belongs to no option: write --variants gan --dataset mnist"),
        ("run gan --dataset mnist", "write --variants gan"),
        ("probe gan mnist", "write --variant gan --dataset mnist"),
        ("run --dry-run gan", "write --variants gan"),
        ("run --variants gan wgan --dataset x", "names are parted by commas alone, as in --variants gan,wgan"),
        ("run --variants gan, wgan, r1 --dataset digits", "--variants gan,wgan,r1"),
        ("run --variants=gan wgan --dataset digits", "--variants gan,wgan"),
        ("run --variants gan --metrics fid kid", "--metrics fid,kid"),
        ("probe --at 1 10 25", "--at 1,10,25"),
        ("run --set lr=1 width=2", "each option has a --set of its own, as in --set lr=1 --set width=2"),
        ("run lr=1", "--set lr=1"),
        ("run --plugin a.py b.py", "each file has a --plugin of its own, as in --plugin b.py"),
        ("run --seeds 0 1 2", "seeds are parted by commas alone, as in --seeds 0,1,2"),
        ("run --budget 200k images", "--budget takes one value, '200k'"),
        ("check gan wgan", "`ganbench check` takes one variant at a time"),
        ("list variants datasets", "`ganbench list` takes one kind at a time"),
        ("report mine", "write --results mine"),
        ("results prune mine", "write --results mine"),
        ("cache prune all", "`ganbench cache prune` takes options alone"),
        # commands
        ("train", "no such command 'train': write `ganbench run`"),
        ("table", "write `ganbench report`"),
        ("curves", "write `ganbench plot`"),
        ("test gan", "write `ganbench check`"),
        ("verify", "write `ganbench results verify`"),
        ("generate", "write `ganbench sample`"),
        ("evaluate", "write `ganbench score`"),
        ("diagnose", "write `ganbench doctor`"),
        ("progress", "write `ganbench status`"),
        ("ls", "write `ganbench list`"),
        ("Run", "did you mean 'run'?"),
        ("reprot", "did you mean 'report'?"),
        ("xyzzy", "no such command 'xyzzy'; there are run, status, report, show, plot, explain, sample, score"),
        ("results clean", "write `ganbench results prune`"),
        ("results mrege", "did you mean 'merge'?"),
        ("cache clear", "write `ganbench cache prune`"),
        # what is missing
        ("run --variants gan --data digits", "--dataset is missing: name some, or a --preset (--data is the folder"),
    ],
)  # fmt: skip
def test_a_word_that_is_none_of_ours_leads_to_the_one_that_is_meant(request_of: str, sentence: str) -> None:
    assert sentence in refused(request_of)


def test_a_plugins_file_is_told_where_it_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_gan.py").write_text(FILE.read_text())
    monkeypatch.chdir(tmp_path)
    mend = "this is a plugin's file; write --plugin my_gan.py "
    for given, right in (
        ("run my_gan.py", "--variants my-gan"),
        ("run --variants my_gan.py --dataset digits", "--variants my-gan"),
        ("run --variants gan --dataset my_gan.py", "--dataset my-gan"),
        ("run --variants gan --dataset digits --backbone my_gan.py", "--backbone my-gan"),
        ("run --variants gan --dataset digits --metrics fid,my_gan.py", "--metrics my-gan"),
        ("probe --variant my_gan.py --dataset digits", "--variant my-gan"),
        ("check my_gan.py", "my-gan"),
    ):
        assert refused(given).endswith(mend + right)
    assert "there is a file my_gan.py: add --plugin my_gan.py" in refused("check my-gan")
    assert f"write --plugin {tmp_path}/my_gan.py" in refused(f"run {GIVEN} --plugin my_gan")


def test_what_is_asked_after_a_hint_is_taken() -> None:
    """Every option and command that a hint names exists."""
    commands = {name: main.get_command(click.Context(main), name) for name in COMMANDS}
    for path in (*words.WORDS, "results verify", "results merge", "cache"):
        command = commands[path.split()[0]]
        for part in path.split()[1:]:
            assert isinstance(command, click.Group)
            command = command.commands[part]
        assert command is not None
        flags = {flag for param in command.params for flag in param.opts}
        for word, (hint, missing) in words.known(path).items():
            told = refused(f"{path} --{word}") if f"--{word}" not in flags else ""
            named = set(re.findall(r"--[a-z-]+", told.partition(f"--{word}")[2]))
            assert "ganbench" in hint.format(missing) or named <= flags | {"--set", "--help"}, told
    for group, table in words.COMMANDS.items():
        for word in table:
            meant = words.meant(group, word, ())
            for name in (meant or "").replace("` or `ganbench", ",").split(","):
                first, *more = name.strip().split(" ")
                assert first in COMMANDS, (group, word)
                chosen = commands[first]
                assert not more or (isinstance(chosen, click.Group) and more[0] in chosen.commands)


def test_help_is_given_whatever_stands_beside_it() -> None:
    for given in ("run --help gan", "run gan -h", "results prune --help x"):
        result = CliRunner().invoke(main, given.split())
        assert result.exit_code == 0 and "Usage: " in result.stdout


def test_a_long_or_steering_word_is_told_in_a_short_visible_sentence() -> None:
    for word in ("a" * 50_000, "\x1b[31mred", "a\nb"):
        for given in ([word], ["run", word], ["run", f"--{word}"], ["run", f"--{word}", "1"], ["results", word]):
            result = CliRunner().invoke(main, given)
            assert result.exit_code == 2 and len(result.stderr) < 1000 and "\x1b" not in result.stderr


def test_a_wrong_word_is_told_without_torch_and_within_a_second() -> None:
    for given in (
        ["run", "--lr", "1"],
        ["run", "gan"],
        ["train"],
        ["check", "-x"],
    ):
        code = (
            f"import sys; from ganbench.cli import main\ntry: main({given!r})\nfinally: print('torch' in sys.modules)"
        )
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": "200"},
        )
        assert done.stdout == "False\n", done.stderr
        assert time.perf_counter() - start < 2
