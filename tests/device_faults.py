"""A plugin of one file for the tests of the device that is not there: one variant for each fault, and one without."""

import torch
from torch.optim import Adam

from ganbench import Update, Variant, discriminator_loss, hookimpl, nonsaturating_loss


class Faultless(Variant):
    """A plain GAN; the others change one thing of its loss or its optimizer."""

    name = "faultless"

    def build(self, parts):
        self.G, self.D = parts.generator(), parts.discriminator()

    def optimizers(self):
        return {"G": Adam(self.G.parameters(), 1e-3), "D": Adam(self.D.parameters(), 1e-3)}

    def change(self, loss, batch, clock):
        return loss

    def step(self, batch, clock):
        n = len(batch.real)
        loss = discriminator_loss(self.D(batch.real), self.D(self.sample(n).detach()))
        yield Update("D", self.change(loss, batch, clock))
        yield Update("G", nonsaturating_loss(self.D(self.sample(n))))


class ReadsAValue(Faultless):
    name = "reads-a-value"

    def change(self, loss, batch, clock):
        return loss * (2 if float(loss.detach()) > 0 else 1)


class ReadsAValueInAnOptimizersHook(Faultless):
    name = "reads-in-a-hook"

    def optimizers(self):
        players = super().optimizers()
        players["D"].register_step_post_hook(lambda *_: float(next(self.D.parameters()).detach().sum()))
        return players


class CopiesToTheHost(Faultless):
    name = "copies-to-the-host"

    def change(self, loss, batch, clock):
        return loss + 0 * self.noise(3).cpu().sum().to(loss.device)


class DrawsNoiseOnTheHost(Faultless):
    name = "draws-on-the-host"

    def noise(self, n):
        return torch.randn(n, self.z_dim).to(self.device)


class UploadsEachStep(Faultless):
    name = "uploads-each-step"

    def change(self, loss, batch, clock):
        return loss * torch.tensor([1.0, 2.0], device="cpu").to(batch.real.device).mean()


class MixesDevices(Faultless):
    name = "mixes-devices"

    def change(self, loss, batch, clock):
        return loss + (self.noise(4) * torch.randn(4, self.z_dim)).mean()


class KeepsAPlainTensor(Faultless):
    name = "plain-tensor"

    def build(self, parts):
        super().build(parts)
        self.weight = torch.ones(())

    def change(self, loss, batch, clock):
        return loss * self.weight


class UsesANumberOfTheHost(Faultless):
    name = "number-of-the-host"

    def change(self, loss, batch, clock):
        return loss * torch.ones(())


class SelectsByAMask(Faultless):
    name = "selects-by-a-mask"

    def change(self, loss, batch, clock):
        return loss + 0 * batch.real[batch.real > 0].mean()


class CountsSteps(Faultless):
    name = "counts-steps"

    def change(self, loss, batch, clock):
        return loss / (1 + clock.step)


class BranchesByTheStep(Faultless):
    name = "branches-by-the-step"

    def change(self, loss, batch, clock):
        return loss.exp() if clock.step == 1 else loss


class SamplesOnTheHost(Faultless):
    name = "samples-on-the-host"

    def sample(self, n, cond=None):
        drawn = self.G(self.noise(n))
        return drawn if self.training else drawn.cpu()


@hookimpl
def ganbench_variants():
    return [Faultless, *Faultless.__subclasses__()]
