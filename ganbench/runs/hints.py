"""What a user may have meant by a name or path that is not one: hints from the files at hand. Imports no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ganbench.errors import UserError
from ganbench.files import expanded, parted

PACKED = (".zip", ".tar", ".tgz", ".gz", ".xz", ".bz2", ".7z", ".rar")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
DOMAINS = ("trainA", "trainB")
"""Folders of which a folder of two domains has both."""
_NAME = re.compile(r"^\s+name\s*(?::[^=\n]*)?=\s*[\"']([A-Za-z0-9][A-Za-z0-9_-]*)[\"']", re.MULTILINE)


def file_of(name: str) -> Path | None:
    """Return the Python file in the current folder that is called as a plugin's thing of a name would be, or None."""
    stem = name.removesuffix(".py")
    places = (Path(f"{each}.py") for each in (stem, stem.replace("-", "_")))
    return next((place for place in places if _is_there(place) and place.is_file()), None)


def require_no_file(option: str, names: Iterable[str]) -> None:
    """Raise `UserError` where a plugin's file is named in place of what it offers. `option`: where it was."""
    for name in names:
        file = expanded(name) if name.endswith(".py") else None
        if file is not None and _is_there(file) and file.is_file():
            given = f"{option} " if option else ""
            raise UserError(f"{given}{name}: this is a plugin's file; write --plugin {name} {given}{_offer(file)}")


def _offer(file: Path) -> str:
    """Return the name that the thing in a plugin's file has, as it is written; else the one that its own suggests."""
    try:
        found = set(_NAME.findall(file.read_text(encoding="utf-8", errors="replace")))
    except OSError:
        found = set()
    return found.pop() if len(found) == 1 else file.stem.replace("_", "-")


def require_plugin(path: Path) -> None:
    """Raise `UserError` for what is given as a plugin's file and is none, with what would be right."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        name = path.name.removesuffix(".py")
        written = (name, name.replace("-", "_"), name.replace(".", os.sep))  # the last as a module
        near = next((place for each in written if _is_there(place := path.parent / f"{each}.py")), None)
        mend = f"write --plugin {near}" if near else "name a Python file; what is installed needs no --plugin"
        raise UserError(f"--plugin {path}: there is no such file; {mend}") from None
    except (OSError, ValueError) as error:  # forbidden, links in a circle, no path at all
        raise UserError(f"--plugin {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if path.is_dir():
        found = sorted(place.name for place in path.glob("*.py") if place.name != "__init__.py")
        names = f"one of its files ({', '.join(found[:5])}{', …' * (len(found) > 5)})" if found else "a Python file"
        raise UserError(f"--plugin {path}: not a file but a folder: name {names}, or install it with pip")
    if not path.is_file():
        raise UserError(f"--plugin {path}: not a file")
    if path.suffix != ".py":
        raise UserError(f"--plugin {path}: not a Python file; its name must end in .py")


def dataset_hint(texts: Sequence[str], root: Path) -> str | None:
    """Return what to write for data sets of which the first is none but a path, or looks like one; else None.

    `root`: the data root, where paths are looked for as well.
    """
    text, place = texts[0], _found(texts[0], root)
    if place is None:
        like_a_path = re.match(r"[.~]|[^:]*[/\\]", text)
        return f"there is no folder {text}; images of your own are folder:PATH" if like_a_path else None
    if place.is_file():
        return _of_file(text, place)
    if any((other := _found(each, root)) is not None and other.is_dir() for each in texts[1:2]):
        one, two = map(_escaped, texts[:2])
        return f"write folder:{one},folder:{two}, or folder-pair:{one},{two} to translate between the two"
    if all(_is_there(place / name) for name in DOMAINS):
        return f"write folder-pair:{_escaped(text)}, or folder:PATH of one of its folders"
    if _is_there(place / "data.mdb"):
        return "it is a database of LSUN: put it into DATA/lsun, and write --data DATA --dataset lsun:CLASS"
    return f"write folder:{_escaped(text)}"


def _of_file(text: str, place: Path) -> str:
    end = place.suffix.lower()
    if end == ".npz":
        return f"write folder:{_escaped(text)}"
    if end in PACKED:
        return "it is packed: unpack it and write folder:PATH (of packed images, only lsun:CLASS and celeba are read)"
    if end in PICTURES:
        return f"it is one image: write folder:{_escaped(str(Path(text).parent))} for all in its folder"
    return "no data set reads such a file: write folder:PATH of a folder of images, or of an .npz that holds 'images'"


def _found(text: str, root: Path) -> Path | None:
    try:
        asked = expanded(parted(text)[0])
    except UserError:
        return None
    return next((place for place in (asked, root / asked) if text and _is_there(place)), None)


def _escaped(path: str) -> str:
    return re.sub(r"(?<!\\),", r"\\,", path)


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (OSError, ValueError):  # any text may be given for a path
        return False
    return True
