"""A machine that carries out pickles, and that cannot do anything but put data together.

A pickle is a program: a row of small instructions for a machine with a stack and a memory of
numbered cells (the "memo"). Nearly all of them push a number or a text, or gather what lies on the
stack into a tuple, a list or a dict. Three are of another kind:

    GLOBAL    push a function or class, given by its module and name, whatever is installed
    REDUCE    call what lies on the stack, with arguments that lie on the stack
    BUILD     set the attributes of an object

"Push os.system, push a command, REDUCE" is a valid pickle, which is why reading one from a stranger
with Python's own machine hands over the computer. Here the bytes are taken apart by the standard
library's disassembler (`pickletools`), which carries out nothing, and each instruction is carried
out below. GLOBAL looks into a table that the caller gives, and refuses every other name: nothing is
ever imported. What REDUCE may call are functions of ours from that table. An instruction that is not
written down here is refused as well.

A program of n instructions makes no more than n things, so it cannot claim memory out of proportion.
"""

from collections.abc import Callable, Mapping
from io import BytesIO
from pickletools import genops
from typing import Any, NamedTuple

CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}

PUSHES_ITS_ARGUMENT = frozenset(
    (
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"),
    )
)

SIZES_OF_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Callee(NamedTuple):
    """What REDUCE may call, which is a function of ours, known in pickles by the name of another."""

    function: Callable[..., Any]


def run(
    program: BytesIO, known: Mapping[str, Any], find: Callable[[Any], Any] | None = None
) -> Any:
    """Carry out the pickle at the place where `program` stands, and return what it makes.

    Args:
        program: the bytes; afterwards it stands behind the pickle's last one.
        known: what GLOBAL may push, by "module.name"; only values of type `Callee` can be called.
        find: what an object is that is kept outside of the pickle, given its identification.

    Raises:
        ValueError: for a name that is not known, an instruction that is not known, and a program
            that makes no sense; `find` and functions may raise others.
    """
    machine = Machine(known, find)
    for instruction, argument, _ in genops(program):
        if instruction.name == "STOP":
            return machine.pop()
        machine.carry_out(instruction.name, argument)
    raise ValueError("the pickle has no end")


class Machine:
    """The stack and the memory of a running pickle; for the arguments see `run`.

    Attributes:
        stack: what was pushed since the last mark.
        marked: the stacks below each mark that is still open.
        memo: what was put aside, by number.
    """

    def __init__(self, known: Mapping[str, Any], find: Callable[[Any], Any] | None):
        self.known = known
        self.find = find
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def carry_out(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        if name in PUSHES_ITS_ARGUMENT:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in SIZES_OF_TUPLES:
            self.stack.append(tuple(self.pop_several(SIZES_OF_TUPLES[name])))
        else:
            self.carry_out_other(name, argument)

    def carry_out_other(self, name: str, argument: Any) -> None:
        """Carry out an instruction that does more than push a constant."""
        match name:
            case "PROTO" | "FRAME":  # the version of the format; the length of a part
                pass
            case "MARK":
                self.marked.append(self.stack)
                self.stack = []
            case "TUPLE":
                items = self.pop_mark()
                self.stack.append(tuple(items))
            case "EMPTY_LIST":
                self.stack.append([])
            case "EMPTY_DICT":
                self.stack.append({})
            case "APPEND" | "APPENDS":
                items = self.pop_several(1) if name == "APPEND" else self.pop_mark()
                self.top(list).extend(items)
            case "SETITEM" | "SETITEMS":
                items = self.pop_several(2) if name == "SETITEM" else self.pop_mark()
                self.set_items(items)
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.top(object)
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.top(object)
            case "BINGET" | "LONG_BINGET":
                self.stack.append(self.recall(argument))
            case "GLOBAL":
                self.stack.append(self.look_up(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                self.stack.append(self.look_up(".".join(map(self.text, self.pop_several(2)))))
            case "REDUCE":
                self.call()
            case "BUILD":
                self.drop_attributes()
            case "BINPERSID":
                self.stack.append(self.fetch(self.pop()))
            case _:
                raise ValueError(f"the pickle holds the instruction {name}, which is not allowed")

    # --- the stack --------------------------------------------------------------------------------

    def pop(self) -> Any:
        """Take the uppermost thing."""
        return self.pop_several(1)[0]

    def pop_several(self, count: int) -> list[Any]:
        """Take the uppermost things, the lowest first."""
        if len(self.stack) < count:
            raise ValueError("an instruction of the pickle misses what it is about")
        start = len(self.stack) - count
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def pop_mark(self) -> list[Any]:
        """Take everything above the uppermost mark, and the mark."""
        if not self.marked:
            raise ValueError("an instruction of the pickle misses its mark")
        items, self.stack = self.stack, self.marked.pop()
        return items

    def top(self, kind: type) -> Any:
        """Return the uppermost thing, which must be of this kind, and leave it there."""
        if not self.stack:
            raise ValueError("an instruction of the pickle misses what it is about")
        if not isinstance(self.stack[-1], kind):
            raise ValueError(f"an instruction of the pickle expects a {kind.__name__}")
        return self.stack[-1]

    def text(self, value: Any) -> str:
        """Return a value that must be a text: that of a nest of tuples can be longer than any memory."""
        if not isinstance(value, str):
            raise ValueError("an instruction of the pickle expects a str")
        return value

    def recall(self, number: int) -> Any:
        """Return what was put aside under a number."""
        if number not in self.memo:
            raise ValueError(f"the pickle recalls number {number}, which it never put aside")
        return self.memo[number]

    # --- data -------------------------------------------------------------------------------------

    def set_items(self, items: list[Any]) -> None:
        """Put keys and values, which take turns, into the dict on the stack."""
        entries = self.top(dict)
        keys, values = items[::2], items[1::2]
        if len(keys) != len(values) or not all(isinstance(key, str | int) for key in keys):
            raise ValueError("the pickle holds a dict whose keys are not texts or whole numbers")
        entries.update(zip(keys, values, strict=True))

    def drop_attributes(self) -> None:
        """Allow attributes of a dict, which PyTorch's state dicts have, and forget them."""
        self.pop()
        if not self.stack or type(self.stack[-1]) is not dict:
            raise ValueError(
                "the pickle sets attributes of an object (BUILD), which is not allowed"
            )

    # --- what others are asked for ----------------------------------------------------------------

    def look_up(self, name: str) -> Any:
        """Return what a name stands for, if it is one of the known ones."""
        if name not in self.known:
            raise ValueError(
                f"the pickle asks for {name!r}, which is not among the names that rebuild tensors; "
                "it was refused, and not run; weights alone need no other names: where the file comes from, "
                "save them with torch.save(model.state_dict(), path)"
            )
        return self.known[name]

    def call(self) -> None:
        """Replace a function and the tuple of its arguments by its result."""
        callee, arguments = self.pop_several(2)
        if not isinstance(callee, Callee) or type(arguments) is not tuple:
            raise ValueError("the pickle calls (REDUCE) what is no function, which is not allowed")
        self.stack.append(callee.function(*arguments))

    def fetch(self, identification: Any) -> Any:
        """Return an object that is kept outside of the pickle."""
        if self.find is None:
            raise ValueError("the pickle asks for an object outside of it, and there is none")
        return self.find(identification)
