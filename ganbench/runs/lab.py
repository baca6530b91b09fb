"""What the harness offers an experiment: runs that were made for it, courses on data of its own, and a memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ganbench import NUMBERS
from ganbench.contract.backbone import Backbone
from ganbench.contract.data import ImageSet, Splits
from ganbench.contract.experiments import Made, Optimizers
from ganbench.contract.metrics import Embedding
from ganbench.contract.types import DataSpec, digest
from ganbench.errors import DiskError, UserError, brief, named
from ganbench.files import write_atomically
from ganbench.results.named import seeds_of
from ganbench.runs.course import HarnessCourse
from ganbench.runs.opening import open_dataset
from ganbench.runs.options import resolve
from ganbench.runs.registry import Registry
from ganbench.runs.steps import Begin, Step
from ganbench.training.networks import build_variant, fit_variant
from ganbench.training.switches import kept


class HarnessLab:
    """See `ganbench.contract.experiments.Lab`. `folder`: of its memory; `code`: the hash of the experiment's."""

    def __init__(
        self,
        options: Any,
        variants: Sequence[str],
        seeds: Sequence[int],
        registry: Registry,
        *,
        folder: Path,
        code: str,
        root: Path,
        weights: Path | None,
        device: torch.device,
        begin: Begin,
    ) -> None:
        self.options, self.variants, self.seeds, self.device = options, variants, seeds, device
        self.runs: Sequence[Made] = ()
        self.failed: Mapping[str, str] = {}
        self._registry, self._folder, self._code = registry, folder, code
        self._root, self._weights, self._begin = root, weights, begin

    @property
    def rows(self) -> dict[str, list[Made]]:
        """See `Lab.rows`."""
        made = {made.record.spec.id: made for made in self.runs}
        of_rows = seeds_of(made.record.spec for made in self.runs)
        return {name: [made[spec.id] for spec in of] for name, of in of_rows.items()}

    def tell(self, text: str) -> None:
        """See `Lab.tell`."""
        self._begin(Step((), text))

    def once(self, key: Mapping[str, Any], compute: Callable[[], Any]) -> Any:
        """See `Lab.once`."""
        whole = [self._code, NUMBERS, str(self.device), repr(self.options), json.loads(json.dumps(key, default=str))]
        path = self._folder / f"{digest(whole)[:16]}.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            pass
        except (OSError, ValueError):  # damaged: it is computed again
            pass
        found = json.dumps(compute())
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskError(f"cannot write {self._folder}: {error.strerror or error}") from error
        write_atomically(path, lambda file: file.write(found.encode()))
        return json.loads(found)  # what is computed is what would be read

    def course(
        self,
        variant: str,
        data: ImageSet,
        backbone: Backbone,
        *,
        seed: int = 0,
        batch: int = 64,
        settings: Sequence[str] = (),
        optimizers: Optimizers | None = None,
        double: bool = False,
    ) -> HarnessCourse:
        """See `Lab.course`."""
        entry, chosen = self._registry.get("variant", variant), dict(text.split("=", 1) for text in settings)
        classes = int(data.cond.max()) + 1 if data.cond is not None and len(data.cond) else 0
        spec = DataSpec(tuple(data.images.shape[1:]), classes=classes)
        cls, config = entry.item, partial(resolve, entry.item, variant, chosen)
        try:
            fit_variant(cls, backbone, spec, config())
            make = partial(build_variant, cls, backbone, spec, seed=seed, config=config())
            return HarnessCourse(
                make, data, seed=seed, batch=batch, device=self.device, optimizers=optimizers, double=double
            )
        except UserError:
            raise
        except Exception as error:  # a plugin may fail in any way on networks that it never saw
            raise UserError(f"it cannot be built: {brief(named(error), 200)}") from error

    def open(self, dataset: str, *, size: int = 0, settings: Sequence[str] = ()) -> Splits:
        """See `Lab.open`."""
        opened = open_dataset(dataset, self._registry, dict(text.split("=", 1) for text in settings))
        with kept():
            return opened.load(self._root, size or opened.size)

    def extractor(self, name: str, dataset: str, data: Splits) -> Embedding:
        """See `Lab.extractor`."""
        found = self._registry.get("extractor", name).item
        embedding: Embedding = found.prepare(dataset, data, self._weights, self.device)
        return embedding
