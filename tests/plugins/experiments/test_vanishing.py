"""The vanishing gradient: what is asked of runs, what is remembered, its numbers by another way, and its claims."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ganbench_plugins.experiments.vanishing import FACTORS, Config, Vanishing
from scipy import stats

from ganbench import Curve, UserError, derive, seeded
from ganbench.results.record import RunRecord, RunSpec
from ganbench.results.store import ResultStore
from ganbench.runs.execute import execute
from ganbench.runs.lab import HarnessLab
from ganbench.runs.made import MadeRun
from ganbench.runs.options import resolve
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import Registry, discover
from ganbench.seeds import seed_device
from ganbench.training.budget import Budget, Meters

PLUGIN = Path(__file__).parents[2] / "tiny_plugin.py"
CPU = torch.device("cpu")
BASE = "plain mlp.width=16 tiny"
pytestmark = pytest.mark.usefixtures("switches")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover([PLUGIN])


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> Counter[float]:
    """Count the probes that are made, by the epochs before them."""
    counted, probe = Counter[float](), MadeRun.probe

    def counting(self: MadeRun, share: float, *given: Any, **named: Any) -> Any:
        counted[round(self.epochs(share), 6)] += 1
        return probe(self, share, *given, **named)

    monkeypatch.setattr(MadeRun, "probe", counting)
    return counted


def lab_of(registry: Registry, folder: Path, *variants: str, seeds: Any = 1, **options: str) -> HarnessLab:
    """Make the runs that the experiment asks for, on the tiny data, and the lab that holds them."""
    given = {"at": "0.5,1", "iterations": "8", **options}
    chosen = resolve(Vanishing, "vanishing", given)
    asked = {"variants": variants or ("plain",), "dataset": "tiny", "set": ["mlp.width=16"], "seeds": seeds}
    lab = HarnessLab(
        chosen, variants, [0], registry, name="vanishing", folder=folder / "memory", code="", root=folder, weights=None,
        device=CPU, begin=lambda step: "",
    )  # fmt: skip
    store, runs = ResultStore(folder / "runs"), list[MadeRun]()
    for wanted in Vanishing().runs(chosen, asked):
        request = Request(
            wanted["variants"], [wanted["dataset"]], budget=wanted["budget"], seeds=wanted["seeds"],
            metrics=wanted["metrics"], marks=wanted["marks"], settings=wanted["set"], sweeps=wanted.get("sweep", ()),
            keep=wanted["keep"],
        )  # fmt: skip
        for job in plan(request, registry).jobs:
            record = store.get(job.spec) or execute(job, store, registry, threads=1)
            runs.append(MadeRun(record, store, registry, root=folder, device=CPU))
    lab.runs = [run for run in runs if run.record.status == "done"]
    lab.failed = {run.record.spec.variant: run.record.error for run in runs if run.record.status != "done"}
    return lab


def curve_of(found: Any, epoch: float, loss: str, seed: int = 0, factor: str = "", variant: str = "plain") -> Curve:
    rows = [
        row
        for row in found.measured
        if (row["epoch"], row["loss"], row["seed"], row["factor"]) == (epoch, loss, seed, factor)
        and (row["variant"], row["options"]) == (variant, "mlp.width=16")
    ]
    return Curve([row["iteration"] for row in rows], [row["grad_norm"] for row in rows])


def test_looks_are_after_epochs_of_the_data_and_at_the_run_of_that_length(registry, tmp_path):
    lab = lab_of(registry, tmp_path, at="2.5,1")
    (run,) = lab.runs
    assert run.record.meters.images == 640, "the training split has 256 images"
    assert run.shares == [0.4, 1.0] and [run.epochs(share) for share in run.shares] == pytest.approx([1, 2.5])
    (short,) = lab_of(registry, tmp_path, at="1").runs
    assert short.record.meters.images == 256
    assert short.fingerprint() == run.fingerprint(0.4) != run.fingerprint()


def test_the_first_norm_is_that_of_another_way(registry, tmp_path):
    lab = lab_of(registry, tmp_path)
    found = Vanishing().find(lab)
    variant = lab.runs[0].at(0.5).train()
    bench = lab.runs[0]._opened.bench
    with seeded(derive(0, "probe")):
        D = bench.backbone(bench.spec).discriminator()
    variant.requires_grad_(True)
    seed_device(CPU, derive(0, "probe", "latents"))
    z = torch.randn(64, variant.z_dim)
    share = torch.sigmoid(D(variant.G(z)))
    for loss, value in (("log(1-D)", torch.log(1 - share).mean()), ("-log D", -torch.log(share).mean())):
        variant.zero_grad()
        value.backward(retain_graph=True)
        norm = math.sqrt(sum(float(weight.grad.double().square().sum()) for weight in variant.G.parameters()))
        assert curve_of(found, 0.5, loss).norms[0] == pytest.approx(norm, rel=1e-4)


def test_tables_hold_means_and_intervals_over_seeds(registry, tmp_path):
    found = Vanishing().find(lab_of(registry, tmp_path, seeds=3))
    rows = {tuple(row[:3]): row[3:] for row in found.tables[0].rows}
    assert found.tables[0].columns[3:] == ["0 updates of D", "8 updates of D", "decades"]
    for epoch in (0.5, 1.0):
        for loss in ("log(1-D)", "-log D", "own"):
            curves = [curve_of(found, epoch, loss, seed) for seed in range(3)]
            decades = [math.log10(curve.norms[-1] / curve.norms[0]) for curve in curves]
            low, high = stats.t.interval(0.95, 2, np.mean(decades), stats.sem(decades))
            first, last, told = rows[BASE, f"{epoch:g}", loss]
            assert float(first) == pytest.approx(stats.gmean([curve.norms[0] for curve in curves]), rel=5e-3)
            assert float(last) == pytest.approx(stats.gmean([curve.norms[-1] for curve in curves]), rel=5e-3)
            assert told == f"{np.mean(decades):+.2f} ± {(high - low) / 2:.2f}"
    assert found.protocol["seeds"] == [0, 1, 2] and found.protocol["images an epoch"] == 256
    (one,) = {row[-1] for row in Vanishing().find(lab_of(registry, tmp_path, at="1")).tables[0].rows[:1]}
    assert "±" not in one, "one seed has no interval"


def test_what_was_probed_is_remembered_also_by_a_longer_run(registry, tmp_path, probes):
    first = Vanishing().find(lab_of(registry, tmp_path))
    assert probes == {0.5: 1, 1.0: 1}
    again = Vanishing().find(lab_of(registry, tmp_path))
    assert probes == {0.5: 1, 1.0: 1} and again.measured == first.measured
    longer = Vanishing().find(lab_of(registry, tmp_path, at="0.5,1,2"))
    assert probes == {0.5: 1, 1.0: 1, 2.0: 1}
    assert curve_of(longer, 1.0, "own") == curve_of(first, 1.0, "own")
    Vanishing().find(lab_of(registry, tmp_path, iterations="9"))
    assert probes == {0.5: 2, 1.0: 2, 2.0: 1}


def test_what_was_probed_before_it_was_killed_is_kept(registry, tmp_path, probes):
    lab = lab_of(registry, tmp_path)
    lab.tell = lambda text: (_ for _ in ()).throw(KeyboardInterrupt) if "after 1 epoch" in text else None
    with pytest.raises(KeyboardInterrupt):
        Vanishing().find(lab)
    assert probes == {0.5: 1}
    Vanishing().find(lab_of(registry, tmp_path))
    assert probes == {0.5: 1, 1.0: 1}


def test_factors_are_measured_after_the_fewest_epochs_and_told_against_the_first(registry, tmp_path):
    found = Vanishing().find(lab_of(registry, tmp_path, factors="true", sweep="mlp.width=4,32"))
    labels = [row[0] for row in found.tables[1].rows]
    too_many = "loss of 512 latents"
    assert labels[0] == BASE and set(labels) == {BASE, "plain mlp.width=4 tiny", "plain mlp.width=32 tiny", *FACTORS}
    assert found.left_out == {} and too_many in labels
    base = curve_of(found, 0.5, "log(1-D)")
    for label in FACTORS:
        curve = curve_of(found, 0.5, "log(1-D)", factor=label)
        (row,) = [row for row in found.tables[1].rows if row[0] == label]
        change = math.log10(curve.norms[-1] / curve.norms[0]) - math.log10(base.norms[-1] / base.norms[0])
        assert float(row[4]) == pytest.approx(change, abs=0.006)
        assert float(row[6]) == pytest.approx(math.log10(curve.norms[-1] / max(curve.norms)), abs=0.006)
        same_start = label == "4 times the updates of D"
        assert (curve.norms[0] == pytest.approx(base.norms[0], rel=1e-4)) is same_start or label.endswith(" in D")
        assert curve.iterations[-1] == (32 if label == "4 times the updates of D" else 8)
    assert all(axes.get_xscale() == axes.get_yscale() == "log" for axes in found.figures["factors"][0].axes)


def test_one_that_needs_labels_takes_part_and_what_does_not_fit_is_left_out(registry, tmp_path):
    found = Vanishing().find(lab_of(registry, tmp_path, "labelled", "real", at="0.5", factors="true"))
    assert {row["variant"] for row in found.measured} == {"labelled"}
    (label,) = [name for name in found.left_out if name.startswith("labelled")]
    assert "512 latents" in label and "256" in found.left_out[label]
    assert any(name.startswith("real") for name in found.left_out)


def test_runs_of_other_epochs_say_which_they_have(registry, tmp_path):
    lab = lab_of(registry, tmp_path, at="0.25,0.75")
    lab.options = replace(lab.options, at=(1.0, 10.0))
    with pytest.raises(UserError, match=r"kept after other epochs \(0\.25, 0\.75\), which vanishing\.at may name"):
        Vanishing().find(lab)


def test_a_run_that_diverged_is_shown(registry, tmp_path):
    found = Vanishing().find(lab_of(registry, tmp_path, "plain", "makes-nan", at="2.5"))
    assert "makes-nan" in found.left_out and {row["variant"] for row in found.measured} == {"plain"}


# Requests


def test_runs_are_asked_for_by_epochs():
    (whole,) = Vanishing().runs(Config(), {"dataset": ("digits",), "set": ["dcgan.width=16"]})
    assert Budget.parse(whole["budget"], 60_000) == Budget(1_500_000, "images")
    assert whole["keep"] == pytest.approx([1 / 25, 10 / 25, 1]) and whole["dataset"] == ("digits",)
    assert whole["seeds"] == 1 and whole["set"] == ["dcgan.width=16"]


def test_swept_options_are_of_short_runs_and_not_set_twice():
    whole, more = Vanishing().runs(Config(sweep="dcgan.width=32,64"), {"set": ["dcgan.width=16", "dcgan.lr=1e-3"]})
    assert whole["set"] == ["dcgan.width=16", "dcgan.lr=1e-3"] and "sweep" not in whole
    assert more["set"] == ["dcgan.lr=1e-3"] and more["sweep"] == ["dcgan.width=32,64"]
    assert Budget.parse(more["budget"], 60_000) == Budget(60_000, "images") and more["keep"] == [1.0]


def test_a_budget_beside_epochs_is_refused():
    with pytest.raises(UserError, match="--budget: vanishing trains for the epochs"):
        Vanishing().runs(Config(), {"budget": "10k-images"})


@pytest.mark.parametrize("at", ["0", "1,-2", "nan", "1e9", "1,1e999"])
def test_epochs_that_are_none_are_refused(at):
    with pytest.raises(UserError, match=r"vanishing: at=.*: name epochs above 0 and at most 1,000,000, as in 1,10,25"):
        resolve(Vanishing, "vanishing", {"at": at})
    with pytest.raises(UserError, match=r"vanishing\.at\.0: input should be a valid number"):
        resolve(Vanishing, "vanishing", {"at": "soon"})


# Claims, of curves that are made up


class MadeUp:
    """A run whose norms are powers of what D has learnt: `falls` and `grows` decades in `iterations` updates."""

    shares = (0.04, 0.4, 1.0)

    def __init__(self, falls: dict[float, float], grows: float, noise: float, seed: int = 0) -> None:
        spec = RunSpec("mine", "made", "up", Budget(1_500_000, "images"), seed, 28, 64)
        self.record = RunRecord(spec, "done", meters=Meters(images=1_500_000))
        self.data = SimpleNamespace(train=SimpleNamespace(images=range(60_000)))
        self.falls, self.grows, self.noise = falls, grows, noise

    def epochs(self, share: float) -> float:
        return 25 * share

    def fingerprint(self, share: float = 1.0) -> str:
        return f"{share}"

    def probe(self, share: float, iterations: int, **asked: Any) -> dict[str, Curve]:
        at = np.unique(np.geomspace(1, iterations + 1, 100).round().astype(int)) - 1
        way = np.log1p(at) / np.log1p(iterations)
        fall = self.falls[round(25 * share)] + (1.5 if asked.get("norm") == "none" else 0)
        wave = 1 + self.noise * np.where(np.arange(len(at)) % 2, 1, -1) * (np.arange(len(at)) % (len(at) - 1) > 0)
        return {
            "log(1-D)": Curve(at.tolist(), (3 * 10 ** (-fall * way)).tolist()),
            "-log D": Curve(at.tolist(), (3 * 10 ** (self.grows * way) * wave).tolist()),
        }


def claims_of(*runs: MadeUp, **options: Any) -> list[Any]:
    lab = SimpleNamespace(
        options=Config(**options), runs=runs, failed={}, tell=lambda text: None,
        once=lambda key, compute, by_options: compute(),
    )  # fmt: skip
    return Vanishing().find(lab).claims


def test_the_claims_hold_of_curves_as_the_paper_draws_them():
    decays, best, grows, varies = claims_of(MadeUp({1: 4.2, 10: 4.1, 25: 5.2}, 2.0, 0.2))
    assert [claim.holds for claim in (decays, best, grows, varies)] == [True] * 4
    assert "-5.20 decades (mine made, after 25 epochs) to -4.10 decades (mine made, after 10 epochs)" in decays.found
    assert "-5.20 decades at best" in best.found and not best.reason


def test_where_a_claim_fails_it_says_by_how_much_and_what_was_measured_to_matter():
    run = MadeUp({1: 2.3, 10: 1.2, 25: -0.6}, -1.0, 0.0)
    decays, best, grows, varies = claims_of(run)
    assert [claim.holds for claim in (decays, best, grows)] == [False, False, False]
    assert "2.7 decades less" in best.reason and "Why was not measured" in best.reason
    told = claims_of(run, factors=True)[1].reason
    assert "fall after 1 epoch changes with: no batch norm in D -1.50" in told and told.count(",") == len(FACTORS) - 1
    assert varies.holds is not True


def test_claims_are_of_the_means_over_seeds():
    falls = ({1: 3, 10: 3, 25: 6}, {1: 3, 10: 3, 25: 4})
    runs = [MadeUp(fall, 1.0, 0.2, seed) for seed, fall in enumerate(falls)]
    assert "-5.00 decades at best" in claims_of(*runs)[1].found and claims_of(*runs)[1].holds
    assert claims_of(runs[1])[1].holds is False


def test_few_updates_decide_nothing_and_prove_nothing_wrong():
    claims = claims_of(MadeUp({1: 1, 10: -1, 25: 1}, -1.0, 0.1), iterations=100)
    assert [claim.holds for claim in claims[:3]] == [None] * 3


def test_a_norm_of_zero_or_none_is_shown_as_it_is():
    class Dead(MadeUp):
        def probe(self, share: float, iterations: int, **asked: Any) -> dict[str, Curve]:
            return {loss: Curve([0, 1, iterations], [1.0, math.nan, 0.0]) for loss in ("log(1-D)", "-log D")}

    run = Dead({}, 0, 0)
    lab = SimpleNamespace(
        options=Config(), runs=[run], failed={}, tell=lambda text: None, once=lambda key, compute, by_options: compute()
    )
    found = Vanishing().find(lab)
    assert found.tables[0].rows[0][3:] == ["1", "nan", "nan", "nan", "0", "nan"]
    assert [claim.holds for claim in found.claims] == [None] * 4 and "nan decades" in found.claims[0].found
