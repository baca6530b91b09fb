"""From a request to jobs: products, skips with reasons, options, and requests that are wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganbench.contract.types import Value
from ganbench.errors import UserError
from ganbench.results.record import RunRecord
from ganbench.results.rows import rows
from ganbench.runs.job import is_complete
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import Registry, discover

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover([PLUGIN])


def request(*variants: str, dataset: str = "tiny", **more: object) -> Request:
    return Request(variants, (dataset,), plugins=(PLUGIN,), **more)  # type: ignore[arg-type]


def test_the_product_of_variants_and_seeds_runs_seed_by_seed(registry: Registry) -> None:
    made = plan(request("plain", "wgan", seeds=2), registry)
    assert [(job.spec.variant, job.spec.seed) for job in made.jobs] == [
        ("plain", 0),
        ("wgan", 0),
        ("plain", 1),
        ("wgan", 1),
    ]
    assert made.jobs[0].parameters.keys() == {"G", "D"}
    assert {str(job.spec.budget) for job in made.jobs} == {"1280-images"}
    assert {(job.spec.size, job.spec.backbone, job.samples) for job in made.jobs} == {(8, "mlp", 64)}


def test_a_budget_of_epochs_is_one_of_images(registry: Registry) -> None:
    epochs, images = (plan(request("plain", seeds=1, budget=text), registry) for text in ("2.5-epochs", "640-images"))
    assert epochs.jobs[0].spec == images.jobs[0].spec, "the training split has 256"


def test_runs_on_several_devices_leave_out_what_is_for_one(registry: Registry) -> None:
    made = plan(request("plain", "real", seeds=1, devices=2), registry)
    assert {job.spec.variant: job.devices for job in made.jobs} == {"plain": 2, "real": 1}
    (alone,) = plan(request("plain", seeds=1), registry).jobs
    assert made.jobs[0].spec == alone.spec or made.jobs[1].spec == alone.spec, "how many devices is no part of a run"
    seconds = plan(request("plain", seeds=1, devices=2, budget="9-seconds"), registry)
    assert not seconds.jobs and "give images, updates or flops" in seconds.skips[0].reason


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"batch": 63}, "--batch 63 cannot be shared out equally among 2 devices: give a multiple"),
        ({"compiled": True}, "--compile is for one device, not for --devices 2"),
    ],
)
def test_what_several_devices_cannot_do_is_refused(registry: Registry, more: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        plan(request("plain", devices=2, **more), registry)


def test_globs_and_all_expand_without_repeats(registry: Registry) -> None:
    named = plan(request("plain", seeds=(7, 3)), registry)
    assert [job.spec.seed for job in named.jobs] == [3, 7]
    for none in (0, (), (-1,)):
        with pytest.raises(UserError, match="at least one seed is needed"):
            plan(request("plain", seeds=none), registry)
    names = [job.spec.variant for job in plan(request("wgan*", "wgan", seeds=1), registry).jobs]
    assert names == ["wgan", "wgan-div", "wgan-gp", "wgan-lp"]
    everything = plan(request("all", seeds=1), registry)
    unfit = {*registry.find("variant", "family:translate"), "projection"}  # whose G needs batch norm, which mlp has not
    assert {job.spec.variant for job in everything.jobs} == set(registry.find("variant", "all")) - unfit
    assert {skip.variant for skip in everything.skips} == unfit


def test_what_does_not_fit_is_skipped_with_its_reason(registry: Registry) -> None:
    made = plan(request("labelled", "gan", dataset="ring", seeds=1), registry)
    assert [(skip.variant, skip.reason) for skip in made.skips] == [
        ("labelled", "it needs labels of at least two classes")
    ]
    assert [job.spec.variant for job in made.jobs] == ["gan"]


def test_options_reach_the_config_and_the_identity(registry: Registry) -> None:
    plain = plan(request("wgan", seeds=1), registry).jobs[0].spec
    changed = plan(request("wgan", seeds=1, settings=("lr=1e-3", "wgan.clip=0.1", "mlp.width=32")), registry).jobs[0]
    assert changed.spec.options == {"clip": 0.1, "lr": 0.001, "mlp.width": 32}
    assert changed.spec.config["variant"]["clip"] == 0.1
    assert changed.spec.config["backbone"]["width"] == 32
    assert changed.spec.id != plain.id


def test_an_option_named_for_a_variant_beats_one_for_all(registry: Registry) -> None:
    made = plan(request("gan", "wgan", seeds=1, settings=("wgan.lr=0.5", "lr=0.25")), registry)
    assert [job.spec.config["variant"]["lr"] for job in made.jobs] == [0.25, 0.5]


def test_identity_depends_on_what_changes_numbers_and_on_nothing_else(registry: Registry) -> None:
    def id_of(**more: object) -> str:
        return plan(request("plain", seeds=1, **more), registry).jobs[0].spec.id

    base = id_of()
    assert id_of(marks=2) == id_of(metrics=("tiny-late",)) == id_of(samples=10) == id_of(device="cpu") == base
    others = [id_of(batch=32), id_of(budget="64-images"), id_of(precision="bf16"), id_of(backbone="dcgan")]
    assert len({base, *others}) == 5


@pytest.mark.parametrize(
    ("line", "runs"),
    [("# a remark", 1), ('"""A remark."""', 1), ("def unused(): return 1", 2)],
)
def test_an_edited_plugin_is_another_run_and_a_remark_is_none(line: str, runs: int, tmp_path: Path) -> None:
    edited = tmp_path / "tiny_plugin.py"
    edited.write_text(f"{PLUGIN.read_text()}\n{line}\n")
    ids = set()
    for path in (PLUGIN, edited):
        made = plan(Request(("plain",), ("tiny",), plugins=(path,), seeds=1), discover([path]))
        ids.add(made.jobs[0].spec.id)
    assert len(ids) == runs


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"variants": ("plian",)}, "unknown variant 'plian': did you mean 'plain'?"),
        ({"variants": ("x*",)}, "no variant matches 'x*'"),
        ({"datasets": ("tinny",)}, "unknown dataset 'tinny': did you mean 'tiny'?"),
        ({"datasets": ("tiny:8",)}, "'tiny' takes no argument"),
        ({"backbone": "dcgam"}, "did you mean 'dcgan'?"),
        ({"metrics": ("tiny-meen",)}, "did you mean 'tiny-mean'?"),
        ({"metrics": ("modes",)}, "metric 'modes' does not fit data set 'tiny': it needs modes"),
        ({"budget": "100"}, "has no unit"),
        ({"budget": "0-images"}, "not more than zero"),
        ({"batch": 257}, "plain needs 257 images a step, but tiny: its training split has 256; lower --batch"),
        ({"settings": ("lr",)}, "--set 'lr' is not an option and a value"),
        ({"settings": ("clip=1",), "variants": ("gan",)}, "gan has no option 'clip'"),
        ({"settings": ("wgan.clip=0",), "variants": ("wgan",)}, "wgan.clip: input should be greater than 0"),
        ({"settings": ("wgan.clip=nan",), "variants": ("wgan",)}, "wgan.clip"),
        ({"settings": ("wgan.clip=Infinity",), "variants": ("wgan",)}, "wgan.clip"),
        ({"settings": ("wgan.lr=big",), "variants": ("wgan",)}, "wgan.lr: input should be a valid number"),
        ({"settings": ("wgan.betas=1",), "variants": ("wgan",)}, "wgan has no option 'betas'"),
        ({"settings": ("lsgan.lr=1",), "variants": ("gan",)}, "'lsgan' takes no part in this run"),
        ({"settings": ("lsgna.lr=1",), "variants": ("gan",)}, "did you mean 'lsgan'?"),
        ({"settings": ("dcgan.width=0",), "backbone": "dcgan"}, "dcgan.width: input should be greater than or equal"),
        ({"seeds": 0}, "at least one seed"),
        ({"samples": 1}, "at least 2 generated samples"),
    ],
)
def test_a_wrong_request_is_one_sentence(registry: Registry, more: dict[str, object], sentence: str) -> None:
    arguments = {"variants": ("plain",), "datasets": ("tiny",), **more}
    with pytest.raises(UserError) as error:
        plan(Request(**arguments), registry)  # type: ignore[arg-type]
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_default_metrics_that_do_not_fit_are_left_out_with_a_note(registry: Registry, tmp_path: Path) -> None:
    from PIL import Image

    for number in range(90):
        Image.fromarray(torch.randint(0, 256, (16, 16), dtype=torch.uint8).numpy()).save(tmp_path / f"{number}.png")
    made = plan(request("gan", dataset=f"folder:{tmp_path}", seeds=1), registry)
    assert f"folder:{tmp_path.name}: fd-classifier is left out, because it needs labels" in made.notes
    assert made.notes[0].startswith(f"folder:{tmp_path.name}: 90 images, no folders of splits")
    assert "ms-ssim" in made.jobs[0].metrics


def test_a_finished_record_is_complete_only_with_every_metric_asked_for(registry: Registry) -> None:
    (job,) = plan(request("plain", seeds=1, metrics=("tiny-mean",)), registry).jobs
    value = Value(1.0, {"n_fake": job.samples})
    assert not is_complete(None, job)
    assert not is_complete(RunRecord(job.spec, "killed", values={"tiny-mean": [value]}), job)
    assert not is_complete(RunRecord(job.spec, "error"), job)
    assert not is_complete(RunRecord(job.spec, "done"), job)
    assert not is_complete(RunRecord(job.spec, "done", values={"tiny-mean": [Value(1.0, {"n_fake": 3})]}), job)
    assert is_complete(RunRecord(job.spec, "done", values={"tiny-mean": [value]}), job)
    assert is_complete(RunRecord(job.spec, "done", unscored={"tiny-mean": "not defined"}), job)
    assert not is_complete(RunRecord(job.spec, "done", unscored={"tiny-mean": "unavailable: no weights"}), job)
    assert is_complete(RunRecord(job.spec, "diverged"), job)


def test_compiled_runs_are_others_and_what_cannot_be_compiled_is_left_out(registry: Registry) -> None:
    made = plan(request("plain", "acgan", seeds=1, backbone="mlp", compiled=True), registry)
    (plain,) = plan(request("plain", seeds=1, backbone="mlp"), registry).jobs
    (job,) = made.jobs
    assert job.spec.compiled and not plain.spec.compiled and job.spec.id != plain.spec.id
    (skip,) = made.skips
    assert skip.variant == "acgan" and skip.reason.startswith("it cannot be compiled: its step reads values of tensors")
    mixed = rows([RunRecord(spec, "done") for spec in (job.spec, plain.spec)])
    assert sorted(row.name for row in mixed) == ["plain", "plain compile=on"]
    for wrong in ({"device": "cuda:0"}, {"precision": "bf16"}):
        with pytest.raises(UserError, match="--compile is for"):
            plan(request("plain", compiled=True, **wrong), registry)


def test_graphs_are_for_cuda_and_change_no_run(registry: Registry) -> None:
    for device in ("cpu", "auto"):
        with pytest.raises(UserError, match=r"^--compile graph is for a CUDA device, but the device is cpu"):
            plan(request("plain", compiled="graph", device=device), registry)
    jobs = [plan(request("plain", seeds=1, compiled=how), registry).jobs[0] for how in (None, False)]
    assert [job.graphs for job in jobs] == [True, False]
    assert jobs[0].spec == jobs[1].spec and not jobs[0].spec.compiled


@pytest.mark.parametrize("asked", [{"precision": "tf32"}, {"compiled": "graph"}])
def test_what_the_device_of_another_machine_can_do_is_found_there(asked: Any, registry: Registry) -> None:
    (job,) = plan(request("plain", seeds=1, elsewhere=True, **asked), registry).jobs
    assert job.graphs and job.spec.precision == asked.get("precision", "fp32")


def test_tf32_is_for_devices_that_have_it(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"--precision tf32 is for CUDA devices .* but the device is cpu: leave it out"):
        plan(request("plain", precision="tf32"), registry)
    monkeypatch.setattr("ganbench.runs.plan.require_tf32", lambda device: None)
    specs = [
        plan(request("plain", seeds=1, precision=each), registry).jobs[0].spec for each in ("fp32", "tf32", "bf16")
    ]
    assert [spec.precision for spec in specs] == ["fp32", "tf32", "bf16"] and len({spec.id for spec in specs}) == 3


@pytest.fixture
def photos(tmp_path: Path) -> str:
    for number in range(80):
        image = Image.fromarray(np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8))
        image.save(tmp_path / f"{number}.png")
    return f"folder:{tmp_path}"


LACKING = {
    "everything is there": ((), ["fid", "fid-768", "fd-pixels", "copies", "ms-ssim", "grad-norm-g", "grad-norm-d"]),
    "one width lacks": (("inception",), ["fid-768", "fd-pixels", "copies", "ms-ssim", "grad-norm-g", "grad-norm-d"]),
    "all lack": (("inception", "inception-768"), ["fd-pixels", "copies", "ms-ssim", "grad-norm-g", "grad-norm-d"]),
}


def without_weights(monkeypatch: pytest.MonkeyPatch, lacking: tuple[str, ...]) -> Registry:
    found = discover([PLUGIN])
    for name in ("inception", "inception-768", "pixels"):
        why = f"no weights of {name}" if name in lacking else None
        monkeypatch.setattr(found.get("extractor", name).item, "missing", lambda *_, why=why: why)
    return found


@pytest.mark.parametrize(("lacking", "left"), LACKING.values(), ids=LACKING)
def test_photos_without_labels_are_measured_by_what_is_there(
    monkeypatch: pytest.MonkeyPatch, photos: str, lacking: tuple[str, ...], left: list[str]
) -> None:
    made = plan(request("plain", dataset=photos, seeds=1, size=8), without_weights(monkeypatch, lacking))
    assert list(made.jobs[0].metrics) == left and not made.missing
    told = [note for note in made.notes if "left out: no weights" in note]
    assert len(told) == len(lacking) and not made.skips


def test_what_was_asked_for_is_never_left_out_in_silence(monkeypatch: pytest.MonkeyPatch, photos: str) -> None:
    found = without_weights(monkeypatch, ("inception", "inception-768"))
    named = plan(request("plain", dataset=photos, seeds=1, size=8, metrics=("fid", "fd-pixels")), found)
    assert named.jobs[0].metrics == ("fid", "fd-pixels") and named.missing == {
        (photos, "fid"): "no weights of inception"
    }
    marked = plan(request("plain", dataset=photos, seeds=1, size=8, marks_metrics=("fid",)), found)
    assert "fid" in marked.jobs[0].metrics and "fid-768" not in marked.jobs[0].metrics
    assert marked.missing == {(photos, "fid"): "no weights of inception"}


def test_defaults_are_not_left_out_where_no_distance_would_remain(monkeypatch: pytest.MonkeyPatch, photos: str) -> None:
    made = plan(
        request("plain", dataset=photos, seeds=1, size=8),
        without_weights(monkeypatch, ("inception", "inception-768", "pixels")),
    )
    assert {name for _, name in made.missing} == {"fid", "fid-768", "fd-pixels"} <= set(made.jobs[0].metrics)


def test_faces_and_scenes_are_measured_without_weights_too() -> None:
    registry = discover()
    for name in ("celeba", "lsun", "folder"):
        assert {"fid", "fd-pixels", "copies"} <= set(registry.get("dataset", name).item.metrics)
