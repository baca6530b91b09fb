"""Networks of variants that judge pairs of sample and latent, so small that their losses can be written down."""

from torch import Tensor, nn

from ganbench import DataSpec, Discriminator, Norm, Parts


class LinearParts(Parts):
    """Affine maps between latents of `z_dim` numbers and points."""

    def __init__(self, z_dim: int = 3) -> None:
        super().__init__(DataSpec((2,)), z_dim)

    def generator(self, *, inputs: int | None = None) -> nn.Module:
        return nn.Linear(self.z_dim, 2)

    def encoder(self, *, outputs: int, channels: int | None = None) -> nn.Module:
        return nn.Linear(channels or 2, outputs)

    def discriminator(self, *, outputs: int = 1, channels: int | None = None, norm: Norm = "batch") -> Discriminator:
        return Discriminator(nn.Identity(), nn.Linear(channels or 2, outputs))


class Bilinear(nn.Module):
    """D(x, z) = x·Wz."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return (x @ self.weight * z).sum(1, keepdim=True)
