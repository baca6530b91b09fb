"""Each check of the conformance kit passes on sound variants and fails on one that breaks its rule."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from ganbench import UserError, testing
from ganbench.runs.registry import discover
from ganbench.testing.checks import CHECKS, check_condition_matters
from ganbench.testing.kit import name_of, outcome_of, run_checks
from ganbench.testing.subject import drive, subject_of

REGISTRY = discover([Path(__file__).parents[1] / "broken_variants.py"])
SOUND = ["plain", "busy", "conditional", "large", "points-only"]
EVERY_CHECK = {name_of(check): check for check in (*CHECKS, check_condition_matters)}
UPDATES = "updates_name_a_player_and_carry_a_scalar_loss"
REPLAYED = "steps_can_be_replayed"
RANKS = "two_ranks_equal_one"
WAITING = "steps_do_not_wait_for_the_device"
BREACHES = [
    ("OutOfRange", "samples_are_images", "Tanh"),
    ("WrongShape", "samples_are_images", r"\(1, 256\); it must be \(1, 1, 16, 16\)"),
    ("OneWay", "samples_are_images", "unexpected keyword argument 'reverse'"),
    ("BackOutOfRange", "samples_are_images", r"sample\(reverse=True\) reaches"),
    ("WrongType", "samples_are_images", "torch.float64; it must be torch.float32"),
    ("NotFinite", "samples_are_images", "NaN or infinity"),
    ("FixedBatch", "samples_are_images", r"sample\(1\)"),
    ("WrongPlayer", UPDATES, "'d'; .* players G, D"),
    ("InContext", UPDATES, "line 3 of step yields inside a `with`"),
    ("InHiddenContext", UPDATES, "inside a `with`"),
    ("NotScalar", UPDATES, r"shape \(8, 1\)"),
    ("NotANumber", UPDATES, "loss of D is nan"),
    ("Unconnected", UPDATES, "depends on no parameter"),
    ("LogsNumbers", UPDATES, "log.'step'."),
    ("ReturnsList", UPDATES, "returns instead of yielding"),
    ("YieldsTuples", UPDATES, "yields tuple"),
    ("YieldsNothing", UPDATES, "no update"),
    ("HiddenOptimizer", "parameters_move_only_inside_updates", "G.*moves"),
    ("ClipsInStep", "parameters_move_only_inside_updates", "D.*register_step_post_hook"),
    ("Forgotten", "every_parameter_is_reached", "Q.weight, Q.bias: in no optimizer"),
    ("Unreached", "every_parameter_is_reached", "Q.weight, Q.bias: no gradient"),
    ("HiddenModule", "every_parameter_is_reached", "of no attribute"),
    ("TimeSeeded", "same_seed_same_run", "two runs of one seed differ"),
    ("GlobalState", "same_seed_same_run", "two runs of one seed differ"),
    ("FixedNoise", "same_seed_same_run", "the same under two seeds"),
    ("SeedsInStep", "same_seed_same_run", "step seeds"),
    ("Counts", "resume_is_exact", "register_buffer"),
    ("PlainTensor", "resume_is_exact", "register_buffer"),
    ("NotSaved", "resume_is_exact", "register_buffer"),
    ("OwnGenerator", "resume_is_exact", "register_buffer"),
    ("SavesObjects", "resume_is_exact", "does not load again"),
    ("HiddenOptimizer", "state_lives_in_buffers", "hidden"),
    ("Counts", "state_lives_in_buffers", "^count changes"),
    ("PlainTensor", "state_lives_in_buffers", "^average.0 changes"),
    ("NotSaved", "state_lives_in_buffers", "_buffers.'average'"),
    ("Rebinds", "state_lives_in_buffers", "_buffers.'level'"),
    ("OwnGenerator", "state_lives_in_buffers", "^source"),
    ("ClassCounter", "state_lives_in_buffers", "^ClassCounter.steps"),
    ("MovesWhenSampled", "evaluation_does_not_disturb_training", "sample changes G.0.weight"),
    ("SharesWithItsCopies", "evaluation_does_not_disturb_training", "sampled on the way"),
    ("TimeSeeded", "evaluation_does_not_disturb_training", "sampled on the way"),
    ("IgnoresData", "data_is_used_and_not_written", "use batch.real"),
    ("WritesBatch", "data_is_used_and_not_written", "work on a copy"),
    ("GlobalState", "instances_are_independent", "in turns"),
    ("HiddenOptimizer", "only_what_is_counted_trains", "changes (G.0.weight|its weights)"),
    ("SharesWithItsCopies", "samples_come_from_weights_alone", "more than its weights"),
    ("FragileInBf16", "bf16_stays_finite", "not finite under bf16"),
    ("MixesTypesInBf16", "bf16_stays_finite", "broken_variants.py, line"),
    ("OneChannel", "other_data_fit", "RuntimeError"),
    ("NeedsLabels", "other_data_fit", "NoneType"),
    ("ReadsItem", WAITING, "item"),
    ("Branches", WAITING, "__bool__"),
    ("Masks", WAITING, "mask"),
    ("ReadsItem", REPLAYED, "no CUDA graph can have its steps: its step reads values"),
    ("Counts", REPLAYED, "no CUDA graph can have its steps: replayed, its step comes to another .*buffers"),
    ("Rebinds", REPLAYED, "a new tensor in the place of level; keep state in buffers"),
    ("PythonRandom", REPLAYED, "comes to another .*random numbers from torch alone"),
    ("LateBranch", REPLAYED, "depends on the number of the step"),
    ("MeansOfItsPart", RANKS, "on two devices loss/D differs by .*: of what is no mean of samples"),
    ("StateOfItsPart", RANKS, "the 2 devices of broken-stateofitspart hold different values of level after 2 steps"),
    ("OneDrawForAll", RANKS, "on two devices loss/D differs"),
    ("MeetsUnevenly", RANKS, "ranks do not ask for the same"),
    ("IgnoresLabel", "condition_matters", "let cond reach G"),
    ("IgnoresLabelsOfData", "condition_matters", "use batch.cond"),
]


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_variant_passes_every_check(name):
    outcomes = run_checks(name, registry=REGISTRY)
    assert [outcome for outcome in outcomes if not outcome.passed] == []
    assert ("condition_matters" in [outcome.name for outcome in outcomes]) == (name == "conditional")


@pytest.mark.parametrize(("broken", "check", "message"), BREACHES, ids=[f"{b}-{c}" for b, c, _ in BREACHES])
def test_a_broken_variant_fails_its_check_and_is_told_what_to_change(broken, check, message):
    subject = subject_of(f"broken-{broken.lower()}", registry=REGISTRY)
    outcome = outcome_of(EVERY_CHECK[check], subject)
    assert not outcome.passed
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(outcome.message)
    assert torch.is_grad_enabled()  # whatever the variant left changed is put back


def test_every_check_is_seen_to_fail_and_every_broken_variant_is_seen():
    assert {check for _, check, _ in BREACHES} == set(EVERY_CHECK)
    broken = {name.removeprefix("broken-") for name in REGISTRY.find("variant", "broken-*")}
    assert {name.lower() for name, _, _ in BREACHES} == broken


def test_a_check_is_told_by_its_rule():
    for check in EVERY_CHECK.values():
        rule = check.__doc__.partition("\n")[0]
        assert rule.endswith(".") and len(rule) < 120
    outcome = outcome_of(EVERY_CHECK["resume_is_exact"], subject_of("plain", registry=REGISTRY))
    assert outcome.rule.startswith("A run that is stopped")
    assert json.dumps(dataclasses.asdict(outcome))


def test_an_expected_failure_is_no_failure_but_an_unexpected_pass_is():
    expected = {"resume_is_exact": "a counter", "check_state_lives_in_buffers": "a counter", "bf16_stays_finite": "?"}
    outcomes = {o.name: o for o in run_checks("broken-counts", registry=REGISTRY, expected_failures=expected)}
    assert outcomes["resume_is_exact"].passed and "a counter" in outcomes["resume_is_exact"].message
    assert outcomes["state_lives_in_buffers"].passed
    assert not outcomes["bf16_stays_finite"].passed and "take it off" in outcomes["bf16_stays_finite"].message


def test_an_expected_failure_of_no_check_is_refused():
    with pytest.raises(UserError, match="no check 'resume_is_exakt': did you mean 'resume_is_exact'"):
        run_checks("plain", registry=REGISTRY, expected_failures={"resume_is_exakt": "typo"})


def test_running_the_checks_leaves_the_random_numbers_of_the_caller_alone():
    before = torch.get_rng_state()
    run_checks("plain", registry=REGISTRY)
    assert torch.equal(before, torch.get_rng_state())


def test_data_are_chosen_to_fit():
    assert subject_of("plain", registry=REGISTRY).data.shape == (1, 16, 16)
    assert subject_of("large", registry=REGISTRY).data.shape == (1, 64, 64)
    assert subject_of("points-only", registry=REGISTRY).data.shape == (2,)
    shapes = [data.shape for _, data in subject_of("plain", registry=REGISTRY).others]
    assert shapes == [(3, 8, 8), (1, 32, 32), (2,)]
    assert [data.classes for _, data in subject_of("conditional", registry=REGISTRY).others] == [4, 4]


def test_a_variant_that_fits_no_data_is_an_error_with_the_reason():
    with pytest.raises(UserError, match=r"fits-nothing fits none of the data .*: it is never content"):
        subject_of("fits-nothing", registry=REGISTRY)


def test_a_translator_is_tried_on_two_domains():
    subject = subject_of("translator", registry=REGISTRY)
    assert subject.data.task == "translate"
    batch = subject.trainer().stream[0]
    assert batch.real.shape == batch.cond.shape and not torch.equal(batch.real, batch.cond)


def test_settings_reach_the_variant_under_test():
    assert subject_of("wgan-gp", registry=REGISTRY, settings={"critic_steps": "2"}).trainer().variant.period == 2


def test_driving_a_variant_resumes_it_as_the_trainer_does():
    driven, stepped = (subject_of("busy", registry=REGISTRY).trainer() for _ in range(2))
    for _, _, update in drive(driven, 1):
        driven.apply(update)
    stepped.variant.train()
    stepped.step()
    for mine, other in zip(driven.variant.parameters(), stepped.variant.parameters(), strict=True):
        assert torch.equal(mine, other)


# What an author writes: the decorator makes one case a check, and a known failure is expected.
PLAIN = REGISTRY.get("variant", "plain").item
COUNTS = REGISTRY.get("variant", "broken-counts").item
KNOWN = dict.fromkeys(("resume_is_exact", "state_lives_in_buffers", REPLAYED), "counts in Python")


@testing.parametrize(PLAIN)
def test_the_decorator_runs_every_check(subject, check):
    assert subject.variant is PLAIN
    check(subject)


@testing.parametrize(COUNTS, expected_failures=KNOWN)
def test_the_decorator_expects_known_failures(subject, check):
    check(subject)


def test_the_decorator_names_its_cases():
    ids = [case.id for case in testing.parametrize("gan").args[1]]
    assert ids == [f"gan-{name_of(check)}" for check in CHECKS]
