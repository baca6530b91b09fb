"""What a plugin does to look better than it is: its run ends in an error that says so, an honest one is not harmed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ganbench.errors import UserError
from ganbench.results.store import ResultStore
from ganbench.runs.execute import execute
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover
from ganbench.testing.kit import run_checks

HERE = Path(__file__).parents[1]
TINY, CHEATS = HERE / "tiny_plugin.py", HERE / "cheats" / "cheats.py"
CAUGHT = {
    "OwnOptimizer": "changes (G.0.weight|its weights)",
    "LateOptimizer": "changes (G.0.weight|its weights)",
    "ThroughData": "changes its weights in step",
    "TenSteps": "the optimizer of G .* changes G.0.weight 10 times in one update",
    "OthersWeights": "an update of D .* changes G.0.weight, which is not its weight",
    "TrainsInSample": "changes G.0.weight while it is sampled",
    "TrainsInBuild": "FLOPs in build, more than a step",
    "HandsOutBatches": "come from more than its weights",
    "HandsOutFromModule": "are images of the training split, bit for bit",
    "HandsOutFromBuffer": "are images of the training split, bit for bit",
    "ReadsTestSplit": "are images of the test split, bit for bit",
    "SecretNetwork": "come from more than its weights",
    "AltersMeters": "the meters changed while",
    "AltersAllMeters": "the meters of .* changed while it was sampled",
    "WorksBetweenSamples": "FLOPs, but steps of its phase are charged with",
    "UncountedProducts": "outside of matrix products",
    "ChangesOptions": "changes its options in build: lr=0.5",
    "ReplacesOptions": "changes its options in build: lr=0.7",
    "NoUpdates": "makes no update in",
    "NeverUpdatesG": "never updates G in .* only D",
    "UpdatesGInName": "its weights are those it began with",
    "ShortPeriod": "set `period` in build",
    "TooMany": r"samples of the shape \(512, 1, 8, 8\) where \(64, 1, 8, 8\) was asked for",
    "TooFew": r"samples of the shape \(2, 1, 8, 8\)",
    "OtherShape": r"samples of the shape \(64, 1, 16, 16\)",
    "OtherRange": "in magnitude; images lie in",
}
pytestmark = pytest.mark.usefixtures("switches")


@pytest.fixture(scope="module")
def registry():
    found = discover([TINY, CHEATS])
    split = CHEATS.with_name("test_split.pt")
    torch.save(found.get("dataset", "tiny").item.load(Path(), 8).test.images, split)
    yield found
    split.unlink()


def job_of(registry, variant, **changes):
    request = {
        "variants": [variant],
        "datasets": ["tiny"],
        "budget": "2560-images",  # 40 steps
        "seeds": 1,
        "marks": 2,
        "samples": 64,
        "settings": ("mlp.width=16",),
        "metrics": ("tiny-mean", "grad-norm-g"),
        "plugins": (TINY, CHEATS),
    }
    (job,) = plan(Request(**(request | changes)), registry).jobs
    return job


def test_every_cheat_is_seen(registry):
    names = registry.find("variant", "cheat-*")
    assert {f"cheat-{name.lower()}" for name in CAUGHT} == set(names)


@pytest.mark.parametrize("name", CAUGHT)
def test_a_cheat_is_an_error_with_its_reason(name, registry, tmp_path):
    record = execute(job_of(registry, f"cheat-{name.lower()}"), ResultStore(tmp_path), registry, threads=1)
    assert record.status == "error", record
    assert record.values == {}
    with pytest.raises(AssertionError, match=CAUGHT[name]):
        raise AssertionError(record.error)


def test_an_honest_variant_is_done(registry, tmp_path):
    record = execute(job_of(registry, "honest"), ResultStore(tmp_path), registry, threads=1)
    assert (record.status, record.error, record.unscored) == ("done", "", {})


SEEN_BY_CHECK = set(CAUGHT) - {"UpdatesGInName"}
"""Of these the conformance kit finds all but the one for which a few steps are too few to tell."""


@pytest.mark.parametrize("name", CAUGHT)
def test_the_conformance_kit_finds_a_cheat(name, registry):
    outcomes = run_checks(f"cheat-{name.lower()}", registry=registry)
    failed = [outcome.name for outcome in outcomes if not outcome.passed]
    assert bool(failed) == (name in SEEN_BY_CHECK), failed


def test_the_conformance_kit_passes_an_honest_variant(registry):
    assert [outcome for outcome in run_checks("honest", registry=registry) if not outcome.passed] == []


# What is trained is what was planned


EDITED = """
from ganbench import Update, hookimpl
from HELPER import Honest, FACTOR


class Edited(Honest):
    name = "edited"

    def step(self, batch, clock):
        for update in super().step(batch, clock):
            yield Update(update.player, FACTOR * update.loss)


@hookimpl
def ganbench_variants():
    return [Edited]
"""


def edited(tmp_path, number):
    """Write a plugin of one file with a helper beside it, both of names that no other test uses."""
    helper = f"helper_{number}"
    (tmp_path / f"{helper}.py").write_text(CHEATS.read_text() + "\nFACTOR = 1\n")
    plugin = tmp_path / "edited.py"
    plugin.write_text(f"import sys\nsys.path.append({str(tmp_path)!r})\n" + EDITED.replace("HELPER", helper))
    return plugin, tmp_path / f"{helper}.py"


@pytest.mark.parametrize("which", [0, 1], ids=["plugin", "helper"])
def test_a_plugin_edited_after_the_plan_is_not_trained(which, tmp_path):
    files = edited(tmp_path, which)
    job = job_of(discover([TINY, files[0]]), "edited", plugins=(TINY, files[0]))
    changed = files[which]
    changed.write_text(changed.read_text() + "\nMORE = 2\n")
    record = execute(job, ResultStore(tmp_path / "r"), discover(job.plugins, job.origins), threads=1)
    assert record.status == "error" and record.meters.steps == 0
    assert "code of the variant 'edited'" in record.error and "nothing was trained" in record.error


def test_a_remark_after_the_plan_changes_nothing(tmp_path):
    plugin, _ = edited(tmp_path, 2)
    job = job_of(discover([TINY, plugin]), "edited", plugins=(TINY, plugin))
    plugin.write_text(plugin.read_text() + "\n# a remark\n")
    assert execute(job, ResultStore(tmp_path / "r"), discover(job.plugins, job.origins), threads=1).status == "done"


def pictures(folder, number=90):
    from PIL import Image

    folder.mkdir()
    generator = torch.Generator().manual_seed(3)
    for index in range(number):
        pixels = torch.randint(0, 256, (16, 16), dtype=torch.uint8, generator=generator)
        Image.fromarray(pixels.numpy()).save(folder / f"{index}.png")
    return folder


@pytest.mark.parametrize("size", [0, 16])
def test_the_fingerprint_of_a_plan_is_that_of_the_data_trained_on(size, registry, tmp_path):
    from ganbench.runs.run import Run

    asked = {"datasets": [f"folder:{pictures(tmp_path / 'images')}"], "size": size, "metrics": ("grad-norm-g",)}
    job = job_of(registry, "honest", backbone="mlp", batch=32, samples=8, **asked)
    run = Run(job, ResultStore(tmp_path / "r"), registry, 1)
    assert run.bench.data.fingerprint == job.spec.data and run.bench.size == job.spec.size == 16


def test_images_changed_after_the_plan_are_not_trained_on(registry, tmp_path):
    from PIL import Image

    folder = pictures(tmp_path / "images")
    asked = {"datasets": [f"folder:{folder}"], "metrics": ("grad-norm-g",), "batch": 32, "samples": 8}
    job = job_of(registry, "honest", backbone="mlp", **asked)
    Image.new("L", (16, 16)).save(folder / "5.png")
    store = ResultStore(tmp_path / "r")
    record = execute(job, store, registry, threads=1)
    assert record.status == "error" and record.meters.steps == 0
    assert f"the images of folder:{folder} changed after this run was planned" in record.error


# Only what a run uses is loaded


def test_a_run_loads_the_plugins_that_it_uses_and_its_record_names_them_all(registry, tmp_path):
    stranger = tmp_path / "stranger.py"
    source = EDITED.replace("from HELPER import Honest, FACTOR", "from ganbench import Variant as Honest\nFACTOR = 1")
    stranger.write_text(f"{source}\nimport os\nos.environ['STRANGER'] = 'here'\n".replace("    def step", "    def x"))
    everything = registry_with(stranger)
    job = job_of(everything, "honest", plugins=(TINY, CHEATS, stranger))
    assert stranger not in job.plugins and set(job.plugins) == {TINY, CHEATS}
    mine = discover(job.plugins, job.origins)
    assert set(mine.entries["variant"]) == {"honest", *registry.find("variant", "cheat-*")} | set(
        discover([TINY], [("none", "none")]).entries["variant"]
    )
    assert len(mine.loaded) < len(everything.loaded)
    record = execute(job, ResultStore(tmp_path / "r"), mine, threads=1)
    assert "also_loaded" not in record.provenance
    record = execute(job, ResultStore(tmp_path / "r2"), everything, threads=1)
    assert "stranger.py" in record.provenance["also_loaded"]


def registry_with(stranger):
    import os

    stranger.write_text(
        stranger.read_text()
        .replace("class Edited(Honest):", "class Edited(Plain):")
        .replace(
            "from ganbench import Variant as Honest", f"from {'ganbench_plugins.variants.gan'} import GAN as Plain"
        )
    )
    found = discover([TINY, CHEATS, stranger])
    assert "STRANGER" not in os.environ
    return found


# A metric added later


def test_a_metric_that_fails_after_the_run_leaves_the_run_as_it_was(registry, tmp_path):
    store = ResultStore(tmp_path)
    first = execute(job_of(registry, "honest", metrics=("tiny-mean",)), store, registry, threads=1)
    store.traces_path(first.spec).write_bytes(b"cut")
    later = job_of(registry, "honest", metrics=("tiny-mean", "tiny-late", "grad-norm-g"))
    record = execute(later, store, registry, threads=1)
    assert record.status == "done" and record.values["tiny-mean"] == first.values["tiny-mean"]
    assert "tiny-late" in record.values and "is damaged" in record.unscored["grad-norm-g"]


def test_weights_of_another_network_leave_a_metric_unscored_and_the_run_done(registry, tmp_path):
    store = ResultStore(tmp_path)
    first = execute(job_of(registry, "honest", metrics=("tiny-mean",)), store, registry, threads=1)
    torch.save({"variant": {"other": torch.zeros(3)}}, store.work(first.spec) / "final.pt")
    record = execute(job_of(registry, "honest", metrics=("tiny-mean", "tiny-late")), store, registry, threads=1)
    assert record.status == "done" and record.values == first.values
    assert record.unscored["tiny-late"].startswith("unavailable: ")


# Values of a metric


def test_a_metric_gives_values_of_its_own_name_alone(registry, tmp_path):
    from ganbench import Metric, Value

    mine = discover([TINY, CHEATS])
    entry = mine.get("metric", "tiny-mean")
    for given in ("fd-classifier", "tiny", "tiny-late"):
        metric = Metric("tiny-mean", lambda scene, given=given: {given: Value(0.001)})
        mine.entries["metric"]["tiny-mean"] = [replace(entry, item=metric)]
        job = job_of(mine, "honest", metrics=("tiny-mean",))
        record = execute(job, ResultStore(tmp_path / given), mine, threads=1)
        assert record.values == {} and f"gives a value '{given}'" in record.unscored["tiny-mean"]


def test_a_control_that_calls_itself_a_loss_is_refused(tmp_path):
    plugin = tmp_path / "posing.py"
    plugin.write_text(
        "from ganbench import Control, hookimpl\n"
        "class Posing(Control):\n"
        "    name, family = 'posing', 'loss'\n"
        "    def rows(self, seen, unseen):\n"
        "        return unseen\n"
        "@hookimpl\n"
        "def ganbench_variants():\n"
        "    return [Posing]\n"
    )
    with pytest.raises(UserError, match="is a Control and calls its family 'loss'"):
        discover([plugin])


# The planner survives plugins


BUILDS = """
from ganbench import Update, Variant, hookimpl


class Broken(Variant):
    name = "broken"

    def build(self, parts):
        FAILURE

    def optimizers(self):
        return {}

    def step(self, batch, clock):
        yield from ()


@hookimpl
def ganbench_variants():
    return [Broken]
"""


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
        ("raise BaseException('all of it')", "BaseException: all of it"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("raise MemoryError", "MemoryError"),
        ("import torch; torch.empty(10**15)", "RuntimeError"),
        ("self.G = parts.nothing()", "AttributeError"),
    ],
)
def test_a_plugin_that_cannot_be_built_is_one_skip_with_its_reason(failure, reason, tmp_path):
    plugin = tmp_path / "broken.py"
    plugin.write_text(BUILDS.replace("FAILURE", failure))
    asked = {"variants": ["broken", "honest"], "datasets": ["tiny"], "seeds": 1, "metrics": ("tiny-mean",)}
    made = plan(Request(**asked), discover([TINY, CHEATS, plugin]))
    assert [job.spec.variant for job in made.jobs] == ["honest"]
    ((skip),) = made.skips
    assert skip.variant == "broken" and reason in skip.reason and "broken.py, line 9" in skip.reason


def test_networks_that_no_memory_holds_are_a_skip(registry):
    made = plan(Request(["honest"], ["tiny"], settings=("mlp.width=100000000",), metrics=("tiny-mean",)), registry)
    assert made.jobs == [] and "it cannot be built: " in made.skips[0].reason


@pytest.mark.parametrize(("variant", "least"), [("mmd-gan", 2), ("ebgan", 2), ("dfm", 2), ("infogan", 2)])
def test_a_batch_that_is_too_small_for_a_variant_is_a_skip(variant, least, registry):
    def planned(batch):
        return plan(Request([variant], ["digits"], seeds=1, batch=batch, metrics=("grad-norm-g",)), registry)

    (skip,) = planned(1).skips
    assert skip.reason.startswith("--batch 1 is too small for it (")
    assert skip.reason.endswith(f"it needs at least {least}")
    assert planned(least).skips == []


def test_a_setting_given_twice_is_refused(registry):
    asked = Request(["honest"], ["tiny"], settings=("mlp.width=8", "mlp.width=16"))
    with pytest.raises(UserError, match=r"--set mlp\.width is given twice, as 8 and 16"):
        plan(asked, registry)
