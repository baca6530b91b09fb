"""A finished run as an experiment sees it: its variant at any share that was kept, its data, its traces."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ganbench.contract.data import Splits
from ganbench.contract.types import Curve, Norm
from ganbench.contract.variant import Control, Variant
from ganbench.errors import UserError
from ganbench.results.record import RunRecord
from ganbench.results.store import ResultStore
from ganbench.runs.kept import Kept, Opened, fill, open_run
from ganbench.runs.looks import look_path, shares_kept
from ganbench.runs.registry import Registry
from ganbench.scoring.gradients import OWN, canonical_curves, log_spaced, own_curve
from ganbench.seeds import derive, seeded

if TYPE_CHECKING:
    from collections.abc import Iterator


class MadeRun:
    """See `ganbench.contract.experiments.Made`."""

    def __init__(
        self, record: RunRecord, store: ResultStore, registry: Registry, *, root: Path, device: torch.device
    ) -> None:
        self.record, self.device = record, device
        self._store, self._registry, self._root = store, registry, root

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
        return open_run(self.record, self._registry, root=self._root)

    def at(self, share: float = 1.0) -> Variant:
        """See `Made.at`."""
        path = look_path(self._work, share)
        record = replace(self.record, checksums={}) if path.is_file() else self.record
        kept = Kept(record, path if path.is_file() else self._work / "final.pt")
        if not path.is_file() and share != 1:
            known = ", ".join(f"{each:g}" for each in self.shares) or "none"
            raise UserError(
                f"the weights of {kept} at {share:g} of its budget were not kept; there are those at {known}"
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
        with _default(torch.float64 if double else torch.float32) as dtype:
            for network in (variant, fresh, D):
                network.to(dtype)
            curves = canonical_curves(variant, D, bench.data.train, latents=latents, running=running, **chosen)
            if {"G", "D"} <= fresh.optimizers().keys() and not (latents or norm or running):
                curves[OWN] = own_curve(variant, fresh, bench.data.train, **chosen)
        return curves


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[torch.dtype]:
    """Draw latents in a number format inside the block."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield dtype
    finally:
        torch.set_default_dtype(before)
