"""Python's objects as compiled loops get them: numbers, arrays, and tuples of these.

When Numba is asked to call a compiled function, it first finds out the type of each argument, then
looks for machine code for these types, then takes the arguments apart. Here all is one pass: machine
code that was made for some types looks whether the arguments are of these, and takes out of their C
structures what it needs. If one is not, it says so, and the next code is asked (`compiled.on_threads`).
In nearly all calls the first is right.
"""

import ctypes
import functools
from collections.abc import Iterable

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.np.arrayobj import populate_array
from numba.np.numpy_support import as_dtype

OBJECT = cgutils.voidptr_t
INT8, INT32, INT64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
POINTER_BYTES = ctypes.sizeof(ctypes.c_void_p)


class ObjectFields(ctypes.Structure):
    """How each object of CPython begins: PyObject."""

    _fields_ = (("count", ctypes.c_ssize_t), ("type", ctypes.c_void_p))


class ArrayFields(ctypes.Structure):
    """An array: PyArrayObject_fields of NumPy's C interface."""

    _fields_ = (
        ("object", ctypes.c_char * object.__basicsize__),
        ("data", ctypes.c_void_p),
        ("ndim", ctypes.c_int),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("base", ctypes.c_void_p),
        ("dtype", ctypes.c_void_p),
        ("flags", ctypes.c_int),
    )


class DtypeFields(ctypes.Structure):
    """The beginning of a dtype: PyArray_Descr."""

    _fields_ = (
        ("object", ctypes.c_char * object.__basicsize__),
        ("type", ctypes.c_void_p),
        ("letters", ctypes.c_char * 2),
        ("byteorder", ctypes.c_char),
        ("flags", ctypes.c_char),
        ("number", ctypes.c_int),
    )


C_ORDER, F_ORDER, WRITEABLE = 0x1, 0x2, 0x400
"""Flags of arrays, NPY_ARRAY_C_CONTIGUOUS and so on."""

ORDERS = {"C": (C_ORDER, C_ORDER), "F": (C_ORDER | F_ORDER, F_ORDER), "A": (C_ORDER | F_ORDER, 0)}
"""For each layout of Numba's: flags that tell it from others, and what they must be."""

CLASSES = {types.int64: (int, np.int64), types.float64: (float, np.float64), types.boolean: (bool,)}
"""The classes that are one type for Numba; NumPy's other numbers have a type each."""

NUMPY_NUMBERS = tuple(np.dtype(letter).type for letter in "bBhHiIlLqQfd")
"""NumPy's classes of whole numbers, and of real ones of single and double precision."""


def _symbol(thing: type) -> str:
    """The name by which machine code knows a class."""
    return f"{thing.__module__}.{thing.__qualname__}"


for _class in (tuple, np.ndarray, int, float, bool, *NUMPY_NUMBERS):
    llvmlite.binding.add_symbol(_symbol(_class), id(_class))
llvmlite.binding.add_symbol("builtins.True", id(True))


def make_classes_known(kinds: Iterable[types.Type]) -> None:
    """Tell the linker where the classes of named tuples are, before it loads code for these types."""
    for kind in kinds:
        if isinstance(kind, types.BaseNamedTuple):
            llvmlite.binding.add_symbol(_symbol(kind.instance_class), id(kind.instance_class))
        if isinstance(kind, types.BaseTuple):
            make_classes_known(kind)


class ArgumentReader:
    """Emits machine code that takes Python's objects apart.

    Args:
        context: Numba's.
        builder: of a function that Python calls, which holds Python's lock.
        refused: the block to go to if an object is not of the type that is expected.
    """

    def __init__(self, context, builder: ir.IRBuilder, refused: ir.Block):
        self.context = context
        self.builder = builder
        self.refused = refused
        self.python = context.get_python_api(builder)

    def read(self, kind: types.Type, thing: ir.Value) -> ir.Value:
        """The value of an object, as compiled functions take it, if it is of Numba's type `kind`.

        Raises:
            TypeError: for a type that is none of those in the first line of this file.
        """
        if isinstance(kind, types.Array):
            return self._array(kind, thing)
        if isinstance(kind, types.BaseTuple):
            return self._tuple(kind, thing)
        if kind in CLASSES:
            return self._number_of_python(kind, thing)
        if isinstance(kind, types.Number) and as_dtype(kind).type in NUMPY_NUMBERS:
            return self._number_of_numpy(kind, thing)
        raise TypeError(
            f"compiled loops that run on threads take arrays, numbers and tuples, got {kind}"
        )

    def _tuple(self, kind: types.BaseTuple, thing: ir.Value) -> ir.Value:
        named = isinstance(kind, types.BaseNamedTuple)
        self._require_class(thing, kind.instance_class if named else tuple)
        size = self._field(thing, ctypes.sizeof(ObjectFields), INT64)
        self._require_equal(size, len(kind))
        values = []
        for i, member in enumerate(kind):
            place = tuple.__basicsize__ + i * POINTER_BYTES
            values.append(self.read(member, self._field(thing, place, OBJECT)))
        return self.context.make_tuple(self.builder, kind, values)

    def _number_of_python(self, kind: types.Type, thing: ir.Value) -> ir.Value:
        self._require_class(thing, *CLASSES[kind])
        if kind == types.boolean:
            return self.builder.icmp_unsigned("==", thing, self._known("builtins.True"))
        if kind == types.int64:
            number = self.python.long_as_longlong(thing)
            too_large = cgutils.is_not_null(self.builder, self.python.err_occurred())
            with self.builder.if_then(too_large, likely=False):
                self.builder.ret(self.python.get_null_object())  # for Python, that is an error
            return number
        return self.python.float_as_double(thing)

    def _number_of_numpy(self, kind: types.Type, thing: ir.Value) -> ir.Value:
        """A number that lies, as it is, behind what all objects begin with."""
        self._require_class(thing, as_dtype(kind).type)
        return self._field(thing, object.__basicsize__, self.context.get_value_type(kind))

    def _array(self, kind: types.Array, thing: ir.Value) -> ir.Value:
        self._require_class(thing, np.ndarray)
        self._require_equal(self._field(thing, ArrayFields.ndim.offset, INT32), kind.ndim)
        self._require_flags(kind, self._field(thing, ArrayFields.flags.offset, INT32))
        dtype = as_dtype(kind.dtype)
        given = self._field(thing, ArrayFields.dtype.offset, OBJECT)
        self._require_equal(self._field(given, DtypeFields.number.offset, INT32), dtype.num)
        order = self._field(given, DtypeFields.byteorder.offset, INT8)
        self._require_equal(order, ord(dtype.byteorder))

        array = self.context.make_array(kind)(self.context, self.builder)
        data = self._field(thing, ArrayFields.data.offset, array.data.type)
        lists = [
            self._field(thing, field.offset, OBJECT)
            for field in (ArrayFields.shape, ArrayFields.strides)
        ]
        shape, strides = (
            [self._field(numbers, i * POINTER_BYTES, INT64) for i in range(kind.ndim)]
            for numbers in lists
        )
        # No meminfo: Python holds the array until the call returns, and its users are not counted.
        populate_array(array, data, shape, strides, dtype.itemsize, meminfo=None)
        return array._getvalue()

    def _require_flags(self, kind: types.Array, flags: ir.Value) -> None:
        """Require order and permission to write as `kind` says; alignment, Numba does not look at either."""
        looked_at, expected = ORDERS[kind.layout]
        looked_at |= WRITEABLE
        expected |= WRITEABLE if kind.mutable else 0
        self._require_equal(self.builder.and_(flags, ir.Constant(INT32, looked_at)), expected)

    def _require_class(self, thing: ir.Value, *classes: type) -> None:
        given = self._field(thing, ObjectFields.type.offset, OBJECT)
        answers = [
            self.builder.icmp_unsigned("==", given, self._known(_symbol(one))) for one in classes
        ]
        self._require(functools.reduce(self.builder.or_, answers))

    def _require_equal(self, value: ir.Value, expected: int) -> None:
        self._require(self.builder.icmp_unsigned("==", value, ir.Constant(value.type, expected)))

    def _require(self, condition: ir.Value) -> None:
        """Go on if the condition holds, and to `refused` otherwise."""
        rest = self.builder.append_basic_block()
        self.builder.cbranch(condition, rest, self.refused)
        self.builder.position_at_end(rest)

    def _field(self, thing: ir.Value, offset: int, kind: ir.Type) -> ir.Value:
        """Load what lies some bytes behind the beginning of a structure."""
        place = self.builder.gep(thing, [ir.Constant(INT64, offset)])
        return self.builder.load(self.builder.bitcast(place, kind.as_pointer()))

    def _known(self, symbol: str) -> ir.Value:
        """The address of a known object."""
        return self.python.get_c_object(symbol)
