"""Feature extraction: every extractor in one pass over the images; real features are kept in the cache."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from ganbench import NUMBERS
from ganbench.archives import Arrays, Unusable, read_archive, write_archive
from ganbench.contract.data import ImageSet, Splits
from ganbench.contract.metrics import Embedding, Extractor, Features
from ganbench.contract.types import digest
from ganbench.errors import UserError
from ganbench.files import cache_folder, write_atomically
from ganbench.scoring.samples import CHUNK
from ganbench.training.switches import kept

Found = Mapping[str | None, Features | Exception]


class FeatureExtraction:
    """The extractors of one data set, each made ready once.

    An extractor is a plugin and may fail in any way: its error is then returned in the place of its features. `codes`:
    hashes of what their plugins execute, so that no features are taken from the cache that other code has made.
    """

    def __init__(
        self,
        dataset: str,
        data: Splits,
        extractors: Mapping[str, Extractor],
        *,
        device: torch.device,
        weights: Path | None = None,
        codes: Mapping[tuple[str, str], str] | None = None,
    ) -> None:
        self.dataset, self.data, self.device = dataset, data, device
        self._extractors, self._weights, self._codes = extractors, weights, codes or {}
        self._ready: dict[str, Embedding] = {}
        self._real: dict[tuple[str, str], Arrays] = {}

    def ready(self, name: str) -> Embedding:
        """Return an extractor, made ready. Raises whatever it raises, `UserError` where there is none of this name."""
        if name not in self._ready:
            if name not in self._extractors:
                raise UserError(f"there is no extractor {name!r}")
            with kept():
                self._ready[name] = self._extractors[name].prepare(self.dataset, self.data, self._weights, self.device)
        return self._ready[name]

    def of(self, images: ImageSet, names: Iterable[str]) -> Found:
        """Extract the features of images by every extractor named; under None stand the images alone."""
        return _features(images, self._extract(images, names))

    def of_real(self, split: str, images: ImageSet, names: Iterable[str]) -> Found:
        """Do so for the images of a split; their features are looked for in memory and on disk first."""
        found = {name: self._kept(split, images, name) for name in names}
        missing = self._extract(images, [name for name, arrays in found.items() if arrays is None])
        for name, arrays in missing.items():
            if not isinstance(arrays, Exception):
                key = self._key(split, images, name)
                write_cached(_path(key), partial(write_archive, arrays=arrays, owner=key, compress=False))
                self._real[split, name] = arrays
        return _features(images, {name: missing[name] if kept is None else kept for name, kept in found.items()})

    def classes(self, images: Tensor, count: int) -> Tensor | None:
        """Return the likeliest class of each image by an extractor that has been used and tells so many, or None."""
        for name in self._ready:
            few = self._probs(name, images[:2])  # they tell at little cost whether it is the one
            if few is not None and few.shape[1] == count and (probs := self._probs(name, images)) is not None:
                return probs.argmax(1)
        return None

    def _probs(self, name: str, images: Tensor) -> Tensor | None:
        found = self.of(ImageSet(images), [name])[name]
        return None if isinstance(found, Exception) else found.probs

    def _kept(self, split: str, images: ImageSet, name: str) -> Arrays | Exception | None:
        if (split, name) not in self._real:
            try:
                key = self._key(split, images, name)
            except Exception as error:
                return error
            if (found := _load_features(_path(key), key, len(images.images))) is None:
                return None
            self._real[split, name] = found
        return self._real[split, name]

    def _key(self, split: str, images: ImageSet, name: str) -> str:
        rows = {"data": self.data.fingerprint, "split": split, "n": len(images.images)}
        made = {"code": self._codes.get(("extractor", name), ""), "numbers": NUMBERS}
        key = {"images": rows, "protocol": self.ready(name).protocol, "made": made}
        return digest(key)[:32]

    @torch.no_grad()
    def _extract(self, images: ImageSet, names: Iterable[str]) -> dict[str, Arrays | Exception]:
        working: dict[str, tuple[Embedding, list[Arrays]]] = {}
        failed: dict[str, Exception] = {}
        for name in names:  # all are made ready before the first works: layers of one network then share a pass
            try:
                working[name] = self.ready(name), []
            except Exception as error:
                failed[name] = error
        for chunk in images.images.split(CHUNK) if working else ():
            there = chunk.to(self.device)
            for name, (embedding, pieces) in list(working.items()):
                try:
                    with kept():
                        found = embedding(there)
                    pieces.append(_on_host(name, len(chunk), *found))
                except Exception as error:
                    del working[name]
                    failed[name] = error
        return failed | {name: _joined(pieces) for name, (_, pieces) in working.items()}


def _on_host(name: str, rows: int, embedding: Tensor, probs: Tensor | None) -> Arrays:
    found = {"embedding": embedding} if probs is None else {"embedding": embedding, "probs": probs}
    arrays = {part: tensor.cpu().numpy() for part, tensor in found.items()}
    if (why := _defect(arrays, rows)) is not None:
        raise UserError(f"extractor {name!r} cannot be used: of {rows} images it gives {why}")
    return arrays


def _defect(arrays: Arrays, rows: int) -> str | None:
    """Return what is wrong with the features of so many images, or None."""
    for part, array in arrays.items():
        if array.ndim != 2 or len(array) != rows or not array.shape[1]:
            return f"{part} of shape {array.shape}"
        if array.dtype.kind not in "fiu":
            return f"{part} of type {array.dtype}"
        if not np.isfinite(array).all():
            return f"{part} that are not finite"
    return None


def _joined(pieces: Sequence[Arrays]) -> Arrays:
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _features(images: ImageSet, found: Mapping[str, Arrays | Exception]) -> Found:
    features: dict[str | None, Features | Exception] = {None: Features(images.images, labels=images.cond)}
    for name, arrays in found.items():
        if isinstance(arrays, Exception):
            features[name] = arrays
        else:
            probs = torch.from_numpy(arrays["probs"]) if "probs" in arrays else None
            features[name] = Features(images.images, torch.from_numpy(arrays["embedding"]), probs, images.cond)
    return features


def _path(key: str) -> Path:
    return cache_folder() / "features" / f"{key}.npz"


def _load_features(path: Path, key: str, rows: int) -> Arrays | None:
    """Read features from the cache, where they are there, whole, and those of this key."""
    try:
        found = read_archive(path)
    except (OSError, Unusable):
        return None
    known = found.owner == key and found.arrays.keys() in ({"embedding"}, {"embedding", "probs"})
    return found.arrays if known and _defect(found.arrays, rows) is None else None


def write_cached(path: Path, save: Callable[[IO[bytes]], object]) -> None:
    """Write an entry; a cache that cannot be written costs time, not the result."""
    with contextlib.suppress(UserError):
        write_atomically(path, save)
