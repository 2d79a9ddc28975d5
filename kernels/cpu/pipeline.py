"""How Numba compiles the loops of this folder, in less time than if left to itself.

Numba takes each function through all of LLVM by itself, to machine code, and takes its instructions
through all of it again with each loop that calls it. Nearly all functions of this folder are parts of
loops, which nothing else calls: `PipelineOfParts` stops after LLVM's instructions are written, and
leaves the rest to the loop. That saves a fifth of the time.

Searching less often for garbage meanwhile saves another tenth (../garbage.py).

This relies on Numba's inner workings; tests/kernels/cpu/test_pipeline.py notices if they change.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.compiler_machinery import register_pass
from numba.core.lowering import Lower
from numba.core.typed_passes import NativeLowering

from ..garbage import rare_searches_for_cycles
from .parallel import emit_launcher

ENVIRONMENT = "NumbaEnv"
"""Part of the names of the variables through which compiled code finds Python's objects, for its errors."""


class Pipeline(Compiler):
    """Numba's compiler with rare searches for garbage."""

    def compile_extra(self, func: Callable) -> Any:
        """Compile a function, and first what it calls."""
        with rare_searches_for_cycles():
            return super().compile_extra(func)


class PipelineOfParts(Pipeline):
    """The compiler for functions that only other compiled functions call."""

    def define_pipelines(self) -> list:
        """Say where the instructions go, before the passes begin that write them."""
        state = self.state
        state.library = CodeOfPart(state.targetctx.codegen(), state.func_id.func_qualname)
        return super().define_pipelines()


class LoweringWithLauncher(Lower):
    """Numba's writer of instructions, with a launcher as the way in from Python."""

    def create_cpython_wrapper(self, release_gil: bool = False) -> None:
        """Add the function that Python calls."""
        emit_launcher(self.context, self.library, self.fndesc)


@register_pass(mutates_CFG=True, analysis_only=False)
class LowerWorkers(NativeLowering):
    """The pass that writes the instructions of a worker and its launcher."""

    _name = "minicnn_lower_workers"
    lowering_class = LoweringWithLauncher


class PipelineOfWorkers(Pipeline):
    """The compiler for functions that are called for each part of some work (parallel.py)."""

    def define_pipelines(self) -> list:
        """Put the pass above in the place of Numba's."""
        (passes,) = super().define_pipelines()
        passes.passes = [
            (LowerWorkers if one is NativeLowering else one, text) for one, text in passes.passes
        ]
        passes.finalize()
        return [passes]


class CodeOfPart(JITCodeLibrary):
    """The instructions of a function, to be linked into those of its callers, and optimised there."""

    def _optimize_final_module(self) -> None:
        """Leave that to the callers."""

    def _finalize_final_module(self) -> None:
        """Offer nothing that can be called; only the variables that Numba sets for each function exist."""
        self._finalize_dynamic_globals()
        names = [variable.name for variable in self._final_module.global_variables]
        lines = [f'@"{name}" = common global i8* null' for name in names if ENVIRONMENT in name]
        variables = llvmlite.binding.parse_assembly("\n".join(lines))
        variables.name = f"{self.name}.variables"
        self._codegen._add_module(variables)
        self._codegen._engine.finalize_object()
        self._finalized = True
