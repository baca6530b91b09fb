"""What a run continues from is its own, whole, and the newest that can be used; whatever is not is refused in words."""

import shutil
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ganbench.errors import DiskError
from ganbench.results.store import ResultStore
from ganbench.runs import run as module
from ganbench.runs.checkpoint import Checkpoints, Unusable, checksum_of, load_state, save_state
from ganbench.runs.execute import execute
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover
from ganbench.training import trainer

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"
RUN, OTHER = "a" * 16, "b" * 16

pytestmark = pytest.mark.usefixtures("switches")


def state(fill: float = 1.0) -> dict:
    tensors = {
        "w": torch.full((2, 3), fill).T,
        "half": torch.ones(3, dtype=torch.bfloat16),
        "flag": torch.tensor([True, False]),
        "none": torch.empty(0, 4),
        "scalar": torch.tensor(7),
    }
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4, "betas": (0.5, 0.999)}]}
    parts = {"variant": OrderedDict(tensors), "optimizers": {"G": optimizer}, "ema": None, "diverged": ""}
    return {"trainer": parts, "curve": "[]", "unscored": {"fid": "no weights"}, "threads": 2}


# One file


def test_a_state_comes_back_with_its_checksum(tmp_path):
    path = tmp_path / "final.pt"
    checksum = save_state(path, state(), RUN)
    found = load_state(path, RUN, checksum)
    assert found.keys() == state().keys() and checksum_of(found) == checksum == checksum_of(state())
    assert torch.equal(found["trainer"]["variant"]["w"], state()["trainer"]["variant"]["w"])
    assert load_state(tmp_path / "nothing.pt", RUN) is None


def test_whatever_differs_has_another_checksum():
    changes = [
        {"a": torch.ones(2)}, {"a": torch.ones(2).double()}, {"a": torch.ones(2, 1)}, {"a": torch.tensor([1.0, -1.0])},
        {"b": torch.ones(2)}, {"a": 1}, {"a": 1.0}, {"a": True}, {"a": "1"}, {"a": [1]}, {"a": [[1]]}, {"a": None}, {},
    ]  # fmt: skip
    assert len({checksum_of(change) for change in changes}) == len(changes)


def edited(path, change):
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda path: save_state(path, state(), OTHER), f"is of another run ({OTHER}, not {RUN})"),
        (lambda path: edited(path, lambda c: c["trainer"]["variant"]["w"].add_(1e-6)), "checksum"),
        (lambda path: edited(path, lambda c: c.update(threads=3)), "checksum"),
        (lambda path: edited(path, lambda c: c["unscored"].clear()), "checksum"),
        (lambda path: edited(path, lambda c: c.update(format=3)), "another version"),
        (lambda path: edited(path, lambda c: c.update(format=[1])), "another version"),
        (lambda path: edited(path, lambda c: c.update(run=OTHER)), "another run"),
        (lambda path: torch.save([1, 2], path), "no state"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "is damaged"),
        (lambda path: path.write_bytes(b""), "is damaged"),
        (lambda path: path.write_text("{}"), "is damaged"),
        (lambda path: (path.unlink(), path.mkdir()), "not a regular file"),
    ],
)
def test_what_is_not_the_runs_own_is_refused_in_words(harm, why, tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_state(path, state(), RUN)
    harm(path)
    with pytest.raises(Unusable) as caught:
        load_state(path, RUN)
    assert why in str(caught.value)


def test_no_flipped_bit_is_taken_for_the_state(tmp_path):
    path = tmp_path / "checkpoint.pt"
    checksum = save_state(path, state(), RUN)
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 37):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        try:
            assert checksum_of(load_state(path, RUN)) == checksum  # padding, or what a reader does not look at
        except Unusable:
            refused += 1
    assert refused > 20


def test_a_state_from_before_there_were_marks_is_believed_unless_the_record_knows_better(tmp_path):
    path = tmp_path / "final.pt"
    torch.save({"variant": {"w": torch.ones(2)}}, path)
    assert load_state(path, RUN).keys() == {"variant"}
    torch.save({"format": 1, **state()}, path)
    assert load_state(path, RUN).keys() == state().keys()
    with pytest.raises(Unusable, match="not what the record"):
        load_state(path, RUN, "0" * 64)


def test_a_file_that_may_not_be_read_is_no_damage(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_state(path, state(), RUN)

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)  # root may read anything
    with pytest.raises(DiskError, match=r"cannot read .*checkpoint\.pt: Permission denied"):
        Checkpoints(tmp_path, RUN).load()
    assert path.exists()


# The last two


def test_the_last_two_are_kept_and_the_newest_is_taken(tmp_path):
    kept = Checkpoints(tmp_path, RUN)
    for number in range(4):
        kept.save(state(number))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-before.pt", "checkpoint.pt"]
    assert float(kept.load()["trainer"]["variant"]["w"][0, 0]) == 3
    kept.newest.unlink()  # as a run that ends between the two renames leaves it
    assert float(Checkpoints(tmp_path, RUN).load()["trainer"]["variant"]["w"][0, 0]) == 2
    kept.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "harm", [lambda path: path.write_bytes(path.read_bytes()[:300]), lambda path: save_state(path, state(), OTHER)]
)
def test_a_damaged_newest_falls_back_to_the_one_before(harm, tmp_path):
    kept = Checkpoints(tmp_path, RUN)
    kept.save(state(1))
    kept.save(state(2))
    harm(kept.newest)
    assert float(kept.load()["trainer"]["variant"]["w"][0, 0]) == 1
    with pytest.warns(UserWarning, match="set aside; the run goes on from the checkpoint before, at step 7"):
        kept.tell(7)
    kept.save(state(3))  # the damaged one does not take the place of the good one
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-before.pt",
        "checkpoint.damaged",
        "checkpoint.pt",
    ]
    harm(kept.newest)
    harm(kept.before)
    assert kept.load() is None
    with pytest.warns(UserWarning, match="the run starts anew") as told:
        kept.tell(0)
    assert len(told) == 2


def test_a_disk_that_refuses_the_next_leaves_both(tmp_path, monkeypatch):
    kept = Checkpoints(tmp_path, RUN)
    kept.save(state(1))
    kept.save(state(2))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskError, match="No space left"):
        kept.save(state(3))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


# Runs


@pytest.fixture(scope="module")
def registry():
    return discover([PLUGIN])


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "results")


def jobs_of(registry, seeds=1, **changes):
    request = {
        "variants": ["plain"],
        "datasets": ["tiny"],
        "budget": "768-images",
        "seeds": seeds,
        "marks": 3,
        "samples": 32,
        "settings": ("mlp.width=16",),
        "metrics": ("tiny-mean", "grad-norm-g"),
    }
    return plan(Request(**(request | changes)), registry).jobs


def outcome(record):
    def timeless(meters):
        return replace(meters, seconds=0.0, peak_bytes=0)

    curve = [replace(mark, meters=timeless(mark.meters)) for mark in record.curve]
    return replace(record, meters=timeless(record.meters), curve=curve)


def stopped(job, store, registry, ticks):
    heard = []
    return execute(
        job, store, registry, threads=1, listen=lambda share, tick, mark: heard.append(tick),
        stopping=lambda: len([tick for tick in heard if tick]) >= ticks,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(registry, tmp_path_factory):
    store = ResultStore(tmp_path_factory.mktemp("whole"))
    return [execute(job, store, registry, threads=1) for job in jobs_of(registry, 2)], store


@pytest.mark.parametrize("which", ["newest", "both"])
def test_a_run_with_a_damaged_checkpoint_ends_in_the_same_numbers(which, registry, store, whole, monkeypatch):
    monkeypatch.setattr(trainer, "TICK_SECONDS", 0.0)
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", -1.0)  # at every tick
    (job,) = jobs_of(registry)
    first = stopped(job, store, registry, 6)
    assert first.status == "killed" and first.meters.images > 0
    work = store.work(job.spec)
    names = ["checkpoint.pt", *(["checkpoint-before.pt"] if which == "both" else [])]
    for name in names:
        edited(work / name, lambda content: next(iter(content["trainer"]["variant"].values())).add_(1))
    steps = []
    step = trainer.Trainer.step
    monkeypatch.setattr(trainer.Trainer, "step", lambda run: steps.append(run.meters.steps) or step(run))
    with pytest.warns(UserWarning, match="starts anew" if which == "both" else "from the checkpoint before"):
        record = execute(job, store, registry, threads=1)
    assert (steps[0] == 0) is (which == "both")
    assert outcome(record) == outcome(whole[0][0])
    assert not list(work.glob("checkpoint*.pt"))


def test_the_checkpoint_of_another_seed_is_never_continued(registry, store, whole, monkeypatch):
    monkeypatch.setattr(trainer, "TICK_SECONDS", 0.0)
    first, second = jobs_of(registry, 2)
    stopped(first, store, registry, 4)
    shutil.copy(store.work(first.spec) / "checkpoint.pt", store.work(second.spec) / "checkpoint.pt")
    with pytest.warns(UserWarning, match=f"is of another run .{first.spec.id}, not {second.spec.id}"):
        record = execute(second, store, registry, threads=1)
    assert outcome(record) == outcome(whole[0][1])


def spoil_variant(content):
    content["trainer"]["variant"].popitem()


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_variant,
        lambda content: content["trainer"].pop("optimizers"),
        lambda content: content["trainer"]["meters"].update(invented=1),
        lambda content: content.update(curve="[{}]"),
        lambda content: content.update(threads="two"),
        lambda content: content.pop("trainer"),
    ],
)
def test_what_cannot_be_loaded_into_the_trainer_is_set_aside(spoil, registry, store, whole, monkeypatch):
    monkeypatch.setattr(trainer, "TICK_SECONDS", 0.0)
    (job,) = jobs_of(registry)
    stopped(job, store, registry, 4)
    work = store.work(job.spec)
    content = load_state(work / "checkpoint.pt", job.spec.id)
    spoil(content)
    save_state(work / "checkpoint.pt", content, job.spec.id)  # its mark is right
    with pytest.warns(UserWarning, match="and was set aside"):
        record = execute(job, store, registry, threads=1)
    assert outcome(record) == outcome(whole[0][0])
    assert (work / "checkpoint.damaged").exists()


# A metric of a finished run


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda mine, other: shutil.copy(other, mine), "is of another run"),
        (lambda mine, other: edited(mine, lambda c: next(iter(c["raw"].values())).mul_(2)), "checksum"),
        (lambda mine, other: torch.save({"raw": torch.load(other)["raw"]}, mine), "not what the record"),
        (lambda mine, other: mine.write_bytes(b"cut"), "is damaged"),
        (lambda mine, other: mine.unlink(), "no longer in"),
    ],
)
def test_a_metric_is_never_scored_from_other_weights(harm, why, registry, tmp_path, whole):
    records, made = whole
    shutil.copytree(made.root, tmp_path / "results")
    store = ResultStore(tmp_path / "results")
    mine, other = (store.work(record.spec) / "final.pt" for record in records)
    right = mine.read_bytes()
    harm(mine, other)
    job = jobs_of(registry, metrics=("tiny-mean", "tiny-late"))[0]
    record = execute(job, store, registry, threads=1)
    assert record.status == "done" and record.values == records[0].values and store.get(job.spec) == record
    assert record.unscored.keys() == {"tiny-late"} and why in record.unscored["tiny-late"]
    mine.write_bytes(right)  # put back, it is scored
    assert execute(job, store, registry, threads=1).values["tiny-late"][0].value == (
        records[0].values["tiny-mean"][0].value
    )


@pytest.mark.parametrize("harm", ["cut", "other", "edited"])
def test_damaged_traces_cost_only_the_metrics_that_read_them(harm, registry, tmp_path, whole):
    records, made = whole
    shutil.copytree(made.root, tmp_path / "results")
    store = ResultStore(tmp_path / "results")
    mine, other = (store.traces_path(record.spec) for record in records)
    if harm == "cut":
        mine.write_bytes(mine.read_bytes()[:100])
    elif harm == "other":
        shutil.copy(other, mine)
    else:
        np.savez(mine, **{name: trace * 2 for name, trace in store.traces(records[0]).items()})
    job = jobs_of(registry, metrics=("tiny-late", "grad-norm-d"))[0]
    record = execute(job, store, registry, threads=1)
    assert record.status == "done" and record.values["tiny-late"]
    assert record.unscored.keys() == {"grad-norm-d"}
    assert record.unscored["grad-norm-d"].startswith(f"unavailable: {mine} ")
