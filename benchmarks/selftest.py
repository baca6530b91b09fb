"""Store what every metric gives on the inputs of `ganbench doctor`: python benchmarks/selftest.py [--weights DIR]

Values of metrics whose weights are not at hand stay as they were stored; those of metrics that are gone go.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from ganbench.runs import selftest
from ganbench.runs.registry import discover
from ganbench.training.devices import cores, make_repeatable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, help="folder of metric weights")
    weights = parser.parse_args().weights
    device, registry = torch.device("cpu"), discover()
    shipped = {
        name for name, owners in registry.entries["metric"].items() if owners[0].origin.distribution == "ganbench"
    }
    make_repeatable(device, cores())
    before = json.loads(selftest.STORED.read_text()) if selftest.STORED.exists() else {}
    if not selftest.STORED.exists():
        selftest.STORED.write_text("{}")
    stored: dict[str, dict[str, float]] = {}
    for found in selftest.test_metrics(registry, root=Path("data"), weights=weights, device=device, begin=lambda _: ""):
        of_input = stored.setdefault(found.input, {})
        plain = found.metric.partition("@")[0]
        if not any(plain == name or plain.startswith(f"{name}-") for name in shipped):
            continue
        if found.value is not None:
            of_input[found.metric] = float(f"{found.value:.8g}")
        elif found.metric in before.get(found.input, {}):
            of_input |= {key: v for key, v in before[found.input].items() if key.startswith(found.metric)}
        print(found.input, found.metric, found.value, found.expected, found.note or found.fault)
    selftest.STORED.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
