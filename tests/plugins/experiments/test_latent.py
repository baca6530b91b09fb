"""The experiment `latent`: who takes part, what is asked for, and claims against numbers made by hand."""

import math
from pathlib import Path

import pytest
import torch
from ganbench_plugins.experiments.latent import Config, Latent, claims_of, dots
from ganbench_plugins.variants.controls import Memorizer
from ganbench_plugins.variants.gan import GAN
from made_runs import REGISTRY, TINY, cells, lab, run

from ganbench import ImageSet, Splits, UserError
from ganbench.runs.options import resolve

SMALL = {"samples": 512, "trials": 16, "paths": 6, "points": 5}


@pytest.fixture(scope="module")
def digits():
    return REGISTRY.get("dataset", "digits").item.load(Path(), 8)


def test_digits_are_walked_and_summed_by_their_classes_and_who_does_not_fit_is_left_out(digits, tmp_path):
    class Stranger(TINY.Plain):
        name = "stranger"

        def noise(self, n):
            return torch.rand(n, self.z_dim) * 2 - 1

    class Diverged(TINY.Plain):
        name = "diverged"

        def sample(self, n, cond=None):
            return super().sample(n) * float("nan")

    runs = [
        *(run(GAN, digits, seed=seed, width=4) for seed in (0, 1, 99)),
        run(Stranger, digits, backbone="mlp", width=16),
        run(TINY.Labelled, digits, backbone="mlp", width=16),
        run(Diverged, digits, backbone="mlp", width=16),
        run(Memorizer, digits, backbone="mlp"),
    ]
    finding = Latent().find(lab(Latent(), runs, tmp_path, **SMALL))
    walks = cells(finding, "Walks")
    assert [(row["run"].split()[0], row["images"]) for row in walks[::3]] == [
        ("gan", "G's"),
        ("stranger", "G's"),
        ("labelled", "G's"),
    ]
    assert "±" in walks[0]["uneven in pixels"] and "±" not in walks[3]["uneven in pixels"]
    assert all(row["sure at ends"] != "nan" for row in walks)
    reasons = {name.split()[0].strip(","): reason for name, reason in finding.left_out.items()}
    assert set(reasons) == {"gan", "labelled", "diverged", "memorizer"}
    assert "were not kept" in reasons["gan"] and "by class" in reasons["labelled"]
    assert "not finite" in reasons["diverged"] and "of no latents" in reasons["memorizer"]
    assert cells(finding, "Classifiers, on test images")[0]["accuracy"] > "0.95"
    assert set(finding.figures) >= {"walks", "shares"}
    random = [row["random"] for row in finding.measured if row.get("row", "").startswith("stranger") and "sum" in row]
    assert len(random) == 10 * 3 and sum(random) / 3 == pytest.approx(1)  # ten classes, each for three means


def test_without_classes_or_attributes_pixels_are_walked_and_there_are_no_sums(tmp_path):
    tiny = TINY.Tiny().load(Path(), 8)
    data = Splits(ImageSet(tiny.train.images), ImageSet(tiny.test.images), "8" * 64)
    runs = [run(TINY.Plain, data, dataset="digits", backbone="mlp", width=16)]
    finding = Latent().find(lab(Latent(), runs, tmp_path, **SMALL))
    assert [table.title for table in finding.tables] == ["Walks"] and set(finding.figures) == {"walks"}
    ((_, reason),) = finding.left_out.items()
    assert reason.startswith("no sums: ") and "labels" in reason
    assert all(math.isnan(row["sure at ends"]) for row in finding.measured)


def test_runs_on_images_of_two_sizes_have_a_figure_each(digits, tmp_path):
    large = REGISTRY.get("dataset", "digits").item.load(Path(), 16)
    data = Splits(ImageSet(large.train.images), ImageSet(large.test.images), large.fingerprint)
    finding = Latent().find(lab(Latent(), [run(GAN, digits, width=4), run(GAN, data, width=4)], tmp_path, **SMALL))
    assert {"walks", "walks-2"} <= set(finding.figures)
    assert {row["data"] for row in cells(finding, "Walks")} == {"digits 8 px", "digits 16 px"}


def test_nobody_to_look_at_and_wrong_sums_are_one_sentence(digits, tmp_path):
    with pytest.raises(UserError, match="of no latents"):
        Latent().find(lab(Latent(), [run(Memorizer, digits, backbone="mlp")], tmp_path))
    for wrong in ("Smiling", "Smiling/-Male,Young"):
        with pytest.raises(UserError, match=rf"^latent: sums={wrong}: '{wrong.rpartition(',')[2]}' is no X/Y"):
            resolve(Latent, "latent", {"sums": wrong})
    assert resolve(Latent, "latent", {"sums": "Young/Male"}).texts == ["Young/Male"]
    assert resolve(Latent, "latent", {"sums": "Young/Male,Smiling/-Male"}).texts == ["Young/Male", "Smiling/-Male"]


def test_it_asks_for_small_runs_on_faces_unless_told_otherwise():
    (request,) = Latent().runs(Config(), {})
    assert (request["dataset"], request["size"], request["seeds"]) == ("celeba", 32, 3)
    assert request["set"] == ["dcgan.width=32"]
    (request,) = Latent().runs(Config(), {"dataset": ["digits"], "budget": "1k-images", "set": ["lr=1e-3"]})
    assert (request["budget"], request["set"], "size" in request) == ("1k-images", ["lr=1e-3"], False)
    (request,) = Latent().runs(Config(), {"set": ["dcgan.width=8"], "variants": ["wgan"]})
    assert (request["set"], request["variants"]) == (["dcgan.width=8"], ["wgan"])


def rows(sums, noises=0.2, singles=0.3, seeds=3, uneven=(1.2, 5.0), farther=(0.1, 1.0)):
    """Make what is measured of three seeds; `uneven`: of G and of training images, `farther`: of G and of blends."""
    found, kinds = [], ("G's", "training images", "blends of test images")
    for seed in range(seeds):
        shake = 0.01 * seed
        for of, flat, far in zip(kinds, (*uneven, 1.0), (farther[0], 0.0, farther[1]), strict=True):
            numbers = {"uneven in pixels": flat * (1 + shake), "farther": far * (1 - shake)}
            found.append({"row": "gan", "seed": seed, "of": of, **numbers})
        for k, value in ((1, singles), (3, sums)):
            about = {"row": "gan", "seed": seed, "sum": "x", "wanted": "X", "exemplars": k, "random": 0.1}
            found.append({**about, "a - b + c": value + shake, "r - r + c": noises, "c alone": 0.0})
    return found


def held(made):
    return [claim.holds for claim in claims_of(made)]


def test_claims_follow_from_intervals_over_seeds():
    assert held(rows(0.7)) == [True] * 5
    assert held(rows(0.3, singles=0.4)) == [True, True, True, False, False]
    assert held(rows(0.1, noises=0.2, singles=0.05))[2:] == [False, False, True]
    assert held(rows(0.7, uneven=(6.0, 5.0), farther=(1.0, 0.1)))[:2] == [False, False]
    assert held(rows(0.7, farther=(-2.0, -1.0)))[1] is None  # G's comes nearer, but so do blends
    assert held(rows(0.495))[3] is None  # 0.495 to 0.515
    alone = claims_of(rows(0.7, seeds=1))
    assert all(claim.holds is None and "one seed" in claim.reason for claim in alone)
    assert len(held([row for row in rows(0.7) if row.get("exemplars") != 3])) == 2  # there are no means of three


def test_only_classes_that_have_both_are_compared():
    made = rows(0.5, singles=0.4)
    other = [{**row, "wanted": "Y", "a - b + c": 0.9} for row in made if row.get("exemplars") == 1]
    claim = claims_of(made + other)[-1]
    assert "+0.10" in claim.found


def test_a_picture_of_shares_shows_what_there_is():
    (axes,) = dots(rows(0.7), (1, 3)).axes
    assert axes.get_xlim() == (-0.03, 1.03) and len(axes.containers) == 5
    means = [float(container[0].get_xdata()[0]) for container in axes.containers]
    assert means == pytest.approx([0.31, 0.71, 0.2, 0.0, 0.1])
