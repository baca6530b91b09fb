"""Seeds: stable numbers for every purpose, and generators put back as they were found."""

import hashlib

import pytest
import torch

from ganbench.seeds import derive, seed_device, seeded


def test_a_seed_is_the_hash_of_seed_and_purpose():
    expected = int(hashlib.sha256(b"3\x1fstep\x1f12").hexdigest()[:16], 16) // 2
    assert derive(3, "step", 12) == expected


def test_seeds_are_the_same_in_every_version_and_on_every_machine():
    assert derive(0) == 3456079177858693020
    assert derive(0, "init", "generator", 0) == 3441329366505894444


def test_seeds_of_different_purposes_differ_and_fit_a_generator():
    found = {derive(seed, purpose, step) for seed in range(3) for purpose in ("step", "epoch") for step in range(500)}
    assert len(found) == 3000
    assert min(found) >= 0 and max(found) < 2**63
    assert derive(1, "a", "b") != derive(1, "ab")


def test_a_block_draws_from_its_seed_and_leaves_no_trace():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with seeded(99):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(inside, torch.rand(3, generator=torch.Generator().manual_seed(99)))


def test_a_block_that_raises_leaves_no_trace_either():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(99):
        torch.rand(3)
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), before)


def test_seeding_a_device_is_what_manual_seed_does_there():
    seed_device(torch.device("cpu"), 7)
    found = torch.randn(20), torch.rand(20), torch.randint(9, (20,))
    torch.manual_seed(7)
    for one, other in zip(found, (torch.randn(20), torch.rand(20), torch.randint(9, (20,))), strict=True):
        assert torch.equal(one, other)


@pytest.mark.gpu
def test_seeding_a_gpu_is_what_manual_seed_does_there():
    for device in (torch.device("cuda"), torch.device("cuda:0")):
        torch.rand(1, device=device)
        seed_device(device, 7)
        found = torch.randn(20, device=device)
        torch.manual_seed(7)
        assert torch.equal(found, torch.randn(20, device=device))
