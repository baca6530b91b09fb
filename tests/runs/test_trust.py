"""What a plugin does to look better than it is: its run ends in an error that says so, an honest one is not harmed."""

from pathlib import Path

import pytest
import torch

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
