"""How a loop runs on several threads: a worker is called for each part of the work.

Numba's own parallel loops would do it alone. But a worker that is called from such a loop is compiled
again and again: with the loop, with what wraps the loop for the threads, and with what calls that,
which takes seconds for a convolution. Here one parallel loop, compiled once, serves all workers. It
gets the address of a task, and the task calls the worker.

    Python  ->  launcher(parts, *arguments)  ->  loop, if there are several parts  ->  task  ->  worker

Launcher and task are emitted here, for each worker, in place of the way in that Numba would add.
"""

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.dispatcher import Dispatcher
from numba.extending import intrinsic

from .objects import OBJECT, ArgumentReader

INT64 = ir.IntType(64)

TASK = ir.FunctionType(ir.VoidType(), [INT64] * 3)
"""What is called for each part of the work, with (part, parts, address of the worker's arguments)."""

LOOP_KINDS = (types.int64,) * 3
"""Numba's types of what the loop takes: (address of the task, parts, address of the worker's arguments)."""

LOOP_SYMBOL = f"{__name__}.loop"
"""The name by which the linker knows the loop, see `make_known`."""

OTHER_KINDS = -1
"""What a launcher returns if it has not been made for arguments of these types."""


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


def make_known(loop: Dispatcher) -> None:
    """Tell the linker where `for_each_part` is, once compiled: launchers call it by name."""
    loop.compile(LOOP_KINDS)
    result = loop.overloads[LOOP_KINDS]
    address = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
    llvmlite.binding.add_symbol(LOOP_SYMBOL, address)


def pretend_known() -> None:
    """Let launchers be linked in a process that never calls one: any address will do."""
    llvmlite.binding.add_symbol(LOOP_SYMBOL, id(None))


def emit_launcher(context, library, worker) -> None:
    """Add to a worker's library a function that Python can call with (parts, *arguments).

    It returns 0, a positive number if the worker failed in some part (it finds no memory, most
    likely), or `OTHER_KINDS`. The arguments lie on the stack until all parts are done.

    Args:
        context: Numba's.
        library: where the worker's machine code will be.
        worker: Numba's description of the compiled function of (part, parts, *arguments).
    """
    module = context.create_module("launcher")
    kind = ir.FunctionType(OBJECT, [OBJECT] * 3)  # PyCFunctionWithKeywords
    launcher = ir.Function(module, kind, worker.llvm_cpython_wrapper_name)
    builder = ir.IRBuilder(launcher.append_basic_block())
    python = context.get_python_api(builder)

    other_kinds = launcher.append_basic_block("other_kinds")
    with builder.goto_block(other_kinds):
        builder.ret(python.long_from_longlong(ir.Constant(INT64, OTHER_KINDS)))
    kinds = types.Tuple(worker.argtypes[1:])  # without the part, which is a number of the loop
    values = ArgumentReader(context, builder, other_kinds).read(kinds, launcher.args[1])

    parts, zero, one = (
        builder.extract_value(values, 0),
        ir.Constant(INT64, 0),
        ir.Constant(INT64, 1),
    )
    place = cgutils.alloca_once_value(
        builder, cgutils.make_anonymous_struct(builder, [values, zero])
    )
    task = _emit_task(context, module, worker, place.type)
    addresses = [builder.ptrtoint(pointer, INT64) for pointer in (task, place)]
    thread = python.save_thread()  # other threads of Python may run meanwhile
    with builder.if_else(builder.icmp_signed("==", parts, one)) as (single, several):
        with single:
            builder.call(task, [zero, one, addresses[1]])
        with several:
            loop_kind = context.call_conv.get_function_type(types.none, LOOP_KINDS)
            loop = cgutils.get_or_insert_function(module, loop_kind, LOOP_SYMBOL)
            task_and_rest = [addresses[0], parts, addresses[1]]
            context.call_conv.call_function(builder, loop, types.none, LOOP_KINDS, task_and_rest)
    python.restore_thread(thread)
    failed = builder.load(cgutils.gep_inbounds(builder, place, 0, 1))
    builder.ret(python.long_from_longlong(failed))
    library.add_ir_module(module)


def _emit_task(context, module: ir.Module, worker, place: ir.Type) -> ir.Function:
    """Emit a task, which takes the worker's arguments from where they were put and calls it.

    They are a tuple that begins with the number of parts, and behind it lies a number, which becomes
    1 if the worker fails.
    """
    kind = context.call_conv.get_function_type(worker.restype, worker.argtypes)
    function = ir.Function(module, kind, worker.llvm_func_name)
    task = ir.Function(module, TASK, f"{worker.llvm_func_name}.task")
    task.linkage = "internal"
    builder = ir.IRBuilder(task.append_basic_block())
    part, _, address = task.args
    place = builder.inttoptr(address, place)
    packed = builder.load(cgutils.gep_inbounds(builder, place, 0, 0))
    arguments = [builder.extract_value(packed, i) for i in range(len(worker.argtypes) - 1)]
    status, _ = context.call_conv.call_function(
        builder, function, worker.restype, worker.argtypes, [part, *arguments]
    )
    with builder.if_then(status.is_error, likely=False):
        builder.store(ir.Constant(INT64, 1), cgutils.gep_inbounds(builder, place, 0, 1))
    builder.ret_void()
    return task
