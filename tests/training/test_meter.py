"""Meters: operations and gradients against counts and sums made by hand, memory against what the system says."""

import copy
import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from ganbench.training import meter
from ganbench.training.meter import FlopCounter, norm_of, peak_bytes, reset_peak

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


LAYERS = {
    "plain": {},
    "stride": {"stride": 2, "padding": 1},
    "dilation": {"dilation": 2, "padding": 2},
}


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("options", LAYERS.values(), ids=LAYERS)
def test_each_gradient_of_a_convolution_costs_as_much_as_its_output(groups, transposed, dimensions, options):
    images, channels, filters, side, kernel = 2, 6, 12, 7, 3
    name = f"Conv{'Transpose' if transposed else ''}{dimensions}d"
    layer = getattr(nn, name)(channels, filters, kernel, groups=groups, bias=False, **options)
    x = torch.randn(images, channels, *[side] * dimensions, requires_grad=True)
    # A product for each tap of each output; a transposed one is the other turned round, from its output to its input.
    places = x[0, 0].numel() if transposed else layer(x)[0, 0].numel()
    one = 2 * images * places * (channels // groups) * filters * kernel**dimensions
    assert counted(lambda: layer(x)) == one
    for wanted in ([x], [layer.weight], [x, layer.weight]):
        assert counted(lambda wanted=wanted: layer(x).sum().backward(inputs=wanted)) == one + len(wanted) * one
    assert counted(lambda: layer(x[:0])) == counted(lambda: layer(x[:0]).sum().backward()) == 0


@pytest.mark.parametrize("groups", [1, 3])
def test_a_convolution_costs_what_its_matrix_products_cost_in_a_gradient_penalty_too(groups):
    layer = nn.Conv2d(6, 9, 3, padding=1, groups=groups, bias=False)
    x = torch.randn(2, 6, 5, 5, requires_grad=True)

    def as_products(x):
        patches = functional.unfold(x, 3, padding=1).view(2, groups, -1, 25).transpose(0, 1).flatten(0, 1)
        weights = layer.weight.view(groups, 1, 9 // groups, -1).expand(-1, 2, -1, -1).flatten(0, 1)
        return torch.bmm(weights, patches).view(groups, 2, -1, 25).transpose(0, 1).reshape(2, 9, 5, 5)

    def penalty(network):
        (gradient,) = torch.autograd.grad(network(x).square().sum(), x, create_graph=True)
        gradient.square().sum().backward(inputs=[layer.weight])

    torch.testing.assert_close(as_products(x), layer(x))
    assert counted(lambda: penalty(layer)) == counted(lambda: penalty(as_products)) > 0


OUTPUT, LEFT, RIGHT = torch.randn(M, N), torch.randn(M, K), torch.randn(K, N)
STACK = torch.randn(4, M, K)
PRODUCTS = {
    "mv": (lambda: LEFT.mv(RIGHT[:, 0]), 2 * M * K),
    "addmv": (lambda: torch.addmv(OUTPUT[:, 0], LEFT, RIGHT[:, 0]), 2 * M * K),
    "addmv_": (lambda: OUTPUT[:, 0].clone().addmv_(LEFT, RIGHT[:, 0]), 2 * M * K),
    "addr": (lambda: torch.addr(LEFT, OUTPUT[:, 0], RIGHT[:, 0]), 2 * M * K),
    "addr_": (lambda: LEFT.clone().addr_(OUTPUT[:, 0], RIGHT[:, 0]), 2 * M * K),
    "dot": (lambda: LEFT[0].dot(RIGHT[:, 0]), 2 * K),
    "vdot": (lambda: LEFT[0].vdot(RIGHT[:, 0]), 2 * K),
    "matmul": (lambda: LEFT @ RIGHT, 2 * M * K * N),
    "matmul out": (lambda: torch.mm(LEFT, RIGHT, out=torch.empty(M, N)), 2 * M * K * N),
    "addmm_": (lambda: OUTPUT.clone().addmm_(LEFT, RIGHT), 2 * M * K * N),
    "addbmm": (lambda: torch.addbmm(OUTPUT, STACK, RIGHT.expand(4, -1, -1)), 4 * 2 * M * K * N),
    "addbmm_": (lambda: OUTPUT.clone().addbmm_(STACK, RIGHT.expand(4, -1, -1)), 4 * 2 * M * K * N),
    "baddbmm_": (lambda: torch.zeros(4, M, N).baddbmm_(STACK, RIGHT.expand(4, -1, -1)), 4 * 2 * M * K * N),
    "einsum": (lambda: torch.einsum("bmk,kn->bmn", STACK, RIGHT), 4 * 2 * M * K * N),
    "bilinear": (lambda: functional.bilinear(LEFT, OUTPUT, torch.randn(9, K, N)), 3 * M * 9 * K * N),
    "cdist": (lambda: torch.cdist(torch.randn(30, K), torch.randn(40, K)), 2 * 30 * 40 * (K + 2)),
    "attention": (lambda: functional.scaled_dot_product_attention(STACK, STACK, STACK), 4 * 2 * 2 * M * M * K),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_products_count_whatever_they_are_called_by_and_whether_or_not_gradients_are_kept(name, mode):
    function, operations = PRODUCTS[name]
    with mode():
        assert counted(function) == operations


def test_layers_cost_in_inference_mode_what_they_cost_elsewhere():
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 5, 3), nn.Flatten(), nn.Linear(320, 2))
    x = torch.randn(2, 3, 8, 8)
    outside, seen = counted(lambda: layers(x)), layers(x)
    with torch.inference_mode(), FlopCounter() as counter:
        torch.testing.assert_close(layers(x), seen, rtol=0, atol=0)
    assert counter.flops == outside > 0


def test_attention_that_is_fused_costs_what_its_products_cost():
    query, key, value = (torch.randn(2, 3, length, 8, requires_grad=True) for length in (5, 7, 7))
    one = 2 * (2 * 3 * 5 * 7 * 8)  # of queries and keys, or of their weights and values
    fused = functional.scaled_dot_product_attention
    assert counted(lambda: fused(query, key, value)) == 2 * one
    # Backward makes the weights anew, since they were not kept.
    assert counted(lambda: fused(query, key, value).sum().backward()) == (2 + 5) * one


@pytest.mark.parametrize("normed", [nn.utils.parametrizations.spectral_norm, nn.utils.spectral_norm])
@pytest.mark.parametrize("layer", [nn.Linear(K, N), nn.Conv2d(5, 4, 3), nn.ConvTranspose2d(5, 4, 3)])
def test_the_power_iteration_of_spectral_norm_counts(normed, layer):
    shape = (M, K) if isinstance(layer, nn.Linear) else (2, 5, 6, 6)
    x, weight = torch.randn(shape), layer.weight.numel()
    outputs = layer.weight.shape[isinstance(layer, nn.ConvTranspose2d)]
    plain = counted(lambda: layer(x))
    made = normed(copy.deepcopy(layer))
    # Two products for the vectors, a third and that of two vectors for the largest singular value.
    assert counted(lambda: made(x)) == plain + 3 * 2 * weight + 2 * outputs


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

    def worked():
        mix = x.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(critic(mix).sum(), mix, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), list(critic.parameters()), allow_unused=True)

    with FlopCounter():
        measured = worked()
    for mine, other in zip(measured, worked(), strict=True):
        assert mine is other is None or torch.equal(mine, other)


# Gradients


SIZES = [1e-45, 9e-30, 1e-20, 1e-12, 1.0, 1e12, 1e19, 1e30, 3e38]


def gradients(size, dtype=torch.float32):
    torch.manual_seed(0)
    shapes = [(4, 3), (3,), (2, 3, 2, 2), (), (0, 3)]
    return [(torch.rand(shape, dtype=torch.float64) * size).to(dtype) for shape in shapes]


def by_hand(tensors):
    return math.hypot(*(number for tensor in tensors for number in tensor.double().flatten().tolist()))


@pytest.mark.parametrize("size", SIZES)
def test_a_norm_neither_vanishes_nor_overflows(size):
    found = norm_of(gradients(size))
    assert found.dtype == torch.float64 and 0 < found.item() < math.inf
    assert found.item() == pytest.approx(by_hand(gradients(size)), rel=1e-6, abs=0)


@pytest.mark.parametrize("size", SIZES[1:-1])
def test_nor_does_it_where_there_is_no_float64(size):
    tensors = [each for each in gradients(size) if each.numel()]
    found = meter._scaled_norm(tensors)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(by_hand(tensors), rel=1e-6, abs=0)


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30, 0.0])
def test_a_norm_for_which_no_number_is_read_is_the_same(scale):
    scaled = [each * scale for each in gradients(1000)]
    found = norm_of(scaled, reads=False)
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(norm_of(scaled).item(), rel=1e-6)


@pytest.mark.parametrize("norm", [norm_of, meter._scaled_norm])
def test_zeros_have_a_norm_of_zero_and_what_is_not_finite_stays_so(norm):
    assert norm([torch.zeros(3), torch.zeros(2, 2)]).item() == 0
    assert math.isnan(norm([torch.tensor([1.0, math.nan]), torch.ones(2)]).item())
    assert norm([torch.tensor([1.0, -math.inf]), torch.ones(2)]).item() == math.inf


def test_large_and_small_gradients_have_one_norm():
    small, large = torch.full((10_000,), 1e-13), torch.tensor([1e-11])
    assert norm_of([small, large]).item() == pytest.approx(math.sqrt(2) * 1e-11, rel=1e-6)
    assert norm_of([torch.full((4,), 9e-30), torch.ones(9)]).item() == pytest.approx(3, rel=1e-6)


def test_a_norm_is_of_all_kinds_of_numbers():
    assert norm_of([]).item() == norm_of([torch.empty(0)]).item() == 0
    assert norm_of([torch.tensor([3 + 4j]), torch.tensor([12.0])]).item() == pytest.approx(13)
    mixed = [torch.full((2,), 2.0, dtype=dtype) for dtype in (torch.float16, torch.bfloat16, torch.float64)]
    assert norm_of(mixed).item() == pytest.approx(math.sqrt(6 * 4))


@pytest.mark.gpu
@pytest.mark.parametrize("size", SIZES)
def test_a_gpu_gives_the_norm_that_a_cpu_gives(size):
    found = norm_of([each.cuda() for each in gradients(size)])
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(by_hand(gradients(size)), rel=1e-6, abs=0)


# Memory


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
