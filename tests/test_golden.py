"""Golden trajectories: the first losses of every in-tree variant for one seed, so that none changes silently.

Processors round otherwise, and some variants blow that up within a few updates. So a run is made beside the one that is
compared, on weights that begin a millionth away: how far these two drift apart is how much may be rounding.

Each file also says by whom it was made: under `made` stands, for `ganbench.NUMBERS` and the code of the plugins, the
hash of the rest. So no file changes while both stay as they are.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN, Config

from ganbench import NUMBERS, DataSpec, Parts, Variant, digest
from ganbench.contract.data import ImageSet, Splits
from ganbench.runs.opening import open_dataset
from ganbench.runs.options import resolve
from ganbench.runs.registry import discover, load_file
from ganbench.scoring.samples import control_rows, generate
from ganbench.training.budget import Budget
from ganbench.training.networks import SeededParts, build_variant
from ganbench.training.stream import Stream
from ganbench.training.trainer import Trainer

VARIANTS = sorted(
    name
    for name, (entry, *_) in discover().entries["variant"].items()
    if entry.origin.distribution == "ganbench" and entry.item.family not in ("control", "translate")
)
FOLDER = Path(__file__).with_name("golden")
RECORDED = 20
TOLERANCE = 1e-4
NUDGE = 1e-6
DRIFT = 100
"""So many times what the nudged run has drifted by may the recorded one be away."""
RAISE = (
    "if a change of the harness (training, toolbox, data, sampling) alters what a seed gives, raise NUMBERS in "
    "ganbench/__init__.py, then run `pytest tests/test_golden.py --update-golden`"
)
tiny = load_file(Path(__file__).with_name("tiny_plugin.py"))


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def maker(*plugins: tuple[str, str]) -> str:
    """Name who makes a golden file: the harness, and the plugins by what they execute."""
    codes = (f"{name} {discover().get(kind, name).code[:16]}" for kind, name in plugins)
    return ", ".join([f"NUMBERS {NUMBERS}", *codes])


def fault_of(content: Mapping[str, Any], by: str) -> str:
    """Say why a golden file is not the one that was recorded for its maker, or nothing."""
    made = content["made"].get(by)
    rest = digest({name: values for name, values in content.items() if name != "made"})
    if made is None:
        return f"nothing is recorded for {by}: run `pytest tests/test_golden.py --update-golden`"
    return (
        "" if made == rest else f"it has changed, but NUMBERS is still {NUMBERS} and the plugins are the same: {RAISE}"
    )


def record(path: Path, found: Mapping[str, Any], by: str, keep: bool) -> None:
    """Write a golden file anew, or with `keep` only note who else makes the same; what `fault_of` finds is refused."""
    old = json.loads(path.read_text()) if path.exists() else {"made": {}}
    values = {name: values for name, values in old.items() if name != "made"} if keep else dict(found)
    assert old["made"].get(by, digest(values)) == digest(values), f"{path.name} is left as it is: {RAISE}"
    content = {"made": {**(old["made"] if keep else {}), by: digest(values)}, **values}
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in content.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def trajectory(name: str, nudge: float = 0.0) -> dict[str, list[float]]:
    """Train with the defaults of the variant until each player has made its first updates; losses and logs by name.

    `nudge`: by what share, at random, each initial weight is moved.
    """
    cls = discover().get("variant", name).item
    backbone, data = DCGAN(), tiny.Tiny().load(Path(), 8)
    backbone.config = Config(width=8, z_dim=8)
    variant = build_variant(cls, backbone, data.spec(cls.task), seed=0, config=resolve(cls, name, {}))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in variant.parameters():
            weight.mul_(1 + nudge * torch.randn(weight.shape, generator=generator))
    run = Trainer(variant, data.train, Budget(1e6, "images"), seed=0, batch=8, device=torch.device("cpu"))
    while min(run.meters.updates.values()) < RECORDED:
        run.step()
    traces = {trace: values[:RECORDED] for trace, values in sorted(run.traces().items()) if "grad_norm" not in trace}
    return {trace: [float(f"{value:.7g}") for value in values] for trace, values in traces.items()}


def departure(name: str, recorded: Mapping[str, Any]) -> str:
    """Say where a variant trains otherwise than recorded, beyond what rounding alone does, or nothing."""
    found = trajectory(name)
    if found.keys() != recorded.keys() - {"made"}:
        return "other traces"
    nudged = [trajectory(name, nudge) for nudge in (NUDGE, -NUDGE)]  # both sides: a kink may lie on one alone
    for trace, values in found.items():
        drift, expected = 0.0, recorded[trace]
        if len(expected) != RECORDED:
            return f"{trace} has {len(expected)} updates"
        sides = zip(*(run[trace] for run in nudged), strict=True)
        for number, (value, beside, right) in enumerate(zip(values, sides, expected, strict=True), 1):
            drift = max(drift, *(DRIFT * abs(value - other) for other in beside))
            if value != pytest.approx(right, rel=TOLERANCE, abs=drift):
                return f"{trace}, update {number}"
    return ""


@pytest.mark.parametrize("name", VARIANTS)
def test_the_first_losses_are_those_recorded(name, request):
    path, by = FOLDER / f"{name}.json", maker(("variant", name), ("backbone", "dcgan"))
    if request.config.getoption("--update-golden"):
        same = path.exists() and not departure(name, json.loads(path.read_text()))
        record(path, {} if same else trajectory(name), by, keep=same)
        pytest.skip(f"{path.name} recorded")
    content = json.loads(path.read_text())
    departed = departure(name, content)
    assert not departed, f"{name} trains otherwise than recorded ({departed}): {RAISE}"
    assert not fault_of(content, by), f"{path.name}: {fault_of(content, by)}"


class Pixels(Variant):
    """Hands out its latents, so that what is sampled can be told from what was drawn."""

    name, task = "pixels", "label"

    def build(self, parts: Parts) -> None:
        self.G = torch.nn.Linear(1, 1)

    def optimizers(self):
        return {}

    def step(self, batch, clock):
        yield from ()

    def sample(self, n, cond=None):
        return (self.noise(n)[:, None, None, :4].repeat(1, 1, 4, 1) / 4 + cond[:, None, None, None] / 8).clamp(-1, 1)


def harness() -> dict[str, Any]:
    """Return what the harness itself makes of seeds: order of data, latents, labels, rows, weights, embedded sets."""
    rows = ImageSet(torch.arange(10, dtype=torch.float32)[:, None].expand(10, 2), torch.arange(10) % 3)
    stream = Stream(rows, 4, 5, torch.device("cpu"))
    images = ImageSet(torch.zeros(10, 1, 4, 4, dtype=torch.uint8), torch.arange(10) % 3)
    variant = build_variant(Pixels, DCGAN(), DataSpec((1, 8, 8), classes=3), seed=3)
    drawn = generate(variant, 6, Splits(images, images, "0" * 64), seed=7)
    seen, unseen = control_rows(20, 4)
    parts = SeededParts(DCGAN()(DataSpec((1, 8, 8))), 11)
    sets = {name: open_dataset(name, discover(), {}) for name in ("digits", "ring", "grid")}
    loaded = {name: opened.load(Path(), opened.size) for name, opened in sets.items()}
    return {
        "stream": [[int(value) for value in stream[step].real[:, 0]] for step in range(5)],
        "labels": drawn.cond.tolist(),
        "samples": drawn.images[:, 0, 0].tolist(),
        "control rows": [seen.tolist(), unseen.tolist()],
        "weights": [round(network[0].weight[0, 0].item(), 6) for network in (parts.generator(), parts.generator())],
        **{f"data {name}": data.fingerprint for name, data in loaded.items()},
    }


def test_what_the_harness_makes_of_a_seed_is_what_was_recorded(request):
    path, by = FOLDER / "harness.json", maker()
    found = json.loads(json.dumps(harness()))
    if request.config.getoption("--update-golden"):
        record(path, found, by, keep=False)
        pytest.skip(f"{path.name} recorded")
    content = json.loads(path.read_text())
    assert {name: value for name, value in content.items() if name != "made"} == found, RAISE
    assert not fault_of(content, by), f"{path.name}: {fault_of(content, by)}"


def test_a_golden_file_that_changes_without_the_number_is_found(tmp_path):
    path, values = tmp_path / "some.json", {"loss/D": [1.0, 2.0]}
    record(path, values, "NUMBERS 1, gan aa", keep=False)
    assert fault_of(json.loads(path.read_text()), "NUMBERS 1, gan aa") == ""
    path.write_text(path.read_text().replace("2.0]", "2.5]"))
    assert "raise NUMBERS" in fault_of(json.loads(path.read_text()), "NUMBERS 1, gan aa")
    with pytest.raises(AssertionError, match="raise NUMBERS"):
        record(path, {"loss/D": [1.0, 3.0]}, "NUMBERS 1, gan aa", keep=False)
    record(path, {"loss/D": [1.0, 3.0]}, "NUMBERS 2, gan aa", keep=False)
    assert fault_of(json.loads(path.read_text()), "NUMBERS 2, gan aa") == ""
    assert "nothing is recorded" in fault_of(json.loads(path.read_text()), "NUMBERS 1, gan aa")
    record(path, {}, "NUMBERS 2, gan bb", keep=True)  # code that was moved about and makes the same
    content = json.loads(path.read_text())
    assert fault_of(content, "NUMBERS 2, gan aa") == fault_of(content, "NUMBERS 2, gan bb") == ""
