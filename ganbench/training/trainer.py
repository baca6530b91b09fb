"""The one training loop: it serves batches, performs the updates that a variant yields, and meters everything."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ganbench.contract.data import ImageSet
from ganbench.contract.types import Batch, Clock, Update
from ganbench.contract.variant import Control, Variant
from ganbench.errors import during
from ganbench.seeds import derive, seed_device, seeded
from ganbench.training import switches
from ganbench.training.arithmetic import copy_all, fuse, load, placed, put_setting, state_of
from ganbench.training.budget import Budget, Meters, Tick
from ganbench.training.capture import Recorder
from ganbench.training.compiled import Compiled, Worked
from ganbench.training.graphs import Graphs, Made
from ganbench.training.guard import Unfair, Watch, Weights, Work, checksum, require_metered
from ganbench.training.meter import foreign_bytes, norm_of, peak_bytes, reset_peak
from ganbench.training.ranks import SINGLE, Pace, Ranks, require_fit, share_statistics
from ganbench.training.stream import Stream

TICK_STEPS = 50
"""Traces leave the device and divergence is looked for at every so many steps."""
TICK_SECONDS = 1.0
"""A tick comes at least this often, so that progress shows and a request to stop is heard."""
AVERAGE = "ema"
"""The moving average of the weights, where a schedule names it beside the players."""
EMA_RAMP = 0.05
"""The half-life of averaged weights is at most this share of the images served so far."""
FLOP_SAMPLE = 256
"""FLOPs are counted in one period of steps in so many; in between, each step costs what its phase cost last."""
TRACED_AGAIN = frozenset({2, FLOP_SAMPLE, 16 * FLOP_SAMPLE})
"""In these periods compiled steps are compared with what the variant would compute now."""


class Trainer:
    """One run in the making. All that it knows lies in `state_dict`, so a run continues bit for bit.

    `precision`: of steps, "fp32", "tf32" (on a CUDA device; elsewhere it is "fp32") or "bf16" (autocast); snapshots are
    float32 always.
    `compiled`: whether steps after the first period become compiled code, but for those in which FLOPs are counted.
    `recorder`: captures steps, so that those of later periods are replayed where that comes to the same bits, but for
    those in which FLOPs are counted or which are looked at closely; `graphs` says what has come of it.
    `watched`: whether to look at a step closely, by its number; by default some that nobody can foresee.
    `half_life`: of averaged weights, in images served, where it is not the paper's; None keeps no average.
    `metered`: whether FLOPs are counted, and must be of a kind that can be.
    `ranks`: those that make the run together, each with a trainer of the same arguments on a device of its own.
    """

    def __init__(
        self,
        variant: Variant,
        data: ImageSet,
        budget: Budget,
        *,
        seed: int,
        batch: int,
        device: torch.device,
        precision: str = "fp32",
        compiled: bool = False,
        recorder: Recorder | None = None,
        watched: Callable[[int], bool] | None = None,
        half_life: float | Literal["paper"] | None = "paper",
        metered: bool = True,
        ranks: Ranks = SINGLE,
    ) -> None:
        self.variant = placed(variant, device)
        with switches.kept():
            self.optimizers = variant.optimizers()
        fuse(self.optimizers, device)
        self.players = {
            player: [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
            for player, optimizer in self.optimizers.items()
        }
        if budget.unit == "updates" and "G" not in self.players and not isinstance(variant, Control):
            raise ValueError(f"{variant.name} has no player G, so its updates cannot be a budget")
        # Read once: what a plugin changes of these later changes neither what it is served nor what is metered.
        self.period, self.images_per_step = variant.period, variant.images_per_step(batch)
        if self.images_per_step < 1 or self.period < 1:
            found = f"a period of {self.period} steps and {self.images_per_step} real images a step"
            raise ValueError(f"{variant.name} asks for {found}; both are at least 1")
        self.ranks = ranks
        if ranks.size > 1:
            require_fit(variant, budget, batch, self.images_per_step, ranks.size)
            share_statistics(self.variant)
        labelled = variant.task != "generate"
        self.stream = Stream(
            data, self.images_per_step, seed, device, labelled=labelled, rank=ranks.rank, ranks=ranks.size
        )
        self.budget, self.seed, self.device, self.precision = budget, seed, device, precision
        self.meters = Meters(updates=dict.fromkeys(self.players, 0))
        self._switches = switches.read(device.type)
        self._metered = metered
        self.weights, self._watched = Weights(self.variant), watched or Watch().is_due
        self.diverged = ""
        self._own_average = half_life == "paper"
        self.half_life = (variant.ema_half_life_images if half_life == "paper" else half_life) or 0.0
        self.ema = copy.deepcopy(self.variant) if self.half_life and not isinstance(variant, Control) else None
        self._rates = {player: [g["lr"] for g in o.param_groups] for player, o in self.optimizers.items()}
        self._flops = [0.0] * self.period
        self._compiled = Compiled(self.variant, self.optimizers, self.players) if compiled else None
        self.graphs = Graphs(recorder, variant, self.optimizers, self.period, self._record) if recorder else None
        self._rates_on = device if device.type == "cuda" or recorder else None
        self._pending: dict[str, list[Tensor]] = {}
        self._traces: dict[str, list[Tensor]] = {}
        self._schedule: dict[int, list[str]] = {}  # the players updated in each phase of the period
        self._foreign = 0  # bytes on the device that are not the run's own
        self._looked: dict[str, int] = {}  # pieces of each trace in which nothing was found

    def train(self, until: float) -> Iterator[Tick]:
        """Advance to a share of the budget, rounded up to whole steps. The clock stands still during ticks.

        Ends early where losses or gradients are no longer finite; `diverged` then says which and where. A control takes
        no step.
        """
        self.variant.train()
        self.ranks.announce(until)
        reset_peak(self.device)
        self._foreign = foreign_bytes(self.device, self._own_tensors())
        now = time.perf_counter()
        pace = Pace(self.ranks, TICK_STEPS, TICK_SECONDS, now)
        # As a quotient, because 9/14 times 42 is more than 27 in floats and would cost a step.
        trained = not isinstance(self.variant, Control)
        self.weights.accept()
        while trained and not self.diverged and self.budget.spent(self.meters) / self.budget.amount < until:
            self.weights.require_still(self.variant.name, "between two steps")
            self.step()
            before, now = now, time.perf_counter()
            self.meters.seconds += now - before
            due = self.meters.steps % TICK_STEPS == 0
            if pace.is_due(now) or due:
                yield self._tick(since=now, look=due)
                last, now = now, time.perf_counter()
                pace.begin(last, now)
        self.weights.require_still(self.variant.name, "after its last step")
        yield self._tick(since=now, look=True)

    def step(self) -> None:
        """Make one step: serve a batch, seed the device, and perform what the variant yields."""
        with self.ranks.stepping():
            self._step()

    def _step(self) -> None:
        number, meters, name = self.meters.steps, self.meters, self.variant.name
        self.weights.accept()  # of what is set from outside; the loop looks at what changes between its steps
        watched, before = self._watched(number), self.tally()
        batch = self.stream[number]
        progress = min(1.0, self.budget.spent(meters) / self.budget.amount)
        self._set_schedules(number, progress)
        phase = number % self.period
        counted = number // self.period % FLOP_SAMPLE == 0
        clock = Clock(number, torch.full((), progress, device=self.device))
        code = None if counted else self._compiled
        again = self._compiled is not None and number // self.period in TRACED_AGAIN
        if again or (code is not None and not code.has(phase)):
            self.trace(batch, clock)
        graphs = None if counted or watched else self.graphs
        seed = partial(seed_device, self.device, derive(self.seed, "step", number, *self.ranks.purpose))
        made = graphs.replay(number, batch, progress, seed) if graphs is not None else None
        rehearsal = graphs.rehearse(number, batch, progress, seed) if graphs is not None and made is None else None
        if graphs is not None:
            self.weights.accept()  # of what replays have changed, and put back
        # Compiled code is what was traced and spends what that did; the counter would not see it.
        counter = Work() if self._metered and (counted or (watched and code is None)) else None
        counting = counter or nullcontext()  # entered for the work of variant and optimizer, not for what looks at it
        if made is not None:
            self._count(made)
        else:
            seed()
            with counting:
                updates = code.updates(phase, batch, clock) if code is not None else self.variant.step(batch, clock)
            made = self._perform(updates, counting, watched)
        moved = made.moved
        if graphs is not None and rehearsal is not None:
            graphs.compare(rehearsal, made, number)
            self.weights.accept()
        self._require_tally(before, moved)
        if self._schedule.setdefault(phase, moved) != moved:
            raise ValueError(
                f"{name} updates {', '.join(moved) or 'nobody'} in step {number}, but "
                f"{', '.join(self._schedule[phase]) or 'nobody'} {self.period} steps before: set `period` in build to "
                f"the number of steps after which its updates repeat"
            )
        if counter is not None:
            if counted:
                self._flops[phase] = float(self.ranks.agree(counter.flops))
            require_metered(name, number, counter, self._flops[phase])
        meters.flops += self.ranks.size * self._flops[phase]
        meters.steps += 1
        meters.images += self.images_per_step  # not len(batch.real), which a plugin can resize
        if self.ema is not None:
            self._move_ema(self.images_per_step)

    def _perform(self, updates: Iterator[Update], counting: AbstractContextManager[Any], watched: bool) -> Made:
        earlier, self._pending, moved = self._pending, {}, list[str]()
        try:
            while (update := self._resume(updates, counting, watched, moved)) is not None:
                with counting:
                    self.apply(update)
                moved.append(update.player)
        finally:
            traced, self._pending = self._pending, earlier
            self._keep(traced)
        return Made(moved, traced)

    def _record(self, batch: Batch, clock: Clock) -> Made:
        """Perform a step so that nothing but its operations counts."""
        updates, pending, self._pending = dict(self.meters.updates), self._pending, {}
        try:
            return self._perform(self.variant.step(batch, clock), nullcontext(), watched=False)
        finally:
            self.meters.updates, self._pending = updates, pending

    def _count(self, made: Made) -> None:
        for player in made.moved:
            self.meters.updates[player] += 1
        self._keep(made.traced)

    def _keep(self, traced: Mapping[str, list[Tensor]]) -> None:
        for name, values in traced.items():
            self._pending.setdefault(name, []).extend(values)

    def trace(self, batch: Batch, clock: Clock) -> None:
        """Trace a step for compilation, without making it. Raises `Uncompilable` where that cannot be done."""
        assert self._compiled is not None
        name, number, before = self.variant.name, clock.step, self._sums()
        with (
            during(f"in step {number}, which is traced for --compile"),
            Work() as spent,
            seeded(derive(number, "trace")),
        ):
            self._compiled.trace(number % self.period, batch, clock)
        self._put_switches_back()
        if not torch.equal(before, self._sums()):
            raise Unfair(f"{name} changes its weights in step {number} when it should only compute a loss")
        require_metered(name, number, spent, self._flops[number % self.period])

    def apply(self, update: Update) -> None:
        """Perform one update: the only place in ganbench where weights change."""
        if update.player not in self.players:
            raise ValueError(
                f"{self.variant.name} yields an update of {update.player!r}; its players are {', '.join(self.players)}"
            )
        optimizer, params = self.optimizers[update.player], self.players[update.player]
        self.weights.require_still(self.variant.name, f"before its update of {update.player}")
        what = f"in the update of {update.player!r} in step {self.meters.steps}"
        with during(what), switches.products_of(self.precision, self.device.type):
            optimizer.zero_grad(set_to_none=True)
            if self._compiled is not None and isinstance(update, Worked):
                for weight, gradient in zip(params, update.gradients, strict=True):
                    weight.grad = gradient
            else:
                update.loss.backward(inputs=params)
            gradients = [p.grad for p in params if p.grad is not None]
            self.ranks.average(gradients)
            norm = norm_of(gradients, reads=self.graphs is None)
            optimizer.step()
        self._put_switches_back()  # it may have hooks
        self.weights.require_update(self.variant.name, update.player, params)
        self.meters.updates[update.player] += 1
        self._trace(f"loss/{update.player}", update.loss)
        self._trace(f"grad_norm/{update.player}", norm, norm.dtype)
        for name, value in update.log.items():
            self._trace(f"log/{name}", value)

    @property
    def averages(self) -> tuple[str, ...]:
        """What there is to sample: the moving average where one is kept, and the raw weights."""
        return ("raw",) if self.ema is None else ("ema", "raw")

    def snapshot(self, weights: str = "") -> Variant:
        """Return a frozen copy in evaluation mode: of the average (`ema`) or `raw`, by default the first kept."""
        self._require_traces()
        if (weights or self.averages[0]) == "raw":
            return copy.deepcopy(self.variant).requires_grad_(False).eval()
        copied = copy.deepcopy(self.ema)
        assert copied is not None
        self._renew_statistics(copied.requires_grad_(False))
        return copied.eval()

    def tally(self) -> tuple[Any, ...]:
        """Return what is metered and what meters go by, as a value that nobody else can change."""
        meters = self.meters
        spent = (meters.steps, meters.images, meters.flops, meters.seconds, meters.peak_bytes)
        return tuple(meters.updates.items()), (*spent, self.budget.amount, self.images_per_step, self.period, self.seed)

    def require_generator(self) -> None:
        """Raise where no update so far was of the generator: such a run would be scored on its initial weights."""
        if isinstance(self.variant, Control):
            return
        moved, name = {player for player, number in self.meters.updates.items() if number}, self.variant.name
        steps = self.meters.steps
        if not moved:
            raise ValueError(f"{name} makes no update in {steps} steps: `step` must yield Update(player, loss)")
        G = getattr(self.variant, "G", None)
        of_G = {id(p) for p in G.parameters() if p.requires_grad} if isinstance(G, nn.Module) else set()
        if of_G and not any(id(p) in of_G for player in moved for p in self.players[player]):
            raise ValueError(
                f"{name} never updates G in {steps} steps, only {', '.join(sorted(moved))}: "
                f"yield an Update of the player that holds its weights, or raise --budget"
            )

    def traces(self) -> dict[str, np.ndarray]:
        """Return everything traced so far, one entry an update; norms of gradients as float64, the rest float32."""
        return {name: trace.numpy() for name, trace in self._joined().items()}

    def look(self) -> str:
        """Return which loss or gradient is no longer finite, or nothing; waits for the device."""
        self._flush()
        self.diverged = self.diverged or self._first_non_finite()
        return self.diverged

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the rest of the run depends on, as tensors and plain values."""
        return {
            "variant": self.variant.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "optimizers": {player: state_of(optimizer) for player, optimizer in self.optimizers.items()},
            "meters": asdict(self.meters),
            "flops": list(self._flops),
            "traces": self._joined(),
            "diverged": self.diverged,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state; its tensors may lie on any device."""
        self.variant.load_state_dict(state["variant"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        for player, optimizer in self.optimizers.items():
            load(optimizer, state["optimizers"][player])
        self.meters = copy.deepcopy(Meters(**state["meters"]))
        self._flops = list(state["flops"])
        self._pending = {}
        self._traces = {name: [trace] for name, trace in state["traces"].items()}
        self._looked = {}
        if self._compiled is not None:
            self._compiled.forget()
        if self.graphs is not None:
            self.graphs.forget()
        self.diverged = state["diverged"]
        self.weights.accept()

    def _resume(
        self, updates: Iterator[Update], counting: AbstractContextManager[Any], watched: bool, moved: Sequence[str]
    ) -> Update | None:
        before = self._sums() if watched else None
        bf16 = self.precision == "bf16"
        after = f"after its update of {moved[-1]!r}" if moved else "before its first update"
        with (
            counting,
            torch.autocast(self.device.type, torch.bfloat16) if bf16 else nullcontext(),
            switches.products_of(self.precision, self.device.type),
            during(f"in step {self.meters.steps}, {after}"),
        ):
            update = next(updates, None)
        self._put_switches_back()
        # Of what changes in a roundabout way (`.data`, NumPy) no version tells; a sum of all bits does.
        if before is not None and not torch.equal(before, self._sums()):
            when = "when it should only compute a loss" if update is not None else "after its last update"
            raise Unfair(f"{self.variant.name} changes its weights in step {self.meters.steps} {when}: yield an Update")
        return update

    def _put_switches_back(self) -> None:
        if switches.read(self.device.type) != self._switches:  # in other words than `kept`, which is slower
            self._switches = switches.put_back(self._switches, self.device.type)

    def _sums(self) -> Tensor:
        # By name anew: a weight may have been put in another's place.
        return checksum(self.variant.parameters())

    def _require_tally(self, before: tuple[Any, ...], moved: list[str]) -> None:
        updates, spent = before
        right = tuple((player, number + moved.count(player)) for player, number in updates), spent
        if self.tally() != right:
            raise Unfair(f"the meters changed while {self.variant.name} made its step: only the harness counts")

    def _require_traces(self) -> None:
        self._flush()
        meters, name = self.meters, self.variant.name
        if meters.images != meters.steps * self.images_per_step:
            served = f"{meters.steps} steps of {self.images_per_step} real images"
            raise Unfair(f"the meters of {name} were changed: they show {meters.images} images after {served}")
        for player, number in meters.updates.items():
            traced = sum(len(piece) for piece in self._traces.get(f"loss/{player}", []))
            if traced != number:
                raise Unfair(f"the meters of {name} were changed: {number} updates of {player}, but {traced} in traces")

    def _set_schedules(self, number: int, progress: float) -> None:
        # On the host: reading that clock waits for nothing.
        schedules = self.variant.schedules(Clock(number, torch.tensor(progress)))
        self._put_switches_back()
        for player, settings in schedules.items():
            values = {name: _as_number(value) for name, value in settings.items()}
            if player == AVERAGE:
                self._set_average(values)
                continue
            if player not in self.optimizers:
                known = ", ".join(self.optimizers)
                raise ValueError(f"{self.variant.name} schedules {player!r}; its players are {known}")
            optimizer = self.optimizers[player]
            for group, rate in zip(optimizer.param_groups, self._rates[player], strict=True):
                for name, value in values.items():
                    key, setting = ("lr", rate * value) if name == "lr_factor" else (name, value)
                    if key not in group or key == "params":
                        known = ", ".join(sorted({*group, "lr_factor"} - {"params"}))
                        raise ValueError(f"{self.variant.name} schedules {name!r} of {player}; there is {known}")
                    put_setting(optimizer, group, key, setting, self._rates_on)

    def _set_average(self, values: dict[str, Any]) -> None:
        if not self._own_average:
            return  # it is the user's
        if self.ema is None or set(values) != {"half_life_images"}:
            found = ", ".join(map(repr, values)) if self.ema is not None else "it declares no `ema_half_life_images`"
            raise ValueError(f"{self.variant.name} schedules its average; `half_life_images` can be set: {found}")
        self.half_life = float(values["half_life_images"])

    @torch.no_grad()
    def _move_ema(self, images: int) -> None:
        assert self.ema is not None
        # A young average would hold on to the initial weights: its half-life is no more than a part of what was served.
        half_life = min(self.half_life, EMA_RAMP * self.meters.images)
        weight = 1 - 0.5 ** (images / half_life) if half_life > 0 else 1.0
        torch._foreach_lerp_(list(self.ema.parameters()), list(self.variant.parameters()), weight)
        copy_all(self.variant.buffers(), self.ema.buffers())

    @torch.no_grad()
    def _renew_statistics(self, copied: Variant) -> None:
        # Averaged weights do not fit the raw weights' batch statistics: estimate them from the copy's own samples.
        def begin_anew(norm: nn.modules.batchnorm._BatchNorm, _: Any) -> None:
            hooks.pop(norm).remove()
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches

        # Sampling tells which norms it passes; those of a discriminator would be left without any statistics.
        norms = [m for m in copied.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        hooks = {norm: norm.register_forward_pre_hook(begin_anew) for norm in norms}
        copied.train()
        for number in range(16 if norms else 0):
            seed = derive(self.seed, "statistics", number)
            cond = self.stream.conditions(256, seed) if copied.task != "generate" else None
            seed_device(self.device, seed)
            with switches.kept():
                copied.sample(256, cond)
        for hook in hooks.values():
            hook.remove()

    def _trace(self, name: str, value: Tensor, dtype: torch.dtype = torch.float32) -> None:
        # A copy: a logged buffer, or a loss, may be changed in place before the next tick.
        self._pending.setdefault(name, []).append(value.detach().to(dtype, copy=True))

    def _flush(self) -> None:
        stacked = {name: torch.stack(values) for name, values in self._pending.items()}
        # Norms are those of averages already.
        self.ranks.average([each for name, each in stacked.items() if not name.startswith("grad_norm/")])
        for name, each in stacked.items():
            self._traces.setdefault(name, []).append(each.cpu())
        self._pending = {}

    def _joined(self) -> dict[str, Tensor]:
        self._flush()
        joined = {name: torch.cat(pieces) for name, pieces in self._traces.items()}
        self._traces = {name: [trace] for name, trace in joined.items()}
        self._looked = {}  # it counts pieces; the next look goes through all
        return joined

    def _tick(self, *, since: float, look: bool) -> Tick:
        self._flush()  # waits for the device
        self.meters.seconds += time.perf_counter() - since
        peak = self.ranks.largest(peak_bytes(self.device, self._foreign), self.device)
        self.meters.peak_bytes = max(self.meters.peak_bytes, peak)
        if look and not self.diverged:
            self.diverged = self._first_non_finite()
        if look and not self.diverged:
            self.ranks.require_alike(self.variant, self.variant.name, self.meters.steps)
        losses = {
            player: float(self._traces[f"loss/{player}"][-1][-1]) for player in self.players if self._seen(player)
        }
        return Tick(replace(self.meters, updates=dict(self.meters.updates)), losses)

    def _own_tensors(self) -> Iterator[Tensor]:
        """Yield what the run itself holds: weights and buffers with their average, gradients, state of optimizers."""
        for module in filter(None, (self.variant, self.ema)):
            yield from module.state_dict(keep_vars=True).values()
            yield from (p.grad for p in module.parameters() if p.grad is not None)
        for optimizer in self.optimizers.values():
            for state in optimizer.state.values():
                yield from (value for value in state.values() if isinstance(value, Tensor))
        for pending in self._pending.values():
            yield from pending

    def _seen(self, player: str) -> bool:
        return f"loss/{player}" in self._traces

    def _first_non_finite(self) -> str:
        # Every player moves at a rate of its own, so the share of its updates tells which of two faults came first.
        first, found = math.inf, ""
        for name, pieces in self._traces.items():
            fresh, self._looked[name] = pieces[self._looked.get(name, 0) :], len(pieces)
            kind, _, player = name.partition("/")
            if kind == "log" or all(bool(torch.isfinite(piece).all()) for piece in fresh):
                continue
            trace = torch.cat(pieces)
            number = 1 + int(torch.nonzero(~torch.isfinite(trace))[0, 0])
            if number / len(trace) < first:
                what = "loss" if kind == "loss" else "gradient norm"
                first = number / len(trace)
                found = f"the {what} of {player} is {float(trace[number - 1])} at its update {number}"
        return found


def _as_number(value: Any) -> Any:
    """Return numbers where a schedule has tensors on the host; one on a device, which would be waited for, stays."""
    if isinstance(value, tuple):
        return tuple(_as_number(entry) for entry in value)
    return float(value) if isinstance(value, Tensor) and value.device.type == "cpu" else value
