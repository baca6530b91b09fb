"""What the conformance kit looks at: tiny runs of a variant, what it yields, and what differs afterwards."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any

import torch
from torch import Tensor

from ganbench.contract.backbone import Backbone
from ganbench.contract.data import ImageSet, to_float
from ganbench.contract.types import Batch, Clock, DataSpec, Update
from ganbench.contract.variant import Control, Variant
from ganbench.errors import UserError
from ganbench.runs.blame import blaming
from ganbench.runs.opening import configured
from ganbench.runs.options import resolve
from ganbench.runs.registry import Entry, Registry, discover
from ganbench.seeds import derive, seed_device
from ganbench.testing.watching import require
from ganbench.toolbox.pairs import Pairs
from ganbench.training.budget import Budget
from ganbench.training.capture import Recorder
from ganbench.training.networks import build_variant, fit_variant
from ganbench.training.ranks import SINGLE, Ranks
from ganbench.training.trainer import Trainer

SHAPES = ((1, 16, 16), (3, 16, 16), (1, 32, 32), (3, 32, 32), (1, 64, 64), (3, 64, 64), (3, 128, 128), (2,))
"""What a variant is tried on: the first that fits it."""
OTHER_SHAPES = ((3, 8, 8), (1, 32, 32), (2,))
"""What it must do as well, where it says that it fits."""
WIDTH = 8
CLASSES = 4


@dataclasses.dataclass(frozen=True)
class Subject:
    """A variant under test, a backbone that makes tiny networks, and what its random data look like.

    `others`: further data that the variant says it fits, each with a backbone. `files`: those of its plugin.
    """

    variant: type[Variant]
    backbone: Backbone
    data: DataSpec
    config: Any = None
    others: tuple[tuple[Backbone, DataSpec], ...] = ()
    batch: int = 8
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    files: frozenset[str] = frozenset()

    def trainer(
        self,
        *,
        seed: int = 0,
        data_seed: int = 0,
        shift: int = 0,
        precision: str = "fp32",
        steps: int = 0,
        watched: bool = False,
        recorder: Recorder | None = None,
        wide: bool = False,
        ranks: Ranks = SINGLE,
    ) -> Trainer:
        """Make a fresh run of so many `steps`, or of two periods and two. `shift`: of the labels.

        `watched`: whether the harness looks at each step closely; `recorder`: captures steps to be replayed; `wide`:
        whether weights are of float64; `ranks`: that make it together.
        """
        variant = build_variant(self.variant, self.backbone, self.data, seed=seed, config=self.config)
        variant = variant.double() if wide else variant
        images = variant.images_per_step(self.batch)
        return Trainer(
            variant,
            random_data(self.data, 2 * images + 1, data_seed, shift),
            Budget(images * (steps or 2 * variant.period + 2), "images"),
            seed=seed,
            batch=self.batch,
            device=self.device,
            precision=precision,
            recorder=recorder,
            watched=lambda step: watched,
            metered=not wide,
            ranks=ranks,
        )

    def config_again(self) -> Any:
        """Return the options as they are before a plugin has seen them."""
        return resolve(self.variant, self.variant.name, dict(self.settings))

    def finished(self, **choices: Any) -> Trainer:
        """Make a run, as `trainer` does, and bring it to its end."""
        trainer = self.trainer(**choices)
        advance(trainer, steps_of(trainer))
        return trainer


def subject_of(
    variant: str | type[Variant],
    *,
    registry: Registry | None = None,
    settings: Mapping[str, str] | None = None,
    device: torch.device | None = None,
) -> Subject:
    """Choose tiny networks and data that fit a variant, given by name or class; what fits none raises `UserError`."""
    registry = registry or discover()
    cls: type[Variant] = registry.get("variant", variant).item if isinstance(variant, str) else variant
    owners = registry.entries["variant"].get(cls.name, [])
    files = next((entry.files for entry in owners if entry.item is cls), frozenset({_file_of(cls)}))
    if issubclass(cls, Control):
        raise UserError(f"{cls.name} is a control: it is not trained, and the checks are of training")
    with blaming(f"the options of {cls.name!r} cannot be read", lambda: files):
        config = resolve(cls, cls.name, settings or {})
    names = sorted(registry.entries["backbone"], key=lambda name: (name != "dcgan", name))
    claimed = {name: clash for name in names if (clash := registry.clash("backbone", name))}
    backbones = [tiny(registry.get("backbone", name)) for name in names if name not in claimed]
    reasons = list(claimed.values())

    def fit(shape: tuple[int, ...], classes: int) -> tuple[Backbone, DataSpec] | None:
        if cls.task == "translate":
            data = DataSpec(shape, "translate")
        else:
            data = DataSpec(shape, classes=classes if len(shape) == 3 else 0)
        with blaming(f"{cls.name} cannot be built for {data}", lambda: files):
            backbone = first_fitting(cls, backbones, data, config, reasons)
        return None if backbone is None else (backbone, data)

    found = next((chosen for shape in SHAPES if (chosen := fit(shape, CLASSES))), None)
    if found is None:
        raise UserError(f"{cls.name} fits none of the data that the checks have: {'; '.join(dict.fromkeys(reasons))}")
    labels = CLASSES if cls.task == "label" else 0  # the others need labels, and must do without as well
    others = tuple(chosen for shape in OTHER_SHAPES if (chosen := fit(shape, labels)))
    where = device or torch.device("cpu")
    return Subject(cls, *found, config, others, device=where, settings=settings or {}, files=files)


def _file_of(cls: type) -> str:
    try:
        return os.path.realpath(inspect.getfile(cls))
    except (OSError, TypeError):  # made at a prompt
        return ""


def tiny(entry: Entry) -> Backbone:
    """Open a backbone, narrow where it has a `width`."""
    narrow = {"width": str(WIDTH)} if isinstance(getattr(entry.item.config, "width", None), int) else {}
    backbone: Backbone = configured(entry, narrow)
    return backbone


def first_fitting(
    cls: type[Variant], backbones: list[Backbone], data: DataSpec, config: Any, reasons: list[str]
) -> Backbone | None:
    """Return the first backbone with which a variant fits the data; else append to `reasons` why none does."""
    for backbone in backbones:
        try:
            fit_variant(cls, backbone, data, config)
            return backbone
        except UserError as reason:
            reasons.append(str(reason))
    return None


def random_data(data: DataSpec, n: int, seed: int, shift: int = 0) -> ImageSet:
    """Make `n` random samples, labelled in turn from `shift` on where the data have classes."""
    generator = torch.Generator().manual_seed(seed)
    if data.is_image:
        samples = torch.randint(0, 256, (n, *data.shape), generator=generator, dtype=torch.uint8)
    else:
        samples = torch.randn(n, *data.shape, generator=generator)
    if data.task == "translate":
        return ImageSet(samples, source=Pairs(samples, samples.flip(0)))
    return ImageSet(samples, (torch.arange(n) + shift) % data.classes if data.classes else None)


def steps_of(trainer: Trainer) -> int:
    """Return how many steps the whole run takes; its half is no multiple of a period longer than one."""
    return 2 * trainer.variant.period + 2


def advance(trainer: Trainer, steps: int) -> None:
    """Make some steps of a run."""
    trainer.variant.train()
    for _ in range(steps):
        trainer.step()


def drive(
    trainer: Trainer, steps: int, around: Callable[[], AbstractContextManager[object]] = nullcontext
) -> Generator[tuple[int, Batch, Update]]:
    """Resume a variant as the harness does, and yield each step's number, batch and update, not yet performed."""
    trainer.variant.train()
    for number in range(steps):
        batch = trainer.stream[number]
        clock = Clock(number, torch.full((), number / steps, device=trainer.device))
        seed_device(trainer.device, derive(trainer.seed, "step", number))
        updates = trainer.variant.step(batch, clock)
        require(isinstance(updates, Generator), "step returns instead of yielding: write `yield Update(player, loss)`")
        assert isinstance(updates, Generator)
        with closing(updates):
            while True:
                with around():
                    update = next(updates, None)
                if update is None:
                    break
                yield number, batch, update


def draw(variant: Variant, subject: Subject, n: int, *, seed: int = 0, label: int = 0, back: bool = False) -> Tensor:
    """Sample a variant under a seed: all of one label where it is conditional; it translates images of noise.

    `back`: a translation the other way.
    """
    cond = torch.full((n,), label, device=subject.device) if variant.task == "label" else None
    if variant.task == "translate":
        cond = to_float(random_data(subject.data, n, seed).images).to(subject.device)
    seed_device(subject.device, derive(seed, "sample"))
    with torch.no_grad():
        return variant.sample(n, cond, **({"reverse": True} if back else {}))


def state_of(trainer: Trainer) -> dict[str, Any]:
    """Return what two equal runs must have in common: all but seconds and memory."""
    state = trainer.state_dict()
    return {key: state[key] for key in ("variant", "ema", "optimizers", "traces")}
