"""What CUDA graphs gain: a variant's steps made and replayed, alternating in one process, in time on the clock.

Run: python benchmarks/graphs.py [--variants gan,wgan-gp] [--backbone dcgan] [--size 64] [--steps 100] [--rounds 5]
Random images of so many pixels, points with --size 0. The ratio is replayed over made, round by round, and its median
is what counts. At its end the two have made equal steps, and the line says whether their weights are the same bits.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import click
import torch

from ganbench.contract.data import ImageSet
from ganbench.contract.types import DataSpec
from ganbench.errors import UserError
from ganbench.runs.options import resolve
from ganbench.runs.registry import discover
from ganbench.training.budget import Budget
from ganbench.training.capture import recorder_for, require_graphs
from ganbench.training.devices import cores, describe, make_repeatable, resolve_device
from ganbench.training.guard import checksum
from ganbench.training.networks import build_variant
from ganbench.training.trainer import Trainer


def seconds_of(trainer: Trainer, steps: int) -> float:
    """Make so many steps and return how long they took, with what the device had to do for them."""
    torch.cuda.synchronize(trainer.device)
    start = time.perf_counter()
    for _ in range(steps):
        trainer.step()
    torch.cuda.synchronize(trainer.device)
    return time.perf_counter() - start


@click.command()
@click.option("--variants", default="gan,wgan,wgan-gp,sngan,cyclegan")
@click.option("--backbone", default="dcgan")
@click.option("--size", default=64, help="Side of the images; 0 for points.")
@click.option("--batch", default=64)
@click.option("--precision", default="fp32", type=click.Choice(["fp32", "tf32", "bf16"]))
@click.option("--steps", default=100, help="Steps a round on each side.")
@click.option("--rounds", default=5, help="Rounds, after the periods in which steps are counted and captured.")
@click.option("--device", "name", default="auto")
def main(
    variants: str, backbone: str, size: int, batch: int, precision: str, steps: int, rounds: int, name: str
) -> None:
    """Print milliseconds a step, made and replayed, and their ratio."""
    try:
        device, registry = resolve_device(name), discover()
        require_graphs(device)
    except UserError as error:
        raise click.UsageError(str(error)) from None
    make_repeatable(device, cores())
    shape = (3, size, size) if size else (2,)
    print(f"torch {torch.__version__}, {describe(device)}, {backbone}, shape {shape}, batch {batch}, {precision}")
    for each in variants.split(","):
        made, replayed = (
            _trainer(each, backbone, shape, batch, precision, device, registry, replays=on) for on in (False, True)
        )
        pairs = []
        for number in range(rounds):
            order = (made, replayed) if number % 2 else (replayed, made)
            spent = {id(trainer): seconds_of(trainer, steps) for trainer in order}
            pairs.append((spent[id(made)], spent[id(replayed)]))
        ratios = [theirs / mine for mine, theirs in pairs]
        mine, theirs = (1e3 * statistics.median(side) / steps for side in zip(*pairs, strict=True))
        same = torch.equal(checksum(made.variant.parameters()), checksum(replayed.variant.parameters()))
        graphs = replayed.graphs
        assert graphs is not None
        print(
            f"{each:12} made {mine:.2f} ms/step, replayed {theirs:.2f} ms/step, ratio {statistics.median(ratios):.3f} "
            f"(min {min(ratios):.3f}, max {max(ratios):.3f}), {graphs.replays} replays"
            f"{f' ({graphs.refused})' if graphs.refused else ''}, {'the same' if same else 'OTHER'} bits",
            flush=True,
        )


def _trainer(
    name: str,
    backbone: str,
    shape: tuple[int, ...],
    batch: int,
    precision: str,
    device: torch.device,
    registry: Any,
    *,
    replays: bool,
) -> Trainer:
    """Return a trainer after its first periods: steps counted, and captured where they are to be replayed."""
    from ganbench.toolbox.pairs import Pairs

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (10_000, *shape), generator=generator, dtype=torch.uint8)
    cls, networks = registry.get("variant", name).item, registry.get("backbone", backbone).item
    labels = torch.zeros(len(images), dtype=torch.int64)
    data = ImageSet(images if len(shape) == 3 else torch.randn(10_000, *shape, generator=generator), labels)
    if cls.task == "translate":
        data = ImageSet(images, source=Pairs(images, images.flip(0)))
    spec = DataSpec(shape, "translate" if cls.task == "translate" else "generate", 10 * (cls.task != "translate"))
    variant = build_variant(cls, networks, spec, seed=0, config=resolve(cls, name, {}))
    recorder = recorder_for(device) if replays else None
    chosen = {"seed": 0, "batch": batch, "device": device, "precision": precision, "recorder": recorder}
    trainer = Trainer(variant, data, Budget(1e9, "images"), watched=lambda step: False, **chosen)
    trainer.variant.train()
    seconds_of(trainer, 4 * trainer.period)
    return trainer


if __name__ == "__main__":
    main()
