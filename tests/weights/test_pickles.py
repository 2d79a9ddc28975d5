"""The machine for pickles: it builds data, and refuses everything else by name."""

import contextlib
import io
import os
import pickle
import pickletools

import pytest

from minicnn.weights.pickles import Callee, run
from tests.weights import samples


def result_of(contents, known=None, find=None):
    return run(io.BytesIO(contents), known or {}, find)


DATA = {
    "numbers": [0, 255, 65535, -1, 2**40, 1.5, True, False, None],
    "texts": ("", "größe", "x" * 300),
    "nested": {"a": {"b": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]}},
    7: [],
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_data_comes_back(protocol):
    assert result_of(pickle.dumps(DATA, protocol)) == DATA


@pytest.mark.parametrize("protocol", [2, 4])
def test_what_is_shared_stays_shared(protocol):
    part = [1]
    first, second = result_of(pickle.dumps([part, part], protocol))
    assert first is second


def test_the_stream_stands_behind_the_pickle():
    stream = io.BytesIO(pickle.dumps(1, 2) + pickle.dumps(2, 2) + b"rest")
    assert [run(stream, {}), run(stream, {})] == [1, 2]
    assert stream.read() == b"rest"


def test_known_names_are_called_and_objects_outside_are_found():
    contents = samples.call(samples.name("any.where", "sum"), samples.number(2), b"K\x03")
    assert result_of(samples.program(contents), {"any.where.sum": Callee(lambda a, b: a + b)}) == 5
    outside = samples.program(samples.text("key") + b"Q")
    assert result_of(outside, find={"key": "value"}.get) == "value"


# --- what is refused ------------------------------------------------------------------------------


class Bomb:
    """Runs a function of choice when it is unpickled by Python's own machine."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def explode(*_):
    raise AssertionError("code from a file was run")


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("function", [os.system, eval, explode, getattr, pickle.loads, __import__])
def test_other_names_are_refused_by_name_and_not_run(protocol, function):
    bomb = pickle.dumps({"weight": Bomb(function, ("1",))}, protocol)
    with pytest.raises(
        ValueError, match=rf"asks for '.*\.{function.__name__}'.*refused, and not run"
    ):
        result_of(bomb)


def test_names_of_classes_are_refused():
    with pytest.raises(ValueError, match=r"asks for 'tests\.weights\.test_pickles\.Bomb'"):
        result_of(pickle.dumps(Bomb))


INSTRUCTIONS = {
    "INST": b"(ios\nsystem\n.",
    "OBJ": b"(N" + b"o.",
    "NEWOBJ": b"N)\x81.",
    "NEWOBJ_EX": b"N)}\x92.",
    "EXT1": b"\x82\x01.",
    "PERSID": b"Pkey\n.",
    "DUP": b"N2.",
    "POP": b"NN0.",
    "EMPTY_SET": b"\x8f.",
    "BINBYTES": b"B\x01\0\0\0a.",
    "NEXT_BUFFER": b"\x97.",
    "LONG4": b"\x8b\x01\0\0\0\x01.",
}


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_other_instructions_are_refused(name):
    with pytest.raises(ValueError, match=f"the instruction {name}, which is not allowed"):
        result_of(INSTRUCTIONS[name])


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"N)R.", "calls .REDUCE. what is no function"),
        (b"cos\nsystem\n)R.", "asks for 'os.system'"),
        (b"X\x02\0\0\0osX\x06\0\0\0system\x93.", "asks for 'os.system'"),
        (b"]}b.", "sets attributes of an object"),
        (b"}b.", "sets attributes of an object"),
        (b"b.", "misses what it is about"),
        (b".", "misses what it is about"),
        (b"a.", "misses what it is about"),
        (b"t.", "misses its mark"),
        (b"N(K\x01a.", "expects a list|misses what"),
        (b"]K\x01K\x02s.", "misses|expects a dict"),
        (b"}(K\x01u.", "keys are not texts"),
        (b"}NNs.", "keys are not texts"),
        (b"}]Ns.", "keys are not texts"),
        (b"NK\x01a.", "expects a list"),
        (b"q\x01.", "misses what it is about"),
        (b"h\x07.", "recalls number 7"),
        (b"NQ.", "an object outside of it"),
        (b"N", "exhausted|no end"),
        (b"", "exhausted|no end"),
        (b"X\xff\xff\xff\xffabc.", "expected 4294967295 bytes|but only"),
    ],
)
def test_programs_that_make_no_sense_are_refused(program, message):
    with pytest.raises(ValueError, match=message):
        result_of(program)


def test_a_known_value_that_is_no_function_is_not_called():
    with pytest.raises(ValueError, match="what is no function"):
        result_of(b"ctorch\nlong\n)R.", {"torch.long": "int64"})
    with pytest.raises(ValueError, match="what is no function"):
        result_of(b"ctorch\nlong\n]R.", {"torch.long": Callee(list)})


@pytest.mark.parametrize("opening", [b"]", b"(", b"}", b"\x85"])
def test_deep_nesting_does_no_harm(opening):
    depth = 30_000
    program = {b"]": b"]" * depth + b"a" * (depth - 1) + b"."}.get(
        opening, b"N" + opening * depth + b"."
    )
    with contextlib.suppress(ValueError):
        result_of(program)


def test_a_list_may_hold_itself():
    found = result_of(b"]q\x00h\x00a.")
    assert found[0] is found


def test_every_instruction_that_is_written_down_exists():
    known = {opcode.name for opcode in pickletools.opcodes}
    assert set(INSTRUCTIONS) <= known
