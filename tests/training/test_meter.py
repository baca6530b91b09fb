"""Meters: floating-point operations against counts made by hand, and memory against what the system says."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ganbench.training.meter import FlopCounter, peak_bytes, reset_peak

CPU = torch.device("cpu")
M, K, N = 5, 7, 3  # a product of [M, K] and [K, N] takes 2·M·K·N operations, a multiplication and an addition each


def counted(function):
    with FlopCounter() as counter:
        function()
    return counter.flops


def test_a_linear_layer_costs_one_product():
    layer, x = nn.Linear(K, N), torch.randn(M, K)
    assert counted(lambda: layer(x)) == 2 * M * K * N


def test_its_backward_costs_a_product_for_the_weights_and_one_for_the_input():
    layer, x = nn.Linear(K, N), torch.randn(M, K)
    assert counted(lambda: layer(x).sum().backward()) == 2 * (2 * M * K * N)
    x.requires_grad_(True)
    assert counted(lambda: layer(x).sum().backward()) == 3 * (2 * M * K * N)


def test_gradients_that_nobody_asked_for_cost_nothing():
    first, second, x = nn.Linear(K, N), nn.Linear(N, 1), torch.randn(M, K)
    # Forward through both, then back to the second layer's weights alone.
    assert counted(lambda: second(first(x)).sum().backward(inputs=list(second.parameters()))) == (
        2 * M * K * N + 2 * M * N + 2 * M * N
    )


def test_double_backward_through_one_layer():
    layer, x = nn.Linear(K, N), torch.randn(M, K, requires_grad=True)

    def penalty():
        (gradient,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
        gradient.square().sum().backward(inputs=[layer.weight])

    # y = x·Wᵀ; ∇x = 1·W; and from ∇x back to W. Each is one product of the same three sizes.
    assert counted(penalty) == 3 * (2 * M * K * N)


def test_double_backward_through_a_critic_of_two_layers():
    critic = nn.Sequential(nn.Linear(K, N), nn.Tanh(), nn.Linear(N, 1))
    x = torch.randn(M, K)

    def penalty():
        mix = x.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(critic(mix).sum(), mix, create_graph=True)
        (gradient.square().sum(1).sqrt() - 1).square().mean().backward(inputs=list(critic.parameters()))

    # With z = x·W₁ᵀ, a = tanh z, y = a·W₂ᵀ and the gradients g_a = 1·W₂, g_z = g_a·tanh'(z), g_x = g_z·W₁:
    # products of M·K·N are z, g_x, and on the way back dW₁ += g_zᵀ·dg_x, dg_z = dg_x·W₁ᵀ and, through tanh''(z),
    # dW₁ += dzᵀ·x; products of M·N are y, g_a and dW₂ = 1ᵀ·dg_a.
    assert counted(penalty) == 5 * (2 * M * K * N) + 3 * (2 * M * N)


def test_convolutions_are_counted_forward_and_backward():
    images, channels, filters, side, kernel = 2, 3, 4, 8, 3
    layer = nn.Conv2d(channels, filters, kernel, padding=1)
    x = torch.randn(images, channels, side, side, requires_grad=True)
    one = 2 * images * filters * side * side * channels * kernel * kernel
    assert counted(lambda: layer(x)) == one
    assert counted(lambda: layer(x).sum().backward()) == 3 * one


def test_a_network_costs_what_pytorch_s_own_counter_says():
    network = nn.Sequential(
        nn.Linear(6, 16 * 2 * 2),
        nn.Unflatten(1, (16, 2, 2)),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(8, 4, 4, 2, 1),
        nn.Flatten(),
        nn.Linear(16, 1),
    )
    x = torch.randn(4, 6)
    with FlopCounterMode(display=False) as reference:
        network(x).sum().backward()
    assert counted(lambda: network(x).sum().backward()) == reference.get_total_flops() > 0


def test_only_what_runs_inside_the_block_counts_and_blocks_add_up():
    layer, x = nn.Linear(K, N), torch.randn(M, K)
    layer(x)
    with FlopCounter() as counter:
        layer(x)
        layer(x)
    layer(x)
    assert counter.flops == 2 * (2 * M * K * N)


def test_elementwise_work_is_left_out():
    x = torch.randn(100, 100)
    assert counted(lambda: (x + 1).tanh().softmax(1).sum()) == 0


def test_counting_changes_no_result():
    critic = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(144, 1))
    x = torch.randn(6, 1, 8, 8)

    def gradients():
        mix = x.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(critic(mix).sum(), mix, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), list(critic.parameters()), allow_unused=True)

    with FlopCounter():
        measured = gradients()
    for mine, other in zip(measured, gradients(), strict=True):
        assert mine is other is None or torch.equal(mine, other)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system tells no peak to compare with")
def test_peak_memory_of_a_cpu_is_that_of_the_process():
    status = Path("/proc/self/status").read_text()
    now, peak = (int(re.search(rf"{name}:\s+(\d+)", status)[1]) * 1024 for name in ("VmRSS", "VmHWM"))
    block = torch.ones(peak - now + 2**26, dtype=torch.uint8)  # 64 MiB more than ever before
    higher = peak_bytes(CPU)
    assert peak + 2**25 < higher < peak + 2**27
    del block
    reset_peak(CPU)
    assert peak_bytes(CPU) > higher - 2**20  # a process cannot forget its peak; the kernel rounds a little


@pytest.mark.gpu
def test_peak_memory_of_a_gpu_starts_anew():
    device = torch.device("cuda")
    block = torch.ones(2**26, dtype=torch.uint8, device=device)
    del block
    assert peak_bytes(device) >= 2**26
    reset_peak(device)
    assert peak_bytes(device) < 2**26
