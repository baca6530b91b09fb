"""What every variant must do, one function a rule; its docstring is the rule and its failure says what to change."""

from __future__ import annotations

import ast
import copy
import dataclasses
import inspect
import io
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing
from unittest import SkipTest

import numpy as np
import torch
from torch import Tensor

from ganbench.contract.types import Update
from ganbench.contract.variant import Variant
from ganbench.runs.options import as_plain
from ganbench.seeds import derive
from ganbench.testing.subject import Subject, advance, draw, drive, state_of, steps_of
from ganbench.testing.tape import on_tape
from ganbench.testing.two_ranks import difference_of_two_ranks
from ganbench.testing.watching import attributes, difference, no_waiting, parameters_of, require
from ganbench.training.capture import CudaRecorder
from ganbench.training.guard import Unfair, marks_of, require_sound_samples
from ganbench.training.meter import FlopCounter
from ganbench.training.trainer import FLOP_SAMPLE, Trainer

Check = Callable[[Subject], None]


class PassedOver(SkipTest):
    """A check that does not apply, and why; pytest takes it for a test that is skipped."""


def check_samples_are_images(subject: Subject) -> None:
    """Samples have the shape of the data, are float32 and finite, and images lie in [-1, 1]."""
    ways = (False, True) if subject.trainer().variant.task == "translate" else (False,)
    for make in (subject.trainer, subject.finished):
        for back in ways:
            name, more = ("sample(reverse=True)", ", reverse=True") if back else ("sample", "")
            variant = make().snapshot()
            for n in (1, 5, 2 * subject.batch):
                samples = draw(variant, subject, n, back=back)
                found, right = tuple(samples.shape), (n, *subject.data.shape)
                require(found == right, f"sample({n}{more}) returns the shape {found}; it must be {right}")
                require(samples.dtype == torch.float32, f"{name} returns {samples.dtype}; it must be torch.float32")
                require(bool(samples.isfinite().all()), f"{name} returns NaN or infinity")
            if subject.data.is_image:
                with torch.no_grad():  # large weights show whether the range is bounded
                    for parameter in variant.parameters():
                        parameter.mul_(10)
                largest = float(draw(variant, subject, 16, back=back).abs().nan_to_num().max())
                require(
                    largest <= 1 + 1e-6,
                    f"{name} reaches {largest:.3g} in magnitude: end G with Tanh or clamp in sample",
                )


def check_updates_name_a_player_and_carry_a_scalar_loss(subject: Subject) -> None:
    """A step yields updates of known players with finite scalar losses, and never inside a `with`."""
    line = yields_inside_with(subject.variant.step)
    require(line is None, f"line {line} of step yields inside a `with`: close the block before the `yield`")
    trainer = subject.trainer()
    before = modes()
    with torch.enable_grad(), closing(drive(trainer, trainer.variant.period)) as updates:
        seen = 0
        for _, _, update in updates:
            require(modes() == before, "step yields inside a `with`: close the block before the `yield`")
            examine(update, trainer)
            trainer.apply(update)
            seen += 1
    require(seen > 0, f"{trainer.variant.period} steps yield no update: write `yield Update(player, loss)`")


def check_parameters_move_only_inside_updates(subject: Subject) -> None:
    """Parameters move when the harness performs an update, and at no other time."""
    trainer = subject.trainer()
    before = copy.deepcopy(parameters_of(trainer.variant))
    for _ in drive(trainer, trainer.variant.period):
        pass
    moved = difference(before, parameters_of(trainer.variant))
    mend = "yield an Update instead of stepping an optimizer; clip and project in optimizer.register_step_post_hook"
    require(not moved, f"{moved} moves although no update was performed: {mend}")


def check_every_parameter_is_reached(subject: Subject) -> None:
    """Each trainable parameter is in an optimizer and gets a gradient from an update of that player."""
    trainer = subject.trainer()
    own = {p: name for name, p in trainer.variant.named_parameters() if p.requires_grad}
    owned = {p for params in trainer.players.values() for p in params}
    strange = ", ".join(str(tuple(p.shape)) for p in owned - set(own))
    require(not strange, f"an optimizer holds parameters of no attribute: assign their module (shapes {strange})")
    lost = ", ".join(name for p, name in own.items() if p not in owned)
    require(not lost, f"{lost}: in no optimizer; give it to one, or call requires_grad_(False)")
    reached: set[Tensor] = set()
    for _, _, update in drive(trainer, trainer.variant.period):
        trainer.apply(update)
        reached |= {p for p in trainer.players[update.player] if p.grad is not None}
    dead = ", ".join(name for p, name in own.items() if p not in reached)
    require(not dead, f"{dead}: no gradient in {trainer.variant.period} step(s); look for a stray detach")


def check_same_seed_same_run(subject: Subject) -> None:
    """Two runs of one seed are equal bit for bit, and another seed gives other samples."""
    mend = "draw random numbers from torch alone, and never seed it"
    first, second = subject.finished(), subject.finished()
    apart = difference(state_of(first), state_of(second))
    require(not apart, f"two runs of one seed differ in {apart}: {mend}")
    variant = first.snapshot()
    one, same, other = (draw(variant, subject, 4, seed=seed) for seed in (0, 0, 1))
    require(torch.equal(one, same), f"sample differs under one seed: {mend}")
    fixed = subject.variant.task != "translate" and torch.equal(one, other)
    require(not fixed, f"sample returns the same under two seeds: {mend}")
    trainer = subject.trainer()
    for number, _, update in drive(trainer, trainer.variant.period):
        untouched = torch.initial_seed() == derive(trainer.seed, "step", number)
        require(untouched, f"step seeds the generator of PyTorch: {mend}")
        trainer.apply(update)


def check_resume_is_exact(subject: Subject) -> None:
    """A run that is stopped, saved, loaded and finished equals one that was never stopped."""
    whole, half, later = subject.finished(), subject.trainer(), subject.trainer()
    steps = steps_of(half)
    advance(half, steps // 2)
    file = io.BytesIO()
    try:
        torch.save(half.state_dict(), file)
        file.seek(0)
        later.load_state_dict(torch.load(file, weights_only=True))
    except Exception as error:
        raise AssertionError(f"its state does not load again: keep it in tensors ({error})") from error
    advance(later, steps - steps // 2)
    apart = difference(state_of(whole), state_of(later))
    require(not apart, f"a resumed run differs in {apart}: register_buffer what a step must remember")


def check_state_lives_in_buffers(subject: Subject) -> None:
    """Training changes parameters, and buffers in place, but no other attribute of a module or class."""
    trainer = subject.trainer()
    variant = trainer.variant.train()
    saved = [*variant.parameters(), *variant.state_dict(keep_vars=True).values()]
    known = {id(thing) for thing in (*saved, *variant.modules(), *trainer.optimizers.values())}
    before = attributes(variant, known)
    advance(trainer, steps_of(trainer))
    changed = difference(before, attributes(variant, known))
    mend = "keep state in register_buffer(name, tensor) and change it in place (add_, copy_)"
    require(not changed, f"{changed} changes in training: {mend}")


def check_evaluation_does_not_disturb_training(subject: Subject) -> None:
    """Sampling between steps changes neither the run nor the copy that is sampled."""
    quiet, watched = subject.finished(), subject.trainer()
    for steps in (1, 1, steps_of(watched) - 2):
        advance(watched, steps)
        variant = watched.snapshot()
        before = copy.deepcopy(variant.state_dict())
        draw(variant, subject, 3)
        moved = difference(before, variant.state_dict())
        require(not moved, f"sample changes {moved} in evaluation mode: it must leave the variant as it is")
    apart = difference(state_of(quiet), state_of(watched))
    require(not apart, f"a run sampled on the way differs in {apart}: share nothing between copies of a variant")


def check_data_is_used_and_not_written(subject: Subject) -> None:
    """Other real data give other weights, and the batch is left as it was served."""
    one, other = subject.finished(), subject.finished(data_seed=1)
    apart = difference(parameters_of(one.variant), parameters_of(other.variant))
    require(bool(apart), "other real data give the same weights: use batch.real in a loss")
    trainer, served = subject.trainer(), {}
    for number, batch, update in drive(trainer, trainer.variant.period):
        trainer.apply(update)
        served[number] = batch
    for number, batch in served.items():
        written = difference(list(batch), list(trainer.stream[number]))
        require(not written, "step writes into its batch: work on a copy, batch.real.clone()")


def check_instances_are_independent(subject: Subject) -> None:
    """An instance trained in turns with another equals one trained alone."""
    alone = subject.finished()
    one, other = subject.trainer(), subject.trainer(seed=1)
    for _ in range(steps_of(one)):
        advance(one, 1)
        advance(other, 1)
    apart = difference(state_of(alone), state_of(one))
    require(not apart, f"trained in turns with another instance, {apart} differs: keep no state in a class or module")


def check_only_what_is_counted_trains(subject: Subject) -> None:
    """Nothing but an update moves weights or spends work: in build, in any step, early or late, or in sample."""
    with FlopCounter() as built:
        trainer = subject.trainer(steps=(FLOP_SAMPLE + 2) * subject.trainer().period, watched=True)
    name, period, options = trainer.variant.name, trainer.period, as_plain(trainer.variant.config)
    require(options == as_plain(subject.config_again()), f"{name} changes its options in build: read self.config alone")
    served = trainer.images_per_step
    require(served >= subject.batch, f"images_per_step({subject.batch}) returns {served}: a step is served the batch")
    try:
        for start, steps in ((0, 2 * period + 2), (50 * period, period), (FLOP_SAMPLE * period - 1, 2)):
            # Late steps are steps like others, without all those in between.
            trainer.meters.steps, trainer.meters.images = start, start * served
            advance(trainer, steps)
            trainer.weights.require_still(name, "after a step")
        trainer.require_generator()
        draw_fairly(trainer, subject)
    except (Unfair, ValueError) as error:
        raise AssertionError(str(error)) from error
    spent = trainer.meters.flops / sum(steps for steps in (2 * period + 2, period, 2))
    require(built.flops <= spent, f"build spends {built.flops:,} FLOPs, more than a step: it only makes networks")
    require(options == as_plain(trainer.variant.config), f"{name} changes its options in training")


def draw_fairly(trainer: Trainer, subject: Subject) -> None:
    """Sample a copy, and raise where that changes it."""
    variant = trainer.snapshot()
    before = marks_of(variant)
    draw(variant, subject, subject.batch)
    require_sound_samples(variant.name, before, marks_of(variant))


def check_samples_come_from_weights_alone(subject: Subject) -> None:
    """Built anew and given its weights, it makes the same samples, whatever was trained in between."""
    trained = subject.finished().snapshot()
    samples = draw(trained, subject, subject.batch)
    subject.finished(data_seed=1)  # what a module keeps is now of another run
    again = subject.trainer().variant
    again.load_state_dict(trained.state_dict())
    apart = difference(samples, draw(again.requires_grad_(False).eval(), subject, subject.batch))
    require(not apart, "its samples depend on more than its weights: keep all they need in parameters and buffers")


def check_bf16_stays_finite(subject: Subject) -> None:
    """Under bf16 autocast, losses, gradients and weights stay finite."""
    mend = "compute the loss in float32, `.float()` inside `with torch.autocast(x.device.type, enabled=False)`"
    trainer = subject.finished(precision="bf16")
    for name, trace in trainer.traces().items():
        require(name.startswith("log/") or bool(np.isfinite(trace).all()), f"{name} is not finite under bf16: {mend}")
    for name, tensor in trainer.variant.state_dict().items():
        require(bool(tensor.isfinite().all()), f"{name} is not finite under bf16: {mend}")


def check_other_data_fit(subject: Subject) -> None:
    """It trains and samples on other sizes, on one and three channels, and on points, where it says that it fits."""
    for backbone, data in subject.others:
        other = dataclasses.replace(subject, backbone=backbone, data=data)
        trainer = other.trainer()
        for _, _, update in drive(trainer, trainer.variant.period):
            examine(update, trainer)
            trainer.apply(update)
        found = tuple(draw(trainer.snapshot(), other, 3).shape[1:])
        require(found == data.shape, f"on data of shape {data.shape}, sample returns {found}: use self.data.shape")


def check_steps_do_not_wait_for_the_device(subject: Subject) -> None:
    """Neither a step nor an update reads a tensor's value on the host, which would make it wait for the device."""
    trainer = subject.trainer()
    if trainer.device.type == "cuda":
        advance(trainer, trainer.variant.period)  # the first call of some kernels waits
    for _, _, update in drive(trainer, trainer.variant.period, around=lambda: no_waiting(trainer.device)):
        with no_waiting(trainer.device):
            trainer.apply(update)


def check_condition_matters(subject: Subject) -> None:
    """Samples depend on the label asked for, and training depends on the labels of the data."""
    one, other = subject.finished(), subject.finished(shift=1)
    variant = one.snapshot()
    first, second = (draw(variant, subject, 4, label=label) for label in (0, 1))
    require(not torch.equal(first, second), "samples of two labels are equal: let cond reach G")
    apart = difference(parameters_of(one.variant), parameters_of(other.variant))
    require(bool(apart), "other labels give the same weights: use batch.cond in a loss")


def check_steps_can_be_replayed(subject: Subject) -> None:
    """A step that is captured and replayed, as by a CUDA graph, comes to the bits of one that is made."""
    recorder = CudaRecorder(subject.device) if subject.device.type == "cuda" else on_tape
    trainer = subject.trainer(steps=10 * subject.trainer().period, recorder=recorder)
    graphs = trainer.graphs
    assert graphs is not None
    if graphs.refused:
        return  # its optimizer is its own: steps are made one by one
    graphs.compared_at = range(10)  # a graph is compared each time, with another batch, progress and seed
    mend = "keep state in buffers, changed in place, and draw random numbers from torch alone"
    try:
        advance(trainer, 4 * trainer.period)
    except Unfair as error:
        raise AssertionError(f"{error}: {mend}") from error
    require(not graphs.refused, f"no CUDA graph can have its steps: {graphs.refused}; {mend}")


def check_two_ranks_equal_one(subject: Subject) -> None:
    """Two devices, each with half of a batch, make the steps that one makes with all of it."""
    if reason := subject.trainer().variant.one_device:
        raise PassedOver(f"it is for one device: {reason}")
    mend = (
        "of what is no mean of samples use mean_over_ranks(x), the mean of what devices have, or whole_batch(x), the "
        "samples of all; or set `one_device` to why it cannot be"
    )
    try:
        apart = difference_of_two_ranks(subject)
    except ValueError as error:  # the trainer has seen it
        raise AssertionError(str(error)) from error
    require(not apart, f"on two devices {apart}: {mend}")


CHECKS: tuple[Check, ...] = (
    check_samples_are_images,
    check_updates_name_a_player_and_carry_a_scalar_loss,
    check_parameters_move_only_inside_updates,
    check_every_parameter_is_reached,
    check_same_seed_same_run,
    check_resume_is_exact,
    check_state_lives_in_buffers,
    check_evaluation_does_not_disturb_training,
    check_data_is_used_and_not_written,
    check_instances_are_independent,
    check_only_what_is_counted_trains,
    check_samples_come_from_weights_alone,
    check_bf16_stays_finite,
    check_other_data_fit,
    check_steps_do_not_wait_for_the_device,
    check_steps_can_be_replayed,
    check_two_ranks_equal_one,
)


def checks_for(variant: type[Variant]) -> Iterator[Check]:
    """Yield the checks that apply to a variant."""
    yield from CHECKS
    if variant.task == "label":
        yield check_condition_matters


def examine(update: Update, trainer: Trainer) -> None:
    """Raise where an update is not what the harness can perform."""
    require(isinstance(update, Update), f"step yields {type(update).__name__}; it must yield Update(player, loss)")
    players, name, loss = ", ".join(trainer.players), update.player, update.loss
    require(name in trainer.players, f"step yields an update of {name!r}; optimizers() has the players {players}")
    require(isinstance(loss, Tensor), f"the loss of {name} is a {type(loss).__name__}; it must be a tensor")
    require(loss.ndim == 0, f"the loss of {name} has the shape {tuple(loss.shape)}; reduce it with .mean()")
    require(loss.requires_grad, f"the loss of {name} depends on no parameter: look for detach or no_grad")
    require(bool(loss.isfinite()), f"the loss of {name} is {float(loss.detach())} on random data")
    for key, value in update.log.items():
        scalar = isinstance(value, Tensor) and value.ndim == 0
        require(scalar, f"log[{key!r}] of {name} is no scalar tensor: log `value.detach()` of a mean, no number")


def modes() -> tuple[bool, ...]:
    """Return the modes of PyTorch that a `with` around a `yield` would leave changed."""
    autocast = (torch.is_autocast_enabled(device) for device in ("cpu", "cuda"))
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled(), *autocast


def yields_inside_with(step: Callable[..., object]) -> int | None:
    """Return the line of a function, from 1, in which it yields inside a `with`, or None."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(step)))
    except (OSError, SyntaxError):  # no source to be had; `modes` sees most of it
        return None
    blocks = (node for node in ast.walk(tree) if isinstance(node, ast.With))
    yields = (node for block in blocks for node in ast.walk(block) if isinstance(node, ast.Yield | ast.YieldFrom))
    return next((node.lineno for node in yields), None)
