"""The clocks of CPU and GPU."""

import time

import pytest
from device_timing import (
    WARM_UP,
    WHOLE,
    HostClock,
    clock_of,
    first_call,
    host_milliseconds,
    time_phases,
)
from timing import Pace

from tests.gpu.strict_cupy import installed, make_cupy


class Ticks:
    """A clock that counts its own marks: each is a second after the one before."""

    def __init__(self):
        self.now, self.waits = 0, 0

    def mark(self):
        self.now += 1
        return self.now

    def wait(self):
        self.waits += 1

    def seconds(self, first, second):
        return second - first


def test_phases_are_timed_from_mark_to_mark():
    called = []
    phases = [(name, lambda name=name: called.append(name)) for name in "ab"]
    times = time_phases(Ticks(), phases, Pace(block_seconds=0, least_calls=2))
    assert times == {"a": 1000, "b": 1000, WHOLE: 2000}
    assert "".join(called) == "ab" * (WARM_UP + 2)


def test_the_device_has_done_all_before_it_is_asked():
    clock = Ticks()
    time_phases(clock, [("a", lambda: None)], Pace(block_seconds=0, least_calls=1))
    assert clock.waits == 2  # after the warm-up, and before the marks are read


def test_the_first_call_is_waited_for():
    clock = Ticks()
    assert first_call(clock, lambda: time.sleep(0.01)) >= 0.01
    assert clock.waits == 2


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_both_clocks_tell_seconds(device):
    with installed(make_cupy()):
        clock = clock_of(device)
        assert isinstance(clock, HostClock) == (device == "cpu")
        start = clock.mark()
        time.sleep(0.02)
        end = clock.mark()
        clock.wait()
        assert 0.02 <= clock.seconds(start, end) < 1


def test_the_host_does_not_wait_between_calls():
    clock, called = Ticks(), []
    ms = host_milliseconds(clock, lambda: called.append(clock.waits))
    assert ms >= 0
    assert (called, clock.waits) == ([1] * len(called), 2)  # it waits before and after all of them
