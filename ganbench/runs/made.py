"""A finished run as an experiment sees it: its variant at any share that was kept, its data, its traces."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganbench.contract.data import Splits
from ganbench.contract.types import Curve, Norm
from ganbench.contract.variant import Control, Variant
from ganbench.errors import UserError
from ganbench.results.along import at_marks
from ganbench.results.record import RunRecord
from ganbench.results.store import ResultStore
from ganbench.runs.kept import Kept, Opened, fill, open_run
from ganbench.runs.looks import look_path, shares_kept
from ganbench.runs.opening import open_dataset
from ganbench.runs.registry import Registry
from ganbench.scoring.gradients import OWN, canonical_curves, log_spaced, own_curve
from ganbench.seeds import derive, seeded
from ganbench.training.arithmetic import default_dtype


class MadeRun:
    """See `ganbench.contract.experiments.Made`.

    `asked`: data sets as the user named them, since a record has the short name alone of one with an argument;
    `loaded`: data that all runs share which have the same.
    """

    def __init__(
        self,
        record: RunRecord,
        store: ResultStore,
        registry: Registry,
        *,
        root: Path,
        device: torch.device,
        asked: Sequence[str] = (),
        loaded: MutableMapping[str, Splits] | None = None,
    ) -> None:
        self.record, self.device = record, device
        self._store, self._registry, self._root = store, registry, root
        self._asked, self._loaded = asked, loaded

    @property
    def identity(self) -> list[str]:
        """What tells the run from every other, and from itself made again on a machine that rounds otherwise."""
        return [self.record.spec.id, self.record.checksums.get("weights", "")]

    @property
    def _work(self) -> Path:
        return self._store.root / ".work" / self.record.spec.id

    @property
    def shares(self) -> list[float]:
        """See `Made.shares`."""
        found = set(shares_kept(self._work))
        return sorted({*found, 1.0} if (self._work / "final.pt").is_file() else found)

    @property
    def data(self) -> Splits:
        """See `Made.data`."""
        return self._opened.bench.data

    @cached_property
    def _opened(self) -> Opened:
        named = [text for text in self._asked if ":" in text]
        is_it = (text for text in named if open_dataset(text, self._registry, {}).name == self.record.spec.dataset)
        return open_run(self.record, self._registry, root=self._root, dataset=next(is_it, ""), loaded=self._loaded)

    def at(self, share: float = 1.0) -> Variant:
        """See `Made.at`."""
        path, final = look_path(self._work, share), self._work / "final.pt"
        if share == 1 and final.is_file():
            kept = Kept(self.record, final)
        elif path.is_file():
            kept = Kept(replace(self.record, checksums={}), path)  # whose checksum is its own
        else:
            known = ", ".join(f"{each:g}" for each in self.shares)
            there = f"there are those at {known}" if known else f"there are none in {self._work}"
            raise UserError(
                f"the weights of {Kept(self.record, path)} at {share:g} of its budget are not kept; {there}"
            )
        variant = self.fresh()
        fill(variant, kept, "raw")
        return variant.requires_grad_(False).eval()

    def fresh(self) -> Variant:
        """See `Made.fresh`."""
        return self._opened.build(self.record.spec.seed, self.device)

    def epochs(self, share: float) -> float:
        """See `Made.epochs`."""
        budget, meters = self.record.spec.budget, self.record.meters
        images = budget.amount if budget.unit == "images" else meters.images
        return share * images / len(self.data.train.images)

    def fingerprint(self, share: float = 1.0) -> str:
        """See `Made.fingerprint`."""
        whole = hashlib.sha256()
        for name, value in self.at(share).state_dict().items():
            whole.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
        return whole.hexdigest()

    def traces(self) -> Mapping[str, np.ndarray]:
        """See `Made.traces`."""
        return self._store.traces(self.record)

    def at_marks(self, part: float = 0.1) -> dict[str, dict[float, float]]:
        """See `Made.at_marks`."""
        return {name: at_marks(name, trace, self.record, part) for name, trace in self.traces().items()}

    def probe(
        self,
        share: float,
        iterations: int,
        *,
        batch: int | None = None,
        double: bool = False,
        latents: int = 0,
        norm: Norm | None = None,
        running: bool = False,
        seed: int | None = None,
    ) -> dict[str, Curve]:
        """See `Made.probe`."""
        spec, bench = self.record.spec, self._opened.bench
        if issubclass(self._opened.cls, Control):
            raise UserError(f"{spec.variant} is a control, which has no generator to train a discriminator against")
        seed = spec.seed if seed is None else seed
        chosen: dict[str, Any] = {"batch": batch or spec.batch, "at": log_spaced(iterations), "seed": seed}
        variant, fresh = self.at(share), self.fresh()
        with seeded(derive(seed, "probe")):
            parts = bench.backbone(bench.spec)
            D = parts.discriminator(norm=norm) if norm else parts.discriminator()
        with default_dtype(torch.float64 if double else torch.float32) as dtype:  # built before: both start alike
            for network in (variant, fresh, D):
                network.to(dtype)
            curves = canonical_curves(variant, D, bench.data.train, latents=latents, running=running, **chosen)
            if {"G", "D"} <= fresh.optimizers().keys() and not (latents or norm or running):
                curves[OWN] = own_curve(variant, fresh, bench.data.train, **chosen)
        return curves
