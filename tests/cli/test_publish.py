"""A sweep gives signs of life by itself, whatever the command waits for."""

import time
from datetime import UTC, datetime

import pytest

from ganbench.cli import publish
from ganbench.cli.following import Following
from ganbench.cli.publish import published
from ganbench.errors import DiskError
from ganbench.results.progress import PlannedRun, begin_plan, find_sweeps
from ganbench.results.store import ResultStore

PLAN = begin_plan("ganbench run", 1, [PlannedRun("a", "gan", 0)], known=0)


def until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def told(root):
    ((sweep,), _) = find_sweeps(root)
    return sweep.progress


def test_it_writes_while_nothing_happens(monkeypatch, tmp_path):
    monkeypatch.setattr(publish, "PERIOD_SECONDS", 0.05)
    with published(Following([], {}, 1), PLAN, ResultStore(tmp_path)):
        began = datetime.now(UTC)
        until(lambda: told(tmp_path).at > began)
        again = told(tmp_path).at
        until(lambda: told(tmp_path).at > again)
    assert told(tmp_path).state == "finished" and told(tmp_path).memory is None


def test_a_disk_that_is_full_for_a_while_is_told_once_and_written_to_again(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(publish, "PERIOD_SECONDS", 0.02)
    tries, write, full = [], publish.write_progress, [True]

    def refuse(folder, progress):
        tries.append(1)
        if full:
            raise DiskError("cannot write it: no space")
        write(folder, progress)

    monkeypatch.setattr(publish, "write_progress", refuse)
    with published(Following([], {}, 1), PLAN, ResultStore(tmp_path)):
        until(lambda: len(tries) > 3)
        full.clear()
    assert told(tmp_path).state == "finished"
    assert capsys.readouterr().err.count("no space") == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), ValueError("odd")])
def test_what_ends_the_block_goes_on(error, tmp_path):
    with pytest.raises(type(error)), published(Following([], {}, 1), PLAN, ResultStore(tmp_path)):
        raise error
    assert told(tmp_path).state == ("stopped" if isinstance(error, KeyboardInterrupt) else "failed")
