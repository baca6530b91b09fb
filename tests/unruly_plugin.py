"""A plugin of one file for the tests: what it does to the process around it, not to the numbers."""

import os
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from torch.optim import SGD

from ganbench import Update, Variant, discriminator_loss, hookimpl, nonsaturating_loss

LEFT = 300
"""For how many seconds what is left behind would stay."""
WRITES = os.environ.get("UNRULY_WRITES", "past python")
"""Where it writes past Python: also at its import, only in the steps of a run, or not at all."""

print("imported by python")
if WRITES == "past python":
    os.write(1, b"imported by C\n")
os.chdir(tempfile.gettempdir())


class Quiet(Variant):
    name = "quiet"
    summary = "a non-saturating GAN"

    def build(self, parts):
        self.G, self.D = parts.generator(), parts.discriminator(norm="none")

    def optimizers(self):
        return {"G": SGD(self.G.parameters(), 0.01), "D": SGD(self.D.parameters(), 0.01)}

    def step(self, batch, clock):
        fake = self.sample(len(batch.real))
        yield Update("D", discriminator_loss(self.D(batch.real), self.D(fake.detach())))
        yield Update("G", nonsaturating_loss(self.D(self.sample(len(batch.real)))))


class Prints(Quiet):
    name = "prints"

    def step(self, batch, clock):
        print(f"step {clock.step} of python")
        if WRITES != "in python":
            os.write(1, b"a step of C\n")
            subprocess.run(["echo", "a step of a child"], check=True)
        yield from super().step(batch, clock)


class Moves(Quiet):
    name = "moves"

    def build(self, parts):
        os.chdir("/")
        super().build(parts)


class LeavesThread(Quiet):
    name = "leaves-thread"

    def build(self, parts):  # in the command, which plans, and in the run
        threading.Thread(target=time.sleep, args=(LEFT,)).start()
        super().build(parts)

    def step(self, batch, clock):
        if clock.step == 2:
            threading.Thread(target=time.sleep, args=(LEFT,)).start()
        yield from super().step(batch, clock)


def leave_child():
    """Leave a process that keeps every descriptor, that of the run's connection among them."""
    if os.fork() == 0:
        Path(os.environ["UNRULY_PIDS"]).joinpath(str(os.getpid())).touch()
        time.sleep(LEFT)
        os._exit(0)


class LeavesChild(Quiet):
    name = "leaves-child"

    def step(self, batch, clock):
        if clock.step == 2:
            leave_child()
        yield from super().step(batch, clock)


class LeavesOrphan(Quiet):
    name = "leaves-orphan"

    def step(self, batch, clock):
        if clock.step == 3:
            leave_child()
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        yield from super().step(batch, clock)


@hookimpl
def ganbench_variants():
    return [Quiet, Prints, Moves, LeavesThread, LeavesChild, LeavesOrphan]
