"""What `--compile` gains: a variant's steps plain and compiled, alternating in one process, in CPU time.

Run: python benchmarks/compiled.py [--variants gan,pacgan] [--backbone pacgan] [--size 0] [--steps 50] [--rounds 5]
Points without --size, else random images of so many pixels. The ratio is compiled over plain, round by round, and its
median is what counts; what compiling took, once, stands beside it.
"""

from __future__ import annotations

import statistics
import time

import click
import torch

from ganbench.contract.data import ImageSet
from ganbench.contract.types import DataSpec
from ganbench.runs.options import resolve
from ganbench.runs.registry import discover
from ganbench.training.budget import Budget
from ganbench.training.devices import make_repeatable
from ganbench.training.networks import build_variant
from ganbench.training.trainer import Trainer


def seconds_of(trainer: Trainer, steps: int) -> float:
    """Make so many steps and return the CPU time that this process spent."""
    spent = time.process_time()
    for _ in range(steps):
        trainer.step()
    return time.process_time() - spent


@click.command()
@click.option("--variants", default="gan,pacgan,wgan-gp,unrolled")
@click.option("--backbone", default="pacgan")
@click.option("--size", default=0, help="Side of the images; 0 for points.")
@click.option("--batch", default=64)
@click.option("--steps", default=50, help="Steps a round on each side.")
@click.option("--rounds", default=5, help="Rounds, after the periods in which steps are counted and compiled.")
def main(variants: str, backbone: str, size: int, batch: int, steps: int, rounds: int) -> None:
    """Print milliseconds a step, plain and compiled, and their ratio."""
    device, registry = torch.device("cpu"), discover()
    make_repeatable(device, 1)
    generator = torch.Generator().manual_seed(0)
    shape = (1, size, size) if size else (2,)
    images = torch.randint(0, 256, (10_000, *shape), generator=generator, dtype=torch.uint8)
    data = ImageSet(images if size else torch.randn(10_000, 2, generator=generator))
    print(f"torch {torch.__version__}, {backbone}, shape {shape}, batch {batch}, {steps} steps a round, 1 thread")
    for name in variants.split(","):
        cls = registry.get("variant", name).item
        sides = []
        for compiled in (False, True):
            config, networks = resolve(cls, name, {}), registry.get("backbone", backbone).item
            variant = build_variant(cls, networks, DataSpec(shape), seed=0, config=config)
            total = Budget(1e9, "images")
            trainer = Trainer(variant, data, total, seed=0, batch=batch, device=device, compiled=compiled)
            trainer.variant.train()
            start = time.perf_counter()
            seconds_of(trainer, 3 * trainer.period)  # plain, then traced and compiled, then traced again
            sides.append((trainer, time.perf_counter() - start))
        (plain, _), (fast, once) = sides
        pairs = []
        for number in range(rounds):
            order = (plain, fast) if number % 2 else (fast, plain)
            spent = {id(each): seconds_of(each, steps) for each in order}
            pairs.append((spent[id(plain)], spent[id(fast)]))
        ratios = [theirs / mine for mine, theirs in pairs]
        mine, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(
            f"{name:10} plain {1e3 * mine / steps:.2f} ms/step, compiled {1e3 * theirs / steps:.2f} ms/step, ratio "
            f"{statistics.median(ratios):.3f} (min {min(ratios):.3f}, max {max(ratios):.3f}), ready after {once:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
