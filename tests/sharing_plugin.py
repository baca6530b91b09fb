"""Variants for runs on several devices, each with a fault of its own on one of them."""

import os
import signal

import torch
import torch.distributed as dist
from torch.optim import Adam

from ganbench import Update, Variant, discriminator_loss, hookimpl, nonsaturating_loss

FAULT_STEP = 7


class Sound(Variant):
    name = "sound"

    def build(self, parts):
        self.G, self.D = parts.generator(), parts.discriminator()
        self.register_buffer("level", torch.zeros(()))

    def optimizers(self):
        return {"G": Adam(self.G.parameters(), 1e-3), "D": Adam(self.D.parameters(), 1e-3)}

    def step(self, batch, clock):
        if clock.step == FAULT_STEP and dist.is_initialized():
            self.fail(dist.get_rank())
        n = len(batch.real)
        yield Update("D", discriminator_loss(self.D(batch.real), self.D(self.sample(n).detach())))
        yield Update("G", nonsaturating_loss(self.D(self.sample(n))))

    def fail(self, rank):
        """Do nothing."""


class RaisesOnTheSecond(Sound):
    name = "raises-on-the-second"

    def fail(self, rank):
        if rank == 1:
            raise ZeroDivisionError("here alone")


class RaisesOnTheFirst(Sound):
    name = "raises-on-the-first"

    def fail(self, rank):
        if rank == 0:
            raise ZeroDivisionError("in front")


class DiesOnTheSecond(Sound):
    name = "dies-on-the-second"

    def fail(self, rank):
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)


class RaisesOnBoth(Sound):
    name = "raises-on-both"

    def fail(self, rank):
        raise RuntimeError("everywhere")


class Drifts(Sound):
    name = "drifts"

    def step(self, batch, clock):
        yield from super().step(batch, clock)
        self.level.add_(batch.real.mean())


class ForOne(Sound):
    name = "for-one"

    def build(self, parts):
        super().build(parts)
        self.one_device = "its secret is its own"


class NeedsTheFirst(Sound):
    name = "needs-the-first"

    def build(self, parts):
        super().build(parts)
        if int(os.environ.get("LOCAL_FAULT", "0")) and torch.multiprocessing.parent_process() is not None:
            raise RuntimeError("it cannot be built here")


@hookimpl
def ganbench_variants():
    return [Sound, RaisesOnTheSecond, RaisesOnTheFirst, DiesOnTheSecond, RaisesOnBoth, Drifts, ForOne, NeedsTheFirst]
