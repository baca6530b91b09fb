"""PacGAN's networks for points: shapes, sizes, batch norm in G and encoders alone."""

import pytest
import torch
from ganbench_plugins.backbones.pacgan import Maxout, PacGAN
from torch import nn

from ganbench import DataSpec, UserError

POINTS = DataSpec((2,))


def parts():
    torch.manual_seed(0)
    return PacGAN()(POINTS)


def test_sizes_are_the_paper_s():
    G, D = parts().generator(), parts().discriminator()
    hidden = 2 * 400 + 3 * 400 * 400 + 4 * 2 * 400  # weights without bias, and of batch norm
    assert sum(p.numel() for p in G.parameters()) == hidden + 400 * 2 + 2
    assert sum(p.numel() for p in D.parameters()) == (2 + 1) * 1000 + 2 * (200 + 1) * 1000 + 201
    assert G(torch.randn(5, 2)).shape == (5, 2) and D(torch.randn(5, 2)).shape == (5, 1)
    assert parts().discriminator(channels=6, outputs=3)(torch.randn(4, 6)).shape == (4, 3)
    assert parts().encoder(outputs=2)(torch.randn(4, 2)).shape == (4, 2)
    E = parts().encoder(outputs=3, channels=4)
    assert sum(p.numel() for p in E.parameters()) == 4 * 400 + 400 * 400 + 2 * 2 * 400 + 400 * 3 + 3
    assert E(torch.randn(4, 4)).shape == (4, 3)


def test_maxout_is_the_largest_of_its_pieces():
    torch.manual_seed(0)
    layer, x = Maxout(3, 4, 5), torch.randn(7, 3)
    weight, bias = layer.maps.weight.view(4, 5, 3), layer.maps.bias.view(4, 5)
    expected = torch.stack([torch.stack([(weight[u] @ row + bias[u]).max() for u in range(4)]) for row in x])
    torch.testing.assert_close(layer(x), expected)


def test_weights_are_drawn_as_the_authors_do():
    for network in (parts().generator(), parts().discriminator()):
        weights = torch.cat([m.weight.detach().flatten() for m in network.modules() if isinstance(m, nn.Linear)])
        assert float(weights.mean()) == pytest.approx(0, abs=1e-3) and float(weights.std()) == pytest.approx(
            0.02, rel=0.02
        )


def test_only_the_generator_has_batch_norm():
    norms = [m for m in parts().generator().modules() if isinstance(m, nn.BatchNorm1d)]
    assert len(norms) == 4 and all((norm.momentum, norm.eps) == (0.05, 1e-4) for norm in norms)
    assert not [m for m in parts().discriminator().modules() if isinstance(m, nn.BatchNorm1d)]
    assert len([m for m in parts().discriminator(norm="layer").modules() if isinstance(m, nn.LayerNorm)]) == 3
    spectral = parts().discriminator(norm="spectral")
    assert all(nn.utils.parametrize.is_parametrized(m) for m in spectral.modules() if isinstance(m, nn.Linear))
    with pytest.raises(UserError, match="no instance norm"):
        parts().discriminator(norm="instance")


def test_images_are_refused():
    assert "points, not images" in PacGAN().misfit(DataSpec((1, 8, 8)))
    with pytest.raises(UserError):
        PacGAN()(DataSpec((1, 8, 8)))
