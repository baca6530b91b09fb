"""Golden trajectories: the first losses of every in-tree variant for one seed, so that none changes silently.

Processors round otherwise, and some variants blow that up within a few updates. So a run is made beside the one that is
compared, on weights that begin a millionth away: how far these two drift apart is how much may be rounding.
"""

import json
from pathlib import Path

import pytest
import torch
from ganbench_plugins.backbone_dcgan import DCGAN, Config

from ganbench.budget import Budget
from ganbench.options import resolve
from ganbench.plugins import discover, load_file
from ganbench.trainer import Trainer, build_variant

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
tiny = load_file(Path(__file__).with_name("tiny_plugin.py"))


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


@pytest.mark.parametrize("name", VARIANTS)
def test_the_first_losses_are_those_recorded(name, request):
    path, found = FOLDER / f"{name}.json", trajectory(name)
    if request.config.getoption("--update-golden"):
        lines = [f"{json.dumps(trace)}: {json.dumps(values)}" for trace, values in found.items()]
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        pytest.skip(f"{path.name} recorded anew")
    how = f"{name} trains otherwise than recorded: if that is meant, run `pytest tests/test_golden.py --update-golden`"
    recorded = json.loads(path.read_text())
    assert found.keys() == recorded.keys(), how
    nudged = trajectory(name, NUDGE)
    for trace, values in recorded.items():
        assert len(values) == RECORDED
        drift = 0.0
        for number, (value, beside, expected) in enumerate(zip(found[trace], nudged[trace], values, strict=True), 1):
            drift = max(drift, DRIFT * abs(value - beside))
            assert value == pytest.approx(expected, rel=TOLERANCE, abs=drift), f"{how} ({trace}, update {number})"
