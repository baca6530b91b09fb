"""Ranks that train together: batch norm over all of a batch, averages, moments of ticks, and what cannot be shared."""

import copy

import pytest
import torch
from torch import nn

from ganbench.errors import UserError
from ganbench.results.store import ResultStore
from ganbench.runs.registry import discover
from ganbench.testing.subject import subject_of
from ganbench.testing.taking_turns import together
from ganbench.toolbox.ranks import among
from ganbench.training.budget import Budget
from ganbench.training.ranks import SINGLE, Pace, Ranks, misfit, share_statistics

IMAGES = Budget(1000, "images")
REGISTRY = discover()


def slopes_of(norm, x):
    """Return the output of a norm and a loss of second order by its weights, over the samples given."""
    x = x.clone().requires_grad_(True)
    y = norm(x)
    (slopes,) = torch.autograd.grad(y.tanh().sum(), x, create_graph=True)
    loss = slopes.square().mean() + y.pow(3).mean()
    return y.detach(), torch.autograd.grad(loss, norm.weight)[0]


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize(("kind", "shape"), [(nn.BatchNorm1d, (8, 3)), (nn.BatchNorm2d, (8, 3, 2, 5))])
def test_a_batch_norm_over_ranks_is_one_over_the_whole_batch(kind, shape, momentum):
    torch.manual_seed(0)
    x = torch.randn(*shape, dtype=torch.float64) * 3 + 5
    x[:4] += 2  # parts of other means
    one = kind(3, momentum=momentum).double()
    nn.init.normal_(one.weight)
    norms, found = [copy.deepcopy(one) for _ in range(2)], {}

    def of(rank):
        def run(group):
            share_statistics(norms[rank])
            with among(group):
                found[rank] = [slopes_of(norms[rank], x.chunk(2)[rank] + shift) for shift in (0, 1)]

        return run

    together([of(rank) for rank in range(2)])
    for number, shift in enumerate((0, 1)):
        output, gradient = slopes_of(one, x + shift)
        assert torch.allclose(torch.cat([found[0][number][0], found[1][number][0]]), output, rtol=1e-10, atol=1e-12)
        assert torch.allclose((found[0][number][1] + found[1][number][1]) / 2, gradient, rtol=1e-9)
    for norm in norms:
        for name, value in one.state_dict().items():
            assert torch.allclose(norm.state_dict()[name], value, rtol=1e-12), name
        assert isinstance(norm, kind) and norm.state_dict().keys() == one.state_dict().keys()
        alone = copy.deepcopy(one)
        assert torch.equal(norm.eval()(x), alone.eval()(x)) or torch.allclose(norm(x), alone(x), rtol=1e-12)


def test_alone_a_shared_batch_norm_is_what_it_was_bit_for_bit():
    torch.manual_seed(0)
    one, x = nn.BatchNorm2d(3), torch.randn(4, 3, 5, 5)
    other = copy.deepcopy(one)
    share_statistics(other)
    assert torch.equal(one(x), other(x)) and torch.equal(one.running_var, other.running_var)
    share_statistics(other)  # again
    assert torch.equal(one(x), copy.deepcopy(other)(x))


def test_averages_keep_types_shapes_and_layouts():
    found = {}

    def of(rank):
        def run(group):
            maps = torch.full((2, 3, 4, 4), float(rank)).to(memory_format=torch.channels_last)
            tensors = [maps, torch.full((5,), 2.0 * rank, dtype=torch.float64), torch.tensor(float(rank))]
            ranks = Ranks(rank, 3, group)
            ranks.average(tensors)
            found[rank] = tensors, ranks.largest(10 * rank, torch.device("cpu"))

        return run

    together([of(rank) for rank in range(3)])
    for (maps, double, scalar), largest in found.values():
        assert torch.equal(maps, torch.ones(2, 3, 4, 4)) and maps.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(double, torch.full((5,), 2.0, dtype=torch.float64)) and float(scalar) == 1 and largest == 20


def test_weights_that_drift_apart_are_named():
    def of(rank, drift):
        def run(group):
            network = nn.Linear(2, 2).requires_grad_(False)
            network.weight.fill_(1), network.bias.fill_(rank * drift)
            Ranks(rank, 2, group).require_alike(network, "some", 7)

        return run

    together([of(rank, 0.0) for rank in range(2)])
    with pytest.raises(ValueError, match="2 devices of some hold different values of bias after 7 steps"):
        together([of(rank, 1e-7) for rank in range(2)])


class Told(Ranks):
    """Ranks that all hear the same number, whatever they say."""

    def __init__(self, number):
        super().__init__(0, 2)
        self.number, self.said = number, []

    def agree(self, number):
        self.said.append(number)
        return self.number


def test_ranks_tick_after_the_steps_that_they_agree_on_and_one_device_by_its_clock():
    ranks = Told(3)
    pace = Pace(ranks, 50, 1.0, now=0.0)
    assert [pace.is_due(now) for now in (0.1, 100.0, 200.0)] == [False, False, True]
    pace.begin(last=0.3, now=9.0)  # 0.1 seconds a step, and the time of the tick is none
    assert ranks.said == [1, 10]
    pace.begin(last=9.0, now=9.0)
    assert ranks.said[-1] == 50
    pace.begin(last=99.0, now=99.0)
    assert ranks.said[-1] == 1
    alone = Pace(SINGLE, 50, 1.0, now=0.0)
    assert [alone.is_due(now) for now in (0.5, 1.5)] == [False, True]


@pytest.mark.parametrize(
    ("name", "budget", "batch", "images", "reason"),
    [
        ("gan", IMAGES, 8, 8, None),
        ("gan", IMAGES, 9, 9, "a batch of 9 cannot be shared out equally among 2 devices: --batch must be a multiple"),
        ("gan", IMAGES, 8, 9, "a step of 9 real images cannot be shared out"),
        ("gan", Budget(9, "seconds"), 8, 8, "give images, updates or flops"),
        ("cyclegan", IMAGES, 8, 8, "it is for one device: its pool"),
    ],
)
def test_what_cannot_be_shared_out_is_told_in_one_sentence(name, budget, batch, images, reason):
    variant = subject_of(name, registry=REGISTRY).trainer().variant
    found = misfit(variant, budget, batch, images, 2)
    assert (found is None) if reason is None else (found.startswith(reason) or reason in found)
    assert misfit(variant, budget, batch, images, 1) is None


def test_a_trainer_refuses_to_share_what_it_cannot():
    with pytest.raises(UserError, match="it is for one device"):
        subject_of("cyclegan", registry=REGISTRY).trainer(ranks=Ranks(0, 2))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["gan", "wgan-gp"])
def test_ranks_stay_alike_and_meter_what_they_do_together(name, precision):
    subject, made = subject_of(name, registry=REGISTRY), {}

    def of(rank):
        def run(group):
            trainer = subject.trainer(ranks=Ranks(rank, 2, group), precision=precision, steps=3)
            for _ in trainer.train(1.0):
                pass
            made[rank] = trainer

        return run

    together([of(rank) for rank in range(2)])
    alone = subject.trainer(precision=precision, steps=3)
    for _ in alone.train(1.0):
        pass
    one, other = made[0], made[1]
    for name, value in one.variant.state_dict().items():
        assert torch.equal(value, other.variant.state_dict()[name]), name
    assert one.meters.flops == other.meters.flops == pytest.approx(alone.meters.flops, rel=0.01)
    assert (one.meters.images, one.meters.updates) == (alone.meters.images, alone.meters.updates)
    first, second = one.traces(), other.traces()
    assert all((first[name] == second[name]).all() for name in first) and first.keys() == alone.traces().keys()
    for trainer in (one, alone):  # what one layout keeps, the other continues from
        again = subject.trainer(precision=precision, steps=4)
        again.load_state_dict(trainer.state_dict())
        again.step()
        assert again.meters.steps == 4


@pytest.mark.gpu
def test_ranks_on_two_gpus_make_a_run(tmp_path):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    import ganbench

    asked = {"variants": ["dcgan", "wgan-gp"], "dataset": "digits", "seeds": 1, "budget": "3200-images", "marks": 1}
    ganbench.run(**asked, metrics="none", device="cuda", devices=2, results=tmp_path)
    records, _ = ResultStore(tmp_path).records()
    assert [record.status for record in records] == ["done", "done"]
    assert all(record.provenance["machine"]["device"].startswith("2 × ") for record in records)
