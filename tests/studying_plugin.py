"""A plugin of one file for the tests: experiments that look at runs and take courses, and one that goes wrong."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from ganbench import (
    PSI,
    THETA,
    Claim,
    Count,
    Dirac,
    Experiment,
    Finding,
    Table,
    UserError,
    dirac_data,
    hookimpl,
)


def drawn(name="way"):
    figure = Figure(figsize=(3, 2))
    figure.add_subplot().plot([0, 1], [0, 1])
    return {name: (figure, "a line")}


def counted(key):
    """Note in a file of the tests that something was computed."""
    if place := os.environ.get("COUNTED"):
        with Path(place).open("a") as file:
            print(key, file=file)


class Way(Experiment):
    """How far weights lie from their end along the way of a run."""

    @dataclass(frozen=True)
    class Config:
        """Options.

        half: a share of the budget.
        widths: of more runs that are looked at, by commas.
        """

        half: float = 0.5
        widths: str = ""

    name = "way"
    summary = "how far weights are from their end"
    paper = "nobody 2026"
    makes_runs = True
    variants = ("plain",)
    config: Config = Config()

    def runs(self, options, asked):
        base = {"dataset": "tiny", "budget": "640-images", "marks": 1, "metrics": (), "keep": [options.half]}
        one = {**base, "set": {"mlp.width": 16}, **{k: v for k, v in asked.items() if k != "set"}}
        swept = {**one, "set": (), "sweep": [f"mlp.width={options.widths}"]}
        return [one, swept] if options.widths else [one]

    def find(self, lab):
        rows = []
        for made in lab.runs:
            lab.tell(f"{made.record.spec.variant}, seed {made.record.spec.seed}")
            rows.append(lab.once({"run": made}, lambda made=made: self.row(made, lab.options.half)))
        table = Table("Way", ["run", "distance"], [[row["variant"], f"{row['distance']:.3g}"] for row in rows])
        claims = [Claim("It moves (by hand).", "it did", all(row["distance"] > 0 for row in rows))]
        return Finding([table], rows, claims, drawn(), {"seeds": len(lab.seeds), "variants": list(lab.variants)})

    def row(self, made, share):
        counted(made.record.spec.seed)
        then, now = made.at(share), made.at()
        pairs = zip(then.parameters(), now.parameters(), strict=True)
        distance = sum((a - b).square().sum() for a, b in pairs).sqrt()
        spec = made.record.spec
        return {"variant": spec.variant, "seed": spec.seed, "batch": spec.batch, "distance": distance}


class Point(Experiment):
    """Where one step leads the point of a Dirac-GAN."""

    @dataclass(frozen=True)
    class Config:
        """Options.

        at: where the point is.
        fault: what goes wrong.
        """

        at: Count = 2
        fault: str = ""

    name = "point"
    summary = "the gradient at a point"
    variants = ("plain",)
    config: Config = Config()

    def find(self, lab):
        if lab.options.fault:
            return getattr(self, lab.options.fault)(lab)
        rows, left_out = [], {}
        for name in lab.variants:
            for seed in lab.seeds:
                try:
                    slope = lab.once({"variant": name, "seed": seed}, lambda: self.slope(lab, name, seed))  # noqa: B023
                except UserError as error:
                    left_out[name] = str(error)
                    continue
                rows.append({"variant": name, "seed": seed, "slope": slope})
        table = Table("Slope", ["variant", "slope"], [[row["variant"], f"{row['slope']:.4g}"] for row in rows])
        return Finding([table], rows, [], drawn("slope"), {"batch": 64}, left_out)

    def slope(self, lab, name, seed):
        counted(name)
        course = lab.course(name, dirac_data(64), Dirac(), seed=seed, double=True)
        course.restart({THETA: torch.tensor([float(lab.options.at)]), PSI: torch.ones(1, 1)})
        return course.gradients()["G"][0][0].item()

    def raises(self, lab):
        raise RuntimeError("no luck")

    def exits(self, lab):
        raise SystemExit(0)

    def interrupts(self, lab):
        raise KeyboardInterrupt

    def dies(self, lab):
        lab.tell("dying")
        os._exit(3)

    def nothing(self, lab):
        return None

    def waits(self, lab):
        lab.once({"first": 1}, lambda: counted("first") or 1)
        Path(os.environ["COUNTED"]).with_name("waiting").touch()
        time.sleep(float(os.environ.get("WAIT", "60")))
        return self.odd(lab)

    def outside(self, lab):
        return Finding([], [], [], drawn("../x"))

    def ragged(self, lab):
        return Finding([Table("T", ["a", "b"], [["1"]])], [], [], {})

    def tensors(self, lab):
        return Finding([], [{"x": torch.zeros(3)}], [], {})

    def unkept(self, lab):
        return lab.once({"what": object()}, lambda: 1)

    def undrawn(self, lab):
        figure = Figure()
        figure.add_subplot().set_title("$\\frac{$")
        return Finding([], [{"x": 1}], [], {"bad": (figure, "no mathematics"), **drawn("good")})

    def odd(self, lab):
        """Everything that NumPy has in place of numbers, and what is not finite."""
        rows = [
            {"a": np.float32(0.5), "b": np.int64(2), "c": np.bool_(True), "d": torch.tensor(1.5)},
            {"a": float("nan"), "b": float("-inf"), "e": np.float64(1e-300), "text": 'a,"b"\nc'},
        ]
        claims = [Claim("said", "found", np.bool_(False), "why")]
        protocol = {"rate": np.float32(0.25), "limit": float("inf"), "sizes": (1, np.int64(2)), "f": lambda: 0}
        return Finding([Table("T", ["a|b"], [["x|y"]])], rows, claims, drawn(), protocol, {"gan": "no part"}, ["n"])

    def many(self, lab):
        return Finding([], [{"k": k, "x": k / 7} for k in range(100_000)], [], {})


class Idle(Way):
    """It makes runs, but says none."""

    name = "idle"

    def runs(self, options, asked):
        return []


class Strange(Way):
    """It asks for what `ganbench run` does not have."""

    name = "strange"

    def runs(self, options, asked):
        return [{"dataset": "tiny", "no_such": 1}]


@hookimpl
def ganbench_experiments():
    return [Way(), Point(), Idle(), Strange()]
