"""That the garbage collector is left as it was."""

import gc
import threading

import pytest

from minicnn.kernels.garbage import NEW_OBJECTS, rare_searches_for_cycles


@pytest.mark.parametrize("given", [(700, 10, 10), (0, 10, 10), (NEW_OBJECTS + 1, 5, 5)])
def test_the_collector_is_as_before_afterwards(given):
    before = gc.get_threshold()
    gc.set_threshold(*given)
    try:
        with rare_searches_for_cycles():
            # Neither switched on where it was off, nor made to search more often.
            assert gc.get_threshold()[0] == (NEW_OBJECTS if given[0] == 700 else given[0])
        assert gc.get_threshold() == given
    finally:
        gc.set_threshold(*before)


def test_the_last_of_several_threads_restores_the_collector():
    before = gc.get_threshold()
    entered, leave = threading.Event(), threading.Event()

    def stay():
        with rare_searches_for_cycles():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=stay)
    with rare_searches_for_cycles():
        thread.start()
        entered.wait()
    assert gc.get_threshold()[0] == max(before[0], NEW_OBJECTS)
    leave.set()
    thread.join()
    assert gc.get_threshold() == before
