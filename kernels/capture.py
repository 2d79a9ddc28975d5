"""Writing down what a computation does to memory, to do the same again without deciding anything anew.

A training step makes the same calls, with arrays of the same shapes, again and again; most of its time in
Python goes into finding that out: which kernel suits, which shapes result, where memory is free.
While a `Capture` is in force, every call that changes memory is noted with its arguments:

    compiled loops    note themselves (cpu/compiled.py)
    `do`              calls a function of NumPy and notes it
    `as_a_whole`      marks functions that are noted as one call, whatever they call

and `Capture.replay` makes the calls again. They find their arguments where they were: new numbers
are written into the arrays that the recorded computation began with, and the results read from those
that it ended with.

The notes must not keep every array of a computation alive, or none would be used twice. So the memory of
a recording is its own (`memory.Pool`): when an array is gone, its place is lent again to a later one,
exactly as without a recording, and the notes remember places.
"""

import functools
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import memory
from .arrays import Array, in_memory_order, keeping_order, xp_of
from .bits import change, digest, garble
from .joining import Note, joined


class Capture:
    """The notes of one computation, which is what happens inside `with capture.in_force():`.

    Attributes:
        notes: in the order of the calls.
        problem: why replaying would not do what the computation did; "" where nothing is known.
    """

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.problem = ""
        self._joined: list[Note] = []  # what a replay carries out, made of the notes in the first
        self._pool = memory.Pool(least=0)
        self._first_whole: int | None = None  # the first note of `as_a_whole`
        self._is_repeated: dict[Hashable, bool] = {}  # for each kind of step
        self._in_step = False
        self._is_impure = False  # whether the present step did what notes cannot repeat

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Note what this thread calls."""
        if here.active is not None:
            raise RuntimeError("Capture: another one is in force in this thread")
        self._joined = []
        with memory.used_by_this_thread(self._pool):
            here.active = self
            try:
                yield
            finally:
                here.active = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Note nothing, and use no memory of the capture."""
        with memory.used_by_this_thread(None):
            here.active = None
            try:
                yield
            finally:
                here.active = self

    def note(self, function: Callable, *args: Any) -> None:
        """Note a call that has been made."""
        self.notes.append((function, self._borrowed(args)))

    def _borrowed(self, value: Any) -> Any:
        """Return arguments such that they remember the places of arrays in the pool without keeping them occupied."""
        if isinstance(value, np.ndarray):
            return self._pool.borrowed(value)
        if type(value) in (tuple, list):
            return type(value)(map(self._borrowed, value))
        if isinstance(value, tuple):  # a named one
            return type(value)(*map(self._borrowed, value))
        return value

    def refuse(self, reason: str) -> None:
        """Note that the computation did what notes cannot repeat; a step that does is run again instead."""
        self._is_impure = True
        if not self._in_step:
            self.problem = self.problem or reason

    def number(self, draw: Callable[[], float], dtype: type) -> Any:
        """Return the number that `draw` returns; or memory, if it is to hold another one in each replay."""
        return draw()

    def includes(self, optimizer: Any) -> bool:
        """Carry out a step of an optimizer as a part of what is captured, where that is possible."""
        return False

    def note_whole(self, function: Callable, *args: Any) -> None:
        """Note the call of a function marked by `as_a_whole`."""
        if self._first_whole is None:
            self._first_whole = len(self.notes)
        self.note(function, *args)

    def replay(self) -> None:
        """Do again what has been noted."""
        self._joined = self._joined or joined(self.notes)
        _carry_out(self._joined)

    def replay_to_first_whole(self) -> Callable[[], None]:
        """Replay the notes before the first of `as_a_whole`; return what replays the rest."""
        first = len(self.notes) if self._first_whole is None else self._first_whole
        _carry_out(self.notes[:first])
        return functools.partial(_carry_out, self.notes[first:])

    @contextmanager
    def lending(self) -> Iterator[None]:
        """Take the memory of new arrays from the recording's: what it holds is in use during a replay only."""
        with memory.used_by_this_thread(self._pool):
            yield

    def loan_of(self, array: np.ndarray) -> np.ndarray | None:
        """The bytes of the recording's memory that an array keeps, or None."""
        return self._pool.loan_of(array)

    def lent(self) -> int:
        """The bytes of the recording's memory that arrays lie in: results, gradients, and what others have kept."""
        return self._pool.lent

    def give_back(self) -> None:
        """Give the memory that no array lies in back to the system; a replay gets what it needs of it anew."""
        self._pool.drop_free_pages()

    def outer_arrays(self) -> list[np.ndarray]:
        """The arrays in the notes that do not lie in the recording's memory, and can be written to."""
        found: dict[int, np.ndarray] = {}
        for _, args in self.notes:
            for array in _arrays_in(args):
                if array.flags.writeable and not self._pool.holds(array):
                    found[id(array)] = array
        return list(found.values())

    def step(
        self,
        compute: Callable[[], Any],
        held: list[Array],
        results: Callable[[Any], list[Array | None]],
        is_pure: bool = True,
        kind: Hashable = None,
    ) -> tuple[Any, list[Array | None]]:
        """Carry out one step of the computation, and look whether its notes repeat it.

        They do not if the step computes with functions that nobody notes. To find out, the step is carried out
        once more with other numbers, and so are its notes: all bits must be the same. If they are not, the notes are
        thrown away, and the caller has to note instead how to run the step again. One step of each kind is looked at:
        those that are noted as calls of the same functions, with arrays that lie alike in memory.

        Args:
            compute: carries out the step; without `refuse`, the same numbers give the same results.
            held: the arrays that are there before.
            results: tells which arrays the step leaves behind, from what `compute` returns.
            is_pure: False if it is known that notes do not repeat it.
            kind: tells steps of different programs apart.

        Returns:
            What `compute` returns; and, if the notes do not repeat the step, the list of `results`, with None for
            those that were there before or share memory with them. It is empty if they do.
        """
        start = len(self.notes)
        owners = {id(memory.owner_of(array)) for array in held}
        self._in_step, self._is_impure = True, not is_pure
        try:
            returned = compute()
            arrays = [
                None if array is None or id(memory.owner_of(array)) in owners else array
                for array in results(returned)
            ]
            if not any(array is not None for array in arrays):
                return returned, []
            if any(array is not None and xp_of(array) is not np for array in (*held, *arrays)):
                self.problem = self.problem or "it computes on a GPU, and its inputs are on the CPU"
                return returned, []
            if not self._is_impure:
                notes = self.notes[start:]
                kind = kind, tuple(function for function, _ in notes), tuple(map(_layout, held))
                if kind not in self._is_repeated:
                    with self.paused():
                        self._is_repeated[kind] = self._repeat(
                            notes, compute, held, results, arrays
                        )
                if self._is_repeated[kind]:
                    return returned, []
        finally:
            self._in_step = False
        del self.notes[start:]
        return returned, arrays

    def _repeat(
        self,
        notes: list[Note],
        compute: Callable[[], Any],
        held: list[Array],
        results: Callable[[Any], list[Array | None]],
        arrays: list[Array | None],
    ) -> bool:
        """Whether notes write to `arrays` what `compute` does, for other numbers in `held`; all is then as before."""
        new = [array for array in arrays if array is not None]
        if not all(array.flags.writeable and 0 not in array.strides for array in new):
            return False
        self._pool.drop_free_pages()  # copies need some
        inputs = [a for a in held if a.dtype.kind == "f" and a.flags.writeable and a.size]
        before = [(array, memory.copy_of(array)) for array in inputs]
        try:
            for array in inputs:
                change(array)
            with self.lending():
                again = results(compute())
            expected = [
                digest(a) for a, array in zip(again, arrays, strict=True) if array is not None
            ]
            del again  # before the notes are carried out, which would write there
            before += [(array, memory.copy_of(array)) for array in new]
            for array in new:
                garble(array)  # what no note writes to may have the right numbers by chance
            _carry_out(notes)
            return list(map(digest, new)) == expected
        finally:
            for array, old in reversed(before):
                array[...] = old
            before.clear()
            memory.release()  # later steps need more of the recording's memory


class _Here(threading.local):
    """What is in force in a thread.

    Attributes:
        active: the capture, or None.
        may_end: in a rehearsal, which runs a computation only as far as to the first function of `as_a_whole`: says
            there whether it may end; None otherwise.
    """

    active: Capture | None = None
    may_end: Callable[[], bool] | None = None


here = _Here()


def do(function: Callable, *args: Any) -> Any:
    """Call a function that writes into some of its arguments, and note the call; return what it returns."""
    returned = function(*args)
    if here.active is not None:
        here.active.note(function, *args)
    return returned


def zeros(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """Return a new array of zeros, which are written anew when notes are replayed."""
    if here.active is None:
        return np.zeros(shape, dtype)
    array = memory.empty(shape, dtype)
    do(np.ndarray.fill, array, 0)
    return array


def contiguous(array: Array) -> Array:
    """Return an array itself or a copy in row-major order."""
    if array.flags.c_contiguous:
        return array
    empty = memory.empty if xp_of(array) is np else xp_of(array).empty
    copy = empty(array.shape, array.dtype)
    do(xp_of(array).copyto, copy, array)
    return copy


def reshaped(array: Array, shape: tuple[int, ...]) -> Array:
    """Return array.reshape(shape); where that is a copy, it is made anew when notes are replayed."""
    result = array.reshape(shape)
    if here.active is None or memory.owner_of(result) is memory.owner_of(array):
        return result
    return contiguous(array).reshape(shape)


def each(function: np.ufunc, *arrays: Array) -> Array:
    """Return function(*arrays), computed element by element; see `arrays.keeping_order`."""
    result = keeping_order(function, *arrays)
    if here.active is None or xp_of(result) is not np:
        return result
    noted = memory.empty_like(np.asarray(result))  # where each replay writes its result
    do(function, *arrays, noted)
    return noted


def refuse(reason: str) -> None:
    """Say that what comes cannot be repeated from notes, see `Capture.refuse`."""
    if here.active is not None:
        here.active.refuse(reason)


def number(draw: Callable[[], float], dtype: type = np.uint64) -> Any:
    """Return a number that the host knows anew in each step, such as a random one; see `Capture.number`.

    Args:
        draw: returns the number.
        dtype: a type of 8 bytes, that of the array of one number that a graph on a GPU finds it in.
    """
    return draw() if here.active is None else here.active.number(draw, dtype)


def as_a_whole(function: Callable) -> Callable:
    """Decorate a function: a capture notes the call of it, and nothing of what it calls."""

    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        capture = here.active
        if capture is None:
            if here.may_end is not None and here.may_end():
                raise EndOfRehearsal
            return function(*args, **named)
        args = tuple(map(_again, args))
        named = {name: _again(one) for name, one in named.items()}
        with capture.paused():
            returned = function(*args, **named)
        if returned is not None and not hasattr(returned, "array"):
            capture.refuse(f"{function.__name__} returned something else than a tensor")
        capture.note_whole(_call_again, functools.partial(function, **named), args, returned)
        return returned

    return call


def _again(argument: Any) -> Any:
    """An argument that each replay may go through anew: an iterator as a list."""
    return list(argument) if isinstance(argument, Iterator) else argument


def _call_again(function: Callable, args: tuple, returned: Any) -> None:
    """Call a function, and copy the tensor that it returns to where it was when the recording was made."""
    new = function(*args)
    if returned is not None:
        returned.array[...] = new.array


class EndOfRehearsal(BaseException):
    """Raised in a rehearsal instead of calling a function marked by `as_a_whole`."""


@contextmanager
def rehearsal(may_end: Callable[[], bool]) -> Iterator[None]:
    """Run what is inside only as far as to a function marked by `as_a_whole` where `may_end()`: `EndOfRehearsal`."""
    here.may_end = may_end
    try:
        yield
    finally:
        here.may_end = None


def _carry_out(notes: list[Note]) -> None:
    with np.errstate(all="ignore"):
        for function, args in notes:
            function(*args)


def _arrays_in(value: Any) -> Iterator[np.ndarray]:
    """All arrays in nested tuples and lists."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple | list):
        for member in value:
            yield from _arrays_in(member)


def _layout(array: np.ndarray) -> tuple:
    """What decides, beside the shape, how functions go about an array."""
    in_order, order = in_memory_order(array)
    return array.dtype, array.flags.writeable, in_order.flags.c_contiguous, tuple(order)
