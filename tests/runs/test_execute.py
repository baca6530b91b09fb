"""One run from the first step to its record: whatever happens, nothing that was computed is lost or done twice."""

import resource
import warnings
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from ganbench.errors import DiskError
from ganbench.results.record import UNFINISHED
from ganbench.results.rows import reasons
from ganbench.results.store import ResultStore
from ganbench.runs import further, run as module
from ganbench.runs.execute import execute
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover
from ganbench.scoring.evaluate import Scores
from ganbench.streams import note_warnings
from ganbench.testing.tape import on_tape
from ganbench.training import switches, trainer

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"


pytestmark = pytest.mark.usefixtures("switches")


@pytest.fixture(scope="module")
def registry():
    return discover([PLUGIN])


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "results")


def job_of(registry, variant="plain", **changes):
    request = {
        "variants": [variant],
        "datasets": ["tiny"],
        "budget": "768-images",  # 12 steps
        "seeds": 1,
        "marks": 3,
        "samples": 32,
        "settings": ("mlp.width=16",),
        "metrics": ("tiny-mean", "grad-norm-g"),
    }
    (job,) = plan(Request(**(request | changes)), registry).jobs
    return job


def timeless(meters):
    return replace(meters, seconds=0.0, peak_bytes=0)


def outcome(record):
    """What two runs of the same numbers have in common."""
    curve = [replace(mark, meters=timeless(mark.meters)) for mark in record.curve]
    return replace(record, meters=timeless(record.meters), curve=curve)


def same_traces(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def weights(store, job):
    return torch.load(store.work(job.spec) / "final.pt", weights_only=True)["raw"]


# Records


def test_a_finished_run_is_recorded_with_everything(registry, store):
    job = job_of(registry)
    record = execute(job, store, registry, threads=1)
    assert (record.status, record.error) == ("done", "")
    assert record.spec == job.spec and store.get(job.spec) == record
    meters = record.meters
    assert (meters.steps, meters.images, meters.updates) == (12, 768, {"D": 12, "G": 12})
    assert min(meters.flops, meters.seconds, meters.peak_bytes) > 0
    assert [mark.share for mark in record.curve] == pytest.approx([1 / 3, 2 / 3, 1])
    assert [mark.meters.images for mark in record.curve] == [256, 512, 768]
    assert all(set(mark.values) >= {"tiny-mean", "grad-norm-g"} for mark in record.curve)
    assert record.values == {name: [value] for name, value in record.curve[-1].values.items()}
    assert record.unscored == {}
    traces = store.traces(record)
    assert {name: len(trace) for name, trace in traces.items()} == dict.fromkeys(
        ("loss/D", "grad_norm/D", "loss/G", "grad_norm/G"), 12
    )
    assert record.values["grad-norm-g"][0].value == np.median(traces["grad_norm/G"].astype(np.float64))


def test_a_record_says_where_everything_came_from(registry, store):
    record = execute(job_of(registry), store, registry, threads=1)
    plugins = record.provenance["plugins"]
    assert set(plugins) == {"variant:plain", "dataset:tiny", "backbone:mlp", "metric:tiny-mean", "metric:grad-norm-g"}
    assert plugins["variant:plain"]["plugin"] == "tiny_plugin.py"
    assert plugins["backbone:mlp"]["distribution"] == "ganbench"
    assert all(len(origin["sha256"]) == 64 for origin in plugins.values())
    assert record.provenance["versions"]["torch"] == version("torch")
    assert record.provenance["threads"] == 1
    assert record.provenance["machine"]["device"].startswith("cpu")


def test_final_weights_and_a_picture_of_every_mark_are_kept_and_no_checkpoint(registry, store):
    job = job_of(registry)
    execute(job, store, registry, threads=1)
    work = store.work(job.spec)
    kept = {path.name for path in store.samples(job.spec).iterdir()}
    assert kept == {"033.png", "067.png", "100.png", "nearest.png", "interpolation.png", "left-out.txt", ".gitignore"}
    assert not (work / "samples").exists()
    assert not (work / "checkpoint.pt").exists()
    fresh = module.Run(job, store, registry, 1).build()
    fresh.load_state_dict(weights(store, job))


def test_each_mark_takes_one_snapshot_and_the_last_one_is_kept(registry, store, monkeypatch):
    taken, snapshot = [], trainer.Trainer.snapshot
    monkeypatch.setattr(trainer.Trainer, "snapshot", lambda run, *of: taken.append(snapshot(run, *of)) or taken[-1])
    job = job_of(registry)
    record = execute(job, store, registry, threads=1)
    assert len(taken) == len(record.curve) == job.marks
    last = taken[-1].state_dict()
    assert all(torch.equal(weight, last[name]) for name, weight in weights(store, job).items())


def test_a_run_is_trained_once(registry, store, monkeypatch):
    job = job_of(registry)
    first = execute(job, store, registry, threads=1)
    monkeypatch.setattr(trainer.Trainer, "step", lambda run: pytest.fail("it trains again"))
    assert execute(job, store, registry, threads=1) == first


def test_equal_jobs_give_equal_records_and_another_seed_differs(registry, tmp_path):
    one, two = (ResultStore(tmp_path / name) for name in "ab")
    job = job_of(registry)
    a, b = (execute(job, store, registry, threads=1) for store in (one, two))
    assert outcome(a) == outcome(b) and same_traces(one.traces(a), two.traces(b))
    other_job = replace(job, spec=replace(job.spec, seed=1))
    other = execute(other_job, one, registry, threads=1)
    assert other.values["tiny-mean"][0].value != a.values["tiny-mean"][0].value
    assert other.values["tiny-mean"][0].protocol_hash == a.values["tiny-mean"][0].protocol_hash


def test_whoever_listens_hears_of_ticks_and_marks(registry, store, monkeypatch):
    monkeypatch.setattr(trainer, "TICK_SECONDS", 0.0)
    heard = []
    record = execute(job_of(registry), store, registry, threads=1, listen=lambda *news: heard.append(news))
    assert [mark for _, _, mark in heard if mark] == record.curve
    ticks = [(share, tick) for share, tick, mark in heard if tick]
    assert [share for share, _ in ticks] == sorted(share for share, _ in ticks) and ticks[-1][0] == 1
    assert {tick.meters.images for _, tick in ticks} == set(range(64, 769, 64))
    assert set(ticks[-1][1].losses) == {"D", "G"}


def test_a_costly_metric_waits_for_the_last_mark_unless_asked_for(registry, tmp_path):
    entry = registry.get("metric", "tiny-late")
    costly = discover([PLUGIN])
    costly.entries["metric"]["tiny-late"] = [replace(entry, item=replace(entry.item, last_mark_only=True))]
    for marks_metrics, found in (((), [False, False, True]), (("tiny-late",), [True] * 3)):
        job = job_of(costly, metrics=("tiny-mean", "tiny-late"), marks_metrics=marks_metrics)
        record = execute(job, ResultStore(tmp_path / str(found)), costly, threads=1)
        assert ["tiny-late" in mark.values for mark in record.curve] == found
        assert all("tiny-mean" in mark.values for mark in record.curve)


# Failures


def test_a_plugin_that_raises_becomes_a_record_with_what_was_measured(registry, store):
    job = job_of(registry, "raises")
    record = execute(job, store, registry, threads=1)
    log = store.work(job.spec) / "error.txt"
    where = f"(in step 3, before its first update; tiny_plugin.py, line 72; traceback in {log})"
    assert (record.status, record.error) == ("error", f"RuntimeError: the plugin broke {where}")
    assert store.get(job.spec) == record
    assert (record.meters.steps, record.meters.images) == (3, 192)
    assert len(store.traces(record)["loss/G"]) == 3
    assert record.values == {} and record.curve == []
    assert log.read_text().startswith("Traceback") and "tiny_plugin.py" in log.read_text()


def test_a_run_that_failed_is_tried_again(registry, store, monkeypatch):
    job, step, made = job_of(registry, "raises"), trainer.Trainer.step, []
    first = execute(job, store, registry, threads=1)
    monkeypatch.setattr(trainer.Trainer, "step", lambda run: (made.append(run.meters.steps), step(run)))
    assert outcome(execute(job, store, registry, threads=1)) == outcome(first)
    assert made == [0, 1, 2, 3]


def test_a_run_that_diverges_is_a_result_with_its_reason_and_traces(registry, store, monkeypatch):
    job = job_of(registry, "makes-nan")
    record = execute(job, store, registry, threads=1)
    assert (record.status, record.error) == ("diverged", "the loss of D is nan at its update 5")
    assert record.values == {} and len(record.curve) == 1
    assert record.meters.steps == 8  # found at the mark after it
    losses = store.traces(record)["loss/D"]
    assert len(losses) == 8 and np.isfinite(losses[:4]).all() and np.isnan(losses[4])
    assert store.get(job.spec) == record
    monkeypatch.setattr(trainer.Trainer, "step", lambda run: pytest.fail("it is tried again"))
    assert execute(job, store, registry, threads=1) == record


def test_samples_that_are_not_finite_are_a_divergence_with_the_meters_of_the_moment(store):
    registry = discover([PLUGIN])
    entry = registry.get("variant", "plain")

    class Blind(entry.item):
        def sample(self, n, cond=None):
            samples = super().sample(n, cond)
            return samples if self.training else samples * float("nan")

    registry.entries["variant"]["plain"] = [replace(entry, item=Blind)]
    record = execute(job_of(registry), store, registry, threads=1)
    assert (record.status, record.error) == ("diverged", "plain generates values that are not finite")
    assert record.meters.images == 256 and len(store.traces(record)["loss/D"]) == 4


def test_a_data_set_that_cannot_be_loaded_becomes_a_record(store):
    registry = discover([PLUGIN])
    job = job_of(registry)
    entry = registry.get("dataset", "tiny")

    class Gone(type(entry.item)):
        def load(self, root, size):
            raise OSError("the network drive is gone")

    registry.entries["dataset"]["tiny"] = [replace(entry, item=Gone())]
    record = execute(job, store, registry, threads=1)
    assert record.status == "error" and record.error.startswith("OSError: the network drive is gone (traceback in ")
    assert store.get(job.spec) == record


@contextmanager
def files_of_at_most(size):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_disk_that_refuses_a_checkpoint_is_told_in_one_sentence_and_the_run_goes_on_later(registry, store):
    job = job_of(registry, settings=("mlp.width=128",))
    with files_of_at_most(16_000), pytest.raises(DiskError) as caught:
        execute(job, store, registry, threads=1)
    work = store.work(job.spec)
    assert str(caught.value) == f"cannot write {work / 'checkpoint-next.pt'}: File too large"
    assert list(work.iterdir()) == []
    found = store.get(job.spec)
    assert (found.status, found.error) == ("killed", UNFINISHED)
    assert execute(job, store, registry, threads=1).status == "done"


# Stopping and going on


class Crash(BaseException):
    """What no handler of errors sees, like the end of a process."""


def interrupted(job, store, registry, ticks, how):
    """Begin a run and end it at a tick: on request, or without warning."""
    heard = []

    def listen(share, tick, mark):
        if tick:
            heard.append(tick)
        if how == "crash" and len(heard) == ticks:
            raise Crash

    try:
        return execute(
            job, store, registry, threads=1, listen=listen, stopping=lambda: how == "stop" and len(heard) == ticks
        )
    except Crash:
        return store.get(job.spec)


@pytest.fixture(scope="module")
def whole(registry, tmp_path_factory):
    """An uninterrupted run: its store and record by variant."""
    store = ResultStore(tmp_path_factory.mktemp("whole"))
    return {
        name: (store, execute(job_of(registry, name), store, registry, threads=1)) for name in ("plain", "labelled")
    }


@pytest.mark.parametrize("how", ["stop", "crash"])
@pytest.mark.parametrize(("variant", "ticks"), [("plain", 2), ("plain", 5), ("plain", 15), ("labelled", 7)])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(variant, ticks, how, registry, store, whole, monkeypatch):
    monkeypatch.setattr(trainer, "TICK_SECONDS", 0.0)  # a tick after every step, and one at every mark
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.0)
    job = job_of(registry, variant)
    first = interrupted(job, store, registry, ticks, how)
    assert first.status == "killed"
    if how == "stop":
        assert first.error == "stopped on request; the same command continues it"
        assert first.meters.steps == len(store.traces(first)["loss/D"]) == ticks - ticks // 5
    else:
        assert first.error == UNFINISHED
    made = []
    step = trainer.Trainer.step
    monkeypatch.setattr(trainer.Trainer, "step", lambda run: (made.append(run.meters.steps), step(run)))
    last = execute(job, store, registry, threads=1)

    expected_store, expected = whole[variant]
    assert outcome(last) == outcome(expected)
    assert same_traces(store.traces(last), expected_store.traces(expected))
    for name, weight in weights(store, job).items():
        assert torch.equal(weight, weights(expected_store, job)[name])
    assert len(made) < 12 and made == list(range(12 - len(made), 12))  # it went on where it was
    if how == "stop":
        assert len(made) == 12 - first.meters.steps
    assert last.meters.seconds > 0


def test_a_run_interrupted_again_and_again_ends_like_an_uninterrupted_one(registry, store, whole, monkeypatch):
    monkeypatch.setattr(trainer, "TICK_SECONDS", 0.0)
    job = job_of(registry)
    record = None
    while record is None or record.status == "killed":
        steps = record.meters.steps if record else 0
        record = interrupted(job, store, registry, 2, "stop")
        assert record.status == "done" or record.meters.steps > steps
    expected_store, expected = whole["plain"]
    assert outcome(record) == outcome(expected)
    assert same_traces(store.traces(record), expected_store.traces(expected))


def test_marks_are_not_scored_again(registry, store, monkeypatch):
    monkeypatch.setattr(trainer, "TICK_SECONDS", 0.0)
    job = job_of(registry)
    first = interrupted(job, store, registry, 7, "stop")
    assert len(first.curve) == 1
    heard = []
    last = execute(job, store, registry, threads=1, listen=lambda share, tick, mark: heard.append(mark))
    assert [mark for mark in heard if mark] == last.curve[1:]
    assert last.curve[0] == first.curve[0]


def test_a_run_goes_on_with_as_many_threads_as_it_began_with(registry, store, monkeypatch):
    monkeypatch.setattr(trainer, "TICK_SECONDS", 0.0)
    job = job_of(registry)
    interrupted(job, store, registry, 3, "stop")
    record = execute(job, store, registry, threads=2)
    assert record.provenance["threads"] == 1 == torch.get_num_threads()
    assert execute(job_of(registry, batch=32), store, registry, threads=2).provenance["threads"] == 2


def test_a_run_that_goes_on_elsewhere_says_so_and_its_record_names_both_devices(registry, store, monkeypatch):
    monkeypatch.setattr(trainer, "TICK_SECONDS", 0.0)
    job = job_of(registry)
    first = interrupted(job, store, registry, 3, "stop")
    assert "devices" not in first.provenance
    path = store.work(job.spec) / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    assert state["devices"] == ["cpu"]
    monkeypatch.setattr(module, "_places", lambda saved, *_: [*(saved["devices"] if saved else []), "another"])
    with pytest.warns(UserWarning, match="it was begun on cpu and goes on another, which rounds otherwise"):
        record = execute(job, store, registry, threads=1)
    assert record.provenance["devices"] == ["cpu", "another"]


def test_a_processor_with_other_cores_is_no_other_device(registry, store, monkeypatch, recwarn):
    monkeypatch.setattr(trainer, "TICK_SECONDS", 0.0)
    job = job_of(registry)
    interrupted(job, store, registry, 3, "stop")
    monkeypatch.setattr("ganbench.training.devices.cores", lambda: 99)
    record = execute(job, store, registry, threads=1)
    assert "devices" not in record.provenance
    assert not [warning for warning in recwarn if "goes on" in str(warning.message)]


@pytest.mark.parametrize("damage", [lambda content: content[:-100], lambda content: b"", lambda content: b"\0" * 999])
def test_a_damaged_checkpoint_is_set_aside_and_the_run_starts_anew(damage, registry, store, whole, monkeypatch):
    monkeypatch.setattr(trainer, "TICK_SECONDS", 0.0)
    job = job_of(registry)
    interrupted(job, store, registry, 3, "stop")
    path = store.work(job.spec) / "checkpoint.pt"
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with pytest.warns(UserWarning, match=r"checkpoint\.pt is damaged .* and was set aside"):
        record = execute(job, store, registry, threads=1)
    assert outcome(record) == outcome(whole["plain"][1])
    assert path.with_suffix(".damaged").read_bytes() == damaged


def test_no_code_in_a_checkpoint_is_run(registry, store, tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    job = job_of(registry)
    torch.save({"trainer": Trap()}, store.work(job.spec) / "checkpoint.pt")
    with pytest.warns(UserWarning, match="is damaged .* and was set aside"):
        assert execute(job, store, registry, threads=1).status == "done"
    assert not (tmp_path / "sprung").exists()


# Kernels that give other bits each time

PUT, UNPOOL = "put_", "max_unpooling2d_forward_out"


@pytest.fixture(scope="module")
def with_loose():
    return discover([PLUGIN, PLUGIN.with_name("loose_plugin.py")])


def heard_of(job, store, registry, **options):
    """Execute a job where warnings are dropped, as commands do, and send on only ganbench's own; return them too."""
    told = []
    with warnings.catch_warnings():
        note_warnings(told.append)

        def listen(share, tick, mark):
            note_warnings(told.append)  # as a worker does at each tick

        record = execute(job, store, registry, threads=1, listen=listen, **options)
    return record, told


def test_kernels_that_are_not_deterministic_are_named_and_told_once(with_loose, store, monkeypatch):
    monkeypatch.setattr(trainer, "TICK_SECONDS", 0.0)
    job = job_of(with_loose, "loose", metrics=("tiny-mean", "unpooled"))
    record, told = heard_of(job, store, with_loose)
    assert record.status == "done"
    assert sorted(record.provenance["not_deterministic"]) == [UNPOOL, PUT]
    assert [sum(name in text for text in told) for name in (PUT, UNPOOL)] == [1, 1]
    assert all(text.startswith("not deterministic on cpu: ") for text in told)
    assert store.get(job.spec).provenance == record.provenance


def test_what_is_deterministic_says_nothing(with_loose, store):
    record, told = heard_of(job_of(with_loose), store, with_loose)
    assert "not_deterministic" not in record.provenance and told == []


def test_a_run_that_goes_on_keeps_the_names_of_its_first_part(with_loose, store, monkeypatch):
    monkeypatch.setattr(trainer, "TICK_SECONDS", 0.0)
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.0)
    job, asked = job_of(with_loose, "loose", metrics=("tiny-mean",)), []
    first, told = heard_of(job, store, with_loose, stopping=lambda: len(asked) > 10 or bool(asked.append(1)))
    assert first.status == "killed" and first.meters.steps > 7 and len(told) == 1
    assert first.provenance["not_deterministic"] == [PUT]
    monkeypatch.setattr(torch.Tensor, "put_", lambda tensor, *_: tensor)  # so that it isn't heard again
    last, told = heard_of(job, store, with_loose)
    assert last.status == "done" and told == [] and last.provenance["not_deterministic"] == [PUT]


def test_one_of_a_metric_asked_for_later_is_named_too(with_loose, store):
    execute(job_of(with_loose), store, with_loose, threads=1)
    record = execute(job_of(with_loose, metrics=("unpooled",)), store, with_loose, threads=1)
    assert record.values["unpooled"] and record.provenance["not_deterministic"] == [UNPOOL]


# Graphs


def test_a_run_says_that_its_steps_were_replayed_and_is_the_same_run(registry, store, tmp_path, monkeypatch):
    job = job_of(registry, metrics=("tiny-mean",))
    plain = execute(job, ResultStore(tmp_path / "other"), registry, threads=1)
    monkeypatch.setattr(further, "recorder_for", lambda device: on_tape)
    record, told = heard_of(job, store, registry)
    assert record.provenance["graphs"] == "replayed" and told == []
    assert record.values == plain.values and timeless(record.meters) == timeless(plain.meters)
    assert "graphs" not in plain.provenance
    off = execute(replace(job, graphs=False), ResultStore(tmp_path / "off"), registry, threads=1)
    assert "graphs" not in off.provenance


def test_why_steps_are_not_replayed_is_told_once_and_kept(with_loose, store, monkeypatch):
    monkeypatch.setattr(trainer, "TICK_SECONDS", 0.0)
    monkeypatch.setattr(further, "recorder_for", lambda device: on_tape)
    record, told = heard_of(job_of(with_loose, "loose", metrics=("tiny-mean",)), store, with_loose)
    reason = "its step depends on the number of the step, not only on its place in the period"
    assert record.status == "done" and record.provenance["graphs"] == reason
    told = [text for text in told if "graphs" in text]
    assert told == [f"its steps are made one by one, without CUDA graphs: {reason}"]


# Precision


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_scores_are_of_float32_whatever_a_run_is_trained_in(precision, with_loose, store, monkeypatch):
    products_of = switches.products_of  # these are there without a device
    monkeypatch.setattr(switches, "products_of", lambda precision, device: products_of(precision, "cuda"))
    monkeypatch.setattr(module, "require_tf32", lambda device: None)
    job = job_of(with_loose, "reading", metrics=("read",))
    job = replace(job, spec=replace(job.spec, precision=precision))
    plugin = with_loose.get("variant", "reading").module
    plugin.STEPS.clear(), plugin.SCORES.clear()
    before = plugin.arithmetic_of_now()
    assert execute(job, store, with_loose, threads=1).error == ""
    assert len(plugin.STEPS) == 24 and len(plugin.SCORES) > 6
    assert set(plugin.SCORES) == {before} and not before[3] and before[4] == torch.float32
    expected = {"fp32": before, "tf32": ("tf32",) * 3 + before[3:], "bf16": (*before[:3], True, torch.float32)}
    assert set(plugin.STEPS) == {expected[precision]}
    assert plugin.arithmetic_of_now() == before


def test_a_device_without_tf32_trains_nothing(with_loose, store):
    job = job_of(with_loose)
    record = execute(replace(job, spec=replace(job.spec, precision="tf32")), store, with_loose, threads=1)
    assert record.status == "error" and "--precision tf32 is for CUDA devices" in record.error


# Metrics asked for later


@pytest.mark.parametrize("backbone", ["mlp", "dcgan"])
def test_a_metric_asked_for_later_is_scored_from_the_kept_weights(backbone, registry, store, monkeypatch):
    chosen = {"backbone": backbone, "settings": (f"{backbone}.width=8",)}
    first = execute(job_of(registry, **chosen), store, registry, threads=1)
    traces = store.traces(first)
    monkeypatch.setattr(trainer.Trainer, "step", lambda run: pytest.fail("it trains again"))
    job = job_of(registry, metrics=("tiny-mean", "tiny-late", "grad-norm-d"), **chosen)
    second = execute(job, store, registry, threads=1)
    assert second.status == "done" and second.meters == first.meters and second.curve == first.curve
    assert second.values | first.values == dict(second.values)  # what was there is kept
    # The same samples are drawn from the same weights, so the late value is the one of the last mark.
    assert second.values["tiny-late"][0].value == first.values["tiny-mean"][0].value
    assert second.values["tiny-late"][0].reference == first.values["tiny-mean"][0].reference
    assert second.values["grad-norm-d"][0].value == np.median(traces["grad_norm/D"].astype(np.float64))
    assert same_traces(store.traces(second), traces)
    assert store.get(job.spec) == second
    assert execute(job, store, registry, threads=1) == second


def test_another_number_of_samples_is_scored_beside_the_first(registry, store):
    first = execute(job_of(registry), store, registry, threads=1)
    second = execute(job_of(registry, samples=48), store, registry, threads=1)
    assert second.meters == first.meters
    assert [value.protocol["n_fake"] for value in second.values["tiny-mean"]] == [32, 48]
    assert second.values["tiny-mean"][0] == first.values["tiny-mean"][0]
    assert len(second.values["grad-norm-g"]) == 1


def test_a_metric_of_lost_weights_says_what_to_do(registry, store):
    job = job_of(registry)
    first = execute(job, store, registry, threads=1)
    (store.work(job.spec) / "final.pt").unlink()
    second = execute(job_of(registry, metrics=("tiny-late",)), store, registry, threads=1)
    assert second.values == first.values and second.status == "done"
    assert second.unscored["tiny-late"].endswith("delete its record to train it again")


def test_a_metric_that_was_unavailable_is_tried_again_later(store):
    registry = discover([PLUGIN])
    entry = registry.get("metric", "tiny-late")
    registry.entries["metric"]["tiny-late"] = [replace(entry, item=replace(entry.item, extractor="not-yet"))]
    job = job_of(registry, metrics=("tiny-mean", "tiny-late"))
    first = execute(job, store, registry, threads=1)
    assert first.status == "done" and set(first.values) >= {"tiny-mean"}
    assert first.unscored == {"tiny-late": "unavailable: there is no extractor 'not-yet'"}
    registry.entries["metric"]["tiny-late"] = [entry]
    second = execute(job, store, registry, threads=1)
    assert second.unscored == {} and second.values["tiny-late"][0].value == first.values["tiny-mean"][0].value


def test_two_owners_of_an_extractor_harm_nobody_who_does_not_use_it(store):
    registry = discover([PLUGIN])
    registry.entries["extractor"]["claimed-twice"] = [registry.get("variant", "plain")] * 2
    assert execute(job_of(registry), store, registry, threads=1).status == "done"


# Averaged and raw weights, splits, repeats


def test_both_weights_are_scored_and_told_apart(registry, store):
    job = job_of(registry, settings=("mlp.width=16", "ema=200"), score=("raw", "ema"))
    record = execute(job, store, registry, threads=1)
    found = record.values["tiny-mean"]
    assert [value.weights for value in found] == ["ema", "raw"] and found[0].value != found[1].value
    assert found[0].protocol_hash == found[1].protocol_hash  # one measure of two methods
    assert [value.weights for value in record.values["grad-norm-g"]] == [""]
    assert record.sampling["ema"]["half_life_images"] == 200 and "half_life_images" not in record.sampling["raw"]
    assert record.curve[-1].values["tiny-mean"] == found[0] and record.curve[-1].raw["tiny-mean"] == found[1]
    assert store.get(job.spec) == record
    plain = execute(job_of(registry), store, registry, threads=1)
    assert plain.values["tiny-mean"][0].value == found[1].value  # training is the same
    later = job_of(registry, settings=("mlp.width=16", "ema=200"), score=("raw", "ema"), metrics=("tiny-late",))
    topped = execute(later, store, registry, threads=1)
    assert [value.weights for value in topped.values["tiny-late"]] == ["ema", "raw"]
    assert [value.value for value in topped.values["tiny-late"]] == [value.value for value in found]


def test_a_value_asked_for_otherwise_is_measured_again(registry, store):
    first = execute(job_of(registry), store, registry, threads=1)
    again = execute(job_of(registry, reference="train"), store, registry, threads=1)
    one, other = again.values["tiny-mean"]
    assert one == first.values["tiny-mean"][0]
    assert (one.protocol["reference"], other.protocol["reference"]) == ("test split", "training split")
    assert (one.protocol["n_real"], other.protocol["n_real"]) == (64, 256)
    assert execute(job_of(registry, reference="train"), store, registry, threads=1) == again  # nothing is left to do


def test_repeats_average_over_samples_of_the_same_weights(registry, store):
    once = execute(job_of(registry), store, registry, threads=1).values["tiny-mean"][0]
    (same, mean) = execute(job_of(registry, repeats=4), store, registry, threads=1).values["tiny-mean"]
    assert same == once and mean.protocol["repeats"] == 4
    assert mean.repeats[0] == once.value and len(set(mean.repeats)) == 4
    assert mean.value == pytest.approx(sum(mean.repeats) / 4)


def test_a_record_tells_when_it_was_made(registry, store):
    record = execute(job_of(registry), store, registry, threads=1)
    assert datetime.fromisoformat(record.made).tzinfo is not None
    assert abs(datetime.now(UTC) - datetime.fromisoformat(record.made)).total_seconds() < 600


def test_weights_asked_for_later_are_scored_beside_the_others(registry, store):
    def job(**more):
        return job_of(registry, settings=("mlp.width=16", "ema=200"), **more)

    both = execute(job(score=("raw", "ema")), ResultStore(store.root / "both"), registry, threads=1)
    for first, second in ((("ema",), ("raw",)), (("raw",), ("ema",))):
        apart = ResultStore(store.root / first[0])
        assert len(execute(job(score=first), apart, registry, threads=1).values["tiny-mean"]) == 1
        joined = execute(job(score=second), apart, registry, threads=1)
        key = {value.weights: value.value for value in joined.values["tiny-mean"]}
        assert key == {value.weights: value.value for value in both.values["tiny-mean"]}
        assert joined.sampling == both.sampling


def test_why_one_kind_of_weights_has_no_value_is_told_apart(registry, store, monkeypatch):
    def fails_of_raw(self, subject, metrics, *, repeats=1):
        if subject.weights == "raw":
            return Scores({}, {metric.name: "no luck" for metric in metrics})
        return scored(self, subject, metrics, repeats=repeats)

    scored = module.Evaluator.score
    monkeypatch.setattr(module.Evaluator, "score", fails_of_raw)
    both = job_of(registry, settings=("mlp.width=16", "ema=200"), score=("raw", "ema"), metrics=("tiny-mean",))
    record = execute(both, store, registry, threads=1)
    assert record.unscored == {"tiny-mean of raw weights": "no luck"}
    assert reasons(record) == {("tiny-mean", "raw"): "no luck"}
