"""What a plugin says of itself: options from docstrings, sections."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal

from click.testing import CliRunner

from ganbench import Count, Fraction, NonNegative, Positive
from ganbench.cli.group import main
from ganbench.runs.describe import describe, options_of


@dataclass(frozen=True)
class Config:
    """Options. The first sentence belongs to nobody.

    lr, betas: of Adam, for both players (§4).
    penalty: weight λ of the penalty, which is large
        where images are (eq. 3, λ = 10 (and 1 on points)).
    form: "a" is the paper's, "b" what
        its authors run (ours).
    kernel: no source here.
    """

    lr: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    penalty: NonNegative = 10.0
    form: Literal["a", "b"] = "a"
    kernel: Count | None = None
    flag: bool = False
    widths: tuple[int, ...] = field(default_factory=lambda: (1, 2))


class Thing:
    """What it is, in a sentence
    over two lines.

    A second paragraph.

    Objective: min_D a
        + b
    Departures: none: all
    as there.
    Published: FID 1 (table 1,
    of many samples)
    IS 2 (table 2)
    Published: 8 modes
    """

    config: Config


def test_options_are_read_from_the_docstring() -> None:
    options = {option.name: option for option in describe(Thing).options}
    assert list(options) == ["lr", "betas", "penalty", "form", "kernel", "flag", "widths"]
    assert [(o.default, o.kind) for o in options.values()] == [
        ("0.0001", "number > 0"),
        ("0.5,0.999", "number ≥ 0 and < 1, number ≥ 0 and < 1"),
        ("10.0", "number ≥ 0"),
        ("a", "a or b"),
        ("none", "whole number ≥ 1 or none"),
        ("false", "true or false"),
        ("1,2", "list: whole number"),
    ]
    assert options["lr"].meaning == options["betas"].meaning == "of Adam, for both players"
    assert options["lr"].source == "§4"
    assert options["penalty"].meaning == "weight λ of the penalty, which is large where images are"
    assert options["penalty"].source == "eq. 3, λ = 10 (and 1 on points)"
    assert (
        options["form"].meaning == '"a" is the paper\'s, "b" what its authors run' and options["form"].source == "ours"
    )
    assert (options["kernel"].meaning, options["kernel"].source) == ("no source here", "")
    assert (options["flag"].meaning, options["flag"].source) == ("", "")


def test_options_that_are_inherited_keep_their_meaning() -> None:
    @dataclass(frozen=True)
    class Wider(Config):
        """Options of the other, and

        width: of both (§5).
        lr: smaller here (§6).
        """

        width: int = 3

    said = {option.name: (option.meaning, option.source) for option in options_of(Wider)}
    assert said["width"] == ("of both", "§5") and said["lr"] == ("smaller here", "§6")
    assert said["betas"] == ("of Adam, for both players", "§4")


def test_sections_are_read_from_the_docstring() -> None:
    said = describe(Thing)
    assert said.text == "What it is, in a sentence over two lines.\n\nA second paragraph."
    assert said.sections == {
        "Objective": "min_D a + b",
        "Departures": "none: all as there.",
        "Published": "FID 1 (table 1, of many samples)\nIS 2 (table 2)\n8 modes",
    }


def test_a_plugin_that_says_nothing_is_described_all_the_same() -> None:
    @dataclass(frozen=True)
    class Bare:
        width: int = 3

    class Silent(Thing):
        config: Bare  # type: ignore[assignment]

    Silent.__annotations__["config"] = Bare
    Silent.__doc__ = Bare.__doc__ = None
    said = describe(Silent)
    assert (said.text, said.sections) == ("", {})
    assert [(o.name, o.default, o.kind, o.meaning) for o in said.options] == [("width", "3", "whole number", "")]


def call(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


def test_the_command_shows_all_of_one_name() -> None:
    shown = call("list", "began").stdout
    assert shown.startswith("began (variant, from ganbench ")
    assert "lr=" in shown and "`--set began.NAME=VALUE`" in shown
    assert max(map(len, shown.splitlines()[1:])) <= 120
    both = json.loads(call("list", "dcgan", "--json").stdout)
    assert [found["kind"] for found in both] == ["variant", "backbone"]
    assert {"name", "default", "kind", "meaning", "source"} == set(both[0]["options"][0])
    preset = call("list", "pacgan-synthetic").stdout
    assert "ring, grid" in preset and "pacgan2" in preset and "400k-updates" in preset


def test_a_name_that_is_not_there_is_refused_with_the_nearest() -> None:
    refused = call("list", "gna")
    assert refused.exit_code == 2 and "nothing installed is called 'gna': did you mean 'gan'?" in refused.stderr
    assert "did you mean 'variants'?" in call("list", "variant").stderr
