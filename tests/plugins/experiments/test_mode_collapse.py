"""Mode collapse: frames show what the marks counted, and claims follow from modes that are known by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganbench_plugins.datasets.points import Mixture
from ganbench_plugins.experiments.mode_collapse import Config, ModeCollapse
from scipy import stats
from torch import Tensor, nn

from ganbench.cli.keywords import asked as as_asked
from ganbench.contract.data import ImageSet, Splits
from ganbench.contract.experiments import Finding
from ganbench.contract.types import Value
from ganbench.errors import UserError
from ganbench.results.record import Mark, RunRecord, RunSpec
from ganbench.results.store import ResultStore
from ganbench.runs.execute import execute
from ganbench.runs.lab import HarnessLab
from ganbench.runs.made import MadeRun
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import Registry, discover
from ganbench.scoring.samples import samples_at
from ganbench.training.budget import Budget, Meters

PLUGIN = Path(__file__).parents[2] / "tiny_plugin.py"
CPU = torch.device("cpu")
SQUARE = Mixture([(1, 1), (1, -1), (-1, 1), (-1, -1)], 0.01)
POINTS = Splits(ImageSet(SQUARE.draw(200, 0)), ImageSet(SQUARE.draw(100, 1)), "0" * 64, modes=SQUARE)


PAIR: list[tuple[str, dict[str, int]]] = [("pacgan", {"packing": 2}), ("gan", {})]


class Player(nn.Module):
    """What an experiment asks of a variant: samples of some modes alone, in turn."""

    name, task, device = "player", "generate", CPU

    def __init__(self, modes: Sequence[int]) -> None:
        super().__init__()
        self.modes = modes

    def sample(self, n: int, cond: Tensor | None = None) -> Tensor:
        return SQUARE.centres[list(self.modes)].float().repeat(n, 1)[:n]


class ByHand:
    """A finished run of two marks that has these modes at each."""

    device, data, shares = CPU, POINTS, (0.5, 1.0)

    def __init__(self, variant: str, seed: int, *modes: Sequence[int], dataset: str = "ring", **config: Any) -> None:
        spec = RunSpec(
            variant, dataset, "mlp", Budget(100, "updates"), seed, 0, 8, options=config, config={"variant": config}
        )
        self.modes = dict(zip(self.shares, modes, strict=True))
        curve = [
            Mark(share, Meters(), {"modes": Value(float(len(of))), "high-quality": Value(1.0)})
            for share, of in self.modes.items()
        ]
        self.record = RunRecord(spec, "done", curve=curve)

    def at(self, share: float = 1.0) -> Any:
        return Player(self.modes[share])

    def fresh(self) -> Any:
        return Player([0])


def find(made: Sequence[Any], failed: Mapping[str, str] | None = None, lost: Sequence[RunSpec] = ()) -> Finding:
    registry: Any = None
    root = Path("nowhere")
    lab = HarnessLab(
        Config(points=40), [], [0], registry,
        name="mode-collapse", folder=root, code="", root=root, weights=None, device=CPU, begin=lambda step: "",
    )  # fmt: skip
    lab.runs, lab.failed, lab.lost = made, failed or {}, lost
    return ModeCollapse().find(lab)


def test_means_have_intervals_over_seeds_and_one_run_has_none() -> None:
    made = [ByHand("gan", seed, [0], [0, 1, 2][: seed + 1]) for seed in range(3)] + [ByHand("hinge", 0, [1], [1, 2])]
    (table,) = find(made).tables
    half = stats.t.ppf(0.975, 2) * np.std([1, 2, 3], ddof=1) / math.sqrt(3)
    assert list(table.columns) == ["variant", "runs", "50 %", "100 %", "high-quality at the end"]
    assert list(table.rows[0]) == ["gan", "3", "1 ± 0", f"2 ± {half:.2g}", "1 ± 0"]
    assert list(table.rows[1]) == ["hinge", "1", "1", "2", "1"]


def test_the_main_mode_is_where_most_samples_lie() -> None:
    measured = find([ByHand("gan", 0, [2, 2, 1], [3])]).measured
    assert [(row["share"], row["main_mode"]) for row in measured] == [(0.0, 0), (0.5, 2), (1.0, 3)]
    assert [row["main_share"] for row in measured] == pytest.approx([1, 2 / 3, 1], abs=4 / 2500), "of 2500 samples"
    assert measured[0]["modes"] is None, "nothing was counted before the first step"


def claims_of(made: Sequence[Any]) -> list[bool | None]:
    return [claim.holds for claim in find(made).claims]


def test_what_metz_et_al_show_is_found_where_it_is_so_and_not_where_it_is_not() -> None:
    rotating = [ByHand("unrolled", seed, [0], [1], steps=0) for seed in range(3)]
    covering = [ByHand("unrolled", seed, [0, 1], [0, 1, 2, 3], steps=5) for seed in range(3)]
    assert claims_of([*rotating, *covering]) == [True, True, True]
    still = [ByHand("unrolled", seed, [0], [0], steps=0) for seed in range(3)]
    assert claims_of([*still, *covering])[0] is False, "it stays where it is"
    broad = [ByHand("unrolled", seed, [0, 1, 2], [1, 2, 3], steps=0) for seed in range(3)]
    assert claims_of([*broad, *covering])[0] is False, "three of four are not few"
    lost = [ByHand("unrolled", seed, [0], [0], steps=5) for seed in range(2)]
    best = [ByHand("unrolled", seed, [0, 1], [0, 1, 3], steps=0) for seed in range(2)]
    assert claims_of([*best, *lost])[1:] == [False, False]
    assert claims_of([rotating[0], covering[0]])[2] is None, "one seed has no interval"
    assert claims_of(rotating) == []


def test_packs_are_compared_seed_by_seed() -> None:
    packs = [ByHand("pacgan", seed, [0], [0, 1, 2, 3][: 2 + seed], packing=2) for seed in range(3)]
    plain = [ByHand("gan", seed, [0], [0, 1, 2][: 1 + seed]) for seed in range(3)]
    (claim,) = find([*packs, *plain]).claims
    assert claim.holds is True and "difference by seed 1 ± 0" in claim.found, "each by one, however seeds differ"
    assert claims_of([*packs, *[ByHand("gan", 0, [0], [0, 1, 2, 3])]]) == [None]
    full = [ByHand(name, seed, [0], [0, 1, 2, 3], **of) for name, of in PAIR for seed in range(3)]
    (claim,) = find(full).claims
    assert claim.holds is None and claim.reason == "There is no room: the second has 4 in every run."
    three = [ByHand("pacgan", seed, [0], [0, 1, 2, 3], packing=3) for seed in range(3)]
    assert claims_of([*three, *plain]) == [], "the table speaks of packs of two"
    two = [*packs, *[ByHand("pacgan", 0, [0], [0], packing=2, lr=1)]]
    assert claims_of([*two, *plain]) == [], "which of two rows the paper's is, is not known"


def test_rows_are_named_by_what_their_variant_differs_in() -> None:
    made = [ByHand("unrolled", 0, [0], [1], steps=0, lr=1), ByHand("unrolled", 0, [0], [1], lr=1, steps=5)]
    labels = [row[0] for row in find([*made, ByHand("gan", 0, [0], [1], lr=2)]).tables[0].rows]
    assert labels == ["unrolled steps=0", "unrolled steps=5", "gan"]


def test_failures_and_data_without_known_modes_are_told() -> None:
    digits = ByHand("gan", 0, [0], [1], dataset="digits")
    digits.data = Splits(ImageSet(torch.zeros(4, 1, 8, 8)), ImageSet(torch.zeros(4, 1, 8, 8)), "0" * 64)
    with pytest.raises(UserError, match="mode-collapse counts modes of points: its data are no points in the plane"):
        find([digits])
    lost = ByHand("gan", 1, [0], [1]).record.spec
    finding = find([digits, ByHand("gan", 0, [0], [1])], {"gan ring seed 1": "diverged: loss of D"}, [lost])
    assert finding.left_out["gan ring seed 1"] == "diverged: loss of D" and "gan digits seed 0" in finding.left_out
    assert [list(row[:2]) for row in finding.tables[0].rows] == [["gan", "1 of 2"]]
    assert set(finding.figures) == {"film-ring", "modes-ring"}


def test_a_run_without_counts_shows_none_and_decides_nothing() -> None:
    bare = ByHand("gan", 0, [0], [1])
    bare.record.curve.clear()
    finding = find([bare, ByHand("pacgan", 0, [0], [1], packing=2)])
    assert list(finding.tables[0].rows[0])[2:] == ["-", "-", "-"] and not finding.claims


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover([PLUGIN])


def jobs_of(requests: Sequence[Mapping[str, Any]], registry: Registry) -> list[Any]:
    """Plan requests as `ganbench run` does: what it does not know is refused."""
    jobs = []
    for request in requests:
        with as_asked("run", request) as options:
            fields = {name: options[name] for name in ("variants", "backbone", "budget", "seeds", "metrics", "marks")}
            wanted = Request(
                **fields, datasets=options["datasets"], settings=options["settings"], sweeps=options["sweeps"],
                score=options["score"], keep=options["keep"], samples=options["samples"], batch=options["batch"],
            )  # fmt: skip
            jobs += plan(wanted, registry).jobs
    return jobs


def test_runs_are_those_of_the_notebook_with_and_without_unrolling(registry: Registry) -> None:
    jobs = jobs_of(ModeCollapse().runs(Config(), {}), registry)
    assert len(jobs) == 6 * 2 * 3
    unrolled = [job.spec.config["variant"] for job in jobs if job.spec.variant == "unrolled"]
    assert {config["steps"] for config in unrolled} == {0, 5}
    assert {(c["generator_lr"], c["discriminator_lr"]) for c in unrolled} == {(1e-3, 1e-4)}
    assert {(job.spec.config["backbone"]["width"], job.keep) for job in jobs} == {(128, (0.2, 0.4, 0.6, 0.8))}


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        ({"variants": ["plain"], "marks": 1}, {("plain", None)}),
        ({"variants": ["unrolled"], "set": ["unrolled.steps=3"]}, {("unrolled", 3)}),
        ({"variants": ["gan", "unrolled"], "set": ["gan.lr=1e-3", "mlp.width=8"]},
         {("gan", None), ("unrolled", 0), ("unrolled", 5)}),
        ({"variants": ["unrolled"], "backbone": "pacgan", "marks": 2}, {("unrolled", 0), ("unrolled", 5)}),
    ],
)  # fmt: skip
def test_what_is_asked_for_is_preferred(
    registry: Registry, asked: dict[str, Any], rows: set[tuple[str, int | None]]
) -> None:
    (request,) = ModeCollapse().runs(Config(), {**asked, "dataset": ["ring"]})
    settings = {text.partition("=")[0]: text for text in (*request["set"], *asked.get("set", ()))}  # the user's win
    jobs = jobs_of([{**request, "set": list(settings.values())}], registry)
    assert {(job.spec.variant, job.spec.config["variant"].get("steps")) for job in jobs} == rows
    if marks := asked.get("marks"):
        assert {(job.marks, job.keep) for job in jobs} == {(marks, (0.5,) if marks == 2 else ())}


@pytest.mark.usefixtures("switches")
def test_frames_show_what_the_marks_counted(registry: Registry, tmp_path: Path) -> None:
    store, made = ResultStore(tmp_path), []
    request = ModeCollapse().runs(Config(frames=2), {"variants": ["plain"], "dataset": ["ring"], "seeds": 1})
    for job in jobs_of([{**each, "budget": "1k-images", "batch": 64} for each in request], registry):
        record = execute(job, store, registry, threads=1)
        made.append(MadeRun(record, store, registry, root=tmp_path, device=CPU))
    finding = find(made)
    known = made[0].data.modes
    assert known is not None and [row["share"] for row in finding.measured] == [0, 0.5, 1]
    for row in finding.measured[1:]:
        nearest, good = known.assign(samples_at(made[0], row["share"], 2500).images)
        assert row["modes"] == len(set(nearest[good].tolist()))
        assert row["high-quality"] == pytest.approx(good.double().mean().item(), abs=1e-12)
        assert row["high-quality_of_real"] == pytest.approx(stats.chi2.cdf(9, 2), abs=1e-12)
    axes = finding.figures["film-ring"][0].axes[1]
    shown = np.asarray(axes.collections[1].get_offsets())
    assert shown == pytest.approx(samples_at(made[0], 0.5, 40).images.numpy())
