"""How a loop runs on several threads: a worker is called for each part of the work.

Numba's own parallel loops would do it alone. But a worker that is called from such a loop is compiled
again and again: with the loop, with what wraps the loop for the threads, and with what calls that,
which takes seconds for a convolution. Here one parallel loop, compiled once, serves all workers. It
gets the address of a task, and the task calls the worker by a name under which the linker knows its
address; nobody has to see the worker's code for that.
"""

import hashlib

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.dispatcher import Dispatcher
from numba.extending import intrinsic

INT64 = ir.IntType(64)

TASK = ir.FunctionType(ir.VoidType(), [INT64] * 3)
"""What is called for each part of the work, with (part, parts, address of the worker's arguments)."""

LOOP_KINDS = (types.int64,) * 3
"""Numba's types of what the loop takes: (address of the task, parts, address of the worker's arguments)."""


@intrinsic
def call_task(typing_context, task, part, parts, arguments):
    """Call the task at an address."""

    def emit(context, builder, signature, values):
        task, *values = values
        builder.call(builder.inttoptr(task, TASK.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), emit


def for_each_part(task, parts, arguments):
    """Call a task for each part, on threads."""
    for part in numba.prange(parts):
        call_task(task, np.int64(part), parts, arguments)


@intrinsic
def run_parts(typing_context, loop, worker, parts, arguments):
    """Call worker(part, parts, *arguments) for each part in range(parts): a single one here, several in the loop.

    The arguments lie on the stack until all parts are done, and behind them a number, which is not 0
    if a worker failed; it is returned.

    Args:
        typing_context: Numba's; not part of a call.
        loop: `for_each_part`, compiled.
        worker: another compiled function, which returns nothing; it fails where it finds no memory.
        parts: how many.
        arguments: a tuple.
    """
    names = symbols(loop.dispatcher, worker.dispatcher, arguments)

    def emit(context, builder, signature, values):
        zero, one = ir.Constant(INT64, 0), ir.Constant(INT64, 1)
        packed = cgutils.make_anonymous_struct(builder, [values[3], zero])
        place = cgutils.alloca_once_value(builder, packed)
        task = _task(context, builder, names[1], arguments, place.type)
        run = _external(context, builder, names[0], LOOP_KINDS)
        addresses = [builder.ptrtoint(pointer, INT64) for pointer in (task, place)]
        with builder.if_else(builder.icmp_signed("==", values[2], one)) as (single, several):
            with single:
                builder.call(task, [zero, one, addresses[1]])
            with several:
                task_and_rest = [addresses[0], values[2], addresses[1]]
                context.call_conv.call_function(builder, run, types.none, LOOP_KINDS, task_and_rest)
        return builder.load(cgutils.gep_inbounds(builder, place, 0, 1))

    return types.int64(loop, worker, types.int64, arguments), emit


def worker_kinds(arguments: types.BaseTuple) -> tuple[types.Type, ...]:
    """The types of all arguments of a worker, from the type of the tuple of those after (part, parts)."""
    return types.int64, types.int64, *arguments.types


def symbols(loop: Dispatcher, worker: Dispatcher, arguments: types.BaseTuple) -> tuple[str, str]:
    """Make a loop and a worker known to the linker, and return the names by which machine code can call them."""
    return _symbol(loop, LOOP_KINDS), _symbol(worker, worker_kinds(arguments))


def _symbol(function: Dispatcher, kinds: tuple[types.Type, ...]) -> str:
    function.compile(kinds)
    result = function.overloads[kinds]
    digest = hashlib.sha256(repr(kinds).encode()).hexdigest()[:24]
    name = f"{function.py_func.__module__}.{function.py_func.__qualname__}.{digest}"
    address = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
    llvmlite.binding.add_symbol(name, address)
    return name


def _external(context, builder, name: str, kinds: tuple[types.Type, ...]) -> ir.Function:
    """Declare a compiled function that takes such arguments and returns nothing."""
    kind = context.call_conv.get_function_type(types.none, kinds)
    return cgutils.get_or_insert_function(builder.module, kind, name)


def _task(context, builder, name: str, arguments: types.BaseTuple, place: ir.Type) -> ir.Function:
    """Emit a task, which takes the worker's arguments from where they were put and calls it."""
    worker = _external(context, builder, name, worker_kinds(arguments))
    task = ir.Function(builder.module, TASK, builder.module.get_unique_name(f"{name}.task"))
    task.linkage = "internal"
    inside = ir.IRBuilder(task.append_basic_block())
    part, parts, address = task.args
    place = inside.inttoptr(address, place)
    packed = inside.load(cgutils.gep_inbounds(inside, place, 0, 0))
    unpacked = [inside.extract_value(packed, i) for i in range(len(arguments))]
    kinds = worker_kinds(arguments)
    status, _ = context.call_conv.call_function(
        inside, worker, types.none, kinds, [part, parts, *unpacked]
    )
    with inside.if_then(status.is_error, likely=False):
        inside.store(ir.Constant(INT64, 1), cgutils.gep_inbounds(inside, place, 0, 1))
    inside.ret_void()
    return task
