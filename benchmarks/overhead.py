"""What the harness costs: a hand-written training loop and ganbench's, the same GAN, alternating in one process.

Run: python benchmarks/overhead.py [--steps 200] [--rounds 5] [--size 28] [--device cpu]
Both sides see the same data, networks, losses, optimizers and batch size; both keep no metrics. The ratio is harness
over hand-written, round by round, and its median is what counts.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator

import click
import torch
from torch import Tensor
from torch.nn.functional import softplus

from ganbench.contract.backbone import Backbone
from ganbench.contract.data import ImageSet
from ganbench.contract.types import DataSpec
from ganbench.contract.variant import Variant
from ganbench.runs.options import resolve
from ganbench.runs.registry import discover
from ganbench.training.budget import Budget
from ganbench.training.devices import make_repeatable, resolve_device
from ganbench.training.networks import build_variant
from ganbench.training.trainer import Trainer


def batches(images: Tensor, batch: int) -> Iterator[Tensor]:
    """Shuffled batches without end, as a hand-written loop would draw them."""
    while True:
        for rows in torch.randperm(len(images), device=images.device).split(batch):
            if len(rows) == batch:
                yield images[rows].float().div_(127.5).sub_(1)


def gan_loop(v: Variant, images: Tensor, batch: int) -> Iterator[None]:
    """A non-saturating GAN written by hand."""
    G, D, z = v.G, v.D, v.z_dim
    options = v.config.lr, v.config.betas
    opt_g, opt_d = torch.optim.Adam(G.parameters(), *options), torch.optim.Adam(D.parameters(), *options)
    for x in batches(images, batch):
        fake = G(torch.randn(batch, z, device=x.device)).detach()
        loss_d = softplus(-D(x)).mean() + softplus(D(fake)).mean()
        opt_d.zero_grad()
        loss_d.backward()
        opt_d.step()
        for p in D.parameters():
            p.requires_grad_(False)
        loss_g = softplus(-D(G(torch.randn(batch, z, device=x.device)))).mean()
        opt_g.zero_grad()
        loss_g.backward()
        opt_g.step()
        for p in D.parameters():
            p.requires_grad_(True)
        yield


def wgan_gp_loop(v: Variant, images: Tensor, batch: int) -> Iterator[None]:
    """WGAN-GP written by hand."""
    G, D, z = v.G, v.D, v.z_dim
    options = v.config.lr, v.config.betas
    opt_g, opt_d = torch.optim.Adam(G.parameters(), *options), torch.optim.Adam(D.parameters(), *options)
    for number, x in enumerate(batches(images, batch), 1):
        fake = G(torch.randn(batch, z, device=x.device)).detach()
        mix = torch.rand(batch, 1, 1, 1, device=x.device)
        between = (mix * x + (1 - mix) * fake).requires_grad_(True)
        (gradient,) = torch.autograd.grad(D(between).sum(), between, create_graph=True)
        penalty = (gradient.flatten(1).norm(2, dim=1) - 1).square().mean()
        loss_d = D(fake).mean() - D(x).mean() + v.config.penalty * penalty
        opt_d.zero_grad()
        loss_d.backward()
        opt_d.step()
        if number % v.config.critic_steps == 0:
            for p in D.parameters():
                p.requires_grad_(False)
            loss_g = -D(G(torch.randn(batch, z, device=x.device))).mean()
            opt_g.zero_grad()
            loss_g.backward()
            opt_g.step()
            for p in D.parameters():
                p.requires_grad_(True)
        yield


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Time a piece of work, waiting for the device at both ends."""
    synchronise = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    synchronise()
    start = time.perf_counter()
    work()
    synchronise()
    return time.perf_counter() - start


@click.command()
@click.option("--steps", default=200, help="Steps a round on each side.")
@click.option("--rounds", default=5, help="Rounds, after one that is not counted.")
@click.option("--size", default=28, help="Side of the images.")
@click.option("--batch", default=64)
@click.option("--threads", default=1)
@click.option("--device", default="auto")
def main(steps: int, rounds: int, size: int, batch: int, threads: int, device: str) -> None:
    """Print seconds and ratios for gan and wgan-gp."""
    where = resolve_device(device)
    make_repeatable(where, threads)
    registry = discover()
    backbone: Backbone = registry.get("backbone", "dcgan").item
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (10_000, 1, size, size), generator=generator, dtype=torch.uint8)
    print(f"{where}, {threads} threads, torch {torch.__version__}, {size} px, batch {batch}, {steps} steps a round")
    for name, loop in (("gan", gan_loop), ("wgan-gp", wgan_gp_loop)):
        cls = registry.get("variant", name).item
        variant = build_variant(cls, backbone, DataSpec((1, size, size)), seed=0, config=resolve(cls, name, {}))
        hand = loop(copy.deepcopy(variant).to(where), images.to(where), batch)
        total = Budget(float(batch * steps * (rounds + 1)), "images")
        trainer = Trainer(variant, ImageSet(images), total, seed=0, batch=batch, device=where)
        pairs = []
        for number in range(rounds + 1):

            def harness(until: float = (number + 1) / (rounds + 1), trainer: Trainer = trainer) -> None:
                for _ in trainer.train(until):
                    pass

            def by_hand(hand: Iterator[None] = hand) -> None:
                for _ in range(steps):
                    next(hand)

            order = (harness, by_hand) if number % 2 else (by_hand, harness)
            spent = {work.__name__: seconds_of(work, where) for work in order}
            if number:
                pairs.append((spent["harness"], spent["by_hand"]))
        ratios = [mine / theirs for mine, theirs in pairs]
        mine, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(
            f"{name:8} by hand {1e3 * theirs / steps:.2f} ms/step, harness {1e3 * mine / steps:.2f} ms/step, "
            f"ratio {statistics.median(ratios):.3f} (min {min(ratios):.3f}, max {max(ratios):.3f})"
        )


if __name__ == "__main__":
    main()
