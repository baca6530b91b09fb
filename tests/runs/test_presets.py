"""Presets: the protocol of a comparison, its scale, and the published numbers beside ours."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from ganbench import UserError
from ganbench.cli import main
from ganbench.results.record import RunSpec
from ganbench.runs.plan import Request
from ganbench.runs.presets import plan_preset
from ganbench.runs.registry import discover

PLUGIN = Path(__file__).parents[1] / "preset_plugin.py"


@pytest.fixture(scope="module")
def registry():
    return discover([PLUGIN])


def planned(registry, scale=1.0, asked=None, settings=()):
    request = Request([], [], settings=settings)
    return plan_preset("tiny-table", scale, request, asked or {}, registry)


def test_a_preset_is_its_protocol(registry):
    made = planned(registry)
    assert len(made.jobs) == 3 * 2 * 2 and not made.skips
    assert [job.spec.seed for job in made.jobs] == [0] * 6 + [1] * 6
    for job in made.jobs:
        spec = job.spec
        assert (str(spec.budget), spec.batch, job.samples, job.metrics, job.marks) == (
            "1k-images",
            16,
            50,
            ("modes",),
            1,
        )
        assert spec.preset == "tiny-table" and spec.options["mlp.width"] == 16
    own = {(job.spec.variant, job.spec.options.get("clip"), job.spec.options.get("lr")) for job in made.jobs}
    assert own == {("gan", None, 1e-3), ("wgan", 0.1, None), ("wgan", 0.2, None)}


def test_published_numbers_belong_to_an_entry_and_a_data_set(registry):
    found = {
        (job.spec.dataset, job.spec.variant, job.spec.options.get("clip")): job.published.get("values")
        for job in planned(registry).jobs
    }
    assert found["ring", "gan", None] == {"modes": [6.3, 0.5]}
    assert found["ring", "wgan", 0.1] == {"modes": [7, None]}
    assert found["grid", "wgan", 0.1] == {"modes": [20.0, 1.0, 10, "standard error"]}
    assert found["ring", "wgan", 0.2] is None
    assert found["grid", "gan", None] == {"high-quality": [0.9, None]}


def test_what_a_user_changes_has_no_published_number(registry):
    def published(*settings):
        jobs = planned(registry, asked={"datasets": ["ring"], "seeds": 1}, settings=settings).jobs
        assert len({job.spec.id for job in jobs}) == len(jobs)
        return [(job.spec.variant, job.spec.options.get("clip"), bool(job.published)) for job in jobs]

    assert published() == [("gan", None, True), ("wgan", 0.1, True), ("wgan", 0.2, False)]
    assert published("gan.lr=1e-3") == published(), "it is what the preset has"
    assert published("gan.lr=1e-4") == [("gan", None, False), ("wgan", 0.1, True), ("wgan", 0.2, False)]
    assert published("mlp.width=8") == [("gan", None, False), ("wgan", 0.1, False), ("wgan", 0.2, False)]
    assert published("wgan.clip=0.1") == [("gan", None, True), ("wgan", 0.1, True)], "two rows have become one"
    assert published("wgan.clip=0.2") == [("gan", None, True), ("wgan", 0.2, False)]


def test_a_scaled_preset_is_another_run_and_says_so(registry):
    whole, part = planned(registry).jobs[0].spec, planned(registry, 0.05).jobs[0].spec
    assert str(part.budget) == "50-images" and part.preset == "tiny-table × 0.05"
    assert whole.id != part.id


def test_a_run_without_a_preset_keeps_its_name():
    from ganbench.training.budget import Budget

    plain = RunSpec("gan", "mnist", "dcgan", Budget(64_000, "images"), 0, 28, 64, numbers=1)
    assert plain.id == "64c59876882b7f46"


def test_a_part_can_be_asked_for(registry):
    made = planned(registry, asked={"variants": ["w*"], "datasets": ["ring"], "seeds": 1}, settings=("gan.lr=1",))
    assert [(job.spec.variant, job.spec.dataset, job.spec.seed) for job in made.jobs] == [("wgan", "ring", 0)] * 2
    jobs = planned(registry, settings=("wgan.lr=0.5",)).jobs
    (changed,) = {job.spec.options["lr"] for job in jobs if job.spec.variant == "wgan"}
    assert changed == 0.5


def test_an_option_of_a_backbone_that_shares_its_name_with_a_variant_reaches_all_rows(registry):
    request = Request([], [], settings=("pacgan.units=10", "pacgan.packing=2"))
    jobs = plan_preset("pacgan-synthetic", 0.005, request, {"datasets": ["ring"], "seeds": 1}, registry).jobs
    units = {job.spec.config["backbone"]["units"] for job in jobs}
    assert units == {10}, "the backbone has it, and so have all that are built on it"
    assert {job.spec.config["variant"]["packing"] for job in jobs if job.spec.variant == "pacgan"} == {2}
    assert len({job.spec.variant for job in jobs}) > 3


@pytest.mark.parametrize(
    ("scale", "asked", "told"),
    [
        (0, {}, "--scale 0: name a share"),
        (1.5, {}, "--scale 1.5: name a share"),
        (float("nan"), {}, "--scale nan: name a share"),
        (1, {"budget": "5-images"}, "--budget: the preset 'tiny-table' fixes it"),
        (1, {"datasets": ["mnist"]}, "--dataset mnist: the preset 'tiny-table' has ring, grid"),
        (1, {"variants": ["lsgan"]}, "--variants lsgan: the preset 'tiny-table' has gan, wgan"),
    ],
)
def test_what_a_preset_fixes_is_fixed(registry, scale, asked, told):
    with pytest.raises(UserError) as caught:
        planned(registry, scale, asked)
    assert told in str(caught.value)


def run(tmp_path, *arguments):
    base = ["run", "--plugin", str(PLUGIN), "--results", str(tmp_path / "results"), "--device", "cpu"]
    return CliRunner().invoke(main, [*base, *arguments])


def test_published_numbers_stand_beside_ours(tmp_path):
    result = run(tmp_path, "--preset", "tiny-table", "--scale", "0.1", "--dataset", "ring", "--seeds", "1")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "### ring, mlp, batch 16, 100-images, fp32, preset tiny-table × 0.1"
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    header, *rows = rows
    column = header.index("modes↑")
    published = {above[0]: row[column] for above, row in pairwise(rows) if row[0] == "↳ *published*"}
    assert {label.split()[0]: number for label, number in published.items()} == {"gan": "6.3 (0.5)", "wgan": "7"}
    assert len(rows) >= 5
    assert "- Published: Nobody et al. 2026, table 3. Smaller networks" in result.stdout
    assert "Note: tiny-table × 0.1: Nobody et al. 2026, table 3. Smaller networks" in result.stderr
    records = [json.loads(path.read_text()) for path in (tmp_path / "results").rglob("seed*.json")]
    assert {record["spec"]["preset"] for record in records} == {"tiny-table × 0.1"}
    report = CliRunner().invoke(main, ["report", "--results", str(tmp_path / "results")])
    assert report.stdout.strip() == result.stdout.strip()
    table = CliRunner().invoke(main, ["report", "--results", str(tmp_path / "results"), "--format", "csv"]).stdout
    assert "tiny-table × 0.1" in table


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--preset", "tiny-tabel"], "unknown preset 'tiny-tabel': did you mean 'tiny-table'"),
        (["--preset", "tiny-table", "--batch", "8"], "--batch: the preset 'tiny-table' fixes it"),
        (["--variants", "gan"], "--dataset is missing"),
        (["--dataset", "ring"], "--variants is missing"),
        (["--variants", "gan", "--dataset", "ring", "--scale", "0.5"], "--scale 0.5 is of a preset's budget"),
    ],
)
def test_a_wrong_request_is_one_sentence(tmp_path, arguments, told):
    result = run(tmp_path, *arguments)
    assert result.exit_code == 2 and told in result.stderr and "Traceback" not in result.stderr


def test_presets_are_listed():
    result = CliRunner().invoke(main, ["list", "presets", "--plugin", str(PLUGIN)])
    assert "tiny-table" in result.stdout and "two GANs on a ring" in result.stdout
