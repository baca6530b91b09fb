"""What is known of a sweep under way, from the events of its runs alone, by a clock that the test moves."""

from dataclasses import replace
from pathlib import Path

import pytest

from ganbench.cli.following import Following, headline
from ganbench.contract.types import Value
from ganbench.results.record import Mark, RunRecord, RunSpec
from ganbench.runs.executors.worker import WAITING, Event
from ganbench.runs.job import Job
from ganbench.training.budget import Budget, Meters, Tick


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def job(seed=0, variant="gan", marks=2, metrics=("fid",)):
    spec = RunSpec(variant, "tiny", "mlp", Budget(1000, "images"), seed, 8, 50)
    return Job(spec, "tiny", {}, metrics, (), marks, (), 2, (), Path("data"), None, "cpu")


def tick(of, images, seconds, **losses):
    return Event(of, images / 1000, Tick(Meters(images=images, seconds=seconds), losses or {"D": 1.0}))


def mark(of, images, **values):
    share = images / 1000
    return Event(of, share, mark=Mark(share, Meters(images=images), {name: Value(x) for name, x in values.items()}))


def end(of, status="done", error=""):
    return Event(of, record=RunRecord(of.spec, status, error=error))


@pytest.fixture
def clock():
    return Clock()


def follow(clock, *events, jobs=None, found=None, parallel=1):
    following = Following(jobs or [job()], found or {}, parallel, clock)
    for event in events:
        following.hear(event)
    return following


def test_a_run_is_told_as_its_events_tell_it(clock):
    one = job()
    following = follow(clock, Event(one))
    (run,) = following.progress().running
    assert (run.phase, run.share, run.rate, run.left, run.losses) == ("starting", 0, None, None, {})
    clock.now += 3
    following.hear(tick(one, 100, 2.0, D=0.5, G=float("nan")))
    (run,) = following.progress().running
    assert (run.phase, run.share, run.images) == ("training", 0.1, 100)
    assert run.rate == pytest.approx(50) and run.left == pytest.approx(18), "2 seconds for a tenth"
    assert run.losses == {"D": 0.5, "G": "nan"}, "what is no number is told as such"
    clock.now += 1
    following.hear(tick(one, 400, 4.0))
    (run,) = following.progress().running
    assert run.rate == pytest.approx(150) and run.left == pytest.approx(4), "300 images in 2 seconds since"
    clock.now += 1.5
    assert following.progress().running[0].left == pytest.approx(2.5), "time passes between events"
    clock.now += 60
    assert following.progress().running[0].left == 0


def test_the_rate_is_that_of_late(clock):
    one = job()
    following = follow(clock, Event(one), *(tick(one, 10 * n, float(n)) for n in range(1, 31)))
    for n in range(1, 12):
        following.hear(tick(one, 300 + 20 * n, 30.0 + n))
    assert following.progress().running[0].rate == pytest.approx(20)


def test_scoring_is_a_phase_and_takes_time_of_what_is_left(clock):
    one = job()
    following = follow(clock, Event(one), tick(one, 100, 1.0), tick(one, 500, 5.0))
    (run,) = following.progress().running
    assert run.phase == "scoring" and run.left == pytest.approx(5), "how long scoring takes is not known yet"
    clock.now += 8
    following.hear(mark(one, 500, fid=3.5))
    (run,) = following.progress().running
    assert run.phase == "training" and run.scores == {"fid": 3.5}
    assert run.left == pytest.approx(13), "5 of training, 8 of the other mark"
    following.hear(tick(one, 1000, 10.0))
    (run,) = following.progress().running
    assert run.phase == "scoring" and run.left == pytest.approx(8)


def test_a_run_that_is_continued_has_what_it_had(clock):
    one = job(marks=4)
    curve = [Mark(share, Meters(images=int(1000 * share)), {"fid": Value(share)}) for share in (0.25, 0.5)]
    following = follow(clock, Event(one), jobs=[one], found={one.spec.id: RunRecord(one.spec, "killed", curve=curve)})
    (run,) = following.progress().running
    assert (run.phase, run.share, run.scores) == ("starting", 0.5, {"fid": 0.5})
    following.hear(tick(one, 550, 100.0))
    following.hear(tick(one, 600, 101.0))
    (run,) = following.progress().running
    assert run.phase == "training" and run.left == pytest.approx(8), "at the pace of now, not of the machine before"
    following.hear(tick(one, 750, 104.0))
    assert following.progress().running[0].phase == "scoring"


def test_a_run_that_has_an_end_is_only_scored(clock):
    one = job()
    following = follow(clock, Event(one), jobs=[one], found={one.spec.id: RunRecord(one.spec, "done")})
    (run,) = following.progress().running
    assert (run.phase, run.share) == ("scoring", 1)


def test_runs_are_counted_once_each(clock):
    jobs = [job(seed) for seed in range(6)]
    events = [
        Event(jobs[0]),
        Event(jobs[1]),
        end(jobs[0]),
        Event(jobs[2]),
        end(jobs[2], "diverged", "nan"),
        Event(jobs[3]),
    ]
    following = follow(clock, *events, end(jobs[3], "error", "Traceback …\n\nOSError: no"), jobs=jobs, parallel=2)
    progress = following.progress()
    assert [run.id for run in progress.running] == [jobs[1].spec.id]
    assert progress.ended == {jobs[0].spec.id: "done", jobs[2].spec.id: "diverged", jobs[3].spec.id: "error"}
    assert progress.failed == {jobs[3].spec.id: "OSError: no"}


def test_a_run_that_another_command_makes_is_put_off_and_waited_for(clock):
    jobs = [job(0), job(1)]
    following = follow(clock, Event(jobs[0]), Event(jobs[0], put_off=True), jobs=jobs)
    assert following.progress().running == []
    following.hear(Event(jobs[0]))
    following.hear(Event(jobs[0], note=WAITING))
    assert following.progress().running[0].phase == "waiting"
    clock.now += 1000
    following.hear(end(jobs[0]))
    following.hear(Event(jobs[1]))
    assert following.progress().left is None, "its time was another's"


def test_the_time_of_the_sweep_is_unknown_until_a_run_tells(clock):
    jobs = [job(seed) for seed in range(5)]
    following = follow(clock, Event(jobs[0]), Event(jobs[1]), jobs=jobs, parallel=2)
    assert following.progress().left is None
    clock.now += 10
    following.hear(tick(jobs[0], 250, 10.0))
    following.hear(tick(jobs[0], 500, 20.0))
    # The first has 20 seconds left and so takes 30 in all, from which its like is judged; the second began as early.
    assert following.progress().left == pytest.approx(20 + 30 + 30)
    clock.now += 10
    for each in jobs[:2]:
        following.hear(end(each))
    assert following.progress().left == pytest.approx(20 + 20), "three whole runs of 20 seconds, by two"
    following.stopping()
    assert (following.progress().state, following.progress().left) == ("stopping", None)


def test_what_failed_early_tells_nothing_of_time(clock):
    jobs = [job(0), job(1)]
    following = follow(clock, Event(jobs[0]), jobs=jobs)
    clock.now += 1
    following.hear(end(jobs[0], "error", "broke"))
    following.hear(Event(jobs[1]))
    assert following.progress().left is None


def test_the_headline_is_what_was_asked_for():
    values = {name: Value(float(n)) for n, name in enumerate(("grad", "fid", "fid-std", "kid"))}
    assert headline(values, ("kid", "fid", "late")) == {"kid": 3.0, "fid": 1.0}
    assert list(headline(values, (), most=2)) == ["grad", "fid"]


def test_an_older_harness_left_nothing_to_go_on_with(clock):
    one = job()
    old = replace(one.spec, numbers=1)
    record = RunRecord(old, "killed", curve=[Mark(0.5, Meters(), {})])
    assert follow(clock, Event(one), jobs=[one], found={one.spec.id: record}).progress().running[0].share == 0
