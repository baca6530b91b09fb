"""A plugin of one file for the tests: it does everything to its process that leaves its own numbers as they are.

It does so where a file `on` lies beside a copy of this one, so that it can be planned.
"""

import gc
import io
import locale
import os
import random
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch.optim import SGD

from ganbench import Update, Variant, discriminator_loss, hookimpl, nonsaturating_loss

ON = Path(__file__).with_name("on")


def be_rude(*, draws=True, device="meta"):
    """Change what can be changed. `draws`: also the generators of random numbers, of which no more is drawn."""
    if not ON.exists():
        return
    if draws:
        for seed in (torch.manual_seed, np.random.seed, random.seed):
            seed(1)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(torch.get_num_threads() + 3)
    torch.use_deterministic_algorithms(False)
    torch.set_grad_enabled(False)
    torch.set_autocast_enabled("cpu", True)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.set_printoptions(precision=1)
    if device:
        torch.set_default_device(device)
    np.seterr(all="raise")
    warnings.simplefilter("error")
    warnings.showwarning = lambda *_, **__: os._exit(9)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    sys.stdout = sys.stderr = io.StringIO()
    sys.stdout.close()
    for name in ("de_DE.UTF-8", "C.UTF-8"):
        try:
            locale.setlocale(locale.LC_ALL, name)
            break
        except locale.Error:
            continue
    changed = ("LC_ALL", "LANG", "TZ", "HOME", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "PYTHONPATH", "TMPDIR",
               "GANBENCH_CACHE", "GANBENCH_DATA", "GANBENCH_WEIGHTS", "CUBLAS_WORKSPACE_CONFIG")  # fmt: skip
    os.environ.update(dict.fromkeys(changed, "/nowhere"))
    sys.path[:] = ["/nowhere"]
    sys.setrecursionlimit(max(200, sys.getrecursionlimit() // 4))
    gc.disable()
    os.chdir("/")
    os.umask(0o027)


class Polite(Variant):
    name = "polite"
    summary = "a non-saturating GAN"
    ema_half_life_images = 100.0

    def build(self, parts):
        self.G, self.D = parts.generator(), parts.discriminator(norm="none")

    def optimizers(self):
        return {"G": SGD(self.G.parameters(), 0.01), "D": SGD(self.D.parameters(), 0.01)}

    def step(self, batch, clock):
        fake = self.sample(len(batch.real))
        loss = discriminator_loss(self.D(batch.real), self.D(fake.detach()))
        self.between(draws=False)
        yield Update("D", loss)
        loss = nonsaturating_loss(self.D(self.sample(len(batch.real))))
        self.between(draws=True)
        yield Update("G", loss)
        self.between(draws=True)

    def between(self, *, draws):
        pass


class RudeInBuild(Polite):
    name = "rude-in-build"

    def build(self, parts):
        super().build(parts)
        be_rude()


class RudeInOptimizers(Polite):
    name = "rude-in-optimizers"

    def optimizers(self):
        made = super().optimizers()
        be_rude()
        return made


class RudeInRates(Polite):
    name = "rude-in-rates"

    def schedules(self, clock):
        made = super().schedules(clock)
        be_rude(device="")
        return made


class RudeInHooks(Polite):
    name = "rude-in-hooks"

    def optimizers(self):
        made = super().optimizers()
        made["D"].register_step_post_hook(lambda *_: be_rude(draws=False, device=""))
        return made


class RudeInStep(Polite):
    name = "rude-in-step"

    def between(self, *, draws):
        be_rude(draws=draws, device="")


class RudeInSample(Polite):
    name = "rude-in-sample"

    def sample(self, n, cond=None):
        drawn = super().sample(n, cond)
        if not self.training:
            be_rude()
        return drawn


@hookimpl
def ganbench_variants():
    return [Polite, RudeInBuild, RudeInOptimizers, RudeInRates, RudeInHooks, RudeInStep, RudeInSample]


if os.environ.get("RUDE_AT_IMPORT"):
    be_rude()
