"""What the harness offers an experiment: runs that were made for it, courses on data of its own, and a memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ganbench import NUMBERS
from ganbench.contract.backbone import Backbone
from ganbench.contract.data import ImageSet, Splits
from ganbench.contract.experiments import Made, Optimizers
from ganbench.contract.metrics import Embedding, Extractor
from ganbench.contract.types import DataSpec, digest
from ganbench.errors import UserError, brief, named
from ganbench.files import write_atomically
from ganbench.results.moving import make_ignored
from ganbench.results.named import row_id, seeds_of
from ganbench.results.record import RunSpec
from ganbench.runs.course import HarnessCourse
from ganbench.runs.made import MadeRun
from ganbench.runs.opening import open_dataset
from ganbench.runs.options import resolve
from ganbench.runs.registry import Registry
from ganbench.runs.steps import Begin, Step
from ganbench.training.networks import build_variant, fit_variant
from ganbench.training.switches import kept


class HarnessLab:
    """See `ganbench.contract.experiments.Lab`.

    `name`: the experiment's, which its steps are told with; `folder`: of its memory; `code`: the hash of its own;
    `lost`: the runs that failed.
    """

    def __init__(
        self,
        options: Any,
        variants: Sequence[str],
        seeds: Sequence[int],
        registry: Registry,
        *,
        name: str,
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
        self.lost: Sequence[RunSpec] = ()
        self._name, self._registry, self._folder, self._code = name, registry, folder, code
        self._root, self._weights, self._begin = root, weights, begin

    @property
    def rows(self) -> dict[str, list[Made]]:
        """See `Lab.rows`."""
        made = {made.record.spec.id: made for made in self.runs}
        of_rows = seeds_of(made.record.spec for made in self.runs)
        return {name: [made[spec.id] for spec in of] for name, of in of_rows.items()}

    def tried(self, runs: Sequence[Made]) -> int:
        """See `Lab.tried`."""
        row = row_id(runs[0].record.spec)
        return len(runs) + sum(row_id(spec) == row for spec in self.lost)

    def tell(self, text: str) -> None:
        """See `Lab.tell`."""
        self._begin(Step((), f"{self._name}: {text}"))

    def once(self, key: Mapping[str, Any], compute: Callable[[], Any], *, by_options: bool = True) -> Any:
        """See `Lab.once`."""
        path = self._folder / f"{digest(self._whole(key, by_options=by_options))[:16]}.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not there, or damaged: it is computed
            pass
        found = json.dumps(compute(), default=_listed)
        make_ignored(self._folder)
        write_atomically(path, lambda file: file.write(found.encode()))
        return json.loads(found)  # what is computed is what would be read

    def _whole(self, key: Mapping[str, Any], *, by_options: bool) -> list[Any]:
        """Return all that a value depends on, as plain values."""
        names = set(_texts(key)) | {text.partition(":")[0] for text in _texts(key)}
        plugins = {
            f"{kind} {name}": [entry.code for entry in owners]
            for kind, of in self._registry.entries.items()
            for name, owners in of.items()
            if name in names
        }
        places = [str(self._root), str(self._weights)]
        plain = json.loads(json.dumps(key, default=_identity))
        options = repr(self.options) if by_options else ""
        return [self._code, NUMBERS, str(self.device), places, options, plugins, plain]

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
        times: float = 1.0,
        double: bool = False,
    ) -> HarnessCourse:
        """See `Lab.course`."""
        entry = self._registry.get("variant", variant)
        chosen = {key.removeprefix(f"{variant}."): value for key, value in _settings(settings).items()}
        classes = int(data.cond.max()) + 1 if data.cond is not None and len(data.cond) else 0
        spec = DataSpec(tuple(data.images.shape[1:]), classes=classes)
        cls, config = entry.item, partial(resolve, entry.item, variant, chosen)
        try:
            fit_variant(cls, backbone, spec, config())
            make = partial(build_variant, cls, backbone, spec, seed=seed, config=config())
            return HarnessCourse(
                make,
                data,
                seed=seed,
                batch=batch,
                device=self.device,
                optimizers=optimizers,
                times=times,
                double=double,
            )
        except UserError:
            raise
        except Exception as error:  # a plugin may fail in any way on networks that it never saw
            raise UserError(f"it cannot be built: {brief(named(error), 200)}") from error

    def open(self, dataset: str, *, size: int = 0, settings: Sequence[str] = ()) -> Splits:
        """See `Lab.open`."""
        opened = open_dataset(dataset, self._registry, _settings(settings))
        with kept():
            return opened.load(self._root, size or opened.size)

    def extractor(self, name: str, dataset: str, data: Splits) -> Embedding:
        """See `Lab.extractor`."""
        found: Extractor = self._registry.get("extractor", name).item
        if reason := found.missing(dataset, data, self._weights):
            raise UserError(f"the extractor {name!r}: {reason}")
        return found.prepare(dataset, data, self._weights, self.device)


def _settings(texts: Sequence[str]) -> dict[str, str]:
    """Read options, `lr=1e-3`, by name."""
    parts = [text.partition("=") for text in texts]
    if wrong := next((text for text, (_, equals, _) in zip(texts, parts, strict=True) if not equals), None):
        raise UserError(f"the setting {wrong!r} is not an option and a value: write lr=1e-3")
    return {key.strip(): value.strip() for key, _, value in parts}


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts in nested values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _texts(each)


def _identity(value: Any) -> Any:
    """Return what stands in a key for a value that JSON does not have. Raises `TypeError` where nothing can."""
    if isinstance(value, MadeRun):
        return value.identity
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if is_dataclass(value) and not isinstance(value, type):
        return repr(value)
    if isinstance(value, Path | torch.dtype | torch.device):
        return str(value)
    return _listed(value)


def _listed(value: Any) -> Any:
    """Return an array, a tensor, a number of theirs or a range as JSON has it."""
    if isinstance(value, range):
        return list(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} cannot be kept by `lab.once`: give it lists, texts and numbers")
