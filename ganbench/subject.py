"""What the conformance kit looks at: tiny runs of a variant, what it yields, and what differs afterwards."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ganbench.backbone import Backbone
from ganbench.budget import Budget
from ganbench.data import ImageSet, to_float
from ganbench.errors import UserError
from ganbench.options import resolve
from ganbench.pairs import Pairs
from ganbench.plugins import Registry, discover
from ganbench.seeds import derive, seed_device
from ganbench.trainer import Trainer, build_variant
from ganbench.types import Batch, Clock, DataSpec, Update
from ganbench.variant import Control, Variant

SHAPES = ((1, 16, 16), (3, 16, 16), (1, 32, 32), (3, 32, 32), (1, 64, 64), (3, 64, 64), (3, 128, 128), (2,))
"""What a variant is tried on: the first that fits it."""
OTHER_SHAPES = ((3, 8, 8), (1, 32, 32), (2,))
"""What it must do as well, where it says that it fits."""
WIDTH = 8
CLASSES = 4
VALUES = "item tolist numpy cpu __bool__ __float__ __int__ __index__ __array__ is_nonzero equal allclose"
SIZES = "nonzero masked_select unique _unique2 unique_consecutive"
READS = frozenset(f"{VALUES} {SIZES}".split())
"""Functions that need a tensor's values on the host, or results whose size depends on them."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """A variant under test, a backbone that makes tiny networks, and what its random data look like.

    `others`: further data that the variant says it fits, each with a backbone.
    """

    variant: type[Variant]
    backbone: Backbone
    data: DataSpec
    config: Any = None
    others: tuple[tuple[Backbone, DataSpec], ...] = ()
    batch: int = 8
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))

    def trainer(self, *, seed: int = 0, data_seed: int = 0, shift: int = 0, precision: str = "fp32") -> Trainer:
        """Make a fresh run of two periods and two steps. `shift`: of the labels."""
        variant = build_variant(self.variant, self.backbone, self.data, seed=seed, config=self.config)
        images = variant.images_per_step(self.batch)
        return Trainer(
            variant,
            random_data(self.data, 2 * images + 1, data_seed, shift),
            Budget(images * (2 * variant.period + 2), "images"),
            seed=seed,
            batch=self.batch,
            device=self.device,
            precision=precision,
        )

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
    if issubclass(cls, Control):
        raise UserError(f"{cls.name} is a control: it is not trained, and the checks are of training")
    config = resolve(cls, cls.name, settings or {})
    names = sorted(registry.entries["backbone"], key=lambda name: (name != "dcgan", name))
    backbones = [tiny(registry.get("backbone", name).item) for name in names]
    reasons: list[str] = []

    def fit(shape: tuple[int, ...], classes: int) -> tuple[Backbone, DataSpec] | None:
        if cls.task == "translate":
            data = DataSpec(shape, "translate")
        else:
            data = DataSpec(shape, classes=classes if len(shape) == 3 else 0)
        backbone = first_fitting(cls, backbones, data, config, reasons)
        return None if backbone is None else (backbone, data)

    found = next((chosen for shape in SHAPES if (chosen := fit(shape, CLASSES))), None)
    if found is None:
        raise UserError(f"{cls.name} fits none of the data that the checks have: {'; '.join(dict.fromkeys(reasons))}")
    labels = CLASSES if cls.task == "label" else 0  # the others need labels, and must do without as well
    others = tuple(chosen for shape in OTHER_SHAPES if (chosen := fit(shape, labels)))
    return Subject(cls, *found, config, others, device=device or torch.device("cpu"))


def tiny(backbone: Backbone) -> Backbone:
    """Return a copy of a backbone, narrow where it has a `width`."""
    narrow = copy.copy(backbone)
    if hasattr(backbone.config, "width"):
        narrow.config = dataclasses.replace(backbone.config, width=WIDTH)
    return narrow


def first_fitting(
    cls: type[Variant], backbones: list[Backbone], data: DataSpec, config: Any, reasons: list[str]
) -> Backbone | None:
    """Return the first backbone with which a variant can be built for the data; else append to `reasons` why not."""
    for backbone in backbones:
        reason = cls.misfit(data) or (None if cls.own_architecture else backbone.misfit(data))
        if reason is None:
            try:
                build_variant(cls, backbone, data, seed=0, config=config)
                return backbone
            except UserError as error:
                reason = str(error)
        reasons.append(reason)
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


def require(condition: bool, message: str) -> None:
    """Raise `AssertionError` with what to change, also where Python drops assertions."""
    if not condition:
        raise AssertionError(message)


class NoReading(TorchFunctionMode):
    """Raise inside the block where Python asks for a tensor's value, on any device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function unless the host would wait for its result."""
        name = getattr(func, "__name__", "")
        if name == "__getitem__" and isinstance(args[1], Tensor) and args[1].dtype == torch.bool:
            name = "indexing by a mask"
        waits = name in READS or name == "indexing by a mask"
        mend = "keep values in tensors (torch.where, clamp) and take decisions from clock.step alone"
        require(not waits, f"step waits for the device in {name}: {mend}")
        return func(*args, **(kwargs or {}))


@contextmanager
def no_waiting(device: torch.device) -> Iterator[None]:
    """Raise inside the block where the host waits for the device; CUDA itself is asked as well."""
    with NoReading():
        if device.type != "cuda":
            yield
            return
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)


def parameters_of(variant: Variant) -> dict[str, Tensor]:
    """Return the trainable parameters by name."""
    return {name: p.detach() for name, p in variant.named_parameters() if p.requires_grad}


def state_of(trainer: Trainer) -> dict[str, Any]:
    """Return what two equal runs must have in common: all but seconds and memory."""
    state = trainer.state_dict()
    return {key: state[key] for key in ("variant", "ema", "optimizers", "traces")}


def difference(left: Any, right: Any) -> str:
    """Return the path of the first difference between two nested values, or nothing; NaN equals NaN."""
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        same = left.shape == right.shape and left.dtype == right.dtype
        return "" if same and bool(((left == right) | ((left != left) & (right != right))).all()) else "value"
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        pairs = [(key, left.get(key), right.get(key)) for key in {**left, **right}]
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple) and len(left) == len(right):
        pairs = list(zip(range(len(left)), left, right, strict=True))
    else:
        return "" if type(left) is type(right) and left == right else "value"
    for key, mine, yours in pairs:
        if apart := difference(mine, yours):
            return str(key) if apart == "value" else f"{key}.{apart}"
    return ""


def attributes(variant: Variant, known: set[int]) -> dict[str, Any]:
    """Return what the modules of a variant and its classes hold, beside what is `known` by its id to be saved."""
    found = {
        f"{path}.{name}".lstrip("."): remembered(value, known)
        for path, module in variant.named_modules()
        for name, value in vars(module).items()
    }
    ancestors = type(variant).__mro__
    for cls in ancestors[: ancestors.index(Variant)]:
        own = {name: value for name, value in vars(cls).items() if not name.startswith("_")}
        found |= {f"{cls.__name__}.{name}": remembered(value, known) for name, value in own.items()}
    return found


def remembered(value: Any, known: set[int]) -> Any:
    """Copy a value into lists, texts and tensors that can be compared later, leaving out what is `known` by its id."""
    if id(value) in known:
        return "known"
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, type | ModuleType | FunctionType | BuiltinFunctionType | MethodType | property | classmethod):
        return getattr(value, "__qualname__", "")
    known = known | {id(value)}
    if isinstance(value, Mapping):
        keys = [f"tensor {id(key)}" if isinstance(key, Tensor) else repr(key) for key in value]
        return dict(zip(keys, (remembered(item, known) for item in value.values()), strict=True))
    if isinstance(value, list | tuple | set | frozenset):
        return [remembered(item, known) for item in value]
    try:
        reduced = value.__reduce_ex__(4)
    except Exception:  # not every object can tell its state
        return repr(value)
    parts = reduced if isinstance(reduced, tuple) else (reduced,)
    state = [remembered(list(part) if isinstance(part, Iterator) else part, known) for part in parts]
    return [type(value).__name__, *state]
