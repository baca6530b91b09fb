"""What the folders of a tree of images stand for: splits, classes, or nothing, always said and never guessed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ganbench.errors import UserError
from ganbench.toolbox.trees import ImageTree

Role = Literal["train", "test", "val"]
ROLES: Mapping[Role, frozenset[str]] = {
    "train": frozenset(("train", "training", "trn", "trainval")),
    "test": frozenset(("test", "testing", "tst")),
    "val": frozenset(("val", "valid", "validation", "dev", "eval", "evaluation")),
}
"""Names of folders that are splits, in lower case; `_set` may follow (`training_set`)."""
_FOLD = re.compile(r"(k?fold|split|cv)[\s_-]*\d+")
_SHOWN = 6  # names in a list for people


class Layout(NamedTuple):
    """What a tree is taken for.

    `items`: the images used, sorted by name; `labels`: the number of each one's class; `classes`: their names, none
    where there are no labels. `train`, `test`: the folders that are the splits; where `test` is empty all items are one
    split, to be divided. `notes`: all of this for the user.
    """

    items: list[str]
    labels: np.ndarray
    classes: list[str]
    train: str = ""
    test: str = ""
    notes: tuple[str, ...] = ()

    @property
    def split(self) -> str:
        """Name the two splits for those who read a table; empty where they are still to be made."""
        return f"the folders {self.train} and {self.test}" if self.test else ""

    @property
    def key(self) -> list[str]:
        """What of it the names of the images do not say: nothing where folders are called train and test, or val."""
        usual = not self.train or (self.train, self.test) in (("train", "test"), ("train", "val"))
        return [] if usual else [self.train, self.test]


def role_of(name: str) -> Role | None:
    """Return which split a folder of this name is, in any case (`Training`, `TEST`, `valid`, `train_set`)."""
    word = re.sub(r"[\s_-]*(set|split)$", "", name.strip().casefold())
    return next((role for role, words in ROLES.items() if word in words), None)


def _resembles(name: str) -> Role | None:
    """Return which split a name makes one think of: `train1`, `trainA`, `images_val`, `test2017`."""
    if role := role_of(name):
        return role
    words = [word.casefold() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]
    plain = {word.removesuffix(letter) for word in words for letter in ("", "a", "b", "set")}
    return next((role for role, known in ROLES.items() if known & plain), None)


def layout_of(
    path: Path, tree: ImageTree, *, splits: tuple[str, str] | None = None, labelled: bool = True, what: str = "folder"
) -> Layout:
    """Tell what the folders of a tree are.

    `splits`: those of train and test where they are known. `labelled`: classes are of interest to the user.
    First-level folders are the splits where one is a train and one a test (else a validation) split; the folders in
    them, else the first-level folders, are classes. `what`: the data set whose argument `path` is, for hints.
    Raises `UserError` where folders look like splits and cannot be told apart from classes.
    """
    tops = {name.partition("/")[0] for name in tree.names if "/" in name}
    train, test = splits or find_splits(path, tops, tree.names, what)
    if train and not test and len(_classes(_folders(tree.names, 1))) < 2:
        train = ""  # the only folder of the tree, and no classes in it: nothing to go down for
    chosen = tuple(f"{folder}/" for folder in (train, test) if folder)
    names = [name for name in tree.names if not chosen or name.startswith(chosen)]
    folders = _folders(names, 1 if train else 0)
    classes = _classes(folders)
    whole = all(folders) and len(classes) > 1 and (bool(test) or len(classes) < len(names))
    notes = [*_split_notes(tree.names, train, test), *_empty_notes(tree, chosen)]
    if labelled:
        notes.insert(1, _class_note(path, names, folders, classes, whole, what))
    classes = classes if whole else []
    number = {name: k for k, name in enumerate(classes)}
    labels = np.array([number[parts[0]] if classes else 0 for parts in folders], dtype=np.int64)
    return Layout(names, labels, classes, train, test, tuple(notes))


def find_splits(path: Path, tops: Collection[str], names: Collection[str], what: str) -> tuple[str, str]:
    """Return the folders of train and test among the first-level ones, ("", "") where there are none of either.

    Where there is one folder alone, and it is a split, it is returned as the first. Raises `UserError` where folders
    look like splits and are not understood, at the top or below.
    """
    for usual in ("test", "val"):  # called so, they are the splits, whatever lies beside them
        if {"train", usual} <= set(tops):
            return "train", usual
    of: dict[str, list[str]] = {role: sorted(top for top in tops if role_of(top) == role) for role in ROLES}
    trains, tests = of["train"], of["test"] or of["val"]
    if len(trains) == 1 and len(tests) == 1:
        return trains[0], tests[0]
    loose = any("/" not in name for name in names)
    if len(tops) == 1 and (trains or tests) and not loose:
        _refuse_below(path, names, what)
        return (*trains, *tests)[0], ""
    alike = {top: role for top in sorted(tops) if (role := _resembles(top))}
    folds = sorted(top for top in tops if _FOLD.fullmatch(top.casefold()))
    both = "train" in alike.values() and set(alike.values()) & {"test", "val"}
    halves = {top.partition("/")[0] for top in (name.rpartition("/")[0] for name in names) if "/" in top}
    alone = len(tops) + loose > 1 and len(tops) in (len(alike), len(folds))
    if both or tests or len(trains) > 1 or alone or halves & set(trains):
        pair = f"; two domains to translate between are read with folder-pair:{path}" if _is_pair(tops) else ""
        raise UserError(
            f"{path} has folders that look like splits, and which is train and which is test cannot be told: "
            f"{listed(sorted({*alike, *folds}))}; call one train and one test (or val), or give one of them alone to "
            f"have it divided, {what}:{path / min({*alike, *folds})}{pair}"
        )
    _refuse_below(path, names, what)
    return "", ""


def _refuse_below(path: Path, names: Iterable[str], what: str) -> None:
    below: dict[str, set[str]] = {}
    for folder in {name.rpartition("/")[0] for name in names}:
        parts = folder.split("/")
        for depth in range(1, len(parts)):
            below.setdefault("/".join(parts[:depth]), set()).add(parts[depth])
    for folder, inside in sorted(below.items()):
        alike = {name: role for name in sorted(inside) if (role := _resembles(name))}
        if "train" in alike.values() and len(set(alike.values())) > 1:
            raise UserError(
                f"{path / folder} has folders that look like splits, {listed(alike)}, but they are understood only at "
                f"the top: write {what}:{path / folder} to use that alone, or make it train/… and test/…, each with "
                "the classes in it"
            )


def _is_pair(tops: Iterable[str]) -> bool:
    return {"a", "b"} <= {top[-1:].casefold() for top in tops if _resembles(top) == "train"}


def pair_splits(path: Path, tops: Collection[str]) -> tuple[tuple[str, str], tuple[str, str]] | None:
    """Return the folders of train and test of both domains where a tree is in CycleGAN's layout (`trainA`, `testB`).

    The folders of test are empty where there are none. Raises `UserError` where a part of the layout is missing.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for top in sorted(tops):
        stem, letter = re.sub(r"[\s_-]+$", "", top[:-1]), top[-1:].casefold()
        if letter in ("a", "b") and (role := role_of(stem)):
            found.setdefault((role, letter), []).append(top)
    if twice := next((tops for tops in found.values() if len(tops) > 1), None):
        raise UserError(f"{path} has {listed(twice)} for one split of one domain: take one of them away")
    tests = next((role for role in ("test", "val") if (role, "a") in found or (role, "b") in found), "")
    wanted = [(role, letter) for role in ("train", tests) for letter in "ab" if role]
    missing = [f"{role}{letter.upper()}" for role, letter in wanted if (role, letter) not in found]
    if ("train", "a") not in found and ("train", "b") not in found:
        return None
    if missing:
        raise UserError(f"{path} has {listed(name for names in found.values() for name in names)}, but no {missing[0]}")
    first, second = ((found["train", x][0], found[tests, x][0] if tests else "") for x in "ab")
    return first, second


def _folders(names: Iterable[str], level: int) -> list[list[str]]:
    return [name.split("/")[level:-1] for name in names]


def _classes(folders: Iterable[Sequence[str]]) -> list[str]:
    return sorted({parts[0] for parts in folders if parts})


def listed(names: Iterable[str]) -> str:
    """Join names for people, quoted, the first few where there are many."""
    every = list(names)
    rest = f" and {len(every) - _SHOWN:,} more" if len(every) > _SHOWN else ""
    return ", ".join(repr(name) for name in every[:_SHOWN]) + rest


def told_classes(classes: Sequence[str]) -> str:
    """Say which classes there are, by the names of their folders or numbers."""
    return f"{len(classes):,} classes: {listed(classes)}"


def counted(count: int) -> str:
    """Count images in words."""
    return "1 image" if count == 1 else f"{count:,} images"


def _split_notes(names: Sequence[str], train: str, test: str) -> Iterator[str]:
    def within(folder: str) -> int:
        return sum(name.startswith(f"{folder}/") for name in names)

    if not test:
        only = f"; {train!r}, the only folder, is no class" if train else ""
        yield f"{counted(len(names))}, no folders of splits: a part of them is held out as test{only}"
        return
    yield f"train is the folder {train!r} ({counted(within(train))}), test is {test!r} ({counted(within(test))})"
    if others := [name for name in names if not name.startswith((f"{train}/", f"{test}/"))]:
        places = sorted({name.partition("/")[0] for name in others if "/" in name})
        where = f"elsewhere, as in {listed(places)}," if places else "beside them"
        yield f"{counted(len(others))} {where} left out"


def _class_note(
    path: Path, names: Sequence[str], folders: Sequence[Sequence[str]], classes: Sequence[str], whole: bool, what: str
) -> str:
    if whole:
        return told_classes(classes)
    if not classes:
        return "no classes, because there are no folders for them"
    if loose := [name for name, parts in zip(names, folders, strict=True) if not parts]:
        verb = "lies" if len(loose) == 1 else "lie"
        return (
            f"no classes, because {counted(len(loose))}, {listed(loose[:2])}{' …' if len(loose) > 2 else ''}, {verb} "
            f"beside the folders {listed(classes)}: move such images away to have these as classes"
        )
    if len(classes) == 1:
        inner = _classes(parts[1:] for parts in folders)
        hint = f": write {what}:{path / classes[0]} to have those in it as classes" if len(inner) > 1 else ""
        return f"no classes, because all images lie in one folder, {classes[0]!r}{hint}"
    return f"no classes, because each of {len(classes):,} folders has one image"


def _empty_notes(tree: ImageTree, chosen: Sequence[str]) -> Iterator[str]:
    filled = {"/".join(parts[:k]) for parts in (name.split("/", 2)[:-1] for name in tree.names) for k in (1, 2)}
    inside = {folder for folder in tree.folders if folder.count("/") == 1 and folder.startswith(tuple(chosen))}
    tops = {folder for folder in tree.folders if "/" not in folder}
    if empty := sorted((tops | (inside if chosen else set())) - filled):
        yield f"{'folders' if len(empty) > 1 else 'a folder'} without an image left out: {listed(empty)}"
