"""Batches fetched ahead are those of data that lie on the device, bit for bit, and no thread outlives its batch."""

import signal
import threading
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN, Config as Convolutions
from torch.optim import Adam

from ganbench import Augmentation, DataSpec, ImageSet, Update, discriminator_loss, nonsaturating_loss
from ganbench.runs.registry import load_file
from ganbench.toolbox.pairs import Pairs
from ganbench.training import ahead
from ganbench.training.ahead import Ahead, Held
from ganbench.training.budget import Budget
from ganbench.training.networks import build_variant
from ganbench.training.stream import BLOCK, Stream
from ganbench.training.trainer import Trainer

CPU = torch.device("cpu")
tiny = load_file(Path(__file__).parents[1] / "tiny_plugin.py")
DATA = tiny.Tiny().load(Path(), 8)
BACKBONE = DCGAN()
BACKBONE.config = Convolutions(width=4, z_dim=4)


@pytest.fixture(autouse=True)
def no_threads_are_left():
    before = set(threading.enumerate())
    yield
    settled = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < settled:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= before


@pytest.fixture
def elsewhere(monkeypatch):
    """Let no data fit any device, a CPU among them."""

    def switch(on=True):
        monkeypatch.setattr(Stream, "_fits", lambda stream, device: not on)

    return switch


def sets():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (50, 3, 4, 4), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 9, (50,), generator=generator)
    return {
        "images": ImageSet(images),
        "labelled": ImageSet(images, labels),
        "points": ImageSet(torch.randn(50, 2, generator=generator)),
        "strided": ImageSet(images.transpose(2, 3)[::2], labels[::2]),
        "pairs": ImageSet(images, source=Pairs(images, images.flip(0)[:7])),
    }


@pytest.mark.parametrize("name", sets())
def test_batches_are_those_of_data_on_the_device(name, elsewhere):
    data = sets()[name]
    here = Stream(data, 7, 3, CPU)
    elsewhere()
    there = Stream(data, 7, 3, CPU)
    assert here._ahead is None and there._ahead is not None
    steps = [*range(20), 19, 3, 4, 5, BLOCK // 7, BLOCK // 7 + 1, 0]  # in order, again, and jumping across epochs
    for step in steps:
        (real, cond), (expected, wanted) = there[step], here[step]
        assert real.dtype == expected.dtype and torch.equal(real, expected)
        assert cond is wanted is None or (cond.dtype == wanted.dtype and torch.equal(cond, wanted))
        real.zero_()  # what a variant does to it reaches nobody
    if data.cond is not None or data.source is not None:
        assert torch.equal(there.conditions(30, 5), here.conditions(30, 5))
    assert there.served(20) is here.served(20) is None or torch.equal(there.served(20), here.served(20))
    assert torch.equal(there[7].real, here[7].real)


class Augmenting(tiny.Plain):
    """Labels, augmentation of real and generated images, a pool, batch norm, Adam and an average."""

    task = "label"
    ema_half_life_images = 30.0

    def build(self, parts):
        self.G, self.D = parts.generator(inputs=parts.z_dim + 4), parts.discriminator()
        self.augmentation = Augmentation(parts.data.shape)
        self.register_buffer("pool", torch.zeros(8, *parts.data.shape))

    def optimizers(self):
        return {"G": Adam(self.G.parameters(), 1e-3), "D": Adam(self.D.parameters(), 1e-3)}

    def sample(self, n, cond=None):
        labels = torch.nn.functional.one_hot(cond, 4).float()
        return self.G(torch.cat([self.noise(n), labels], 1))

    def step(self, batch, clock):
        fake = self.sample(len(batch.real), batch.cond)
        real, shown = self.augmentation(batch.real, 0.5), self.augmentation(fake.detach(), 0.5)
        yield Update("D", discriminator_loss(self.D(real), self.D(shown)) + self.D(self.pool).mean())
        self.pool.copy_(batch.real[:8])
        yield Update("G", nonsaturating_loss(self.D(self.sample(len(batch.real), batch.cond))))


def trainer(precision="fp32"):
    spec = DataSpec((1, 8, 8), "label", 4)
    variant = build_variant(Augmenting, BACKBONE, spec, seed=0)
    budget = Budget.parse("720-images")  # 30 steps, almost three epochs
    return Trainer(variant, DATA.train, budget, seed=0, batch=24, device=CPU, precision=precision)


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def outcome(run):
    state = run.state_dict()
    for name in ("seconds", "peak_bytes"):
        state["meters"].pop(name)
    return state


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("ways", [(False, True), (True, False)])
def test_weights_and_traces_are_the_same_either_way_and_across_a_checkpoint(ways, precision, elsewhere):
    elsewhere(False)
    whole = trainer(precision)
    list(whole.train(1.0))
    elsewhere()
    other = trainer(precision)
    list(other.train(1.0))
    assert same(outcome(whole), outcome(other))
    first, second = ways  # a run goes on where there is more or less memory
    elsewhere(first)
    begun = trainer(precision)
    list(begun.train(0.4))
    begun.snapshot()  # whose statistics draw labels while the next batch is on its way
    elsewhere(second)
    ended = trainer(precision)
    ended.load_state_dict(begun.state_dict())
    ended.variant.train()
    list(ended.train(1.0))
    assert same(outcome(whole), outcome(ended))


class Slow:
    """A source that takes its time, and notes who reads it at once, and when."""

    nbytes = 0

    def __init__(self, fails_at=None, seconds=0.02):
        self.fails_at, self.seconds, self.readers, self.most, self.calls = fails_at, seconds, 0, 0, []

    def __len__(self):
        return 10**6

    def __getitem__(self, rows):
        self.readers += 1
        self.most = max(self.most, self.readers)
        self.calls.append(threading.current_thread())
        time.sleep(self.seconds)
        self.readers -= 1
        if len(self.calls) == self.fails_at:
            raise KeyError("a damaged image")
        return ImageSet(rows[:, None, None, None].expand(-1, 1, 2, 2).to(torch.uint8), rows)

    def to(self, device):
        return self


def slow(**options):
    source = Slow(**options)
    return source, Stream(ImageSet(torch.zeros(9, 1, 2, 2, dtype=torch.uint8), source=source), 4, 0, CPU)


def test_the_next_batch_is_made_while_a_step_runs_and_nobody_else_reads_meanwhile(elsewhere):
    elsewhere()
    source, stream = slow(seconds=0.1)
    stream[0]
    time.sleep(0.2)  # the step
    assert len(source.calls) == 2 and source.calls[0] is threading.main_thread() is not source.calls[1]
    started = time.perf_counter()
    stream[1]
    assert time.perf_counter() - started < 0.09
    stream.conditions(5, 0), stream[0], stream.conditions(5, 0)
    assert source.most == 1


def test_a_failure_comes_at_the_step_that_it_is_of_and_another_attempt_is_made(elsewhere):
    elsewhere()
    source, stream = slow(fails_at=3)
    first, second = stream[0], stream[1]  # the third is on its way
    with pytest.raises(KeyError, match="a damaged image"):
        stream[2]
    source.fails_at = None
    expected = slow()[1]
    for step, batch in enumerate((first, second, stream[2])):
        assert torch.equal(batch.cond, expected[step].cond)


def test_an_interrupt_while_it_waits_leaves_nothing_behind(elsewhere):
    elsewhere()
    source, stream = slow(seconds=0.3)
    stream[0]
    before = signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            stream[1]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    expected = slow()[1][1]
    assert torch.equal(stream[1].cond, expected.cond) and source.most == 1


def test_a_step_that_raises_leaves_no_thread_behind(elsewhere):
    elsewhere()
    run = trainer()
    run.step()
    run.variant.step = None
    with pytest.raises(TypeError):
        run.step()  # the thread of the batch after it is looked for when the test is over


def test_where_no_thread_can_be_started_batches_are_made_when_they_are_due(elsewhere, monkeypatch):
    elsewhere()
    source, stream = slow()

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    found = [stream[step].cond for step in range(4)]
    assert set(source.calls) == {threading.main_thread()}
    assert all(torch.equal(cond, slow()[1][step].cond) for step, cond in enumerate(found))


def test_a_million_mapped_images_take_no_memory_but_that_of_their_batches(elsewhere, tmp_path):
    path = tmp_path / "images.npy"
    made = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(1_000_000, 3, 32, 32))  # holes on the disk
    made[123_456] = 7
    del made
    images = torch.from_numpy(np.load(path, mmap_mode="c"))
    for on in (False, True):
        elsewhere(on)
        stream, before = Stream(ImageSet(images), 64, 0, CPU), anonymous()
        for step in range(300):
            stream[step]
        assert anonymous() - before < 100 * 2**20  # the permutation is 8 MB, the images are 3 GB
    assert Held(ImageSet(images)).to(CPU).data.images.data_ptr() == images.data_ptr()
    found = ahead.gathered(Held(ImageSet(images)), torch.tensor([0, 123_456]), pinned=False).images
    assert found.flatten(1).sum(1).tolist() == [0, 7 * 3 * 32 * 32]


def anonymous():
    """Memory of this process that is not mapped from a file, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def test_rows_are_gathered_in_the_thread_that_asks(monkeypatch):
    """PyTorch would start its own threads anew for each batch."""
    images, counts, taken = torch.zeros(20_000, 3, 16, 16, dtype=torch.uint8), [], ahead._taken

    def counted(*arguments, **named):
        found = taken(*arguments, **named)
        counts.append(len(list(Path("/proc/self/task").iterdir())))
        return found

    monkeypatch.setattr(ahead, "_taken", counted)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    threads = len(list(Path("/proc/self/task").iterdir()))
    try:
        fetched = Ahead(Held(ImageSet(images)), CPU)
        for step in range(3):
            fetched.take(step, lambda step: torch.arange(20_000))
            fetched.settle()
    finally:
        torch.set_num_threads(before)
    assert len(counts) == 4 and max(counts) <= threads + 2  # its own, and the one before, which may be about to end


def test_copies_of_a_gpu_are_waited_for_by_its_work_and_by_nobody_else(monkeypatch):
    """What a GPU is asked for, in order; each thing is noted where it would be done."""
    asked, within, gathered, to = [], [], ahead.gathered, torch.Tensor.to

    class Noting:
        def __init__(self, name):
            self.name = name

        def record_event(self):
            asked.append(f"{self.name}: marks")
            return f"the mark of {self.name}"

        def wait_event(self, event):
            asked.append(f"{self.name}: waits for {event}")

    @contextmanager
    def inside(stream):
        within.append(stream.name)
        yield
        within.pop()

    def copied(tensor, device, *, non_blocking=False):
        asked.append(f"{within[-1]}: {tensor.dtype}" + (" without waiting" if non_blocking else ""))
        return to(tensor, device)

    def noted(source, rows, *, pinned):
        asked.append("host: gathers into pinned memory" if pinned else "host: gathers")
        return gathered(source, rows, pinned=False)

    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "stream", inside)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Noting("work"))
    monkeypatch.setattr(torch.Tensor, "to", copied)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda part, of: asked.append(f"{of.name}: has {part.dtype}"))
    monkeypatch.setattr(ahead, "gathered", noted)
    fetched = Ahead(Held(sets()["labelled"]), CPU)
    fetched._copies = Noting("copies")
    brought = [
        "host: gathers into pinned memory",
        "copies: torch.uint8 without waiting",
        "copies: torch.int64 without waiting",
        "copies: marks",
    ]
    taken = ["work: waits for the mark of copies", "work: has torch.uint8", "work: has torch.int64"]
    fetched.take(0, lambda step: torch.arange(4) + step)
    fetched.settle()
    assert asked == brought + taken + brought  # the last of these while a step runs
    asked.clear()
    fetched.take(1, lambda step: torch.arange(4) + step)
    fetched.settle()
    assert asked == taken + brought


@pytest.mark.gpu
@pytest.mark.parametrize("name", sets())
def test_on_a_gpu_batches_are_those_of_resident_data_while_it_is_busy(name, elsewhere):
    device, data = torch.device("cuda:0"), sets()[name]
    here = Stream(data, 7, 3, device)
    elsewhere()
    there = Stream(data, 7, 3, device)
    busy = torch.randn(2048, 2048, device=device)
    for step in range(60):
        for _ in range(5):
            busy = busy @ busy / busy.norm()
        (real, cond), (expected, wanted) = there[step], here[step]
        assert torch.equal(real, expected)
        assert cond is wanted is None or torch.equal(cond, wanted)


@pytest.mark.gpu
def test_on_a_gpu_the_host_waits_for_nothing(elsewhere):
    elsewhere()
    stream = Stream(sets()["labelled"], 7, 3, torch.device("cuda:0"))
    stream[0]
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(1, 20):
            stream[step]
    finally:
        torch.cuda.set_sync_debug_mode("default")
