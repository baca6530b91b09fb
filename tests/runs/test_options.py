"""Options are read into the frozen dataclass that a plugin declares; whatever is wrong is named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from ganbench import Count, Fraction, Positive, UserError
from ganbench.runs.options import as_plain, config_class, fields_of, resolve

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Config:
    lr: Positive = 1e-4
    steps: Count = 5
    betas: tuple[Fraction, Fraction] = (0.5, 0.9)
    many: tuple[float, ...] = (1.0,)
    bound: float | None = None
    flag: bool = False
    mode: Literal["Linear", "sigmoid"] = "Linear"
    label: str = "a"
    path: Path = Path("x")

    def __post_init__(self) -> None:
        if self.flag and self.steps > 100:
            raise ValueError("flag needs at most 100 steps")


class Owner:
    config: Config
    k: Tensor  # known to a type checker only


class Heir(Owner):
    other: int = 0


class Bare:
    config: Any = None


class Nested:
    @dataclass(frozen=True)
    class Options:
        width: int = 3

    config: Options


class Unreadable:
    config: NoSuchConfig  # noqa: F821


@dataclass(frozen=True)
class NeedyConfig:
    size: int


class Needy:
    config: NeedyConfig


def test_without_settings_the_defaults_hold():
    assert resolve(Owner, "x", {}) == Config()
    assert resolve(Heir, "x", {}) == Config()
    assert resolve(Nested, "x", {}).width == 3


def test_what_declares_no_dataclass_has_no_options():
    assert config_class(Bare) is None and fields_of(Bare) == () and resolve(Bare, "x", {}) is None
    with pytest.raises(UserError, match=r"x has no option 'lr' \(it has none\)"):
        resolve(Bare, "x", {"lr": "1"})


def test_a_config_that_is_defined_nowhere_is_told():
    with pytest.raises(UserError, match="Unreadable declares `config: NoSuchConfig`, which cannot be read"):
        resolve(Unreadable, "x", {})


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("lr", "2e-4", 2e-4),
        ("lr", ".5", 0.5),
        ("steps", "7", 7),
        ("steps", "7.0", 7),
        ("betas", "0,0.9", (0.0, 0.9)),
        ("betas", "[0, 0.9]", (0.0, 0.9)),
        ("betas", "(0, 0.9)", (0.0, 0.9)),
        ("many", "1,2,3", (1.0, 2.0, 3.0)),
        ("many", "4,", (4.0,)),
        ("many", "4", (4.0,)),
        ("bound", "3", 3.0),
        ("bound", "None", None),
        ("bound", "null", None),
        ("flag", "True", True),
        ("flag", "false", False),
        ("flag", "yes", True),
        ("mode", "sigmoid", "sigmoid"),
        ("label", "b", "b"),
        ("label", "1", "1"),
        ("label", "1,2", "1,2"),
        ("label", "true", "true"),
        ("label", "none", "none"),
        ("path", "1", Path("1")),
    ],
)
def test_a_text_becomes_a_value_of_its_type(key, text, value):
    found = getattr(resolve(Owner, "x", {key: text}), key)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("lr", "0", "x.lr: input should be greater than 0, but '0' was given"),
        ("lr", "nan", "x.lr: input should be less than inf, but 'nan' was given"),
        ("lr", "1e999", "x.lr: input should be less than inf"),
        ("lr", "true", "x.lr: input should be a valid number"),
        ("lr", "fast", "x.lr: input should be a valid number"),
        ("lr", "", "x.lr: input should be a valid number"),
        ("lr", "[" * 100_000, "x.lr: input should be a valid number"),
        ("steps", "0", "x.steps: input should be greater than or equal to 1, but '0' was given"),
        ("steps", "1.5", "x.steps: input should be a valid integer"),
        ("steps", "9" * 5000, "x.steps: "),
        ("betas", "0.5", "x.betas: input should be a valid tuple, but '0.5' was given"),
        ("betas", "0.5,1", "x.betas.1: input should be less than 1, but '0.5,1' was given"),
        ("betas", "0.5,0.6,0.7", "x.betas: tuple should have at most 2 items"),
        ("many", "some", "x.many.0: input should be a valid number, unable to parse string"),
        ("bound", "nan", "x.bound: must be finite, but 'nan' was given"),
        ("many", "1,Infinity", "x.many: must be finite, but '1,Infinity' was given"),
        ("flag", "2", "x.flag: input should be a valid boolean"),
        ("mode", "linear", "x.mode: input should be 'Linear' or 'sigmoid', but 'linear' was given"),
        ("LR", "1", "x has no option 'LR': did you mean 'lr'?"),
        ("stepz", "1", "x has no option 'stepz': did you mean 'steps'?"),
        ("zzzz", "1", "x has no option 'zzzz' (it has lr, steps, betas, "),
    ],
)
def test_a_wrong_text_is_named_with_what_would_be_right(key, text, message):
    with pytest.raises(UserError) as raised:
        resolve(Owner, "x", {key: text})
    assert str(raised.value).startswith(message)


def test_a_rule_over_several_options_is_told_in_its_own_words():
    with pytest.raises(UserError, match=r"^x: flag needs at most 100 steps$"):
        resolve(Owner, "x", {"flag": "true", "steps": "101"})


def test_an_option_without_a_default_is_asked_for():
    with pytest.raises(UserError, match=r"^x.size: field required$"):
        resolve(Needy, "x", {})


def test_a_config_is_recorded_in_plain_values():
    plain = as_plain(resolve(Owner, "x", {"betas": "0,0.5"}))
    assert plain["betas"] == [0.0, 0.5] and plain["path"] == "x" and plain["bound"] is None
    assert list(plain) == list(fields_of(Owner))
    assert as_plain(None) == {}


def test_none_is_a_word_where_an_option_has_it():
    from ganbench_plugins.variants.hinge import Hinge

    assert resolve(Hinge, "hinge", {"norm": "none"}).norm == "none"
    assert resolve(Hinge, "hinge", {"norm": "layer"}).norm == "layer"
