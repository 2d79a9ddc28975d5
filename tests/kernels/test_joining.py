"""Notes that are carried out together: in their order, and never beyond a call that may depend on them."""

from minicnn.kernels import joining
from minicnn.kernels.joining import joined


def joinable():
    """A function whose notes can be joined: the joined one is called with the arguments of all."""

    def function(name):
        raise AssertionError("called alone")

    function.together = lambda notes: ("together", tuple(name for _, (name,) in notes))
    return function


def alone(name):
    """A function whose notes cannot."""


def test_neighbours_become_one():
    loop = joinable()
    assert joined([(loop, (1,)), (loop, (2,))]) == [("together", (1, 2))]


def test_what_cannot_be_joined_comes_after_all_before_it_and_before_all_after_it():
    loop = joinable()
    notes = [(loop, (1,)), (loop, (2,)), (alone, (3,)), (loop, (4,))]
    assert joined(notes) == [("together", (1, 2)), (alone, (3,)), ("together", (4,))]


def test_two_kinds_are_told_apart():
    loop, handing = joinable(), joinable()
    notes = [(loop, (1,)), (handing, ("a",)), (loop, (2,)), (handing, ("b",)), (alone, (3,))]
    assert joined(notes) == [("together", (1, 2)), ("together", ("a", "b")), (alone, (3,))]


def test_not_too_many_become_one(monkeypatch):
    monkeypatch.setattr(joining, "MOST_TOGETHER", 2)
    loop = joinable()
    notes = [(loop, (number,)) for number in range(5)]
    assert [names for _, names in joined(notes)] == [(0, 1), (2, 3), (4,)]


def test_no_notes():
    assert joined([]) == []
