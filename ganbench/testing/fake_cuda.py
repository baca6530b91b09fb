"""A variant on a CUDA device that is not there: what would go wrong, or slow, on one that is.

The real trainer drives the real variant, forward, backward, its optimizers, the average, ticks, a checkpoint and
samples, on tensors that hold nothing, so that widths and batches are those of real runs. What a GPU would refuse
(operands on two devices, an index on the wrong one) raises here as well; what it would suffer from is written down. It
cannot see wrong numbers, memory, speed, or what a kernel does inside.
"""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ganbench.errors import DiskError, UserError, brief

if TYPE_CHECKING:
    import torch

    from ganbench.contract.variant import Variant
    from ganbench.runs.registry import Registry
    from ganbench.testing.recording import Events, Launch
    from ganbench.training.trainer import Trainer

FITTING: Sequence[tuple[str, tuple[int, ...]]] = (
    ("dcgan", (3, 64, 64)),
    ("resnet", (3, 32, 32)),
    ("sngan", (3, 32, 32)),
    ("infogan", (1, 28, 28)),
    ("veegan", (3, 28, 28)),
    ("unrolled-mnist", (3, 28, 28)),
    ("mlp", (1, 28, 28)),
    ("mlp", (2,)),
    ("pacgan", (2,)),
)
"""Backbones and the data that each is tried on."""
IMAGES, BATCH, CLASSES = 50_000, 64, 10
REFUSED = 2
"""How the process of looks ends where what is asked for cannot be looked at; its last line says why."""


@dataclass(frozen=True)
class Seen:
    """What was seen of a variant with one backbone.

    `skipped`: why the two do not fit; `error`: what a device would refuse. Then by what and where, how often a period:
    `waits` of the host, `uploads`, `numbers` of the host in operations there, and `loose`, kernels that are not
    deterministic. `strays`: state that stays on the host; `frozen`: what differs between two steps of one phase, so
    that a replay would be wrong. `launches` a step.
    """

    variant: str
    backbone: str
    shape: tuple[int, ...]
    skipped: str = ""
    error: str = ""
    waits: Mapping[str, int] = field(default_factory=dict)
    uploads: Mapping[str, int] = field(default_factory=dict)
    numbers: Mapping[str, int] = field(default_factory=dict)
    loose: Mapping[str, int] = field(default_factory=dict)
    strays: Sequence[str] = ()
    frozen: Sequence[str] = ()
    launches: float = 0.0
    seconds: float = 0.0

    @property
    def faults(self) -> list[str]:
        """What a GPU would refuse or suffer from, a sentence each."""
        told = [f"it fails: {self.error}"] if self.error else []
        told += [f"a step waits for the device: {what}, {n} times a period" for what, n in self.waits.items()]
        told += [f"a step copies from the host: {what}, {n} times a period" for what, n in self.uploads.items()]
        told += [f"a step uses a number of the host: {what}, {n} times a period" for what, n in self.numbers.items()]
        told += [f"{name} stays on the host: make it a buffer with register_buffer" for name in self.strays]
        return told + [f"steps of one phase differ, so that none can be replayed: {what}" for what in self.frozen]

    @property
    def remarks(self) -> list[str]:
        """What is no fault, and worth knowing."""
        return [f"not deterministic on CUDA: {what}, {n} times a period" for what, n in self.loose.items()]


def look_apart(names: Sequence[str], plugins: Sequence[Path] = (), *, quick: bool = False) -> list[Seen]:
    """Look at variants by name, in a process of its own, with every backbone that fits, or `quick` with the first one.

    Raises `UserError` where no device can be pretended, or where that process ends before it has told all.
    """
    from ganbench.testing.pretending import environment

    request = json.dumps({"names": list(names), "plugins": [str(path) for path in plugins], "quick": quick})
    with _scratch() as folder:
        told = folder / "told.json"
        command = [sys.executable, "-m", "ganbench.testing.fake_cuda", request, str(told)]
        done = subprocess.run(command, env=environment(folder), capture_output=True, text=True, check=False)
        lines = told.read_text().splitlines() if told.exists() else []
        seen = [Seen(**{**line, "shape": tuple(line["shape"])}) for line in map(json.loads, lines)]
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
            if done.returncode == REFUSED:
                raise UserError(last)
            raise UserError(f"--fake-cuda ended after {len(seen)} of its looks: {brief(last, 300)}")
        return [look for look in seen if not look.skipped]


@contextmanager
def _scratch() -> Iterator[Path]:
    """Make a folder for the block. Raises `DiskError` where the disk refuses it."""
    try:
        made = TemporaryDirectory(prefix="ganbench-")
    except OSError as error:
        raise DiskError(f"cannot make a temporary folder: {error.strerror or error}") from error
    with made as folder:
        yield Path(folder)


def look(cls: type[Variant], backbone: str, shape: tuple[int, ...], registry: Registry) -> Seen:
    """Drive a variant for three periods; then a tick, a snapshot, samples, and its state to the host and back.

    Only where a device is pretended, see `pretending`.
    """
    import torch

    from ganbench.testing.pretending import pretended
    from ganbench.testing.recording import LOOSE, NUMBER, UPLOAD, WAIT, Recorder, differing, of_kind

    started, recorder = perf_counter(), Recorder()
    named: dict[str, Any] = {"variant": cls.name, "backbone": backbone, "shape": shape}
    with pretended():
        device = torch.device("cuda:0")
        try:
            trainer = _trainer(cls, backbone, shape, registry, device)
        except UserError as error:
            return Seen(**named, skipped=str(error))
        except Exception as error:  # whatever a stranger's build raises is a finding
            return Seen(**named, error=_told(error))
        trainer.variant.train()
        steps: list[tuple[Events, Sequence[Launch]]] = []
        strays: list[str] = []
        try:
            with recorder:
                for _ in range(3 * trainer.period):
                    recorder.clear()
                    trainer.step()
                    steps.append((recorder.events, recorder.launches))
                recorder.clear()
                strays = _strays(trainer)
                _afterwards(trainer, cls, backbone, shape, registry, device, strays)
        except Exception as error:
            return Seen(**named, error=_told(error), strays=strays, seconds=round(perf_counter() - started, 1))
    period = trainer.period
    second, third = steps[period : 2 * period], steps[2 * period :]  # the first has what happens once
    frozen = {what for (_, one), (_, other) in zip(second, third, strict=True) for what in differing(one, other)}
    events = sum((of for of, _ in second), Counter())
    return Seen(
        **named,
        waits=of_kind(events, WAIT),
        uploads=of_kind(events, UPLOAD),
        numbers=of_kind(events, NUMBER),
        loose=of_kind(events, LOOSE),
        strays=strays,
        frozen=sorted(frozen),
        launches=sum(len(launches) for _, launches in second) / period,
        seconds=round(perf_counter() - started, 1),
    )


def _trainer(
    cls: type[Variant], backbone: str, shape: tuple[int, ...], registry: Registry, device: torch.device
) -> Trainer:
    """Return the trainer of a variant as a run has it. Raises `UserError` where the two do not fit."""
    import torch

    from ganbench.contract.data import ImageSet
    from ganbench.contract.types import DataSpec
    from ganbench.runs.options import resolve
    from ganbench.toolbox.pairs import Pairs
    from ganbench.training.budget import Budget
    from ganbench.training.networks import fit_variant
    from ganbench.training.trainer import Trainer

    family = registry.get("backbone", backbone).item
    translates, is_image = cls.task == "translate", len(shape) == 3
    data = DataSpec(shape, "translate" if translates else "generate", CLASSES if is_image and not translates else 0)
    variant = fit_variant(cls, family, data, resolve(cls, cls.name, {}))
    images = torch.randint(0, 256, (IMAGES, *shape), dtype=torch.uint8) if is_image else torch.randn(IMAGES, *shape)
    labels = torch.zeros(IMAGES, dtype=torch.int64) if data.classes else None
    train = ImageSet(images, source=Pairs(images, images.flip(0))) if translates else ImageSet(images, labels)
    return Trainer(
        variant, train, Budget(1e6, "images"), seed=0, batch=BATCH, device=device, watched=lambda step: False
    )  # fmt: skip


def _strays(trainer: Trainer) -> list[str]:
    """Return what takes part in steps and lies on the host: tensors of modules, and of optimizers."""
    from torch import Tensor

    found = set[str]()
    for path, module in trainer.variant.named_modules():
        held = {**module._parameters, **module._buffers, **vars(module)}
        for name, tensor in held.items():
            if isinstance(tensor, Tensor) and tensor.device.type != "cuda":
                found.add(f"{path}.{name}".lstrip("."))
    for player, optimizer in trainer.optimizers.items():
        for state in optimizer.state.values():
            for key, value in state.items():
                if isinstance(value, Tensor) and value.ndim and value.device.type != "cuda":
                    found.add(f"{key} of the optimizer of {player}")
    return sorted(found)


def _afterwards(
    trainer: Trainer,
    cls: type[Variant],
    backbone: str,
    shape: tuple[int, ...],
    registry: Registry,
    device: torch.device,
    strays: Sequence[str],
) -> None:
    """Do what else a run does on its device: a tick, samples of a snapshot, a checkpoint that is continued from.

    `strays`: what stays on the host already, and is told.
    """
    import torch
    from torch import Tensor
    from torch.utils._pytree import tree_map

    trainer._tick(since=perf_counter(), look=True)
    snapshot = trainer.snapshot()
    cond: Tensor | None = None
    if snapshot.task == "label":
        cond = torch.zeros(16, dtype=torch.int64, device=device)
    elif snapshot.task == "translate":
        cond = torch.zeros(16, *shape, device=device)
    with torch.no_grad():
        samples = snapshot.sample(16, cond)
    if samples.device != device or samples.dtype != torch.float32:
        raise UserError(f"sample returns {samples.dtype} on {samples.device}; it must be float32 on {device}")
    state = tree_map(lambda x: x.detach().cpu() if isinstance(x, Tensor) else x, trainer.state_dict())
    other = _trainer(cls, backbone, shape, registry, device)
    other.load_state_dict(state)
    other.variant.train()
    other.step()
    if lost := sorted({*_strays(other)} - {*strays}):
        raise UserError(f"after a checkpoint was read, {', '.join(lost)} stays on the host")


def _told(error: Exception) -> str:
    """Return what an error says, and in which line of ganbench or a plugin it arose."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
    own = [frame for frame in frames if "ganbench/testing" not in frame.filename]
    asked = [frame for frame in own if "ganbench/training" not in frame.filename] or own
    where = f" ({Path(asked[-1].filename).name}, line {asked[-1].lineno})" if asked else ""
    return f"{type(error).__name__}: {brief((str(error).splitlines() or [''])[0], 200)}{where}"


def main(asked: str, told: Path) -> None:
    """Look at what was asked for, in JSON, and write down what was seen, a line a look."""
    from ganbench.contract.variant import Control
    from ganbench.runs.registry import discover

    request = json.loads(asked)
    registry = discover([Path(path) for path in request["plugins"]])
    with told.open("w") as file:
        for name in request["names"]:
            cls = registry.get("variant", name).item
            if issubclass(cls, Control):
                raise UserError(f"{name} is a control: it is not trained, and the checks are of training")
            looked = False
            for backbone, shape in FITTING:
                if backbone not in registry.entries["backbone"] or (
                    looked and cls.own_architecture and len(shape) == 3
                ):
                    continue
                seen = look(cls, backbone, shape, registry)
                looked = looked or not seen.skipped
                file.write(json.dumps(asdict(seen)) + "\n")
                file.flush()
                if looked and request["quick"]:
                    break


if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(sys.argv[2]))
    except UserError as refused:
        print(refused, file=sys.stderr)
        sys.exit(REFUSED)
