"""A request to stop is heard at once where it may be, once, and never in the middle of what must be whole."""

import os
import signal
import threading

import pytest

from ganbench.runs.stopping import Stop, Stopped

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture
def stop():
    stop = Stop()
    former = signal.signal(signal.SIGTERM, stop.ask)
    yield stop
    signal.signal(signal.SIGTERM, former)


def ask():
    signal.raise_signal(signal.SIGTERM)


def test_outside_of_such_a_block_a_request_is_only_noted(stop):
    ask()
    assert stop.asked
    with stop.later():
        ask()


def test_one_that_came_before_is_heard_when_the_block_begins(stop):
    ask()
    with pytest.raises(Stopped), stop.at_once():
        raise AssertionError("not reached")


def test_inside_it_is_heard_at_once_and_no_failure_of_a_plugin(stop):
    with pytest.raises(Stopped), stop.at_once():
        try:
            ask()
        except Exception as error:
            raise AssertionError("taken for a failure") from error
        raise AssertionError("not reached")
    ask()  # and afterwards it is only noted


def test_clearing_away_is_not_interrupted_by_requests_that_come_again(stop):
    cleared = []
    with pytest.raises(Stopped), stop.at_once():
        try:
            ask()
        finally:
            for number in range(5):
                ask()
                cleared.append(number)
    assert cleared == [0, 1, 2, 3, 4]


def test_what_must_be_whole_is_ended_first(stop):
    done = []
    with pytest.raises(Stopped), stop.at_once():
        with stop.later():
            ask()
            done.append("the rest of a message")
        raise AssertionError("not reached")
    assert done == ["the rest of a message"]


def test_another_thread_does_not_hold_a_request_up(stop):
    entered, leave = threading.Event(), threading.Event()

    def speak():
        with stop.later():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=speak)
    with pytest.raises(Stopped), stop.at_once():
        thread.start()
        entered.wait(10)
        ask()
    leave.set()
    thread.join()
