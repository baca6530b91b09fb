"""The files that a run continues from: written whole, read without trust, set aside where they are damaged."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import torch

from ganbench.files import write_atomically

FORMAT = 1
"""Raise it when a checkpoint's content changes: one of another format is set aside, not half understood."""


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values. Raises `DiskError` where the disk refuses."""
    # In memory first: of a disk that is full, torch.save would say "enforce fail" instead of what is wrong.
    whole = io.BytesIO()
    torch.save(state, whole)
    write_atomically(path, lambda file: file.write(whole.getbuffer()))


def load_state(path: Path) -> dict[str, Any] | None:
    """Read what `save_state` wrote, on the host; None where there is nothing, or nothing that can be used."""
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in many ways; it is set aside and the run starts anew
        _set_aside(path, f"is damaged ({type(error).__name__})")
        return None
    if state.get("format", FORMAT) != FORMAT:
        _set_aside(path, "was written by another version of ganbench")
        return None
    return state


def _set_aside(path: Path, why: str) -> None:
    path.replace(path.with_suffix(".damaged"))
    warnings.warn(f"{path} {why} and was set aside; the run starts anew", stacklevel=4)
