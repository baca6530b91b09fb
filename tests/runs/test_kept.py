"""Finished runs are found by what people call them, and their variants come back with the weights that were kept."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ganbench.errors import UserError
from ganbench.results.record import RunRecord
from ganbench.results.store import ResultStore
from ganbench.runs.execute import execute
from ganbench.runs.export import Wanted, export, new_folder, pieces_of
from ganbench.runs.kept import Kept, find_kept, reopen
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import Registry, discover
from ganbench.runs.steps import Step
from ganbench.scoring.samples import generate

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"
CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("switches")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover([PLUGIN])


@pytest.fixture(scope="module")
def results(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of `plain`, one of them averaged as well, one of `labelled`, and one that diverged."""
    folder = tmp_path_factory.mktemp("results")
    common = {"budget": "320-images", "seeds": 1, "marks": 1, "samples": 64, "metrics": ("tiny-mean",)}
    requests = [
        Request(["plain", "labelled", "makes-nan"], ["tiny"], **common),
        Request(["plain"], ["tiny"], settings=("ema=100", "mlp.width=16"), score=("ema", "raw"), **common),
    ]
    for request in requests:
        for job in plan(request, registry).jobs:
            execute(job, ResultStore(folder), registry, threads=1)
    return folder


@pytest.fixture(scope="module")
def records(results: Path) -> list[RunRecord]:
    return ResultStore(results).records()[0]


def averaged(records: list[RunRecord]) -> RunRecord:
    (found,) = [record for record in records if "ema" in record.sampling]
    return found


def test_a_run_is_found_by_its_record_its_id_and_its_variant(results: Path, records: list[RunRecord]) -> None:
    (labelled,) = [record for record in records if record.spec.variant == "labelled"]
    path = ResultStore(results).path(labelled.spec)
    for text in ("labelled", labelled.spec.id, labelled.spec.id[:6].upper(), str(path)):
        found = find_kept(text, results)
        assert found.record.spec == labelled.spec and found.weights.is_file()
    assert find_kept(str(path), Path("elsewhere")).weights.is_file(), "beside its record, wherever the results are"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("plain", r"'plain' is 2 runs: name one by its id \(\w{8} \(plain"),
        ("makes-nan", "has no final weights: its status is 'diverged'"),
        ("nobody", r"is called 'nobody': name .* or a variant \(labelled, makes-nan, plain\)"),
        ("nowhere/seed0.json", "there is no record nowhere/seed0.json"),
    ],
)
def test_what_is_no_finished_run_is_told_in_one_sentence(results: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        find_kept(text, results)


def test_weights_that_are_gone_are_told(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results, tmp_path / "copy", ignore=shutil.ignore_patterns("final.pt"))
    with pytest.raises(UserError, match="are no longer there: they would be"):
        find_kept("labelled", tmp_path / "copy")


def test_a_run_samples_again_what_it_was_scored_by(results: Path, records: list[RunRecord], registry: Registry) -> None:
    record = averaged(records)
    kept = find_kept(record.spec.id, results)
    by_weights = {}
    for weights in ("raw", "ema"):
        found = reopen(kept, registry, root=Path("data"), weights=weights, device=CPU)
        images = generate(found.variant, 64, found.data, seed=record.spec.seed).images
        difference = images.double().mean() - found.data.test.images.double().mean()
        by_weights[weights] = abs(float(difference))
    scored = {value.weights: value.value for value in record.values["tiny-mean"]}
    assert by_weights == pytest.approx(scored) and scored["raw"] != scored["ema"]
    usual = reopen(kept, registry, root=Path("data"), device=CPU)
    assert torch.equal(
        generate(usual.variant, 8, usual.data, seed=0).images,
        generate(reopen(kept, registry, root=Path("data"), weights="ema", device=CPU).variant, 8, usual.data, seed=0)[
            0
        ],
    )


def test_a_run_without_an_average_has_no_averaged_weights(results: Path, registry: Registry) -> None:
    with pytest.raises(UserError, match="has no ema weights: kept were raw"):
        reopen(find_kept("labelled", results), registry, root=Path("data"), weights="ema", device=CPU)


def test_changed_code_and_changed_data_are_refused(results: Path, registry: Registry) -> None:
    kept = find_kept("labelled", results)
    spec = kept.record.spec
    for changed, sentence in (
        (replace(spec, code={**spec.code, "variant": "0" * 64}), "the variant 'labelled' executes something else"),
        (replace(spec, data="0" * 64), "are no longer those that .* was trained on"),
    ):
        with pytest.raises(UserError, match=sentence):
            reopen(Kept(replace(kept.record, spec=changed), kept.weights), registry, root=Path("data"), device=CPU)


def wanted(results: Path, text: str, n: int, **more: object) -> Wanted:
    return Wanted(find_kept(text, results), n, plugins=(PLUGIN,), **more)


def watched(steps: list[Step]) -> object:
    def begin(step: Step) -> str:
        steps.append(step)
        return ""

    return begin


def test_arrays_are_those_of_the_convention_and_fewer_are_the_first_of_more(results: Path, tmp_path: Path) -> None:
    steps: list[Step] = []
    for n in (300, 600):
        export(wanted(results, "labelled", n), tmp_path / f"{n}.npz", watched(steps))
    some, more = (np.load(tmp_path / f"{n}.npz") for n in (300, 600))
    assert some["arr_0"].shape == (300, 8, 8, 1) and some["arr_0"].dtype == np.uint8
    assert some["labels"].dtype == np.int64 and set(some["labels"]) == {0, 1, 2, 3}
    assert np.array_equal(some["arr_0"][:256], more["arr_0"][:256])
    assert np.array_equal(some["labels"], more["labels"][:300])
    shares = [step.share for step in steps if step.share is not None]
    assert shares == [0, 256 / 300, 0, 256 / 600, 512 / 600]
    export(wanted(results, "labelled", 300), tmp_path / "again.npz", watched([]))
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "300.npz").read_bytes()
    export(wanted(results, "labelled", 300, seed=5), tmp_path / "other.npz", watched([]))
    assert not np.array_equal(np.load(tmp_path / "other.npz")["arr_0"], some["arr_0"])


def test_pictures_are_the_arrays_in_a_folder_a_class(results: Path, tmp_path: Path) -> None:
    from PIL import Image

    with new_folder(tmp_path / "pictures") as folder:
        export(wanted(results, "labelled", 20), folder, watched([]))
    export(wanted(results, "labelled", 20), tmp_path / "a.npz", watched([]))
    arrays = np.load(tmp_path / "a.npz")
    for number, (image, label) in enumerate(zip(arrays["arr_0"], arrays["labels"], strict=True)):
        found = np.asarray(Image.open(tmp_path / "pictures" / str(label) / f"{number:06}.png"))
        assert np.array_equal(found, image[..., 0])


def test_one_class_alone(results: Path) -> None:
    pieces = list(pieces_of(wanted(results, "labelled", 10, label=3), watched([])))
    assert pieces[0].cond is not None and set(pieces[0].cond.tolist()) == {3}


@pytest.mark.parametrize(
    ("label", "sentence"), [(4, "--class 4: .* knows the classes 0 to 3"), (-1, "knows the classes 0 to 3")]
)
def test_a_class_that_there_is_not(results: Path, label: int, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        list(pieces_of(wanted(results, "labelled", 10, label=label), watched([])))


def test_a_class_of_a_variant_without_classes(results: Path, records: list[RunRecord]) -> None:
    with pytest.raises(UserError, match=r"--class 0: .* makes samples without asking for a class"):
        asked = wanted(results, averaged(records).spec.id, 10, label=0)
        list(pieces_of(asked, watched([])))


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), new_folder(tmp_path / "out") as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with new_folder(tmp_path / "out") as folder:
        (folder / "whole").write_text("x")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "whole"]
    with pytest.raises(UserError, match="there is something already"), new_folder(tmp_path / "out"):
        pass
