"""The conformance kit, for authors of plugins and `ganbench check`; may import `runs` and what is below it."""

from ganbench.testing.checks import (
    CHECKS,
    Check,
    check_bf16_stays_finite,
    check_condition_matters,
    check_data_is_used_and_not_written,
    check_evaluation_does_not_disturb_training,
    check_every_parameter_is_reached,
    check_instances_are_independent,
    check_other_data_fit,
    check_parameters_move_only_inside_updates,
    check_resume_is_exact,
    check_same_seed_same_run,
    check_samples_are_images,
    check_state_lives_in_buffers,
    check_steps_do_not_wait_for_the_device,
    check_updates_name_a_player_and_carry_a_scalar_loss,
    checks_for,
)
from ganbench.testing.kit import Outcome, parametrize, run_checks
from ganbench.testing.subject import Subject, subject_of

__all__ = [
    "CHECKS",
    "Check",
    "Outcome",
    "Subject",
    "check_bf16_stays_finite",
    "check_condition_matters",
    "check_data_is_used_and_not_written",
    "check_evaluation_does_not_disturb_training",
    "check_every_parameter_is_reached",
    "check_instances_are_independent",
    "check_other_data_fit",
    "check_parameters_move_only_inside_updates",
    "check_resume_is_exact",
    "check_same_seed_same_run",
    "check_samples_are_images",
    "check_state_lives_in_buffers",
    "check_steps_do_not_wait_for_the_device",
    "check_updates_name_a_player_and_carry_a_scalar_loss",
    "checks_for",
    "parametrize",
    "run_checks",
    "subject_of",
]
