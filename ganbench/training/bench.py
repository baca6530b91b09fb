"""What the runs on one data set share, opened once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from ganbench.contract.backbone import Backbone
from ganbench.contract.data import Dataset, Splits
from ganbench.contract.metrics import Extractor, Metric
from ganbench.contract.types import DataSpec, Split
from ganbench.contract.variant import Variant
from ganbench.training.networks import build_variant, fit_variant


@dataclass(frozen=True)
class Measure:
    """A metric as it was asked for. `asked`: what stands behind the first @ of its name, `classifier@10k-test`.

    `options`: the metric's own. `samples`, `reference`: as many, and the split compared with; None as the run has them.
    """

    metric: Metric
    asked: str = ""
    options: Any = None
    samples: int | None = None
    reference: Split | None = None

    @property
    def name(self) -> str:
        """The name of its own value, as it was asked for."""
        return self.named(self.metric.name)

    def named(self, value: str) -> str:
        """Return the name in a record of a value that the metric gives."""
        return f"{value}@{self.asked}" if self.asked else value

    @property
    def plain_options(self) -> dict[str, Any]:
        """The options in plain values."""
        return {} if self.options is None else json.loads(json.dumps(asdict(self.options), default=str))


@dataclass(frozen=True)
class Bench:
    """A data set, loaded; the family of networks on it; and what samples are scored by, extractors by their names.

    `codes`: hashes of what the plugins of metrics and extractors execute, by kind and name.
    """

    dataset: Dataset
    data: Splits
    backbone: Backbone
    metrics: tuple[Measure, ...] = ()
    extractors: Mapping[str, Extractor] = field(default_factory=dict)
    codes: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @cached_property
    def spec(self) -> DataSpec:
        """What networks must know of the data."""
        return self.data.spec(self.dataset.task)

    @property
    def size(self) -> int:
        """The side of the images in pixels; 0 for points."""
        return self.data.train.images.shape[-1] if self.spec.is_image else 0

    def build(self, cls: type[Variant], config: Any, seed: int) -> Variant:
        """Build a variant at its first step, on the host."""
        return build_variant(cls, self.backbone, self.spec, seed=seed, config=config)

    def fit(self, cls: type[Variant], config: Any) -> Variant:
        """Build a variant to see whether it fits. Raises `UserError` that says why where it does not."""
        return fit_variant(cls, self.backbone, self.spec, config)
