"""What the harness costs and gains: plain loops, hand-tuned loops and ganbench's, the same GANs, in one run.

Run: python benchmarks/loops.py [--variants gan,wgan-gp,began,unrolled] [--data digits,mnist,celeba,ring] [--rounds 7]
All three sides see the same shapes, networks, initial weights, losses, optimizers and batch size, each in a process of
its own, one after the other in turns. *Plain* is what anyone would write. *Tuned* is the best that we could write by
hand: fused updates, channels last, products through oneDNN where MKL is slow, an allocator that keeps its blocks; what
of this the machine has use for, ganbench does as well. *ganbench* meters, traces and guards beside it. The images are
random, since the speed does not depend on what they show. A ratio is of one round; the median of the rounds counts.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import l1_loss, softplus

from ganbench.contract.data import ImageSet
from ganbench.contract.types import DataSpec
from ganbench.contract.variant import Variant
from ganbench.errors import UserError
from ganbench.runs.executors.child import AS_IT_STARTS
from ganbench.runs.options import resolve
from ganbench.runs.registry import discover
from ganbench.training.arithmetic import choose_products
from ganbench.training.budget import Budget
from ganbench.training.networks import build_variant
from ganbench.training.trainer import Trainer

SIDES = ("plain", "tuned", "ganbench")
SHAPES = {  # by data set: shape, training samples, backbone
    "digits": ((1, 8, 8), 1438, "dcgan"),
    "mnist": ((1, 28, 28), 60_000, "dcgan"),
    "celeba": ((3, 32, 32), 20_000, "dcgan"),
    "ring": ((2,), 100_000, "pacgan"),
}
Loop = Iterator[None]


def batches(images: Tensor, batch: int) -> Iterator[Tensor]:
    """Shuffled batches without end, as a hand-written loop would draw them."""
    while True:
        for rows in torch.randperm(len(images), device=images.device).split(batch):
            if len(rows) == batch:
                x = images[rows]
                yield x.float().div_(127.5).sub_(1) if x.dtype == torch.uint8 else x


def adam(weights: Iterator[Tensor], lr: float, betas: tuple[float, float], tuned: bool) -> torch.optim.Adam:
    """The optimizer, fused where the loop is tuned."""
    return torch.optim.Adam(weights, lr, betas, fused=tuned or None)


def move(optimizer: torch.optim.Adam, loss: Tensor, still: torch.nn.Module | None = None) -> None:
    """Make an update; `still`: a network that the loss goes through and that needs no gradients."""
    optimizer.zero_grad()
    inputs = [p for group in optimizer.param_groups for p in group["params"]]
    loss.backward(inputs=inputs if still is not None else None)
    optimizer.step()


def gan(v: Variant, images: Tensor, batch: int, tuned: bool) -> Loop:
    """A non-saturating GAN."""
    G, D, c = v.G, v.D, v.config
    opt_g, opt_d = adam(G.parameters(), c.lr, c.betas, tuned), adam(D.parameters(), c.lr, c.betas, tuned)
    for x in batches(images, batch):
        fake = G(torch.randn(batch, v.z_dim)).detach()
        move(opt_d, softplus(-D(x)).mean() + softplus(D(fake)).mean())
        move(opt_g, softplus(-D(G(torch.randn(batch, v.z_dim)))).mean(), still=D)
        yield


def wgan_gp(v: Variant, images: Tensor, batch: int, tuned: bool) -> Loop:
    """WGAN-GP."""
    G, D, c = v.G, v.D, v.config
    opt_g, opt_d = adam(G.parameters(), c.lr, c.betas, tuned), adam(D.parameters(), c.lr, c.betas, tuned)
    for number, x in enumerate(batches(images, batch), 1):
        fake = G(torch.randn(batch, v.z_dim)).detach()
        mix = torch.rand(batch, *[1] * (x.dim() - 1))
        between = (mix * x + (1 - mix) * fake).requires_grad_(True)
        (slope,) = torch.autograd.grad(D(between).sum(), between, create_graph=True)
        penalty = (slope.flatten(1).norm(2, dim=1) - 1).square().mean()
        move(opt_d, D(fake).mean() - D(x).mean() + c.penalty * penalty)
        if number % c.critic_steps == 0:
            move(opt_g, -D(G(torch.randn(batch, v.z_dim))).mean(), still=D)
        yield


def began(v: Variant, images: Tensor, batch: int, tuned: bool) -> Loop:
    """BEGAN."""
    G, D, c, k = v.G, v.D, v.config, torch.zeros(())
    opt_g, opt_d = adam(G.parameters(), c.lr, c.betas, tuned), adam(D.parameters(), c.lr, c.betas, tuned)
    for x in batches(images, batch):
        fake = G(torch.rand(batch, v.z_dim) * 2 - 1).detach()
        real_error = l1_loss(D(x), x)
        move(opt_d, real_error - k * l1_loss(D(fake), fake))
        fake = G(torch.rand(batch, v.z_dim) * 2 - 1)
        fake_error = l1_loss(D(fake), fake)
        move(opt_g, fake_error, still=D)
        drift = c.diversity * real_error.detach() - fake_error.detach()
        k.add_(c.balance_rate * drift).clamp_(0, 1)
        yield


def unrolled(v: Variant, images: Tensor, batch: int, tuned: bool) -> Loop:
    """Unrolled GAN, through steps of Adam."""
    G, D, c = v.G, v.D, v.config
    lr, (beta_1, beta_2) = c.discriminator_lr, c.betas
    opt_g, opt_d = adam(G.parameters(), c.generator_lr, c.betas, tuned), adam(D.parameters(), lr, c.betas, tuned)

    def loss_of(weights: dict[str, Tensor], x: Tensor, fake: Tensor) -> Tensor:
        real_out, fake_out = functional_call(D, weights, (x,)), functional_call(D, weights, (fake,))
        return softplus(-real_out).mean() + softplus(fake_out).mean()

    for x in batches(images, batch):
        fake = G(torch.randn(batch, v.z_dim))
        weights: dict[str, Tensor] = dict(D.named_parameters())
        states = {name: opt_d.state.get(p) for name, p in weights.items()}
        m = {name: s["exp_avg"] if s else torch.zeros_like(weights[name]) for name, s in states.items()}
        s2 = {name: s["exp_avg_sq"] if s else torch.zeros_like(weights[name]) for name, s in states.items()}
        t = next((float(s["step"]) for s in states.values() if s), 0.0)
        for _ in range(c.steps):
            t += 1
            slopes = torch.autograd.grad(loss_of(weights, x, fake), list(weights.values()), create_graph=True)
            for (name, weight), slope in zip(list(weights.items()), slopes, strict=True):
                m[name] = beta_1 * m[name] + (1 - beta_1) * slope
                s2[name] = beta_2 * s2[name] + (1 - beta_2) * slope**2
                root = (s2[name] / (1 - beta_2**t) + 1e-24).sqrt()
                weights[name] = weight - lr * m[name] / (1 - beta_1**t) / (root + 1e-8)
        move(opt_g, -loss_of(weights, x, fake), still=D)
        move(opt_d, softplus(-D(x)).mean() + softplus(D(fake.detach())).mean())
        yield


LOOPS: dict[str, Callable[[Variant, Tensor, int, bool], Loop]] = {
    "gan": gan,
    "wgan-gp": wgan_gp,
    "began": began,
    "unrolled": unrolled,
}


def built(name: str, data: str) -> Variant:
    """Build a variant on the networks for a data set. Raises `UserError` where these have not what it wants."""
    (shape, _, backbone), registry = SHAPES[data], discover()
    cls, networks = registry.get("variant", name).item, registry.get("backbone", backbone).item
    return build_variant(cls, networks, DataSpec(shape), seed=0, config=resolve(cls, name, {}))


def prepared(side: str, name: str, data: str, batch: int) -> Callable[[int], None]:
    """Return what makes so many steps of training on one side."""
    (shape, count, _), generator = SHAPES[data], torch.Generator().manual_seed(0)
    variant = built(name, data)
    if len(shape) == 1:
        images = torch.randn(count, *shape, generator=generator)
    else:
        images = torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)
    if side != "plain":
        choose_products()
    if side == "ganbench":
        total, device = Budget(1e12, "images"), torch.device("cpu")
        trainer = Trainer(variant, ImageSet(images), total, seed=0, batch=batch, device=device)

        def train(steps: int) -> None:
            until = trainer.meters.images + steps * trainer.images_per_step
            for _ in trainer.train(until / total.amount):
                pass

        return train
    if side == "plain":
        variant = variant.to(memory_format=torch.contiguous_format)
    loop = LOOPS[name](variant.train(), images, batch, side == "tuned")

    def by_hand(steps: int) -> None:
        for _ in range(steps):
            next(loop)

    return by_hand


def answer(side: str, name: str, data: str, batch: int, threads: int) -> None:
    """Make as many steps as each line of standard input says, and answer with the seconds that they took."""
    torch.set_num_threads(threads)
    train = prepared(side, name, data, batch)
    for line in sys.stdin:
        start = time.perf_counter()
        train(int(line))
        print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)


class Side:
    """A process that trains one side."""

    def __init__(self, side: str, name: str, data: str, batch: int, threads: int) -> None:
        spared = {} if side == "plain" else AS_IT_STARTS
        env = {key: value for key, value in os.environ.items() if key not in AS_IT_STARTS} | spared
        words = ["--serve", side, "--variants", name, "--data", data, "--batch", str(batch), "--threads", str(threads)]
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=env,
        )  # fmt: skip
        self.peak = 0

    def steps(self, number: int) -> float:
        """Let it make steps and return the seconds they took."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(number, file=self.process.stdin, flush=True)
        words = self.process.stdout.readline().split()
        if len(words) != 2:
            raise SystemExit("a side ended; its error stands above")
        self.peak = int(words[1])
        return float(words[0])


def compare(name: str, data: str, batch: int, threads: int, rounds: int, seconds: float) -> str:
    """Return a row of the table."""
    sides = {side: Side(side, name, data, batch, threads) for side in SIDES}
    try:
        number = max(5, round(seconds / (sides["ganbench"].steps(5) / 5)))
        for side in sides.values():
            side.steps(max(number, min(200, 4 * number)))  # past the first steps, of which the harness watches many
        found = []
        for turn in range(rounds):
            order = [SIDES[(turn + place) % len(SIDES)] for place in range(len(SIDES))]
            spent = {side: sides[side].steps(number) for side in order}
            found.append(spent)
        ms = statistics.median(1e3 * spent["ganbench"] / number for spent in found)
        cells = [f"{ms:.2f}"]
        for side in ("plain", "tuned"):
            ratios = sorted(spent["ganbench"] / spent[side] for spent in found)
            cells.append(f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        cells += [f"{sides[side].peak / 1024:.0f}" for side in SIDES]
        return f"| {name} | {data} | {' | '.join(cells)} |"
    finally:
        for side in sides.values():
            side.process.kill()
            side.process.wait()


@click.command()
@click.option("--variants", default=",".join(LOOPS), show_default=True)
@click.option("--data", default=",".join(SHAPES), show_default=True, help="Whose shapes.")
@click.option("--rounds", default=7, show_default=True)
@click.option("--seconds", default=1.5, show_default=True, help="How long a round lasts, about, for each side.")
@click.option("--batch", default=64, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--serve", type=click.Choice(SIDES), hidden=True)
def main(variants: str, data: str, rounds: int, seconds: float, batch: int, threads: int, serve: str | None) -> None:
    """Print ganbench's milliseconds a step, its time as a share of that of the hand-written loops, and peak memory."""
    if serve is not None:
        answer(serve, variants, data, batch, threads)
        return
    print(f"{processor()}, threads: {threads}, torch {torch.__version__}, batch {batch}, {rounds} rounds")
    print("\n| variant | shapes of | ganbench, ms a step | of plain | of tuned | MiB: plain | tuned | ganbench |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for name in variants.split(","):
        for of in data.split(","):
            try:
                built(name, of)
            except UserError as error:
                print(f"{name} on {of} is left out: {error}", file=sys.stderr)
                continue
            print(compare(name, of, batch, threads, rounds, seconds), flush=True)


def processor() -> str:
    """Return the processor's name as the system has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
