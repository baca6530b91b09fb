"""MDGAN: mode-regularised GANs (Che et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
    Fraction,
    NonNegative,
    Parts,
    Positive,
    Update,
    Variant,
    discriminator_loss,
    hookimpl,
    nonsaturating_loss,
)

TINY = 1e-12  # keeps the slope of a root finite at zero


@dataclass(frozen=True)
class Config:
    """Options.

    lr: learning rate of all players (ours, DCGAN's).
    betas: of Adam (ours, DCGAN's).
    form: "diffusion", the paper's MDGAN in two stages (§3.3), or "regularized", its GAN with an encoder as regulariser
        (§3.2).
    distance: d of x and G(E(x)). "squared": ‖x - G(E(x))‖², of all numbers of a sample (§3.3, from memory, unchecked);
        "norm": its root (ours); "mean": its mean over the numbers (ours, the same weight for images of any size).
    reconstruction: λ₁ of the regularised form (§4.1.1, from memory, unchecked).
    mode: λ₂ of the regularised form (§4.1.1, from memory, unchecked).
    manifold: λ of the first stage, the weight of D_manifold beside the distance (a third party's program).
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    form: Literal["diffusion", "regularized"] = "diffusion"
    distance: Literal["squared", "norm", "mean"] = "squared"
    reconstruction: NonNegative = 0.2
    mode: NonNegative = 0.4
    manifold: NonNegative = 1e-2


class MDGAN(Variant):
    """An encoder E finds for each real image a latent, so that G(E(x)) covers modes that G(z) misses (§3).

    Regularised (§3.2): besides what a GAN's G minimises, G and E make G(E(x)) like x and real to D. Diffusion (§3.3):
    first G and E make G(E(x)) like x, against a discriminator of their own; then G makes G(z) like the reconstructions,
    which lie on the same manifold, of other images. Updates of both stages count as G's.

    Objective: regularised min_{G,E} -E log σ(D(G(z))) + λ₁ E d(x, G(E(x))) - λ₂ E log σ(D(G(E(x)))); diffusion
    min_{G,E} -λ E log σ(D_manifold(G(E(x)))) + E d(x, G(E(x))), then min_G -E log σ(D(G(z))) with D taught that
    G(E(x)) is real (§3.2, 3.3)
    Departures: the paper prints λ₂ with a plus in what is minimised, but wants D(G(E(x))) raised. D_manifold sees no
    added noise.
    Budget: none was read
    Published: no number under a protocol that can be run here.
    """

    name = "mdgan"
    summary = "an encoder's reconstructions of the data show the generator the modes it misses"
    paper = "Che et al. 2017, arXiv:1612.02136"
    family = "collapse"
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.E = parts.generator(), parts.encoder(outputs=parts.z_dim)
        self.D = parts.discriminator(norm="batch")
        if self.config.form == "diffusion":
            self.D_manifold = parts.discriminator(norm="batch")

    def images_per_step(self, batch: int) -> int:
        """Return the size of one batch for each stage."""
        return 2 * batch if self.config.form == "diffusion" else batch

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        both = [*self.G.parameters(), *self.E.parameters()]
        if self.config.form == "regularized":
            return {"G": Adam(both, lr, betas), "D": Adam(self.D.parameters(), lr, betas)}
        return {
            "D_manifold": Adam(self.D_manifold.parameters(), lr, betas),
            "G_manifold": Adam(both, lr, betas),
            "D": Adam(self.D.parameters(), lr, betas),
            "G": Adam(self.G.parameters(), lr, betas),
        }

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return G(E(x))."""
        reconstruction: Tensor = self.G(self.E(x)).float()
        return reconstruction

    def error(self, reconstruction: Tensor, x: Tensor) -> Tensor:
        """Return E d(x, G(E(x)))."""
        squares = (reconstruction - x).square().flatten(1)
        if self.config.distance == "mean":
            return squares.mean()
        squared = squares.sum(1)
        return ((squared + TINY).sqrt() if self.config.distance == "norm" else squared).mean()

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        return self.diffuse(batch.real) if self.config.form == "diffusion" else self.regularize(batch.real)

    def regularize(self, real: Tensor) -> Iterator[Update]:
        """Yield the updates of one step of §3.2."""
        n, config = len(real), self.config
        fake = self.sample(n).detach()
        yield Update("D", discriminator_loss(self.D(real), self.D(fake)))
        reconstruction = self.reconstruct(real)
        error, mode = self.error(reconstruction, real), nonsaturating_loss(self.D(reconstruction))
        loss = nonsaturating_loss(self.D(self.sample(n))) + config.reconstruction * error + config.mode * mode
        yield Update("G", loss, {"error": error.detach()})

    def diffuse(self, real: Tensor) -> Iterator[Update]:
        """Yield the updates of one step of §3.3, both stages."""
        real, other = real.chunk(2)
        reconstruction = self.reconstruct(real)
        yield Update("D_manifold", discriminator_loss(self.D_manifold(real), self.D_manifold(reconstruction.detach())))
        error = self.error(reconstruction, real)
        loss = self.config.manifold * nonsaturating_loss(self.D_manifold(reconstruction)) + error
        yield Update("G_manifold", loss, {"error": error.detach()})
        n = len(other)
        reconstruction, fake = self.reconstruct(other).detach(), self.sample(n).detach()
        yield Update("D", discriminator_loss(self.D(reconstruction), self.D(fake)))
        yield Update("G", nonsaturating_loss(self.D(self.sample(n))))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [MDGAN]
