"""Pictures in rows: where tiles stand, and that pixels stay what they are."""

import numpy as np
import torch

from ganbench.toolbox.tiles import WIDTH, tiled, tiled_by_size


def test_tiles_stand_in_rows_with_gaps_between_parts():
    tiles = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 1, 4, 4) * 40
    figure = tiled([("one", [tiles[:2], tiles[2:3]]), ("two\nlines", [tiles[3:5], tiles[5:]])], ["a", "b"])
    (axes,) = figure.axes
    (drawn,) = axes.images
    pixels = np.asarray(drawn.get_array())
    assert pixels.shape == (2 * 5, 3 * 5 + 2, 3) and drawn.get_interpolation() == "nearest"
    assert [pixels[0, at, 0] for at in (0, 5, 12)] == [0, 40, 80] and [pixels[5, at, 2] for at in (0, 5, 12)] == [
        120,
        160,
        200,
    ]
    assert (pixels[4] == 255).all() and (pixels[:, 10:12] == 255).all()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two\nlines"]
    assert axes.get_xticks().tolist() == [5, 14.5] and figure.get_size_inches()[0] == WIDTH
    colours = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    colours[0, 2] = 200
    assert np.asarray(tiled([("", [colours])], [""]).axes[0].images[0].get_array())[0, 0].tolist() == [0, 0, 200]


def test_tiles_of_one_size_stand_in_one_figure_of_so_many_rows():
    small, large = torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2, 1, 6, 6, dtype=torch.uint8)
    rows = [("a", [small]), ("b", [large]), ("c", [small]), ("d", [small])]
    found = tiled_by_size("walks", "what", rows, ["above"], 2)
    labels = {name: [label.get_text() for label in each.axes[0].get_yticklabels()] for name, (each, _) in found.items()}
    assert labels == {"walks": ["a", "c"], "walks-2": ["b"]}
    assert {caption for _, caption in found.values()} == {"what"}
    assert tiled_by_size("walks", "", [], [], 2) == {}
