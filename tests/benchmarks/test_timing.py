import timing
from timing import Contestant, Pace, alternate, block, medians, ratio


def counting():
    calls = []
    return calls, lambda: calls.append(None)


def test_a_block_times_at_least_so_many_calls():
    _, call = counting()
    assert len(block(Contestant(call), Pace(block_seconds=0, least_calls=4))) == 4


def test_what_settles_is_not_timed(monkeypatch):
    monkeypatch.setattr(timing, "SETTLE_SECONDS", 0)
    settled, settle = counting()
    called, call = counting()
    seconds = block(Contestant(call, settle), Pace(block_seconds=0, least_calls=2))
    assert (len(settled), len(called), len(seconds)) == (1, 2, 2)


def test_every_contestant_begins_in_turn(monkeypatch):
    monkeypatch.setattr(timing, "block", lambda contestant, pace: [contestant.call()])
    order = []
    contestants = {name: Contestant(lambda name=name: order.append(name) or 1.0) for name in "abc"}
    samples = alternate(contestants, Pace(rounds=3))
    assert "".join(order) == "abcbcacab"
    assert samples["a"] == [[1.0]] * 3


def test_medians_are_those_of_all_rounds_in_milliseconds():
    assert medians({"a": [[1.0, 2.0], [3.0]]}) == {"a": 2000.0}


def test_the_ratio_takes_the_better_of_the_others():
    samples = {
        "ours": [[1.0], [2.0], [2.0]],
        "x": [[4.0], [4.0], [8.0]],
        "y": [[9.0], [9.0], [6.0]],
    }
    found = ratio(samples, "ours", ["x", "y"])
    assert (found.value, found.low, found.high) == (2.0, 2.0, 4.0)
