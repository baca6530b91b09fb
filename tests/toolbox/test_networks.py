"""What families of mirrored networks share, on a tiny family: shapes, norms, initial weights, refusals."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from ganbench import DataSpec, MirroredParts, SquareBackbone, UserError, norm_of_maps, square_misfit


class TinyParts(MirroredParts):
    """One (transposed) convolution and a norm; records the norms it was asked for."""

    def __init__(self, data: DataSpec) -> None:
        super().__init__(data, 3, code=6)
        self.features = 4 * (self.side // 2) ** 2
        self.asked: list[tuple[str, str]] = []

    def upward(self, inputs, norm):
        self.asked.append(("up", norm))
        maps = (4, self.side // 2, self.side // 2)
        first = [nn.Linear(inputs, self.features), nn.Unflatten(1, maps), norm_of_maps(norm, 4)]
        return [*first, nn.ConvTranspose2d(4, self.channels, 2, 2)]

    def downward(self, channels, norm):
        self.asked.append(("down", norm))
        return [nn.Conv2d(channels, 4, 2, 2), norm_of_maps(norm, 4), nn.Flatten()]


class Tiny(SquareBackbone):
    name = "tiny"
    sides = "4 or 8 px"

    def fits(self, side):
        return side in (4, 8)

    def parts(self, data):
        return TinyParts(data)


class ConstantParts(TinyParts):
    """Its weights are sevens, but for linear layers after the way down, which it makes itself."""

    def linear(self, inputs, outputs):
        return nn.Linear(inputs, outputs).requires_grad_(False)

    def initialise(self, layer):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and layer.weight.requires_grad:
            nn.init.constant_(layer.weight, 7)


def weighted(network: nn.Module) -> list[nn.Module]:
    return [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [4, 8])
def test_the_four_parts_have_the_shapes_they_promise(side, channels):
    data = DataSpec((channels, side, side))
    parts, x = Tiny()(data), torch.randn(2, channels, side, side)
    assert parts.generator()(torch.randn(2, 3)).shape == x.shape
    assert parts.generator(inputs=7)(torch.randn(2, 7)).shape == x.shape
    assert parts.discriminator()(x).shape == (2, 1)
    assert parts.discriminator().trunk(x).shape == (2, parts.features)
    assert parts.discriminator(outputs=5, channels=2 * channels)(torch.cat([x, x], 1)).shape == (2, 5)
    assert parts.encoder(outputs=5)(x).shape == (2, 5)
    assert parts.autoencoder()(x).shape == x.shape
    assert parts.autoencoder().encoder(x).shape == (2, min(6, x[0].numel() // 4))


def test_only_generators_end_in_tanh():
    parts = Tiny()(DataSpec((1, 4, 4)))
    tanh = [any(isinstance(m, nn.Tanh) for m in made.modules()) for made in (parts.generator(), parts.autoencoder())]
    assert tanh == [True, False]
    assert parts.generator()(1e4 * torch.randn(9, 3)).abs().max() <= 1


def test_generators_and_encoders_are_batch_normalised_and_autoencoders_are_not():
    parts = Tiny()(DataSpec((1, 4, 4)))
    parts.generator(), parts.encoder(outputs=2), parts.discriminator(norm="layer"), parts.autoencoder()
    assert parts.asked == [("up", "batch"), ("down", "batch"), ("down", "layer"), ("down", "none"), ("up", "none")]


def test_an_autoencoder_has_the_norm_asked_for_on_both_ways():
    parts = Tiny()(DataSpec((1, 4, 4)))
    parts.autoencoder(norm="batch")
    assert parts.asked == [("down", "batch"), ("up", "batch")]


@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "spectral", "none"])
def test_spectral_norm_reaches_every_layer_of_d_and_only_then(norm):
    network = Tiny()(DataSpec((1, 4, 4))).discriminator(norm=norm)
    assert [is_parametrized(layer, "weight") for layer in weighted(network)] == 2 * [norm == "spectral"]


def test_no_other_part_has_spectral_norm():
    parts = Tiny()(DataSpec((1, 4, 4)))
    parts.discriminator(norm="spectral")
    others = [parts.generator(), parts.encoder(outputs=2), parts.autoencoder()]
    assert not any(is_parametrized(layer) for network in others for layer in weighted(network))


def test_weights_start_at_two_hundredths_unless_a_family_says_otherwise():
    torch.manual_seed(0)
    parts = TinyParts(DataSpec((3, 64, 64)))
    for network in (parts.generator(), parts.discriminator(outputs=9), parts.encoder(outputs=9), parts.autoencoder()):
        for layer in weighted(network):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.3)
            assert not layer.bias.any()


def test_a_family_s_own_layers_and_initial_weights_reach_all_four_parts():
    parts = ConstantParts(DataSpec((1, 8, 8)))
    autoencoder = parts.autoencoder()
    for network in (parts.generator(), autoencoder.decoder):
        assert all((layer.weight == 7).all() for layer in weighted(network))
    for network in (parts.discriminator(norm="none"), parts.encoder(outputs=2), autoencoder.encoder):
        convolution, linear = weighted(network)
        assert (convolution.weight == 7).all()
        assert not linear.weight.requires_grad and (linear.weight != 7).all()


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((2,), "tiny makes images, not data of shape (2,)"),
        ((3, 4, 8), "tiny makes square images, not 4×8 px"),
        ((3, 6, 6), "tiny makes images of 4 or 8 px, not 6 px"),
    ],
)
def test_data_that_do_not_fit_are_refused_with_the_reason(shape, reason):
    assert Tiny().misfit(DataSpec(shape)) == reason
    with pytest.raises(UserError) as refused:
        Tiny()(DataSpec(shape))
    assert str(refused.value) == reason


def test_data_that_fit_are_bound():
    assert Tiny().misfit(DataSpec((1, 8, 8))) is None
    assert isinstance(Tiny()(DataSpec((1, 8, 8))), TinyParts)


def test_any_square_passes_where_only_squares_are_asked_for():
    assert square_misfit("tiny", DataSpec((1, 7, 7))) is None
    assert square_misfit("tiny", DataSpec((1, 7, 8))) == "tiny makes square images, not 7×8 px"
